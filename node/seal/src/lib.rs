//! Signed builds: a manifest states what a program is, a signature by a pinned key says that it may run, and every
//! start checks both before it executes the very descriptor that it hashed.
//!
//! On the way to a start: signature against pinned keys (never keys that the bundle carries), expiry, sequence,
//! target, then the size-bounded digest of the opened file.

mod built;
mod key;
mod manifest;
mod release;
mod store;
#[cfg(test)]
mod tests;
mod verify;

pub use built::Built;
pub use key::{KeyFileError, random_key, read_key, write_key};
pub use manifest::{Artifact, Bundle, Manifest, unix_seconds};
pub use release::{
    Accepted, Activation, CHUNK_BYTES, Document, History, RELEASE_BYTES_MAX, Release, ReleaseError, ReleasePolicy,
};
pub use store::{Sealed, Store, install};
pub use verify::{Policy, Purpose, VerifiedProgram};

use regatta_base::{CodecError, Digest};
use std::path::PathBuf;

/// Why a build is not sealed or does not run.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Too few pinned keys signed the manifest.
    #[error(
        "manifest {manifest}: {valid} valid signatures by pinned keys, {needed} needed\n  help: seal the build again \
         with a pinned key, or pin the key that signed it"
    )]
    Unsigned {
        /// Digest of the manifest.
        manifest: String,
        /// Valid signatures of distinct pinned keys.
        valid: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The bytes are not the canonical encoding of a manifest.
    #[error("manifest: {0}\n  help: seal the build again")]
    Malformed(#[from] CodecError),
    /// Another version of the format.
    #[error("manifest has schema {0}, this program reads {schema}\n  help: use the lab that it was made for", schema = manifest::SCHEMA)]
    Schema(u32),
    /// The manifest's time is over.
    #[error("build {version} expired {ago_s} s ago\n  help: seal it again")]
    Expired {
        /// Version of the build.
        version: String,
        /// Seconds since it expired.
        ago_s: u64,
    },
    /// A build that is older than what is allowed.
    #[error("build has sequence {got}, at least {least} is required\n  help: use a newer build")]
    OldSequence {
        /// The manifest's sequence.
        got: u64,
        /// The least that is accepted.
        least: u64,
    },
    /// A build made for tests, away from this machine.
    #[error(
        "build {version} was made to break the protocol and runs on the lab's own machine only\n  help: use \
         provider.kind = \"local\""
    )]
    ByzantineAway {
        /// Version of the build.
        version: String,
    },
    /// A build made for tests that the scenario does not ask for.
    #[error(
        "build {version} was made to break the protocol and the scenario asks for honest nodes\n  help: seal a build \
         that was made without the feature `byzantine`"
    )]
    ByzantineUnasked {
        /// Version of the build.
        version: String,
    },
    /// Another manifest has the same sequence.
    #[error(
        "two manifests have sequence {0}\n  help: remove the one that is wrong from the store's `manifests` folder"
    )]
    SequenceTwice(u64),
    /// The program is for another kind of machine.
    #[error("`{path}` is for {target}, this host is {host}\n  help: build it for this host")]
    WrongTarget {
        /// The artifact.
        path: String,
        /// Its target triple.
        target: String,
        /// What this host is.
        host: String,
    },
    /// The path leaves the store or is not a plain name.
    #[error("artifact path `{0}` is not a plain file name\n  help: seal the build again")]
    BadPath(String),
    /// The manifest names no such artifact.
    #[error("manifest names no artifact `{0}`\n  help: seal the build again")]
    NoArtifact(String),
    /// The file is not as the manifest states.
    #[error(
        "`{path}` was altered after sealing: {what}\n  help: remove `{folder}` and run again to build and seal it anew"
    )]
    Altered {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
        /// The store's folder of this artifact.
        folder: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A key file is missing or open to others.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// Maps an I/O error to [`SealError::File`].
fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> SealError {
    let path = path.into();
    |error| SealError::File { path, error }
}

/// What an artifact's digest and size turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    digest: Digest,
    size: u64,
}

/// Digest of a stream of at most `size_max` bytes; `None` when it is longer.
fn measure(reader: impl std::io::Read, size_max: u64) -> std::io::Result<Option<Measured>> {
    let mut hasher = blake3::Hasher::new();
    let mut bounded = reader.take(size_max.saturating_add(1));
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let count = std::io::Read::read(&mut bounded, &mut buffer)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        hasher.update(&buffer[..count]);
    }
    debug_assert!(size <= size_max.saturating_add(1), "the stream is cut");
    let digest = Digest(*hasher.finalize().as_bytes());
    Ok((size <= size_max).then_some(Measured { digest, size }))
}
