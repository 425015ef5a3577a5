//! What a run leaves behind, gathered step by step, and its way into the report.

use super::{Interrupt, Job, files, phases::Phases};
use crate::{
    build::Programs,
    check::{self, Ledger, Rules},
    cluster::{chain, node_key},
    load::{Endpoint, LoadError, LoadOutcome, Submitted},
    record::{self, Ran, RecordParts},
    rundir::{RunDir, RunDirError, rfc3339},
    sample::SampleOutcome,
};
use rand::{
    SeedableRng,
    rngs::{StdRng, SysRng},
};
use regatta_base::ids::NameError;
use regatta_plan::{Plan, PlannedFault, PlannedInstance};
use regatta_report::{
    RunResult,
    model::{Churn, Disclosure, Event, EventKind, Finding, Identity, Invariant, Links, NamedText, PhaseKind, Spread},
};
use std::time::{Duration, SystemTime};

/// How long reading all ledgers may take; what is not read by then shows in the checks.
const COLLECT_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Faults by hand that the verdict names one by one.
const INTERFERENCE_LISTED_MAX: usize = 4;

/// Everything that is known about a run so far.
#[derive(Debug)]
pub(super) struct Evidence {
    started_unix_s: u64,
    /// Origin of the run's clock on the wall clock.
    origin: SystemTime,
    phases: Phases,
    pub(super) ledgers: Vec<Ledger>,
    invariants: Vec<Invariant>,
    partial: bool,
    failure: Option<String>,
    details: Option<String>,
    pub(super) loads: Vec<LoadOutcome>,
    /// A load ended without its books.
    books_lost: bool,
    pub(super) samples: SampleOutcome,
    pub(super) events: Vec<Event>,
    /// Who came and went.
    pub(super) churn: Option<Churn>,
    pub(super) provider: String,
    findings: Vec<Finding>,
    /// The network between the nodes, where the lab makes it.
    pub(super) links: Option<Links>,
    /// How decisions spread among nodes that have a clock in common.
    pub(super) spread: Option<Spread>,
    /// What each node said that it runs.
    pub(super) ran: Vec<Ran>,
    /// Who makes the conditions of links.
    pub(super) emulation: Option<String>,
    /// What is to be disclosed beside the machine.
    pub(super) disclosure: Vec<Disclosure>,
    /// Digests to state beside those of programs.
    pub(super) digests: Vec<NamedText>,
    /// Commit of nodes that are part of the lab, and whether files were changed since.
    pub(super) commit: Option<(String, bool)>,
    /// Whether the lab that sent the load died, and with it what it knew.
    resumed: bool,
}

impl Evidence {
    pub(super) fn new(started_unix_s: u64) -> Self {
        Self {
            started_unix_s,
            origin: SystemTime::now(),
            phases: Phases::default(),
            ledgers: Vec::new(),
            invariants: Vec::new(),
            partial: false,
            failure: None,
            details: None,
            loads: Vec::new(),
            books_lost: false,
            samples: SampleOutcome::default(),
            events: Vec::new(),
            churn: None,
            provider: String::new(),
            findings: Vec::new(),
            links: None,
            spread: None,
            ran: Vec::new(),
            emulation: None,
            disclosure: Vec::new(),
            digests: Vec::new(),
            commit: None,
            resumed: false,
        }
    }

    /// A person did `faults` during the run: what was measured is not what the plan says.
    pub(super) fn interfered(&mut self, plan: &Plan, faults: &[PlannedFault]) {
        if faults.is_empty() {
            return;
        }
        let mut texts: Vec<String> = faults
            .iter()
            .take(INTERFERENCE_LISTED_MAX)
            .map(|fault| plan.describe_fault(fault))
            .collect();
        if faults.len() > texts.len() {
            texts.push(format!("and {} more", faults.len() - texts.len()));
        }
        self.findings.push(Finding {
            code: "by-hand".to_owned(),
            void: true,
            text: format!("the run was interfered with by hand: {}", texts.join(", ")),
        });
    }

    /// This lab finishes what another began: what was sent is not known any more.
    pub(super) fn resumed(&mut self) {
        self.resumed = true;
        self.failed("the lab died during the run; another one found its nodes, read, stopped and checked them");
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    fn rules(&self, plan: &Plan, instance: &PlannedInstance) -> Result<Rules, NameError> {
        let rules = rules(plan, instance)?;
        Ok(Rules {
            exclusive: rules.exclusive && !self.resumed && !self.books_lost,
            ..rules
        })
    }

    /// Keeps the books of loads; returns why others have none. What those submitted is not known then, so that nothing in
    /// the ledger can be called foreign.
    pub(super) fn take_books(&mut self, outcomes: Vec<Result<LoadOutcome, LoadError>>) -> Option<LoadError> {
        let mut lost = None;
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => self.loads.push(outcome),
                Err(error) => lost = lost.or(Some(error)),
            }
        }
        self.books_lost |= lost.is_some();
        lost
    }

    /// The run's clock starts now.
    pub(super) fn clock_started(&mut self) {
        self.origin = SystemTime::now();
        self.phases.begin(PhaseKind::Start, 0);
    }

    pub(super) fn phase(&mut self, kind: PhaseKind, at_ms: u64) {
        self.phases.begin(kind, at_ms);
    }

    pub(super) fn end(&mut self, at_ms: u64) {
        self.phases.end(at_ms);
    }

    /// Notes why the run could not be carried out; the first reason counts. Its first line enters the verdict, all of it
    /// the list of events.
    pub(super) fn failed(&mut self, reason: &str) {
        self.partial = true;
        if self.failure.is_none() {
            self.failure = reason.lines().next().map(str::to_owned);
            self.details = Some(reason.to_owned());
        }
    }

    /// Notes that the run ended early.
    pub(super) fn interrupted(&mut self, interrupt: &Interrupt) {
        self.partial = true;
        if interrupt.is_failure() {
            self.failed(&interrupt.to_string());
        }
    }

    /// Reads the ledgers of the nodes at `endpoints`. What cannot be read shows in the checks.
    pub(super) async fn collect(&mut self, plan: &Plan, endpoints: &[Endpoint]) {
        for instance in &plan.instances {
            match self.rules(plan, instance) {
                Ok(rules) => {
                    let submitted = self.submitted(plan, &instance.id);
                    let runs = |endpoint: &&Endpoint| {
                        let node = plan.node(&endpoint.name);
                        node.is_some_and(|node| instance.runs(node.index))
                    };
                    let endpoints: Vec<Endpoint> = endpoints.iter().filter(runs).cloned().collect();
                    self.ledgers
                        .push(check::collect(&rules, &endpoints, &submitted, COLLECT_LIMIT).await);
                }
                Err(error) => self.failed(&error.to_string()),
            }
        }
    }

    /// Checks the ledgers against what was submitted.
    pub(super) fn check(&mut self, plan: &Plan) {
        let Ok(mut rng) = StdRng::try_from_rng(&mut SysRng) else {
            return self.failed("the system has no randomness for the checks");
        };
        let mut checks = Vec::new();
        let mut parts = Vec::new();
        for (instance, ledger) in plan.instances.iter().zip(&self.ledgers) {
            if let Ok(rules) = self.rules(plan, instance) {
                let submitted = self.submitted(plan, &instance.id);
                checks.push((instance.id.as_str(), check::check(&rules, ledger, &submitted, &mut rng)));
                parts.push(check::Part {
                    instance: &instance.id,
                    ledger,
                    submitted,
                });
            }
        }
        let invariants = if parts.len() > 1 {
            let isolation = check::isolation(&parts);
            check::join(checks).into_iter().chain([isolation]).collect()
        } else {
            checks
                .into_iter()
                .flat_map(|(_, invariants)| invariants)
                .collect::<Vec<_>>()
        };
        self.invariants.extend(invariants);
        let returns = self.churn.as_ref().map(|churn| check::returns(churn, self.partial));
        self.invariants.extend(returns);
    }

    pub(super) fn submitted(&self, plan: &Plan, instance: &str) -> Vec<&Submitted> {
        let goes_there = |outcome: &&LoadOutcome| {
            let load = plan.loads.get(outcome.load as usize);
            load.is_some_and(|load| load.instance == instance)
        };
        self.loads
            .iter()
            .filter(goes_there)
            .map(|outcome| &outcome.submitted)
            .collect()
    }

    /// Assembles the record, judges it and writes every file of the report, if anybody wants one.
    pub(super) fn report(&mut self, job: &Job, programs: &Programs, run: &RunDir) -> Result<RunResult, RunDirError> {
        if !job.unreported {
            files::write_hlogs(run, &self.loads, self.origin)?;
        }
        let events = self.events();
        let sealed = programs.sealed().iter();
        let parts = RecordParts {
            identity: self.identity(job, programs, run),
            plan: &job.plan,
            binaries: sealed
                .map(|(name, sealed)| (name.clone(), sealed.program_digest().to_string()))
                .collect(),
            ran: std::mem::take(&mut self.ran),
            phases: self.phases.to_vec(),
            loads: std::mem::take(&mut self.loads),
            samples: std::mem::take(&mut self.samples),
            ledgers: &self.ledgers,
            invariants: std::mem::take(&mut self.invariants),
            events,
            churn: self.churn.take(),
            findings: std::mem::take(&mut self.findings),
            links: self.links.take(),
            spread: self.spread.take(),
            environment: self
                .disclosure
                .drain(..)
                .chain(record::host_disclosure(run.root()))
                .collect(),
            files: files::list(run),
            partial: self.partial,
            failure: self.failure.clone(),
        };
        let record = record::assemble(parts);
        let result = regatta_report::evaluate(record, job.strict);
        if !job.unreported {
            files::write_report(run, &result)?;
        }
        Ok(result)
    }

    /// Everything that happened, with the whole reason of a failure at the end.
    fn events(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        let end_ms = self.phases.end_ms();
        events.extend(self.details.take().map(|text| Event {
            start_ms: end_ms,
            end_ms,
            kind: EventKind::Note,
            node: String::new(),
            text,
        }));
        events
    }

    fn identity(&self, job: &Job, programs: &Programs, run: &RunDir) -> Identity {
        let first = programs.sealed().values().next();
        let sealed = first.map(|sealed| (sealed.manifest.commit.clone(), sealed.manifest.dirty));
        let (commit, dirty) = sealed.or_else(|| self.commit.clone()).unwrap_or_default();
        let text = |name: String, value: String| NamedText { name, value };
        let mut digests = self.digests.clone();
        for (name, sealed) in programs.sealed() {
            digests.push(text(format!("program {name}"), sealed.program_digest().to_string()));
            digests.push(text(format!("manifest {name}"), sealed.bundle.digest().to_string()));
            digests.push(text(format!("lock file {name}"), sealed.manifest.lock.to_string()));
            digests.push(text(format!("compiler {name}"), sealed.manifest.rustc.clone()));
        }
        Identity {
            run: run.id().to_owned(),
            scenario: job.plan.name.clone(),
            question: job.plan.question.clone(),
            seed: job.plan.seed,
            plan_digest: job.plan.digest().to_string(),
            commit,
            dirty,
            started_at: rfc3339(self.started_unix_s),
            provider: self.provider.clone(),
            simulated: job.plan.world.is_some(),
            emulation: self.emulation.clone(),
            reproduce: job.reproduce.clone(),
            digests,
        }
    }
}

/// What the plan says about `instance`: the checks trust this and never a node's own word.
pub(super) fn rules(plan: &Plan, instance: &PlannedInstance) -> Result<Rules, NameError> {
    let validator = |&(node, weight): &(u32, u64)| (node_key(plan, &plan.nodes[node as usize]).public(), weight);
    Ok(Rules {
        chain: chain(plan)?,
        instance: instance.id.parse()?,
        validators: instance.validators.iter().map(validator).collect(),
        byzantine: instance
            .validators
            .iter()
            .zip(0..)
            .filter(|((node, _), _)| !plan.nodes[*node as usize].behaviour.is_honest())
            .map(|(_, signer)| signer)
            .collect(),
        exclusive: true,
        snapshots: plan.node.snapshot_interval > 0,
        kept: plan.node.keep_blocks.map(u64::from),
        archives: (plan.nodes.iter().filter(|node| node.archive))
            .map(|node| node.name.clone())
            .collect(),
        keys: (plan.nodes.iter().filter(|node| instance.votes(node.index)))
            .map(|node| (node.name.clone(), node_key(plan, node).public()))
            .collect(),
    })
}
