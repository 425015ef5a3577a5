//! `regatta orphans`: what runs left on hosts.

use super::{
    CliError, FAILED, Global, Outcome,
    hosts::targets,
    output::{print, print_json, table},
    scenario::ScenarioArgs,
};
use crate::{
    cluster::STOP_GRACE,
    fleet::{Connections, HostFailure, Target, end, look},
    rundir::{Entry, Journal, RunDir},
};
use anstream::eprintln;
use clap::Args;
use regatta_fleet::{Name, NodeState, RunStatus};
use regatta_plan::scenario::ProviderKind;
use regatta_report::format;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// List what runs left on the hosts of a fleet, and end it
#[derive(Debug, Args)]
#[command(after_help = "\
Nodes of a lab that died go on until their lease ends; their folders stay until somebody removes them. This finds both \
from any machine that has the scenario or the run's folder, and that may log in to the hosts.

Examples:
  regatta orphans fleet.toml
  regatta orphans fleet.toml --remove     also end and remove all of it
  regatta orphans latest")]
pub(super) struct Orphans {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// End nodes and remove folders of everything that is listed
    #[arg(long)]
    remove: bool,
}

impl Orphans {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let targets = if self.scenario.is_file() {
            targets(&self.scenario, &self.scenario.hosts().await?)?
        } else {
            run_targets(&find(global, &self.scenario.name())?)?
        };
        let names: BTreeMap<u32, String> = targets.iter().map(|host| (host.index, host.name.clone())).collect();
        let connections = Arc::new(Connections::temporary(targets)?);
        let hosts: Vec<u32> = names.keys().copied().collect();
        let (found, mut failures) = look(&connections, &hosts).await;
        show(global, &names, &found)?;
        if self.remove {
            failures.extend(remove_all(&connections, &found).await);
        }
        Ok(tell_failures(&failures))
    }
}

fn find(global: &Global, name: &str) -> Result<RunDir, CliError> {
    RunDir::find(&global.runs, name).map_err(|error| CliError::Usage(format!("error: {error}")))
}

/// The hosts of a run, with the keys that its lab used.
pub(super) fn run_targets(run: &RunDir) -> Result<Vec<Target>, CliError> {
    let plan = run.plan()?;
    if plan.provider != ProviderKind::Ssh {
        let text = format!("error: run {} has no hosts\n  help: `regatta status {0}`", run.id());
        return Err(CliError::Usage(text));
    }
    let base = std::fs::read_to_string(run.path("ssh").join("base")).unwrap_or_default();
    Target::of_plan(&plan.hosts, &PathBuf::from(base))
        .map_err(|(host, error)| CliError::Usage(format!("error: host `{host}`: {error}")))
}

fn show(global: &Global, names: &BTreeMap<u32, String>, found: &BTreeMap<u32, Vec<RunStatus>>) -> Result<(), CliError> {
    let all = found
        .iter()
        .flat_map(|(host, runs)| runs.iter().map(move |run| (&names[host], run)));
    if global.json {
        let line = |(host, run): (&String, &RunStatus)| serde_json::json!({ "host": host, "run": run });
        return print_json(&all.map(line).collect::<Vec<_>>());
    }
    let head = ["host", "run", "nodes that run", "lease left", "folder"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.map(|(host, run)| {
        let running = run
            .nodes
            .iter()
            .filter(|node| matches!(node.state, NodeState::Running(_)))
            .count();
        let lease = run
            .lease_left_ms
            .map_or("-".to_owned(), |left| format!("{} s", left / 1000));
        let folder = format::bytes(run.disk_bytes as f64);
        vec![host.clone(), run.run.to_string(), running.to_string(), lease, folder]
    }));
    if rows.len() == 1 {
        return print(&format!("nothing is left on {} hosts\n", found.len()));
    }
    print(&table(&rows))
}

async fn remove_all(connections: &Arc<Connections>, found: &BTreeMap<u32, Vec<RunStatus>>) -> Vec<HostFailure> {
    let mut by_run: BTreeMap<Name, Vec<(u32, bool)>> = BTreeMap::new();
    for (host, runs) in found {
        for run in runs {
            by_run
                .entry(run.run.clone())
                .or_default()
                .push((*host, run.lease_left_ms.is_some()));
        }
    }
    let mut failures = Vec::new();
    for (run, hosts) in by_run {
        let (forced, failed) = end(connections, &hosts, &run, STOP_GRACE).await;
        let killed = if forced.is_empty() {
            String::new()
        } else {
            format!(", {} nodes were killed", forced.len())
        };
        eprintln!(
            "{run}: removed from {} hosts{killed}",
            hosts.len().saturating_sub(failed.len())
        );
        failures.extend(failed);
    }
    failures
}

fn tell_failures(failures: &[HostFailure]) -> u8 {
    for failure in failures {
        eprintln!("error: host `{}` {}", failure.name, failure.error);
    }
    if failures.is_empty() { 0 } else { FAILED }
}

/// Ends a run of a lab that died, everywhere: its nodes, its folders on hosts, and then its journal.
pub(super) async fn down(run: &RunDir) -> Outcome {
    let _lock = run.lock()?;
    let connections = Arc::new(Connections::temporary(run_targets(run)?)?);
    let hosts: Vec<u32> = connections.targets().iter().map(|target| target.index).collect();
    let (found, mut failures) = look(&connections, &hosts).await;
    let own = found.into_iter().filter_map(|(host, runs)| {
        let own = runs.into_iter().find(|other| other.run.as_str() == run.id())?;
        Some((host, own.lease_left_ms.is_some()))
    });
    let own: Vec<(u32, bool)> = own.collect();
    let name: Name = run.id().parse()?;
    let (forced, failed) = end(&connections, &own, &name, STOP_GRACE).await;
    failures.extend(failed);
    let code = tell_failures(&failures);
    if code == 0 {
        let sentence = "ended on all hosts by `regatta down`".to_owned();
        Journal::open(run)?.write(Entry::LabEnded {
            exit_code: FAILED,
            sentence,
        })?;
        let killed: Vec<&str> = forced.iter().map(Name::as_str).collect();
        let killed = if killed.is_empty() {
            String::new()
        } else {
            format!("; had to be killed: {}", killed.join(", "))
        };
        print(&format!(
            "{} is down: removed from {} of {} hosts{killed}\n",
            run.id(),
            own.len(),
            hosts.len()
        ))?;
    }
    Ok(code)
}
