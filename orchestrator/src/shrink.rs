//! Failures made smaller: candidates are played in virtual time, one after the other, until none that is smaller fails in
//! the same way.
//!
//! The same way means the same exit code and the same check: the invariant that is violated, the objective that is
//! missed, or the step that failed.

use crate::{
    rundir::{RunDirError, at},
    runner::{self, Interrupt, Interrupts, Job, Observer, Progress, RunnerError},
};
use regatta_plan::{
    Capabilities,
    shrink::{Answer, Candidate, Shrunk, shrink},
};
use regatta_report::RunResult;
use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Beginning of the name of a folder in which candidates are played; the process that made it follows.
const WORK_PREFIX: &str = ".shrinking-";

/// Why nothing could be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShrinkError {
    /// The folder for candidates cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A candidate could not even begin.
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

/// How a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Its exit code.
    pub(crate) exit_code: u8,
    /// The check that failed.
    pub(crate) check: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}, {}", self.exit_code, self.check)
    }
}

impl Failure {
    /// The failure of a run; none of one that passed or that cannot be judged.
    pub(crate) fn of(result: &RunResult) -> Option<Self> {
        let check = failed_checks(result).into_iter().next()?;
        Some(Self {
            exit_code: result.verdict.exit_code,
            check,
        })
    }

    /// Whether another run failed in this way too.
    pub(crate) fn shows_in(&self, result: &RunResult) -> bool {
        self.exit_code == result.verdict.exit_code && failed_checks(result).contains(&self.check)
    }
}

/// Names of the checks that made a run fail.
fn failed_checks(result: &RunResult) -> Vec<String> {
    let (record, verdict) = (&result.record, &result.verdict);
    match verdict.exit_code {
        4 => {
            let violated = record.invariants.iter().filter(|invariant| !invariant.holds);
            violated.map(|invariant| invariant.name.clone()).collect()
        }
        3 => {
            let missed = record
                .objectives
                .iter()
                .filter(|objective| objective.met == Some(false));
            let named = missed.map(|objective| objective.metric.clone());
            let accounting = &record.accounting;
            let nothing = accounting.finalised_ok + accounting.finalised_failed == 0;
            named.chain(nothing.then(|| "anything final".to_owned())).collect()
        }
        // Numbers and names of nodes are another candidate's own.
        1 | 6 => verdict.problems.iter().map(|problem| head(problem)).collect(),
        _ => Vec::new(),
    }
}

/// What a problem is about: its words before the first colon or number.
fn head(problem: &str) -> String {
    let end = problem.find(|c: char| c == ':' || c == '`' || c.is_ascii_digit());
    problem[..end.unwrap_or(problem.len())].trim().to_owned()
}

/// How far shrinking may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most candidates that are played.
    pub(crate) attempts: u32,
    /// Longest time in all.
    pub(crate) wall: Duration,
}

/// A candidate that was played.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// It.
    pub(crate) candidate: &'a Candidate,
    /// Whether it fails in the same way.
    pub(crate) fails: bool,
}

/// Plays scenarios in virtual time in a folder of its own, which goes with it.
#[derive(Debug)]
pub(crate) struct Player {
    work: PathBuf,
    /// Raised when no more is to be played.
    pub(crate) interrupts: Interrupts,
}

/// Nobody watches a candidate.
#[derive(Debug)]
struct Unwatched;

impl Observer for Unwatched {
    fn tell(&self, _: &Progress<'_>) {}

    fn heartbeat_interval(&self) -> Duration {
        Duration::MAX
    }
}

impl Player {
    /// Plays below the folder of all runs. What players that died left there is removed.
    ///
    /// # Errors
    /// [`RunDirError::File`] when the folder cannot be made.
    pub(crate) fn new(runs: &Path) -> Result<Self, RunDirError> {
        fs::create_dir_all(runs).map_err(at(runs))?;
        remove_dead(runs);
        let work = runs.join(format!("{WORK_PREFIX}{}", std::process::id()));
        fs::create_dir_all(&work).map_err(at(&work))?;
        Ok(Self {
            work,
            interrupts: Interrupts::new(),
        })
    }

    /// Plays one candidate to its result, without a report.
    ///
    /// # Errors
    /// [`ShrinkError`] when there is not even a folder to play in.
    pub(crate) async fn play(&self, candidate: &Candidate) -> Result<RunResult, ShrinkError> {
        let job = Job {
            plan: candidate.plan.clone(),
            scenario_text: candidate.text.clone(),
            base: self.work.clone(),
            runs: self.work.clone(),
            given: BTreeMap::new(),
            signing: Default::default(),
            reproduce: String::new(),
            strict: false,
            unreported: true,
        };
        let finished = runner::run(job, Arc::new(Unwatched), self.interrupts.clone()).await?;
        let folder = finished.run.root();
        fs::remove_dir_all(folder).map_err(at(folder))?;
        Ok(finished.result)
    }

    /// Makes `start`, which has this failure, smaller. `tell` hears of every candidate.
    ///
    /// # Errors
    /// [`ShrinkError`] when a candidate cannot be played; what was found until then is lost.
    pub(crate) async fn shrink(
        &self,
        start: Candidate,
        failure: &Failure,
        host: &Capabilities,
        limits: Limits,
        tell: impl Fn(&Attempt<'_>),
    ) -> Result<Shrunk, ShrinkError> {
        let (interrupts, wall) = (self.interrupts.clone(), limits.wall);
        let watch = tokio::spawn(async move {
            tokio::time::sleep(wall).await;
            interrupts.raise(Interrupt::Wall {
                limit_s: wall.as_secs(),
            });
        });
        let (mut number, mut broken) = (0, None);
        let shrunk = shrink(start, host, async |candidate: &Candidate| {
            if number == limits.attempts || self.interrupts.get().is_some() {
                return Answer::Stop;
            }
            number += 1;
            let result = match self.play(candidate).await {
                Ok(result) => result,
                Err(error) => {
                    broken = Some(error);
                    return Answer::Stop;
                }
            };
            // What was interrupted says nothing about its scenario.
            if self.interrupts.get().is_some() {
                return Answer::Stop;
            }
            let fails = failure.shows_in(&result);
            tell(&Attempt {
                number,
                candidate,
                fails,
            });
            if fails { Answer::Fails } else { Answer::Passes }
        })
        .await;
        watch.abort();
        broken.map_or(Ok(shrunk), Err)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // The next player removes what cannot be removed now.
        let _ = fs::remove_dir_all(&self.work);
    }
}

/// Removes the folders of players whose processes are gone.
fn remove_dead(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(WORK_PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| regatta_process::start_ticks(pid).is_none()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_report::model::{Invariant, Objective};

    fn result(exit_code: u8) -> RunResult {
        let mut result = RunResult::default();
        result.verdict.exit_code = exit_code;
        result
    }

    #[test]
    fn a_failure_is_an_exit_code_and_a_check() {
        let mut incorrect = result(4);
        let invariant = |name: &str, holds| Invariant {
            name: name.to_owned(),
            holds,
            ..Invariant::default()
        };
        incorrect.record.invariants = vec![invariant("agreement", true), invariant("no_loss", false)];
        let failure = Failure::of(&incorrect).unwrap();
        assert_eq!(failure.to_string(), "exit code 4, no_loss");
        assert!(failure.shows_in(&incorrect));
        let mut other = incorrect.clone();
        other.record.invariants[1].holds = true;
        assert!(!failure.shows_in(&other));
        other.record.invariants = vec![invariant("convergence", false), invariant("no_loss", false)];
        assert!(failure.shows_in(&other), "more may be wrong");
        other.verdict.exit_code = 1;
        assert!(!failure.shows_in(&other));
        assert_eq!(Failure::of(&result(0)), None);
        assert_eq!(Failure::of(&result(5)), None);
    }

    #[test]
    fn objectives_have_their_metrics_and_problems_their_words() {
        let mut missed = result(3);
        missed.record.accounting.finalised_ok = 1;
        missed.record.objectives = vec![Objective {
            metric: "stall".to_owned(),
            met: Some(false),
            ..Objective::default()
        }];
        assert_eq!(Failure::of(&missed).unwrap().check, "stall");
        let mut broken = result(1);
        broken.verdict.problems = vec!["inject fault 3: node `val-2` is late".to_owned()];
        assert_eq!(Failure::of(&broken).unwrap().check, "inject fault");
    }

    #[test]
    fn folders_of_dead_players_go_and_those_of_others_stay() {
        let runs = tempfile::tempdir().unwrap();
        let (dead, alive) = (runs.path().join(".shrinking-4194305"), runs.path().join(".shrinking-1"));
        let other = runs.path().join("quickstart-1");
        for folder in [&dead, &alive, &other] {
            fs::create_dir(folder).unwrap();
        }
        let player = Player::new(runs.path()).unwrap();
        let own = player.work.clone();
        assert!(!dead.exists() && alive.exists() && other.exists() && own.exists());
        drop(player);
        assert!(!own.exists());
    }
}
