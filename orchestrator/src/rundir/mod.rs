//! The folder of one run: everything that it was made from, did and found.
//!
//! ```text
//! runs/<id>/scenario.toml plan.json build/ config/<node>/ data/<node>/ logs/<node>.log samples/
//!           journal.ndjson result.json report.html ...
//! runs/latest -> <id>
//! ```
//! `<id>/lock` is locked for as long as the lab of this run lives; the kernel lets go of it however the lab ends, so a
//! folder without a result whose lock is free belongs to a lab that died.

mod calendar;
mod journal;
mod plan_file;
mod quota;
mod sweep;

pub(crate) use calendar::{compact_utc, rfc3339};
#[cfg(test)]
pub(crate) use journal::JournalLine;
pub(crate) use journal::{Entry, HostState, Journal, read_journal};
pub(crate) use quota::used_bytes;
pub(crate) use sweep::{DeadRun, sweep};

use regatta_plan::Plan;
use regatta_process::HeldFile;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Folder of the store of programs beside the runs.
pub(crate) const STORE_FOLDER: &str = ".store";
/// Name of the plan with nodes where they turned out to go, when hosts had failed.
pub(crate) const PLACEMENT: &str = "placement.json";
/// Name of the link to the newest run.
const LATEST: &str = "latest";
/// Largest JSON document of a run that is read back, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;
/// Most runs of one scenario that start within one second.
const SAME_SECOND_MAX: u32 = 1000;

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunDirError {
    /// A file cannot be read or written.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A document is not what it should be.
    #[error("`{path}` is malformed: {reason}\n  help: was it written by another version of the lab?")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What does not parse.
        reason: String,
    },
    /// Nothing of that name.
    #[error("no run `{name}` in `{runs}`\n  help: `ls {runs}`, or name the folder with --runs")]
    NotFound {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        runs: PathBuf,
    },
    /// Another process works on it.
    #[error("run `{0}` belongs to a lab that is still at work\n  help: `regatta status {0}`")]
    Busy(String),
}

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunDir {
    root: PathBuf,
    id: String,
}

/// Held while the lab of a run lives.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: HeldFile,
}

impl RunDir {
    /// Makes the folder of a new run of `plan`, started at `unix_s`, and points `latest` to it.
    ///
    /// # Errors
    /// [`RunDirError::File`] when the folder cannot be made.
    pub(crate) fn create(runs: &Path, plan: &Plan, scenario_text: &str, unix_s: u64) -> Result<Self, RunDirError> {
        fs::create_dir_all(runs).map_err(at(runs))?;
        // Absolute, so that it can be handed to other processes.
        let runs = runs.canonicalize().map_err(at(runs))?;
        let stem = format!("{}-{}-{}", plan.name, compact_utc(unix_s), plan.digest().short());
        let dir = Self::reserve(&runs, &stem)?;
        for folder in ["build", "config", "data", "logs", "samples"] {
            let path = dir.root.join(folder);
            fs::create_dir(&path).map_err(at(path))?;
        }
        let scenario = dir.path("scenario.toml");
        fs::write(&scenario, scenario_text).map_err(at(scenario))?;
        dir.write_json("plan.json", plan)?;
        dir.point_latest(&runs)?;
        Ok(dir)
    }

    /// The first free name for a run; runs of one scenario that start in the same second are numbered.
    fn reserve(runs: &Path, stem: &str) -> Result<Self, RunDirError> {
        for number in 1..=SAME_SECOND_MAX {
            let id = if number == 1 {
                stem.to_owned()
            } else {
                format!("{stem}-{number}")
            };
            let root = runs.join(&id);
            match fs::create_dir(&root) {
                Ok(()) => return Ok(Self { root, id }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(root)(error)),
            }
        }
        Err(at(runs.join(stem))(io::ErrorKind::AlreadyExists.into()))
    }

    /// Swaps the link in one step, so that readers always find one.
    fn point_latest(&self, runs: &Path) -> Result<(), RunDirError> {
        let temporary = runs.join(format!(".latest-{}", self.id));
        std::os::unix::fs::symlink(&self.id, &temporary).map_err(at(&temporary))?;
        let link = runs.join(LATEST);
        fs::rename(&temporary, &link).map_err(at(link))
    }

    /// Finds a run by id, by a prefix that only it has, by `latest` or by its folder's path.
    ///
    /// # Errors
    /// [`RunDirError::NotFound`] when there is none or several match.
    pub(crate) fn find(runs: &Path, name: &str) -> Result<Self, RunDirError> {
        let not_found = || RunDirError::NotFound {
            name: name.to_owned(),
            runs: runs.to_owned(),
        };
        for candidate in [runs.join(name), PathBuf::from(name)] {
            if candidate.join("plan.json").is_file() {
                return Self::open(&candidate);
            }
        }
        let matching: Vec<Self> = Self::list(runs)
            .into_iter()
            .filter(|run| !name.is_empty() && run.id.starts_with(name))
            .collect();
        match matching.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(not_found()),
        }
    }

    /// The run in folder `path`.
    ///
    /// # Errors
    /// [`RunDirError::File`] when there is no such folder.
    pub(crate) fn open(path: &Path) -> Result<Self, RunDirError> {
        let root = path.canonicalize().map_err(at(path))?;
        let id = root
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Self { root, id })
    }

    /// All runs in `runs`, oldest id first; empty when there is no such folder.
    pub(crate) fn list(runs: &Path) -> Vec<Self> {
        let entries = fs::read_dir(runs).into_iter().flatten().flatten();
        let mut found: Vec<Self> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter(|entry| entry.path().join("plan.json").is_file())
            .filter_map(|entry| Self::open(&entry.path()).ok())
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// Takes the run for this process, until the lock is dropped or the process ends.
    ///
    /// # Errors
    /// [`RunDirError::Busy`] when another lab holds it.
    pub(crate) fn lock(&self) -> Result<RunLock, RunDirError> {
        let path = self.path("lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(at(&path))?;
        match HeldFile::try_hold(file) {
            Ok(file) => Ok(RunLock { _file: file }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(RunDirError::Busy(self.id.clone())),
            Err(error) => Err(at(path)(error)),
        }
    }

    /// Name of the run.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the run.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Folder of a node's configuration.
    pub(crate) fn config(&self, node: &str) -> PathBuf {
        self.root.join("config").join(node)
    }

    /// Folder of a node's data.
    pub(crate) fn data(&self, node: &str) -> PathBuf {
        self.root.join("data").join(node)
    }

    /// A node's log.
    pub(crate) fn log(&self, node: &str) -> PathBuf {
        self.root.join("logs").join(format!("{node}.log"))
    }

    /// Whether the run has a result.
    pub(crate) fn is_finished(&self) -> bool {
        self.path("result.json").is_file()
    }

    /// The plan of the run.
    ///
    /// # Errors
    /// [`RunDirError`] when it is missing or malformed.
    pub(crate) fn plan(&self) -> Result<Plan, RunDirError> {
        let plan: Plan = self.read_json("plan.json")?;
        let path = self.path("plan.json");
        plan_file::check(&plan).map_err(|reason| RunDirError::Malformed { path, reason })?;
        Ok(plan)
    }

    /// The plan with nodes where they turned out to go: that of the run, unless hosts were replaced.
    ///
    /// # Errors
    /// [`RunDirError`] when it is missing or malformed.
    pub(crate) fn placed_plan(&self) -> Result<Plan, RunDirError> {
        self.read_json(PLACEMENT).or_else(|_| self.plan())
    }

    /// Writes a document in one step: a reader sees all of it or none.
    ///
    /// # Errors
    /// [`RunDirError::File`] when it cannot be written.
    pub(crate) fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), RunDirError> {
        let path = self.path(name);
        let mut file = tempfile::NamedTempFile::new_in(&self.root).map_err(at(&path))?;
        let mut writer = io::BufWriter::new(&mut file);
        serde_json::to_writer_pretty(&mut writer, value).map_err(|error| at(&path)(error.into()))?;
        writer
            .write_all(b"\n")
            .and_then(|()| writer.flush())
            .map_err(at(&path))?;
        drop(writer);
        file.persist(&path).map_err(|error| at(&path)(error.error))?;
        Ok(())
    }

    /// Reads a document back.
    ///
    /// # Errors
    /// [`RunDirError`] when it is missing or malformed.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, RunDirError> {
        read_json(&self.path(name))
    }
}

/// Reads a JSON document.
///
/// # Errors
/// [`RunDirError`] when it is missing or malformed.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RunDirError> {
    let file = File::open(path).map_err(at(path))?;
    let text = io::read_to_string(io::Read::take(file, DOCUMENT_BYTES_MAX)).map_err(at(path))?;
    serde_json::from_str(&text).map_err(|error| RunDirError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Maps an I/O error to [`RunDirError::File`].
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.into();
    |error| RunDirError::File { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    #[test]
    fn a_run_has_its_plan_its_scenario_and_is_the_latest() {
        let runs = tempfile::tempdir().unwrap();
        let plan = plan(2);
        let run = RunDir::create(runs.path(), &plan, "schema = 1\n", 0).unwrap();
        assert!(
            run.id().starts_with(&format!("{}-19700101T000000Z-", plan.name)),
            "{}",
            run.id()
        );
        assert_eq!(run.plan().unwrap(), plan);
        assert_eq!(fs::read_to_string(run.path("scenario.toml")).unwrap(), "schema = 1\n");
        assert_eq!(RunDir::find(runs.path(), "latest").unwrap(), run);
        let second = RunDir::create(runs.path(), &plan, "", 0).unwrap();
        assert_eq!(RunDir::find(runs.path(), "latest").unwrap(), second);
        assert_ne!(run.id(), second.id());
        assert_eq!(RunDir::list(runs.path()).len(), 2);
    }

    #[test]
    fn runs_are_found_by_a_prefix_that_is_unique() {
        let runs = tempfile::tempdir().unwrap();
        let early = RunDir::create(runs.path(), &plan(1), "", 0).unwrap();
        RunDir::create(runs.path(), &plan(1), "", 86_400).unwrap();
        let prefix = &early.id()[..early.id().len() - 2];
        assert_eq!(RunDir::find(runs.path(), prefix).unwrap(), early);
        let name = plan(1).name;
        for ambiguous in ["", name.as_str(), "absent"] {
            assert!(RunDir::find(runs.path(), ambiguous).is_err(), "{ambiguous}");
        }
    }

    #[test]
    fn one_lab_at_a_time_holds_a_run() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), &plan(1), "", 0).unwrap();
        let lock = run.lock().unwrap();
        assert!(matches!(run.lock(), Err(RunDirError::Busy(_))));
        drop(lock);
        assert!(run.lock().is_ok());
    }

    #[test]
    fn malformed_documents_are_named() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), &plan(1), "", 0).unwrap();
        fs::write(run.path("plan.json"), "{").unwrap();
        let error = run.plan().unwrap_err().to_string();
        assert!(error.contains("plan.json") && error.contains("malformed"), "{error}");
    }
}
