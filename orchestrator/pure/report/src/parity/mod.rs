//! One scenario with real and with simulated nodes: where they differ, and by how much.
//!
//! Nothing is judged better or worse here: the real run is what is true, and a ratio tells how far the simulated one is
//! from it.

mod figures;
mod render;

use crate::{
    compare::{self, Change},
    figure::Figure,
    format,
    result::{BlockCost, Estimate, RunResult, Status},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the parity document; raised whenever a reader of the one before would misread it.
pub const PARITY_VERSION: u32 = 1;

/// A real run beside a simulated one of the same scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parity {
    /// [`PARITY_VERSION`] at the time of writing.
    pub version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The question that the scenario answers.
    pub question: String,
    /// The run with real nodes.
    pub real: Side,
    /// The run with simulated nodes.
    pub simulated: Side,
    /// Every figure that either run has.
    pub rows: Vec<Row>,
    /// Why the two should not be set beside each other, when there is a reason.
    pub problems: Vec<String>,
    /// What else is not the same in both runs: `what: real → simulated`.
    pub differences: Vec<String>,
    /// One command that makes the page again.
    pub reproduce: String,
}

/// One of the two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Its run id.
    pub run: String,
    /// When it began, as RFC 3339 text.
    pub started_at: String,
    /// Its commit, with a mark when the work tree was dirty.
    pub commit: String,
    /// How it was judged by itself.
    pub status: Status,
    /// The same in a sentence.
    pub sentence: String,
}

/// One figure of both runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// What it is, e.g. `response p50`.
    pub figure: String,
    /// Its value with real nodes as text, with its interval where it has one.
    pub real: String,
    /// Its value with simulated nodes.
    pub simulated: String,
    /// Simulated by real, with its 95 % interval; absent when a side has no number.
    pub ratio: Option<Estimate>,
}

impl Row {
    /// By how much the two differ, in either direction: at least 1; absent when a side has no number.
    #[must_use]
    pub fn factor(&self) -> Option<f64> {
        let ratio = self.ratio?.value;
        (ratio > 0.0).then(|| ratio.max(1.0 / ratio))
    }
}

/// Sets a real run and a simulated one beside each other. `reproduce` is the command that makes the page again.
#[must_use]
pub fn parity(real: &RunResult, simulated: &RunResult, reproduce: &str) -> Parity {
    let comparison = compare::compare(real, simulated, 0.0);
    let is_of_both = |change: &&Change| change.metric != "largest memory of a node";
    let mut rows: Vec<Row> = comparison.metrics.iter().filter(is_of_both).map(row).collect();
    let costs = [real, simulated].map(|result| result.summary.block_cost.as_ref());
    rows.push(plain(
        "blocks",
        costs,
        |cost| cost.blocks_per_s,
        |value| format!("{} blocks/s", format::number(value)),
    ));
    rows.push(plain("CPU per block", costs, |cost| cost.nodes_us, format::duration_us));
    rows.retain(|row| row.real != "–" || row.simulated != "–");
    let identity = &real.record.identity;
    let differences = comparison.differences.iter();
    Parity {
        version: PARITY_VERSION,
        scenario: identity.scenario.clone(),
        question: identity.question.clone(),
        real: side(real),
        simulated: side(simulated),
        rows,
        problems: problems(real, simulated),
        differences: differences
            .map(|one| format!("{}: {} → {}", one.what, one.base, one.head))
            .collect(),
        reproduce: reproduce.to_owned(),
    }
}

impl Parity {
    /// The figure that differs most, with its factor.
    #[must_use]
    pub fn widest(&self) -> Option<(&Row, f64)> {
        let factors = self.rows.iter().filter_map(|row| Some((row, row.factor()?)));
        factors.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// One sentence: how many figures agree within a tenth and within a factor of two, and which one differs most.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Some((row, factor)) = self.widest() else {
            return "the two runs have no figure in common".to_owned();
        };
        let within = |most: f64| {
            let factors = self.rows.iter().filter_map(Row::factor);
            factors.filter(|factor| *factor <= most).count()
        };
        let all = self.rows.iter().filter_map(Row::factor).count();
        format!(
            "{} of {all} figures agree within 10 %, {} within a factor of 2; the most different is {}, by a factor of {}",
            within(1.1),
            within(2.0),
            row.figure,
            format::number(factor)
        )
    }

    /// The figures that differ by more than a factor, with theirs.
    #[must_use]
    pub fn beyond(&self, most: f64) -> Vec<String> {
        let factors = self.rows.iter().filter_map(|row| Some((row, row.factor()?)));
        let far = factors.filter(|(_, factor)| *factor > most);
        far.map(|(row, factor)| format!("{} by a factor of {}", row.figure, format::number(factor)))
            .collect()
    }

    /// The drawings of the page.
    #[must_use]
    pub fn figures(&self, real: &RunResult, simulated: &RunResult) -> Vec<Figure> {
        figures::figures(self, real, simulated)
    }
}

fn row(change: &Change) -> Row {
    let plus_one = |change: Estimate| Estimate {
        value: change.value + 1.0,
        low: change.low + 1.0,
        high: change.high + 1.0,
    };
    Row {
        figure: change.metric.clone(),
        real: change.base.clone(),
        simulated: change.head.clone(),
        ratio: change.change.map(plus_one),
    }
}

/// A figure of blocks, which has no interval.
fn plain(figure: &str, costs: [Option<&BlockCost>; 2], value: fn(&BlockCost) -> f64, show: fn(f64) -> String) -> Row {
    let [real, simulated] = costs.map(|cost| cost.map(value));
    let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), show);
    let ratio = real.zip(simulated).filter(|(real, _)| *real > 0.0);
    Row {
        figure: figure.to_owned(),
        real: text(real),
        simulated: text(simulated),
        ratio: ratio.map(|(real, simulated)| {
            let value = simulated / real;
            Estimate {
                value,
                low: value,
                high: value,
            }
        }),
    }
}

fn side(result: &RunResult) -> Side {
    let identity = &result.record.identity;
    let dirty = if identity.dirty { "+changes" } else { "" };
    Side {
        run: identity.run.clone(),
        started_at: identity.started_at.clone(),
        commit: format!("{}{dirty}", identity.commit),
        status: result.verdict.status,
        sentence: result.verdict.sentence.clone(),
    }
}

/// Reasons not to read the ratios.
fn problems(real: &RunResult, simulated: &RunResult) -> Vec<String> {
    let mut problems = Vec::new();
    let [a, b] = [real, simulated].map(|result| &result.record.identity);
    if a.simulated {
        problems.push(format!("the nodes of {} were not real", a.run));
    }
    if !b.simulated {
        problems.push(format!("the nodes of {} were not simulated", b.run));
    }
    if a.scenario != b.scenario {
        problems.push(format!("the scenarios are two: {} and {}", a.scenario, b.scenario));
    }
    if side(real).commit != side(simulated).commit {
        problems.push("the programs are of two commits".to_owned());
    }
    for result in [real, simulated] {
        let status = result.verdict.status;
        if !status.speed_counts() {
            problems.push(format!(
                "{} measures nothing: it is {}",
                result.record.identity.run,
                status.word()
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
