//! Transactions that were accepted here and are not executed yet.

use super::short_map::{Salt, ShortMap, short};
use crate::event::Time;
use regatta_api::{Reject, config::MempoolConfig};
use regatta_apps::CheckedTransaction;
use regatta_base::{PublicKey, TransactionId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Which result of which submission a transaction answers.
pub(crate) type Slot = (u64, u32);

/// Second submissions of pending transactions whose answers may wait; beyond it they are not acknowledged.
const ECHOES_MAX: usize = 65_536;

/// A transaction that waits to be put into a batch.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) transaction: CheckedTransaction,
    /// `None` when nobody waits for the answer any more.
    pub(crate) slot: Option<Slot>,
}

/// A transaction that was accepted and not executed.
#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    bytes: u32,
    /// Whether a client of this node waits for its outcome.
    watched: bool,
}

/// A second submission of a pending transaction: whoever lost the first answer takes this one for it, so that it must
/// not come before the transaction is in a batch.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) id: TransactionId,
    pub(crate) slot: Slot,
    /// So many transactions have to leave the queue before.
    after: u64,
}

/// Bounded set of pending transactions, with the queue of those not yet in a batch.
#[derive(Debug, Default)]
pub(crate) struct Mempool {
    limits: MempoolConfig,
    queue: VecDeque<Waiting>,
    queue_bytes: usize,
    queued_since: Option<Time>,
    /// Transactions that left the queue so far.
    cut: u64,
    echoes: VecDeque<Echo>,
    pending: ShortMap<Pending>,
    pending_bytes: usize,
    senders: BTreeMap<PublicKey, BTreeSet<u64>>,
}

impl Mempool {
    pub(crate) fn new(limits: MempoolConfig, salt: Salt) -> Self {
        Self {
            limits,
            pending: ShortMap::new(salt),
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(crate) fn contains(&self, id: &TransactionId) -> bool {
        self.pending.contains(short(id))
    }

    /// The sender's highest pending sequence number.
    pub(crate) fn highest_sequence(&self, sender: &PublicKey) -> u64 {
        self.senders
            .get(sender)
            .and_then(|numbers| numbers.last().copied())
            .unwrap_or(0)
    }

    /// Takes a transaction in, or says why not. `watched`: a client of this node waits for its outcome.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        transaction: CheckedTransaction,
        slot: Slot,
        watched: bool,
    ) -> Result<(), Reject> {
        if self.contains(&transaction.id) {
            return Err(Reject::Duplicate);
        }
        if self.pending.len() >= self.limits.transactions_max
            || self.pending_bytes + transaction.bytes.len() > self.limits.bytes_max
        {
            return Err(Reject::MempoolFull);
        }
        if let Some((sender, sequence)) = transaction.sender
            && let Some(numbers) = self.senders.get(&sender)
        {
            if numbers.contains(&sequence) {
                return Err(Reject::StaleSequence);
            }
            if numbers.len() >= self.limits.per_sender_max {
                return Err(Reject::SenderLimit);
            }
        }
        self.note_pending(&transaction, watched);
        self.enqueue(
            now,
            Waiting {
                transaction,
                slot: Some(slot),
            },
        );
        Ok(())
    }

    /// Keeps the answer to a second submission of a pending transaction; `false` when too many wait.
    pub(crate) fn echo(&mut self, id: TransactionId, slot: Slot) -> bool {
        let has_room = self.echoes.len() < ECHOES_MAX;
        if has_room {
            let after = self.cut + self.queue.len() as u64;
            self.echoes.push_back(Echo { id, slot, after });
        }
        has_room
    }

    /// The next second submission whose transaction is in a batch by now.
    pub(crate) fn next_echo(&mut self) -> Option<Echo> {
        self.echoes.pop_front_if(|echo| echo.after <= self.cut)
    }

    fn enqueue(&mut self, now: Time, waiting: Waiting) {
        self.queue_bytes += waiting.transaction.bytes.len();
        self.queued_since.get_or_insert(now);
        self.queue.push_back(waiting);
    }

    /// Counts a transaction as pending without queueing it: it is in an own batch that the journal kept.
    pub(crate) fn mark_pending(&mut self, transaction: &CheckedTransaction) {
        self.note_pending(transaction, false);
    }

    fn note_pending(&mut self, transaction: &CheckedTransaction, watched: bool) {
        let bytes = transaction.bytes.len() as u32;
        if self.pending.add(short(&transaction.id), Pending { bytes, watched }) {
            self.pending_bytes += transaction.bytes.len();
        }
        if let Some((sender, sequence)) = transaction.sender {
            self.senders.entry(sender).or_default().insert(sequence);
        }
    }

    /// Queues a pending transaction again, because its batch can no longer be ordered.
    pub(crate) fn requeue(&mut self, now: Time, transaction: CheckedTransaction) {
        self.mark_pending(&transaction);
        self.enqueue(
            now,
            Waiting {
                transaction,
                slot: None,
            },
        );
    }

    /// Bytes that wait to be put into a batch.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Since when the oldest of them waits.
    pub(crate) fn queued_since(&self) -> Option<Time> {
        self.queued_since
    }

    /// Takes from the front of the queue what fits into `bytes_max`, at least one transaction if any.
    pub(crate) fn cut(&mut self, now: Time, bytes_max: usize) -> Vec<Waiting> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(front) = self.queue.front() {
            bytes += front.transaction.bytes.len() + 4;
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            let Some(waiting) = self.queue.pop_front() else { break };
            self.queue_bytes -= waiting.transaction.bytes.len();
            self.cut += 1;
            taken.push(waiting);
        }
        self.queued_since = if self.queue.is_empty() { None } else { Some(now) };
        taken
    }

    /// Forgets a transaction that was executed, here or in another validator's batch; says whether a client of this
    /// node waits for its outcome.
    pub(crate) fn executed(&mut self, id: &TransactionId, sender: Option<(PublicKey, u64)>) -> bool {
        let Some(Pending { bytes, watched }) = self.pending.remove(short(id)) else {
            return false;
        };
        self.pending_bytes -= bytes as usize;
        if let Some((sender, sequence)) = sender {
            self.forget_sequence(sender, sequence);
        }
        watched
    }

    fn forget_sequence(&mut self, sender: PublicKey, sequence: u64) {
        if let Some(numbers) = self.senders.get_mut(&sender) {
            numbers.remove(&sequence);
            if numbers.is_empty() {
                self.senders.remove(&sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use regatta_base::Digest;

    fn transaction(n: u8, sender: u8, sequence: u64) -> CheckedTransaction {
        CheckedTransaction {
            id: Digest([n; 32]),
            sender: Some((PublicKey([sender; 32]), sequence)),
            bytes: Bytes::from(vec![n; 100]),
        }
    }

    fn mempool(transactions_max: usize, bytes_max: usize, per_sender_max: usize) -> Mempool {
        Mempool::new(
            MempoolConfig {
                transactions_max,
                bytes_max,
                per_sender_max,
            },
            Salt::default(),
        )
    }

    #[test]
    fn each_limit_refuses_with_its_own_reason() {
        let mut pool = mempool(3, 10_000, 2);
        assert_eq!(pool.admit(0, transaction(1, 1, 1), (0, 0), false), Ok(()));
        assert_eq!(
            pool.admit(0, transaction(1, 1, 1), (0, 0), false),
            Err(Reject::Duplicate)
        );
        assert_eq!(
            pool.admit(0, transaction(2, 1, 1), (0, 0), false),
            Err(Reject::StaleSequence)
        );
        assert_eq!(pool.admit(0, transaction(2, 1, 2), (0, 0), false), Ok(()));
        assert_eq!(
            pool.admit(0, transaction(3, 1, 3), (0, 0), false),
            Err(Reject::SenderLimit)
        );
        assert_eq!(pool.admit(0, transaction(3, 2, 1), (0, 0), false), Ok(()));
        assert_eq!(
            pool.admit(0, transaction(4, 3, 1), (0, 0), false),
            Err(Reject::MempoolFull)
        );
        let mut small = mempool(10, 150, 10);
        assert_eq!(small.admit(0, transaction(1, 1, 1), (0, 0), false), Ok(()));
        assert_eq!(
            small.admit(0, transaction(2, 1, 2), (0, 0), false),
            Err(Reject::MempoolFull)
        );
    }

    #[test]
    fn execution_frees_everything_that_admission_took() {
        let mut pool = mempool(10, 10_000, 10);
        for n in 0..5 {
            pool.admit(7, transaction(n, 1, u64::from(n) + 1), (0, u32::from(n)), false)
                .unwrap();
        }
        assert_eq!(
            (pool.len(), pool.bytes(), pool.highest_sequence(&PublicKey([1; 32]))),
            (5, 500, 5)
        );
        let first = pool.cut(8, 250);
        assert_eq!(
            (first.len(), pool.queue_bytes(), pool.queued_since()),
            (2, 300, Some(8))
        );
        let rest = pool.cut(9, 10_000);
        assert_eq!((rest.len(), pool.queue_bytes(), pool.queued_since()), (3, 0, None));
        for waiting in first.iter().chain(&rest) {
            pool.executed(&waiting.transaction.id, waiting.transaction.sender);
        }
        assert_eq!((pool.len(), pool.bytes(), pool.senders.len()), (0, 0, 0));
    }

    #[test]
    fn a_second_submission_waits_until_what_was_queued_before_it_is_cut() {
        let mut pool = mempool(10, 10_000, 10);
        for n in 0..3 {
            pool.admit(0, transaction(n, 1, u64::from(n) + 1), (1, 0), false)
                .unwrap();
        }
        assert!(pool.echo(Digest([1; 32]), (2, 0)));
        pool.cut(0, 250);
        assert!(pool.next_echo().is_none(), "one is still queued");
        pool.cut(0, 250);
        assert!(pool.next_echo().is_some_and(|echo| echo.slot == (2, 0)));
        assert!(
            pool.echo(Digest([1; 32]), (3, 0)) && pool.next_echo().is_some(),
            "all are in batches"
        );
        assert!((0..ECHOES_MAX).all(|_| pool.echo(Digest([1; 32]), (4, 0))));
        assert!(!pool.echo(Digest([1; 32]), (4, 0)));
    }

    #[test]
    fn one_transaction_larger_than_a_batch_still_goes_out() {
        let mut pool = mempool(10, 10_000, 10);
        pool.admit(0, transaction(1, 1, 1), (0, 0), false).unwrap();
        assert_eq!(pool.cut(0, 10).len(), 1);
    }

    #[test]
    fn a_requeued_transaction_is_not_counted_twice() {
        let mut pool = mempool(10, 10_000, 10);
        pool.mark_pending(&transaction(1, 1, 1));
        pool.requeue(3, transaction(1, 1, 1));
        assert_eq!(
            (pool.len(), pool.bytes(), pool.queue_bytes(), pool.queued_since()),
            (1, 100, 100, Some(3))
        );
    }
}
