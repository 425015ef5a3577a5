//! The sender's thread: takes what is due from the supply to the lanes, watches statuses, closes the books.

use crate::{
    LoadError, LoadOutcome, LoadProgress, LoadSpec,
    builders::Supply,
    lane::Lanes,
    listen::Watch,
    pacer::Pace,
    priority,
    recipe::{Built, Chunk, Recipe},
    schedule::Schedule,
    tracker::{Opening, Tracker},
};
use regatta_api::view::{BlockSummary, StatusEvent};
use regatta_base::Height;
use regatta_client::{Client, EventStream};
use regatta_report::model::NamedText;
use std::{
    collections::BTreeSet,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::{LocalSet, spawn_local},
    time::{Instant, interval, sleep_until, timeout},
};

/// How often the heartbeat's numbers are renewed.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Least deadline of a request: a timeout of the load may be shorter than it takes to connect.
const DEADLINE_MIN: Duration = Duration::from_secs(1);
/// Longest time that reading blocks may take after the drain.
const READ_ALL_LIMIT: Duration = Duration::from_secs(60);

/// Everything that the sender's thread owns.
pub(crate) struct Engine {
    pub(crate) spec: LoadSpec,
    pub(crate) schedule: Schedule,
    pub(crate) recipe: Arc<Recipe>,
    pub(crate) supply: Supply,
    pub(crate) pace: Arc<Pace>,
    /// How long to wait for the last transactions after the schedule's end, once the owner wants that.
    pub(crate) orders: watch::Receiver<Option<Duration>>,
    pub(crate) progress: Arc<Mutex<LoadProgress>>,
    pub(crate) scheduled: watch::Sender<bool>,
    pub(crate) disclosure: Vec<NamedText>,
}

/// Connections to all targets, and the height that the cluster had when they were made.
struct Links {
    clients: Vec<Client>,
    statuses: Vec<EventStream<StatusEvent>>,
    blocks: Option<EventStream<BlockSummary>>,
    height: Height,
}

/// Body of the sender's thread.
pub(crate) fn run_thread(
    mut engine: Engine,
    ready: oneshot::Sender<Result<(), LoadError>>,
    start: oneshot::Receiver<u64>,
    outcome: oneshot::Sender<Box<LoadOutcome>>,
) {
    let settled = priority::settle("sender", engine.spec.limits.real_time);
    engine.disclosure.extend(settled);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            let (load, thread) = (engine.spec.load.index, "sender");
            let _ = ready.send(Err(LoadError::Thread { load, thread, source }));
            return;
        }
    };
    LocalSet::new().block_on(&runtime, async move {
        let links = match connect(&engine.spec).await {
            Ok(links) => links,
            Err(error) => return drop(ready.send(Err(error))),
        };
        // Whoever does not listen any more has given the load up.
        if ready.send(Ok(())).is_ok()
            && let Ok(start_ns) = start.await
        {
            // Without an outcome the owner is gone, and with it whoever could be told.
            let _ = engine
                .run(links, start_ns)
                .await
                .is_none_or(|closed| outcome.send(closed).is_err());
        }
    });
}

async fn connect(spec: &LoadSpec) -> Result<Links, LoadError> {
    let deadline = Duration::from_millis(spec.load.timeout_ms).max(DEADLINE_MIN);
    let mut links = Links {
        clients: Vec::new(),
        statuses: Vec::new(),
        blocks: None,
        height: 0,
    };
    for target in &spec.targets {
        let failed = |source| LoadError::Subscribe {
            load: spec.load.index,
            node: target.name.clone(),
            source: Box::new(source),
        };
        let client = Client::new(target.http)
            .with_instance(spec.instance.clone())
            .with_deadline(deadline);
        links.statuses.push(client.statuses_stream().await.map_err(failed)?);
        if links.blocks.is_none() {
            links.blocks = Some(client.blocks_stream().await.map_err(failed)?);
        }
        let latest = client.latest().await.map_err(failed)?;
        let own = latest.instances.iter().find(|row| row.instance == spec.instance);
        // The lowest: a block above it may be the first with a transaction of this load.
        let height = own.map_or(0, |row| row.height);
        links.height = if links.clients.is_empty() {
            height
        } else {
            links.height.min(height)
        };
        links.clients.push(client);
    }
    Ok(links)
}

impl Engine {
    async fn run(mut self, links: Links, start_ns: u64) -> Option<Box<LoadOutcome>> {
        let tracker = Tracker::new(Opening {
            load: self.spec.load.index,
            clock: self.spec.clock,
            start_ns,
            timeout_ms: self.spec.load.timeout_ms,
            schedule: self.schedule.clone(),
            height: links.height,
        });
        let instance = self.spec.instance.clone();
        let lanes = Rc::new(Lanes::new(links.clients, instance.clone(), self.spec.limits, tracker));
        let recipe = Arc::clone(&self.recipe);
        let watch = Rc::new(Watch::new(
            Rc::clone(&lanes),
            instance,
            &self.spec.resolvers,
            links.height,
            Box::new(move |index| recipe.target(index)),
        ));
        for (target, stream) in links.statuses.into_iter().enumerate() {
            spawn_local(Rc::clone(&watch).follow(target, stream));
        }
        if let Some(blocks) = links.blocks {
            spawn_local(Rc::clone(&watch).follow_blocks(blocks));
        }
        spawn_local(Rc::clone(&watch).resolve());
        spawn_local(report(Rc::clone(&lanes), Arc::clone(&self.progress)));
        self.dispatch(&lanes).await;
        let _ = self.scheduled.send(true);
        let ended = Instant::now();
        let limit = *self.orders.wait_for(Option::is_some).await.ok()?;
        drain(&lanes, ended + limit.unwrap_or_default()).await;
        lanes.give_up();
        // A ledger that cannot be read leaves its transactions open, and the books say so.
        let _ = timeout(READ_ALL_LIMIT, watch.read_all()).await;
        Some(Box::new(self.close(&lanes, &watch)))
    }

    /// Hands over what is due until the pacer is over.
    async fn dispatch(&mut self, lanes: &Rc<Lanes>) {
        let (mut next, mut over) = (0, false);
        let mut chunk = Chunk::new().into_iter();
        while !over {
            self.pace.bell.notified().await;
            // In this order: once the pacer is over the count is final.
            over = self.pace.is_over();
            let due = self.pace.due();
            while next < due {
                next = self.hand_over(lanes, &mut chunk, next, due);
                if next < due {
                    match self.supply.next().await {
                        Some(more) => chunk = more.into_iter(),
                        None => return,
                    }
                }
            }
        }
    }

    /// Queues what is due and built, sends it, and gives back the next transaction's number.
    fn hand_over(&self, lanes: &Rc<Lanes>, chunk: &mut std::vec::IntoIter<Built>, from: usize, due: usize) -> usize {
        let mut touched = BTreeSet::new();
        let mut next = from;
        for (id, bytes) in chunk.take(due - from) {
            let target = self.recipe.target(next);
            lanes.tracker.borrow_mut().due(id);
            lanes.offer(target, next as u32, bytes);
            touched.insert(target);
            next += 1;
        }
        for target in touched {
            lanes.flush(target);
        }
        next
    }

    fn close(self, lanes: &Rc<Lanes>, watch: &Watch) -> LoadOutcome {
        let stopped = !self.pace.is_complete(self.schedule.count());
        let recipe = Arc::clone(&self.recipe);
        let mut outcome = lanes.tracker.borrow_mut().close(move |index| recipe.target(index));
        outcome.submitted.targets = self.spec.targets.iter().map(|target| target.name.clone()).collect();
        outcome.resolved = watch.resolved();
        for (target, endpoint) in self.spec.targets.iter().enumerate() {
            if watch.breaks(target) > 0 {
                outcome.breaks.insert(endpoint.name.clone(), watch.breaks(target));
            }
        }
        outcome.disclosure = self.disclosure;
        outcome.stopped = stopped;
        outcome
    }
}

/// Waits until every transaction has an end, at most until `deadline`.
async fn drain(lanes: &Rc<Lanes>, deadline: Instant) {
    loop {
        if lanes.is_idle() && lanes.tracker.borrow().open() == 0 {
            return;
        }
        tokio::select! {
            () = lanes.changed.notified() => {}
            () = sleep_until(deadline) => return,
        }
    }
}

/// Renews the heartbeat's numbers for as long as the load lives.
async fn report(lanes: Rc<Lanes>, progress: Arc<Mutex<LoadProgress>>) {
    let mut ticks = interval(PROGRESS_INTERVAL);
    loop {
        ticks.tick().await;
        let current = lanes.tracker.borrow().progress();
        *progress.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }
}
