//! Snapshots on the disk: one file each, written beside and renamed when it is complete and durable.
//!
//! ```text
//! data_dir/snapshots/INSTANCE-HEIGHT.snapshot
//! "regatta-snapshot" | chunks | manifest | length of the manifest u32 | BLAKE3 of the manifest | "RSNAP1\r\n"
//! ```
//! The end proves the manifest, and the manifest each chunk, so that a torn or flipped file is told from a
//! good one. What a good file says is proven by the core: see [`regatta_core::Installer`].

mod file;
mod keeper;
mod start;

pub use file::{SnapshotFile, SnapshotWriter};
pub use keeper::{Keeper, Report};
pub use start::{check, restore};

use regatta_base::Height;
use regatta_core::SnapshotError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a snapshot file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// The operating system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is none of ours, was never completed, or is damaged.
    #[error("{} is no complete snapshot: {reason}", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is complete, and what it holds is refused.
    #[error("{}: {source}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SnapshotError,
    },
}

impl SnapshotFileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// The folder of the snapshots in a data folder.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshots")
}

/// The path of a finished snapshot of the instance at position `instance` in the configuration.
#[must_use]
pub fn path(folder: &Path, instance: usize, height: Height) -> PathBuf {
    folder.join(format!("{instance:05}-{height:020}.snapshot"))
}

/// Instance and height of a finished snapshot, by its name.
fn parse_name(path: &Path) -> Option<(usize, Height)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".snapshot")?;
    let (instance, height) = name.split_once('-')?;
    Some((instance.parse().ok()?, height.parse().ok()?))
}

/// The finished snapshots in a folder with instance and height, in ascending order; none when there is no folder.
///
/// # Errors
/// [`SnapshotFileError::Io`] when the folder cannot be listed.
pub fn list(folder: &Path) -> Result<Vec<(usize, Height, PathBuf)>, SnapshotFileError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(SnapshotFileError::io("list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(SnapshotFileError::io("list", folder))?.path();
        found.extend(parse_name(&path).map(|(instance, height)| (instance, height, path)));
    }
    found.sort();
    Ok(found)
}

/// Bytes of everything in a folder of snapshots, unfinished and damaged files included; none when there is no folder.
///
/// # Errors
/// [`SnapshotFileError::Io`] when the folder cannot be listed.
pub fn used_bytes(folder: &Path) -> Result<u64, SnapshotFileError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(SnapshotFileError::io("list", folder))?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.map_err(SnapshotFileError::io("list", folder))?;
        // One that has just been removed takes no room.
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
