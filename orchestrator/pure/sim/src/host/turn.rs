//! A turn of a node's task: take what has arrived, step, do what the node asks for, and add up what that costs.

use super::{Computed, Host, Input};
use crate::{
    HostIndex, Nanos,
    network::{BULK_BACKLOG_BYTES, CONTROL_BACKLOG_BYTES, Frame, UNACKNOWLEDGED_NS},
    snapshots::Done,
    trace::fingerprint,
    world::{Handling, Observation, Pending, Shared},
};
use regatta_api::metrics::Metric;
use regatta_core::{
    Event, Job, JobId, JobResult, Output, PeerIndex, Protocol, Record, SnapshotOrder, SnapshotReport, TrafficClass,
};

/// Most events of a turn, so that what they cause is not held back for long.
const TURN_MAX: usize = 256;
/// Jobs that wait for a thread; beyond it the task works itself.
const JOBS_MAX: usize = 64;

/// What a turn sends when it ends.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    frames: Vec<(PeerIndex, Frame)>,
    observations: Vec<Observation>,
    /// Links that are to be reset.
    faults: Vec<PeerIndex>,
}

impl Host {
    /// Takes one turn; gives back how long it keeps its core.
    pub(crate) fn turn(&mut self, index: HostIndex, shared: &mut Shared) -> Nanos {
        self.turns += 1;
        let mut cost = shared.costs.turn_ns;
        for _ in 0..TURN_MAX {
            let Some(Input { event, protocol }) = self.inbox.pop_front() else {
                break;
            };
            cost += shared.costs.event(&event, protocol);
            self.take(index, event, protocol, shared);
        }
        let now_ms = self.time(shared.now);
        if self.timer_at.is_some_and(|at| at <= now_ms) {
            self.timer_at = None;
        }
        let due = self.node.as_ref().and_then(regatta_core::Node::next_deadline);
        if due.is_some_and(|at| at <= now_ms) {
            cost += shared.costs.tick_ns;
            self.take(index, Event::Tick, None, shared);
        }
        self.finish(index, cost, shared)
    }

    /// Does everything that the steps so far asked for, as of the end of a turn that has cost `cost`.
    pub(crate) fn finish(&mut self, index: HostIndex, mut cost: Nanos, shared: &mut Shared) -> Nanos {
        let mut leaving = Leaving::default();
        cost += self.settle(index, shared, &mut leaving);
        self.leave(index, shared.now + cost, leaving, shared);
        self.cpu_ns += cost;
        cost
    }

    /// Steps through one event.
    fn take(&mut self, index: HostIndex, event: Event, protocol: Option<Protocol>, shared: &mut Shared) {
        let (kind, detail) = describe(&event);
        shared.trace.note(shared.now, index, kind, detail);
        if let Event::Frame(_, frame) = &event {
            self.inbox_bytes -= frame.len() as u64;
        }
        if let Event::Durable(record) = &event {
            self.gate.advance(*record);
        }
        let time = self.time(shared.now);
        let Some(node) = &mut self.node else { return };
        let before = shared.out.len();
        let length = match &event {
            Event::Frame(_, frame) => frame.len(),
            _ => 0,
        };
        if let Some(probe) = &mut shared.probe {
            probe.begins();
        }
        node.step(time, event, &mut shared.out);
        if let Some(probe) = &mut shared.probe {
            probe.ends(&Handling {
                kind,
                protocol,
                length,
                outputs: &shared.out[before..],
            });
        }
    }

    /// Does all outputs, and those of the events that they cause; gives back what that costs.
    fn settle(&mut self, index: HostIndex, shared: &mut Shared, leaving: &mut Leaving) -> Nanos {
        let mut cost = 0;
        while let Some(output) = self.gate.next() {
            cost += self.release(index, output, shared, leaving);
        }
        loop {
            let mut outputs = std::mem::take(&mut shared.out);
            let mut again = Vec::new();
            for output in outputs.drain(..) {
                let Some(output) = self.gate.pass(output) else { continue };
                if let Output::Work(id, job) = output {
                    cost += self.work(id, job, shared, &mut again);
                } else {
                    cost += self.release(index, output, shared, leaving);
                }
            }
            shared.out = outputs;
            if again.is_empty() {
                return cost;
            }
            for (id, result) in again {
                cost += shared.costs.done_ns;
                self.take(index, Event::Done(id, result), None, shared);
            }
        }
    }

    /// Runs a job, now or as a task of a worker thread; gives back what the node's own task spends on it.
    fn work(&mut self, id: JobId, job: Job, shared: &mut Shared, again: &mut Vec<(JobId, JobResult)>) -> Nanos {
        let inline = job.weight() <= Job::INLINE_WEIGHT || self.workers.waiting() >= JOBS_MAX;
        let urgent = matches!(job, Job::Claims(_));
        let (result, amount) = shared.work.run(job);
        let cost = shared.costs.job(amount);
        if inline {
            again.push((id, result));
            return cost;
        }
        let lines = &mut self.workers;
        let line = if urgent { &mut lines.urgent } else { &mut lines.other };
        let left_ns = cost;
        line.push_back(Computed { id, result, left_ns });
        0
    }

    /// Does one output whose record is durable; gives back what it costs.
    fn release(&mut self, index: HostIndex, output: Output, shared: &mut Shared, leaving: &mut Leaving) -> Nanos {
        let costs = shared.costs;
        match output {
            Output::Append(number, record) => {
                let step = matches!(record, Record::Consensus { .. });
                self.journal.append(number, record);
                if step { costs.step_ns } else { 0 }
            }
            Output::Send {
                peer,
                frame,
                protocol,
                class,
                ..
            } => {
                let frame = Frame {
                    bytes: frame,
                    protocol,
                    class,
                };
                self.count_sent(&frame);
                let cost = costs.sent(frame.bytes.len()) + self.write_cost(peer, costs.write_ns);
                leaving.frames.push((peer, frame));
                cost
            }
            Output::Reply { request, results, .. } => {
                self.requests.remove(&request);
                leaving.observations.push(Observation::Answer { request, results });
                costs.publish_ns
            }
            Output::Load {
                request,
                instance,
                height,
            } => {
                let block = self.journal.load(instance, height).map(Box::new);
                let at = shared.now + shared.disk.read_ns;
                shared.queue.push(at, Pending::Loaded(index, self.life, request, block));
                costs.tick_ns
            }
            Output::Statuses { event, .. } if self.watched => {
                leaving.observations.push(Observation::Statuses { host: index, event });
                costs.publish_ns
            }
            Output::Block { summary, .. } => {
                let cost = costs.block_ns + costs.execute_ns * u64::from(summary.transactions);
                if self.watched {
                    leaving.observations.push(Observation::Block { host: index, summary });
                }
                cost
            }
            Output::PeerFault { peer, .. } => {
                self.meter.add(Metric::FramesInvalid, 1);
                leaving.faults.push(peer);
                costs.tick_ns
            }
            Output::Count(metric, by) => {
                self.meter.add(metric, by);
                0
            }
            Output::Snapshot(order) => self.snapshot(index, order, shared),
            // Work is taken before; nobody reads the rest here.
            Output::Work(..) | Output::Statuses { .. } | Output::Release(..) | Output::Log(..) => 0,
        }
    }

    /// Does something about snapshots; its report comes when the device has done its part. Gives back what it costs.
    fn snapshot(&mut self, index: HostIndex, order: SnapshotOrder, shared: &mut Shared) -> Nanos {
        let (costs, disk) = (shared.costs, shared.disk);
        if let SnapshotOrder::Prune {
            instance,
            through,
            waiting,
        } = &order
        {
            if let Some(first) = self.journal.prune(*instance, *through, waiting) {
                let instance = *instance;
                let report = SnapshotReport::Pruned { instance, first };
                shared
                    .queue
                    .push(shared.now, Pending::Snapshot(index, self.life, report));
            }
            return costs.tick_ns;
        }
        let written = |bytes: u64| costs.record_ns + costs.record_byte_ps * bytes / 1000;
        let (cost, after, report) = match self.snapshots.perform(order) {
            Done::Nothing => return costs.tick_ns,
            Done::Appended(bytes) => return written(bytes),
            Done::Flush(bytes, report) => (costs.flush_ns, disk.flush_ns + bytes * disk.byte_ps / 1000, report),
            Done::Read(bytes, report) => (written(bytes), disk.read_ns, report),
        };
        let at = shared.now + after;
        shared.queue.push(at, Pending::Snapshot(index, self.life, report));
        cost
    }

    /// The first frame to a link in a turn costs a write.
    fn write_cost(&mut self, peer: PeerIndex, write_ns: Nanos) -> Nanos {
        let turns = self.turns;
        match self.peers.get_mut(peer) {
            Some(peer) if peer.written_in != turns => {
                peer.written_in = turns;
                write_ns
            }
            _ => 0,
        }
    }

    fn count_sent(&mut self, frame: &Frame) {
        let bytes = frame.bytes.len() as u64;
        let own = match frame.protocol {
            Protocol::Consensus => Some((Metric::ConsensusFramesSent, Metric::ConsensusBytesSent)),
            Protocol::Payload => Some((Metric::PayloadFramesSent, Metric::PayloadBytesSent)),
            Protocol::Sync => Some((Metric::SyncFramesSent, Metric::SyncBytesSent)),
            Protocol::Link => None,
        };
        let all = (Metric::FramesSent, Metric::FrameBytesSent);
        for (frames, total) in [Some(all), own].into_iter().flatten() {
            self.meter.add(frames, 1);
            self.meter.add(total, bytes);
        }
    }

    /// Lets everything go that the turn made, at its end.
    fn leave(&mut self, index: HostIndex, at: Nanos, leaving: Leaving, shared: &mut Shared) {
        for (peer, frame) in leaving.frames {
            self.transmit(index, at, peer, frame, shared);
        }
        for observation in leaving.observations {
            let at = at + shared.network.client_delay_ns;
            shared.queue.push(at, Pending::Client(observation));
        }
        for peer in leaving.faults {
            self.reset_later(index, at, peer, shared);
        }
    }

    /// Hands a frame to a link at `at`; nothing happens when the link is down.
    pub(crate) fn transmit(&mut self, index: HostIndex, at: Nanos, peer: PeerIndex, frame: Frame, shared: &mut Shared) {
        let wire = shared.network.wire_ns(frame.bytes.len());
        let backlog = shared.network.bytes_in(self.card_out.backlog(at));
        let (most, is_bulk) = match frame.class {
            TrafficClass::Bulk => (BULK_BACKLOG_BYTES, true),
            TrafficClass::Control => (CONTROL_BACKLOG_BYTES + BULK_BACKLOG_BYTES, false),
        };
        let Some(link) = self.peers.get_mut(peer).filter(|link| link.up) else {
            return;
        };
        let mut fits = backlog <= most;
        if fits && link.lane.holds() {
            let first = link.lane.held.is_empty();
            fits = link.lane.hold(at, frame);
            if first && fits {
                let silent = Pending::Silent(index, peer, link.epoch);
                shared.queue.push(at + UNACKNOWLEDGED_NS, silent);
            }
        } else if fits {
            let left = self.card_out.pass(at, wire, frame.class);
            let ends = (self.region, link.region);
            let (first, second) = link.lane.arrivals(&shared.network, ends, left, &frame, &mut shared.rng);
            for arrival in second.into_iter().chain([first]) {
                let (to, back, epoch, frame) = (link.host, link.back, link.epoch, frame.clone());
                shared.queue.push(arrival, Pending::Arrive(to, back, epoch, frame));
            }
        }
        if !fits && is_bulk {
            self.meter.add(Metric::FramesDropped, 1);
        } else if !fits {
            self.reset_later(index, at, peer, shared);
        }
    }

    pub(crate) fn reset_later(&self, index: HostIndex, at: Nanos, peer: PeerIndex, shared: &mut Shared) {
        if let Some(link) = self.peers.get(peer) {
            shared.queue.push(at, Pending::Reset(index, peer, link.epoch));
        }
    }
}

/// The kind of an event for the trace, and what tells it from others of its kind.
fn describe(event: &Event) -> (u8, u64) {
    match event {
        Event::PeerUp(peer) => (1, *peer as u64),
        Event::PeerDown(peer) => (2, *peer as u64),
        Event::Frame(peer, frame) => (3, fingerprint(frame) ^ (*peer as u64).rotate_left(32)),
        Event::Submit { request, .. } => (4, *request),
        Event::Done(job, _) => (5, *job),
        Event::Durable(record) => (6, *record),
        Event::DiskFull(full) => (7, u64::from(*full)),
        Event::Loaded(request, _) => (8, *request),
        Event::Tick => (9, 0),
        Event::Snapshot(SnapshotReport::Written { height, .. }) => (10, *height),
        Event::Snapshot(SnapshotReport::Chunk(request, _)) => (10, request.rotate_left(32)),
        Event::Snapshot(SnapshotReport::Pruned { first, .. }) => (10, first.rotate_left(16)),
        // Simulated hosts trust nobody with their program.
        Event::Release(_) => (11, 0),
    }
}
