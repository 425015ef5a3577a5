//! Objectives: `latency_p99 = "< 900ms"` as a typed comparison.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run must reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// What is measured.
    pub metric: Metric,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what, in the metric's [`Unit`]; 0 for [`Comparison::Always`].
    pub bound: f64,
    /// Whether time under a fault is left out.
    pub outside_faults: bool,
    /// The objective as written.
    pub text: String,
}

impl Objective {
    /// Whether `value`, in the metric's unit, meets the bound; `None` for an invariant, which is no number.
    #[must_use]
    pub fn is_met_by(&self, value: f64) -> Option<bool> {
        match self.comparison {
            Comparison::Always => None,
            Comparison::Below => Some(value < self.bound),
            Comparison::AtMost => Some(value <= self.bound),
            Comparison::Above => Some(value > self.bound),
            Comparison::AtLeast => Some(value >= self.bound),
        }
    }
}

/// How a metric is compared with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// An invariant that must hold.
    Always,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// In what a metric is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// An invariant: holds or does not.
    Invariant,
    /// Milliseconds.
    Milliseconds,
    /// A fraction of 1.
    Fraction,
    /// Transactions per second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// CPU seconds per 1,000 transactions.
    CpuSeconds,
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal in $unit:ident,)+) => {
        /// What objectives may speak of: exactly what a run emits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Metric {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Metric {
            /// All metrics.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name in a scenario.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it is counted in.
            #[must_use]
            pub fn unit(self) -> Unit {
                match self {
                    $(Self::$variant => Unit::$unit,)+
                }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

metrics! {
    /// Same block and state at each height on every node.
    Agreement = "agreement" in Invariant,
    /// Every block has a valid certificate.
    Certificates = "certificates" in Invariant,
    /// No acknowledged transaction is lost.
    NoLoss = "no_loss" in Invariant,
    /// No transaction is included twice.
    NoDuplicates = "no_duplicates" in Invariant,
    /// Every included transaction was submitted.
    Integrity = "integrity" in Invariant,
    /// Longest time without a new block.
    Stall = "stall" in Milliseconds,
    /// Median response time: final - intended.
    LatencyP50 = "latency_p50" in Milliseconds,
    /// Response time that 90 % stay below.
    LatencyP90 = "latency_p90" in Milliseconds,
    /// Response time that 99 % stay below.
    LatencyP99 = "latency_p99" in Milliseconds,
    /// Response time that 99.9 % stay below.
    LatencyP999 = "latency_p999" in Milliseconds,
    /// Longest response time.
    LatencyMax = "latency_max" in Milliseconds,
    /// Share of the offered transactions that were final and ok inside the window.
    Goodput = "goodput" in Fraction,
    /// Final and ok transactions per second inside the window.
    Throughput = "throughput" in PerSecond,
    /// Lag of the load generator that 99 % stay below: sent - intended.
    LagP99 = "lag_p99" in Milliseconds,
    /// Share of the transactions that were refused.
    Rejected = "rejected" in Fraction,
    /// Greatest resident memory of a node.
    Memory = "memory" in Bytes,
    /// CPU of all nodes per 1,000 final transactions, in seconds.
    Cpu = "cpu" in CpuSeconds,
    /// Time from a fault's end to the first block after it.
    Recovery = "recovery" in Milliseconds,
    /// Largest relative error of the emulated links.
    LinkError = "link_error" in Fraction,
}

impl Metric {
    /// The metric called `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.name() == name)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
