//! What a node writes to its journal, and reads back to become what it was.

use bytes::Bytes;
use regatta_api::view::Failure;
use regatta_base::{Digest, Height, HexBytes};
use serde::{Deserialize, Serialize};

/// Number of a record within one run of a process, from 1.
pub type RecordNumber = u64;

/// One journal record. The journal is append-only; replay in order rebuilds the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A step of the consensus core that must never be contradicted. Needed until its height is decided.
    Consensus {
        /// Position of the instance in the configuration.
        instance: u16,
        /// Canonical encoding of the consensus record.
        bytes: HexBytes,
    },
    /// A batch of transactions that this node holds.
    Batch {
        /// Position of the instance in the configuration.
        instance: u16,
        /// Digest of the batch.
        digest: Digest,
        /// Its exact bytes.
        bytes: HexBytes,
    },
    /// A decided block. Its batches are earlier in the journal.
    Block {
        /// Position of the instance in the configuration.
        instance: u16,
        /// Its height: one more than the last one of the instance.
        height: Height,
        /// Encoded header.
        header: HexBytes,
        /// Encoded commit certificate.
        certificate: HexBytes,
        /// Digests of its batches, in order, so that the journal can find them.
        batches: Vec<Digest>,
        /// What it did, for a node that does not execute it again because it starts from a snapshot.
        result: BlockResult,
    },
    /// A proof that a validator contradicted itself. Kept for good.
    Evidence {
        /// Position of the instance in the configuration.
        instance: u16,
        /// Canonical encoding of the proof.
        bytes: HexBytes,
    },
    /// Whether the node knows all that it ever said. The least one of an instance counts; kept for good.
    Memory {
        /// Position of the instance in the configuration.
        instance: u16,
        /// The first height at which the node may make statements of consensus: 0 from the beginning, `Height::MAX`
        /// after its journal was lost, and what the other validators' answers allow after that.
        speaks_from: Height,
    },
    /// From here on the journal continues from a snapshot: blocks up to its height may be missing.
    Installed {
        /// Position of the instance in the configuration.
        instance: u16,
        /// The height whose state the snapshot is of.
        height: Height,
    },
}

/// What executing a block did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockResult {
    /// Root of the state after it.
    pub state_root: Digest,
    /// Transactions in it.
    pub transactions: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Positions of those that failed, ascending, and why; the others took effect.
    pub failed: Vec<(u32, Failure)>,
}

/// A block as it is read back for a peer that catches up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// Encoded header.
    pub header: Bytes,
    /// Encoded commit certificate.
    pub certificate: Bytes,
    /// Exact bytes of each batch, in order.
    pub batches: Vec<Bytes>,
}
