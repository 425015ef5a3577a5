//! Interprets a plan: one step after the other, each journalled with what it took, then the report.
//!
//! ```text
//! build, seal, verify -> spawn, wait ready, wait links -> timeline (phases, loads, faults) -> drain
//!   -> collect -> stop -> check -> report
//! ```
//! A step that fails before the timeline ends the run; an [`Interrupt`] during the timeline ends the load, and
//! what was measured until then is drained, checked and reported. Whatever happens, all nodes are stopped.

mod churn;
mod endings;
mod evidence;
mod files;
mod heights;
mod interrupt;
mod link_book;
mod links;
mod live;
mod orders;
mod phases;
mod resume;
mod setup;
mod simulated;
mod spread;
mod steps;
#[cfg(test)]
mod tests;
mod upgrades;

pub(crate) use files::write_report;
pub(crate) use interrupt::{Interrupt, Interrupts};
pub(crate) use live::{Heartbeat, add as add_progress};
pub(crate) use orders::{Order, Orders};
pub(crate) use resume::resume;
pub(crate) use setup::load_spec;

use crate::{
    build::{ProgramError, Signing},
    cluster::{ClusterError, ConfigError},
    inject::InjectError,
    load::LoadError,
    rundir::{Entry, Journal, RunDir, RunDirError, RunLock},
    sample::SampleError,
    seal::{SealError, Store, unix_seconds},
};
use regatta_plan::{Plan, PlannedStep};
use regatta_report::{RunResult, live::Glimpse};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The plan.
    pub plan: Plan,
    /// Text of the scenario file, kept with the run.
    pub scenario_text: String,
    /// Folder that relative sources start from.
    pub base: PathBuf,
    /// Folder of all runs.
    pub runs: PathBuf,
    /// Executables given instead of builds, by build name.
    pub given: BTreeMap<String, PathBuf>,
    /// What the operator gives for programs on other machines.
    pub signing: Signing,
    /// One command that repeats the run.
    pub reproduce: String,
    /// Whether an inconclusive run fails.
    pub strict: bool,
    /// Whether only the result counts: no file of a report is written.
    pub unreported: bool,
}

/// A run that has a report.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its folder.
    pub run: RunDir,
    /// Its result.
    pub result: RunResult,
}

/// Something to show to people while a run goes on.
#[derive(Debug)]
pub(crate) enum Progress<'a> {
    /// The run has a folder.
    Run(&'a RunDir),
    /// A step begins.
    StepStarted(&'a PlannedStep),
    /// A step ended.
    StepEnded {
        /// The step.
        step: &'a PlannedStep,
        /// How long it took.
        took: Duration,
        /// Why it failed, if it did.
        error: Option<&'a str>,
    },
    /// A line of the build tool.
    Build(&'a str),
    /// Transactions built ahead, of all.
    Prepared(usize, usize),
    /// The run ends before its time, and why.
    Ending(&'a str),
    /// How it goes.
    Heartbeat(&'a Heartbeat),
    /// Everything about the nodes, for whoever draws them.
    Look(&'a Glimpse),
    /// Nodes run: from now on orders can be given this way.
    Orders(&'a Orders),
    /// An order was not carried out, and why.
    Refused(&'a str),
}

/// Whoever shows the progress of a run.
pub(crate) trait Observer: Send + Sync + std::fmt::Debug {
    /// Shows `progress`.
    fn tell(&self, progress: &Progress<'_>);

    /// Time between two heartbeats.
    fn heartbeat_interval(&self) -> Duration;

    /// Time between two looks at everything; none when nobody draws them.
    fn look_interval(&self) -> Option<Duration> {
        None
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// A program does not build or is not what was sealed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The nodes are not as planned.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A load does not start or ended early.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A fault cannot be done or undone.
    #[error(transparent)]
    Inject(#[from] InjectError),
    /// Nothing can be sampled.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The plan has a name that is none.
    #[error("plan: {0}")]
    Name(#[from] regatta_base::ids::NameError),
    /// The run's folder cannot be written.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The step took longer than it may.
    #[error("step took longer than {0} s")]
    Late(u64),
    /// Nodes that do not fit together.
    #[error(transparent)]
    World(#[from] regatta_sim::SimError),
    /// A simulated node or link does not come up.
    #[error("`{0}` did not come up in time; help: look at the delays of [link] and at the loss")]
    NotReady(String),
    /// The plan's steps are out of order.
    #[error("step comes before one that it needs; help: make the plan anew with this version of the lab")]
    OutOfOrder,
    /// The run is to end.
    #[error("{0}")]
    Interrupted(Interrupt),
}

impl From<ConfigError> for StepError {
    fn from(error: ConfigError) -> Self {
        Self::Cluster(error.into())
    }
}

/// Why there is not even a folder with a report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunnerError {
    /// The run's folder cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The store cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// A new run's folder, locked, with its journal and its store.
pub(crate) struct Opened {
    /// The folder.
    pub run: RunDir,
    /// Held while the lab lives.
    pub lock: RunLock,
    /// The journal.
    pub journal: Arc<Journal>,
    /// The store of programs.
    pub store: Store,
}

/// Makes the folder of a run of `plan`.
///
/// # Errors
/// [`RunnerError`] when folder or store cannot be used.
pub(crate) fn open_run(plan: &Plan, scenario_text: &str, runs: &std::path::Path) -> Result<Opened, RunnerError> {
    let run = RunDir::create(runs, plan, scenario_text, unix_seconds())?;
    let lock = run.lock()?;
    let journal = Arc::new(Journal::open(&run)?);
    journal.write(Entry::lab_started())?;
    let store = Store::open(&runs.join(crate::rundir::STORE_FOLDER))?;
    Ok(Opened {
        run,
        lock,
        journal,
        store,
    })
}

/// Runs `job` to its report.
///
/// What goes wrong on the way is part of the result; all nodes are gone when this returns.
///
/// # Errors
/// [`RunnerError`] when there is not even a place for a report.
pub(crate) async fn run(
    job: Job,
    observer: Arc<dyn Observer>,
    interrupts: Interrupts,
) -> Result<Finished, RunnerError> {
    let opened = open_run(&job.plan, &job.scenario_text, &job.runs)?;
    let _lock = opened.lock;
    observer.tell(&Progress::Run(&opened.run));
    let journal = Arc::clone(&opened.journal);
    if job.plan.world.is_some() {
        let (run, store) = (opened.run.clone(), &opened.store);
        let simulation = simulated::Simulation::new(job, run, opened.journal, store, observer, interrupts);
        let result = simulation.run_all().await?;
        return end(&journal, opened.run, result);
    }
    let runner = steps::Runner::new(
        job,
        opened.run.clone(),
        opened.journal,
        &opened.store,
        observer,
        interrupts,
    );
    let result = runner.run_all().await?;
    end(&journal, opened.run, result)
}

/// The journal's last line.
fn end(journal: &Journal, run: RunDir, result: RunResult) -> Result<Finished, RunnerError> {
    journal.write(Entry::LabEnded {
        exit_code: result.verdict.exit_code,
        sentence: result.verdict.sentence.clone(),
    })?;
    Ok(Finished { run, result })
}
