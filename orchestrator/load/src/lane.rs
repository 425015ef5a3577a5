//! One lane a target: due transactions wait here for a free request and leave in batches.

use crate::{LoadLimits, tracker::Answer, tracker::Tracker};
use regatta_api::view::{SubmitRequest, SubmitResponse};
use regatta_base::{HexBytes, InstanceId};
use regatta_client::{Client, ClientError};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};
use tokio::{sync::Notify, task::spawn_local, time::sleep};

/// Most transactions in one request, whatever their size.
const REQUEST_TRANSACTIONS_MAX: usize = 4096;
/// Bytes that the encoding adds to a transaction, at most.
const ENVELOPE_BYTES: usize = 5;
/// Requests in flight up to which a lane sends at once.
const PROMPT_REQUESTS: usize = 192;
/// Beyond them it waits for a 64th of the age of the oldest one between two requests.
///
/// Requests in flight then grow with the logarithm of a stall and not with its length: by 64 each time that it grows
/// by a factor of e. What that adds to the lag is at most 1.6 % of the time that the target takes to answer.
const AGE_SHARE: u64 = 64;

/// The queue of one target.
pub(crate) struct Lane {
    client: Client,
    queue: RefCell<VecDeque<(u32, HexBytes)>>,
    queued_bytes: Cell<usize>,
    /// When each request in flight was sent, with its number.
    requests: RefCell<BTreeSet<(u64, u64)>>,
    last_ns: Cell<u64>,
    sent: Cell<u64>,
    /// A task will flush this lane at its time.
    deferred: Cell<bool>,
}

/// All lanes of a load with its books.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    instance: InstanceId,
    limits: LoadLimits,
    pub(crate) tracker: RefCell<Tracker>,
    /// Told whenever an answer or a status may have closed the last open transaction.
    pub(crate) changed: Notify,
}

/// One request's worth of transactions.
struct Batch {
    indices: Vec<u32>,
    request: SubmitRequest,
}

impl Lane {
    /// A request leaves now; gives back its name.
    fn opened(&self, sent_ns: u64) -> (u64, u64) {
        let request = (sent_ns, self.sent.get());
        self.sent.set(request.1 + 1);
        self.last_ns.set(sent_ns);
        self.requests.borrow_mut().insert(request);
        request
    }

    /// When the next request may leave.
    fn next_ns(&self) -> u64 {
        let requests = self.requests.borrow();
        match requests.first() {
            Some(&(oldest_ns, _)) if requests.len() > PROMPT_REQUESTS => next_ns(self.last_ns.get(), oldest_ns),
            _ => 0,
        }
    }
}

/// The instant t at which t - `last_ns` reaches its share of t - `oldest_ns`.
fn next_ns(last_ns: u64, oldest_ns: u64) -> u64 {
    last_ns + last_ns.saturating_sub(oldest_ns) / (AGE_SHARE - 1)
}

impl Lanes {
    pub(crate) fn new(clients: Vec<Client>, instance: InstanceId, limits: LoadLimits, tracker: Tracker) -> Self {
        let lane = |client| Lane {
            client,
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            requests: RefCell::default(),
            last_ns: Cell::new(0),
            sent: Cell::new(0),
            deferred: Cell::new(false),
        };
        Self {
            lanes: clients.into_iter().map(lane).collect(),
            instance,
            limits,
            tracker: RefCell::new(tracker),
            changed: Notify::new(),
        }
    }

    /// The client of lane `lane`.
    pub(crate) fn client(&self, lane: usize) -> &Client {
        &self.lanes[lane].client
    }

    /// Number of lanes.
    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Queues due transaction `index`, or counts it as not sent when the queue is at its bound.
    pub(crate) fn offer(&self, lane: usize, index: u32, bytes: HexBytes) {
        let lane = &self.lanes[lane];
        let queued = lane.queued_bytes.get() + bytes.0.len();
        if queued > self.limits.backlog_bytes {
            self.tracker.borrow_mut().not_sent(index as usize, "backlog_full");
        } else {
            lane.queued_bytes.set(queued);
            lane.queue.borrow_mut().push_back((index, bytes));
        }
    }

    /// Whether nothing waits for a free request.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.queue.borrow().is_empty())
    }

    /// Counts whatever still waits as not sent.
    pub(crate) fn give_up(&self) {
        for lane in &self.lanes {
            for (index, _) in lane.queue.borrow_mut().drain(..) {
                self.tracker.borrow_mut().not_sent(index as usize, "backlog");
            }
        }
    }

    /// The next request of a lane; transactions that waited longer than they may take are not sent any more.
    fn batch(&self, lane: &Lane) -> Batch {
        let mut tracker = self.tracker.borrow_mut();
        let oldest_ns = tracker.now_ns().saturating_sub(tracker.timeout_ns());
        let (mut queue, mut indices, mut transactions, mut bytes) =
            (lane.queue.borrow_mut(), Vec::new(), Vec::new(), 0);
        while let Some((index, transaction)) = queue.front() {
            let size = transaction.0.len() + ENVELOPE_BYTES;
            let full = bytes + size > self.limits.request_bytes || indices.len() == REQUEST_TRANSACTIONS_MAX;
            if full && !indices.is_empty() {
                break;
            }
            lane.queued_bytes.set(lane.queued_bytes.get() - transaction.0.len());
            if tracker.intended_ns(*index as usize) < oldest_ns {
                tracker.not_sent(*index as usize, "backlog_expired");
                queue.pop_front();
                continue;
            }
            bytes += size;
            indices.push(*index);
            transactions.extend(queue.pop_front().map(|(_, transaction)| transaction));
        }
        Batch {
            indices,
            request: SubmitRequest {
                instance: Some(self.instance.clone()),
                transactions,
            },
        }
    }

    /// Sends what waits in `lane`, as far as its requests in flight allow.
    pub(crate) fn flush(self: &Rc<Self>, lane: usize) {
        let target = &self.lanes[lane];
        if target.queue.borrow().is_empty() {
            return;
        }
        // Read once: what is due now may take several requests.
        let now_ns = self.tracker.borrow().now_ns();
        let wait_ns = target.next_ns().saturating_sub(now_ns);
        if wait_ns > 0 {
            self.flush_later(lane, wait_ns);
            return;
        }
        while target.requests.borrow().len() < self.limits.requests_in_flight {
            let batch = self.batch(target);
            if batch.indices.is_empty() {
                break;
            }
            // Entered here and not in the task: what left the queue is open from this moment on.
            let sent_ns = self.tracker.borrow().now_ns();
            self.tracker.borrow_mut().sent(&batch.indices, sent_ns);
            let request = target.opened(sent_ns);
            spawn_local(Rc::clone(self).deliver(lane, batch, request));
        }
    }

    fn flush_later(self: &Rc<Self>, lane: usize, wait_ns: u64) {
        if self.lanes[lane].deferred.replace(true) {
            return;
        }
        let lanes = Rc::clone(self);
        spawn_local(async move {
            sleep(Duration::from_nanos(wait_ns)).await;
            lanes.lanes[lane].deferred.set(false);
            lanes.flush(lane);
        });
    }

    async fn deliver(self: Rc<Self>, lane: usize, batch: Batch, request: (u64, u64)) {
        let target = &self.lanes[lane];
        let answer = target.client.submit(&batch.request).await;
        self.book(&batch, request.0, answer);
        target.requests.borrow_mut().remove(&request);
        self.flush(lane);
        self.changed.notify_one();
    }

    /// Enters an answer in the books.
    fn book(&self, batch: &Batch, sent_ns: u64, answer: Result<SubmitResponse, ClientError>) {
        let mut tracker = self.tracker.borrow_mut();
        let now_ns = tracker.now_ns();
        let mut all = |answer: Answer<'_>| {
            for &index in &batch.indices {
                tracker.answered(index as usize, sent_ns, now_ns, answer);
            }
        };
        match answer {
            Ok(response) if response.results.len() == batch.indices.len() => {
                for (&index, result) in batch.indices.iter().zip(response.results) {
                    if result.id.is_some_and(|id| !tracker.has_id(index as usize, &id)) {
                        tracker.mismatch();
                    }
                    let answer = result
                        .rejected
                        .map_or(Answer::Accepted, |reject| Answer::Rejected(reject.as_str()));
                    tracker.answered(index as usize, sent_ns, now_ns, answer);
                }
            }
            Ok(_) => {
                all(Answer::Lost);
                tracker.mismatch();
            }
            Err(ClientError::Unreachable { .. }) => all(Answer::Rejected("unreachable")),
            Err(ClientError::Api { error, .. }) => all(Answer::Rejected(&error.code)),
            Err(ClientError::Deadline { .. }) => all(Answer::Silent),
            Err(_) => all(Answer::Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{schedule::Schedule, tests::spec, tracker::Opening};
    use regatta_api::{Reject, view::SubmitResult};
    use regatta_base::{Digest, TransactionId};
    use regatta_client::Client;

    /// Lanes of one target with `count` due transactions of `size` bytes each in the queue.
    fn lanes(count: u32, size: usize, limits: LoadLimits) -> Lanes {
        let spec = spec(1000.0, u64::from(count));
        let mut tracker = Tracker::new(Opening {
            load: 0,
            clock: spec.clock,
            start_ns: spec.clock.now_ns(),
            timeout_ms: 10_000,
            schedule: Schedule::new(&spec).unwrap(),
            height: 0,
        });
        (0..count).for_each(|index| tracker.due(id(index)));
        let client = Client::new("127.0.0.1:9".parse().unwrap());
        let lanes = Lanes::new(vec![client], "main".parse().unwrap(), limits, tracker);
        (0..count).for_each(|index| lanes.offer(0, index, vec![0; size].into()));
        lanes
    }

    fn id(index: u32) -> TransactionId {
        Digest::of("test", &[&index.to_be_bytes()])
    }

    fn limits() -> LoadLimits {
        LoadLimits::default()
    }

    fn close(lanes: &Lanes) -> crate::Tally {
        lanes.tracker.borrow_mut().close(|_| 0).tally.total()
    }

    #[test]
    fn a_request_stays_within_its_bytes_and_keeps_the_order() {
        let limits = LoadLimits {
            request_bytes: 1100,
            ..limits()
        };
        let lanes = lanes(5, 500, limits);
        let mut seen = Vec::new();
        loop {
            let batch = lanes.batch(&lanes.lanes[0]);
            if batch.indices.is_empty() {
                break;
            }
            assert!(batch.indices.len() <= 2);
            assert_eq!(batch.indices.len(), batch.request.transactions.len());
            seen.extend(batch.indices);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert_eq!(lanes.lanes[0].queued_bytes.get(), 0);
        assert!(lanes.is_idle());
    }

    #[test]
    fn a_transaction_larger_than_a_request_still_leaves_alone() {
        let limits = LoadLimits {
            request_bytes: 100,
            ..limits()
        };
        let lanes = lanes(2, 500, limits);
        assert_eq!(lanes.batch(&lanes.lanes[0]).indices, [0]);
        assert_eq!(lanes.batch(&lanes.lanes[0]).indices, [1]);
    }

    #[test]
    fn a_request_has_a_bounded_number_of_transactions() {
        let lanes = lanes(5000, 1, limits());
        assert_eq!(lanes.batch(&lanes.lanes[0]).indices.len(), REQUEST_TRANSACTIONS_MAX);
    }

    #[test]
    fn what_is_offered_beyond_the_backlog_is_not_sent() {
        let limits = LoadLimits {
            backlog_bytes: 1000,
            ..limits()
        };
        let lanes = lanes(5, 400, limits);
        assert_eq!(lanes.batch(&lanes.lanes[0]).indices, [0, 1]);
        lanes.give_up();
        let tally = close(&lanes);
        assert_eq!((tally.not_sent["backlog_full"], tally.not_sent["stopped"]), (3, 2));
        assert_eq!(tally.ended(), 5);
    }

    #[test]
    fn what_is_left_at_the_end_is_not_sent() {
        let lanes = lanes(5, 400, limits());
        lanes.give_up();
        assert!(lanes.is_idle());
        assert_eq!(close(&lanes).not_sent["backlog"], 5);
    }

    fn answer(ids: &[u32], rejected: Option<Reject>) -> SubmitResponse {
        let results = ids.iter().map(|&index| SubmitResult {
            id: Some(id(index)),
            rejected,
        });
        SubmitResponse {
            results: results.collect(),
        }
    }

    /// Books `answer` to a request with all of three transactions.
    fn booked(answer: Result<SubmitResponse, ClientError>) -> (crate::Tally, u64) {
        let lanes = lanes(3, 100, limits());
        let batch = lanes.batch(&lanes.lanes[0]);
        let now_ns = lanes.tracker.borrow().now_ns();
        lanes.tracker.borrow_mut().sent(&batch.indices, now_ns);
        lanes.book(&batch, now_ns, answer);
        let outcome = lanes.tracker.borrow_mut().close(|_| 0);
        assert_eq!(outcome.tally.total().ended(), 3);
        (outcome.tally.total(), outcome.mismatched)
    }

    #[test]
    fn every_kind_of_answer_has_its_place_in_the_books() {
        let address = "127.0.0.1:9".parse().unwrap();
        let path = || "/v1/transactions".to_owned();
        assert_eq!(booked(Ok(answer(&[0, 1, 2], None))).0.timed_out, 3);
        let refused = booked(Ok(answer(&[0, 1, 2], Some(Reject::SenderLimit)))).0;
        assert_eq!(refused.rejected["sender_limit"], 3);
        assert_eq!(booked(Ok(answer(&[0, 2, 1], None))).1, 2);
        let (short, mismatched) = booked(Ok(answer(&[0, 1], None)));
        assert_eq!((short.unknown, mismatched), (3, 1));
        let unreachable = ClientError::Unreachable {
            address,
            reason: String::new(),
        };
        assert_eq!(booked(Err(unreachable)).0.rejected["unreachable"], 3);
        let late = ClientError::Deadline {
            address,
            path: path(),
            after: Duration::ZERO,
        };
        assert_eq!(booked(Err(late)).0.timed_out, 3);
        let broken = ClientError::Transport {
            address,
            path: path(),
            reason: String::new(),
        };
        assert_eq!(booked(Err(broken)).0.unknown, 3);
    }

    /// How many requests are in flight after `stall_ms` without an answer, and the longest wait between two.
    fn stalled(stall_ms: u64) -> (usize, u64) {
        let (mut now, mut sent, mut longest) = (0, vec![0], 0);
        while now < stall_ms * 1_000_000 {
            let last = sent[sent.len() - 1];
            // A run becomes due each millisecond.
            let next = now + 1_000_000;
            now = if sent.len() > PROMPT_REQUESTS {
                next.max(next_ns(last, 0))
            } else {
                next
            };
            longest = longest.max(now - last);
            sent.push(now);
        }
        (sent.len(), longest)
    }

    #[test]
    fn a_long_stall_takes_few_requests_and_adds_little_lag() {
        let limit = LoadLimits::default().requests_in_flight;
        for stall_ms in [10, 100, 1_000, 10_000, 30_000] {
            let (requests, longest_ns) = stalled(stall_ms);
            assert!(requests < limit, "{requests} after {stall_ms} ms");
            assert!(
                longest_ns <= (stall_ms * 1_000_000) / 50 + 1_000_000,
                "{longest_ns} ns after {stall_ms} ms"
            );
        }
        // As prompt as ever for as long as few requests are open.
        assert_eq!(stalled(190).1, 1_000_000);
    }
}
