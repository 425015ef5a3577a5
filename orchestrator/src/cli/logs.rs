//! `regatta logs`: what a node wrote, also of runs that are over.

use super::{CliError, Global, Outcome, output::print, runs::status_of};
use crate::{
    rundir::RunDir,
    supervisor::{Answer, Request, ask, is_absent},
};
use clap::Args;
use regatta_plan::scenario::ProviderKind;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

/// Time between two looks for new lines.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// Most bytes that are read at once.
const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// Show the log of a node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta logs latest val-0
  regatta logs latest val-0 -f")]
pub(super) struct Logs {
    /// Run, by id, unique prefix or `latest`
    run: String,
    /// Name of the node
    node: String,
    /// Go on with new lines until interrupted
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let usage = |text: String| CliError::Usage(format!("error: {text}"));
        let run = RunDir::find(&global.runs, &self.run).map_err(|error| usage(error.to_string()))?;
        let plan = run.plan()?;
        let names = (0..plan.places() as u32).map(|place| plan.name_at(place));
        if names.clone().all(|name| name != self.node) {
            let names: Vec<&str> = names.take(20).collect();
            return Err(usage(format!(
                "run {} has no node `{}`\n  help: its nodes are {}",
                run.id(),
                self.node,
                names.join(", ")
            )));
        }
        if plan.provider == ProviderKind::Ssh && status_of(&run).await?.is_some() {
            return self.of_host(&run).await;
        }
        let log = run.log(&self.node);
        let older = log.with_extension("log.1");
        if older.is_file() {
            copy_from(&older, 0)?;
        }
        let mut offset = copy_from(&log, 0)?;
        if !self.follow {
            return Ok(0);
        }
        loop {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
            if std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() < offset) {
                // The log was rotated: a new one has begun.
                offset = 0;
            }
            offset = copy_from(&log, offset)?;
        }
    }
}

impl Logs {
    /// Prints the log of a node on a host, by way of whoever keeps the cluster.
    async fn of_host(&self, run: &RunDir) -> Outcome {
        let mut offset = 0;
        loop {
            let request = Request::Log {
                node: self.node.clone(),
                offset,
            };
            let (bytes, size) = match ask(run, &request).await {
                Ok(Answer::Log { bytes, size }) => (bytes, size),
                Ok(Answer::Refused { reason }) => return Err(CliError::Failed(reason)),
                Ok(other) => return Err(CliError::Failed(format!("unexpected answer {other:?}"))),
                // The cluster has come to its end, and with it the log.
                Err(error) if is_absent(&error) && self.follow => return Ok(0),
                Err(error) => return Err(CliError::Failed(format!("run {}: {error}", run.id()))),
            };
            print(&String::from_utf8_lossy(&bytes.0))?;
            if size < offset {
                // The log was rotated: a new one has begun.
                offset = 0;
            } else if !bytes.0.is_empty() {
                offset += bytes.0.len() as u64;
            } else if self.follow {
                tokio::time::sleep(FOLLOW_INTERVAL).await;
            } else {
                return Ok(0);
            }
        }
    }
}

/// Prints a file from `offset` on and returns where it ended.
fn copy_from(path: &Path, offset: u64) -> Result<u64, CliError> {
    let missing = |error| CliError::Failed(format!("`{}`: {error}", path.display()));
    let mut file = File::open(path).map_err(missing)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut end = offset;
    loop {
        let mut chunk = Vec::new();
        let count = (&mut file).take(CHUNK_BYTES_MAX).read_to_end(&mut chunk)?;
        if count == 0 {
            return Ok(end);
        }
        end += count as u64;
        print(&String::from_utf8_lossy(&chunk))?;
    }
}
