//! Runs and clusters by name, and what dead labs left behind.

use super::CliError;
use crate::{
    fleet::sweep_temporary,
    rundir::{DeadRun, RunDir, sweep},
    supervisor::{Answer, ClusterStatus, Request, ask, is_absent},
};
use anstream::eprintln;
use regatta_process::cgroup::{Controller, Place};
use std::path::Path;

/// Dead runs that are named one by one.
const NAMED_MAX: usize = 3;

/// Removes what labs left that died, and says on stderr which those are and which of their nodes still run.
pub(super) fn report_sweep(runs: &Path) {
    sweep_groups();
    let folders = sweep_temporary(&std::env::temp_dir());
    if folders > 0 {
        eprintln!("note: removed {folders} temporary folders that a lab left that died");
    }
    let dead = sweep(runs);
    for dead in &dead {
        for (node, pid) in &dead.alive {
            eprintln!(
                "warning: node `{node}` of run {} outlived its lab as process {pid}\n  help: kill {pid}",
                dead.run.id()
            );
        }
    }
    if !dead.is_empty() {
        // Those with nodes that still run are named again next time.
        let closed = dead.iter().filter(|dead| dead.alive.is_empty()).map(DeadRun::close);
        // What cannot be closed is named again as well.
        let sockets: usize = closed.filter_map(Result::ok).sum();
        let names: Vec<&str> = dead.iter().rev().take(NAMED_MAX).map(|dead| dead.run.id()).collect();
        let more = dead.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let what = "its folder holds no result";
        eprintln!("note: a lab died in run {}{more}: {what}", names.join(", "));
        let earlier = dead.iter().filter(|dead| dead.of_another_boot).count();
        if earlier > 0 {
            eprintln!(
                "note: {earlier} of them died before this machine was last started: no process of theirs is left"
            );
        }
        if sockets > 0 {
            eprintln!("note: removed {sockets} control sockets that nobody answers any more");
        }
    }
}

/// Removes control groups that dead labs left. Where there are none to make, none can be left.
fn sweep_groups() {
    for controller in [Controller::Cpu, Controller::Memory] {
        match Place::find(controller).map(|place| place.sweep()) {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => eprintln!("note: removed {count} empty control groups that a lab left that died"),
            Ok(Err(error)) => eprintln!("warning: {error}"),
        }
    }
}

/// Clusters in `runs` that are up, with their status.
///
/// # Errors
/// [`CliError::Failed`] when a supervisor does not answer.
pub(super) async fn live_clusters(runs: &Path) -> Result<Vec<(RunDir, ClusterStatus)>, CliError> {
    let mut live = Vec::new();
    for run in RunDir::list(runs).into_iter().filter(|run| !run.is_finished()) {
        if let Some(status) = status_of(&run).await? {
            live.push((run, status));
        }
    }
    Ok(live)
}

/// Status of the cluster of `run`; `None` when it is not up.
///
/// # Errors
/// [`CliError::Failed`] when its supervisor does not answer.
pub(super) async fn status_of(run: &RunDir) -> Result<Option<ClusterStatus>, CliError> {
    match ask(run, &Request::Status {}).await {
        Ok(Answer::Status(status)) => Ok(Some(status)),
        Ok(answer) => Err(CliError::Failed(format!(
            "run {}: unexpected answer {answer:?}",
            run.id()
        ))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(CliError::Failed(format!("run {}: {error}", run.id()))),
    }
}

/// The cluster called `name`, or the only one that is up.
///
/// # Errors
/// [`CliError::Usage`] when the name fits none, or none was given and there is not exactly one.
pub(super) async fn the_cluster(runs: &Path, name: Option<&str>) -> Result<(RunDir, ClusterStatus), CliError> {
    if let Some(name) = name {
        let run = RunDir::find(runs, name).map_err(|error| CliError::Usage(format!("error: {error}")))?;
        return match status_of(&run).await? {
            Some(status) => Ok((run, status)),
            None => Err(CliError::Usage(format!(
                "error: run {} has no cluster that is up\n  help: `regatta status` lists those that are",
                run.id()
            ))),
        };
    }
    let mut live = live_clusters(runs).await?;
    match (live.pop(), live.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(CliError::Usage(
            "error: no cluster is up\n  help: regatta up FILE".to_owned(),
        )),
        (Some(last), _) => {
            let names: Vec<&str> = live.iter().chain([&last]).map(|(run, _)| run.id()).collect();
            Err(CliError::Usage(format!(
                "error: several clusters are up\n  help: name one of {}",
                names.join(", ")
            )))
        }
    }
}
