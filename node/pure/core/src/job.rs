//! Heavy work as values: a job is pure, so a node runs it on a worker thread and a simulator at once.

use bytes::Bytes;
use rand::CryptoRng;
use regatta_apps::{CheckedBatch, CheckedTransaction, Domain, TransactionError};
use regatta_base::{
    Digest, PublicKey, Signature,
    keys::{Claim, verify_each},
};
use std::sync::Arc;

/// Names a job within one run of a node.
pub type JobId = u64;

/// One signature to check: every signed statement is signed as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// Digest of what is said to be signed.
    pub digest: Digest,
    /// The signature.
    pub signature: Signature,
}

/// Work that is too long for the core's own thread.
#[derive(Debug)]
pub enum Job {
    /// Check signatures of consensus statements.
    Statements(Vec<Statement>),
    /// Parse and check a batch from another validator: framing, ids and (where `signatures`) each
    /// transaction's signature.
    Batch {
        /// Domain of the instance.
        domain: Domain,
        /// Keys of the validators, by index.
        authors: Arc<[PublicKey]>,
        /// Exact bytes.
        bytes: Bytes,
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
}

/// What a job found.
#[derive(Debug)]
pub enum JobResult {
    /// For each statement whether it is valid.
    Statements(Vec<bool>),
    /// The batch, or why it is none.
    Batch(Result<CheckedBatch, TransactionError>),
    /// For each transaction what it is, or why it is none.
    Transactions(Vec<Result<CheckedTransaction, TransactionError>>),
}

impl Job {
    /// How many signatures it checks at most: small jobs are cheaper at once than on another thread.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Statements(statements) => statements.len(),
            Self::Batch { bytes, .. } => bytes.len() / 100,
            Self::Transactions { transactions, .. } => transactions.len(),
        }
    }

    /// Does the work. `rng` must be unpredictable to whoever made the signatures.
    #[must_use]
    pub fn run(self, rng: &mut impl CryptoRng) -> JobResult {
        match self {
            Self::Statements(statements) => {
                let claims: Vec<Claim<'_>> = statements
                    .iter()
                    .map(|s| Claim {
                        key: s.key,
                        message: &s.digest.0,
                        signature: s.signature,
                    })
                    .collect();
                JobResult::Statements(verify_each(&claims, rng))
            }
            Self::Batch {
                domain,
                authors,
                bytes,
                signatures,
            } => JobResult::Batch(CheckedBatch::check(&domain, &authors, bytes, signatures, rng)),
            Self::Transactions { domain, transactions } => {
                JobResult::Transactions(regatta_apps::check_transactions(&domain, transactions, rng))
            }
        }
    }
}
