//! The command line: one file a verb. Only this module prints; stdout is data, stderr is progress.

mod change;
mod client_args;
mod error;
mod key_file;
mod keygen;
mod print;
mod query;
mod release;
mod run;
mod send;
mod snapshot;
mod status;
mod version;
mod watch;

#[cfg(test)]
mod tests;

use clap::{Parser, Subcommand};
use error::CliError;
use std::process::ExitCode;

/// What scripts may rely on.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failure: the node does not answer, refuses the question, or stopped on an error
  2  usage: arguments, configuration or key file
  3  a transaction was refused, failed, or was not final in time

Errors go to stderr as `error: ...` with a `help: ...` line.";

/// Runs a node of a Regatta network, and talks to running ones.
#[derive(Debug, Parser)]
#[command(name = "regatta-node", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Keygen(keygen::Keygen),
    Run(run::Run),
    Status(status::Status),
    Send(send::Send),
    Query(query::Query),
    Watch(watch::Watch),
    Snapshot(snapshot::Snapshot),
    Version(version::Version),
}

/// Parses the process's arguments, does what they say, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // Clap prints its own errors and help, and exits with 2 on wrong usage.
    let arguments = Arguments::parse();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failure(format!("cannot start the runtime: {error}")))
        .and_then(|runtime| runtime.block_on(dispatch(arguments.verb)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

async fn dispatch(verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Keygen(verb) => verb.execute(),
        Verb::Run(verb) => verb.execute().await,
        Verb::Status(verb) => verb.execute().await,
        Verb::Send(verb) => verb.execute().await,
        Verb::Query(verb) => verb.execute().await,
        Verb::Watch(verb) => verb.execute().await,
        Verb::Snapshot(verb) => verb.execute(),
        Verb::Version(verb) => verb.execute().await,
    }
}
