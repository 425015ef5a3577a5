//! Heavy work as values: a job is pure, so a node runs it on a worker thread and a simulator at once.

use crate::snapshot::{Installer, Restored, SnapshotError};
use bytes::Bytes;
use rand::CryptoRng;
use regatta_apps::{
    BatchError, CheckedBatch, CheckedTransaction, Domain, NamedBatch, TransactionError, check_transactions,
};
use regatta_base::{Keyring, keyring::Claim};
use regatta_consensus::SignatureClaim;

/// Names a job within one run of a node.
pub type JobId = u64;

/// Work that is too long for the core's own thread.
#[derive(Debug)]
pub enum Job {
    /// Check signatures of consensus statements.
    Claims(Vec<SignatureClaim>),
    /// Parse and check a batch from another validator: framing, ids, the author's signature and (where
    /// `signatures`) each transaction's.
    Batch {
        /// Domain of the instance.
        domain: Domain,
        /// The batch.
        batch: NamedBatch,
        /// Whether transaction signatures are checked: validators do, followers rely on the quorum.
        signatures: bool,
    },
    /// Parse and check transactions that a client or another node submits.
    Transactions {
        /// Domain of the instance.
        domain: Domain,
        /// Exact bytes of each.
        transactions: Vec<Bytes>,
    },
    /// Check the next chunk of a snapshot and take it into the state that is being rebuilt.
    SnapshotChunk {
        /// What was rebuilt so far.
        installer: Box<Installer>,
        /// The chunk.
        bytes: Bytes,
    },
    /// Check a snapshot whose chunks were all taken.
    SnapshotEnd(Box<Installer>),
}

/// What a job found.
#[derive(Debug)]
pub enum JobResult {
    /// For each claim whether it holds.
    Claims(Vec<bool>),
    /// The batch, or why it is none.
    Batch(Result<CheckedBatch, BatchError>),
    /// For each transaction what it is, or why it is none.
    Transactions(Vec<Result<CheckedTransaction, TransactionError>>),
    /// The snapshot with the chunk taken in, or as it was, and why.
    SnapshotChunk(Box<Installer>, Result<(), SnapshotError>),
    /// The checked snapshot, or why it is none.
    SnapshotEnd(Result<Box<Restored>, SnapshotError>),
}

impl Job {
    /// A job of at most this weight is best done at once: waking a thread and being woken by it costs as much as a few checks.
    /// The votes that ten validators wait for are not more.
    pub const INLINE_WEIGHT: usize = 8;

    /// How many signatures it checks at most: small jobs are cheaper at once than on another thread.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Claims(claims) => claims.len(),
            Self::Batch { batch, .. } => batch.bytes().len() / 100,
            Self::Transactions { transactions, .. } => transactions.len(),
            // Decoding and hashing a kilobyte of the state takes about as long as checking a signature.
            Self::SnapshotChunk { bytes, .. } => bytes.len() / 1000,
            Self::SnapshotEnd(installer) => installer.manifest().chunks().len(),
        }
    }

    /// Does the work with the keys that are known from before. `rng` must be unpredictable to whoever made the signatures.
    #[must_use]
    pub fn run(self, keys: &mut Keyring, rng: &mut impl CryptoRng) -> JobResult {
        match self {
            Self::Claims(claims) => {
                let claims: Vec<Claim<'_>> = claims.iter().map(SignatureClaim::as_claim).collect();
                JobResult::Claims(keys.verify_votes(&claims, rng))
            }
            Self::Batch {
                domain,
                batch,
                signatures,
            } => JobResult::Batch(CheckedBatch::check(&domain, batch, signatures, keys, rng)),
            Self::Transactions { domain, transactions } => {
                JobResult::Transactions(check_transactions(&domain, transactions, keys, rng))
            }
            Self::SnapshotChunk { mut installer, bytes } => {
                let result = installer.absorb(&bytes, rng);
                JobResult::SnapshotChunk(installer, result)
            }
            Self::SnapshotEnd(installer) => JobResult::SnapshotEnd(installer.finish(rng).map(Box::new)),
        }
    }
}
