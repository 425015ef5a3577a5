//! Jobs really run, and each distinct question is answered once for all hosts.
//!
//! A thousand nodes check the same signature on the same statement. The answer is a function of key, message and
//! signature, so that it is kept under a digest of all three; the virtual processor is charged each time. Results of
//! batches and transactions are kept in the same way.

use bytes::Bytes;
use rand::rngs::ChaCha8Rng;
use regatta_apps::{
    BatchError, CheckedBatch, CheckedTransaction, Domain, NamedBatch, TransactionError, View, check_transactions,
};
use regatta_base::{Digest, Keyring};
use regatta_consensus::SignatureClaim;
use regatta_core::{Job, JobResult};
use std::collections::BTreeMap;

/// Answers of a kind that are kept for sure; then the older half goes.
const KEPT: usize = 1 << 15;
/// The same for batches, each of which may be a megabyte.
const BATCHES_KEPT: usize = 256;

/// Two generations of answers: what was not asked for during a whole generation is forgotten.
#[derive(Debug)]
struct Answers<T> {
    young: BTreeMap<[u8; 32], T>,
    old: BTreeMap<[u8; 32], T>,
    most: usize,
}

impl<T: Clone> Answers<T> {
    fn new(most: usize) -> Self {
        Self {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            most,
        }
    }

    fn get(&mut self, key: &[u8; 32]) -> Option<T> {
        if let Some(found) = self.young.get(key) {
            return Some(found.clone());
        }
        let found = self.old.remove(key)?;
        self.put(*key, found.clone());
        Some(found)
    }

    fn put(&mut self, key: [u8; 32], value: T) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

/// How much a job looked at: what it costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Signatures that a node would have checked.
    pub(crate) signatures: usize,
    /// Transactions.
    pub(crate) transactions: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
}

/// A batch, or why it is none, with the number of its signed transactions.
type BatchAnswer = (Result<CheckedBatch, BatchError>, usize);

/// All answers so far.
#[derive(Debug)]
pub(crate) struct Work {
    claims: Answers<bool>,
    /// Domains that were seen: their positions stand for them in keys.
    domains: Vec<Domain>,
    batches: Answers<BatchAnswer>,
    transactions: Answers<Result<CheckedTransaction, TransactionError>>,
    keys: Keyring,
    rng: ChaCha8Rng,
    /// Questions that were asked, and those that had to be computed.
    pub(crate) asked: u64,
    pub(crate) computed: u64,
}

impl Work {
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self {
            claims: Answers::new(KEPT),
            domains: Vec::new(),
            batches: Answers::new(BATCHES_KEPT),
            transactions: Answers::new(KEPT),
            keys: Keyring::default(),
            rng,
            asked: 0,
            computed: 0,
        }
    }

    /// Randomness for checks outside of jobs.
    pub(crate) fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// Does a job; gives back its result and how much was looked at.
    pub(crate) fn run(&mut self, job: Job) -> (JobResult, Amount) {
        match job {
            Job::Claims(claims) => {
                let amount = Amount {
                    signatures: claims.len(),
                    ..Amount::default()
                };
                (JobResult::Claims(self.claims(&claims)), amount)
            }
            Job::Transactions { domain, transactions } => {
                let amount = Amount {
                    signatures: transactions.iter().filter(|bytes| is_signed(bytes)).count(),
                    transactions: transactions.len(),
                    bytes: transactions.iter().map(Bytes::len).sum(),
                };
                (
                    JobResult::Transactions(self.transactions(&domain, transactions)),
                    amount,
                )
            }
            Job::Batch {
                domain,
                batch,
                signatures,
            } => {
                let length = batch.bytes().len();
                let (result, signed) = self.batch(&domain, batch, signatures);
                let amount = Amount {
                    signatures: 1 + if signatures { signed } else { 0 },
                    transactions: result.as_ref().map_or(0, |batch| batch.items.len()),
                    bytes: length,
                };
                (JobResult::Batch(result), amount)
            }
            job @ (Job::SnapshotChunk { .. } | Job::SnapshotEnd(_)) => {
                // A job's weight is what it takes in checks of signatures.
                let amount = Amount {
                    signatures: job.weight(),
                    ..Amount::default()
                };
                (job.run(&mut self.keys, &mut self.rng), amount)
            }
        }
    }

    fn claims(&mut self, claims: &[SignatureClaim]) -> Vec<bool> {
        self.asked += claims.len() as u64;
        let keys: Vec<[u8; 32]> = claims.iter().map(claim_key).collect();
        let mut answers: Vec<Option<bool>> = keys.iter().map(|key| self.claims.get(key)).collect();
        let open: Vec<usize> = (0..claims.len()).filter(|&index| answers[index].is_none()).collect();
        self.computed += open.len() as u64;
        let asked: Vec<_> = open.iter().map(|&index| claims[index].as_claim()).collect();
        let found = self.keys.verify_votes(&asked, &mut self.rng);
        for (index, holds) in open.into_iter().zip(found) {
            answers[index] = Some(holds);
            self.claims.put(keys[index], holds);
        }
        answers.into_iter().map(|answer| answer.unwrap_or(false)).collect()
    }

    fn batch(&mut self, domain: &Domain, batch: NamedBatch, signatures: bool) -> BatchAnswer {
        self.asked += 1;
        let context = [position(&mut self.domains, domain), u64::from(signatures)];
        let key = key("regatta simulated batch v1", &context, batch.bytes());
        self.batches.get(&key).unwrap_or_else(|| {
            self.computed += 1;
            let result = CheckedBatch::check(domain, batch, signatures, &mut self.keys, &mut self.rng);
            let signed = |batch: &CheckedBatch| {
                let items = batch.items.iter();
                items.filter(|item| is_signed(&batch.bytes[item.range()])).count()
            };
            let answer = (result.clone(), result.as_ref().map_or(0, signed));
            self.batches.put(key, answer.clone());
            answer
        })
    }

    fn transactions(
        &mut self,
        domain: &Domain,
        transactions: Vec<Bytes>,
    ) -> Vec<Result<CheckedTransaction, TransactionError>> {
        let count = transactions.len() as u64;
        self.asked += count;
        let context = [position(&mut self.domains, domain)];
        let key = |bytes: &Bytes| key("regatta simulated transaction v1", &context, bytes);
        let keys: Vec<[u8; 32]> = transactions.iter().map(key).collect();
        let known: Option<Vec<_>> = keys.iter().map(|key| self.transactions.get(key)).collect();
        known.unwrap_or_else(|| {
            self.computed += count;
            let results = check_transactions(domain, transactions, &mut self.keys, &mut self.rng);
            for (key, result) in keys.into_iter().zip(&results) {
                self.transactions.put(key, result.clone());
            }
            results
        })
    }
}

fn is_signed(bytes: &[u8]) -> bool {
    View::parse(bytes).is_ok_and(|view| view.sender().is_some())
}

/// Where `value` stands in `seen`, at its end when it is new.
fn position<T: PartialEq + Clone>(seen: &mut Vec<T>, value: &T) -> u64 {
    let found = seen.iter().position(|other| other == value);
    found.unwrap_or_else(|| {
        seen.push(value.clone());
        seen.len() - 1
    }) as u64
}

fn key(purpose: &str, context: &[u64], bytes: &[u8]) -> [u8; 32] {
    let context: Vec<u8> = context.iter().flat_map(|part| part.to_be_bytes()).collect();
    Digest::of(purpose, &[&context, bytes]).0
}

fn claim_key(claim: &SignatureClaim) -> [u8; 32] {
    let parts: [&[u8]; 3] = [&claim.key.0, &claim.signature.0, &claim.message];
    Digest::of("regatta simulated claim v1", &parts).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::{SecretKey, seed};

    fn claim(seed: u8, message: &[u8], signed: &[u8]) -> SignatureClaim {
        let secret = SecretKey::from_seed([seed; 32]);
        SignatureClaim {
            key: secret.public(),
            message: message.to_vec(),
            signature: secret.sign(signed),
        }
    }

    #[test]
    fn a_claim_is_checked_once_and_a_forged_one_is_not_taken_for_it() {
        let mut work = Work::new(seed::rng(1, "test"));
        let (good, forged) = (claim(1, b"a", b"a"), claim(1, b"b", b"a"));
        assert_eq!(work.claims(&[good.clone(), forged.clone()]), [true, false]);
        assert_eq!(work.claims(&[forged, good]), [false, true]);
        assert_eq!((work.asked, work.computed), (4, 2));
    }

    #[test]
    fn what_is_asked_for_again_outlives_a_generation() {
        let mut answers = Answers::new(4);
        let key = |n: u8| [n; 32];
        for n in 0..20 {
            answers.put(key(n), n);
            assert_eq!(answers.get(&key(0)), Some(0));
            assert!(answers.young.len() + answers.old.len() <= 8);
        }
        assert_eq!(answers.get(&key(1)), None);
    }
}
