//! One lane a target: due transactions wait here for a free request and leave in batches.

use crate::load::{LoadLimits, tracker::Answer, tracker::Tracker};
use regatta_api::view::{SubmitRequest, SubmitResponse};
use regatta_base::{HexBytes, InstanceId};
use regatta_client::{Client, ClientError};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};
use tokio::{sync::Notify, task::spawn_local};

/// Most transactions in one request, whatever their size.
const REQUEST_TRANSACTIONS_MAX: usize = 4096;
/// Bytes that the encoding adds to a transaction, at most.
const ENVELOPE_BYTES: usize = 5;

/// The queue of one target.
pub(crate) struct Lane {
    client: Client,
    queue: RefCell<VecDeque<(u32, HexBytes)>>,
    queued_bytes: Cell<usize>,
    requests: Cell<usize>,
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

impl Lanes {
    pub(crate) fn new(clients: Vec<Client>, instance: InstanceId, limits: LoadLimits, tracker: Tracker) -> Self {
        let lane = |client| Lane {
            client,
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            requests: Cell::new(0),
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

    /// Sends what waits in `lane`, as far as free requests go.
    pub(crate) fn flush(self: &Rc<Self>, lane: usize) {
        let target = &self.lanes[lane];
        while target.requests.get() < self.limits.requests_in_flight {
            let batch = self.batch(target);
            if batch.indices.is_empty() {
                break;
            }
            target.requests.set(target.requests.get() + 1);
            // Entered here and not in the task: what left the queue is open from this moment on.
            let sent_ns = self.tracker.borrow().now_ns();
            self.tracker.borrow_mut().sent(&batch.indices, sent_ns);
            spawn_local(Rc::clone(self).deliver(lane, batch, sent_ns));
        }
    }

    async fn deliver(self: Rc<Self>, lane: usize, batch: Batch, sent_ns: u64) {
        let target = &self.lanes[lane];
        let answer = target.client.submit(&batch.request).await;
        self.book(&batch, sent_ns, answer);
        target.requests.set(target.requests.get() - 1);
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
