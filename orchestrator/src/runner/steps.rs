//! The runner itself: what each step does, and what happens when one does not go well.

use super::{
    Interrupt, Interrupts, Job, Observer, Progress, RunnerError, StepError,
    churn::Absences,
    evidence::Evidence,
    links::{self, Moment},
    orders::healing_failed,
    setup::Field,
    upgrades,
};
use crate::{
    build::Programs,
    inject,
    load::{Connected, Prepared},
    provider::{FleetReady, HeldHosts},
    rundir::{Entry, Journal, RunDir},
    seal::{Store, unix_seconds},
};
use regatta_plan::{Plan, PlannedFault, PlannedStep, Step, scenario::FaultKind};
use regatta_report::{RunResult, model::PhaseKind};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// From the end of the last step before the timeline to its beginning: time for the pacers to wake up.
const TIMELINE_LEAD_MS: u64 = 200;

/// How much of the plan is still to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everything.
    All,
    /// What follows the load.
    WindDown,
    /// What is known of the load, and then only stop and report: memory is short, and the nodes are gone.
    Relief,
    /// Only stop and report.
    Abort,
}

/// A run in the making.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(super) job: Job,
    pub(super) plan: Arc<Plan>,
    pub(super) run: RunDir,
    pub(super) journal: Arc<Journal>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) interrupts: Interrupts,
    pub(super) programs: Programs,
    pub(super) field: Option<Field>,
    pub(super) prepared: Vec<Prepared>,
    pub(super) evidence: Evidence,
    pub(super) connected: Vec<Option<Connected>>,
    /// Start of the timeline in milliseconds on the run's clock.
    pub(super) timeline_ms: Option<u64>,
    /// Faults that are on, with the nodes that they turned out to be done to.
    on: Vec<PlannedFault>,
    pub(super) heals: Vec<(PlannedFault, tokio::task::JoinHandle<()>)>,
    /// Nodes that leave and return beside the timeline.
    pub(super) moves: Vec<tokio::task::JoinHandle<()>>,
    pub(super) absences: Arc<Absences>,
    /// Hosts that are ready for nodes, until the cluster takes them.
    pub(super) fleet: Option<FleetReady>,
    /// The same, from then until the cluster is there.
    pub(super) held: Option<HeldHosts>,
    pub(super) mode: Mode,
}

impl Runner {
    pub(super) fn new(
        job: Job,
        run: RunDir,
        journal: Arc<Journal>,
        store: &Store,
        observer: Arc<dyn Observer>,
        interrupts: Interrupts,
    ) -> Self {
        Self {
            programs: Programs::new(&job.plan, &job.base, job.given.clone(), store.clone())
                .signed_by(job.signing.clone()),
            plan: Arc::new(job.plan.clone()),
            evidence: Evidence::new(unix_seconds()),
            job,
            run,
            journal,
            observer,
            interrupts,
            field: None,
            prepared: Vec::new(),
            connected: Vec::new(),
            timeline_ms: None,
            on: Vec::new(),
            heals: Vec::new(),
            moves: Vec::new(),
            absences: Arc::default(),
            fleet: None,
            held: None,
            mode: Mode::All,
        }
    }

    /// Does all steps that can be done and returns the result.
    pub(super) async fn run_all(mut self) -> Result<RunResult, RunnerError> {
        let wall = self.watch_wall();
        let plan = Arc::clone(&self.plan);
        let mut result = None;
        for step in &plan.steps {
            if step.step == Step::Report {
                self.clear_field().await;
                let (run, began) = (&self.run, Instant::now());
                self.observer.tell(&Progress::StepStarted(step));
                result = Some(self.evidence.report(&self.job, &self.programs, run)?);
                self.observer.tell(&Progress::StepEnded {
                    step,
                    took: began.elapsed(),
                    error: None,
                });
            } else if self.is_due(&step.step) {
                self.carry_out(step).await?;
            }
        }
        wall.abort();
        self.clear_field().await;
        match result {
            Some(result) => Ok(result),
            // A plan without a report step still gets one: a run is never silent.
            None => Ok(self.evidence.report(&self.job, &self.programs, &self.run)?),
        }
    }

    /// From here on only what follows the load is done, for nodes whose lab died.
    pub(super) fn prepared_for_adoption(&mut self) {
        self.mode = Mode::WindDown;
        self.evidence.resumed();
    }

    /// Reads, stops and checks what is there, and reports it.
    pub(super) async fn wind_up(mut self) -> Result<RunResult, RunnerError> {
        let plan = Arc::clone(&self.plan);
        for step in &plan.steps {
            if matches!(step.step, Step::Collect | Step::Stop | Step::Check) {
                self.carry_out(step).await?;
            }
        }
        self.clear_field().await;
        Ok(self.evidence.report(&self.job, &self.programs, &self.run)?)
    }

    fn watch_wall(&self) -> tokio::task::JoinHandle<()> {
        let (wall_ms, interrupts) = (self.plan.budget.wall_ms, self.interrupts.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wall_ms)).await;
            interrupts.raise(Interrupt::Wall {
                limit_s: wall_ms / 1000,
            });
        })
    }

    fn is_due(&self, step: &Step) -> bool {
        match self.mode {
            Mode::All => true,
            Mode::WindDown => matches!(step, Step::Drain { .. } | Step::Collect | Step::Stop | Step::Check),
            Mode::Relief => matches!(step, Step::Drain { .. } | Step::Stop),
            Mode::Abort => matches!(step, Step::Stop),
        }
    }

    /// Does one step with everything around it: its time, its journal lines, its deadline, its failure.
    async fn carry_out(&mut self, step: &PlannedStep) -> Result<(), RunnerError> {
        if let Err(error) = self.wait_for_time(step).await {
            self.observer.tell(&Progress::Ending(&error.to_string()));
            self.failed(step, &error);
        }
        if !self.is_due(&step.step) {
            return Ok(());
        }
        let id = step.id;
        self.journal.write(Entry::StepStarted {
            id,
            step: step.step.clone(),
        })?;
        self.observer.tell(&Progress::StepStarted(step));
        let began = Instant::now();
        let outcome = self.within_deadline(step).await;
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
            self.failed(step, &error);
        }
        Ok(())
    }

    /// Notes why a step failed and what is still to be done.
    fn failed(&mut self, step: &PlannedStep, error: &StepError) {
        match error {
            StepError::Interrupted(interrupt) => self.evidence.interrupted(interrupt),
            error => self.evidence.failed(&format!("{}: {error}", step.step)),
        }
        self.journal.note(error.to_string());
        if is_setup(&step.step) {
            self.mode = Mode::Abort;
        } else if self.interrupts.shortage().is_some() {
            // Whoever saw it has stopped the nodes; to bring some back, or to read ledgers, would take what is not there.
            self.mode = Mode::Relief;
        } else if self.mode == Mode::All {
            self.mode = Mode::WindDown;
            self.wind_down();
        }
    }

    /// Ends the load and undoes the faults that are on.
    fn wind_down(&mut self) {
        let Some(field) = &self.field else { return };
        field.live.stop_loads();
        field.live.mend_all().cancel();
        for fault in std::mem::take(&mut self.on) {
            self.heal(fault);
        }
        // What validators acknowledged is on their disks: everybody who meant to return does so now.
        for absence in self.absences.open() {
            if let Ok(absence) = self.absence(absence) {
                self.come_back(&absence);
            }
        }
    }

    async fn within_deadline(&mut self, step: &PlannedStep) -> Result<(), StepError> {
        let deadline = Duration::from_millis(step.deadline_ms);
        let interrupts = self.interrupts.clone();
        let work = tokio::time::timeout(deadline, self.execute(step));
        tokio::select! {
            outcome = work => outcome.unwrap_or(Err(StepError::Late(step.deadline_ms / 1000))),
            interrupt = interrupts.raised(), if is_setup(&step.step) => Err(StepError::Interrupted(interrupt)),
            short = interrupts.short_of_memory(), if step.step == Step::Collect => Err(StepError::Interrupted(short)),
        }
    }

    async fn execute(&mut self, step: &PlannedStep) -> Result<(), StepError> {
        // A wait reports who is late; that needs a moment before the step's own deadline cuts it off.
        let wait = Duration::from_millis(step.deadline_ms).mul_f64(0.95);
        match &step.step {
            Step::Build { build } => {
                let observer = Arc::clone(&self.observer);
                self.programs
                    .build(build, &mut |line| observer.tell(&Progress::Build(line)))
                    .await?;
            }
            Step::Seal { build } => {
                self.programs.seal(build)?;
            }
            Step::VerifySeal { build } => self.programs.verify(build)?,
            Step::Deploy { .. } => self.deploy().await?,
            Step::Spawn { nodes } => {
                self.prepare_field().await?;
                self.note_late_starts();
                self.field()?.cluster.spawn(nodes).await?;
            }
            Step::WaitReady { nodes } => {
                // The step was planned before hosts were given up, whose nodes stay away.
                let late = self.plan.churn.late();
                let here = nodes.iter().copied().filter(|node| late.binary_search(node).is_err());
                let here: Vec<u32> = here.collect();
                self.field()?.cluster.wait_listening(&here, wait).await?;
            }
            Step::WaitLinks { .. } => {
                let field = self.field()?;
                field.cluster.wait_links(wait).await?;
                field.live.begin_sampling();
                links::attest(&field.cluster, &field.live, Moment::Before).await;
                self.connect_loads().await?;
            }
            Step::Processes { places } => {
                self.prepare_field().await?;
                self.field()?.cluster.start_foreign(places).await?;
            }
            Step::Load { load } => self.start_load(*load)?,
            Step::Warmup { .. } => self.enter(PhaseKind::Warmup)?,
            Step::Measure { .. } => self.enter(PhaseKind::Measure)?,
            Step::Cooldown { .. } => self.enter(PhaseKind::Cooldown)?,
            Step::Inject { fault } => self.inject(*fault).await?,
            Step::Heal { fault } => {
                let ends = |on: &PlannedFault| on.index == *fault;
                if let Some(place) = self.on.iter().position(ends) {
                    let fault = self.on.swap_remove(place);
                    self.heal(fault);
                }
            }
            Step::Leave { absence } => {
                let absence = self.absence(*absence)?;
                // One whose host was given up has never been there.
                if !absence.is_for_all_time() {
                    self.leave(absence).await?;
                }
            }
            Step::Return { absence } => {
                let absence = self.absence(*absence)?;
                if !absence.is_for_all_time() {
                    self.come_back(&absence);
                }
            }
            Step::Drain { up_to_ms } => self.drain(*up_to_ms).await?,
            Step::Collect => self.collect().await,
            Step::Stop => self.stop().await,
            Step::Check => {
                self.evidence.churn = self.absences.finish(&self.plan);
                self.evidence.check(&self.plan);
            }
            // Done by `run_all`, which returns the result.
            Step::Report => {}
        }
        Ok(())
    }

    pub(super) fn field(&self) -> Result<&Field, StepError> {
        self.field.as_ref().ok_or(StepError::OutOfOrder)
    }

    fn fault(&self, fault: u32) -> Result<PlannedFault, StepError> {
        self.plan
            .faults
            .get(fault as usize)
            .cloned()
            .ok_or(StepError::OutOfOrder)
    }

    /// Waits until a step on the timeline is due. Loads are handed their start time ahead of it.
    async fn wait_for_time(&mut self, step: &PlannedStep) -> Result<(), StepError> {
        let Some(at_ms) = step.at_ms else { return Ok(()) };
        let Some(field) = &self.field else { return Ok(()) };
        let clock = field.live.clock;
        let start = *self
            .timeline_ms
            .get_or_insert_with(|| clock.now_ms() + TIMELINE_LEAD_MS);
        field.live.set_timeline(start);
        if self.mode != Mode::All || matches!(step.step, Step::Load { .. }) {
            return Ok(());
        }
        let left = Duration::from_millis((start + at_ms).saturating_sub(clock.now_ms()));
        tokio::select! {
            biased;
            interrupt = self.interrupts.raised() => Err(StepError::Interrupted(interrupt)),
            () = tokio::time::sleep(left) => Ok(()),
        }
    }

    async fn connect_loads(&mut self) -> Result<(), StepError> {
        for load in std::mem::take(&mut self.prepared) {
            self.connected.push(Some(load.connect().await?));
        }
        Ok(())
    }

    fn start_load(&mut self, load: u32) -> Result<(), StepError> {
        let start_ms = self.timeline_ms.ok_or(StepError::OutOfOrder)?;
        let connected = self.connected.get_mut(load as usize).and_then(Option::take);
        let handle = connected.ok_or(StepError::OutOfOrder)?.start(start_ms * 1_000_000)?;
        self.field()?.live.add_load(handle);
        Ok(())
    }

    /// Ends the phase before and begins the next one, at the planned time so that everybody means the same window.
    pub(super) fn enter(&mut self, kind: PhaseKind) -> Result<(), StepError> {
        let start = self.timeline_ms.unwrap_or_default();
        let (window_start, window_end) = self.plan.phases.window_ms();
        let now = self.field()?.live.clock.now_ms();
        let begin = match kind {
            PhaseKind::Warmup => start,
            PhaseKind::Measure => start + window_start,
            PhaseKind::Cooldown => start + window_end,
            PhaseKind::Drain if self.mode == Mode::All => start + self.plan.phases.load_ms(),
            _ => now,
        };
        self.evidence.phase(kind, begin);
        let ends = match kind {
            PhaseKind::Warmup => Some(start + window_start),
            PhaseKind::Measure => Some(start + window_end),
            PhaseKind::Cooldown => Some(start + self.plan.phases.load_ms()),
            _ => None,
        };
        let field = self.field.as_mut().ok_or(StepError::OutOfOrder)?;
        field.live.set_phase(kind, ends);
        if kind == PhaseKind::Measure {
            let watch = links::keep_attesting(Arc::clone(&field.cluster), Arc::clone(&field.live));
            field.attestation = Some(tokio::spawn(watch));
        }
        Ok(())
    }

    async fn inject(&mut self, fault: u32) -> Result<(), StepError> {
        let fault = self.fault(fault)?;
        self.field()?.live.sample().await;
        let injector = Arc::clone(&self.field()?.injector);
        let fault = injector.resolved(&fault).await?;
        self.wait_for_heals_of(&fault).await;
        let text = format!(
            "{}{}",
            self.plan.describe_fault(&fault),
            inject::means(self.plan.provider, &fault)
        );
        self.journal.write(Entry::FaultBegan {
            fault: fault.index,
            text: text.clone(),
        })?;
        self.on.push(fault.clone());
        self.field()?.live.fault_began(&fault, text);
        injector.inject(&fault).await?;
        if fault.kind == FaultKind::Upgrade {
            let field = self.field.as_ref().ok_or(StepError::OutOfOrder)?;
            let (cluster, live) = (Arc::clone(&field.cluster), Arc::clone(&field.live));
            let over = live.mend_all();
            self.moves
                .push(tokio::spawn(upgrades::follow(cluster, live, fault, over)));
        }
        Ok(())
    }

    /// A node that is still coming back from a fault gets the next one when it is back.
    async fn wait_for_heals_of(&mut self, fault: &PlannedFault) {
        for (healed, task) in &mut self.heals {
            let shared = healed.nodes.iter().any(|node| fault.nodes.contains(node));
            if shared && !fault.kind.is_on_links() && !task.is_finished() {
                // An error was raised as an interrupt.
                let _ = task.await;
            }
        }
        self.heals.retain(|(_, task)| !task.is_finished());
    }

    /// Undoes a fault beside the timeline: a node that comes back slowly must not move what follows.
    fn heal(&mut self, fault: PlannedFault) {
        let Some(field) = &self.field else { return };
        let (injector, live, journal) = (
            Arc::clone(&field.injector),
            Arc::clone(&field.live),
            Arc::clone(&self.journal),
        );
        let (interrupts, healed) = (self.interrupts.clone(), fault.clone());
        let task = tokio::spawn(async move {
            // An upgrade may have come to its end by itself.
            let text = live.fault_text(healed.index);
            let text = text.unwrap_or_else(|| "it had ended before".to_owned());
            let back = match injector.heal(&healed).await {
                Ok(()) => {
                    let seen = injector.take_seen(healed.index);
                    let text = live.fault_seen(healed.index, seen.as_deref()).unwrap_or(text.clone());
                    live.fault_ended(healed.index);
                    // The run goes on without this line when the disk is full; the report has the fault as well.
                    let _ = journal.write(Entry::FaultEnded {
                        fault: healed.index,
                        text,
                    });
                    injector.wait_back(&healed).await
                }
                error => error,
            };
            if let Err(error) = back {
                healing_failed(&live, &journal, healed.index, (text, error.to_string()));
                interrupts.raise(Interrupt::NotHealed(error.to_string()));
            }
        });
        self.heals.push((fault, task));
    }
}

/// Whether a step leads up to the timeline. What comes after is what an interrupted run still does.
fn is_setup(step: &Step) -> bool {
    matches!(
        step,
        Step::Build { .. }
            | Step::Seal { .. }
            | Step::VerifySeal { .. }
            | Step::Deploy { .. }
            | Step::Spawn { .. }
            | Step::WaitReady { .. }
            | Step::WaitLinks { .. }
            | Step::Processes { .. }
    )
}
