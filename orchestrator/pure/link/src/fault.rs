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

/// Directions between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Links {
    /// All links of these nodes, both ways.
    Of(BTreeSet<u32>),
    /// Those that such a partition would cut.
    Between(Partition),
}

impl Links {
    /// Whether the direction from one node to another is one of them.
    #[must_use]
    pub fn contain(&self, from: u32, to: u32) -> bool {
        match self {
            Self::Of(nodes) => nodes.contains(&from) || nodes.contains(&to),
            Self::Between(partition) => partition.cuts(from, to),
        }
    }
}

/// Links that are worse than they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which ones.
    pub links: Links,
    /// Delay on top, in nanoseconds each way.
    pub delay_ns: Nanos,
    /// Variation of the whole delay in millionths, in place of what it was.
    pub jitter_ppm: Option<u32>,
    /// Share of packets that are lost in millionths, in place of what it was.
    pub loss_ppm: Option<u32>,
    /// Bits per second that each direction passes, beside what the cards of its ends pass.
    pub rate_bits: Option<u64>,
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
    fn links_of_nodes_go_both_ways_and_links_between_sides_may_go_one_way() {
        let of = Links::Of(BTreeSet::from([1]));
        assert!(of.contain(1, 4) && of.contain(4, 1) && !of.contain(2, 3));
        let between = Links::Between(Partition::new(3, &[vec![0], vec![1]], true));
        assert!(between.contain(0, 1) && !between.contain(1, 0) && !between.contain(0, 2));
    }
}
