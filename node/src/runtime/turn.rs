//! The node's task: wait, take everything that is ready, then do what the core asks for.
//!
//! Under load many events share one turn, so that the records, frames and checks they cause are
//! written, sent and made together.

use super::{
    RunError,
    clock::Clock,
    gate::Gate,
    jobs::Workers,
    loads::{Loaded, Loads},
    pause::{noting_pause, share_thread},
};
use crate::{
    handle::{NodeHandle, Request, SubmitAnswer},
    p2p::{NetworkEvent, Outbox},
    snapshots::{Keeper, Report},
    store::{Journal, JournalState},
    upgrade::{Porter, Reports, trial::Switch},
};
use regatta_api::metrics::Metric;
use regatta_base::Height;
use regatta_core::{
    Event, JobId, JobResult, LogLevel, Node, Output, Protocol, ReleaseOrder, ReleaseReport, RequestId, SnapshotOrder,
    Start, Time,
};
use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    sync::{Arc, OnceLock},
    time::Instant,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Events of one kind that a turn takes, so that timers and other tasks have theirs.
const TURN_MAX: usize = 256;
/// While more bytes than these wait for the journal, no frames and requests are taken.
const JOURNAL_BACKLOG_MAX: usize = 32 * 1024 * 1024;

/// The state of the node's task.
pub(super) struct Loop {
    pub(super) node: Node,
    pub(super) birth: Start,
    pub(super) clock: Clock,
    pub(super) out: Vec<Output>,
    /// Events that doing outputs has caused.
    pub(super) again: VecDeque<Event>,
    pub(super) gate: Gate,
    pub(super) replies: BTreeMap<RequestId, SubmitAnswer>,
    pub(super) requests_taken: RequestId,
    pub(super) disk_full: bool,
    /// Most bytes that the journal and snapshots together may take.
    pub(super) disk_bytes_max: u64,
    pub(super) journal: Journal,
    pub(super) journal_state: watch::Receiver<JournalState>,
    pub(super) keeper: Keeper,
    pub(super) reports: mpsc::Receiver<Report>,
    /// What the core was told of the journal's first blocks.
    pub(super) first_blocks: Vec<(usize, Height)>,
    pub(super) workers: Workers,
    pub(super) results: mpsc::Receiver<(JobId, JobResult)>,
    pub(super) loads: Loads,
    pub(super) loaded: mpsc::Receiver<Loaded>,
    pub(super) porter: Option<Porter>,
    pub(super) release_reports: Reports,
    pub(super) switch: Arc<OnceLock<Switch>>,
    pub(super) outbox: Outbox,
    pub(super) events: mpsc::Receiver<NetworkEvent>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) handle: NodeHandle,
    pub(super) stop: CancellationToken,
}

/// Why the task woke up.
enum Wake {
    Stop,
    /// Its state changed; `false`: its writer is gone.
    Journal(bool),
    Job(JobId, JobResult),
    Loaded(Loaded),
    Snapshot(Report),
    Release(ReleaseReport),
    Network(NetworkEvent),
    Request(Request),
    Timer,
}

impl Loop {
    /// Runs until told to stop or the journal fails.
    pub(super) async fn run(mut self) -> Result<(), RunError> {
        self.node.start(self.clock.now(), self.birth, &mut self.out);
        let result = self.turns().await;
        // Whatever ended the loop ends the rest of the process as well.
        self.stop.cancel();
        result?;
        self.close()
    }

    async fn turns(&mut self) -> Result<(), RunError> {
        self.settle()?;
        loop {
            let (wake, paused) = noting_pause(self.wait()).await;
            if matches!(wake, Wake::Stop) {
                return Ok(());
            }
            self.look_at_quota();
            self.take(wake)?;
            self.take_ready();
            self.tick_when_due();
            self.settle()?;
            let more_waits = !self.events.is_empty() || !self.requests.is_empty();
            share_thread(paused, more_waits).await;
        }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn step(&mut self, event: Event) {
        let now = self.now();
        self.node.step(now, event, &mut self.out);
    }

    async fn wait(&mut self) -> Wake {
        let takes_input = self.journal.backlog_bytes() <= JOURNAL_BACKLOG_MAX;
        let deadline = self.node.next_deadline().map(|at| self.clock.moment(at));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Wake::Stop,
            changed = self.journal_state.changed() => Wake::Journal(changed.is_ok()),
            Some((id, result)) = self.results.recv() => Wake::Job(id, result),
            Some(loaded) = self.loaded.recv() => Wake::Loaded(loaded),
            Some(report) = self.reports.recv() => Wake::Snapshot(report),
            Some(report) = self.release_reports.recv() => Wake::Release(report),
            () = sleep_until(deadline) => Wake::Timer,
            Some(event) = self.events.recv(), if takes_input => Wake::Network(event),
            Some(request) = self.requests.recv(), if takes_input => Wake::Request(request),
        }
    }

    fn take(&mut self, wake: Wake) -> Result<(), RunError> {
        match wake {
            Wake::Stop | Wake::Timer => {}
            Wake::Journal(true) => self.take_journal()?,
            Wake::Journal(false) => return Err(RunError::Crashed("the journal's writer is gone".to_owned())),
            Wake::Job(id, result) => self.take_result(id, result),
            Wake::Loaded(loaded) => self.take_loaded(loaded),
            Wake::Snapshot(report) => self.step(Event::Snapshot(report)),
            Wake::Release(report) => self.step(Event::Release(report)),
            Wake::Network(event) => self.take_network(event),
            Wake::Request(request) => self.take_request(request),
        }
        Ok(())
    }

    /// Takes what else is ready, up to a bound.
    fn take_ready(&mut self) {
        while let Ok((id, result)) = self.results.try_recv() {
            self.take_result(id, result);
        }
        for _ in 0..TURN_MAX {
            let Ok(event) = self.events.try_recv() else { break };
            self.take_network(event);
        }
        for _ in 0..TURN_MAX {
            let Ok(request) = self.requests.try_recv() else { break };
            self.take_request(request);
        }
    }

    fn tick_when_due(&mut self) {
        if self.node.next_deadline().is_some_and(|at| at <= self.now()) {
            self.step(Event::Tick);
        }
    }

    fn take_journal(&mut self) -> Result<(), RunError> {
        let JournalState {
            durable,
            failed,
            first_blocks,
            ..
        } = self.journal_state.borrow_and_update().clone();
        if let Some(error) = failed {
            return Err(RunError::Store(error));
        }
        self.look_at_quota();
        if self.first_blocks != first_blocks {
            for &(instance, first) in &first_blocks {
                self.step(Event::Snapshot(Report::Pruned { instance, first }));
            }
            self.first_blocks = first_blocks;
        }
        if self.gate.advance(durable) {
            self.step(Event::Durable(durable));
            while let Some(output) = self.gate.next() {
                self.release(output);
            }
        }
        Ok(())
    }

    /// Snapshots count into the quota as the journal does, and are written beyond it all the same: they are what lets
    /// the journal go of its files. How many there are is limited, and how large the state is.
    fn look_at_quota(&mut self) {
        let (no_room, journal) = {
            let state = self.journal_state.borrow();
            (state.full, state.bytes)
        };
        let full = no_room || journal.saturating_add(self.keeper.bytes()) >= self.disk_bytes_max;
        if self.disk_full != full {
            self.disk_full = full;
            tracing::warn!(full, "the disk quota: while it is reached, transactions are refused");
            self.step(Event::DiskFull(full));
        }
    }

    fn take_result(&mut self, id: JobId, result: JobResult) {
        self.workers.finished();
        self.step(Event::Done(id, result));
    }

    fn take_loaded(&mut self, loaded: Loaded) {
        self.loads.finished();
        self.step(Event::Loaded(loaded.request, loaded.block));
    }

    fn take_network(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::Up(peer) => self.step(Event::PeerUp(peer)),
            NetworkEvent::Down(peer) => self.step(Event::PeerDown(peer)),
            NetworkEvent::Frame(peer, frame, _share) => self.step(Event::Frame(peer, frame)),
        }
    }

    fn take_request(&mut self, request: Request) {
        match request {
            Request::Read(read) => read(&self.node),
            Request::Submit {
                instance,
                transactions,
                answer,
            } => {
                self.requests_taken += 1;
                let request = self.requests_taken;
                self.replies.insert(request, answer);
                self.step(Event::Submit {
                    request,
                    instance,
                    transactions,
                });
            }
        }
    }

    /// Does all outputs, and those that their own events cause.
    fn settle(&mut self) -> Result<(), RunError> {
        loop {
            self.carry_out();
            self.journal.write();
            match self.journal_state.has_changed() {
                Ok(true) => self.take_journal()?,
                // It is on its way: `wait` sees when it is there.
                Ok(false) => return Ok(()),
                // The writer is gone: if it said why, that is the error, and if not, `wait` tells.
                Err(_) => return self.take_journal(),
            }
        }
    }

    fn carry_out(&mut self) {
        loop {
            let mut outputs = std::mem::take(&mut self.out);
            for output in outputs.drain(..) {
                if let Some(output) = self.gate.pass(output) {
                    self.release(output);
                }
            }
            if self.again.is_empty() {
                // Keeps its memory for the next turn.
                self.out = outputs;
                return;
            }
            while let Some(event) = self.again.pop_front() {
                self.step(event);
            }
        }
    }

    /// Does one output whose records are durable.
    fn release(&mut self, output: Output) {
        match output {
            Output::Append(number, record) => self.journal.append(number, record),
            Output::Send {
                peer,
                frame,
                protocol,
                class,
                ..
            } => {
                self.count_sent(protocol, frame.len());
                self.outbox.send(peer, frame, class);
            }
            Output::Work(id, job) => {
                if let Some(result) = self.workers.submit(id, job) {
                    self.again.push_back(Event::Done(id, result));
                }
            }
            Output::Reply { request, results, .. } => {
                if let Some(answer) = self.replies.remove(&request) {
                    answer.send(results);
                }
            }
            Output::Load {
                request,
                instance,
                height,
            } => {
                if !self.loads.want(request, instance, height) {
                    self.again.push_back(Event::Loaded(request, None));
                }
            }
            Output::Snapshot(order) => self.order(order),
            Output::Release(order) => self.order_release(order),
            Output::Statuses { event, .. } => self.handle.publish_status(event),
            Output::Block { summary, .. } => self.handle.publish_block(summary),
            Output::PeerFault { peer, reason } => self.fault(peer, &reason),
            Output::Count(metric, amount) => self.handle.metrics().add(metric, amount),
            Output::Log(level, line) => log(level, &line),
        }
    }

    fn order(&mut self, order: SnapshotOrder) {
        match order {
            SnapshotOrder::Prune {
                instance,
                through,
                waiting,
            } => self.journal.prune(instance, through, waiting),
            order => self.again.extend(self.keeper.order(order).map(Event::Snapshot)),
        }
    }

    fn order_release(&mut self, order: ReleaseOrder) {
        if let ReleaseOrder::Switch { number, height } = order {
            // It is ordered once: the node ends with it.
            let _ = self.switch.set(Switch { number, height });
            self.stop.cancel();
            return;
        }
        let refused = self.porter.as_ref().and_then(|porter| porter.order(order));
        self.again.extend(refused.map(Event::Release));
    }

    fn count_sent(&self, protocol: Protocol, bytes: usize) {
        let (frames, total) = match protocol {
            Protocol::Consensus => (Metric::ConsensusFramesSent, Metric::ConsensusBytesSent),
            Protocol::Payload => (Metric::PayloadFramesSent, Metric::PayloadBytesSent),
            Protocol::Sync => (Metric::SyncFramesSent, Metric::SyncBytesSent),
            Protocol::Link => return,
        };
        let meter = self.handle.metrics();
        meter.add(frames, 1);
        meter.add(total, bytes as u64);
    }

    fn fault(&self, peer: usize, reason: &str) {
        self.handle.metrics().add(Metric::FramesInvalid, 1);
        tracing::warn!(peer, reason, "the peer broke the protocol");
        self.outbox.reset(peer, reason);
    }

    /// Makes durable what was begun, and answers whoever waits for just that.
    fn close(self) -> Result<(), RunError> {
        let Self {
            journal,
            journal_state,
            mut gate,
            mut replies,
            ..
        } = self;
        journal.close().map_err(RunError::Store)?;
        gate.advance(journal_state.borrow().durable);
        while let Some(output) = gate.next() {
            if let Output::Reply { request, results, .. } = output
                && let Some(answer) = replies.remove(&request)
            {
                answer.send(results);
            }
        }
        Ok(())
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

fn log(level: LogLevel, line: &str) {
    match level {
        LogLevel::Debug => tracing::debug!("{line}"),
        LogLevel::Info => tracing::info!("{line}"),
        LogLevel::Warn => tracing::warn!("{line}"),
    }
}
