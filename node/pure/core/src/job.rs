//! Heavy work as values: a job is pure, so a node runs it on a worker thread and a simulator at once.

use bytes::Bytes;
use rand::CryptoRng;
use regatta_apps::{CheckedBatch, CheckedTransaction, Domain, NamedBatch, TransactionError, check_transactions};
use regatta_base::keys::{Claim, verify_each};
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
}

/// What a job found.
#[derive(Debug)]
pub enum JobResult {
    /// For each claim whether it holds.
    Claims(Vec<bool>),
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
            Self::Claims(claims) => claims.len(),
            Self::Batch { batch, .. } => batch.bytes().len() / 100,
            Self::Transactions { transactions, .. } => transactions.len(),
        }
    }

    /// Does the work. `rng` must be unpredictable to whoever made the signatures.
    #[must_use]
    pub fn run(self, rng: &mut impl CryptoRng) -> JobResult {
        match self {
            Self::Claims(claims) => {
                let claims: Vec<Claim<'_>> = claims.iter().map(SignatureClaim::as_claim).collect();
                JobResult::Claims(verify_each(&claims, rng))
            }
            Self::Batch {
                domain,
                batch,
                signatures,
            } => JobResult::Batch(CheckedBatch::check(&domain, batch, signatures, rng)),
            Self::Transactions { domain, transactions } => {
                JobResult::Transactions(check_transactions(&domain, transactions, rng))
            }
        }
    }
}
