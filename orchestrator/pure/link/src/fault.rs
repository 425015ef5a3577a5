//! What is done to links while a network runs: partitions, and links that are worse than they were.

use crate::Nanos;
use std::collections::BTreeSet;

/// Nodes of different sides do not reach each other; nodes of no side reach everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Side of each node, by position.
    sides: Vec<Option<u32>>,
    /// Only what the first side sends is lost.
    one_way: bool,
}

impl Partition {
    /// A partition of `nodes` nodes into `sets`; a node that is named twice stands on the first of its sides.
    #[must_use]
    pub fn new(nodes: usize, sets: &[Vec<u32>], one_way: bool) -> Self {
        let mut sides = vec![None; nodes];
        for (side, set) in (0..).zip(sets) {
            for &node in set {
                if let Some(place) = sides.get_mut(node as usize) {
                    place.get_or_insert(side);
                }
            }
        }
        Self { sides, one_way }
    }

    /// Whether what `from` sends to `to` is lost.
    #[must_use]
    pub fn cuts(&self, from: u32, to: u32) -> bool {
        let side = |node: u32| self.sides.get(node as usize).copied().flatten();
        match (side(from), side(to)) {
            (Some(from), Some(to)) => from != to && (!self.one_way || from == 0),
            _ => false,
        }
    }
}

/// Links that are worse than they were: those between any of `nodes` and any of `peers`, both ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// One end.
    pub nodes: BTreeSet<u32>,
    /// The other end; without it, everybody.
    pub peers: Option<BTreeSet<u32>>,
    /// Delay on top, in nanoseconds each way.
    pub delay_ns: Nanos,
    /// Share of packets that are lost on top, in millionths.
    pub loss_ppm: u32,
    /// Bits per second that a card of `nodes` passes, when less than before.
    pub rate_bits: Option<u64>,
}

impl Change {
    /// Whether the direction from one node to another is one of these links.
    #[must_use]
    pub fn concerns(&self, from: u32, to: u32) -> bool {
        let ends = |node: u32, peer: u32| {
            self.nodes.contains(&node) && self.peers.as_ref().is_none_or(|peers| peers.contains(&peer))
        };
        ends(from, to) || ends(to, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_cut_from_each_other_and_from_nobody_else() {
        let partition = Partition::new(5, &[vec![0, 1], vec![2, 3]], false);
        let cut: Vec<(u32, u32)> = (0..6)
            .flat_map(|from| (0..6).map(move |to| (from, to)))
            .filter(|&(from, to)| partition.cuts(from, to))
            .collect();
        assert_eq!(cut, [(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (2, 1), (3, 0), (3, 1)]);
    }

    #[test]
    fn one_way_loses_only_what_the_first_side_sends() {
        let partition = Partition::new(3, &[vec![0], vec![1], vec![2]], true);
        assert!(partition.cuts(0, 1) && partition.cuts(0, 2));
        assert!(
            !partition.cuts(1, 0) && !partition.cuts(1, 2),
            "other sides reach each other"
        );
    }

    #[test]
    fn a_bridge_reaches_both_sides() {
        let partition = Partition::new(5, &[vec![0, 1], vec![3, 4]], false);
        assert!((0..5).all(|node| !partition.cuts(2, node) && !partition.cuts(node, 2)));
        assert!(partition.cuts(1, 3));
    }

    #[test]
    fn a_change_concerns_its_pairs_both_ways() {
        let mut change = Change {
            nodes: BTreeSet::from([1]),
            ..Change::default()
        };
        assert!(change.concerns(1, 4) && change.concerns(4, 1) && !change.concerns(2, 3));
        change.peers = Some(BTreeSet::from([2]));
        assert!(change.concerns(1, 2) && change.concerns(2, 1) && !change.concerns(1, 4));
    }
}
