//! Where an agent works, and how much it may keep.

use std::path::PathBuf;

/// What the command line says about both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Its folder.
    pub root: PathBuf,
    /// Most bytes of programs.
    pub store_bytes_max: u64,
}
