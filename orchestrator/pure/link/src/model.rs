//! What links are like: delays between regions, their variation, losses, and the rate of each node's card.

use crate::Nanos;

/// The links of a network whose nodes stand in regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Region of each node, by position: an index into `delay_ns`.
    pub regions: Vec<usize>,
    /// One-way delay in nanoseconds from region to region: `delay_ns[from][to]`, square.
    pub delay_ns: Vec<Vec<Nanos>>,
    /// Each delay varies uniformly by up to this share, in millionths.
    pub jitter_ppm: u32,
    /// Share of packets that are lost, in millionths.
    pub loss_ppm: u32,
    /// Share of packets that leave their place and arrive later, in millionths.
    pub reorder_ppm: u32,
    /// Share of packets that arrive twice, in millionths.
    pub duplicate_ppm: u32,
    /// Bits per second that each node's card sends, and receives.
    pub rate_bits: Option<u64>,
}

/// What one direction between two nodes does to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// One-way delay in nanoseconds without its variation.
    pub delay_ns: Nanos,
    /// Variation of the delay, in millionths of it.
    pub jitter_ppm: u32,
    /// Share of packets that are lost, in millionths.
    pub loss_ppm: u32,
    /// Share of packets that arrive later than their place, in millionths.
    pub reorder_ppm: u32,
    /// Share of packets that arrive twice, in millionths.
    pub duplicate_ppm: u32,
}

impl Model {
    /// Links that do nothing to the packets of `nodes` nodes.
    #[must_use]
    pub fn plain(nodes: usize) -> Self {
        Self {
            regions: vec![0; nodes],
            delay_ns: vec![vec![0]],
            jitter_ppm: 0,
            loss_ppm: 0,
            reorder_ppm: 0,
            duplicate_ppm: 0,
            rate_bits: None,
        }
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.regions.len()
    }

    /// The direction from one node to another; nodes and regions that do not exist have no delay.
    #[must_use]
    pub fn path(&self, from: u32, to: u32) -> Path {
        let region = |node: u32| self.regions.get(node as usize).copied();
        let row = region(from).and_then(|from| self.delay_ns.get(from));
        let delay = row.zip(region(to)).and_then(|(row, to)| row.get(to));
        Path {
            delay_ns: delay.copied().unwrap_or_default(),
            jitter_ppm: self.jitter_ppm,
            loss_ppm: self.loss_ppm,
            reorder_ppm: self.reorder_ppm,
            duplicate_ppm: self.duplicate_ppm,
        }
    }

    /// Whether packets must be as small as those of a real network, since single ones are lost or leave their place.
    #[must_use]
    pub fn acts_on_packets(&self) -> bool {
        self.loss_ppm > 0 || self.reorder_ppm > 0 || self.duplicate_ppm > 0
    }
}
