//! What labs that died left behind. Their runs are reported and their sockets removed; what they found out stays, and
//! processes that this lab did not start are never touched.

use super::{Entry, Journal, RunDir, RunDirError, journal::boot, read_journal};
use regatta_process::start_ticks;
use std::{collections::BTreeMap, fs, os::unix::fs::FileTypeExt, path::Path};

/// A run whose lab died before it had a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadRun {
    /// Its folder.
    pub run: RunDir,
    /// Nodes of it that still run: name and process. Empty unless the parent-death signal failed.
    pub alive: Vec<(String, u32)>,
    /// Whether it died before the machine was started the last time.
    pub of_another_boot: bool,
}

/// All runs below `runs` without a result and without a lab.
pub(crate) fn sweep(runs: &Path) -> Vec<DeadRun> {
    let unfinished = RunDir::list(runs).into_iter().filter(|run| !run.is_finished());
    unfinished
        .filter(|run| run.path("journal.ndjson").is_file() && !ended(run) && run.lock().is_ok())
        .map(|run| DeadRun {
            alive: alive(&run),
            of_another_boot: is_of_another_boot(read_journal(&run).unwrap_or_default().iter().map(|line| &line.entry)),
            run,
        })
        .collect()
}

/// Whether the lab wrote its own end into the journal.
fn ended(run: &RunDir) -> bool {
    let lines = read_journal(run).unwrap_or_default();
    lines.iter().any(|line| matches!(line.entry, Entry::LabEnded { .. }))
}

/// Processes of `run` that are still there. A pid counts only with the start time that the journal noted, since the
/// kernel gives pids to other processes later; after another boot none counts, since both begin anew.
pub(super) fn alive(run: &RunDir) -> Vec<(String, u32)> {
    let mut last = BTreeMap::new();
    let lines = read_journal(run).unwrap_or_default();
    if is_of_another_boot(lines.iter().map(|line| &line.entry)) {
        return Vec::new();
    }
    for line in lines {
        if let Entry::NodeStarted {
            node,
            pid,
            start_ticks,
            host: None,
            ..
        } = line.entry
        {
            last.insert(node, (pid, start_ticks));
        }
    }
    let same = |pid: u32, ticks: u64| start_ticks(pid) == Some(ticks);
    last.into_iter()
        .filter(|(_, (pid, ticks))| same(*pid, *ticks))
        .map(|(node, (pid, _))| (node, pid))
        .collect()
}

/// Whether the last lab of these entries began before the machine was started the last time.
fn is_of_another_boot<'a>(entries: impl Iterator<Item = &'a Entry>) -> bool {
    let begun = entries.filter_map(|entry| match entry {
        Entry::LabStarted { boot, .. } => boot.clone(),
        _ => None,
    });
    begun.last().zip(boot()).is_some_and(|(then, now)| then != now)
}

impl DeadRun {
    /// Notes in the run's journal that its lab died, so that it is reported once and not for ever, and removes the sockets
    /// that nobody answers any more. Returns how many those were.
    ///
    /// # Errors
    /// [`RunDirError`] when the run belongs to a lab again, or the journal cannot be written.
    pub(crate) fn close(&self) -> Result<usize, RunDirError> {
        let _lock = self.run.lock()?;
        Journal::open(&self.run)?.write(Entry::LabEnded {
            exit_code: 1,
            sentence: "the lab died without ending the run".to_owned(),
        })?;
        let entries = fs::read_dir(self.run.root()).into_iter().flatten().flatten();
        let sockets = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
        // One that cannot be removed harms nobody: whoever listens there next removes it or fails clearly.
        Ok(sockets.filter(|socket| fs::remove_file(socket.path()).is_ok()).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    fn run_with_node(runs: &Path, pid: u32, start_ticks: u64) -> RunDir {
        let run = RunDir::create(runs, &plan(1), "", 0).unwrap();
        let journal = Journal::open(&run).unwrap();
        let node = "val-0".to_owned();
        let program = String::new();
        journal
            .write(Entry::NodeStarted {
                node,
                pid,
                start_ticks,
                program,
                host: None,
            })
            .unwrap();
        run
    }

    #[test]
    fn a_run_without_a_lab_is_reported_until_it_ended_by_itself() {
        let runs = tempfile::tempdir().unwrap();
        let run = run_with_node(runs.path(), std::process::id(), 1);
        let lock = run.lock().unwrap();
        assert_eq!(sweep(runs.path()), [], "its lab is at work");
        drop(lock);
        let dead = DeadRun {
            run: run.clone(),
            alive: Vec::new(),
            of_another_boot: false,
        };
        assert_eq!(sweep(runs.path()), [dead], "same pid, other start time: not ours");
        sweep(runs.path())[0].close().unwrap();
        assert_eq!(sweep(runs.path()), []);
    }

    #[test]
    fn a_process_that_outlived_its_lab_is_named() {
        let runs = tempfile::tempdir().unwrap();
        let me = std::process::id();
        let run = run_with_node(runs.path(), me, start_ticks(me).unwrap());
        assert_eq!(sweep(runs.path())[0].alive, [("val-0".to_owned(), me)]);
        Journal::open(&run).unwrap().write(Entry::lab_started()).unwrap();
        assert_eq!(
            sweep(runs.path())[0].alive,
            [("val-0".to_owned(), me)],
            "it is of this boot"
        );
    }

    #[test]
    fn processes_of_an_earlier_boot_are_nobodys_and_their_run_is_closed() {
        let runs = tempfile::tempdir().unwrap();
        let me = std::process::id();
        let run = run_with_node(runs.path(), me, start_ticks(me).unwrap());
        let earlier = Entry::LabStarted {
            pid: me,
            version: String::new(),
            boot: Some("5f0c9e0e-0000-4000-8000-000000000000".to_owned()),
        };
        Journal::open(&run).unwrap().write(earlier).unwrap();
        // The same id and the same start time are another process by chance.
        let dead = sweep(runs.path());
        let expected = DeadRun {
            run: run.clone(),
            alive: Vec::new(),
            of_another_boot: true,
        };
        assert_eq!(dead, [expected]);
        let socket = std::os::unix::net::UnixListener::bind(run.path("control.sock")).unwrap();
        fs::write(run.path("logs/val-0.log"), "what it found out").unwrap();
        assert_eq!(dead[0].close().unwrap(), 1);
        assert!(!run.path("control.sock").exists() && run.path("logs/val-0.log").exists());
        assert_eq!(sweep(runs.path()), []);
        drop(socket);
    }

    #[test]
    fn a_run_that_has_a_lab_again_is_left_alone() {
        let runs = tempfile::tempdir().unwrap();
        let run = run_with_node(runs.path(), std::process::id(), 1);
        let dead = sweep(runs.path()).remove(0);
        let _socket = std::os::unix::net::UnixListener::bind(run.path("control.sock")).unwrap();
        let _lock = run.lock().unwrap();
        assert!(matches!(dead.close(), Err(RunDirError::Busy(_))));
        assert!(run.path("control.sock").exists());
    }
}
