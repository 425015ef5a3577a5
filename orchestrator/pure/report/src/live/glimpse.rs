//! What goes into a board: the setting of a run once, and one look at it after the other.

use crate::model::{Event, PhaseKind, Role, Sample};
use serde::{Deserialize, Serialize};

/// What does not change while a run goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Run id.
    pub run: String,
    /// The scenario's name.
    pub scenario: String,
    /// The question that the scenario answers.
    pub question: String,
    /// Every node, in plan order.
    pub nodes: Vec<Place>,
    /// Links as pairs of node indices.
    pub edges: Vec<(u32, u32)>,
    /// Names of the consensus instances, in plan order.
    pub instances: Vec<String>,
    /// Programs of others beside the nodes, in plan order.
    pub programs: Vec<Place>,
    /// Phases of the timeline with their planned lengths in milliseconds.
    pub phases: Vec<(PhaseKind, u64)>,
}

/// One node, or one program of others, as planned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its role; a program of others has none.
    pub role: Role,
    /// Its region, or empty.
    pub region: String,
}

/// One look at a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Glimpse {
    /// Milliseconds since the first node was started.
    pub at_ms: u64,
    /// What goes on.
    pub phase: PhaseKind,
    /// Until the phase ends by plan, in milliseconds; not known for every phase.
    pub phase_left_ms: Option<u64>,
    /// Every node, in plan order.
    pub nodes: Vec<NodeGlimpse>,
    /// Every program of others, in plan order; of their samples CPU and memory count.
    pub programs: Vec<NodeGlimpse>,
    /// The last sample of the lab's own process.
    pub lab: Option<Sample>,
    /// All loads together.
    pub load: Option<LoadNow>,
    /// Faults that are on.
    pub faults: Vec<OpenFault>,
    /// What happened since the look before.
    pub events: Vec<Event>,
    /// Bytes in the run's folder.
    pub disk_bytes: u64,
}

/// Whether a node's process is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// It was not started yet.
    #[default]
    NotStarted,
    /// It runs.
    Running,
    /// It was stopped from running and can go on.
    Paused,
    /// It has ended.
    Ended,
}

/// One node at one look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeGlimpse {
    /// Its process.
    pub life: Life,
    /// When its newest process was started, in milliseconds since the first node was.
    pub started_ms: u64,
    /// Its last sample; of an earlier process when it is older than this one's start.
    pub sample: Option<Sample>,
    /// Its height in each instance, in plan order, none in those that it does not run; empty where only the sample's is known.
    pub heights: Vec<Option<u64>>,
}

/// How the loads go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadNow {
    /// Transactions intended in the last whole second.
    pub offered_per_s: u64,
    /// Transactions that became final in the last whole second.
    pub final_per_s: u64,
    /// Median response of the last second with answers, in microseconds; 0 before the first.
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
    /// 99th percentile of the generator's own lag so far, in microseconds.
    pub lag_p99_us: u64,
    /// Transactions sent and neither final nor refused.
    pub in_flight: u64,
    /// Transactions final so far.
    pub finalised: u64,
    /// Transactions refused, not sent, lost or failed so far.
    pub troubled: u64,
}

/// A fault that is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFault {
    /// Number of the fault in this run.
    pub id: u32,
    /// The fault in words.
    pub text: String,
    /// Nodes that it is done to.
    pub nodes: Vec<u32>,
    /// Sides of a partition; empty for other faults.
    pub sides: Vec<Vec<u32>>,
    /// When it began.
    pub since_ms: u64,
    /// When it is planned to end, if that is known.
    pub until_ms: Option<u64>,
    /// A person did it: it is no part of the plan.
    pub by_hand: bool,
}
