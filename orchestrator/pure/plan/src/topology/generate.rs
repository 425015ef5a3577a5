//! Edge generators: the same rule, nodes and random stream always give the same edges.

use super::{Graph, regular};
use crate::{diagnostic::Code, scenario::Generator, units::Ratio};
use rand::{Rng, RngExt, seq::SliceRandom};
use std::collections::BTreeSet;

/// Edges as pairs of nodes, lower first.
pub(crate) type Edges = BTreeSet<(u32, u32)>;

/// Nodes that a rule acts on.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    /// Nodes of `of`, or of `from`.
    pub(crate) of: Vec<u32>,
    /// Nodes of `to`, for a bipartite rule.
    pub(crate) to: Vec<u32>,
}

/// Why a rule makes no graph, at which of its keys, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Infeasible {
    pub(crate) code: Code,
    pub(crate) key: &'static str,
    pub(crate) reason: String,
    pub(crate) help: String,
}

/// How often a random graph is drawn again before a connected one is constructed instead.
pub(super) const DRAWS_MAX: u32 = 64;

/// The edges of `rule` over `members`; `File` is read by the caller and makes none here.
pub(crate) fn generate(rule: &Generator, members: &Members, rng: &mut impl Rng) -> Result<Edges, Infeasible> {
    let of = &members.of;
    let local = match rule {
        Generator::FullMesh { .. } => full_mesh(of.len()),
        Generator::Ring { .. } => ring(of.len()),
        Generator::Star { .. } => (1..of.len()).map(|node| (0, node)).collect(),
        Generator::Tree { arity, .. } => tree(of.len(), *arity)?,
        Generator::KRegular { k, .. } => regular::k_regular(of.len(), *k as usize, rng)?,
        Generator::SmallWorld { k, rewire, .. } => small_world(of.len(), *k as usize, *rewire, rng)?,
        Generator::ScaleFree { m, .. } => scale_free(of.len(), *m as usize, rng)?,
        Generator::Bipartite { degree, .. } => return bipartite(members, *degree as usize, rng),
        Generator::File { .. } => return Ok(Edges::new()),
    };
    Ok(local.into_iter().map(|(a, b)| ordered(of[a], of[b])).collect())
}

/// An edge with its lower end first.
pub(crate) fn ordered<T: Ord>(a: T, b: T) -> (T, T) {
    if a <= b { (a, b) } else { (b, a) }
}

fn infeasible(key: &'static str, reason: String, help: String) -> Infeasible {
    Infeasible {
        code: Code::ImpossibleGraph,
        key,
        reason,
        help,
    }
}

fn full_mesh(count: usize) -> BTreeSet<(usize, usize)> {
    (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect()
}

/// Each node with the next; two nodes make one edge and one node none.
fn ring(count: usize) -> BTreeSet<(usize, usize)> {
    lattice(count, 1)
}

/// Each node with its `reach` next ones on a circle.
pub(super) fn lattice(count: usize, reach: usize) -> BTreeSet<(usize, usize)> {
    let edges = (0..count).flat_map(|a| (1..=reach).map(move |step| ordered(a, (a + step) % count)));
    edges.filter(|(a, b)| a != b).collect()
}

fn tree(count: usize, arity: u32) -> Result<BTreeSet<(usize, usize)>, Infeasible> {
    if arity == 0 {
        return Err(infeasible(
            "arity",
            "cannot be a tree whose nodes have no children".into(),
            "use arity = 2".into(),
        ));
    }
    Ok((1..count).map(|node| ((node - 1) / arity as usize, node)).collect())
}

/// Watts and Strogatz, "Collective dynamics of small-world networks", Nature 393 (1998): a lattice whose edges
/// are rewired to random nodes. A graph that fell apart is drawn again; in the end the ring inside it stays.
fn small_world(
    count: usize,
    k: usize,
    rewire: Ratio,
    rng: &mut impl Rng,
) -> Result<BTreeSet<(usize, usize)>, Infeasible> {
    if k < 2 || k % 2 == 1 || k >= count {
        let reason = format!("cannot be a small world over {count} nodes with {k} links each");
        return Err(infeasible(
            "k",
            reason,
            "use an even k that is at least 2 and less than the number of nodes".into(),
        ));
    }
    for _ in 0..DRAWS_MAX {
        let edges = rewired(count, k, rewire, false, rng);
        if connected(count, &edges) {
            return Ok(edges);
        }
    }
    Ok(rewired(count, k, rewire, true, rng))
}

fn rewired(count: usize, k: usize, rewire: Ratio, keep_ring: bool, rng: &mut impl Rng) -> BTreeSet<(usize, usize)> {
    let mut edges = lattice(count, k / 2);
    for step in (1 + usize::from(keep_ring))..=k / 2 {
        for a in 0..count {
            let old = ordered(a, (a + step) % count);
            let new = ordered(a, rng.random_range(0..count));
            if rng.random_bool(rewire.0) && new.0 != new.1 && edges.contains(&old) && edges.insert(new) {
                edges.remove(&old);
            }
        }
    }
    edges
}

pub(super) fn connected(count: usize, edges: &BTreeSet<(usize, usize)>) -> bool {
    let edges: Edges = edges.iter().map(|&(a, b)| (a as u32, b as u32)).collect();
    Graph::new(count as u32, &edges).is_connected()
}

/// Barabási and Albert, "Emergence of scaling in random networks", Science 286 (1999): each new node links to
/// `m` nodes, chosen in proportion to their links; the first `m + 1` are a full mesh.
fn scale_free(count: usize, m: usize, rng: &mut impl Rng) -> Result<BTreeSet<(usize, usize)>, Infeasible> {
    if m == 0 || m >= count {
        let reason = format!("cannot be scale-free over {count} nodes with {m} links brought by each");
        return Err(infeasible(
            "m",
            reason,
            "use an m of at least 1 and less than the number of nodes".into(),
        ));
    }
    let mut edges = full_mesh(m + 1);
    // Every node stands in this list once per link, so that a uniform choice is one in proportion.
    let mut ends: Vec<usize> = edges.iter().flat_map(|&(a, b)| [a, b]).collect();
    for node in m + 1..count {
        let mut chosen = BTreeSet::new();
        while chosen.len() < m {
            chosen.insert(ends[rng.random_range(0..ends.len())]);
        }
        for other in chosen {
            edges.insert((other, node));
            ends.extend([other, node]);
        }
    }
    Ok(edges)
}

/// Each node of `of` with `degree` nodes of `to`, dealt in turn from a shuffled circle so that their loads differ
/// by one at most.
fn bipartite(members: &Members, degree: usize, rng: &mut impl Rng) -> Result<Edges, Infeasible> {
    let mut to = members.to.clone();
    if degree == 0 || degree > to.len() {
        let reason = format!("cannot link each node with {degree} of {} nodes", to.len());
        return Err(infeasible(
            "degree",
            reason,
            format!("use a degree from 1 to {}", to.len()),
        ));
    }
    to.shuffle(rng);
    let mut circle = to.iter().cycle();
    let edges = members.of.iter().flat_map(|&from| {
        let others: Vec<u32> = circle.by_ref().take(degree).copied().collect();
        others.into_iter().map(move |other| ordered(from, other))
    });
    Ok(edges.collect())
}
