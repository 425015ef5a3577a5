//! `regatta load`: load on a cluster that is up, from another terminal.

use super::{
    CliError, FAILED, Global, Outcome,
    output::{print, print_json, table},
    runs::the_cluster,
    signals::Signals,
};
use crate::{
    load::{self, LoadHandle, LoadOutcome, RunClock},
    provider::Place,
    runner::load_spec,
    seal::unix_seconds,
    supervisor::ClusterStatus,
};
use anstream::eprintln;
use clap::Args;
use regatta_plan::{
    Plan, PlannedLoad, PlannedPhases,
    scenario::{ArrivalKind, Rate, TransactionKind},
    units::{Duration as Span, Size},
};
use regatta_report::{Counts, format};
use std::time::Duration;

/// Time between two progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Time for the pacer to wake up before the first transaction.
const LEAD_NS: u64 = 200_000_000;
/// How long a transaction may take, and how long the last ones are waited for, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// Accounts that sign.
const SENDERS: u32 = 64;

/// Put load on a cluster that is up
#[derive(Debug, Args)]
#[command(after_help = "\
Open loop with Poisson arrivals. Prints where every transaction ended and the latencies of all of them.

Examples:
  regatta load latest --rate 500 --for 10s
  regatta load latest --rate 100 --for 1m --kind put --size 1KiB --target val --json")]
pub(super) struct Load {
    /// Run, by id, unique prefix or `latest`
    run: String,
    /// Transactions per second
    #[arg(long)]
    rate: f64,
    /// How long
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Span,
    /// Kind of transaction: opaque, put or blob
    #[arg(long, default_value = "opaque", value_parser = kind)]
    kind: TransactionKind,
    /// Payload of a transaction
    #[arg(long, default_value = "512B")]
    size: Size,
    /// Group or node that gets the load; without it, where the scenario's first load goes, or all nodes
    #[arg(long)]
    target: Option<String>,
    /// Consensus instance; without it, that of the scenario's first load, or the first one
    #[arg(long)]
    instance: Option<String>,
}

fn kind(text: &str) -> Result<TransactionKind, String> {
    let known = [TransactionKind::Opaque, TransactionKind::Put, TransactionKind::Blob];
    let found = known.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| "use opaque, put or blob".to_owned())
}

/// Moves this thread to where the nodes of a cluster are reached from.
fn enter_network(status: &ClusterStatus) -> Result<(), CliError> {
    let Some(number) = status.namespace else { return Ok(()) };
    let failed = |error: std::io::Error| {
        CliError::Failed(format!(
            "cannot enter the network of `{}`: {error}\n  help: only who may make namespaces may enter them; run as the \
             user that ran `up`",
            status.run
        ))
    };
    let place = Place::of_process(status.pid).map_err(failed)?;
    // The process may have ended and another one have its id: the number tells.
    if place.number().map_err(failed)? != number {
        return Err(CliError::Failed(format!("the cluster `{}` has just ended", status.run)));
    }
    place.enter().map_err(failed)
}

impl Load {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        if !(self.rate > 0.0 && self.rate.is_finite()) || self.lasts.millis() == 0 {
            return Err(CliError::Usage(
                "error: nothing to offer\n  help: --rate 100 --for 10s".to_owned(),
            ));
        }
        let (run, status) = the_cluster(&global.runs, Some(&self.run)).await?;
        enter_network(&status)?;
        let mut plan = run.placed_plan()?;
        let planned = self.planned(&plan)?;
        plan.phases = PlannedPhases {
            warmup_ms: 0,
            measure_ms: planned.duration_ms,
            cooldown_ms: 0,
            drain_ms: TIMEOUT_MS,
        };
        let clock = RunClock::start();
        // Other accounts and payloads than any load before on this cluster.
        let salt = format!("terminal/{}/{}", unix_seconds(), std::process::id());
        let prepared = load::prepare(load_spec(&plan, &planned, salt, clock)?, |_| {}).await?;
        let handle = prepared.connect().await?.start(clock.now_ns() + LEAD_NS)?;
        let outcome = watch(handle).await?;
        show(global, &outcome)?;
        let total = outcome.tally.total();
        Ok(if total.ok == total.intended { 0 } else { FAILED })
    }

    fn planned(&self, plan: &Plan) -> Result<PlannedLoad, CliError> {
        let usage = |text: String| CliError::Usage(format!("error: {text}"));
        let first = plan.loads.first();
        let wanted = self.instance.as_deref().or(first.map(|load| load.instance.as_str()));
        let instance = match wanted {
            Some(id) => plan.instance(id),
            None => plan.instances.first(),
        };
        let instance = instance.ok_or_else(|| {
            let known: Vec<&str> = plan.instances.iter().map(|instance| instance.id.as_str()).collect();
            let name = wanted.unwrap_or_default();
            usage(format!(
                "no consensus instance `{name}`\n  help: the plan has {}",
                known.join(", ")
            ))
        })?;
        let mut targets = match (&self.target, first) {
            (Some(target), _) => select(plan, target),
            (None, Some(load)) if load.instance == instance.id => load.targets.clone(),
            (None, _) => plan.nodes.iter().map(|node| node.index).collect(),
        };
        targets.retain(|&node| instance.runs(node));
        if targets.is_empty() {
            return Err(usage(format!(
                "no group or node `{}` that runs instance `{}`\n  help: `regatta status {}` lists the nodes",
                self.target.as_deref().unwrap_or_default(),
                instance.id,
                self.run
            )));
        }
        let size = u32::try_from(self.size.0).map_err(|_| usage(format!("--size {}: too large", self.size)))?;
        Ok(PlannedLoad {
            index: 0,
            instance: instance.id.clone(),
            arrivals: ArrivalKind::Poisson,
            rate: Rate::Constant(self.rate),
            mix: vec![(self.kind, 1.0)],
            size,
            targets,
            senders: SENDERS,
            timeout_ms: TIMEOUT_MS,
            duration_ms: self.lasts.millis(),
            expected: (self.rate * self.lasts.seconds()).round() as u64,
            host: None,
        })
    }
}

/// Nodes of a group, one node, or all.
fn select(plan: &Plan, name: &str) -> Vec<u32> {
    let fits = |node: &&regatta_plan::PlannedNode| name == "all" || node.group == name || node.name == name;
    plan.nodes.iter().filter(fits).map(|node| node.index).collect()
}

/// Shows how the load goes until its books are closed; a signal ends the schedule early.
async fn watch(mut handle: LoadHandle) -> Result<LoadOutcome, CliError> {
    let mut signals = Signals::listen()?;
    loop {
        tokio::select! {
            () = handle.scheduled() => break,
            signal = signals.next() => {
                eprintln!("{signal}: no more transactions");
                handle.stop();
            }
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                let now = handle.progress();
                eprintln!(
                    "{} tx/s of {} offered  p50 {} p99 {}  in flight {}",
                    format::integer(now.final_per_s),
                    format::integer(now.offered_per_s),
                    format::duration_us(now.p50_us as f64),
                    format::duration_us(now.p99_us as f64),
                    format::integer(now.in_flight),
                );
            }
        }
    }
    Ok(handle.drain(Duration::from_millis(TIMEOUT_MS)).await?)
}

fn show(global: &Global, outcome: &LoadOutcome) -> Result<(), CliError> {
    let accounting = outcome.tally.total().to_accounting();
    let response = &outcome.latency.response.overall;
    let quantile = |q: f64| response.quantile(q);
    if global.json {
        return print_json(&serde_json::json!({
            "accounting": accounting,
            "response_us": { "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "max": response.max() },
            "lag_p99_us": outcome.latency.lag.overall.quantile(0.99),
            "stopped": outcome.stopped,
        }));
    }
    let count = |name: &str, value: u64| vec![name.to_owned(), format::integer(value)];
    let mut rows = vec![
        count("intended", accounting.intended),
        count("final and ok", accounting.finalised_ok),
        count("final and failed", accounting.finalised_failed),
        count("not sent", accounting.not_sent),
        count("timed out", accounting.timed_out),
        count("unknown", accounting.unknown),
    ];
    rows.extend(
        accounting
            .rejected
            .iter()
            .map(|refused| count(&format!("refused: {}", refused.reason), refused.count)),
    );
    rows.push(vec!["response".to_owned(), latencies(response)]);
    rows.push(vec![
        "generator lag".to_owned(),
        latencies(&outcome.latency.lag.overall),
    ]);
    print(&table(&rows))
}

fn latencies(counts: &Counts) -> String {
    let text = |q: f64| {
        counts
            .quantile(q)
            .map_or("-".to_owned(), |us| format::duration_us(us as f64))
    };
    format!("p50 {}  p90 {}  p99 {}", text(0.5), text(0.9), text(0.99))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    fn load(target: Option<&str>) -> Load {
        Load {
            run: "latest".to_owned(),
            rate: 100.0,
            lasts: Span::from_secs(3),
            kind: TransactionKind::Put,
            size: Size(64),
            target: target.map(str::to_owned),
            instance: None,
        }
    }

    #[test]
    fn a_load_goes_to_nodes_that_run_its_instance() {
        let mut plan = plan(4);
        let mut side = plan.instances[0].clone();
        (side.id, side.validators, side.followers) = ("side".to_owned(), vec![(0, 1), (1, 1)], vec![3]);
        plan.instances.push(side);
        let planned = |instance: &str, target| {
            let load = Load {
                instance: Some(instance.to_owned()),
                ..load(target)
            };
            load.planned(&plan).map(|load| (load.instance, load.targets))
        };
        assert_eq!(planned("side", None).unwrap(), ("side".to_owned(), vec![0, 1, 3]));
        assert!(planned("side", Some("val-2")).is_err() && planned("other", None).is_err());
    }

    #[test]
    fn a_load_goes_to_the_named_nodes() {
        let plan = plan(3);
        let targets = |target| load(target).planned(&plan).map(|load| load.targets).ok();
        assert_eq!(targets(Some("val-1")), Some(vec![1]));
        assert_eq!(targets(Some("val")), Some(vec![0, 1, 2]));
        assert_eq!(targets(None), Some(vec![0, 1, 2]));
        assert_eq!(targets(Some("absent")), None);
        assert_eq!(load(None).planned(&plan).ok().map(|load| load.expected), Some(300));
    }

    #[test]
    fn only_known_kinds_are_offered() {
        assert_eq!(kind("blob"), Ok(TransactionKind::Blob));
        assert!(kind("kudos").is_err());
    }
}
