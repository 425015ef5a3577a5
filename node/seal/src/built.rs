//! What a build tool says of a program, before anybody signs for it.

use regatta_base::Digest;
use std::path::PathBuf;

/// A program and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The executable.
    pub executable: PathBuf,
    /// Package version.
    pub version: String,
    /// Source commit in hexadecimal, `unknown` outside git.
    pub commit: String,
    /// Whether the work tree held changes that the commit does not.
    pub dirty: bool,
    /// Digest of the lock file.
    pub lock: Digest,
    /// Version of the compiler.
    pub rustc: String,
    /// Target triple.
    pub target: String,
    /// Cargo profile.
    pub profile: String,
    /// Whether its nodes break the protocol where they are told to.
    pub byzantine: bool,
}
