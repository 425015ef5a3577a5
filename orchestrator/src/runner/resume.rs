//! Finishing the run of a lab that died while its nodes were on hosts: they are found again, read, stopped and checked.
//!
//! What only the dead lab knew is lost: which transactions it sent, and every latency. So the report has no figures of the
//! load, says that the run was interrupted, and checks what the ledgers alone can tell.

use super::{Finished, Job, Observer, Progress, RunnerError, StepError, end, steps::Runner};
use crate::{
    cluster::ClusterError,
    provider::{self, SshError},
    rundir::{Entry, Journal, RunDir, RunDirError, STORE_FOLDER},
    runner::Interrupts,
    seal::{SealError, Sealed, Store},
};
use regatta_plan::scenario::ProviderKind;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// Why a run cannot be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResumeError {
    /// Its folder cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// Its seals cannot be read.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It has a result.
    #[error("run {0} is finished\n  help: `regatta report {0}` shows its report")]
    Finished(String),
    /// Its nodes ended with their lab.
    #[error("run {0} had its nodes on this machine, where they ended with the lab\n  help: run the scenario again")]
    NotOnHosts(String),
    /// No host answers.
    #[error(transparent)]
    Hosts(#[from] SshError),
    /// A step failed before there was anything to report.
    #[error(transparent)]
    Step(#[from] StepError),
    /// There is no place for a report.
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

/// Finishes the run in `run`.
///
/// # Errors
/// [`ResumeError`] when it has a result already, or no host knows of it.
pub(crate) async fn resume(run: RunDir, observer: Arc<dyn Observer>) -> Result<Finished, ResumeError> {
    let _lock = run.lock()?;
    if run.is_finished() {
        return Err(ResumeError::Finished(run.id().to_owned()));
    }
    let plan = run.placed_plan()?;
    if plan.provider != ProviderKind::Ssh {
        return Err(ResumeError::NotOnHosts(run.id().to_owned()));
    }
    let journal = Arc::new(Journal::open(&run)?);
    journal.write(Entry::lab_started())?;
    let store = Store::open(&run.root().with_file_name(STORE_FOLDER))?;
    let sealed = |name: &String| Ok((name.clone(), Sealed::read_from(&run.path("build"), name, &store)?));
    let builds = plan
        .builds
        .keys()
        .map(sealed)
        .collect::<Result<BTreeMap<_, _>, SealError>>()?;
    observer.tell(&Progress::Run(&run));
    let ready = provider::reattach(&plan, &run, &journal).await?;
    let job = Job {
        scenario_text: std::fs::read_to_string(run.path("scenario.toml")).unwrap_or_default(),
        base: PathBuf::new(),
        runs: run.root().parent().map(PathBuf::from).unwrap_or_default(),
        given: BTreeMap::new(),
        signing: crate::build::Signing::default(),
        reproduce: format!("regatta run {}", run.path("scenario.toml").display()),
        strict: false,
        unreported: false,
        // Doors to nodes are others than those of the lab before.
        plan: ready.placed_plan().clone(),
    };
    let mut runner = Runner::new(
        job,
        run.clone(),
        Arc::clone(&journal),
        &store,
        observer,
        Interrupts::new(),
    );
    runner.programs.adopt(builds);
    runner.fleet = Some(ready);
    runner.adopt_field().await?;
    let result = runner.wind_up().await?;
    Ok(end(&journal, run, result)?)
}

impl Runner {
    /// Takes the nodes that still run as this lab's own.
    async fn adopt_field(&mut self) -> Result<(), StepError> {
        self.prepared_for_adoption();
        self.prepare_field().await?;
        let cluster = Arc::clone(&self.field()?.cluster);
        let found = cluster.adopt().map_err(StepError::from)?;
        if found == 0 {
            return Err(StepError::Cluster(ClusterError::NobodyLeft));
        }
        Ok(())
    }
}
