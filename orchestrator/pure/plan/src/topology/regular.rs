//! Random connected regular graphs.

use super::generate::{DRAWS_MAX, Infeasible, connected, lattice, ordered};
use crate::diagnostic::Code;
use rand::{Rng, RngExt, seq::SliceRandom};
use std::collections::BTreeSet;

/// Switch attempts per edge in one draw; ten mix well beyond what any measure of ours can tell from uniform.
const SWITCHES_PER_EDGE: usize = 10;

/// A random connected graph over `count` nodes in which every node has exactly `k` links.
///
/// A circulant graph, which is connected and regular, is mixed by double edge switches (Taylor 1981; Cooper,
/// Dyer and Greenhill 2007), which keep all degrees. A draw that fell apart is mixed further; when none holds
/// together the circulant graph itself is the answer, with its nodes shuffled.
pub(super) fn k_regular(count: usize, k: usize, rng: &mut impl Rng) -> Result<BTreeSet<(usize, usize)>, Infeasible> {
    check(count, k)?;
    let mut labels: Vec<usize> = (0..count).collect();
    labels.shuffle(rng);
    let circulant = relabel(&circulant(count, k), &labels);
    // Two links each make cycles, and only one cycle through all nodes is connected.
    if k <= 2 || k + 1 == count {
        return Ok(circulant);
    }
    let mut edges = circulant.clone();
    for _ in 0..DRAWS_MAX {
        switch(&mut edges, rng);
        if connected(count, &edges) {
            return Ok(edges);
        }
    }
    Ok(circulant)
}

fn check(count: usize, k: usize) -> Result<(), Infeasible> {
    let (code, reason, help) = if k >= count {
        let reason = format!(
            "cannot be {k}-regular over {count} nodes: each has only {} others",
            count - 1
        );
        (
            Code::ImpossibleGraph,
            reason,
            format!("use k = {} or count = {}", (count - 1).max(1), k + 1),
        )
    } else if (count * k) % 2 == 1 {
        let reason = format!("cannot be {k}-regular over {count} nodes: {count} × {k} is odd");
        (
            Code::OddRegular,
            reason,
            format!("use k = {} or count = {}", if k > 1 { k - 1 } else { 2 }, count + 1),
        )
    } else if k == 0 || (k == 1 && count > 2) {
        let reason = format!("cannot be connected and {k}-regular over {count} nodes");
        (Code::ImpossibleGraph, reason, "use k = 2 or more".to_owned())
    } else {
        return Ok(());
    };
    Err(Infeasible {
        code,
        key: "k",
        reason,
        help,
    })
}

/// Each node with its k / 2 neighbours on both sides, and for odd k with the one opposite.
fn circulant(count: usize, k: usize) -> BTreeSet<(usize, usize)> {
    let mut edges = lattice(count, k / 2);
    if k % 2 == 1 {
        edges.extend((0..count / 2).map(|node| (node, node + count / 2)));
    }
    edges
}

fn relabel(edges: &BTreeSet<(usize, usize)>, labels: &[usize]) -> BTreeSet<(usize, usize)> {
    edges.iter().map(|&(a, b)| ordered(labels[a], labels[b])).collect()
}

/// Replaces random pairs of edges a-b and c-d by a-c and b-d (or a-d and b-c) where that leaves a simple graph.
fn switch(edges: &mut BTreeSet<(usize, usize)>, rng: &mut impl Rng) {
    let mut list: Vec<(usize, usize)> = edges.iter().copied().collect();
    for _ in 0..SWITCHES_PER_EDGE * list.len() {
        let (first, second) = (rng.random_range(0..list.len()), rng.random_range(0..list.len()));
        let ((a, b), (mut c, mut d)) = (list[first], list[second]);
        if rng.random_bool(0.5) {
            (c, d) = (d, c);
        }
        let (one, two) = (ordered(a, c), ordered(b, d));
        let simple = a != c && b != d && one != two && !edges.contains(&one) && !edges.contains(&two);
        if first == second || !simple {
            continue;
        }
        edges.remove(&list[first]);
        edges.remove(&list[second]);
        edges.extend([one, two]);
        (list[first], list[second]) = (one, two);
    }
}
