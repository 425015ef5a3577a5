//! In which state each node is, and how far heights lie apart.

use super::{Life, NodeGlimpse};
use serde::{Deserialize, Serialize};

/// Blocks that a node may lack of the highest one of the look before without being called behind: looks at two nodes
/// are not at one instant.
const SLACK_BLOCKS: u64 = 2;

/// How a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Its process is new, or has not told of a link yet.
    #[default]
    Starting,
    /// It runs, is linked, and keeps up.
    Ready,
    /// It runs and lacks blocks that others had one look ago.
    Behind,
    /// It was stopped from running.
    Paused,
    /// Its process has ended.
    Down,
}

impl NodeState {
    /// All states, best first.
    pub const ALL: [Self; 5] = [Self::Ready, Self::Starting, Self::Behind, Self::Paused, Self::Down];

    /// The state as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Behind => "behind",
            Self::Paused => "paused",
            Self::Down => "down",
        }
    }

    /// A sign that tells states apart without colour.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Starting => '◌',
            Self::Ready => '●',
            Self::Behind => '◐',
            Self::Paused => '‖',
            Self::Down => '✕',
        }
    }
}

/// How a node is, given the highest blocks of the look before.
pub(super) fn state_of(node: &NodeGlimpse, heights: &[Option<u64>], best_before: &[u64], has_links: bool) -> NodeState {
    match node.life {
        Life::NotStarted => return NodeState::Starting,
        Life::Ended => return NodeState::Down,
        Life::Paused => return NodeState::Paused,
        Life::Running => {}
    }
    let fresh = node.sample.filter(|sample| sample.at_ms >= node.started_ms);
    let linked = fresh.is_some_and(|sample| sample.peers > 0 || !has_links);
    let lacks = |(height, &best): (&Option<u64>, &u64)| {
        let height = height.unwrap_or(best);
        height.saturating_add(SLACK_BLOCKS) < best
    };
    match () {
        () if !linked => NodeState::Starting,
        () if heights.iter().zip(best_before).any(lacks) => NodeState::Behind,
        () => NodeState::Ready,
    }
}

/// How a program of others is: it tells of nothing but its process.
pub(super) fn program_state(life: Life) -> NodeState {
    match life {
        Life::NotStarted => NodeState::Starting,
        Life::Running => NodeState::Ready,
        Life::Paused => NodeState::Paused,
        Life::Ended => NodeState::Down,
    }
}

/// How many nodes are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Starting.
    pub starting: usize,
    /// Ready.
    pub ready: usize,
    /// Behind.
    pub behind: usize,
    /// Paused.
    pub paused: usize,
    /// Down.
    pub down: usize,
}

impl Counts {
    /// Counts `states`.
    #[must_use]
    pub fn of(states: impl Iterator<Item = NodeState>) -> Self {
        let mut counts = Self::default();
        for state in states {
            *counts.at(state) += 1;
        }
        counts
    }

    fn at(&mut self, state: NodeState) -> &mut usize {
        match state {
            NodeState::Starting => &mut self.starting,
            NodeState::Ready => &mut self.ready,
            NodeState::Behind => &mut self.behind,
            NodeState::Paused => &mut self.paused,
            NodeState::Down => &mut self.down,
        }
    }

    /// Nodes in `state`.
    #[must_use]
    pub fn get(mut self, state: NodeState) -> usize {
        *self.at(state)
    }
}

/// Heights of one instance over the nodes that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Lowest.
    pub min: u64,
    /// Median: half of the nodes have at least this height.
    pub median: u64,
    /// Highest.
    pub max: u64,
}

impl Spread {
    /// The spread of `heights`; none of no heights.
    #[must_use]
    pub fn of(mut heights: Vec<u64>) -> Option<Self> {
        heights.sort_unstable();
        Some(Self {
            min: *heights.first()?,
            median: heights[heights.len() / 2],
            max: *heights.last()?,
        })
    }
}
