//! Submitted transactions on their way to a validator's disk, and the answers that wait for it.

use super::{
    mempool::Slot,
    short_map::{Salt, ShortMap, short},
};
use crate::{
    event::{PeerIndex, RequestId, Time},
    record::RecordNumber,
};
use bytes::Bytes;
use regatta_api::{Reject, view::SubmitResult};
use regatta_base::TransactionId;
use std::collections::{BTreeMap, VecDeque};

/// How long the next node has to answer a forwarded submission, in milliseconds.
pub(crate) const FORWARD_TIMEOUT_MS: Time = 3000;
/// How often a submission is forwarded before it is given up.
const FORWARD_ATTEMPTS_MAX: u32 = 3;
/// Submissions that may wait at once; beyond it they are refused.
const SUBMISSIONS_MAX: usize = 20_000;
/// Bytes and transactions that may wait for their check; beyond it submissions are refused.
const UNCHECKED_BYTES_MAX: usize = 64 * 1024 * 1024;
const UNCHECKED_TRANSACTIONS_MAX: usize = 400_000;
/// Transactions of clients whose outcome is still to be told.
const WATCHED_MAX: usize = 400_000;

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this node.
    Client(RequestId),
    /// A neighbour that forwarded them, under its own number.
    Peer(PeerIndex, u64),
}

/// An answer that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) origin: Origin,
    pub(crate) results: Vec<SubmitResult>,
    /// The record that has to be durable before.
    pub(crate) after: RecordNumber,
}

#[derive(Debug)]
struct Submission {
    origin: Origin,
    results: Vec<SubmitResult>,
    open: usize,
    after: RecordNumber,
}

/// Transactions that were handed to the next node on the way.
#[derive(Debug)]
pub(crate) struct Forward {
    submission: u64,
    slots: Vec<(u32, TransactionId)>,
    pub(crate) transactions: Vec<Bytes>,
    pub(crate) sent_to: Option<PeerIndex>,
    deadline: Time,
    attempts: u32,
}

/// All submissions of one instance that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Submissions {
    open: BTreeMap<u64, Submission>,
    last_id: u64,
    /// Submissions whose signatures are still to be checked, in order, with the time since when.
    unchecked: VecDeque<(u64, Time, Vec<Bytes>)>,
    unchecked_transactions: usize,
    unchecked_bytes: usize,
    /// How many results of the running job belong to which submission.
    checking: Vec<(u64, usize)>,
    forwards: BTreeMap<u64, Forward>,
    watched: ShortMap<()>,
}

impl Submissions {
    pub(crate) fn new(salt: Salt) -> Self {
        Self {
            watched: ShortMap::new(salt),
            ..Self::default()
        }
    }

    /// Registers a submission; `None` when too many wait already.
    pub(crate) fn open(&mut self, now: Time, origin: Origin, transactions: Vec<Bytes>) -> Option<u64> {
        let bytes: usize = transactions.iter().map(Bytes::len).sum();
        let is_full = self.unchecked_bytes + bytes > UNCHECKED_BYTES_MAX
            || self.unchecked_transactions + transactions.len() > UNCHECKED_TRANSACTIONS_MAX;
        if self.open.len() >= SUBMISSIONS_MAX || is_full {
            return None;
        }
        self.unchecked_bytes += bytes;
        self.last_id += 1;
        let results = vec![
            SubmitResult {
                id: None,
                rejected: None
            };
            transactions.len()
        ];
        let submission = Submission {
            origin,
            open: results.len(),
            results,
            after: 0,
        };
        self.open.insert(self.last_id, submission);
        self.unchecked_transactions += transactions.len();
        self.unchecked.push_back((self.last_id, now, transactions));
        Some(self.last_id)
    }

    /// When the oldest submission has waited `delay` for its check; `None` while a check runs.
    pub(crate) fn check_due_at(&self, delay: Time) -> Option<Time> {
        let (_, since, _) = self.unchecked.front().filter(|_| self.checking.is_empty())?;
        Some(since + delay)
    }

    /// Transactions that wait for their check.
    pub(crate) fn unchecked(&self) -> usize {
        self.unchecked_transactions
    }

    /// The transactions to check next: everything that waits, up to `most`; empty while a check runs.
    pub(crate) fn next_check(&mut self, most: usize) -> Vec<Bytes> {
        let mut all = Vec::new();
        if !self.checking.is_empty() {
            return all;
        }
        while let Some((_, _, transactions)) = self.unchecked.front() {
            if !all.is_empty() && all.len() + transactions.len() > most {
                break;
            }
            let Some((id, _, transactions)) = self.unchecked.pop_front() else {
                break;
            };
            self.checking.push((id, transactions.len()));
            all.extend(transactions);
        }
        self.unchecked_transactions -= all.len();
        self.unchecked_bytes -= all.iter().map(Bytes::len).sum::<usize>();
        all
    }

    /// Which slots the results of the finished check belong to, in their order.
    pub(crate) fn checked(&mut self) -> Vec<Slot> {
        let slots = |(id, count)| (0..count as u32).map(move |slot| (id, slot));
        std::mem::take(&mut self.checking).into_iter().flat_map(slots).collect()
    }

    /// Notes what became of one transaction; returns the answer when it was the last one.
    pub(crate) fn resolve(&mut self, (id, slot): Slot, result: SubmitResult, after: RecordNumber) -> Option<Answer> {
        let submission = self.open.get_mut(&id)?;
        let place = submission.results.get_mut(slot as usize)?;
        *place = result;
        submission.open = submission.open.saturating_sub(1);
        submission.after = submission.after.max(after);
        if submission.open > 0 {
            return None;
        }
        let Submission {
            origin, results, after, ..
        } = self.open.remove(&id)?;
        Some(Answer { origin, results, after })
    }

    pub(crate) fn origin(&self, id: u64) -> Option<Origin> {
        self.open.get(&id).map(|submission| submission.origin)
    }

    /// Hands checked transactions of one submission on; returns the number of the forward.
    pub(crate) fn forward(
        &mut self,
        submission: u64,
        slots: Vec<(u32, TransactionId)>,
        transactions: Vec<Bytes>,
    ) -> u64 {
        self.last_id += 1;
        let forward = Forward {
            submission,
            slots,
            transactions,
            sent_to: None,
            deadline: 0,
            attempts: 0,
        };
        self.forwards.insert(self.last_id, forward);
        self.last_id
    }

    /// Notes that a forward was sent (or could not be) and will be looked at again.
    pub(crate) fn forward_sent(&mut self, id: u64, to: Option<PeerIndex>, now: Time) {
        if let Some(forward) = self.forwards.get_mut(&id) {
            forward.sent_to = to.or(forward.sent_to);
            forward.attempts += 1;
            forward.deadline = now + FORWARD_TIMEOUT_MS;
        }
    }

    pub(crate) fn get_forward(&self, id: u64) -> Option<&Forward> {
        self.forwards.get(&id)
    }

    /// Forwards that have to be sent again: their time is up, or they were sent to `down`.
    pub(crate) fn due(&self, now: Time, down: Option<PeerIndex>) -> Vec<u64> {
        let is_due = |forward: &Forward| forward.deadline <= now || (down.is_some() && forward.sent_to == down);
        self.forwards
            .iter()
            .filter(|(_, forward)| is_due(forward))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Whether a forward has used up its attempts.
    pub(crate) fn is_spent(&self, id: u64) -> bool {
        self.forwards
            .get(&id)
            .is_some_and(|forward| forward.attempts >= FORWARD_ATTEMPTS_MAX)
    }

    pub(crate) fn has_forwards(&self) -> bool {
        !self.forwards.is_empty()
    }

    /// Ends a forward with the next node's results; missing ones count as not acknowledged. `from` must be
    /// whom it was sent to, or `None` when it is given up.
    pub(crate) fn finish_forward(
        &mut self,
        id: u64,
        from: Option<PeerIndex>,
        results: &[SubmitResult],
    ) -> Vec<(Slot, SubmitResult)> {
        let expected = self
            .forwards
            .get(&id)
            .is_some_and(|forward| from.is_none() || forward.sent_to == from);
        if !expected {
            return Vec::new();
        }
        let Some(forward) = self.forwards.remove(&id) else {
            return Vec::new();
        };
        let lost = SubmitResult {
            id: None,
            rejected: Some(Reject::NoAcknowledgement),
        };
        let result = |position: usize, id: TransactionId| {
            let mut rejected = results.get(position).unwrap_or(&lost).rejected;
            // The first attempt did arrive; only its answer was lost.
            if forward.attempts > 1 && rejected == Some(Reject::Duplicate) {
                rejected = None;
            }
            SubmitResult { id: Some(id), rejected }
        };
        let slots = forward.slots.iter().enumerate();
        slots
            .map(|(i, &(slot, id))| ((forward.submission, slot), result(i, id)))
            .collect()
    }

    /// Remembers that a client of this node wants to know the outcome of what travels on; `false` when too many do.
    pub(crate) fn watch(&mut self, id: &TransactionId) -> bool {
        if self.watched.len() >= WATCHED_MAX {
            return false;
        }
        self.watched.add(short(id), ());
        true
    }

    /// Ends the watch; says whether there was one.
    pub(crate) fn unwatch(&mut self, id: &TransactionId) -> bool {
        !self.watched.is_empty() && self.watched.remove(short(id)).is_some()
    }

    pub(crate) fn is_watched(&self, id: &TransactionId) -> bool {
        self.watched.contains(short(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::Digest;

    const ACCEPTED: SubmitResult = SubmitResult {
        id: None,
        rejected: None,
    };

    fn rejected(reason: Reject) -> SubmitResult {
        SubmitResult {
            id: None,
            rejected: Some(reason),
        }
    }

    fn two(submissions: &mut Submissions, origin: Origin) -> u64 {
        submissions
            .open(0, origin, vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")])
            .unwrap()
    }

    #[test]
    fn what_waits_for_its_check_is_bounded_in_bytes_and_in_number() {
        let mut submissions = Submissions::default();
        let megabyte = Bytes::from(vec![0; 1024 * 1024]);
        let open = |submissions: &mut Submissions, list| submissions.open(0, Origin::Client(1), list).is_some();
        assert!((0..64).all(|_| open(&mut submissions, vec![megabyte.clone()])));
        assert!(!open(&mut submissions, vec![Bytes::from_static(b"a")]));
        assert_eq!(submissions.next_check(1).len(), 1);
        assert!(
            open(&mut submissions, vec![Bytes::from_static(b"a")]),
            "there is room again"
        );
        let mut submissions = Submissions::default();
        assert!(open(&mut submissions, vec![Bytes::new(); UNCHECKED_TRANSACTIONS_MAX]));
        assert!(!open(&mut submissions, vec![Bytes::new()]));
    }

    #[test]
    fn an_answer_waits_for_its_last_result_and_the_newest_record() {
        let mut submissions = Submissions::default();
        let id = two(&mut submissions, Origin::Client(9));
        assert_eq!(submissions.resolve((id, 1), ACCEPTED, 7), None);
        let answer = submissions.resolve((id, 0), rejected(Reject::Duplicate), 3).unwrap();
        assert_eq!((answer.origin, answer.after), (Origin::Client(9), 7));
        assert_eq!(answer.results, [rejected(Reject::Duplicate), ACCEPTED]);
        assert_eq!(submissions.resolve((id, 0), ACCEPTED, 9), None, "answered once");
    }

    #[test]
    fn submissions_are_checked_together_and_told_apart() {
        let mut submissions = Submissions::default();
        let first = two(&mut submissions, Origin::Client(1));
        let second = two(&mut submissions, Origin::Client(2));
        let third = two(&mut submissions, Origin::Client(3));
        assert_eq!((submissions.unchecked(), submissions.check_due_at(7)), (6, Some(7)));
        assert_eq!(submissions.next_check(5).len(), 4);
        assert_eq!((submissions.unchecked(), submissions.check_due_at(7)), (2, None));
        assert_eq!(submissions.next_check(5).len(), 0, "one check at a time");
        assert_eq!(
            submissions.checked(),
            [(first, 0), (first, 1), (second, 0), (second, 1)]
        );
        assert_eq!(submissions.next_check(1).len(), 2, "a large one goes alone");
        assert_eq!(submissions.checked(), [(third, 0), (third, 1)]);
    }

    #[test]
    fn a_forward_is_sent_again_and_given_up_in_the_end() {
        let mut submissions = Submissions::default();
        let id = two(&mut submissions, Origin::Client(1));
        let forward = submissions.forward(id, vec![(1, Digest([7; 32]))], vec![Bytes::from_static(b"b")]);
        submissions.forward_sent(forward, Some(4), 0);
        assert_eq!(submissions.due(10, None), [] as [u64; 0]);
        assert_eq!(submissions.due(10, Some(4)), [forward]);
        assert_eq!(submissions.due(FORWARD_TIMEOUT_MS, None), [forward]);
        submissions.forward_sent(forward, Some(5), 10);
        assert!(!submissions.is_spent(forward));
        submissions.forward_sent(forward, Some(4), 20);
        assert!(submissions.is_spent(forward));
        assert!(
            submissions.finish_forward(forward, Some(5), &[ACCEPTED]).is_empty(),
            "not whom we asked last"
        );
        let results = submissions.finish_forward(forward, None, &[]);
        let expected = SubmitResult {
            id: Some(Digest([7; 32])),
            rejected: Some(Reject::NoAcknowledgement),
        };
        assert_eq!(results, [((id, 1), expected)]);
        assert!(!submissions.has_forwards());
    }

    #[test]
    fn a_duplicate_after_a_lost_answer_is_an_acceptance() {
        let mut submissions = Submissions::default();
        for attempts in 1..=2 {
            let id = two(&mut submissions, Origin::Client(1));
            let forward = submissions.forward(id, vec![(0, Digest([7; 32]))], vec![Bytes::from_static(b"a")]);
            (0..attempts).for_each(|_| submissions.forward_sent(forward, Some(4), 0));
            let results = submissions.finish_forward(forward, Some(4), &[rejected(Reject::Duplicate)]);
            assert_eq!(results[0].1.rejected, (attempts == 1).then_some(Reject::Duplicate));
        }
    }

    #[test]
    fn an_outcome_is_told_once() {
        let mut submissions = Submissions::default();
        let id = Digest([1; 32]);
        assert!(!submissions.unwatch(&id));
        assert!(submissions.watch(&id) && submissions.is_watched(&id));
        assert!(submissions.unwatch(&id) && !submissions.unwatch(&id));
    }
}
