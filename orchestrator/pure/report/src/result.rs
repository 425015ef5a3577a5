//! The result of a run: the record, what it adds up to and the verdict, as one versioned document.

use crate::model::RunRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the result document; raised whenever a reader of the one before would misread it.
pub const RESULT_VERSION: u32 = 1;

/// The contents of `result.json`: enough to render every report again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// [`RESULT_VERSION`] at the time of writing.
    pub version: u32,
    /// How the run is judged.
    pub verdict: Verdict,
    /// What the record adds up to.
    pub summary: Summary,
    /// What was observed.
    pub record: RunRecord,
}

/// How a run is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The single word that opens the sentence.
    pub status: Status,
    /// One sentence that says all that matters, status first.
    pub sentence: String,
    /// Validity and correctness, and objectives when the scenario has any.
    pub chips: Vec<Chip>,
    /// What is wrong or uncertain, worst first.
    pub problems: Vec<String>,
    /// The exit code of the lab for this run.
    pub exit_code: u8,
}

/// The outcome of a run, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The measurement stands, every check held, every objective was met.
    #[default]
    Valid,
    /// An objective could not be decided or the run was not steady.
    Inconclusive,
    /// An objective was missed.
    Missed,
    /// The measurement measures nothing.
    Invalid,
    /// The run could not be carried out.
    Broken,
    /// A correctness check failed.
    Incorrect,
}

/// How one aspect of a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chip {
    /// The aspect: `validity`, `correctness` or `objectives`.
    pub aspect: String,
    /// How it went.
    pub state: ChipState,
    /// A few words, e.g. `5 of 5 invariants hold`.
    pub text: String,
}

/// Good, doubtful or bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChipState {
    /// As it should be.
    #[default]
    Good,
    /// Cannot be told.
    Doubtful,
    /// Not as it should be.
    Bad,
}

/// What a record adds up to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The time that the headline is measured over.
    pub window: Window,
    /// Quantiles of the response latency, ascending.
    pub response: Vec<Quantile>,
    /// Transactions executed with success inside the window for each second of it.
    pub goodput_per_s: Option<Estimate>,
    /// Mean offered rate inside the window, transactions per second.
    pub offered_per_s: f64,
    /// Mean time between two blocks inside the window, in milliseconds.
    pub block_interval_ms: Option<Estimate>,
    /// The accounting identity.
    pub accounting: AccountingCheck,
    /// Whether the generator kept to its schedule.
    pub generator: GeneratorCheck,
    /// Whether the run had settled; absent when the window is too short to tell or a fault acts in it.
    pub steady: Option<SteadyCheck>,
    /// CPU per successful transaction inside the window; absent without samples or transactions.
    pub cpu: Option<CpuCost>,
    /// What a block costs; absent without samples or blocks inside the window.
    pub block_cost: Option<BlockCost>,
    /// One row for each node, in plan order.
    pub nodes: Vec<NodeSummary>,
    /// One row for each consensus instance, in plan order.
    #[serde(default)]
    pub instances: Vec<InstanceSummary>,
    /// How soon after each fault everything was as before.
    #[serde(default)]
    pub recoveries: Vec<Recovery>,
    /// Who came and went; absent where all nodes were there all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<ChurnSummary>,
}

/// Nodes that came and went by themselves, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChurnSummary {
    /// Nodes that left.
    pub departures: u64,
    /// Nodes that were not started with the others, and later.
    pub late_starts: u64,
    /// Nodes that left and were started again.
    pub returns: u64,
    /// Absences that were not to end.
    pub stay_away: u64,
    /// Departures that were put off, so that a quorum stayed or since a fault met them.
    pub put_off: u64,
    /// Starts after which the node had every block that the network had then.
    pub caught_up: u64,
    /// Those of them that went on from a snapshot.
    #[serde(default)]
    pub by_snapshot: u64,
    /// Median time from a start to that, in milliseconds.
    pub catch_up_p50_ms: Option<u64>,
    /// Its 90th percentile.
    pub catch_up_p90_ms: Option<u64>,
    /// The longest.
    pub catch_up_max_ms: Option<u64>,
    /// Most blocks that a node lacked when it returned.
    pub blocks_behind_max: Option<u64>,
    /// Fewest nodes that were up at a time.
    pub fewest_up: u64,
}

/// What clients noticed after a fault had ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// The fault, in the words of its event.
    pub fault: String,
    /// When it was observed to end, milliseconds since the origin.
    pub ended_ms: u64,
    /// How long it was watched from there: to the next fault or the end of the load, in milliseconds.
    #[serde(default)]
    pub watched_ms: u64,
    /// From there to the first block, in milliseconds; absent when there was none before the next fault or the end.
    pub first_block_ms: Option<u64>,
    /// Median response before the first fault, in microseconds.
    pub before_p50_us: Option<u64>,
    /// From the end of the fault to the last block whose median response was more than twice that, in milliseconds; to
    /// the first block when none was. Absent when latency did not come down.
    pub steady_ms: Option<u64>,
}

/// What one consensus instance did inside the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceSummary {
    /// Its name.
    pub id: String,
    /// Finalised blocks.
    pub blocks: u64,
    /// Mean time between two of its blocks, in milliseconds.
    pub block_interval_ms: Option<Estimate>,
    /// Transactions executed with success for each second.
    pub goodput_per_s: Option<Estimate>,
    /// Median response latency.
    pub response_p50: QuantileValue,
    /// 99th percentile of the response latency.
    pub response_p99: QuantileValue,
}

/// The measured time after the warm-up cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// Its beginning, milliseconds since the origin.
    pub start_ms: u64,
    /// Its end, milliseconds since the origin.
    pub end_ms: u64,
    /// How much MSER-5 cut from the front of the measure phase, in milliseconds.
    pub cut_ms: u64,
    /// MSER-5 wanted to cut more than half: nothing was cut and the run never settled.
    pub cut_refused: bool,
    /// Finalised blocks inside it.
    pub blocks: u64,
    /// Finalised blocks inside it that carried transactions of the load: the units of resampling.
    pub loaded_blocks: u64,
}

impl Window {
    /// Its length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.end_ms.saturating_sub(self.start_ms) as f64 / 1000.0
    }

    /// Whether a time lies inside it; the end does not.
    #[must_use]
    pub fn contains(&self, at_ms: u64) -> bool {
        (self.start_ms..self.end_ms).contains(&at_ms)
    }
}

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The point estimate.
    pub value: f64,
    /// Lower bound of the interval.
    pub low: f64,
    /// Upper bound of the interval.
    pub high: f64,
}

/// A quantile of the response latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantile {
    /// The share of transactions at or below it, e.g. 0.99.
    pub q: f64,
    /// What can be said about it.
    pub value: QuantileValue,
}

/// What a run can say about a quantile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum QuantileValue {
    /// No transaction became final.
    #[default]
    Nothing,
    /// Measured, in microseconds.
    Measured(Estimate),
    /// Too few blocks to say.
    NeedsBlocks {
        /// Blocks needed.
        needed: u64,
        /// Blocks in the window.
        have: u64,
    },
    /// More transactions were lost than the quantile leaves out.
    AtLeastTimeout {
        /// The timeout in milliseconds.
        timeout_ms: u64,
    },
}

/// The accounting identity, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountingCheck {
    /// intended = not sent + rejected + timed out + unknown + finalised.
    pub closes: bool,
    /// Intended less the sum of all ends; 0 when it closes.
    pub difference: i64,
    /// Refused for any reason.
    pub rejected: u64,
    /// Finalised, with success or failure.
    pub finalised: u64,
    /// Share of intended transactions that did not become final, 0 to 1.
    pub lost_share: f64,
}

/// Whether the generator kept to its schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorCheck {
    /// Median of sent - intended, in microseconds.
    pub lag_p50_us: u64,
    /// 99th percentile of sent - intended, in microseconds.
    pub lag_p99_us: u64,
    /// The most that the 99th percentile may be: max(5 ms, 5 % of the response median), in microseconds.
    pub lag_limit_us: u64,
    /// Sent / intended, 0 to 1.
    pub sent_share: f64,
    /// Both are within their limits.
    pub valid: bool,
}

/// Whether the run had settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SteadyCheck {
    /// Theil-Sen slope of the backlog (sent less answered) as a share of the offered rate.
    pub backlog_slope_share: f64,
    /// Difference of the goodput of both halves as a share of their mean.
    pub halves_difference: f64,
    /// Slope below 1 % and halves within 5 %, or within what chance alone explains.
    pub steady: bool,
}

/// CPU per successful transaction, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuCost {
    /// Of all nodes together.
    pub nodes_us_per_tx: Estimate,
    /// Of the lab: generator, stamps and sampling.
    pub lab_us_per_tx: f64,
}

/// What a block costs, with everything that the nodes do beside it; from the samples around the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlockCost {
    /// Finalised blocks for each second of the window.
    pub blocks_per_s: f64,
    /// CPU of all nodes together, in microseconds.
    pub nodes_us: f64,
    /// CPU of all nodes for each message that one of them sends to another, in microseconds; with everything else that
    /// they do.
    #[serde(default)]
    pub message_us: f64,
    /// Messages that a node sends, on average.
    pub messages_per_node: f64,
    /// Bytes that a node sends, on average.
    pub bytes_per_node: f64,
}

/// A node over the whole run; rates are over the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeSummary {
    /// Its name.
    pub name: String,
    /// Height of its last finalised block.
    pub height: u64,
    /// Transactions that it executed.
    pub transactions: u64,
    /// Mean CPU inside the window in percent of one core.
    pub cpu_percent: f64,
    /// CPU seconds over its whole life.
    pub cpu_total_s: f64,
    /// Largest resident set in bytes.
    pub rss_max_bytes: u64,
    /// Largest private memory in bytes, 0 when unknown.
    pub private_max_bytes: u64,
    /// Most open descriptors.
    pub descriptors_max: u64,
    /// Bytes in its data folder at the end.
    pub disk_bytes: u64,
    /// Connected peers at the end.
    pub peers: u64,
    /// Messages received over the whole run.
    pub messages_in: u64,
    /// Messages sent over the whole run.
    pub messages_out: u64,
    /// Bytes received over the whole run.
    pub bytes_in: u64,
    /// Bytes sent over the whole run.
    pub bytes_out: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// It was sampled at least once.
    pub sampled: bool,
}
