//! Upgrades over the air: what of them touches files, clocks and processes.
//!
//! ```text
//! STORE/state                     what was accepted, proven and tried in vain
//! STORE/releases/NUMBER.release   documents: release, build manifest and the signatures under both
//! STORE/parts/BLAKE3.part         a program that is being fetched
//! STORE/BLAKE3/NAME               a whole program, read-only
//! ```
//! A [`Porter`] thread judges documents and keeps pieces for the core, which decides whom to ask and when to switch. The
//! switch itself is made by the old program: it ends the node, lets the new program run as its child until that has caught
//! up, and only then becomes it. See [`trial`].

mod depot;
mod porter;
mod start;
mod state;
#[cfg(test)]
mod tests;
pub mod trial;

pub use depot::Depot;
pub use porter::{Porter, Reports, Standing, Thread};
pub use start::{Place, begin};
pub use state::{Proven, State};

use regatta_base::{CodecError, Digest};
use regatta_seal::{ReleaseError, SealError};
use std::{io, path::PathBuf};

/// Why something about an upgrade is not done.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The operating system refuses.
    #[error("cannot {action} {}: {source}; help: check rights and space of `upgrade.store`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The state does not read back.
    #[error(
        "{} is no state of upgrades: {reason}; help: restore it from a copy; without it the node would not know which \
         builds are too old for it", path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: CodecError,
    },
    /// Another process uses the folder.
    #[error(transparent)]
    Locked(#[from] crate::store::StoreError),
    /// A check refused the release.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// A check refused the build or its program.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A piece that nobody signed.
    #[error("piece {chunk} of {} is not what was signed; help: bring the program that was released", artifact.short())]
    BadPiece {
        /// Digest of the program.
        artifact: Digest,
        /// Position of the piece.
        chunk: u32,
    },
    /// A piece of a program that is not being fetched.
    #[error("the node fetches no program {}; help: bring the release first", .0.short())]
    UnknownProgram(Digest),
    /// The disk's share is used up.
    #[error("the program needs {needed} bytes, {left} of `upgrade.disk_bytes_max` are left; help: raise it")]
    Full {
        /// Bytes of the program.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// The program does not even say what it is.
    #[error("the program does not run here: {0}; help: build it for this host, and try `PROGRAM version` there")]
    Unfit(String),
    /// Too much waits for the disk.
    #[error("the node is busy with releases; help: try again")]
    Busy,
}

impl UpgradeError {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
