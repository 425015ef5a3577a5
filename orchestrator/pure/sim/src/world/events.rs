//! What happens: one arm for each kind of event.

use super::{Observation, Pending, World};
use crate::{
    HostIndex,
    host::{Task, Trouble},
    network::Frame,
};
use bytes::Bytes;
use regatta_api::metrics::Metric;
use regatta_base::InstanceId;
use regatta_core::{Event, Node, PeerIndex, RequestId, Start, TrafficClass};

impl World {
    pub(super) fn happen(&mut self, pending: Pending) {
        match pending {
            Pending::Arrive(host, peer, epoch, frame) => self.reach_card(host, peer, epoch, frame),
            Pending::Deliver(host, peer, epoch, frame) => self.deliver(host, peer, epoch, frame),
            Pending::Connect(host, peer, failures) => self.connect(host, peer, failures),
            Pending::Reset(host, peer, epoch) => {
                if self.hosts[host].peers[peer].epoch == epoch {
                    self.disconnect(host, peer);
                }
            }
            Pending::Silent(host, peer, epoch) => self.silent(host, peer, epoch),
            Pending::Retransmit(host, peer, epoch) => self.retransmit(host, peer, epoch),
            Pending::Free(host, life, task) => self.task_ended(host, life, task),
            Pending::Flushed(host, life) => self.flushed(host, life),
            Pending::Loaded(host, life, request, block) => self.inbox(host, life, Event::Loaded(request, block)),
            Pending::Snapshot(host, life, report) => {
                if self.hosts[host].life == life {
                    self.hosts[host].snapshots.told(&report);
                }
                self.inbox(host, life, Event::Snapshot(report));
            }
            Pending::Timer(host, life) => {
                if self.hosts[host].life == life {
                    self.wake(host);
                }
            }
            Pending::Submit(host, request, instance, transactions) => {
                self.submission(host, request, instance, transactions);
            }
            Pending::Start(host, life) => {
                let wanted = &self.hosts[host];
                if wanted.life == life && wanted.node.is_none() {
                    self.ask(host, life, Task::Start);
                }
            }
            Pending::Client(observation) => self.seen.push((self.shared.now, observation)),
        }
    }

    fn inbox(&mut self, host: HostIndex, life: u32, event: Event) {
        if self.hosts[host].life == life && self.hosts[host].node.is_some() {
            self.hosts[host].arrive(event, None);
            self.wake(host);
        }
    }

    fn reach_card(&mut self, host: HostIndex, peer: PeerIndex, epoch: u32, frame: Frame) {
        let wire = self.shared.network.wire_ns(frame.bytes.len());
        if wire == 0 {
            return self.deliver(host, peer, epoch, frame);
        }
        // Its last byte is here now, and its first came that much earlier, if nothing else was coming in.
        let began = self.shared.now.saturating_sub(wire);
        let at = self.hosts[host]
            .card_in
            .pass(began, wire, frame.class)
            .max(self.shared.now);
        self.shared.queue.push(at, Pending::Deliver(host, peer, epoch, frame));
    }

    fn deliver(&mut self, host: HostIndex, peer: PeerIndex, epoch: u32, frame: Frame) {
        let to = &mut self.hosts[host];
        if to.node.is_none() || to.peers[peer].epoch != epoch || !to.peers[peer].up {
            return;
        }
        let class = frame.class;
        if to.arrive(Event::Frame(peer, frame.bytes), Some(frame.protocol)) {
            self.wake(host);
        } else if class == TrafficClass::Bulk {
            to.meter.add(Metric::FramesDropped, 1);
        } else {
            self.disconnect(host, peer);
        }
    }

    fn submission(
        &mut self,
        host: HostIndex,
        request: RequestId,
        instance: Option<InstanceId>,
        transactions: Vec<Bytes>,
    ) {
        let to = &mut self.hosts[host];
        if to.node.is_none() {
            let at = self.shared.now + self.shared.network.client_delay_ns;
            let refused = Observation::Refused { request };
            return self.shared.queue.push(at, Pending::Client(refused));
        }
        to.requests.insert(request);
        let submit = Event::Submit {
            request,
            instance,
            transactions,
        };
        to.arrive(submit, None);
        self.wake(host);
    }

    /// Asks for a turn when there is something to do, and for a timer when there will be.
    pub(super) fn wake(&mut self, index: HostIndex) {
        let host = &mut self.hosts[index];
        if host.busy || host.paused {
            return;
        }
        let now_ms = host.time(self.shared.now);
        let life = host.life;
        if host.has_work(now_ms) {
            host.busy = true;
            return self.ask(index, life, Task::Turn);
        }
        let deadline = host.node.as_ref().and_then(Node::next_deadline);
        if let Some(at) = deadline.filter(|at| host.timer_at.is_none_or(|set| *at < set)) {
            host.timer_at = Some(at);
            let moment = host.moment(at).max(self.shared.now);
            self.shared.queue.push(moment, Pending::Timer(index, life));
        }
    }

    /// A core is free: the next task begins, and what the one before made goes on.
    fn task_ended(&mut self, host: HostIndex, life: u32, task: Task) {
        let machine = self.machine_of(host);
        if let Some((next, life, task)) = self.machines[machine].release() {
            self.begin(machine, next, life, task);
        }
        if self.hosts[host].life != life {
            return;
        }
        match task {
            Task::Start => self.started(host),
            Task::Turn => {
                self.hosts[host].busy = false;
                self.begin_flush(host);
                self.begin_jobs(host);
            }
            Task::Job(job) if job.left_ns > 0 => return self.ask(host, life, Task::Job(job)),
            Task::Job(job) => {
                self.hosts[host].workers.finished();
                self.hosts[host].arrive(Event::Done(job.id, job.result), None);
                self.begin_jobs(host);
            }
            Task::Flush(_) => {
                // The device takes its time, and no core.
                let at = self.shared.now + self.device_ns(host);
                self.shared.queue.push(at, Pending::Flushed(host, life));
            }
        }
        self.wake(host);
    }

    /// The program runs: it takes back what its journal has, begins, and dials.
    fn started(&mut self, index: HostIndex) {
        let host = &mut self.hosts[index];
        // Both succeeded before: the configuration when the world was made, the records when they were written.
        let Ok(mut node) = Node::new(&host.config, host.secret.clone()) else {
            return;
        };
        host.snapshots.restore(&host.config, &mut node, self.shared.work.rng());
        let replayed: Result<(), _> = host
            .journal
            .records()
            .iter()
            .try_for_each(|record| node.replay(record.clone()));
        if let Err(error) = replayed {
            host.failure = Some(error.to_string());
            return;
        }
        // As programs are started: only the first start is that of a new node.
        let nonce = (index as u64) << 32 | u64::from(host.starts);
        let start = if host.starts == 0 {
            Start::New
        } else {
            Start::Again { nonce }
        };
        host.starts += 1;
        node.start(host.time(self.shared.now), start, &mut self.shared.out);
        host.node = Some(node);
        host.finish(index, 0, &mut self.shared);
        self.begin_flush(index);
        self.begin_jobs(index);
        self.dial_all(index);
    }

    fn begin_flush(&mut self, index: HostIndex) {
        let costs = self.shared.costs;
        let host = &mut self.hosts[index];
        if let Some((records, bytes)) = host.journal.begin_flush() {
            host.meter.add(Metric::JournalBytes, bytes);
            host.meter
                .add(Metric::JournalFlushes, u64::from(host.config.store.durable));
            host.flush_bytes = bytes;
            let life = host.life;
            self.ask(index, life, Task::Flush(costs.flush(records, bytes)));
        }
    }

    /// Time of the present group on the device; none when nobody asks for durability.
    fn device_ns(&self, index: HostIndex) -> u64 {
        let (host, disk) = (&self.hosts[index], &self.shared.disk);
        if host.config.store.durable {
            disk.flush_ns + host.trouble.flush_ns + host.flush_bytes * disk.byte_ps / 1000
        } else {
            0
        }
    }

    fn flushed(&mut self, index: HostIndex, life: u32) {
        if self.hosts[index].life != life {
            return;
        }
        if self.hosts[index].trouble.disk_full {
            // The node's own journal tries again and again, and tells as soon as it finds no room.
            if !std::mem::replace(&mut self.hosts[index].stalled, true) {
                self.inbox(index, life, Event::DiskFull(true));
            }
            return;
        }
        let durable = self.hosts[index].journal.end_flush();
        self.inbox(index, life, Event::Durable(durable));
        self.begin_flush(index);
    }

    /// Something goes wrong with a host's clock or disk from now on, or right again.
    pub fn trouble(&mut self, index: HostIndex, trouble: Trouble) {
        let now = self.shared.now;
        let Some(host) = self.hosts.get_mut(index) else { return };
        let mark = trouble.ahead_ms ^ trouble.flush_ns.rotate_left(16) ^ u64::from(trouble.disk_full);
        self.shared.trace.note(now, index, 26, mark);
        host.trouble = trouble;
        // A deadline comes at another moment by another clock.
        host.timer_at = None;
        let life = host.life;
        if host.stalled && !trouble.disk_full {
            host.stalled = false;
            self.shared.queue.push(now, Pending::Flushed(index, life));
            self.inbox(index, life, Event::DiskFull(false));
        }
        self.wake(index);
    }

    fn begin_jobs(&mut self, index: HostIndex) {
        while let Some(job) = self.hosts[index].workers.next() {
            let life = self.hosts[index].life;
            self.ask(index, life, Task::Job(Box::new(job)));
        }
    }
}
