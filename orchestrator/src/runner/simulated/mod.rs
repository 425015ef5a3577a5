//! A run in virtual time: the same plan, load, faults, checks and report, with simulated nodes.
//!
//! ```text
//! world -> all nodes ready -> timeline (phases, loads, faults) -> drain -> ledgers -> check -> report
//! ```
//! Times of phases, events and samples are virtual. What a busy host would make doubtful about a real run cannot touch
//! this one: the host's pressure is not judged, and the generator is never late.

mod churn;
mod clients;
#[cfg(test)]
mod tests;
mod timeline;
mod world;

use super::{
    Interrupt, Interrupts, Job, Observer, Progress, RunnerError, StepError, churn::Absences, evidence::Evidence,
};
use crate::{
    build::Programs,
    rundir::{Entry, Journal, RunDir},
    seal::{Store, unix_seconds},
};
use clients::SimulatedClients;
use nix::sys::resource::{UsageWho, getrusage};
use regatta_plan::{Plan, PlannedStep, Step};
use regatta_report::{
    RunResult, format,
    model::{Disclosure, NamedText, PhaseKind},
};
use regatta_sim::{Nanos, World};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Nanoseconds of a millisecond.
const MILLISECOND: Nanos = 1_000_000;
/// What a simulator of processes reached on a comparable machine: 35,000 host-seconds of hosts that only echo messages
/// in 71.6 CPU seconds (Shadow 3.3, 1,000 hosts with 8 links each).
const ECHO_HOST_SECONDS_PER_CPU_SECOND: f64 = 35_000.0 / 71.6;

/// A run in the making.
pub(super) struct Simulation {
    plan: Arc<Plan>,
    run: RunDir,
    journal: Arc<Journal>,
    observer: Arc<dyn Observer>,
    interrupts: Interrupts,
    programs: Programs,
    job: Job,
    evidence: Evidence,
    world: Option<World>,
    clients: Vec<SimulatedClients>,
    samples: world::Samples,
    /// Start of the timeline in virtual time.
    timeline: Nanos,
    phase: PhaseKind,
    /// Faults that are on, with their beginnings.
    faults: Vec<(regatta_plan::PlannedFault, Nanos)>,
    absences: Absences,
    /// Nodes that have returned and are catching up.
    behind: Vec<churn::Behind>,
    ended_early: bool,
    cpu_s: f64,
    beat: Instant,
}

impl Simulation {
    pub(super) fn new(
        job: Job,
        run: RunDir,
        journal: Arc<Journal>,
        store: &Store,
        observer: Arc<dyn Observer>,
        interrupts: Interrupts,
    ) -> Self {
        Self {
            programs: Programs::new(&job.plan, &job.base, job.given.clone(), store.clone()),
            plan: Arc::new(job.plan.clone()),
            evidence: Evidence::new(unix_seconds()),
            samples: world::Samples::new(&job.plan),
            job,
            run,
            journal,
            observer,
            interrupts,
            world: None,
            clients: Vec::new(),
            timeline: 0,
            phase: PhaseKind::Start,
            faults: Vec::new(),
            absences: Absences::default(),
            behind: Vec::new(),
            ended_early: false,
            cpu_s: 0.0,
            beat: Instant::now(),
        }
    }

    /// Does all steps that can be done and returns the result.
    pub(super) async fn run_all(mut self) -> Result<RunResult, RunnerError> {
        let (wall_ms, interrupts) = (self.plan.budget.wall_ms, self.interrupts.clone());
        let wall = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wall_ms)).await;
            let limit_s = wall_ms / 1000;
            interrupts.raise(Interrupt::Wall { limit_s });
        });
        self.evidence.clock_started();
        if !self.job.unreported {
            self.evidence.commit = Some(self.programs.commit().await);
        }
        let plan = Arc::clone(&self.plan);
        let mut failed = false;
        for step in plan.steps.iter().filter(|step| step.step != Step::Report) {
            // After a failure only what leads to a report is left to do.
            let is_due = !failed || matches!(step.step, Step::Stop);
            let skipped = self.ended_early && step.at_ms.is_some() && !matches!(step.step, Step::Drain { .. });
            if is_due && !skipped {
                failed |= !self.carry_out(step).await?;
            }
        }
        wall.abort();
        self.disclose();
        Ok(self.evidence.report(&self.job, &self.programs, &self.run)?)
    }

    /// Does one step with its journal lines; false when it failed.
    async fn carry_out(&mut self, step: &PlannedStep) -> Result<bool, RunnerError> {
        let id = step.id;
        self.journal.write(Entry::StepStarted {
            id,
            step: step.step.clone(),
        })?;
        self.observer.tell(&Progress::StepStarted(step));
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let outcome = self.execute(step).await;
        self.cpu_s += cpu_seconds() - cpu;
        let took = began.elapsed();
        let error = outcome.as_ref().err().map(ToString::to_string);
        self.journal.write(Entry::StepEnded {
            id,
            took_ms: took.as_secs_f64() * 1e3,
            error: error.clone(),
        })?;
        let error = error.as_deref();
        self.observer.tell(&Progress::StepEnded { step, took, error });
        if let Err(error) = outcome {
            self.evidence.failed(&format!("{}: {error}", step.step));
            return Ok(false);
        }
        Ok(true)
    }

    async fn execute(&mut self, step: &PlannedStep) -> Result<(), StepError> {
        if let Some(at_ms) = step.at_ms {
            self.advance(self.timeline + at_ms * MILLISECOND).await;
            if self.ended_early && !matches!(step.step, Step::Drain { .. }) {
                return Ok(());
            }
        }
        match &step.step {
            Step::Spawn { .. } => self.prepare()?,
            Step::WaitLinks { .. } => self.wait_ready().await?,
            Step::Load { load } => self.start_load(*load)?,
            Step::Warmup { .. } => self.enter(PhaseKind::Warmup),
            Step::Measure { .. } => self.enter(PhaseKind::Measure),
            Step::Cooldown { .. } => self.enter(PhaseKind::Cooldown),
            Step::Inject { fault } => self.inject(*fault)?,
            Step::Heal { fault } => self.heal(*fault),
            Step::Leave { absence } => self.leave(*absence)?,
            Step::Return { absence } => self.come_back(*absence)?,
            Step::Drain { up_to_ms } => self.drain(*up_to_ms).await?,
            Step::Collect => self.collect().await,
            Step::Stop => self.stop(),
            Step::Check => {
                self.evidence.churn = self.absences.finish(&self.plan);
                self.evidence.check(&self.plan);
            }
            // Simulated nodes are part of this program, and the report comes last.
            Step::Build { .. } | Step::Seal { .. } | Step::VerifySeal { .. } | Step::Deploy { .. } => {}
            Step::WaitReady { .. } | Step::Report => {}
            // No plan of simulated nodes has any: what is none of ours has real time alone.
            Step::Processes { .. } => return Err(StepError::OutOfOrder),
        }
        Ok(())
    }

    /// Says what a simulated run is, and how much it took to simulate.
    fn disclose(&mut self) {
        let Some(world) = &mut self.world else { return };
        let (hosts, virtual_s) = (world.len() as f64, world.now() as f64 / 1e9);
        let speed = hosts * virtual_s / self.cpu_s.max(1e-9);
        let statistics = world.statistics();
        let trace = world.trace().to_string();
        let text = |name: &str, value: String| NamedText {
            name: name.to_owned(),
            value,
        };
        self.evidence.digests.push(text("trace of all events", trace));
        let lines = [
            ("clock", "virtual: no figure of time depends on this machine".to_owned()),
            (
                "not judged",
                "pressure of the host; lateness of the generator cannot occur".to_owned(),
            ),
            ("virtual time", format!("{} s", format::number(virtual_s))),
            ("CPU of the simulation", format!("{} s", format::number(self.cpu_s))),
            ("host-seconds per CPU second", format::number(speed)),
            (
                "the same of Shadow 3.3, hosts that only echo",
                format::number(ECHO_HOST_SECONDS_PER_CPU_SECOND),
            ),
            ("events", format::integer(statistics.events)),
            (
                "signatures and batches asked for",
                format::integer(statistics.checks_asked),
            ),
            ("of them computed", format::integer(statistics.checks_computed)),
            ("memory of the simulation, at most", format::bytes(memory_bytes())),
        ];
        let disclosure = lines.map(|(name, value)| Disclosure {
            section: "simulation".to_owned(),
            name: name.to_owned(),
            value,
        });
        self.evidence.disclosure.extend(disclosure);
    }
}

/// CPU time of this process so far, in seconds; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Largest resident set of this process so far, in bytes.
fn memory_bytes() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| usage.max_rss() as f64 * 1024.0)
}
