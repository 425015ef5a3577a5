//! `regatta down`: stops clusters.

use super::{
    CliError, Global, Outcome, orphans,
    output::print,
    runs::{live_clusters, report_sweep, status_of, the_cluster},
};
use crate::{
    rundir::RunDir,
    supervisor::{Answer, Request, ask},
};
use clap::Args;
use regatta_plan::scenario::ProviderKind;

/// Stop a cluster, and wait until none of its nodes is left; or end a run on hosts whose lab died
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta down
  regatta down quickstart-20250131T120000Z-ab12cd34
  regatta down --all")]
pub(super) struct Down {
    /// Run, by id, unique prefix or `latest`; without it, the only one that is up
    run: Option<String>,
    /// Stop all clusters
    #[arg(long, conflicts_with = "run")]
    all: bool,
}

impl Down {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        // One whose supervisor lives is stopped by that.
        if let Some(run) = self.fleet(global)
            && status_of(&run).await?.is_none()
        {
            return orphans::down(&run).await;
        }
        let runs: Vec<RunDir> = if self.all {
            live_clusters(&global.runs)
                .await?
                .into_iter()
                .map(|(run, _)| run)
                .collect()
        } else {
            vec![the_cluster(&global.runs, self.run.as_deref()).await?.0]
        };
        for run in &runs {
            stop(run).await?;
        }
        report_sweep(&global.runs);
        if runs.is_empty() {
            print("no cluster is up\n")?;
        }
        Ok(0)
    }
}

impl Down {
    /// The named run, when its nodes are on hosts.
    fn fleet(&self, global: &Global) -> Option<RunDir> {
        let run = RunDir::find(&global.runs, self.run.as_deref()?).ok()?;
        let is_fleet = run.plan().is_ok_and(|plan| plan.provider == ProviderKind::Ssh);
        is_fleet.then_some(run)
    }
}

async fn stop(run: &RunDir) -> Result<(), CliError> {
    match ask(run, &Request::Stop {}).await {
        Ok(Answer::Stopped { forced, troubles }) => {
            let killed = match forced.as_slice() {
                [] => String::new(),
                forced => format!("; had to be killed: {}", forced.join(", ")),
            };
            print(&format!("{} is down{killed}\n", run.id()))?;
            if troubles.is_empty() {
                return Ok(());
            }
            let text = format!(
                "{}\n  help: `regatta down {}` tries again to remove what is left on hosts",
                troubles.join("\n"),
                run.id()
            );
            Err(CliError::Failed(text))
        }
        Ok(other) => Err(CliError::Failed(format!(
            "run {}: unexpected answer {other:?}",
            run.id()
        ))),
        Err(error) => Err(CliError::Failed(format!("run {}: {error}", run.id()))),
    }
}
