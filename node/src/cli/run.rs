//! `run`: a node until it is told to stop.

use super::error::CliError;
use clap::Args;
use std::path::PathBuf;

/// Run a node until SIGTERM, SIGINT or the end of what started it
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line of JSON on stdout once it listens; logs go to stderr.

Example:
  regatta-node run --config node.toml")]
pub(crate) struct Run {
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop when stdin ends
    #[arg(long)]
    stop_with_stdin: bool,
    /// Die as soon as the process PID, which must be the parent, does
    #[arg(long, value_name = "PID")]
    die_with_parent: Option<u32>,
    /// Form of the log lines
    #[arg(long, value_name = "FORM", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
}

impl Run {
    pub(crate) async fn execute(self) -> Result<(), CliError> {
        Ok(())
    }
}
