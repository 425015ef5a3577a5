//! The agent's folder on a host: where everything is, and who may be its agent.

use nix::unistd::geteuid;
use regatta_fleet::Name;
use regatta_process::HeldFile;
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

/// The folder of an agent; nobody but its user can enter it.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    /// Open, since the path of a socket has at most 108 bytes and the folder's own may be longer.
    folder: File,
}

/// Adds what was being done to what the system said.
pub(crate) fn about(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

impl Root {
    /// Opens the folder, making it when it is not there.
    ///
    /// # Errors
    /// What the system said, or that the folder is another user's.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let shown = path.display();
        make_private(path).map_err(about(&shown))?;
        let path = path.canonicalize().map_err(about(&shown))?;
        let facts = fs::metadata(&path).map_err(about(&shown))?;
        if facts.uid() != geteuid().as_raw() {
            let message =
                format!("{shown} belongs to another user\n  help: choose another folder (key `dir` of the host)");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        if facts.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(about(&shown))?;
        }
        for folder in ["store/partial", "runs", "processes"] {
            make_private(&path.join(folder)).map_err(about(path.join(folder).display()))?;
        }
        let folder = File::open(&path).map_err(about(shown))?;
        Ok(Self { path, folder })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of programs.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// The folder of notes about running processes.
    pub(crate) fn processes(&self) -> PathBuf {
        self.path.join("processes")
    }

    /// The folder of all runs.
    pub(crate) fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// The folder of a run.
    pub(crate) fn run(&self, run: &Name) -> PathBuf {
        self.runs().join(run.as_str())
    }

    /// Path of the socket, short whatever the folder's is. Of use as long as this value lives.
    pub(crate) fn socket(&self) -> PathBuf {
        format!("/proc/self/fd/{}/agent.sock", self.folder.as_raw_fd()).into()
    }

    /// The lock that the agent holds as long as it lives.
    ///
    /// # Errors
    /// `WouldBlock` when another agent holds it.
    pub(crate) fn lock_agent(&self) -> io::Result<HeldFile> {
        self.lock_file("agent.lock").and_then(HeldFile::try_hold)
    }

    /// Waits for the lock under which agents are started, found and ended.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn lock_door(&self) -> io::Result<HeldFile> {
        HeldFile::hold(self.lock_file("door.lock")?).map_err(about("door.lock"))
    }

    /// The same lock, without waiting for it.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds it.
    pub(crate) fn try_lock_door(&self) -> io::Result<HeldFile> {
        self.lock_file("door.lock").and_then(HeldFile::try_hold)
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(about(path.display()))
    }
}

/// Makes a folder and those that it is in; the new ones are for their owner alone.
///
/// # Errors
/// What the system said.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_whatever_it_was() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let root = Root::open(&path).unwrap();
        assert_eq!(fs::metadata(root.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(root.store().is_dir() && root.runs().is_dir());
    }

    #[test]
    fn there_is_one_agent_and_one_at_the_door() {
        let outer = tempfile::tempdir().unwrap();
        let (one, two) = (Root::open(outer.path()).unwrap(), Root::open(outer.path()).unwrap());
        let held = one.lock_agent().unwrap();
        assert_eq!(two.lock_agent().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(two.lock_agent().is_ok());
        let _door = one.lock_door().unwrap();
        assert_eq!(two.try_lock_door().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
