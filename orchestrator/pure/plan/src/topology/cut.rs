//! Smallest cuts: the fewest nodes or links whose loss parts some nodes from others.
//!
//! By Menger's theorem as many disjoint paths join two nodes as it takes nodes (or links) to part them; paths are found
//! one after the other by breadth-first search in a network of unit capacities.

use super::Graph;
use std::collections::{BTreeSet, VecDeque};

/// More than any cut of a graph has.
const UNBOUNDED: u32 = u32::MAX / 2;

/// A directed network; an arc's reverse is its neighbour in the list.
struct Flow {
    arcs: Vec<(usize, u32)>,
    leaving: Vec<Vec<usize>>,
}

impl Flow {
    fn new(places: usize) -> Self {
        Self {
            arcs: Vec::new(),
            leaving: vec![Vec::new(); places],
        }
    }

    fn arc(&mut self, from: usize, to: usize, there: u32, back: u32) {
        self.leaving[from].push(self.arcs.len());
        self.arcs.push((to, there));
        self.leaving[to].push(self.arcs.len());
        self.arcs.push((from, back));
    }

    /// Sends up to `most` units from `source` to `sink`; returns how many, and the places that `source` still reaches.
    fn run(&mut self, source: usize, sink: usize, most: u32) -> (u32, Vec<bool>) {
        for units in 0..most {
            let mut by = vec![usize::MAX; self.leaving.len()];
            let mut reached = vec![false; self.leaving.len()];
            reached[source] = true;
            let mut pending = VecDeque::from([source]);
            while let Some(place) = pending.pop_front() {
                for &arc in &self.leaving[place] {
                    let (to, room) = self.arcs[arc];
                    if room > 0 && !reached[to] {
                        reached[to] = true;
                        by[to] = arc;
                        pending.push_back(to);
                    }
                }
            }
            if !reached[sink] {
                return (units, reached);
            }
            let mut place = sink;
            while place != source {
                let arc = by[place];
                self.arcs[arc].1 -= 1;
                self.arcs[arc ^ 1].1 += 1;
                place = self.arcs[arc ^ 1].0;
            }
        }
        (most, Vec::new())
    }
}

/// The fewest nodes whose loss parts two of `terminals` that stay, ascending; `None` when all are linked with each other.
pub(crate) fn vertex_cut(graph: &Graph, terminals: &[u32]) -> Option<Vec<u32>> {
    let mut best: Option<Vec<u32>> = None;
    for (position, &source) in terminals.iter().enumerate() {
        // One of the first terminals is not in the smallest cut: there are more of them than it has nodes.
        if best.as_ref().is_some_and(|best| position > best.len()) {
            break;
        }
        for &sink in terminals {
            if source == sink || graph.neighbours(source).contains(&sink) {
                continue;
            }
            let most = best.as_ref().map_or(UNBOUNDED, |best| best.len() as u32);
            best = vertices_between(graph, source, sink, most).or(best);
        }
    }
    best
}

/// The nodes that part `source` from `sink`, when they are fewer than `most`. Node n comes in at 2n and goes out at 2n + 1.
fn vertices_between(graph: &Graph, source: u32, sink: u32, most: u32) -> Option<Vec<u32>> {
    let nodes = graph.len();
    let mut flow = Flow::new(2 * nodes as usize);
    for node in 0..nodes {
        flow.arc(2 * node as usize, 2 * node as usize + 1, 1, 0);
        for &next in graph.neighbours(node) {
            flow.arc(2 * node as usize + 1, 2 * next as usize, UNBOUNDED, 0);
        }
    }
    let (units, reached) = flow.run(2 * source as usize + 1, 2 * sink as usize, most);
    let cut = |node: &u32| reached[2 * *node as usize] && !reached[2 * *node as usize + 1] && *node != source;
    (units < most).then(|| (0..nodes).filter(cut).collect())
}

/// The smaller side of the fewest links that part some of `terminals` from the others, ascending; `None` for fewer than two.
pub(crate) fn edge_cut(graph: &Graph, terminals: &[u32]) -> Option<Vec<u32>> {
    let (&source, others) = terminals.split_first()?;
    let mut best: Option<(u32, Vec<bool>)> = None;
    for &sink in others {
        let mut flow = Flow::new(graph.len() as usize);
        for node in 0..graph.len() {
            for &next in graph.neighbours(node).iter().filter(|&&next| next > node) {
                flow.arc(node as usize, next as usize, 1, 1);
            }
        }
        let most = best.as_ref().map_or(UNBOUNDED, |(units, _)| *units);
        let (units, reached) = flow.run(source as usize, sink as usize, most);
        if units < most {
            best = Some((units, reached));
        }
    }
    let (_, reached) = best?;
    let (near, far): (BTreeSet<u32>, BTreeSet<u32>) = (0..graph.len()).partition(|&node| reached[node as usize]);
    let smaller = if near.len() <= far.len() { near } else { far };
    Some(smaller.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn graph(nodes: u32, edges: &[(u32, u32)]) -> Graph {
        Graph::new(nodes, &edges.iter().copied().collect())
    }

    #[test]
    fn a_ring_is_parted_by_two_nodes_and_by_two_links() {
        let ring = graph(6, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)]);
        assert_eq!(vertex_cut(&ring, &[0, 3]), Some(vec![1, 5]));
        assert_eq!(edge_cut(&ring, &[0, 1, 2, 3, 4, 5]), Some(vec![0]));
        assert_eq!(vertex_cut(&ring, &[0, 1]), None, "linked with each other");
    }

    #[test]
    fn two_meshes_that_meet_in_one_node_or_by_one_link() {
        let meet = graph(5, &[(0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (3, 4)]);
        assert_eq!(vertex_cut(&meet, &[0, 1, 3, 4]), Some(vec![2]));
        let bridge = graph(5, &[(0, 1), (0, 2), (1, 2), (2, 3), (3, 4)]);
        assert_eq!(edge_cut(&bridge, &[0, 3]), Some(vec![3, 4]));
        assert_eq!(edge_cut(&bridge, &[0]), None);
    }

    proptest! {
        #[test]
        fn a_cut_parts_and_no_smaller_one_does(
            nodes in 3u32..8, bits in any::<u32>()
        ) {
            let pairs = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
            let edges: BTreeSet<(u32, u32)> = pairs.enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, edge)| edge).collect();
            let graph = Graph::new(nodes, &edges);
            let all: Vec<u32> = (0..nodes).collect();
            let parts = |gone: u32| {
                let stays = |node: u32| gone >> node & 1 == 0;
                let left: Vec<u32> = all.iter().copied().filter(|node| stays(*node)).collect();
                left.first().is_some_and(|first| graph.reached(*first, stays).len() < left.len())
            };
            let smallest = (0u32..1 << nodes).filter(|gone| parts(*gone)).map(u32::count_ones).min();
            let found = vertex_cut(&graph, &all);
            prop_assert_eq!(found.as_ref().map(|cut| cut.len() as u32), smallest);
            if let Some(cut) = found {
                prop_assert!(parts(cut.iter().map(|node| 1 << node).sum()));
            }
            let across = |side: u32| edges.iter().filter(|(a, b)| side >> a & 1 != side >> b & 1).count();
            let fewest = (1u32..(1 << nodes) - 1).map(across).min().unwrap();
            let side: u32 = edge_cut(&graph, &all).unwrap().iter().map(|node| 1 << node).sum();
            prop_assert_eq!(across(side), fewest);
        }
    }
}
