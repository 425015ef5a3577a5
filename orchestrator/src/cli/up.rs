//! `regatta up`: a cluster that stays until `regatta down`.

use super::{
    CliError, Global, Outcome,
    output::{print, print_json},
    runs::report_sweep,
    scenario::{FleetArgs, ScenarioArgs},
    signals::Signals,
    supervise,
    watch::{View, draw},
};
use crate::{
    build::{AgentFile, Programs},
    rundir::{Entry, RunDir},
    runner::{Opened, open_run},
    supervisor::{FleetTerms, Startup},
    view::{Leaving, may_draw},
};
use anstream::eprintln;
use clap::Args;
use std::{
    path::{Path, absolute},
    process::Stdio,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

/// Start a cluster that stays, and return when all its nodes are ready
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal the cluster is drawn while it starts and from then on, until you leave (q): that leaves it up, as `regatta \
watch` does. Elsewhere, and with --plain, --json, NO_COLOR or TERM=dumb, lines tell how it starts, and it returns when all \
nodes are ready.

The cluster lives in the background until `regatta down` or until its lease (budget.lease) ends. Several live side by \
side when their address ranges differ; a scenario that pins no net.ipv4 gets a free one.

Examples:
  regatta up topologies/quickstart.toml
  regatta up topologies/quickstart.toml --set net.ipv4=127.77.0.0/16
  regatta up fleet.toml --key release-key.pem --tolerate 2    goes on without up to 2 hosts
  regatta status; regatta logs latest val-0 -f; regatta down")]
pub(super) struct Up {
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    fleet: FleetArgs,
    /// Print plain lines and return when all nodes are ready, also on a terminal
    #[arg(long)]
    plain: bool,
}

impl Up {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let loaded = self.fleet.on(&self.scenario).load(global, "up")?;
        report_sweep(&global.runs);
        let Opened {
            run,
            lock,
            journal,
            store,
        } = open_run(&loaded.plan, &loaded.text, &global.runs)?;
        eprintln!("run       {}", run.id());
        let mut programs =
            Programs::new(&loaded.plan, &loaded.base, loaded.given, store).signed_by(self.fleet.signing());
        let mut signals = Signals::listen()?;
        let mut show = |line: &str| eprintln!("          {}", line.trim());
        let provide = programs.provide(&mut show);
        let provided = tokio::select! {
            provided = provide => provided.map_err(CliError::from),
            signal = signals.next() => Err(CliError::Failed(format!("interrupted by {signal}"))),
        };
        if let Err(error) = provided {
            let sentence = "the programs of the cluster could not be provided".to_owned();
            journal.write(Entry::LabEnded {
                exit_code: super::FAILED,
                sentence,
            })?;
            return Err(error);
        }
        for (name, sealed) in programs.sealed() {
            sealed.write_to(&run.path("build"), name)?;
        }
        // The supervisor takes the run over.
        drop(lock);
        let mut supervisor = start_supervisor(&run, self.terms(&programs, &loaded.base)?.as_ref())?;
        let drawn = !self.plain && !global.json && may_draw();
        let view = match drawn {
            true => View::start(&run, &loaded.plan, Leaving::EndsStart)
                .inspect_err(undrawn)
                .ok(),
            false => None,
        };
        let view = view.map(|(view, _)| view);
        let tell = |text: &str| match &view {
            Some(view) => view.step(text),
            None => eprintln!("          {text}"),
        };
        let started = tokio::select! {
            ready = wait_until_ready(&run, &mut supervisor, &tell) => Ok(ready),
            signal = signals.next() => Err(signal),
        };
        // The terminal first: errors are to stay on it.
        drop(view);
        match started {
            Ok(ready) => ready?,
            Err(signal) => {
                stop_supervisor(supervisor).await?;
                return Err(CliError::Failed(format!(
                    "interrupted by {signal}; nothing is left running"
                )));
            }
        }
        let plan = run.placed_plan()?;
        if drawn {
            draw(&run, &plan, &mut signals).await?;
        }
        print_cluster(global, &run, &plan)
    }

    /// What the supervisor must know of hosts, where there are any. It runs elsewhere: every path is an absolute one.
    fn terms(&self, programs: &Programs, base: &Path) -> Result<Option<FleetTerms>, CliError> {
        let (Some(key), Some(agent)) = (&self.fleet.key, programs.agent_file()) else {
            return Ok(None);
        };
        let base = if base.as_os_str().is_empty() {
            Path::new(".")
        } else {
            base
        };
        Ok(Some(FleetTerms {
            key: absolute(key)?,
            agent: AgentFile {
                path: absolute(&agent.path)?,
                target: agent.target.clone(),
            },
            base: absolute(base)?,
        }))
    }
}

/// The cluster starts all the same.
fn undrawn(error: &CliError) {
    let (CliError::Usage(why) | CliError::Failed(why)) = error;
    eprintln!("warning: the terminal cannot be drawn on: {why}");
}

/// Starts this program again as the supervisor of `run`.
fn start_supervisor(run: &RunDir, fleet: Option<&FleetTerms>) -> Result<Child, CliError> {
    let log_path = run.path("supervisor.log");
    let log = std::fs::File::create(&log_path)?;
    let program = std::env::current_exe()?;
    Ok(Command::new(program)
        .arg(supervise::NAME)
        .arg(run.root())
        .args(fleet.map(supervise::arguments).unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?)
}

/// Asks a supervisor that is still starting to stop, and waits for it.
async fn stop_supervisor(mut supervisor: Child) -> Result<(), CliError> {
    if let Some(pid) = supervisor.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It is our child and has not been waited for, so that the id is its own.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
    supervisor.wait().await?;
    Ok(())
}

/// Has `tell` show the supervisor's steps until it says that all nodes are ready.
async fn wait_until_ready(run: &RunDir, supervisor: &mut Child, tell: &dyn Fn(&str)) -> Result<(), CliError> {
    let failed = |reason: &str| {
        let log = run.path("supervisor.log");
        CliError::Failed(format!("the cluster did not start: {reason}\n  log: {}", log.display()))
    };
    let stdout: ChildStdout = supervisor.stdout.take().ok_or_else(|| failed("it has no output"))?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(Startup::Step(text)) => tell(&text),
            Ok(Startup::Ready) => return Ok(()),
            Ok(Startup::Failed(reason)) => return Err(failed(&reason)),
            Err(error) => return Err(failed(&format!("it said `{line}`: {error}"))),
        }
    }
    let status = supervisor.wait().await?;
    let text = std::fs::read_to_string(run.path("supervisor.log")).unwrap_or_default();
    Err(failed(&format!("its supervisor ended ({status})\n{}", text.trim_end())))
}

fn print_cluster(global: &Global, run: &RunDir, plan: &regatta_plan::Plan) -> Outcome {
    if global.json {
        let node = |node: &regatta_plan::PlannedNode| {
            serde_json::json!({
                "name": node.name,
                "role": node.role,
                "http": crate::cluster::http_address(node).to_string(),
            })
        };
        let nodes: Vec<serde_json::Value> = plan.nodes.iter().map(node).collect();
        print_json(&serde_json::json!({ "run": run.id(), "folder": run.root(), "nodes": nodes }))?;
    } else {
        let first = plan
            .nodes
            .first()
            .map(|node| crate::cluster::http_address(node).to_string());
        print(&format!(
            "{} is up: {} nodes, first control interface http://{}\n",
            run.id(),
            plan.nodes.len(),
            first.unwrap_or_default()
        ))?;
    }
    Ok(0)
}
