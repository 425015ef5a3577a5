//! The manifest of a snapshot: what it is of, what proves it, and its chunks by digest.

use super::{CHUNK_BYTES_MAX, CHUNKS_MAX, MANIFEST_BYTES_MAX, SnapshotError};
use crate::header::{Header, STATE_ROOT_LAG};
use regatta_base::{Digest, Height, HexBytes, InstanceId, decode, encode};
use regatta_consensus::{Commit, header_digest};
use serde::{Deserialize, Serialize};

/// One chunk of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkInfo {
    /// Plain BLAKE3 of its bytes.
    pub digest: Digest,
    /// Their number, at most [`CHUNK_BYTES_MAX`].
    pub bytes: u32,
}

/// What a snapshot consists of. Reading one proves nothing: only an [`Installer`](super::Installer) does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The instance.
    pub(crate) instance: InstanceId,
    /// The height h whose state it is.
    pub(crate) height: Height,
    /// Header and certificate of height h.
    pub(crate) at: Commit,
    /// The header of height h + 1.
    pub(crate) next: HexBytes,
    /// Header and certificate of height h + 2, which has the root of the state.
    pub(crate) proof: Commit,
    /// The chunks, in their order.
    pub(crate) chunks: Vec<ChunkInfo>,
}

/// The decoded headers of a manifest.
pub(super) struct Headers {
    pub(super) at: Header,
    pub(super) next: Header,
    pub(super) proof: Header,
}

impl Manifest {
    /// Reads a manifest, whose sizes are within bounds then.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is none, or of a snapshot that is too large.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let codec = |error| SnapshotError::Codec {
            what: "a manifest",
            error,
        };
        let manifest: Self = decode(bytes, MANIFEST_BYTES_MAX).map_err(codec)?;
        let is_large = |chunk: &ChunkInfo| chunk.bytes as usize > CHUNK_BYTES_MAX;
        if manifest.chunks.len() > CHUNKS_MAX || manifest.chunks.iter().any(is_large) {
            return Err(SnapshotError::TooLarge);
        }
        manifest.headers().map(|_| manifest)
    }

    /// The canonical encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The instance that it is of.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The height whose state it is.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// Digest of the header of that height.
    #[must_use]
    pub fn hash(&self) -> Digest {
        header_digest(&self.at.header)
    }

    /// The root of the state, as the later header says; zero when that header does not decode.
    #[must_use]
    pub fn state_root(&self) -> Digest {
        Header::decode(&self.proof.header).map_or(Digest::ZERO, |header| header.state_root)
    }

    /// The chunks, in their order.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkInfo] {
        &self.chunks
    }

    /// Bytes of all chunks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum()
    }

    /// The three headers, when they are of the right heights and follow each other.
    pub(super) fn headers(&self) -> Result<Headers, SnapshotError> {
        let header = |bytes: &[u8]| {
            Header::decode(bytes).map_err(|error| SnapshotError::Codec {
                what: "a header of the manifest",
                error,
            })
        };
        let (at, next) = (header(&self.at.header)?, header(&self.next.0)?);
        let proof = header(&self.proof.header)?;
        let height = self.height;
        let later = height.checked_add(STATE_ROOT_LAG).filter(|_| height > 0);
        let heights = [Some(at.height), next.height.checked_add(1), Some(proof.height)];
        let certified = (self.at.height(), self.proof.height());
        if heights != [Some(height), later, later] || Some(certified) != later.map(|later| (height, later)) {
            return Err(SnapshotError::Height { height });
        }
        if next.parent != self.hash() || proof.parent != header_digest(&self.next.0) {
            return Err(SnapshotError::Parents);
        }
        Ok(Headers { at, next, proof })
    }
}
