//! What changed between two runs, with intervals and a margin.

mod metrics;
mod render;

use crate::{
    model::RunRecord,
    result::{Estimate, RunResult, Status},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The comparison of a head run with a base run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The run that the other is measured against.
    pub base: Side,
    /// The run that is judged.
    pub head: Side,
    /// The share by which a metric may get worse, e.g. 0.05.
    pub margin: f64,
    /// How the head is judged.
    pub outcome: Outcome,
    /// Every metric that either run has.
    pub metrics: Vec<Change>,
    /// What else differs: scenario, source, load, machine.
    pub differences: Vec<Difference>,
    /// 0; 3 when a metric got worse beyond the margin; 4 when the head is incorrect; 6 when a run measures nothing.
    pub exit_code: u8,
}

/// One of the two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Its run id.
    pub run: String,
    /// Its scenario.
    pub scenario: String,
    /// Its commit, with a mark when the work tree was dirty.
    pub commit: String,
    /// How it was judged by itself.
    pub status: Status,
}

/// How the head compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing got worse beyond the margin.
    #[default]
    Unchanged,
    /// Something got better beyond the margin, and nothing worse.
    Better,
    /// At least one metric got worse beyond the margin.
    Worse,
    /// At least one metric cannot be decided, and none got worse.
    Inconclusive,
    /// One of the runs measures nothing or is incorrect.
    Incomparable,
}

/// One metric in both runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Its name, e.g. `response p99`.
    pub metric: String,
    /// Its value in the base as text, with interval.
    pub base: String,
    /// Its value in the head as text, with interval.
    pub head: String,
    /// Relative change with its 95 % interval, 0.05 for 5 % more; absent when a side has no number.
    pub change: Option<Estimate>,
    /// What it means.
    pub kind: ChangeKind,
}

/// What a change means, given the margin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The whole interval lies within the margin.
    Unchanged,
    /// Better by more than the margin, and the interval excludes no change.
    Better,
    /// Worse by more than the margin, and the interval excludes no change.
    Worse,
    /// The interval allows more than one of the above.
    #[default]
    Inconclusive,
    /// Shown and not judged: it has no interval, or one side lacks it.
    Shown,
}

/// Something that is not the same in both runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// What differs.
    pub what: String,
    /// Its value in the base.
    pub base: String,
    /// Its value in the head.
    pub head: String,
}

/// Compares `head` with `base`; `margin` is the share (0 to 1) by which a metric may get worse.
///
/// The intervals cover chance within each run. Chance between runs is not in them: two runs are no regression gate.
#[must_use]
pub fn compare(base: &RunResult, head: &RunResult, margin: f64) -> Comparison {
    let margin = if margin.is_finite() { margin.max(0.0) } else { 0.0 };
    let metrics = metrics::changes(base, head, margin);
    let differences = differences(base, head);
    let outcome = outcome(base, head, &metrics);
    let exit_code = match outcome {
        _ if head.verdict.status == Status::Incorrect => 4,
        Outcome::Incomparable => 6,
        Outcome::Worse => 3,
        Outcome::Unchanged | Outcome::Better | Outcome::Inconclusive => 0,
    };
    Comparison {
        base: side(base),
        head: side(head),
        margin,
        outcome,
        metrics,
        differences,
        exit_code,
    }
}

/// What to call a run in a comparison.
fn side(result: &RunResult) -> Side {
    let identity = &result.record.identity;
    let dirty = if identity.dirty { "+changes" } else { "" };
    Side {
        run: identity.run.clone(),
        scenario: identity.scenario.clone(),
        commit: format!("{}{dirty}", identity.commit),
        status: result.verdict.status,
    }
}

/// The worst of what the metrics say; runs that measure nothing say nothing.
fn outcome(base: &RunResult, head: &RunResult, metrics: &[Change]) -> Outcome {
    let any = |kind| metrics.iter().any(|change| change.kind == kind);
    if !base.verdict.status.speed_counts() || !head.verdict.status.speed_counts() {
        Outcome::Incomparable
    } else if any(ChangeKind::Worse) {
        Outcome::Worse
    } else if any(ChangeKind::Inconclusive) {
        Outcome::Inconclusive
    } else if any(ChangeKind::Better) {
        Outcome::Better
    } else {
        Outcome::Unchanged
    }
}

/// What was not the same in both runs, from scenario to machine.
fn differences(base: &RunResult, head: &RunResult) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut note = |what: &str, base: String, head: String| {
        if base != head {
            all.push(Difference {
                what: what.to_owned(),
                base,
                head,
            });
        }
    };
    let [a, b] = [base, head].map(|result| &result.record);
    let [ia, ib] = [&a.identity, &b.identity];
    note("scenario", ia.scenario.clone(), ib.scenario.clone());
    note("plan", ia.plan_digest.clone(), ib.plan_digest.clone());
    note("seed", ia.seed.to_string(), ib.seed.to_string());
    note("commit", side(base).commit, side(head).commit);
    note("provider", ia.provider.clone(), ib.provider.clone());
    note("nodes", a.nodes.len().to_string(), b.nodes.len().to_string());
    let loads = |result: &RunResult| {
        let texts = result
            .record
            .loads
            .iter()
            .map(|load| format!("{} {}", load.name, load.description));
        texts.collect::<Vec<String>>().join("; ")
    };
    note("load", loads(base), loads(head));
    for (section, name) in disclosed(a, b) {
        let value = |record: &RunRecord| {
            let line = record
                .environment
                .iter()
                .find(|line| line.section == section && line.name == name);
            line.map_or_else(|| "not disclosed".to_owned(), |line| line.value.clone())
        };
        note(&format!("{section}: {name}"), value(a), value(b));
    }
    all
}

/// Section and name of everything that either run disclosed, each once.
fn disclosed<'a>(a: &'a RunRecord, b: &'a RunRecord) -> BTreeSet<(&'a str, &'a str)> {
    let lines = a.environment.iter().chain(&b.environment);
    lines.map(|line| (line.section.as_str(), line.name.as_str())).collect()
}

#[cfg(test)]
mod tests;
