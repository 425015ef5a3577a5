//! The world: hosts, the queue of what will happen, and the loop that lets it happen.

mod connections;
mod events;
mod views;

use crate::{
    Costs, DiskModel, HostIndex, HostSetup, MILLISECOND, Nanos, NetworkModel, Setup, SimError,
    host::{Computed, Host, Peer, Task},
    machine::Machine,
    network::{Frame, Lane},
    queue::Queue,
    trace::Trace,
    work::Work,
};
use bytes::Bytes;
use rand::{RngExt, rngs::ChaCha8Rng};
use regatta_api::view::{BlockSummary, StatusEvent, SubmitResult};
use regatta_base::{InstanceId, PublicKey, seed};
use regatta_core::{Output, PeerIndex, Protocol, RequestId, SnapshotReport, StoredBlock};
use std::collections::BTreeMap;
pub use views::{HostView, Statistics};

/// Programs start within this time of each other, as a lab starts them.
const START_SPREAD_NS: Nanos = 20 * MILLISECOND;

/// Something that a client of the control interface sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// A submission is answered.
    Answer {
        /// The submission.
        request: RequestId,
        /// One result for each transaction.
        results: Vec<SubmitResult>,
    },
    /// Nobody listens at the host that a submission went to.
    Refused {
        /// The submission.
        request: RequestId,
    },
    /// The connection broke before an answer.
    Lost {
        /// The submission.
        request: RequestId,
    },
    /// Transactions became final at a watched host.
    Statuses {
        /// The host.
        host: HostIndex,
        /// Which, and how.
        event: StatusEvent,
    },
    /// A watched host executed a block.
    Block {
        /// The host.
        host: HostIndex,
        /// The block.
        summary: BlockSummary,
    },
    /// The subscription to a watched host broke.
    Broken {
        /// The host.
        host: HostIndex,
    },
}

/// One step of a node, for whoever times them.
#[derive(Debug)]
pub struct Handling<'a> {
    /// Which kind of event: the number that stands for it in the trace.
    pub kind: u8,
    /// Protocol of a frame.
    pub protocol: Option<Protocol>,
    /// Bytes of a frame.
    pub length: usize,
    /// What the step asked for.
    pub outputs: &'a [Output],
}

/// Looks on while nodes step: this crate has no clock, and the table of costs is measured with one.
pub trait Probe: std::fmt::Debug {
    /// A step begins.
    fn begins(&mut self);
    /// It ended.
    fn ends(&mut self, handling: &Handling<'_>);
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A frame reaches a host's card.
    Arrive(HostIndex, PeerIndex, u32, Frame),
    /// A frame has passed the card.
    Deliver(HostIndex, PeerIndex, u32, Frame),
    /// A connection is made, if both ends are there; with the number of failures before.
    Connect(HostIndex, PeerIndex, u32),
    /// A connection is to end.
    Reset(HostIndex, PeerIndex, u32),
    /// A direction has been unacknowledged for too long, if it still is.
    Silent(HostIndex, PeerIndex, u32),
    /// What a direction held while it was blocked is sent again, if it is open.
    Retransmit(HostIndex, PeerIndex, u32),
    /// A core has done a task, or a slice of it.
    Free(HostIndex, u32, Task),
    /// The device has written a group.
    Flushed(HostIndex, u32),
    /// A block was read back.
    Loaded(HostIndex, u32, RequestId, Option<Box<StoredBlock>>),
    /// The device has done what a node wanted of its snapshots.
    Snapshot(HostIndex, u32, SnapshotReport),
    /// The time of a node's next deadline.
    Timer(HostIndex, u32),
    /// A client's submission reaches its host.
    Submit(HostIndex, RequestId, Option<InstanceId>, Vec<Bytes>),
    /// A program is started.
    Start(HostIndex, u32),
    /// A client sees something.
    Client(Observation),
}

/// What all hosts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) now: Nanos,
    pub(crate) queue: Queue<Pending>,
    pub(crate) network: NetworkModel,
    pub(crate) disk: DiskModel,
    pub(crate) costs: Costs,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) work: Work,
    pub(crate) trace: Trace,
    pub(crate) probe: Option<Box<dyn Probe>>,
    /// Outputs of the present turn; kept for its memory.
    pub(crate) out: Vec<Output>,
}

/// A network in virtual time.
#[derive(Debug)]
pub struct World {
    shared: Shared,
    hosts: Vec<Host>,
    machines: Vec<Machine<(HostIndex, u32, Task)>>,
    /// All hosts use the first machine.
    one_machine: bool,
    seen: Vec<(Nanos, Observation)>,
}

impl World {
    /// A world at time 0 whose nodes start within its first milliseconds and connect with each other.
    ///
    /// # Errors
    /// [`SimError`] names the host that does not fit the others.
    pub fn new(setup: Setup) -> Result<Self, SimError> {
        let peers = connect_all(&setup.hosts, &setup.network)?;
        let cores = setup.machine.cores.max(1);
        let machines = if setup.machine.shared { 1 } else { setup.hosts.len() };
        let mut world = Self {
            shared: Shared {
                now: 0,
                queue: Queue::default(),
                network: setup.network,
                disk: setup.disk,
                costs: setup.costs,
                rng: seed::rng(setup.seed, "simulation/network"),
                work: Work::new(seed::rng(setup.seed, "simulation/jobs")),
                trace: Trace::default(),
                probe: None,
                out: Vec::new(),
            },
            hosts: setup
                .hosts
                .into_iter()
                .zip(peers)
                .map(|(host, peers)| Host::new(host, peers, cores))
                .collect(),
            machines: (0..machines).map(|_| Machine::new(cores)).collect(),
            one_machine: setup.machine.shared,
            seen: Vec::new(),
        };
        for host in 0..world.hosts.len() {
            // Fails here and not at its time, so that a bad configuration is an error and no surprise.
            regatta_core::Node::new(&world.hosts[host].config, world.hosts[host].secret.clone()).map_err(|error| {
                let name = world.hosts[host].config.name.clone();
                SimError::Node { name, error }
            })?;
            let at = world.shared.rng.random_range(0..START_SPREAD_NS);
            if !world.hosts[host].late {
                world.shared.queue.push(at, Pending::Start(host, 0));
            }
        }
        Ok(world)
    }

    /// Lets everything happen until `until`, that time included; gives back what clients saw, in its order.
    pub fn run_until(&mut self, until: Nanos) -> Vec<(Nanos, Observation)> {
        while let Some((at, pending)) = self.shared.queue.pop_until(until) {
            self.shared.now = at;
            self.happen(pending);
        }
        self.shared.now = until.max(self.shared.now);
        std::mem::take(&mut self.seen)
    }

    /// Now, in nanoseconds since the world began.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.shared.now
    }

    /// A client sends transactions to a host now. The answer is an [`Observation`] with the same `request`, which must
    /// be unique.
    pub fn submit(
        &mut self,
        host: HostIndex,
        request: RequestId,
        instance: Option<InstanceId>,
        transactions: Vec<Bytes>,
    ) {
        let at = self.shared.now + self.shared.network.client_delay_ns;
        let submit = Pending::Submit(host, request, instance, transactions);
        self.shared.queue.push(at, submit);
    }

    /// A client subscribes to statuses and blocks of a host, as far as the host lives.
    pub fn watch(&mut self, host: HostIndex) {
        let alive = self.is_up(host);
        if let Some(host) = self.hosts.get_mut(host) {
            host.watched = alive;
        }
    }

    /// Has every step of every node timed from now on.
    pub fn probe(&mut self, probe: Box<dyn Probe>) {
        self.shared.probe = Some(probe);
    }

    /// Ends timing.
    pub fn take_probe(&mut self) -> Option<Box<dyn Probe>> {
        self.shared.probe.take()
    }

    /// The host loses its power now: memory and what its journal had not made durable are gone.
    pub fn crash(&mut self, host: HostIndex) {
        if self.hosts.get(host).is_none_or(|host| host.node.is_none()) {
            return;
        }
        self.shared.trace.note(self.shared.now, host, 20, 0);
        for peer in 0..self.hosts[host].peers.len() {
            self.disconnect(host, peer);
        }
        let lost = self.hosts[host].end();
        let at = self.shared.now + self.shared.network.client_delay_ns;
        let broken = std::mem::take(&mut self.hosts[host].watched).then_some(Observation::Broken { host });
        let lost = lost.into_iter().map(|request| Observation::Lost { request });
        for observation in lost.chain(broken) {
            self.shared.queue.push(at, Pending::Client(observation));
        }
    }

    /// A host that is down loses everything on its disk: it starts as one whose journal is gone, and not as a new one.
    pub fn lose_disk(&mut self, host: HostIndex) {
        if let Some(lost) = self.hosts.get_mut(host).filter(|host| host.node.is_none()) {
            lost.lose_disk();
            self.shared.trace.note(self.shared.now, host, 27, 0);
        }
    }

    /// The host's program ends by itself: what its journal was given becomes durable first.
    pub fn stop(&mut self, host: HostIndex) {
        if let Some(host) = self.hosts.get_mut(host).filter(|host| host.node.is_some()) {
            host.journal.finish();
        }
        self.crash(host);
    }

    /// Starts a host that has crashed, with the journal that it has, or one that was not started with the others.
    pub fn start(&mut self, host: HostIndex) {
        if self.hosts.get(host).is_some_and(|host| host.node.is_none()) {
            self.shared.trace.note(self.shared.now, host, 21, 0);
            let life = self.hosts[host].life;
            self.shared.queue.push(self.shared.now, Pending::Start(host, life));
        }
    }

    /// The host's program is stopped: links stay up and nothing is done.
    pub fn pause(&mut self, host: HostIndex) {
        self.shared.trace.note(self.shared.now, host, 22, 0);
        if let Some(host) = self.hosts.get_mut(host) {
            host.paused = host.node.is_some();
        }
    }

    /// The program goes on.
    pub fn resume(&mut self, host: HostIndex) {
        self.shared.trace.note(self.shared.now, host, 23, 0);
        if let Some(paused) = self.hosts.get_mut(host).filter(|host| host.paused) {
            paused.paused = false;
            let life = paused.life;
            for task in std::mem::take(&mut paused.parked) {
                self.ask(host, life, task);
            }
            self.wake(host);
        }
    }

    fn machine_of(&self, host: HostIndex) -> usize {
        if self.one_machine { 0 } else { host }
    }

    /// A task of a host wants a core.
    fn ask(&mut self, host: HostIndex, life: u32, task: Task) {
        let machine = self.machine_of(host);
        if let Some((host, life, task)) = self.machines[machine].want((host, life, task)) {
            self.begin(machine, host, life, task);
        }
    }

    /// A task has a core. What needs none gives it to the next one.
    fn begin(&mut self, machine: usize, host: HostIndex, life: u32, task: Task) {
        let mut next = Some((host, life, task));
        while let Some((host, life, task)) = next.take() {
            match self.occupy(host, life, task) {
                Some((until, task)) => self.shared.queue.push(until, Pending::Free(host, life, task)),
                None => next = self.machines[machine].release(),
            }
        }
    }
}

/// The peers of every host, by position; both ends must know each other.
fn connect_all(hosts: &[HostSetup], network: &NetworkModel) -> Result<Vec<Vec<Peer>>, SimError> {
    let index: BTreeMap<PublicKey, HostIndex> = hosts.iter().map(|host| host.secret.public()).zip(0..).collect();
    let places: Vec<BTreeMap<PublicKey, PeerIndex>> = hosts
        .iter()
        .map(|host| host.config.peers.iter().map(|peer| peer.key).zip(0..).collect())
        .collect();
    let regions = network.delay_ns.len();
    let peers_of = |host: &HostSetup| -> Result<Vec<Peer>, SimError> {
        let (own, name) = (host.secret.public(), || host.config.name.clone());
        if host.region >= regions || network.delay_ns.iter().any(|row| row.len() != regions) {
            let (name, region) = (name(), host.region);
            return Err(SimError::Region { name, region, regions });
        }
        let peer = |peer: &regatta_api::PeerConfig| {
            let other = index.get(&peer.key).copied();
            let back = other.and_then(|other| places[other].get(&own).copied());
            let (Some(other), Some(back)) = (other, back) else {
                let (name, peer) = (name(), peer.name.clone());
                return Err(SimError::Peer { name, peer });
            };
            let here = index.get(&own).copied().unwrap_or(other);
            let lane = Lane::with(network.directions.get(&(here, other)).copied().unwrap_or_default());
            Ok(Peer::new(other, back, hosts[other].region, lane))
        };
        host.config.peers.iter().map(peer).collect()
    };
    hosts.iter().map(peers_of).collect()
}

impl World {
    /// Gives a task its time on a core: when it ends and what is left of it then, or `None` when it takes none.
    fn occupy(&mut self, index: HostIndex, life: u32, task: Task) -> Option<(Nanos, Task)> {
        /// Longest time on a core before others get their turn.
        const SLICE_NS: Nanos = MILLISECOND;
        let host = &mut self.hosts[index];
        if host.life != life {
            return None;
        }
        if host.paused {
            host.parked.push(task);
            return None;
        }
        let now = self.shared.now;
        Some(match task {
            Task::Start => {
                let records = host.journal.records().len() as u64;
                let cost = self.shared.costs.start_ns + self.shared.costs.replay_ns * records;
                host.cpu_ns += cost;
                (now + cost, Task::Start)
            }
            Task::Turn => (now + host.turn(index, &mut self.shared), Task::Turn),
            Task::Flush(cost) => {
                host.cpu_ns += cost;
                (now + cost, Task::Flush(cost))
            }
            Task::Job(job) => {
                let slice = job.left_ns.min(SLICE_NS);
                host.cpu_ns += slice;
                let left_ns = job.left_ns - slice;
                (now + slice, Task::Job(Box::new(Computed { left_ns, ..*job })))
            }
        })
    }
}
