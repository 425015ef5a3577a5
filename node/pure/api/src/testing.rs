//! What only tests ask of a node: misconduct, faults that it makes itself, a wrong clock.

use regatta_base::PublicKey;
use serde::{Deserialize, Serialize};

/// Extras for tests; a node of a real network has none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestingConfig {
    /// How the node behaves. All but `honest` need a program that was built for tests.
    pub behaviour: Behaviour,
    /// Whether the control interface takes orders to make faults.
    pub faults: bool,
    /// Bits per second that all links of this node carry together from it; 0: no limit.
    pub uplink_bits: u64,
    /// The node's clock.
    pub clock: ClockConfig,
    /// Links that are slower than the network in between.
    #[serde(rename = "link")]
    pub links: Vec<ShapedLink>,
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

/// `PUT /v1/faults/links`, and its answer: every link of this node that carries nothing or is another than configured.
/// All others are healed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkFaults {
    /// Links that carry nothing, at most one for each configured peer.
    pub cut: Vec<LinkCut>,
    /// Links that carry what this node sends as they say, at most one for each configured peer.
    pub shaped: Vec<ShapedLink>,
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

/// `PUT /v1/faults/node`, and its answer: what is wrong with this node itself. Whatever it does not name is right again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeFaults {
    /// How far its clock is ahead in milliseconds. It never runs backwards: when it is set back, it stands still until the
    /// time has come.
    pub clock_ahead_ms: u64,
    /// Whether there is no room on its disk: records wait until there is.
    pub disk_full: bool,
    /// Microseconds that its disk takes longer to make records durable.
    pub flush_delay_us: u64,
}

impl NodeFaults {
    /// Most that a clock is ahead, in milliseconds: an hour.
    pub const CLOCK_AHEAD_MS_MAX: u64 = 3_600_000;
    /// Longest delay of a flush in microseconds.
    pub const FLUSH_DELAY_US_MAX: u64 = 60_000_000;

    /// What is wrong with the order itself, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let ahead = self.clock_ahead_ms > Self::CLOCK_AHEAD_MS_MAX;
        let slow = self.flush_delay_us > Self::FLUSH_DELAY_US_MAX;
        (ahead || slow).then(|| {
            format!(
                "clock_ahead_ms = {}, flush_delay_us = {}; help: use at most {} and {}",
                self.clock_ahead_ms,
                self.flush_delay_us,
                Self::CLOCK_AHEAD_MS_MAX,
                Self::FLUSH_DELAY_US_MAX
            )
        })
    }
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

/// A link that carries what this node sends as `shape` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapedLink {
    /// The configured peer at its other end.
    pub peer: PublicKey,
    /// What becomes of what is sent to it.
    pub shape: LinkShape,
}

/// One direction of a link, made by its sender. The default is a link as the system has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkShape {
    /// Time from sender to receiver in microseconds.
    pub delay_us: u64,
    /// The delay varies uniformly by up to this share, in millionths.
    pub jitter_ppm: u32,
    /// Share of packets that are lost, in millionths. The stream keeps its order and loses nothing, so that a lost packet is
    /// a late one: it and all behind it wait for the retransmission.
    pub loss_ppm: u32,
    /// Bits per second; 0: no limit.
    pub rate_bits: u64,
}

impl LinkShape {
    /// Longest delay in microseconds.
    pub const DELAY_US_MAX: u64 = 60_000_000;
    /// Most lost packets: beyond it a stream makes no progress that anybody waits for, and a cut says it better.
    pub const LOSS_PPM_MAX: u32 = 500_000;
    /// Lowest rate in bits per second: a vote passes within a second.
    pub const RATE_BITS_MIN: u64 = 8_000;

    /// What is wrong with it, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let rate = self.rate_bits > 0 && self.rate_bits < Self::RATE_BITS_MIN;
        let bad = [
            (
                self.delay_us > Self::DELAY_US_MAX,
                format!(
                    "a delay of {} us; help: use at most {}",
                    self.delay_us,
                    Self::DELAY_US_MAX
                ),
            ),
            (
                self.jitter_ppm > 1_000_000,
                format!("a jitter of {} ppm; help: use at most 1000000", self.jitter_ppm),
            ),
            (
                self.loss_ppm > Self::LOSS_PPM_MAX,
                format!(
                    "a loss of {} ppm; help: use at most {}, or cut the link",
                    self.loss_ppm,
                    Self::LOSS_PPM_MAX
                ),
            ),
            (
                rate,
                format!(
                    "a rate of {} bit/s; help: use at least {}, or 0 for no limit",
                    self.rate_bits,
                    Self::RATE_BITS_MIN
                ),
            ),
        ];
        bad.into_iter().find_map(|(wrong, text)| wrong.then_some(text))
    }
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
