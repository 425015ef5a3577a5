//! The journal of a node: append-only files that survive a crash at any byte.
//!
//! Records are grouped: whatever is queued when the device is ready is written and flushed at once,
//! so that the cost of a flush is shared and the core is told the highest durable record.

mod file;
mod index;
mod journal;
mod lock;
mod pace;
mod prune;
mod reader;
mod recover;
mod segment;
mod writer;

pub use index::Location;
pub use journal::{Journal, JournalState, Options};
pub use lock::DirLock;
pub use reader::Reader;

use std::{io, path::PathBuf};

/// Why the journal cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refuses.
    #[error("cannot {action} {}: {source}; help: {help}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
        /// What the user can do.
        help: &'static str,
    },
    /// Another process holds this data folder.
    #[error("{} is in use by {holder}; help: stop that node, or give this one a data_dir of its own", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Process id and command line, as far as known.
        holder: String,
    },
    /// A record that was durable does not read back.
    #[error(
        "{} is damaged at byte {offset}: {reason}; help: restore the folder from a copy, or move it away and \
         start without --new: the node fetches everything from its peers, and a validator votes again when they have \
         said where they stand", path.display()
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The node does not accept a record of its own journal.
    #[error(
        "{} has a record at byte {offset} that this node cannot use: {reason}; help: does the configuration still \
         name the same chain and instances?", path.display()
    )]
    Replay {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What the node says.
        reason: String,
    },
}

impl StoreError {
    fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let help = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on that device",
            io::ErrorKind::PermissionDenied => "let this user write there",
            io::ErrorKind::NotFound => "create the folder, or correct data_dir",
            _ => "look at the device's health and at the system log",
        };
        Self::Io {
            action,
            path: path.into(),
            source,
            help,
        }
    }
}

#[cfg(test)]
mod tests;
