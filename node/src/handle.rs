//! What the rest of the process may ask of a running node, from any thread.

use crate::{meter::Meter, p2p::PeerBoard, times::BlockTimes, trouble::Trouble, upgrade::Porter};
use bytes::Bytes;
use regatta_api::testing::{Direction, LinkShape, NodeFaults};
use regatta_api::view::{BlockSummary, BlockView, Latest, PeerView, Readiness, StatusEvent, SubmitResult};
use regatta_base::{Height, InstanceId};
use regatta_core::{Node, PeerIndex, StoredBlock};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Most requests that wait for the loop.
const REQUESTS_MAX: usize = 1024;
/// Most bytes of transactions that are submitted and not answered yet.
const SUBMITTED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events that a slow subscriber may be behind before it loses some.
const SUBSCRIBER_LAG_MAX: usize = 1024;
/// Most blocks that are read from the journal for clients at a time.
const BLOCK_LOADS_MAX: usize = 4;

/// The node takes no more submissions now: its queue is full or it is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node's submission queue is full; help: send slower and try again")]
pub struct Busy;

/// The node is stopping or has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

/// Reads a stored block by the position of its instance and its height.
pub(crate) type LoadBlock = dyn Fn(usize, Height) -> Option<StoredBlock> + Send + Sync;

/// What the loop is asked to do.
pub(crate) enum Request {
    /// Take these transactions and answer when they are durable.
    Submit {
        instance: Option<InstanceId>,
        transactions: Vec<Bytes>,
        answer: SubmitAnswer,
    },
    /// Run this with the core.
    Read(Box<dyn FnOnce(&Node) + Send>),
}

/// Where the results of one submission go; holds its share of the byte limit until then.
pub(crate) struct SubmitAnswer {
    results: oneshot::Sender<Vec<SubmitResult>>,
    _share: OwnedSemaphorePermit,
}

impl SubmitAnswer {
    /// Answers; a client that has gone away is no error.
    pub(crate) fn send(self, results: Vec<SubmitResult>) {
        let _ = self.results.send(results);
    }
}

/// A handle to a running node; clones are cheap.
#[derive(Clone)]
pub struct NodeHandle(Arc<Inner>);

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeHandle")
    }
}

struct Inner {
    requests: mpsc::Sender<Request>,
    submitted: Arc<Semaphore>,
    loads: Semaphore,
    statuses: broadcast::Sender<Arc<StatusEvent>>,
    blocks: broadcast::Sender<Arc<BlockSummary>>,
    times: BlockTimes,
    meter: Arc<Meter>,
    peers: Arc<PeerBoard>,
    load: Arc<LoadBlock>,
    trouble: Arc<Trouble>,
    /// Where the node follows releases.
    porter: OnceLock<Porter>,
    stop: CancellationToken,
}

impl NodeHandle {
    pub(crate) fn new(
        meter: Arc<Meter>,
        peers: Arc<PeerBoard>,
        load: Arc<LoadBlock>,
        trouble: Arc<Trouble>,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let inner = Inner {
            requests,
            submitted: Arc::new(Semaphore::new(SUBMITTED_BYTES_MAX)),
            loads: Semaphore::new(BLOCK_LOADS_MAX),
            statuses: broadcast::Sender::new(SUBSCRIBER_LAG_MAX),
            blocks: broadcast::Sender::new(SUBSCRIBER_LAG_MAX),
            times: BlockTimes::default(),
            meter,
            peers,
            load,
            trouble,
            porter: OnceLock::new(),
            stop,
        };
        (Self(Arc::new(inner)), receiver)
    }

    /// Submits transactions to an instance (the first one when `None`) and waits until those that were
    /// accepted are durable.
    ///
    /// # Errors
    /// [`Busy`] at once when the queue is full, and when the node stops before it answers.
    pub async fn submit(
        &self,
        instance: Option<InstanceId>,
        transactions: Vec<Bytes>,
    ) -> Result<Vec<SubmitResult>, Busy> {
        let bytes: usize = transactions.iter().map(Bytes::len).sum();
        let share = u32::try_from(bytes).map_err(|_| Busy)?;
        let share = Arc::clone(&self.0.submitted)
            .try_acquire_many_owned(share)
            .map_err(|_| Busy)?;
        let (results, receiver) = oneshot::channel();
        let answer = SubmitAnswer { results, _share: share };
        let request = Request::Submit {
            instance,
            transactions,
            answer,
        };
        self.0.requests.try_send(request).map_err(|_| Busy)?;
        receiver.await.map_err(|_| Busy)
    }

    /// Runs `read` with the core, on the loop's thread, and returns its result. Keep it short.
    ///
    /// # Errors
    /// [`Stopped`] when the node is stopping.
    pub async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Node) -> T + Send + 'static) -> Result<T, Stopped> {
        let (sender, receiver) = oneshot::channel();
        let run = Box::new(move |node: &Node| {
            let _ = sender.send(read(node));
        });
        self.0.requests.send(Request::Read(run)).await.map_err(|_| Stopped)?;
        receiver.await.map_err(|_| Stopped)
    }

    /// A decided block with its transactions and certificate, read from the journal; `None` when there is none.
    pub async fn block(&self, instance: Option<InstanceId>, height: Height) -> Option<BlockView> {
        let _turn = self.0.loads.acquire().await.ok()?;
        let wanted = instance.clone();
        let index = self
            .read(move |node| node.instance_index(wanted.as_ref()))
            .await
            .ok()??;
        let load = Arc::clone(&self.0.load);
        let stored = tokio::task::spawn_blocking(move || load(index, height)).await.ok()??;
        self.read(move |node| node.block(instance.as_ref(), height, &stored))
            .await
            .ok()?
    }

    /// Events of every block from now on: what it did to transactions submitted here.
    #[must_use]
    pub fn subscribe_statuses(&self) -> broadcast::Receiver<Arc<StatusEvent>> {
        self.0.statuses.subscribe()
    }

    /// Short forms of every block executed from now on.
    #[must_use]
    pub fn subscribe_blocks(&self) -> broadcast::Receiver<Arc<BlockSummary>> {
        self.0.blocks.subscribe()
    }

    /// The node's counters, for whoever counts.
    #[must_use]
    pub fn metrics(&self) -> &Meter {
        &self.0.meter
    }

    /// All metrics in the text format of Prometheus, with gauges of this moment.
    ///
    /// # Errors
    /// [`Stopped`] when the node is stopping.
    pub async fn render_metrics(&self) -> Result<String, Stopped> {
        for (metric, value) in self.read(Node::gauges).await? {
            self.0.meter.set(metric, value);
        }
        Ok(self.0.meter.render_prometheus())
    }

    /// One row for each configured peer.
    #[expect(clippy::unused_async, reason = "callers treat all questions alike")]
    pub async fn peers(&self) -> Vec<PeerView> {
        self.0.peers.views()
    }

    /// Cuts and shapes these links, by the position of the peer in the configuration, and heals all others.
    pub(crate) fn set_link_faults(&self, cuts: Vec<(PeerIndex, Direction)>, shapes: BTreeMap<PeerIndex, LinkShape>) {
        self.0.peers.shaper().change(shapes);
        self.0.peers.cuts().set(cuts);
    }

    /// Makes exactly these faults of clock and disk.
    pub(crate) async fn set_node_faults(&self, faults: &NodeFaults) -> Result<(), Stopped> {
        self.0.trouble.set(faults);
        // The loop waits by the clock as it was.
        self.read(|_| ()).await
    }

    /// Lets clients bring releases.
    pub(crate) fn set_porter(&self, porter: Porter) {
        // A node has one in its life.
        let _ = self.0.porter.set(porter);
    }

    /// Who keeps releases; nobody where no key is trusted.
    pub(crate) fn porter(&self) -> Option<&Porter> {
        self.0.porter.get()
    }

    #[cfg(test)]
    pub(crate) fn peer_board(&self) -> &PeerBoard {
        &self.0.peers
    }

    /// Whether the node takes transactions, and what it waits for otherwise.
    ///
    /// # Errors
    /// [`Stopped`] when the node is stopping.
    pub async fn readiness(&self) -> Result<Readiness, Stopped> {
        let (catching_up, waiting_for) = self.read(Node::readiness).await?;
        let (peers_connected, peers_configured) = self.0.peers.counts();
        Ok(Readiness {
            ready: !catching_up && waiting_for.is_empty(),
            peers_connected,
            peers_configured,
            catching_up,
            waiting_for,
        })
    }

    /// How far the node is in each instance.
    ///
    /// # Errors
    /// [`Stopped`] when the node is stopping.
    pub async fn latest(&self) -> Result<Latest, Stopped> {
        self.read(Node::latest).await
    }

    /// Cancelled when the node is to stop; cancelling it stops the node.
    #[must_use]
    pub fn stop_token(&self) -> &CancellationToken {
        &self.0.stop
    }

    pub(crate) fn publish_status(&self, event: StatusEvent) {
        if self.0.statuses.receiver_count() > 0 {
            // Fails only when the last subscriber has left in between.
            let _ = self.0.statuses.send(Arc::new(event));
        }
    }

    /// When this node told of at most `count` blocks from height `from` on: nanoseconds of the host's monotonic clock.
    #[must_use]
    pub fn block_times(&self, instance: &InstanceId, from: Height, count: usize) -> Vec<(Height, u64)> {
        self.0.times.range(instance, from, count)
    }

    pub(crate) fn publish_block(&self, block: BlockSummary) {
        self.0.times.note(&block.instance, block.height);
        if self.0.blocks.receiver_count() > 0 {
            let _ = self.0.blocks.send(Arc::new(block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn handle() -> (NodeHandle, mpsc::Receiver<Request>) {
        let meter = Arc::new(Meter::default());
        let peers = Arc::new(PeerBoard::new(&[], Arc::clone(&meter)));
        NodeHandle::new(
            meter,
            peers,
            Arc::new(|_, _| None),
            Arc::default(),
            CancellationToken::new(),
        )
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_at_once() {
        let (handle, mut requests) = handle();
        let mut waiting: Vec<_> = (0..REQUESTS_MAX)
            .map(|_| Box::pin(handle.submit(None, vec![Bytes::from_static(b"tx")])))
            .collect();
        for submission in &mut waiting {
            assert!(submission.now_or_never().is_none());
        }
        assert_eq!(handle.submit(None, Vec::new()).now_or_never(), Some(Err(Busy)));
        drop(requests.recv().await);
        assert_eq!(handle.submit(None, Vec::new()).now_or_never(), None);
    }

    #[tokio::test]
    async fn bytes_count_until_they_are_answered() {
        let (handle, mut requests) = handle();
        let half = Bytes::from(vec![0; SUBMITTED_BYTES_MAX / 2]);
        let mut first = Box::pin(handle.submit(None, vec![half.clone(), half.clone()]));
        assert!((&mut first).now_or_never().is_none());
        assert_eq!(
            handle.submit(None, vec![Bytes::from_static(b"x")]).now_or_never(),
            Some(Err(Busy))
        );
        let Some(Request::Submit {
            answer, transactions, ..
        }) = requests.recv().await
        else {
            panic!("no submission");
        };
        assert_eq!(transactions.len(), 2);
        answer.send(Vec::new());
        assert_eq!(first.await, Ok(Vec::new()));
        assert_eq!(handle.submit(None, vec![half]).now_or_never(), None);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_loop_that_has_ended() {
        let (handle, requests) = handle();
        drop(requests);
        assert_eq!(handle.submit(None, Vec::new()).await, Err(Busy));
        assert_eq!(handle.read(|_| ()).await, Err(Stopped));
        assert_eq!(handle.readiness().await, Err(Stopped));
    }
}
