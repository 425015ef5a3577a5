//! What only tests ask of a node: misconduct, faults that it makes itself, a wrong clock.

use regatta_base::PublicKey;
use serde::{Deserialize, Serialize};

/// Extras for tests; a node of a real network has none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestingConfig {
    /// How the node behaves. All but `honest` need a program that was built for tests.
    pub behaviour: Behaviour,
    /// Whether the control interface takes orders to cut links.
    pub faults: bool,
    /// The node's clock.
    pub clock: ClockConfig,
}

impl TestingConfig {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a node behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Follows the protocol.
    #[default]
    Honest,
    /// Signs two different proposals when it leads, shows each to half of its neighbours, and votes for both.
    Equivocate,
    /// Follows, and says nothing in consensus.
    Silent,
    /// Says everything in consensus late, by the unit of the round timeout.
    Delay,
}

impl std::fmt::Display for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Honest => "honest",
            Self::Equivocate => "equivocate",
            Self::Silent => "silent",
            Self::Delay => "delay",
        })
    }
}

/// `PUT /v1/faults/links`, and its answer: every link of this node that carries nothing. All others are healed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkCuts {
    /// The links, at most one for each configured peer.
    pub cut: Vec<LinkCut>,
}

/// A link that carries nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkCut {
    /// The configured peer at its other end.
    pub peer: PublicKey,
    /// Which way nothing passes.
    #[serde(default)]
    pub direction: Direction,
}

/// A way along a link, as this node sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To this node.
    In,
    /// From this node.
    Out,
    /// Both.
    #[default]
    Both,
}

/// How far the node's own clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockConfig {
    /// Added to every reading, in milliseconds.
    pub offset_ms: u64,
    /// How fast it runs, in thousandths of the right speed: 500 to 2000.
    pub rate_permille: u64,
}

impl ClockConfig {
    /// Slowest and fastest clock.
    pub const RATE_PERMILLE: std::ops::RangeInclusive<u64> = 500..=2000;
}

impl Default for ClockConfig {
    fn default() -> Self {
        Self {
            offset_ms: 0,
            rate_permille: 1000,
        }
    }
}
