//! What a node remembers of upgrades: written beside, flushed and renamed, so that it is whole at any moment.

use super::UpgradeError;
use regatta_api::view::ReleaseFailure;
use regatta_base::{CodecError, Digest, decode, encode};
use regatta_seal::History;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
};

/// Version of the form.
const SCHEMA: u32 = 1;
/// Largest state in bytes.
const STATE_BYTES_MAX: usize = 64 * 1024;
/// Failures that are remembered.
const FAILURES_MAX: usize = 16;
/// Longest reason that is remembered, in characters.
const REASON_CHARS_MAX: usize = 300;
/// A proven program that was started so often without catching up once is given up.
const STARTS_MAX: u32 = 3;

/// A program that caught up once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Number of its release.
    pub number: u64,
    /// Sequence of its build.
    pub sequence: u64,
    /// Digest of the program.
    pub program: Digest,
}

/// All that outlives the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    schema: u32,
    /// What was accepted.
    pub history: History,
    /// Proven programs; the node goes on with the last one at each start.
    pub proven: Vec<Proven>,
    /// A release whose program is on trial.
    pub trial: Option<u64>,
    /// Releases that were tried in vain, the newest last.
    pub failures: Vec<ReleaseFailure>,
    /// Starts of the last proven program since it last caught up.
    pub starts: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            history: History::default(),
            proven: Vec::new(),
            trial: None,
            failures: Vec::new(),
            starts: 0,
        }
    }
}

impl State {
    /// Reads the state in a store's folder; an empty one when there is none.
    ///
    /// # Errors
    /// [`UpgradeError`] when the file cannot be read or is damaged.
    pub fn read(folder: &Path) -> Result<Self, UpgradeError> {
        let path = folder.join("state");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(UpgradeError::io("open", &path))?,
        };
        let mut bytes = Vec::new();
        let mut bounded = file.take(STATE_BYTES_MAX as u64 + 1);
        bounded
            .read_to_end(&mut bytes)
            .map_err(UpgradeError::io("read", &path))?;
        Self::decode(&bytes).map_err(|reason| UpgradeError::State { path, reason })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let state: Self = decode(bytes, STATE_BYTES_MAX)?;
        if state.schema == SCHEMA {
            Ok(state)
        } else {
            Err(CodecError::Malformed(format!(
                "schema {} instead of {SCHEMA}",
                state.schema
            )))
        }
    }

    /// Makes the state durable.
    ///
    /// # Errors
    /// [`UpgradeError::Io`] when it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), UpgradeError> {
        write_durably(&folder.join("state"), &encode(self))
    }

    /// The program that the node goes on with, if any is proven.
    #[must_use]
    pub fn chosen(&self) -> Option<&Proven> {
        self.proven.last()
    }

    /// Notes that a release was tried in vain, and why.
    pub fn fail(&mut self, number: u64, reason: &str) {
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        self.failures.push(ReleaseFailure { number, reason });
        if self.failures.len() > FAILURES_MAX {
            self.failures.remove(0);
        }
        self.trial = None;
    }

    /// Whether a release was tried in vain before.
    #[must_use]
    pub fn has_failed(&self, number: u64) -> bool {
        self.failures.iter().any(|failure| failure.number == number)
    }

    /// Notes that a program caught up; at most `keep` of them are remembered.
    pub fn prove(&mut self, proven: Proven, keep: usize) {
        self.history.confirm(proven.sequence);
        self.proven.retain(|known| known.program != proven.program);
        self.proven.push(proven);
        let surplus = self.proven.len().saturating_sub(keep);
        self.proven.drain(..surplus);
        (self.trial, self.starts) = (None, 0);
    }

    /// A trial that was not ended, and a proven program that never catches up, are given up. Gives back what was.
    pub(super) fn settle_start(&mut self) -> Option<ReleaseFailure> {
        if let Some(number) = self.trial {
            self.fail(number, "the process ended in the middle of the trial");
        } else if self.starts >= STARTS_MAX
            && let Some(proven) = self.proven.pop()
        {
            let reason = format!("it was started {STARTS_MAX} times and never caught up");
            self.fail(proven.number, &reason);
            self.starts = 0;
        } else {
            return None;
        }
        self.failures.last().cloned()
    }
}

/// Replaces a file by one that is whole and flushed.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), UpgradeError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(UpgradeError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proven(number: u64) -> Proven {
        Proven {
            number,
            sequence: number + 10,
            program: Digest::of_bytes(&number.to_be_bytes()),
        }
    }

    #[test]
    fn a_state_reads_back_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::read(folder.path()).unwrap();
        assert_eq!(state, State::default());
        state.prove(proven(1), 2);
        state.fail(2, &"x".repeat(1000));
        state.write(folder.path()).unwrap();
        assert_eq!(State::read(folder.path()).unwrap(), state);
        assert_eq!(state.failures[0].reason.len(), REASON_CHARS_MAX);
        fs::write(folder.path().join("state"), b"nonsense").unwrap();
        let error = State::read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("no state of upgrades") && error.contains("help: "),
            "{error}"
        );
    }

    #[test]
    fn the_last_proven_program_is_chosen_and_so_many_are_kept() {
        let mut state = State::default();
        (1..=4).for_each(|number| state.prove(proven(number), 3));
        assert_eq!(state.chosen(), Some(&proven(4)));
        assert_eq!((state.proven.len(), state.history.sequence_min), (3, 14));
        state.prove(proven(2), 3);
        assert_eq!(state.proven, [proven(3), proven(4), proven(2)], "a way back");
    }

    #[test]
    fn what_never_catches_up_is_given_up() {
        let mut state = State::default();
        assert_eq!(state.settle_start(), None);
        state.trial = Some(7);
        assert_eq!(state.settle_start().unwrap().number, 7);
        assert!(state.has_failed(7) && state.trial.is_none());
        state.prove(proven(1), 3);
        state.prove(proven(8), 3);
        for starts in 0..STARTS_MAX {
            state.starts = starts;
            assert_eq!(state.settle_start(), None);
        }
        state.starts = STARTS_MAX;
        assert_eq!(state.settle_start().unwrap().number, 8);
        assert_eq!((state.chosen(), state.starts), (Some(&proven(1)), 0));
    }

    proptest! {
        #[test]
        fn damaged_states_never_panic(random in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
            let _ = State::decode(&random);
            let mut state = State::default();
            state.prove(proven(3), 3);
            state.fail(4, "why");
            let mut bytes = encode(&state);
            prop_assert_eq!(State::decode(&bytes).unwrap(), state);
            let at = at % bytes.len();
            bytes.truncate(at);
            prop_assert!(State::decode(&bytes).is_err());
        }
    }
}
