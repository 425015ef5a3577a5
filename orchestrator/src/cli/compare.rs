//! `regatta compare`: what changed between two runs.

use super::{
    CliError, Global, Outcome,
    output::{print, print_json},
    report::read_result,
};
use clap::Args;
use regatta_report::compare;

/// Compare two runs, with intervals
#[derive(Debug, Args)]
#[command(after_help = "\
A is the base and B is what is judged. Runs are named by id, unique prefix, `latest` or folder.

Examples:
  regatta compare quickstart-20250131T120000Z-ab12cd34 latest
  regatta compare reports/base latest --margin 5 --json

Exit codes:
  0 within the margin   2 usage   3 worse beyond the margin   4 or 6 a run that is incorrect or invalid")]
pub(super) struct Compare {
    /// Base run
    a: String,
    /// Run to judge
    b: String,
    /// Change that counts, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    margin: f64,
    /// Print Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

impl Compare {
    pub(super) fn execute(&self, global: &Global) -> Outcome {
        if !(0.0..=1000.0).contains(&self.margin) {
            let text = format!("error: --margin {}\n  help: write a percentage such as 5", self.margin);
            return Err(CliError::Usage(text));
        }
        let (_, base) = read_result(&global.runs, &self.a)?;
        let (_, head) = read_result(&global.runs, &self.b)?;
        let comparison = compare(&base, &head, self.margin / 100.0);
        if global.json {
            print_json(&comparison)?;
        } else if self.markdown {
            print(&comparison.markdown())?;
        } else {
            print(&comparison.text())?;
        }
        Ok(comparison.exit_code)
    }
}
