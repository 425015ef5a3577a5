//! What a record is put together from.

use crate::{check::Ledger, load::LoadOutcome, sample::SampleOutcome};
use regatta_base::Digest;
use regatta_plan::Plan;
use regatta_report::model::{Churn, Disclosure, Event, Finding, Identity, Invariant, Links, Phase, RawFile, Spread};
use std::collections::BTreeMap;

/// What a node said that it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ran {
    /// When it first listened.
    pub start: Option<Digest>,
    /// When the run ended.
    pub end: Option<Digest>,
}

/// Everything that one run left behind; empty where the run did not get that far.
#[derive(Debug)]
pub struct RecordParts<'a> {
    /// What was run. `plan_digest`, `scenario`, `question` and `seed` are filled in from the plan.
    pub identity: Identity,
    /// The plan.
    pub plan: &'a Plan,
    /// Digest of the program of each build, in hexadecimal.
    pub binaries: BTreeMap<String, String>,
    /// What each node said that it runs, in plan order; empty where nobody asked.
    pub ran: Vec<Ran>,
    /// Phases with the times at which they were observed to begin and end.
    pub phases: Vec<Phase>,
    /// One outcome for each load that was started.
    pub loads: Vec<LoadOutcome>,
    /// Samples of processes and host.
    pub samples: SampleOutcome,
    /// Ledgers by instance.
    pub ledgers: &'a [Ledger],
    /// Checks that were made.
    pub invariants: Vec<Invariant>,
    /// Faults, restarts and notes.
    pub events: Vec<Event>,
    /// Who came and went.
    pub churn: Option<Churn>,
    /// The network between the nodes, where the lab makes it.
    pub links: Option<Links>,
    /// How decisions spread.
    pub spread: Option<Spread>,
    /// Doubts that only the runner can have; those of load and samples are added.
    pub findings: Vec<Finding>,
    /// Disclosure list; the generator's lines are added.
    pub environment: Vec<Disclosure>,
    /// Files beside the report.
    pub files: Vec<RawFile>,
    /// The run was interrupted.
    pub partial: bool,
    /// Why the run could not be carried out.
    pub failure: Option<String>,
}
