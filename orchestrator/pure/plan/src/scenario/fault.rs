//! What is done to nodes and links on purpose: single faults, repeated ones, random ones.

use crate::{
    defaults,
    units::{BitRate, Duration, Ratio, Size},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something done to nodes or links at a given time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it starts, from the start of the warm-up.
    pub at: Duration,
    /// How long it lasts; a crashed node is started again after it.
    #[serde(rename = "for")]
    pub lasts: Duration,
    /// What is done.
    pub kind: FaultKind,
    /// Nodes that it is done to: nodes, groups, `"region:eu"`, `"all"`, a random `"share:20%"` of all or `"share:20%:val"`
    /// of these, `"minimal_cut"` (the fewest nodes that part the validators), or `"next_leader"` alone (whoever leads the
    /// next height when the fault begins, `"next_leader:ID"` of an instance). A `link` fault changes all their links.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Sides of a partition, or of the links that a `link` fault changes: nodes as above, `"rest"` for those on no other
    /// side, and `"minimal_cut"` for the smaller side of the fewest links that part the validators. Nodes on no side reach
    /// everybody.
    #[serde(default)]
    pub sets: Vec<Vec<String>>,
    /// Nodes that are taken out of all sides, and so reach both.
    #[serde(default)]
    pub bridge: Vec<String>,
    /// Whether only what the first side sends is affected.
    #[serde(default)]
    pub one_way: bool,
    /// What becomes of a crashed node's disk.
    #[serde(default)]
    pub disk: Option<DiskFate>,
    /// Delay that a `link` fault adds to each direction, or a `disk_slow` fault to each flush.
    #[serde(default)]
    pub delay: Option<Duration>,
    /// Variation of the delay under a `link` fault.
    #[serde(default)]
    pub jitter: Option<Ratio>,
    /// Share of packets that a `link` fault loses. Links are reliable streams, so that lost packets are late ones.
    #[serde(default)]
    pub loss: Option<Ratio>,
    /// Rate of each link under a `link` fault.
    #[serde(default)]
    pub rate: Option<BitRate>,
    /// Share of one core that is left under a `cpu` fault.
    #[serde(default)]
    pub share: Option<Ratio>,
    /// Most memory under a `memory` fault.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Build to upgrade to.
    #[serde(default)]
    pub build: Option<String>,
    /// How far a skewed clock is ahead.
    #[serde(default)]
    pub offset: Option<Duration>,
    /// Makes it happen several times.
    #[serde(default)]
    pub repeat: Option<Repeat>,
    /// Declares that the fault takes a quorum away on purpose.
    #[serde(default)]
    pub breaks_quorum: bool,
}

/// The same fault again and again; what is random in it is drawn anew each time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// From one start to the next.
    pub every: Duration,
    /// How often, the first time included.
    pub times: u32,
    /// Each start but the first varies by up to this share of `every`, either way.
    #[serde(default)]
    pub jitter: Option<Ratio>,
}

/// What becomes of a crashed node's disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskFate {
    /// It starts again with what it had.
    #[default]
    Kept,
    /// It starts again with nothing, and knows that it is not new.
    Lost,
}

/// Kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL, and start again.
    Crash,
    /// SIGSTOP, and SIGCONT.
    Pause,
    /// Packets between the sets are dropped.
    Partition,
    /// Changed delay, loss or rate.
    Link,
    /// A clock that is ahead.
    Skew,
    /// Another build.
    Upgrade,
    /// No room on the disk.
    DiskFull,
    /// A disk that takes longer to make records durable.
    DiskSlow,
    /// Less time on the processor, by a control group of this machine or of the node's host.
    Cpu,
    /// Less memory, by a control group; the kernel kills a node that needs more, which is started again when the fault ends.
    Memory,
}

impl FaultKind {
    /// Whether it is done to links, so that it may be on beside another fault of the same nodes.
    #[must_use]
    pub fn is_on_links(self) -> bool {
        matches!(self, Self::Partition | Self::Link)
    }

    /// Whether a node makes it of its own clock or disk.
    #[must_use]
    pub fn is_made_by_node(self) -> bool {
        matches!(self, Self::Skew | Self::DiskFull | Self::DiskSlow)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Crash => "crash",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Link => "link",
            Self::Skew => "skew",
            Self::Upgrade => "upgrade",
            Self::DiskFull => "disk_full",
            Self::DiskSlow => "disk_slow",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        })
    }
}

/// Random faults, drawn from the seed when the plan is made: the plan lists them like any others. They never take a quorum
/// away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nemesis {
    /// When the first one may start; without it, when the measuring window begins.
    pub from: Option<Duration>,
    /// When the last one ends at the latest; without it, when the measuring window ends.
    pub until: Option<Duration>,
    /// Kinds of fault that are drawn from.
    pub kinds: Vec<FaultKind>,
    /// Nodes that they are done to, as in a fault; without it, all.
    pub nodes: Vec<String>,
    /// Most faults at a time.
    pub at_once: u32,
    /// Most nodes of one fault.
    pub nodes_max: u32,
    /// Shortest and longest fault.
    pub length: (Duration, Duration),
    /// Longest rest before a fault; the nodes of a fault rest for as long after it.
    pub gap: Duration,
    /// Delay of `link` and `disk_slow` faults.
    pub delay: Duration,
    /// Packets that `link` faults lose.
    pub loss: Ratio,
    /// How far clocks are ahead at most under `skew` faults.
    pub offset: Duration,
}

impl Default for Nemesis {
    fn default() -> Self {
        Self {
            from: None,
            until: None,
            kinds: vec![FaultKind::Crash, FaultKind::Pause, FaultKind::Partition],
            nodes: Vec::new(),
            at_once: defaults::NEMESIS_AT_ONCE,
            nodes_max: defaults::NEMESIS_NODES_MAX,
            length: defaults::NEMESIS_LENGTH,
            gap: defaults::NEMESIS_GAP,
            delay: defaults::NEMESIS_DELAY,
            loss: defaults::NEMESIS_LOSS,
            offset: defaults::NEMESIS_OFFSET,
        }
    }
}
