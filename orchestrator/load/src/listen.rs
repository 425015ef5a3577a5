//! Statuses of each target as they come, and what to do about those that were missed.
//!
//! A subscription that breaks leaves a gap: transactions that were sent through that target may become final
//! unseen. While such transactions are open, the blocks themselves are read from any node that answers.

use crate::{Endpoint, lane::Lanes};
use futures::StreamExt;
use regatta_api::view::{BlockSummary, Outcome, StatusEvent};
use regatta_base::{Height, InstanceId, TransactionId};
use regatta_client::{Client, ClientError, EventStream};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};

/// First and longest pause before a broken subscription is tried again.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Pause between two rounds of reading blocks while transactions of a gap are open.
const RESOLVE_PAUSE: Duration = Duration::from_millis(100);
/// Most blocks that one round reads.
const ROUND_BLOCKS_MAX: u64 = 100_000;

/// What is known of one target's subscription.
#[derive(Debug, Clone, Copy, Default)]
struct Coverage {
    /// Height of the last event.
    height: Height,
    /// Transactions sent before this instant may have become final unseen, in nanoseconds; 0 without a gap.
    blind_until_ns: u64,
    breaks: u64,
}

/// Watches all targets of a load.
pub(crate) struct Watch {
    lanes: Rc<Lanes>,
    instance: InstanceId,
    resolvers: Vec<Client>,
    coverage: RefCell<Vec<Coverage>>,
    /// The next height to read, when blocks are read.
    cursor: Cell<Height>,
    /// Which target a transaction went to.
    target: Box<dyn Fn(usize) -> usize>,
    broke: Notify,
    resolved: Cell<u64>,
}

impl Watch {
    pub(crate) fn new(
        lanes: Rc<Lanes>,
        instance: InstanceId,
        resolvers: &[Endpoint],
        height: Height,
        target: Box<dyn Fn(usize) -> usize>,
    ) -> Self {
        let seen = Coverage {
            height,
            ..Coverage::default()
        };
        let client = |endpoint: &Endpoint| Client::new(endpoint.http).with_instance(instance.clone());
        Self {
            coverage: RefCell::new(vec![seen; lanes.len()]),
            resolvers: resolvers.iter().map(client).collect(),
            lanes,
            instance,
            cursor: Cell::new(Height::MAX),
            target,
            broke: Notify::new(),
            resolved: Cell::new(0),
        }
    }

    /// Times that the subscription to `target` broke.
    pub(crate) fn breaks(&self, target: usize) -> u64 {
        self.coverage.borrow()[target].breaks
    }

    /// Finals that were learnt by reading blocks.
    pub(crate) fn resolved(&self) -> u64 {
        self.resolved.get()
    }

    /// Follows one target for as long as the load lives.
    pub(crate) async fn follow(self: Rc<Self>, target: usize, mut stream: EventStream<StatusEvent>) {
        loop {
            while let Some(Ok(event)) = stream.next().await {
                self.apply(target, &event);
            }
            self.open_gap(target);
            stream = subscribe_again(|| self.lanes.client(target).statuses_stream()).await;
            // What is sent from here on is covered again.
            self.coverage.borrow_mut()[target].blind_until_ns = self.lanes.tracker.borrow().now_ns();
        }
    }

    /// Notes every block that the first target announces, so that empty ones have their time too.
    pub(crate) async fn follow_blocks(self: Rc<Self>, mut stream: EventStream<BlockSummary>) {
        loop {
            while let Some(Ok(block)) = stream.next().await {
                if block.instance == self.instance {
                    let mut tracker = self.lanes.tracker.borrow_mut();
                    let now_ns = tracker.now_ns();
                    tracker.announced(block.height, u64::from(block.transactions), now_ns);
                }
            }
            stream = subscribe_again(|| self.lanes.client(0).blocks_stream()).await;
        }
    }

    fn apply(&self, target: usize, event: &StatusEvent) {
        if event.instance != self.instance {
            return;
        }
        let mut tracker = self.lanes.tracker.borrow_mut();
        let now_ns = tracker.now_ns();
        tracker.saw_height(event.height, now_ns);
        for (id, outcome) in &event.items {
            tracker.finalised(id, event.height, *outcome == Outcome::Ok, now_ns);
        }
        self.coverage.borrow_mut()[target].height = event.height;
        self.lanes.changed.notify_one();
    }

    fn open_gap(&self, target: usize) {
        let mut coverage = self.coverage.borrow_mut();
        let coverage = &mut coverage[target];
        coverage.blind_until_ns = u64::MAX;
        coverage.breaks += 1;
        self.cursor.set(self.cursor.get().min(coverage.height + 1));
        self.broke.notify_one();
    }

    /// Reads blocks for as long as transactions of a gap are open.
    pub(crate) async fn resolve(self: Rc<Self>) {
        loop {
            self.broke.notified().await;
            while self.has_blind() {
                self.read_blocks(|index, sent_ns| self.is_blind(index, sent_ns)).await;
                sleep(RESOLVE_PAUSE).await;
            }
            self.cursor.set(Height::MAX);
        }
    }

    /// Whether transaction `index`, sent at `sent_ns`, may have become final unseen.
    fn is_blind(&self, index: usize, sent_ns: u64) -> bool {
        sent_ns < self.coverage.borrow()[(self.target)(index)].blind_until_ns
    }

    /// Whether such a transaction is open.
    fn has_blind(&self) -> bool {
        let tracker = self.lanes.tracker.borrow();
        tracker
            .oldest_open(|index, sent_ns| self.is_blind(index, sent_ns))
            .is_some()
    }

    /// Reads every block that may hold an open transaction: for the end of the load.
    pub(crate) async fn read_all(&self) {
        let from = {
            let tracker = self.lanes.tracker.borrow();
            tracker
                .oldest_open(|_, _| true)
                .map(|sent_ns| tracker.height_at(sent_ns) + 1)
        };
        if let Some(from) = from {
            self.cursor.set(from);
            self.read_blocks(|_, _| true).await;
        }
    }

    /// Reads from the cursor to the highest block of the first resolver that answers, for transactions that `wanted`
    /// accepts: the others will hear from their own targets.
    async fn read_blocks(&self, wanted: impl Fn(usize, u64) -> bool) {
        for resolver in &self.resolvers {
            if self.read_from(resolver, &wanted).await.is_ok() {
                return;
            }
        }
    }

    async fn read_from(&self, resolver: &Client, wanted: &impl Fn(usize, u64) -> bool) -> Result<(), ClientError> {
        let latest = resolver.latest().await?;
        let own = latest.instances.iter().find(|row| row.instance == self.instance);
        let highest = own.map_or(0, |row| row.height);
        for _ in 0..ROUND_BLOCKS_MAX {
            let height = self.cursor.get();
            if height > highest {
                break;
            }
            let block = resolver.block(height).await?;
            self.cursor.set(height.saturating_add(1));
            self.settle(height, &block.items, wanted);
        }
        Ok(())
    }

    /// Enters what a block says about wanted transactions.
    fn settle(&self, height: Height, items: &[(TransactionId, Outcome)], wanted: &impl Fn(usize, u64) -> bool) {
        let now_ns = self.lanes.tracker.borrow().now_ns();
        for (id, outcome) in items {
            let open = self.lanes.tracker.borrow().open_since(id);
            if open.is_some_and(|(index, sent_ns)| wanted(index, sent_ns)) {
                let mut tracker = self.lanes.tracker.borrow_mut();
                tracker.finalised(id, height, *outcome == Outcome::Ok, now_ns);
                self.resolved.set(self.resolved.get() + 1);
            }
        }
        self.lanes.changed.notify_one();
    }
}

/// Subscribes with growing pauses until it succeeds.
async fn subscribe_again<T, F>(subscribe: impl Fn() -> F) -> EventStream<T>
where
    F: Future<Output = Result<EventStream<T>, ClientError>>,
{
    let mut pause = RECONNECT_PAUSE.0;
    loop {
        sleep(pause).await;
        match subscribe().await {
            Ok(stream) => return stream,
            Err(_) => pause = (pause * 2).min(RECONNECT_PAUSE.1),
        }
    }
}
