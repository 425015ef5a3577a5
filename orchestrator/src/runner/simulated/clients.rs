//! The same load in virtual time: schedule, transactions and books of the open-loop generator, with simulated clients.
//!
//! Nothing here waits or reads a clock: the runner asks when the next transaction is due, hands over what the clients
//! see, and lets the world pass in between.

use crate::load::{Answer, Chunk, LoadError, LoadOutcome, LoadProgress, LoadSpec, Opening, Recipe, Schedule, Tracker};
use regatta_api::view::{Outcome, StatusEvent, SubmitResult};
use regatta_base::{Height, InstanceId, TransactionId, limits::TRANSACTION_BYTES_MAX};
use regatta_report::model::NamedText;
use regatta_sim::{Nanos, Observation, World};
use std::collections::BTreeMap;

/// Submissions under way that the clients of one load keep track of; beyond it transactions are not sent.
const REQUESTS_MAX: usize = 1 << 20;
/// Most bytes of transactions in one request.
const REQUEST_BYTES: usize = 256 << 10;
/// How long clients wait before they subscribe again to a node that was gone, and before they read blocks again for
/// transactions that may have become final unseen.
const RETRY_NS: Nanos = 100_000_000;
/// Numbers of the requests of one load.
const REQUESTS_OF_A_LOAD: u64 = 1 << 40;

/// What is known of one target's subscription.
#[derive(Debug, Clone, Copy, Default)]
struct Coverage {
    /// Transactions sent before this time may have become final unseen; 0 without a gap.
    blind_until: Nanos,
    /// The subscription is broken.
    broken: bool,
    breaks: u64,
}

/// A request under way: when it was sent, and its transactions.
struct Request {
    sent: Nanos,
    indices: Vec<u32>,
}

/// The clients of one load.
pub(crate) struct SimulatedClients {
    spec: LoadSpec,
    schedule: Schedule,
    recipe: Recipe,
    tracker: Tracker,
    start: Nanos,
    next: usize,
    /// The chunk that `next` is in, with its number.
    chunk: (usize, Chunk),
    requests: BTreeMap<u64, Request>,
    requests_made: u64,
    coverage: Vec<Coverage>,
    /// Lowest height that may hold an unseen transaction, and when it is looked for again.
    cursor: Height,
    retry_at: Nanos,
    resolved: u64,
    stopped: bool,
}

/// The clients of `spec`, who begin at `start` of the world's time.
///
/// # Errors
/// [`LoadError`] when the load cannot be built.
pub(crate) fn simulated_clients(spec: LoadSpec, start: Nanos, height: Height) -> Result<SimulatedClients, LoadError> {
    let schedule = Schedule::new(&spec)?;
    let recipe = Recipe::new(&spec, schedule.count(), schedule.run)?;
    let tracker = Tracker::new(Opening {
        load: spec.load.index,
        clock: spec.clock,
        start_ns: start,
        timeout_ms: spec.load.timeout_ms,
        schedule: schedule.clone(),
        height,
    });
    Ok(SimulatedClients {
        coverage: vec![Coverage::default(); spec.targets.len()],
        spec,
        schedule,
        recipe,
        tracker,
        start,
        next: 0,
        chunk: (usize::MAX, Chunk::new()),
        requests: BTreeMap::new(),
        requests_made: 0,
        cursor: height + 1,
        retry_at: Nanos::MAX,
        resolved: 0,
        stopped: false,
    })
}

impl SimulatedClients {
    /// Subscribes to every target.
    pub(crate) fn subscribe(&self, world: &mut World) {
        (0..self.coverage.len()).for_each(|target| world.watch(self.host(target)));
    }

    fn host(&self, target: usize) -> usize {
        self.spec.targets[target].node as usize
    }

    fn instance(&self) -> &InstanceId {
        &self.spec.instance
    }

    /// When these clients do something next; never, when everything was sent and no gap is open.
    pub(crate) fn next_at(&self) -> Nanos {
        let due = if self.next < self.schedule.count() && !self.stopped {
            self.start + self.schedule.wake_ns(self.next)
        } else {
            Nanos::MAX
        };
        due.min(self.retry_at)
    }

    /// Sends what is due at the world's present time, and looks for what may have been missed.
    pub(crate) fn act(&mut self, world: &mut World) {
        let now = world.now();
        if now >= self.retry_at {
            self.retry(world);
        }
        let mut due: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let mut ready = Vec::new();
        while !self.stopped
            && self.next < self.schedule.count()
            && self.start + self.schedule.intended[self.next] <= now
        {
            let index = self.next;
            self.next += 1;
            let (id, bytes) = self.built(index);
            self.tracker.due(id);
            due.entry(self.recipe.target(index)).or_default().push(index as u32);
            ready.push((index as u32, bytes));
        }
        let first = ready.first().map_or(0, |(index, _)| *index);
        for (target, indices) in due {
            let size = self.spec.load.size as usize;
            let most = (REQUEST_BYTES / size.clamp(1, TRANSACTION_BYTES_MAX)).max(1);
            for part in indices.chunks(most) {
                let bytes = part.iter().map(|index| ready[(index - first) as usize].1.clone());
                let bytes = bytes.collect();
                self.send(world, target, part, bytes);
            }
        }
    }

    fn built(&mut self, index: usize) -> (TransactionId, bytes::Bytes) {
        let number = index / self.recipe.chunk_len();
        if self.chunk.0 != number {
            self.chunk = (number, self.recipe.chunk(number));
        }
        let (id, bytes) = &self.chunk.1[index % self.recipe.chunk_len()];
        (*id, bytes.0.clone())
    }

    fn send(&mut self, world: &mut World, target: usize, indices: &[u32], transactions: Vec<bytes::Bytes>) {
        if self.requests.len() >= REQUESTS_MAX {
            for &index in indices {
                self.tracker.not_sent(index as usize, "backlog_full");
            }
            return;
        }
        let sent = world.now();
        self.tracker.sent(indices, sent);
        let request = u64::from(self.spec.load.index) * REQUESTS_OF_A_LOAD + self.requests_made;
        self.requests_made += 1;
        world.submit(self.host(target), request, Some(self.instance().clone()), transactions);
        let indices = indices.to_vec();
        self.requests.insert(request, Request { sent, indices });
    }

    /// Whether a request is one of these clients'.
    fn is_own(&self, request: u64) -> bool {
        request / REQUESTS_OF_A_LOAD == u64::from(self.spec.load.index)
    }

    /// Enters what a client saw.
    pub(crate) fn see(&mut self, at: Nanos, observation: &Observation) {
        match observation {
            Observation::Answer { request, results } if self.is_own(*request) => self.answered(at, *request, results),
            Observation::Refused { request } if self.is_own(*request) => {
                self.all(at, *request, Answer::Rejected("unreachable"));
            }
            Observation::Lost { request } if self.is_own(*request) => self.all(at, *request, Answer::Lost),
            Observation::Statuses { host, event } if self.follows(*host) => self.statuses(at, event),
            Observation::Block { host, summary } if self.host(0) == *host && summary.instance == *self.instance() => {
                self.tracker
                    .announced(summary.height, u64::from(summary.transactions), at);
            }
            Observation::Broken { host } => self.broke(at, *host),
            _ => {}
        }
    }

    fn follows(&self, host: usize) -> bool {
        (0..self.coverage.len()).any(|target| self.host(target) == host)
    }

    fn all(&mut self, at: Nanos, request: u64, answer: Answer<'_>) {
        let Some(request) = self.requests.remove(&request) else {
            return;
        };
        for index in request.indices {
            self.tracker.answered(index as usize, request.sent, at, answer);
        }
    }

    fn answered(&mut self, at: Nanos, name: u64, results: &[SubmitResult]) {
        let Some(request) = self.requests.remove(&name) else {
            return;
        };
        if at - request.sent > self.tracker.timeout_ns() {
            // The client has given up before.
            self.requests.insert(name, request);
            return self.all(at, name, Answer::Silent);
        }
        for (index, result) in request.indices.iter().zip(results) {
            if result.id.is_some_and(|id| !self.tracker.has_id(*index as usize, &id)) {
                self.tracker.mismatch();
            }
            let answer = result
                .rejected
                .map_or(Answer::Accepted, |reject| Answer::Rejected(reject.as_str()));
            self.tracker.answered(*index as usize, request.sent, at, answer);
        }
    }

    fn statuses(&mut self, at: Nanos, event: &StatusEvent) {
        if event.instance != *self.instance() {
            return;
        }
        self.tracker.saw_height(event.height, at);
        for (id, outcome) in &event.items {
            self.tracker.finalised(id, event.height, *outcome == Outcome::Ok, at);
        }
    }

    fn broke(&mut self, at: Nanos, host: usize) {
        for target in 0..self.coverage.len() {
            if self.host(target) == host {
                let coverage = &mut self.coverage[target];
                coverage.broken = true;
                coverage.breaks += 1;
                coverage.blind_until = Nanos::MAX;
                self.retry_at = self.retry_at.min(at + RETRY_NS);
            }
        }
    }

    /// Subscribes again where that is possible, and reads blocks for transactions that may have become final unseen.
    fn retry(&mut self, world: &mut World) {
        let now = world.now();
        for target in 0..self.coverage.len() {
            let host = self.host(target);
            if self.coverage[target].broken && world.is_up(host) {
                world.watch(host);
                self.coverage[target].broken = false;
                self.coverage[target].blind_until = now;
            }
        }
        let (coverage, recipe) = (&self.coverage, &self.recipe);
        let blind = |index: usize, sent: u64| sent < coverage[recipe.target(index)].blind_until;
        let oldest = self.tracker.oldest_open(blind);
        if let Some(oldest) = oldest {
            self.cursor = self.tracker.height_at(oldest) + 1;
            self.read_blocks(world, true);
        }
        let waits = oldest.is_some() || self.coverage.iter().any(|coverage| coverage.broken);
        self.retry_at = if waits { now + RETRY_NS } else { Nanos::MAX };
    }

    /// Reads from the cursor to the highest block of the first node that runs, validators first.
    fn read_blocks(&mut self, world: &World, blind_only: bool) {
        let mut hosts = self.spec.resolvers.iter().map(|endpoint| endpoint.node as usize);
        let Some(host) = hosts.find(|&host| world.is_up(host)) else {
            return;
        };
        let now = world.now();
        for height in self.cursor..=world.height(host, self.instance()) {
            let Some(block) = world.block(host, self.instance(), height) else {
                return;
            };
            for (id, outcome) in &block.items {
                let Some((index, sent)) = self.tracker.open_since(id) else {
                    continue;
                };
                if !blind_only || sent < self.coverage[self.recipe.target(index)].blind_until {
                    self.tracker.finalised(id, height, *outcome == Outcome::Ok, now);
                    self.resolved += 1;
                }
            }
        }
    }

    /// Ends the schedule here.
    pub(crate) fn stop(&mut self) {
        self.stopped |= self.next < self.schedule.count();
    }

    /// Whether every transaction has an end.
    pub(crate) fn is_done(&self) -> bool {
        (self.stopped || self.next == self.schedule.count()) && self.tracker.open() == 0
    }

    /// A view for the heartbeat.
    pub(crate) fn progress(&self, now: Nanos) -> LoadProgress {
        self.tracker.progress_at(now)
    }

    /// Looks for every open transaction in the blocks once more, and closes the books.
    pub(crate) fn close(mut self, world: &World) -> LoadOutcome {
        if let Some(oldest) = self.tracker.oldest_open(|_, _| true) {
            self.cursor = self.tracker.height_at(oldest) + 1;
            self.read_blocks(world, false);
        }
        let recipe = &self.recipe;
        let mut outcome = self.tracker.close(|index| recipe.target(index));
        outcome.submitted.targets = self.spec.targets.iter().map(|target| target.name.clone()).collect();
        outcome.resolved = self.resolved;
        for (target, coverage) in self.spec.targets.iter().zip(&self.coverage) {
            if coverage.breaks > 0 {
                outcome.breaks.insert(target.name.clone(), coverage.breaks);
            }
        }
        outcome.stopped = self.stopped;
        outcome.disclosure = vec![NamedText {
            name: "generator".to_owned(),
            value: "simulated clients, without processor of their own".to_owned(),
        }];
        outcome
    }
}
