//! The journal: every step and event of a run as a line of JSON, on its way to the disk before the next step begins.

use super::{RunDir, RunDirError, at};
use regatta_plan::{Step, scenario::FaultKind};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Longest journal that is read back, in bytes.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// The lab began.
    LabStarted {
        /// Its process.
        pid: u32,
        /// Version of the lab.
        version: String,
        /// The boot of the machine: ids of processes and their start times mean nothing after the next one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<String>,
    },
    /// A step began.
    StepStarted {
        /// Its position in the plan.
        id: u32,
        /// What it does.
        step: Step,
    },
    /// A step ended.
    StepEnded {
        /// Its position in the plan.
        id: u32,
        /// How long it took, in milliseconds.
        took_ms: f64,
        /// Why it failed, if it did.
        error: Option<String>,
    },
    /// A node's process was started.
    NodeStarted {
        /// The node.
        node: String,
        /// Its process.
        pid: u32,
        /// Start time of the process in clock ticks since boot: with the pid it names one process for good.
        start_ticks: u64,
        /// Digest of the program that it executes, in hexadecimal.
        program: String,
        /// The host that it runs on, when that is another machine: the process is one of that host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// Something became known of a host.
    Host {
        /// The host.
        host: String,
        /// Where it stands by now.
        state: HostState,
        /// More about it, for people.
        text: String,
    },
    /// A program of others was started.
    ProgramStarted {
        /// Its name.
        name: String,
        /// Its process.
        pid: u32,
        /// Start time of the process in clock ticks since boot: with the id it means this process and no other.
        start_ticks: u64,
    },
    /// A node's process ended.
    NodeEnded {
        /// The node.
        node: String,
        /// Its process.
        pid: u32,
        /// How it ended.
        exit: String,
        /// Whether the lab asked for it.
        ordered: bool,
    },
    /// A fault is made now.
    FaultBegan {
        /// Its position in the plan.
        fault: u32,
        /// What is done to whom.
        text: String,
    },
    /// A fault is undone.
    FaultEnded {
        /// Its position in the plan.
        fault: u32,
        /// What was done to whom.
        text: String,
    },
    /// A fault could not be undone, or the nodes that it was done to did not come back from it in time.
    HealingFailed {
        /// Its number.
        fault: u32,
        /// What was done to whom.
        text: String,
        /// Why.
        error: String,
    },
    /// A person ordered a fault that is not in the plan.
    FaultByHand {
        /// Its number: those of the plan come before.
        fault: u32,
        /// What is done.
        what: FaultKind,
        /// Nodes that it is done to.
        nodes: Vec<String>,
    },
    /// A fault that a person ordered is undone.
    FaultByHandEnded {
        /// Its number.
        fault: u32,
    },
    /// Anything else worth knowing.
    Note {
        /// What happened.
        text: String,
    },
    /// The lab ended by itself.
    LabEnded {
        /// Its exit code.
        exit_code: u8,
        /// The verdict, or why there is none.
        sentence: String,
    },
}

impl Entry {
    /// This process begins as a lab.
    pub(crate) fn lab_started() -> Self {
        Self::LabStarted {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: boot(),
        }
    }
}

/// The kernel's name for this boot of the machine; none where it does not tell.
pub(super) fn boot() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(name.trim().to_owned())
}

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostState {
    /// Its agent answers.
    Ready,
    /// It has programs and files.
    Deployed,
    /// The connection to it was lost.
    Lost,
    /// The connection is there again.
    Back,
    /// It is given up.
    Failed,
    /// A spare one took its place.
    Replaced,
    /// Nothing of the run is left there.
    Cleared,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JournalLine {
    /// Milliseconds since the journal was opened, on the monotonic clock.
    pub at_ms: f64,
    /// Milliseconds since 1970 by the wall clock.
    pub unix_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// The open journal of a run. Shared by reference between tasks and threads.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    origin: Instant,
}

impl Journal {
    /// Opens the journal of `run` for appending.
    ///
    /// # Errors
    /// [`RunDirError::File`] when it cannot be opened.
    pub(crate) fn open(run: &RunDir) -> Result<Self, RunDirError> {
        let path = run.path("journal.ndjson");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(at(&path))?;
        Ok(Self {
            path,
            file: Mutex::new(file),
            origin: Instant::now(),
        })
    }

    /// Appends one line; it is with the kernel when this returns, so it outlives a killed lab.
    ///
    /// # Errors
    /// [`RunDirError::File`] when it cannot be written.
    pub(crate) fn write(&self, entry: Entry) -> Result<(), RunDirError> {
        let line = JournalLine {
            at_ms: self.origin.elapsed().as_secs_f64() * 1e3,
            unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            entry,
        };
        let mut text = serde_json::to_vec(&line).map_err(|error| at(&self.path)(error.into()))?;
        debug_assert!(!text.contains(&b'\n'), "an entry is one line");
        text.push(b'\n');
        // A poisoned lock only means that another writer panicked between two whole lines.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text).map_err(at(&self.path))
    }

    /// Appends a note; what cannot be written is dropped, since a note must not end a run.
    pub(crate) fn note(&self, text: impl Into<String>) {
        let _ = self.write(Entry::Note { text: text.into() });
    }
}

/// Reads a journal back; a torn last line and lines of other versions are left out.
///
/// # Errors
/// [`RunDirError::File`] when there is no journal.
pub(crate) fn read_journal(run: &RunDir) -> Result<Vec<JournalLine>, RunDirError> {
    let path = run.path("journal.ndjson");
    let file = File::open(&path).map_err(at(path))?;
    let lines = BufReader::new(file.take(JOURNAL_BYTES_MAX))
        .lines()
        .map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_str(&line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    #[test]
    fn lines_come_back_in_order_and_a_torn_one_is_left_out() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), &plan(1), "", 0).unwrap();
        let journal = Journal::open(&run).unwrap();
        let entries = [
            Entry::StepStarted {
                id: 3,
                step: Step::Spawn { nodes: vec![0] },
            },
            Entry::NodeStarted {
                node: "val-0".into(),
                pid: 7,
                start_ticks: 9,
                program: "ab".into(),
                host: None,
            },
            Entry::StepEnded {
                id: 3,
                took_ms: 1.5,
                error: None,
            },
        ];
        for entry in entries.clone() {
            journal.write(entry).unwrap();
        }
        let mut file = File::options().append(true).open(run.path("journal.ndjson")).unwrap();
        file.write_all(b"{\"at_ms\":1,\"unix_").unwrap();
        let read = read_journal(&run).unwrap();
        assert_eq!(read.iter().map(|line| line.entry.clone()).collect::<Vec<_>>(), entries);
        assert!(read.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
    }

    #[test]
    fn arbitrary_journals_never_panic() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), &plan(1), "", 0).unwrap();
        std::fs::write(
            run.path("journal.ndjson"),
            b"\xff\xfe\n{}\n[]\nnull\n{\"kind\":\"note\"}\n",
        )
        .unwrap();
        assert_eq!(read_journal(&run).unwrap(), []);
    }
}
