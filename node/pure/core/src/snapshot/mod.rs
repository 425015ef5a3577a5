//! Snapshots: the state after one height, with everything that proves it and that a node needs to go on.
//!
//! A snapshot of height h is a [`Manifest`] and a sequence of chunks that it names by digest:
//!
//! 1. *links*: header, certificate and new validator set of each height below h + 2 at which the set
//!    changes. Each is certified by the set before it, and the first set is the configured one, so that
//!    heights between them need not be seen;
//! 2. *history*: the headers of the last [`BATCH_LIFETIME_BLOCKS`](regatta_base::limits::BATCH_LIFETIME_BLOCKS)
//!    heights below h, which prove by their parents which batches may not be ordered again;
//! 3. *state*: the pieces of [`State::next_piece`](regatta_apps::State::next_piece).
//!
//! The root of the state after h stands in header h + 2 (the lag of state roots), so the manifest has that
//! header and its certificate too. All nodes that write a snapshot of one height write the same chunks:
//! a node that is far behind takes them from several neighbours at once.

mod chunk;
mod install;
mod manifest;
#[cfg(test)]
mod tests;

pub(crate) use chunk::{Link, history_chunk, link_chunk, state_chunk};
pub(crate) use install::first_of_history;
pub use install::{Installer, Restored};
pub use manifest::{ChunkInfo, Manifest};

use regatta_apps::LoadError;
use regatta_base::{CodecError, Digest, Height};

/// Most bytes of one chunk: a piece of the state, or a link with the largest header, certificate and set.
pub const CHUNK_BYTES_MAX: usize = 264 * 1024;
/// Most chunks of one snapshot: twice what the largest state takes.
pub const CHUNKS_MAX: usize = 8192;
/// Most changes of the validator set that one chain of certificates may have.
pub(crate) const LINKS_MAX: usize = 4096;
/// Most bytes of an encoded manifest: its chunks, three headers and two certificates.
pub const MANIFEST_BYTES_MAX: usize = 896 * 1024;

/// Why something is not the snapshot that it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes are no manifest, or no chunk.
    #[error("{what}: {error}")]
    Codec {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        error: CodecError,
    },
    /// It is of another instance.
    #[error("the snapshot is of another instance")]
    Instance,
    /// A header of the manifest is of another height than the manifest says.
    #[error("the snapshot says height {height}, and its headers say otherwise")]
    Height {
        /// What the manifest says.
        height: Height,
    },
    /// The headers of the manifest do not follow each other.
    #[error("the headers after the snapshot do not follow each other")]
    Parents,
    /// A certificate that does not certify, under the validators that the chain of certificates proves.
    #[error("the certificate of height {height} does not hold: {reason}")]
    Certificate {
        /// Which height.
        height: Height,
        /// Why not.
        reason: String,
    },
    /// A change of the validator set that does not follow from the one before.
    #[error("the chain of certificates breaks at height {height}")]
    Link {
        /// The height of the bad link.
        height: Height,
    },
    /// The headers name another validator set than the chain of certificates leads to.
    #[error("the validators after the snapshot are not those that its certificates lead to")]
    Validators,
    /// The headers before the snapshot do not lead to it.
    #[error("the headers before the snapshot do not lead to it")]
    History,
    /// More chunks or bytes than any snapshot has.
    #[error("the snapshot is larger than any can be")]
    TooLarge,
    /// A chunk that is not the one that the manifest names.
    #[error("chunk {chunk} has digest {got}, the manifest says otherwise")]
    ChunkDigest {
        /// Its position.
        chunk: usize,
        /// The digest of what was given.
        got: Digest,
    },
    /// A chunk of a kind that does not belong there.
    #[error("chunk {chunk} is out of place")]
    ChunkOrder {
        /// Its position.
        chunk: usize,
    },
    /// Not all chunks were given.
    #[error("the snapshot ends after {got} of {expected} chunks")]
    Truncated {
        /// Chunks that were given.
        got: usize,
        /// Chunks that the manifest names.
        expected: usize,
    },
    /// A piece of the state that belongs to no state.
    #[error(transparent)]
    State(#[from] LoadError),
    /// The state is another one than the certified header says.
    #[error("the state has root {got}, the certified one is {expected}")]
    StateRoot {
        /// The root of what was given.
        got: Digest,
        /// The root in the certified header.
        expected: Digest,
    },
}
