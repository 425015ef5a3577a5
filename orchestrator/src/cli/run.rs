//! `regatta run`: one scenario from source to report.

use super::{
    CliError, FAILED, Global, Outcome,
    output::{print, print_json},
    runs::report_sweep,
    scenario::{FleetArgs, Loaded, ScenarioArgs},
    signals::Signals,
};
use crate::{
    build::Signing,
    provider::raise_descriptor_limit,
    runner::{self, Finished, Interrupts, Job},
    view::{Leaving, Panel, Screen, Shared, Web, may_draw},
};
use anstream::eprintln;
use clap::Args;
use regatta_plan::{Plan, PlannedHost};
use regatta_report::render;
use std::{net::SocketAddr, sync::Arc};

/// Build, seal, start, load, check and report one scenario
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal the run is drawn: nodes, heights, throughput, latency, faults, and keys to break nodes by hand (? explains \
them). Elsewhere, and with --plain, --json, NO_COLOR or TERM=dumb, a line tells how it goes from time to time.

With --web a page shows the same with a map of the network, to this machine only unless another address is given; it is \
read only, and closes with the run.

Ctrl-C ends the run cleanly with a partial report; a second one ends it at once.

Examples:
  regatta run topologies/quickstart.toml
  regatta run topologies/quickstart.toml --set phases.measure=60s --set load.0.rate=1000
  regatta run topologies/smoke.toml --seed 7 --json
  regatta run topologies/crash.toml --web
  regatta run topologies/hundred.toml --dry-run    hosts, minutes and bytes; nothing starts
  regatta run fleet.toml --key release.pem --tolerate 5%    goes on without up to 5% of the hosts

Exit codes:
  0 pass   1 not carried out   2 usage or scenario   3 objective missed
  4 correctness   5 inconclusive (with --strict)   6 invalid run")]
pub(super) struct Run {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Fail with exit code 5 when the run is inconclusive
    #[arg(long)]
    strict: bool,
    /// Print what the run would cost (hosts, minutes, bytes), and start nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    fleet: FleetArgs,
    /// Print plain lines, also on a terminal
    #[arg(long)]
    plain: bool,
    /// Show the run on a web page too; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:0")]
    web: Option<SocketAddr>,
}

impl Run {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let loaded = self.fleet.on(&self.scenario).load(global, "run")?;
        if self.dry_run {
            return print_costs(global, &loaded.plan);
        }
        raise_descriptor_limit();
        report_sweep(&global.runs);
        let job = Job {
            signing: self.fleet.signing(),
            strict: self.strict,
            ..job_of(global, loaded)
        };
        let interrupts = Interrupts::new();
        let mut signals = Signals::listen()?;
        let shared = Shared::new(&job.plan);
        let drawn = self.is_drawn(global, &job.plan);
        let panel = Arc::new(Panel::new(Arc::clone(&shared), drawn, self.web.is_some()));
        let page = self.page(&shared, &job.plan)?;
        if let Some(page) = &page {
            eprintln!("page      http://{}/", page.address());
            panel.show_address(page.address());
        }
        let screen = drawn
            .then(|| Screen::start(Arc::clone(&shared), Leaving::EndsRun))
            .transpose()?;
        let work = runner::run(job, Arc::clone(&panel) as Arc<dyn runner::Observer>, interrupts.clone());
        let say = |text: &str| panel.say(text);
        let outcome = tokio::select! {
            finished = work => Some(finished),
            // Dropping the run kills its nodes before this returns.
            second = signals.interrupt_twice_saying(&interrupts, &say) => {
                panel.say(&format!("{second}: ended at once, without a report"));
                None
            }
        };
        if screen.is_some() {
            // The terminal first: what follows is to stay on it.
            drop(screen);
            shared.transcript().iter().for_each(|line| eprintln!("{line}"));
        }
        match outcome {
            Some(finished) => print_result(global, &finished?),
            None => Ok(FAILED),
        }
    }

    /// The page, when it is wanted.
    fn page(&self, shared: &Arc<Shared>, plan: &Plan) -> Result<Option<Web>, CliError> {
        let Some(address) = self.web else { return Ok(None) };
        if plan.world.is_some() {
            let text = "error: a simulated run has no page: its time is not a watch's\n  help: leave --web out";
            return Err(CliError::Usage(text.to_owned()));
        }
        let cannot = |error| CliError::Failed(format!("cannot serve the page on {address}: {error}"));
        Web::start(Arc::clone(shared), address).map(Some).map_err(cannot)
    }

    /// Virtual time passes too fast to be watched.
    fn is_drawn(&self, global: &Global, plan: &Plan) -> bool {
        !self.plain && !global.json && plan.world.is_none() && may_draw()
    }
}

/// What to run when nothing but a scenario was given.
pub(super) fn job_of(global: &Global, loaded: Loaded) -> Job {
    Job {
        plan: loaded.plan,
        scenario_text: loaded.text,
        base: loaded.base,
        runs: global.runs.clone(),
        given: loaded.given,
        signing: Signing::default(),
        reproduce: loaded.reproduce,
        strict: false,
        unreported: false,
    }
}

fn print_costs(global: &Global, plan: &Plan) -> Outcome {
    if !global.json {
        print(&plan.render_costs())?;
        return Ok(0);
    }
    let nodes = |host: u32| plan.nodes_on(host).map(|node| node.name.as_str()).collect::<Vec<_>>();
    let host = |host: &PlannedHost| {
        serde_json::json!({
            "name": host.name,
            "addr": host.addr,
            "ip": host.ip,
            "region": host.region,
            "slots": host.slots,
            "spare": host.spare,
            "nodes": nodes(host.index),
        })
    };
    let estimate = plan.estimate();
    print_json(&serde_json::json!({
        "name": plan.name,
        "provider": plan.provider,
        "digest": plan.digest(),
        "estimate": estimate,
        "transfer_bytes": estimate.transfer_bytes(),
        "disk_bytes": estimate.disk_bytes(),
        "hosts": plan.hosts.iter().map(host).collect::<Vec<_>>(),
    }))?;
    Ok(0)
}

pub(super) fn print_result(global: &Global, finished: &Finished) -> Result<u8, CliError> {
    let (run, result) = (&finished.run, &finished.result);
    let report = run.path("report.html").display().to_string();
    if global.json {
        print_json(&serde_json::json!({
            "run": run.id(),
            "folder": run.root(),
            "report": report,
            "verdict": result.verdict,
            "links": result.record.links.as_ref().map(|links| &links.probes),
        }))?;
    } else {
        print(&render::text(result, &report))?;
    }
    Ok(result.verdict.exit_code)
}
