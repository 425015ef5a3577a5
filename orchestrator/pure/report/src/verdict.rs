//! The verdict: one sentence, its chips and the exit code, worst finding first.

use crate::{
    format,
    model::{LoadMode, RunRecord},
    result::{Chip, ChipState, QuantileValue, RESULT_VERSION, RunResult, Status, Summary, Verdict},
    summary::summarise,
};

/// Judges a record: summary, verdict and record as one result.
///
/// `strict` makes an inconclusive run fail with its own exit code.
#[must_use]
pub fn evaluate(record: RunRecord, strict: bool) -> RunResult {
    let summary = summarise(&record);
    let verdict = judge(&record, &summary, strict);
    RunResult {
        version: RESULT_VERSION,
        verdict,
        summary,
        record,
    }
}

/// Judges a record by its summary; correctness comes before everything, then whether anything was measured at all.
#[must_use]
pub fn judge(record: &RunRecord, summary: &Summary, strict: bool) -> Verdict {
    let problems = Problems::of(record, summary);
    let status = problems.status();
    let exit_code = match status {
        Status::Valid => 0,
        Status::Inconclusive => u8::from(strict) * 5,
        Status::Broken => 1,
        Status::Missed => 3,
        Status::Incorrect => 4,
        Status::Invalid => 6,
    };
    debug_assert_eq!(
        status == Status::Valid,
        problems.is_empty(),
        "valid means that nothing is wrong"
    );
    let mut chips = vec![problems.validity_chip(), problems.correctness_chip(record)];
    chips.extend(objectives_chip(record));
    Verdict {
        status,
        sentence: sentence(status, &problems, record, summary),
        chips,
        problems: problems.all(),
        exit_code,
    }
}

impl Status {
    /// The word that opens the verdict.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Missed => "MISSED",
            Self::Invalid => "INVALID",
            Self::Broken => "BROKEN",
            Self::Incorrect => "INCORRECT",
        }
    }

    /// Whether figures of speed may open the report.
    #[must_use]
    pub fn speed_counts(self) -> bool {
        matches!(self, Self::Valid | Self::Inconclusive | Self::Missed)
    }
}

impl RunResult {
    /// Whether figures of speed may open the report: something was measured, and nothing incorrect.
    #[must_use]
    pub fn speed_counts(&self) -> bool {
        self.verdict.status.speed_counts() && self.record.accounting.intended > 0
    }
}

/// What is wrong, by kind.
#[derive(Default)]
struct Problems {
    incorrect: Vec<String>,
    broken: Vec<String>,
    invalid: Vec<String>,
    missed: Vec<String>,
    doubtful: Vec<String>,
    /// The run was long and quiet enough to be found steady.
    settled: bool,
}

impl Problems {
    /// Everything that is wrong with a run.
    fn of(record: &RunRecord, summary: &Summary) -> Self {
        let mut problems = Self {
            broken: record.failure.iter().cloned().collect(),
            ..Self::default()
        };
        let violated = record.invariants.iter().filter(|invariant| !invariant.holds);
        problems
            .incorrect
            .extend(violated.map(|invariant| format!("{}: {}", invariant.name, invariant.evidence)));
        problems.find_invalid(record, summary);
        problems.find_missed(record);
        problems.find_doubtful(record, summary);
        problems
    }

    /// What makes the measurement void.
    fn find_invalid(&mut self, record: &RunRecord, summary: &Summary) {
        let invalid = &mut self.invalid;
        if record.partial {
            invalid.push("the run was interrupted: this is a partial report".to_owned());
        }
        if summary.window.seconds() <= 0.0 {
            invalid.push("the measure phase did not take place".to_owned());
        }
        if !summary.accounting.closes {
            let difference = summary.accounting.difference;
            invalid.push(format!(
                "accounting does not close: {difference} of the intended transactions have no end"
            ));
        }
        let generator = &summary.generator;
        if generator.lag_p99_us > generator.lag_limit_us {
            let [lag, limit] = [generator.lag_p99_us, generator.lag_limit_us].map(|us| format::duration_us(us as f64));
            invalid.push(format!("generator lag p99 {lag} exceeds {limit}"));
        } else if !generator.valid {
            invalid.push(format!(
                "only {} of the intended load was sent",
                format::percent(generator.sent_share)
            ));
        }
        let void = record.findings.iter().filter(|finding| finding.void);
        invalid.extend(void.map(|finding| finding.text.clone()));
    }

    /// Objectives missed, among them the silent one that anything becomes final at all.
    fn find_missed(&mut self, record: &RunRecord) {
        let missed = record
            .objectives
            .iter()
            .filter(|objective| objective.met == Some(false));
        self.missed
            .extend(missed.map(|o| format!("{} is {}, wanted {}", o.metric, o.told(), o.wanted)));
        let accounting = &record.accounting;
        if accounting.intended > 0 && accounting.finalised_ok + accounting.finalised_failed == 0 {
            self.missed.push(format!(
                "none of {} became final",
                format::plural(accounting.intended, "transaction")
            ));
        }
    }

    /// What keeps the run from being trusted in full without making it void.
    fn find_doubtful(&mut self, record: &RunRecord, summary: &Summary) {
        let doubtful = &mut self.doubtful;
        let undecided = record.objectives.iter().filter(|objective| objective.met.is_none());
        doubtful.extend(undecided.map(|o| format!("{} {} cannot be decided: {}", o.metric, o.wanted, o.observed)));
        if record.invariants.is_empty() {
            doubtful.push("no correctness check was made".to_owned());
        }
        if summary.window.cut_refused {
            doubtful.push("the run never settled: its warm-up exceeds half of the measure phase".to_owned());
        }
        self.settled = summary.steady.is_some();
        if let Some(steady) = summary.steady.filter(|steady| !steady.steady) {
            doubtful.push(format!(
                "not steady: the backlog changes by {} of the offered rate, the halves differ by {}",
                format::percent(steady.backlog_slope_share),
                format::percent(steady.halves_difference)
            ));
        }
        let mild = record.findings.iter().filter(|finding| !finding.void);
        doubtful.extend(mild.map(|finding| finding.text.clone()));
    }

    /// The worst kind of problem that occurs.
    fn status(&self) -> Status {
        let order = [
            (&self.incorrect, Status::Incorrect),
            (&self.broken, Status::Broken),
            (&self.invalid, Status::Invalid),
            (&self.missed, Status::Missed),
            (&self.doubtful, Status::Inconclusive),
        ];
        order
            .into_iter()
            .find(|(problems, _)| !problems.is_empty())
            .map_or(Status::Valid, |(_, status)| status)
    }

    /// Nothing is wrong and nothing doubtful.
    fn is_empty(&self) -> bool {
        self.status() == Status::Valid
    }

    /// Every problem, worst first.
    fn all(self) -> Vec<String> {
        [self.incorrect, self.broken, self.invalid, self.missed, self.doubtful].concat()
    }

    /// Whether the measurement may be believed.
    fn validity_chip(&self) -> Chip {
        let (state, text) = if let Some(first) = self.broken.first().or(self.invalid.first()) {
            (ChipState::Bad, first.clone())
        } else if let Some(first) = self.doubtful.first() {
            (ChipState::Doubtful, first.clone())
        } else {
            let steady = if self.settled { ", steady" } else { "" };
            (ChipState::Good, format!("generator on time, accounting closes{steady}"))
        };
        Chip {
            aspect: "validity".to_owned(),
            state,
            text,
        }
    }

    /// How many invariants hold.
    fn correctness_chip(&self, record: &RunRecord) -> Chip {
        let state = match (record.invariants.is_empty(), self.incorrect.is_empty()) {
            (true, _) => ChipState::Doubtful,
            (false, true) => ChipState::Good,
            (false, false) => ChipState::Bad,
        };
        Chip {
            aspect: "correctness".to_owned(),
            state,
            text: invariants_text(record),
        }
    }
}

/// How many objectives were met, when there are any.
fn objectives_chip(record: &RunRecord) -> Option<Chip> {
    let objectives = &record.objectives;
    let count = |met| objectives.iter().filter(|objective| objective.met == met).count();
    let state = match (count(Some(false)), count(None)) {
        (0, 0) => ChipState::Good,
        (0, _) => ChipState::Doubtful,
        _ => ChipState::Bad,
    };
    let text = format!("{} of {} met", count(Some(true)), objectives.len());
    (!objectives.is_empty()).then(|| Chip {
        aspect: "objectives".to_owned(),
        state,
        text,
    })
}

/// How many invariants hold of how many.
fn invariants_text(record: &RunRecord) -> String {
    let (all, hold) = (
        record.invariants.len(),
        record.invariants.iter().filter(|invariant| invariant.holds).count(),
    );
    if all == 0 {
        "nothing was checked".to_owned()
    } else {
        format!("{hold}/{all} invariants hold")
    }
}

/// The verdict in one sentence: status, what is wrong, correctness, and speed when it counts.
fn sentence(status: Status, problems: &Problems, record: &RunRecord, summary: &Summary) -> String {
    let mut parts = vec![status.word().to_owned()];
    parts.extend(record.identity.simulated.then(|| "simulated".to_owned()));
    parts.extend(record.identity.emulation.clone());
    let lists = [
        &problems.incorrect,
        &problems.broken,
        &problems.invalid,
        &problems.missed,
    ];
    parts.extend(lists.into_iter().find_map(|list| list.first()).cloned());
    parts.push(invariants_text(record));
    if status.speed_counts() {
        parts.push(speed(record, summary));
    }
    if status == Status::Inconclusive {
        parts.extend(problems.doubtful.first().cloned());
    }
    parts.join(" · ")
}

/// Goodput at the highest quantile that the run can answer for, with its labels.
fn speed(record: &RunRecord, summary: &Summary) -> String {
    if record.accounting.intended == 0 {
        return format!(
            "no load was offered, {} finalised",
            format::plural(summary.window.blocks, "block")
        );
    }
    let mut text = match &summary.goodput_per_s {
        Some(rate) => format!("{} tx/s goodput", format::number(rate.value)),
        None => "goodput not measured".to_owned(),
    };
    // The highest quantile that the run can answer for; a lost tail is an answer too.
    let known = |quantile: &&crate::result::Quantile| {
        quantile.q <= 0.99
            && matches!(
                quantile.value,
                QuantileValue::Measured(_) | QuantileValue::AtLeastTimeout { .. }
            )
    };
    if let Some(quantile) = summary.response.iter().rfind(known) {
        text += &format!(
            " at {} {}",
            format::quantile_name(quantile.q),
            format::quantile(quantile)
        );
    }
    let notes = labels(record);
    if notes.is_empty() {
        text
    } else {
        format!("{text} ({})", notes.join("; "))
    }
}

/// What must be said beside every figure of speed.
pub(crate) fn labels(record: &RunRecord) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for load in &record.loads {
        let closed = (load.mode == LoadMode::Closed).then(|| "closed loop: not a latency test".to_owned());
        notes.extend(
            load.label
                .iter()
                .map(|label| format!("{}: {label}", load.name))
                .chain(closed),
        );
    }
    notes.dedup();
    notes
}

#[cfg(test)]
mod tests;
