//! `regatta shrink`: the smallest scenario that still fails.

use super::{
    CliError, Global, Outcome,
    output::{print, print_json, table},
    report::read_result,
    scenario::{Loaded, ScenarioArgs, quoted},
    signals::Signals,
};
use crate::{
    progress::Printer,
    provider::{capabilities, raise_descriptor_limit},
    rundir::at,
    runner::{self, Interrupts, Job},
    shrink::{Attempt, Failure, Limits, Player},
};
use anstream::eprintln;
use clap::Args;
use regatta_plan::{
    scenario::ProviderKind,
    shrink::{Candidate, Shrunk, Weight, candidate, explicit},
    units::Duration,
};
use std::{path::PathBuf, sync::Arc};

/// Exit code when the failure does not show: in virtual time, or when it is to be confirmed.
const NOT_SHOWN: u8 = 5;

/// Make a failing run or scenario smaller, in virtual time
#[derive(Debug, Args)]
#[command(after_help = "\
Faults, absences, nodes, load, links and time are taken away for as long as the run fails in the same way: with the same \
exit code and the same failed check. Every candidate is checked like any scenario. Ctrl-C ends the search and keeps the \
smallest scenario so far.

Examples:
  regatta shrink latest                                     the last run, which failed
  regatta shrink topologies/churn.toml --seed 7 --set 'slo.stall=\"< 1s\"'
  regatta shrink latest --attempts 200 --wall 2m --out small.toml
  regatta shrink latest --confirm                           and then play the result on the provider of the run

Exit codes:
  0 a scenario that fails in the same way was written   1 not carried out   2 usage or scenario, or nothing fails
  5 the failure does not show in virtual time, or was not confirmed")]
pub(super) struct Shrink {
    /// A run, by id, unique prefix, `latest` or folder, in place of the scenario file
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Most candidates that are played
    #[arg(long, value_name = "NUMBER", default_value_t = 400)]
    attempts: u32,
    /// Longest time in all
    #[arg(long, value_name = "TIME", default_value = "10m")]
    wall: Duration,
    /// Where the smallest scenario is written; `NAME-shrunk.toml` here unless given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Play the smallest scenario on the provider that the failure is from
    #[arg(long)]
    confirm: bool,
}

/// What is to be made smaller.
struct Subject {
    loaded: Loaded,
    /// The provider that the failure is from.
    provider: ProviderKind,
    /// How it failed, where that is known already.
    failure: Option<Failure>,
}

impl Shrink {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let subject = self.subject(global)?;
        let host = capabilities(ProviderKind::Sim, &global.runs);
        let start = explicit(&subject.loaded.scenario, &subject.loaded.plan);
        let start = candidate(&start, &host).map_err(CliError::Failed)?;
        let player = Player::new(&global.runs)?;
        let interrupts = player.interrupts.clone();
        let mut signals = Signals::listen()?;
        let work = self.search(&player, &start, subject.failure.clone());
        let found = tokio::select! {
            found = work => found?,
            second = signals.interrupt_twice(&interrupts) => {
                return Err(CliError::Failed(format!("{second}: ended at once, nothing was written")));
            }
        };
        let Some((failure, shrunk)) = found else {
            return Ok(NOT_SHOWN);
        };
        let file = self.write(&shrunk.smallest, &failure)?;
        self.tell(global, &start, &shrunk, &failure, &file)?;
        if self.confirm {
            return self.confirm(global, &subject, &failure, &file).await;
        }
        Ok(0)
    }

    /// The scenario, from its file or from a run.
    fn subject(&self, global: &Global) -> Result<Subject, CliError> {
        if self.scenario.is_file() {
            let (loaded, provider) = self.scenario.load_simulated(global, "shrink")?;
            return Ok(Subject {
                loaded,
                provider,
                failure: None,
            });
        }
        let (run, result) = read_result(&global.runs, &self.scenario.name())?;
        let Some(failure) = Failure::of(&result) else {
            let text = format!("error: run {} did not fail: {}", run.id(), result.verdict.sentence);
            return Err(CliError::Usage(format!(
                "{text}\n  help: name a run that did, or a scenario file"
            )));
        };
        let (loaded, provider) = self.scenario.of_run(&run).load_simulated(global, "shrink")?;
        Ok(Subject {
            loaded,
            provider,
            failure: Some(failure),
        })
    }

    /// Plays what there is, and then smaller scenarios; nothing when the failure does not show.
    async fn search(
        &self,
        player: &Player,
        start: &Candidate,
        known: Option<Failure>,
    ) -> Result<Option<(Failure, Shrunk)>, CliError> {
        eprintln!("          playing {}", weight(&start.plan));
        let first = player.play(start).await?;
        if player.interrupts.get().is_some() {
            return Err(CliError::Failed("interrupted before the failure was seen".to_owned()));
        }
        let sentence = &first.verdict.sentence;
        let failure = match (known, Failure::of(&first)) {
            (Some(known), _) if known.shows_in(&first) => known,
            (Some(known), _) => {
                eprintln!("error: {known} does not show in virtual time: {sentence}");
                return Ok(None);
            }
            (None, Some(found)) => found,
            (None, None) => {
                eprintln!("error: the scenario does not fail in virtual time: {sentence}");
                return Ok(None);
            }
        };
        eprintln!("          it fails: {failure}");
        let limits = Limits {
            attempts: self.attempts,
            wall: std::time::Duration::from_nanos(self.wall.0),
        };
        let host = capabilities(ProviderKind::Sim, std::path::Path::new("."));
        let shrunk = player
            .shrink(start.clone(), &failure, &host, limits, tell_attempt)
            .await?;
        Ok(Some((failure, shrunk)))
    }

    fn write(&self, smallest: &Candidate, failure: &Failure) -> Result<PathBuf, CliError> {
        let name = || PathBuf::from(format!("{}-shrunk.toml", smallest.plan.name));
        let file = self.out.clone().unwrap_or_else(name);
        let text = format!("# Made smaller by `regatta shrink`: {failure}.\n{}", smallest.text);
        std::fs::write(&file, text).map_err(at(&file))?;
        Ok(file)
    }

    fn tell(
        &self,
        global: &Global,
        start: &Candidate,
        shrunk: &Shrunk,
        failure: &Failure,
        file: &std::path::Path,
    ) -> Result<(), CliError> {
        let (before, after) = (Weight::of(&start.plan), Weight::of(&shrunk.smallest.plan));
        let command = format!("regatta run {}", quoted(&file.to_string_lossy()));
        if global.json {
            let pairs = before.rows().into_iter().zip(after.rows());
            let rows = pairs.map(
                |((name, before), (_, after))| serde_json::json!({ "part": name, "before": before, "after": after }),
            );
            return print_json(&serde_json::json!({
                "file": file,
                "exit_code": failure.exit_code,
                "check": failure.check,
                "complete": shrunk.complete,
                "parts": rows.collect::<Vec<_>>(),
                "reproduce": command,
            }));
        }
        let head = ["", "before", "after"].map(str::to_owned).to_vec();
        let pairs = before.rows().into_iter().zip(after.rows());
        let rows =
            pairs.map(|((name, before), (_, after))| vec![name.to_owned(), before.to_string(), after.to_string()]);
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        let end = if shrunk.complete {
            "nothing else can go"
        } else {
            "the search was ended before everything was tried"
        };
        print(&format!(
            "{failure}\n{}\n{end}\nscenario: {}\nagain:    {command}\n",
            table(&rows),
            file.display()
        ))
    }

    /// Plays the smallest scenario where the failure came from.
    async fn confirm(&self, global: &Global, subject: &Subject, failure: &Failure, file: &std::path::Path) -> Outcome {
        let provider = subject.provider;
        let loaded = self.scenario.of_file(file, provider).load(global, "run")?;
        raise_descriptor_limit();
        let job = Job {
            plan: loaded.plan,
            scenario_text: loaded.text,
            // Builds are those of the scenario that was made smaller.
            base: subject.loaded.base.clone(),
            runs: global.runs.clone(),
            given: loaded.given,
            signing: Default::default(),
            reproduce: loaded.reproduce,
            strict: false,
            unreported: false,
        };
        let interrupts = Interrupts::new();
        let mut signals = Signals::listen()?;
        let finished = tokio::select! {
            finished = runner::run(job, Arc::new(Printer::new()), interrupts.clone()) => finished?,
            second = signals.interrupt_twice(&interrupts) => {
                return Err(CliError::Failed(format!("{second}: ended at once, without a report")));
            }
        };
        let sentence = &finished.result.verdict.sentence;
        if failure.shows_in(&finished.result) {
            eprintln!("confirmed on {provider}: {sentence}");
            return Ok(0);
        }
        eprintln!("not confirmed on {provider}: {sentence}");
        Ok(NOT_SHOWN)
    }
}

fn tell_attempt(attempt: &Attempt<'_>) {
    let answer = if attempt.fails { "fails too" } else { "does not fail so" };
    eprintln!("{:>8}  {answer}: {}", attempt.number, weight(&attempt.candidate.plan));
}

/// A plan's weight in one line.
fn weight(plan: &regatta_plan::Plan) -> String {
    let rows = Weight::of(plan).rows();
    let words = rows.iter().filter(|(_, count)| *count > 0);
    words
        .map(|(name, count)| format!("{count} {name}"))
        .collect::<Vec<_>>()
        .join(", ")
}
