//! What the lab observed in one run: the only input of every summary, verdict and report.
//!
//! Times are milliseconds since the run's origin on the submitting client's monotonic clock (`at_ms`), latencies are
//! microseconds (`_us`), CPU is seconds. Counters of a process are cumulative since its first start: the lab carries
//! them across restarts. A field that nothing was observed for stays empty; no report fills it in.

mod events;
mod links;
mod spread;

pub use events::{Event, EventKind};
pub use links::{Beside, LinkProbe, Links};
pub use spread::Spread;

use crate::histogram::Counts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything observed in one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// What was run, from which source and how to run it again.
    pub identity: Identity,
    /// Every node of the plan, in plan order.
    pub nodes: Vec<Node>,
    /// The links of the static peering graph.
    pub edges: Vec<Edge>,
    /// Consensus instances, in plan order.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// The phases with the times at which they were observed to begin and end.
    pub phases: Vec<Phase>,
    /// What was submitted and how.
    pub loads: Vec<Load>,
    /// Latency histograms of the whole measure phase.
    pub latency: Latency,
    /// Counts for each second since the origin, without gaps.
    pub seconds: Vec<Second>,
    /// Every finalised block in height order.
    pub blocks: Vec<Block>,
    /// The accounting counters of the whole run, after draining.
    pub accounting: Accounting,
    /// One record for each node's process and one for the lab's own.
    pub processes: Vec<Process>,
    /// Faults, restarts and notes in time order.
    pub events: Vec<Event>,
    /// Nodes that came and went by themselves; none where all were there all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
    /// The correctness checks that were made, each with its evidence.
    pub invariants: Vec<Invariant>,
    /// Validators that were proved to have contradicted themselves, by instance and height.
    #[serde(default)]
    pub accusations: Vec<Accusation>,
    /// The network between the nodes, where the lab makes it.
    #[serde(default)]
    pub links: Option<Links>,
    /// How decisions spread among nodes that have a clock in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Doubts about the measurement that only the lab can have, e.g. host pressure over its limit.
    pub findings: Vec<Finding>,
    /// The scenario's objectives as judged, see [`crate::objective::judge`].
    pub objectives: Vec<Objective>,
    /// The disclosure list: machine, kernel, toolchain, limits, pressure.
    pub environment: Vec<Disclosure>,
    /// The files beside the report that hold the raw data.
    pub files: Vec<RawFile>,
    /// The run was interrupted before its last phase ended.
    pub partial: bool,
    /// Why the run could not be carried out (a host, a build, a process of the lab), when that happened.
    pub failure: Option<String>,
}

/// What was run and how to run it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// Run id, also the name of the run's folder.
    pub run: String,
    /// The scenario's name.
    pub scenario: String,
    /// The question that the scenario answers.
    pub question: String,
    /// The scenario's seed.
    pub seed: u64,
    /// Digest of the resolved plan, in hexadecimal.
    pub plan_digest: String,
    /// Source commit of the lab and the nodes, in hexadecimal.
    pub commit: String,
    /// The work tree held changes that the commit does not.
    pub dirty: bool,
    /// Wall-clock start as RFC 3339 text.
    pub started_at: String,
    /// Where the nodes ran, e.g. `local, loopback addresses`.
    pub provider: String,
    /// The nodes were simulated: every time is virtual.
    #[serde(default)]
    pub simulated: bool,
    /// Who makes delays, losses and rates of links, where the scenario asks for any, e.g. `delays inside the nodes'
    /// transport`.
    #[serde(default)]
    pub emulation: Option<String>,
    /// One command that repeats the run.
    pub reproduce: String,
    /// Further digests to state beside the command: build manifest, binaries, lock file.
    pub digests: Vec<NamedText>,
}

/// A name and a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedText {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A name and a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NamedNumber {
    /// What was counted or measured, unit last.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// What a node does in the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes in consensus.
    #[default]
    Validator,
    /// Follows the chain, verifies certificates and serves clients.
    Full,
    /// Follows only.
    Observer,
}

impl Role {
    /// The role in lower case, as scenario files write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Full => "full",
            Self::Observer => "observer",
        }
    }
}

/// One node of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Unique name, e.g. `val-0`.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The scenario group that it came from.
    pub group: String,
    /// Region, or empty.
    pub region: String,
    /// Address of the peer-to-peer port, e.g. `127.20.0.1:7000`.
    pub address: String,
    /// Digest of the program that it said that it runs when it first listened, in hexadecimal; that of its sealed build
    /// where it was not asked.
    pub binary_digest: String,
    /// Digest of the program that it said that it runs when the run ended, in hexadecimal; empty where it was not asked or
    /// did not answer.
    #[serde(default)]
    pub binary_digest_end: String,
    /// Behaviour when not honest, e.g. `equivocate`.
    pub byzantine: Option<String>,
}

/// One consensus instance of the plan, and what became of the transactions that were meant for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Its name.
    pub id: String,
    /// How votes travel in it, as scenario files write it.
    pub votes: String,
    /// Nodes that vote.
    pub validators: u64,
    /// Nodes that follow without a vote.
    pub followers: u64,
    /// Weight of all validators.
    pub weight: u64,
    /// The greatest height that a node had at the end; 0 if no ledger was read.
    pub height: u64,
    /// The ends of its transactions.
    pub accounting: Accounting,
}

/// A link between two nodes, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Edge {
    /// One end.
    pub a: String,
    /// The other end.
    pub b: String,
    /// The scenario rule that made it, e.g. `core` or `attach`; may be empty.
    pub rule: String,
}

/// What a phase is for; only transactions of [`PhaseKind::Measure`] count for the headline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// Spawning, dialling, waiting for readiness.
    #[default]
    Start,
    /// Load without measuring.
    Warmup,
    /// The measured time.
    Measure,
    /// Load after measuring, dropped.
    Cooldown,
    /// No more load; waiting until the accounting closes.
    Drain,
    /// Stopping and checking.
    Stop,
}

impl PhaseKind {
    /// The phase in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Warmup => "warm-up",
            Self::Measure => "measure",
            Self::Cooldown => "cool-down",
            Self::Drain => "drain",
            Self::Stop => "stop",
        }
    }
}

/// A phase as observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// What it was for.
    pub kind: PhaseKind,
    /// When it began.
    pub start_ms: u64,
    /// When it ended.
    pub end_ms: u64,
}

/// How transactions arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadMode {
    /// By a schedule made before the run, whatever the system does.
    #[default]
    Open,
    /// Each after the answer to the one before: not a latency test.
    Closed,
    /// As many as the system takes, to find its limit.
    Saturate,
}

/// One load of the scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// What is submitted, e.g. `opaque`.
    pub name: String,
    /// How arrivals are made.
    pub mode: LoadMode,
    /// Shape and rate in words, e.g. `Poisson, 1,000 tx/s, 512 B, to val`.
    pub description: String,
    /// Mean offered rate over the measure phase, transactions per second.
    pub offered_per_s: f64,
    /// Payload size in bytes.
    pub size_bytes: u64,
    /// What must be said beside every figure of it, e.g. `unsigned, not executed`.
    pub label: Option<String>,
}

/// The histograms of the measure phase, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// How long a transaction was waited for before it counted as timed out, in milliseconds.
    pub timeout_ms: u64,
    /// final - intended: the headline.
    pub response: HistogramSet,
    /// final - sent.
    pub service: HistogramSet,
    /// sent - intended: how late the generator was.
    pub lag: HistogramSet,
    /// accepted - sent.
    pub accepted: Counts,
    /// included - sent.
    pub included: Counts,
    /// executed - sent, where the node reports it.
    pub executed: Counts,
}

/// One histogram of the whole phase and one for each second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistogramSet {
    /// All of the measure phase.
    pub overall: Counts,
    /// By the second (since the origin) of the final stamp, or of the sent stamp for lag; empty seconds may be absent.
    pub intervals: Vec<Interval>,
}

/// The histogram of one second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The second since the origin.
    pub second: u32,
    /// What was recorded in it.
    pub counts: Counts,
}

/// Counts of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Second {
    /// The second since the origin.
    pub second: u32,
    /// Transactions whose intended time lies in it.
    pub intended: u64,
    /// Transactions sent in it.
    pub sent: u64,
    /// Transactions that became final in it, executed with success.
    pub finalised: u64,
    /// Transactions that became final in it, executed with failure.
    pub failed: u64,
    /// Transactions refused in it.
    pub rejected: u64,
}

/// One finalised block as the submitting clients saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// The consensus instance that decided it.
    #[serde(default)]
    pub instance: String,
    /// Its height.
    pub height: u64,
    /// When the first client learnt that it is final.
    pub at_ms: u64,
    /// All transactions in it.
    pub transactions: u64,
    /// Transactions of the load in it that succeeded.
    pub ok: u64,
    /// Response latency in microseconds of the load's transactions in it.
    pub latency: Counts,
}

/// Where every intended transaction ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accounting {
    /// Transactions of the arrival schedule.
    pub intended: u64,
    /// Never left the generator.
    pub not_sent: u64,
    /// Refused with an answer, by reason.
    pub rejected: Vec<Rejection>,
    /// Sent, and not final when the timeout passed.
    pub timed_out: u64,
    /// Sent, and the connection broke before an answer.
    pub unknown: u64,
    /// Final and executed with success.
    pub finalised_ok: u64,
    /// Final and executed with failure.
    pub finalised_failed: u64,
}

/// Transactions refused for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// The reason as the node names it, e.g. `mempool_full`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Whose process it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessKind {
    /// A node of the plan; the process has the node's name.
    #[default]
    Node,
    /// The lab itself: generator and sampler.
    Lab,
    /// A program of others that ran beside the nodes.
    Program,
}

/// One process over the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// The node's name, or a name for the lab's process.
    pub name: String,
    /// Whose it is.
    pub kind: ProcessKind,
    /// CPU seconds, user and system, over its whole life and all restarts.
    pub cpu_total_s: f64,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended when not by the lab's order, e.g. `killed by signal 9`.
    pub exit: Option<String>,
    /// Samples in time order.
    pub samples: Vec<Sample>,
    /// Traffic of the whole run by protocol.
    pub traffic: Vec<Traffic>,
}

/// One sample of a process; counters are cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// When it was taken.
    pub at_ms: u64,
    /// CPU seconds used so far.
    pub cpu_s: f64,
    /// Resident set in bytes.
    pub rss_bytes: u64,
    /// Private memory in bytes, 0 when unknown.
    pub private_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Bytes in the data folder.
    pub disk_bytes: u64,
    /// Height of the last finalised block.
    pub height: u64,
    /// Connected peers.
    pub peers: u64,
    /// Transactions executed so far.
    pub transactions: u64,
    /// Transactions waiting in the mempool.
    pub mempool: u64,
    /// Messages received so far.
    pub messages_in: u64,
    /// Messages sent so far.
    pub messages_out: u64,
    /// Bytes received so far.
    pub bytes_in: u64,
    /// Bytes sent so far.
    pub bytes_out: u64,
}

/// Traffic of one protocol at one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// The protocol or message kind, e.g. `vote`.
    pub protocol: String,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// Nodes that came and went by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Churn {
    /// Departures that were put off, so that a quorum stayed or since a fault met them.
    pub put_off: u64,
    /// Each absence, by departure.
    pub absences: Vec<Absence>,
}

/// One absence of one node, as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Absence {
    /// The node.
    pub node: String,
    /// When it was ended; 0 for one that was not started with the others.
    pub left_ms: u64,
    /// How it left: `killed`, `stopped` or `not started`.
    pub how: String,
    /// Whether it was to return.
    pub returns: bool,
    /// When it was started again.
    pub returned_ms: Option<u64>,
    /// When it had every block that the network had when it returned.
    pub caught_up_ms: Option<u64>,
    /// Blocks that it lacked of them when it first answered.
    pub blocks_behind: Option<u64>,
    /// What it fetched to catch up, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Fetched>,
    /// Why it did not return or did not catch up, if so.
    pub error: Option<String>,
}

/// What a node fetched from its neighbours to catch up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fetched {
    /// Height of the snapshot that it went on from; absent when it executed every block.
    pub snapshot_height: Option<u64>,
    /// Bytes of that snapshot.
    pub snapshot_bytes: u64,
    /// Blocks that it executed.
    pub blocks: u64,
    /// Bytes of their transactions.
    pub block_bytes: u64,
}

/// One correctness check over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invariant {
    /// Its name, e.g. `agreement`.
    pub name: String,
    /// Whether it held everywhere that was looked.
    pub holds: bool,
    /// What was looked at, or the first violation found.
    pub evidence: String,
    /// How much was looked at.
    pub numbers: Vec<NamedNumber>,
}

/// A validator that contradicted itself at one height, as nodes can prove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accusation {
    /// The consensus instance.
    pub instance: String,
    /// The validator.
    pub validator: String,
    /// The height.
    pub height: u64,
    /// The round of the statement that was seen first.
    pub round: u32,
    /// In which way it contradicted itself.
    pub kind: String,
    /// How many nodes hold the proof.
    pub told_by: u64,
    /// How many nodes were asked.
    pub asked: u64,
}

/// A doubt about the measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Short stable name, e.g. `host-pressure`.
    pub code: String,
    /// The run measures nothing because of it.
    pub void: bool,
    /// What was found, with the numbers.
    pub text: String,
}

/// An objective of the scenario and how it went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Objective {
    /// The metric, e.g. `latency_p99`.
    pub metric: String,
    /// What was wanted, e.g. `< 900 ms`.
    pub wanted: String,
    /// The wanted limit as a number, to draw in figures: microseconds, a share or transactions per second.
    pub limit: Option<f64>,
    /// What was observed, with its interval.
    pub observed: String,
    /// Whether it was met; `None` when the run cannot tell.
    pub met: Option<bool>,
    /// What was looked at: which time, and how many samples.
    #[serde(default)]
    pub evidence: String,
}

impl Objective {
    /// What was observed and where.
    #[must_use]
    pub fn told(&self) -> String {
        if self.evidence.is_empty() {
            self.observed.clone()
        } else {
            format!("{} ({})", self.observed, self.evidence)
        }
    }
}

/// One line of the disclosure list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disclosure {
    /// Heading, e.g. `machine`, `build` or `network`.
    pub section: String,
    /// What is disclosed, e.g. `CPU model`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A file with raw data, relative to the run's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RawFile {
    /// Relative path.
    pub path: String,
    /// What it holds.
    pub description: String,
    /// Size in bytes.
    pub size_bytes: u64,
}
