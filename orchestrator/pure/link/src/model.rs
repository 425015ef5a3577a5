//! What links are like: delays between regions, their variation, losses, and the rate of each node's card.

use crate::{MILLION, Nanos};

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
    /// Directions with conditions of their own; of several that say the same, the last one counts.
    pub directions: Vec<Direction>,
}

/// What some nodes send to others, where it is not as the rest of the model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direction {
    /// Who sends and who receives, by position of the node.
    ends: Vec<(bool, bool)>,
    own: Own,
}

/// What a direction has of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Own {
    /// One-way delay in nanoseconds.
    pub delay_ns: Option<Nanos>,
    /// Variation of the delay, in millionths.
    pub jitter_ppm: Option<u32>,
    /// Share of packets that are lost, in millionths.
    pub loss_ppm: Option<u32>,
    /// Bits per second from each node that sends to each that receives, beside what their cards carry.
    pub rate_bits: Option<u64>,
}

impl Direction {
    /// What each of `from` sends to each of `to`; nodes that do not exist send nothing.
    #[must_use]
    pub fn new(nodes: usize, (from, to): (&[u32], &[u32]), own: Own) -> Self {
        let mut ends = vec![(false, false); nodes];
        for &node in from {
            if let Some((sends, _)) = ends.get_mut(node as usize) {
                *sends = true;
            }
        }
        for &node in to {
            if let Some((_, receives)) = ends.get_mut(node as usize) {
                *receives = true;
            }
        }
        Self { ends, own }
    }

    /// Whether a node is among those that send, and among those that receive.
    #[must_use]
    pub fn ends_at(&self, node: u32) -> (bool, bool) {
        self.ends.get(node as usize).copied().unwrap_or_default()
    }

    /// Whether it says something about what `from` sends to `to`.
    #[must_use]
    pub fn covers(&self, from: u32, to: u32) -> bool {
        from != to && self.ends_at(from).0 && self.ends_at(to).1
    }
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
    /// Bits per second of this direction alone, beside what the cards of its ends carry.
    pub rate_bits: Option<u64>,
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
            directions: Vec::new(),
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
        let base = Path {
            delay_ns: delay.copied().unwrap_or_default(),
            jitter_ppm: self.jitter_ppm,
            loss_ppm: self.loss_ppm,
            reorder_ppm: self.reorder_ppm,
            duplicate_ppm: self.duplicate_ppm,
            rate_bits: None,
        };
        let covering = self.directions.iter().filter(|direction| direction.covers(from, to));
        covering.fold(base, |path, direction| path.with(&direction.own))
    }

    /// Bits per second that one node can send to another: what the cards and the direction carry.
    #[must_use]
    pub fn rate(&self, from: u32, to: u32) -> Option<u64> {
        self.rate_bits.into_iter().chain(self.path(from, to).rate_bits).min()
    }

    /// Whether packets must be as small as those of a real network, since single ones are lost or leave their place.
    #[must_use]
    pub fn acts_on_packets(&self) -> bool {
        let own = self.directions.iter().map(|direction| direction.own);
        let mut acting = own.filter(|own| own.loss_ppm > Some(0) || own.rate_bits.is_some());
        self.loss_ppm > 0 || self.reorder_ppm > 0 || self.duplicate_ppm > 0 || acting.next().is_some()
    }
}

impl Path {
    /// How much more or less than the delay a packet may take, in nanoseconds.
    #[must_use]
    pub fn spread_ns(&self) -> Nanos {
        let spread = u128::from(self.delay_ns) * u128::from(self.jitter_ppm) / u128::from(MILLION);
        u64::try_from(spread).unwrap_or(Nanos::MAX)
    }

    /// The same with what a direction has of its own.
    fn with(self, own: &Own) -> Self {
        Self {
            delay_ns: own.delay_ns.unwrap_or(self.delay_ns),
            jitter_ppm: own.jitter_ppm.unwrap_or(self.jitter_ppm),
            loss_ppm: own.loss_ppm.unwrap_or(self.loss_ppm),
            rate_bits: own.rate_bits.or(self.rate_bits),
            ..self
        }
    }
}
