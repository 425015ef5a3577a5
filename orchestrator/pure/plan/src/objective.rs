//! Objectives: `latency_p99 = "< 900ms"` as a typed comparison.

use crate::units::{Duration, Ratio, Size};
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
    /// Which time counts.
    pub scope: Scope,
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

/// Which time an objective is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of the measuring window.
    #[default]
    All,
    /// Only while no fault is on.
    OutsideFaults,
    /// Only while a fault is on.
    DuringFaults,
}

impl Scope {
    /// How a scenario writes it, behind the bound.
    const WRITTEN: [(&str, Self); 2] = [
        ("outside faults", Self::OutsideFaults),
        ("during faults", Self::DuringFaults),
    ];
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
    /// Longest time from the end of a fault to the first block after it.
    FirstBlock = "first_block" in Milliseconds,
    /// Longest time from the end of a fault until responses are as fast as before the first one.
    Recovery = "recovery" in Milliseconds,
    /// Median response time: final - intended.
    LatencyP50 = "latency_p50" in Milliseconds,
    /// Response time that 90 % stay below.
    LatencyP90 = "latency_p90" in Milliseconds,
    /// Response time that 99 % stay below.
    LatencyP99 = "latency_p99" in Milliseconds,
    /// Response time that 99.9 % stay below.
    LatencyP999 = "latency_p999" in Milliseconds,
    /// Share of the offered transactions that were final and ok inside the window.
    Goodput = "goodput" in Fraction,
    /// Final and ok transactions per second inside the window.
    GoodputRate = "goodput_rate" in PerSecond,
    /// Lag of the load generator that 99 % stay below: sent - intended.
    LagP99 = "lag_p99" in Milliseconds,
    /// Share of the transactions that were refused.
    Rejected = "rejected" in Fraction,
    /// Greatest resident memory of a node.
    Memory = "memory" in Bytes,
    /// CPU of all nodes per 1,000 final transactions, in seconds.
    Cpu = "cpu" in CpuSeconds,
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

/// What a scenario must have for a metric to be emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing more than nodes.
    Nothing,
    /// A load.
    Load,
    /// Emulated links.
    Link,
    /// A load, and a fault or a nemesis.
    Fault,
}

impl Metric {
    /// Whether it can be told for the time outside or during faults alone.
    pub(crate) fn has_scopes(self) -> bool {
        matches!(
            self,
            Self::Stall
                | Self::LatencyP50
                | Self::LatencyP90
                | Self::LatencyP99
                | Self::LatencyP999
                | Self::Goodput
                | Self::GoodputRate
        )
    }

    /// What must be in the scenario for a run to emit it.
    pub(crate) fn needs(self) -> Need {
        match self {
            Self::Agreement | Self::Certificates | Self::Stall | Self::Memory => Need::Nothing,
            Self::LinkError => Need::Link,
            Self::FirstBlock | Self::Recovery => Need::Fault,
            Self::NoLoss
            | Self::NoDuplicates
            | Self::Integrity
            | Self::LatencyP50
            | Self::LatencyP90
            | Self::LatencyP99
            | Self::LatencyP999
            | Self::Goodput
            | Self::GoodputRate
            | Self::LagP99
            | Self::Rejected
            | Self::Cpu => Need::Load,
        }
    }
}

/// Why a text is no objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no objective for `{metric}`")]
pub(crate) struct ObjectiveError {
    text: String,
    metric: Metric,
}

impl ObjectiveError {
    /// How to write it.
    pub(crate) fn help(&self) -> String {
        let example = match self.metric.unit() {
            Unit::Invariant => "always",
            Unit::Milliseconds => "< 900ms",
            Unit::Fraction => ">= 98%",
            Unit::PerSecond => ">= 1000",
            Unit::Bytes => "<= 64MiB",
            Unit::CpuSeconds => "< 0.5s",
        };
        format!("write it as {} = \"{example}\"", self.metric)
    }
}

impl Objective {
    /// Parses `text` as an objective on `metric`: a comparison, a bound in the metric's unit and, where only some time shall
    /// count, `outside faults` or `during faults`; for an invariant `always`.
    pub(crate) fn parse(metric: Metric, text: &str) -> Result<Self, ObjectiveError> {
        /// Two characters before one, so that `<=` is not read as `<`.
        const COMPARISONS: [(&str, Comparison); 4] = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Below),
            (">", Comparison::Above),
        ];
        let error = || ObjectiveError {
            text: text.chars().take(60).collect(),
            metric,
        };
        let trimmed = text.trim();
        let mut written = Scope::WRITTEN.iter();
        let scoped = written.find_map(|(words, scope)| Some((trimmed.strip_suffix(words)?.trim_end(), *scope)));
        let (rest, scope) = scoped.unwrap_or((trimmed, Scope::All));
        if scope != Scope::All && !metric.has_scopes() {
            return Err(error());
        }
        let objective = |comparison, bound| Self {
            metric,
            comparison,
            bound,
            scope,
            text: trimmed.to_owned(),
        };
        if metric.unit() == Unit::Invariant {
            return if rest == "always" {
                Ok(objective(Comparison::Always, 0.0))
            } else {
                Err(error())
            };
        }
        let found = COMPARISONS
            .iter()
            .find_map(|(sign, comparison)| Some((rest.strip_prefix(sign)?, *comparison)));
        let (bound, comparison) = found.ok_or_else(error)?;
        let bound = bound_in(metric.unit(), bound.trim())
            .filter(|bound| bound.is_finite())
            .ok_or_else(error)?;
        Ok(objective(comparison, bound))
    }
}

/// `text` as a number in `unit`.
fn bound_in(unit: Unit, text: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| *number >= 0.0);
    match unit {
        Unit::Invariant => None,
        Unit::Milliseconds => text.parse::<Duration>().ok().map(|time| time.0 as f64 / 1e6),
        Unit::Fraction => text.parse::<Ratio>().ok().map(|ratio| ratio.0),
        Unit::PerSecond => number(text.strip_suffix("tx/s").unwrap_or(text)),
        Unit::Bytes => text.parse::<Size>().ok().map(|size| size.0 as f64),
        Unit::CpuSeconds => number(text.strip_suffix('s').unwrap_or(text)),
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(metric: Metric, text: &str) -> Option<(Comparison, f64, bool)> {
        let objective = Objective::parse(metric, text).ok()?;
        Some((objective.comparison, objective.bound, objective.scope != Scope::All))
    }

    #[test]
    fn faults_are_left_out_or_looked_at_alone_where_that_can_be_told() {
        let scope = |metric, text| Objective::parse(metric, text).map(|objective| objective.scope).ok();
        assert_eq!(scope(Metric::Stall, "< 3s"), Some(Scope::All));
        assert_eq!(
            scope(Metric::LatencyP99, "< 3s outside faults"),
            Some(Scope::OutsideFaults)
        );
        assert_eq!(
            scope(Metric::GoodputRate, ">= 3 during faults"),
            Some(Scope::DuringFaults)
        );
        assert_eq!(scope(Metric::Memory, "< 3MiB during faults"), None);
        assert_eq!(scope(Metric::Stall, "< 3s during faults outside faults"), None);
    }

    #[test]
    fn objectives_are_read_in_their_units() {
        assert_eq!(
            parse(Metric::Agreement, "always"),
            Some((Comparison::Always, 0.0, false))
        );
        assert_eq!(
            parse(Metric::Stall, "< 3s outside faults"),
            Some((Comparison::Below, 3000.0, true))
        );
        assert_eq!(
            parse(Metric::LatencyP99, "<=900us"),
            Some((Comparison::AtMost, 0.9, false))
        );
        assert_eq!(
            parse(Metric::Goodput, ">= 98%"),
            Some((Comparison::AtLeast, 0.98, false))
        );
        assert_eq!(
            parse(Metric::GoodputRate, "> 20000 tx/s"),
            Some((Comparison::Above, 20_000.0, false))
        );
        assert_eq!(
            parse(Metric::Memory, "<= 12MiB"),
            Some((Comparison::AtMost, 12_582_912.0, false))
        );
        assert_eq!(parse(Metric::Cpu, "< 0.5s"), Some((Comparison::Below, 0.5, false)));
    }

    #[test]
    fn what_is_no_objective_is_refused_with_an_example() {
        for (metric, text) in [
            (Metric::Agreement, "< 1"),
            (Metric::Agreement, "always outside faults"),
            (Metric::LatencyP99, "900ms"),
            (Metric::LatencyP99, "always"),
            (Metric::LatencyP99, "< 900"),
            (Metric::Goodput, ">= 980%"),
            (Metric::GoodputRate, "> inf"),
            (Metric::Cpu, "< -1"),
            (Metric::Stall, ""),
        ] {
            let error = Objective::parse(metric, text).unwrap_err();
            assert!(error.help().contains(metric.name()), "{metric} {text}");
        }
    }

    #[test]
    fn values_are_compared_with_the_bound() {
        let objective = Objective::parse(Metric::Goodput, ">= 98%").unwrap();
        assert_eq!(objective.is_met_by(0.98), Some(true));
        assert_eq!(objective.is_met_by(0.97), Some(false));
        let invariant = Objective::parse(Metric::Agreement, "always").unwrap();
        assert_eq!(invariant.is_met_by(1.0), None);
    }

    #[test]
    fn every_metric_reads_its_own_example() {
        for &metric in Metric::ALL {
            assert_eq!(Metric::by_name(metric.name()), Some(metric));
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
            let help = ObjectiveError {
                text: String::new(),
                metric,
            }
            .help();
            let example = help.split('"').nth(1).unwrap();
            assert!(Objective::parse(metric, example).is_ok(), "{help}");
            assert!(metric.meaning().ends_with('.'), "{metric}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(index in 0..Metric::ALL.len(), text in "[<>=]{0,2} ?.{0,20}") {
            let _ = Objective::parse(Metric::ALL[index], &text);
        }
    }
}
