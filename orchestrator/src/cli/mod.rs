//! The command line: one file a verb. Only this folder prints: data to stdout, everything else to stderr.

mod compare;
mod doctor;
mod down;
mod export;
mod foreign;
mod hosts;
mod keygen;
mod load;
mod logs;
mod orphans;
mod output;
mod parity;
mod plan;
mod release;
mod report;
mod resume;
mod run;
mod runs;
mod scenario;
mod schema;
mod seal;
mod shrink;
mod signals;
mod status;
mod supervise;
mod up;
mod watch;

use anstream::eprintln;
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Exit code when something could not be carried out.
const FAILED: u8 = 1;
/// Exit code of a wrong command line or scenario.
const USAGE: u8 = 2;

const AFTER_HELP: &str = "\
Examples:
  regatta plan topologies/quickstart.toml           show what would run
  regatta run topologies/quickstart.toml            build, seal, run, check, report
  regatta run topologies/crash.toml --set load.0.rate=500 --seed 7
  regatta up topologies/quickstart.toml             a cluster that stays
  regatta watch                                     ... is shown on another terminal
  regatta load latest --rate 500 --for 10s          ... gets load from another terminal
  regatta down                                      ... and goes away
  regatta compare RUN-A RUN-B --margin 5            what changed between two runs
  regatta parity topologies/quickstart.toml         how far the simulator is from real nodes
  regatta shrink latest                             a smaller scenario that fails like the last run

Exit codes:
  0 pass   1 not carried out   2 usage or scenario   3 objective missed or regression
  4 correctness   5 inconclusive (with --strict)   6 invalid run";

/// Runs testnets of real nodes and writes reports
#[derive(Debug, Parser)]
#[command(name = "regatta", version, about, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Folder of all runs
    #[arg(long, global = true, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Plan(plan::Plan),
    Run(run::Run),
    Up(up::Up),
    Status(status::Status),
    Watch(watch::Watch),
    Logs(logs::Logs),
    Load(load::Load),
    Down(down::Down),
    Report(report::Report),
    Compare(compare::Compare),
    Parity(parity::Parity),
    Shrink(shrink::Shrink),
    Export(export::Export),
    Hosts(hosts::Hosts),
    Orphans(orphans::Orphans),
    Resume(resume::Resume),
    Seal(seal::Seal),
    Release(release::Release),
    Keygen(keygen::Keygen),
    Doctor(doctor::Doctor),
    Schema(schema::Schema),
    Supervise(supervise::Supervise),
    Foreign(foreign::Foreign),
}

/// Why a verb ends without its own exit code.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command line or the scenario is wrong; the text says how.
    Usage(String),
    /// Something could not be carried out.
    Failed(String),
}

impl<E: std::error::Error> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a verb ends with: an exit code, or an error that is printed first.
type Outcome = Result<u8, CliError>;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(execute(cli)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(CliError::Usage(text)) => {
            eprintln!("{text}");
            ExitCode::from(USAGE)
        }
        Err(CliError::Failed(text)) => {
            eprintln!("error: {text}");
            ExitCode::from(FAILED)
        }
    }
}

async fn execute(cli: Cli) -> Outcome {
    let global = &cli.global;
    match cli.verb {
        Verb::Plan(verb) => verb.execute(global),
        Verb::Run(verb) => verb.execute(global).await,
        Verb::Up(verb) => verb.execute(global).await,
        Verb::Status(verb) => verb.execute(global).await,
        Verb::Watch(verb) => verb.execute(global).await,
        Verb::Logs(verb) => verb.execute(global).await,
        Verb::Load(verb) => verb.execute(global).await,
        Verb::Down(verb) => verb.execute(global).await,
        Verb::Report(verb) => verb.execute(global),
        Verb::Compare(verb) => verb.execute(global),
        Verb::Parity(verb) => verb.execute(global).await,
        Verb::Shrink(verb) => verb.execute(global).await,
        Verb::Export(verb) => verb.execute(global).await,
        Verb::Resume(verb) => verb.execute(global).await,
        Verb::Orphans(verb) => verb.execute(global).await,
        Verb::Hosts(verb) => verb.execute(global).await,
        Verb::Seal(verb) => verb.execute(global).await,
        Verb::Release(verb) => verb.execute(global).await,
        Verb::Keygen(verb) => verb.execute(global),
        Verb::Doctor(verb) => verb.execute(global).await,
        Verb::Schema(verb) => verb.execute(),
        Verb::Supervise(verb) => verb.execute().await,
        Verb::Foreign(verb) => verb.execute(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_explains_itself() {
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", verb.get_name());
        }
    }

    #[test]
    fn options_may_stand_after_the_verb() {
        let cli = Cli::try_parse_from(["regatta", "plan", "x.toml", "--runs", "there", "--json"]).unwrap();
        assert!(cli.global.json && cli.global.runs == *"there");
    }
}
