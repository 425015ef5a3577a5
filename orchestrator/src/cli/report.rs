//! `regatta report`: a run's report again, from its result.

use super::{
    CliError, Global, Outcome,
    output::{print, print_json},
};
use crate::{
    rundir::{RunDir, at},
    runner::write_report,
};
use clap::Args;
use regatta_report::{RunResult, render};
use std::path::Path;

/// Render the report of a run again from its result
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta report latest
  regatta report latest --json")]
pub(super) struct Report {
    /// Run, by id, unique prefix, `latest` or folder
    run: String,
}

impl Report {
    pub(super) fn execute(&self, global: &Global) -> Outcome {
        let (run, result) = read_result(&global.runs, &self.run)?;
        write_report(&run, &result)?;
        if global.json {
            print_json(&result)?;
        } else {
            print(&render::text(&result, &run.path("report.html").display().to_string()))?;
        }
        Ok(result.verdict.exit_code)
    }
}

/// The result of a run.
///
/// # Errors
/// [`CliError::Usage`] when there is no such run or it has no result.
pub(super) fn read_result(runs: &Path, name: &str) -> Result<(RunDir, RunResult), CliError> {
    let usage = |text: String| CliError::Usage(format!("error: {text}"));
    let run = RunDir::find(runs, name).map_err(|error| usage(error.to_string()))?;
    if !run.is_finished() {
        return Err(usage(format!(
            "run {} has no result\n  help: it is at work, stays up, or its lab died",
            run.id()
        )));
    }
    let path = run.path("result.json");
    let text = std::fs::read_to_string(&path).map_err(at(&path))?;
    Ok((run, render::parse(&text)?))
}
