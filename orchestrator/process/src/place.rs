//! Network namespaces by their handles.

use nix::sched::{CloneFlags, setns};
use std::{fs::File, io, sync::Arc};

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// A handle of a network namespace.
#[derive(Debug, Clone)]
pub struct Place(Arc<File>);

impl Place {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// What the system said.
    pub fn current() -> io::Result<Self> {
        File::open(OWN).map(|file| Self(Arc::new(file)))
    }

    /// Moves the calling thread, and no other, into the namespace.
    ///
    /// # Errors
    /// What the system said.
    pub fn enter(&self) -> io::Result<()> {
        setns(&*self.0, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    }

    /// Number by which the system knows the namespace.
    ///
    /// # Errors
    /// What the system said.
    pub fn number(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        self.0.metadata().map(|facts| facts.ino())
    }

    /// The namespace that process `pid` lives in.
    ///
    /// # Errors
    /// What the system said.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/net")).map(|file| Self(Arc::new(file)))
    }
}
