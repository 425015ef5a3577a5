//! `regatta resume`: finishes a run whose lab died.

use super::{CliError, Global, Outcome, run::print_result};
use crate::{progress::Printer, provider::raise_descriptor_limit, rundir::RunDir, runner};
use clap::Args;
use std::sync::Arc;

/// Finish a run on hosts whose lab died: read, stop, check and report what is there
#[derive(Debug, Args)]
#[command(after_help = "\
The nodes of a lab that died go on until their lease ends. This finds them again, reads their ledgers, stops them, brings \
their logs back, removes the run from its hosts, and writes a report. What only the dead lab knew, which transactions it had \
sent and how long they took, is lost, and the report says so.

Example:
  regatta resume fleet-20250131T120000Z-ab12cd34")]
pub(super) struct Resume {
    /// Run, by id, unique prefix or `latest`
    run: String,
}

impl Resume {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        raise_descriptor_limit();
        let run = RunDir::find(&global.runs, &self.run).map_err(|error| CliError::Usage(format!("error: {error}")))?;
        let finished = runner::resume(run, Arc::new(Printer::new())).await?;
        print_result(global, &finished)
    }
}
