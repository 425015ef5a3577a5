//! One host: its node, what has arrived for it, its journal, its workers, its links.

mod gate;
mod trouble;
mod turn;

pub use trouble::Trouble;

use crate::{
    HostIndex, HostSetup, Nanos,
    disk::Journal,
    network::{Card, Lane},
    snapshots::Snapshots,
};
use gate::Gate;
use regatta_api::{NodeConfig, metrics::Metric};
use regatta_base::SecretKey;
use regatta_core::{Event, JobId, JobResult, Node, PeerIndex, Protocol, RequestId, Time};
use std::collections::{BTreeSet, VecDeque};

/// Most bytes of frames that have arrived and wait for the node; beyond it payload is dropped and links are reset.
const INBOX_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The other end of a link, and the direction towards it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) host: HostIndex,
    /// Position of this host among the other's peers.
    pub(crate) back: PeerIndex,
    pub(crate) region: usize,
    pub(crate) lane: Lane,
    pub(crate) up: bool,
    /// Grows with each end of the connection: what belongs to an earlier one does not arrive.
    pub(crate) epoch: u32,
    /// The last turn in which something was written to it.
    written_in: u64,
}

impl Peer {
    pub(crate) fn new(host: HostIndex, back: PeerIndex, region: usize, lane: Lane) -> Self {
        Self {
            host,
            back,
            region,
            lane,
            up: false,
            epoch: 0,
            written_in: 0,
        }
    }
}

/// A job that is done as far as its result goes, and still has to take its time.
#[derive(Debug)]
pub(crate) struct Computed {
    pub(crate) id: JobId,
    pub(crate) result: JobResult,
    pub(crate) left_ns: Nanos,
}

/// The worker threads of a node.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    busy: usize,
    threads: usize,
    urgent: VecDeque<Computed>,
    other: VecDeque<Computed>,
}

impl Workers {
    /// A thread of the node is free: the next job, consensus first.
    pub(crate) fn next(&mut self) -> Option<Computed> {
        if self.busy >= self.threads {
            return None;
        }
        let next = self.urgent.pop_front().or_else(|| self.other.pop_front())?;
        self.busy += 1;
        Some(next)
    }

    pub(crate) fn finished(&mut self) {
        self.busy -= 1;
    }

    fn waiting(&self) -> usize {
        self.urgent.len() + self.other.len()
    }
}

/// What a core does for a host.
#[derive(Debug)]
pub(crate) enum Task {
    /// Starts the program.
    Start,
    /// The node's task takes a turn.
    Turn,
    /// A worker thread.
    Job(Box<Computed>),
    /// The journal's thread writes a group; what it costs.
    Flush(Nanos),
}

/// Something that has arrived.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) event: Event,
    pub(crate) protocol: Option<Protocol>,
}

/// One host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: NodeConfig,
    pub(crate) secret: SecretKey,
    pub(crate) region: usize,
    /// Not started with the others.
    pub(crate) late: bool,
    pub(crate) node: Option<Node>,
    /// Grows with each end, so that what was meant for an earlier life is not delivered.
    pub(crate) life: u32,
    pub(crate) starts: u32,
    pub(crate) paused: bool,
    /// A turn is wanted or under way.
    pub(crate) busy: bool,
    pub(crate) inbox: VecDeque<Input>,
    inbox_bytes: u64,
    gate: Gate,
    pub(crate) journal: Journal,
    pub(crate) snapshots: Snapshots,
    pub(crate) peers: Vec<Peer>,
    pub(crate) card_out: Card,
    pub(crate) card_in: Card,
    pub(crate) timer_at: Option<Time>,
    pub(crate) workers: Workers,
    /// Tasks that got a core while the host was paused.
    pub(crate) parked: Vec<Task>,
    /// Submissions that have no answer.
    pub(crate) requests: BTreeSet<RequestId>,
    /// Whether a client is subscribed to statuses and blocks.
    pub(crate) watched: bool,
    pub(crate) meter: Meter,
    pub(crate) cpu_ns: u64,
    /// Bytes of the group that is being flushed.
    pub(crate) flush_bytes: u64,
    /// Why the node did not start, if so.
    pub(crate) failure: Option<String>,
    /// What is wrong with its clock and disk.
    pub(crate) trouble: Trouble,
    /// The highest time that its node was told in this life.
    clock_read: Time,
    /// A group waits for room on the device.
    pub(crate) stalled: bool,
    turns: u64,
}

/// Counters of one host over all its lives, by the common table of metrics.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Vec<u64>);

impl Default for Meter {
    fn default() -> Self {
        Self(vec![0; Metric::ALL.len()])
    }
}

impl Meter {
    pub(crate) fn add(&mut self, metric: Metric, by: u64) {
        self.0[metric as usize] += by;
    }

    pub(crate) fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize]
    }
}

impl Host {
    pub(crate) fn new(setup: HostSetup, peers: Vec<Peer>, cores: usize) -> Self {
        // One core is left to the node's task, as in the node.
        let threads = cores.saturating_sub(1).clamp(1, 4);
        Self {
            config: setup.config,
            secret: setup.secret,
            region: setup.region,
            late: setup.late,
            node: None,
            life: 0,
            starts: 0,
            paused: false,
            busy: false,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            gate: Gate::default(),
            journal: Journal::default(),
            snapshots: Snapshots::default(),
            peers,
            card_out: Card::default(),
            card_in: Card::default(),
            timer_at: None,
            workers: Workers {
                threads,
                ..Workers::default()
            },
            parked: Vec::new(),
            requests: BTreeSet::new(),
            watched: false,
            meter: Meter::default(),
            cpu_ns: 0,
            flush_bytes: 0,
            failure: None,
            trouble: Trouble::default(),
            clock_read: 0,
            stalled: false,
            turns: 0,
        }
    }

    /// Puts an event into the inbox; `false` when there is no room for the frame.
    pub(crate) fn arrive(&mut self, event: Event, protocol: Option<Protocol>) -> bool {
        if let Event::Frame(_, frame) = &event {
            let bytes = frame.len() as u64;
            if self.inbox_bytes + bytes > INBOX_BYTES_MAX {
                return false;
            }
            self.inbox_bytes += bytes;
            self.meter.add(Metric::FramesReceived, 1);
            self.meter.add(Metric::FrameBytesReceived, bytes);
        }
        self.inbox.push_back(Input { event, protocol });
        true
    }

    /// Whether the node's task has anything to do at `now_ms`.
    pub(crate) fn has_work(&self, now_ms: Time) -> bool {
        let due = || {
            self.node
                .as_ref()
                .and_then(Node::next_deadline)
                .is_some_and(|at| at <= now_ms)
        };
        self.node.is_some() && (!self.inbox.is_empty() || due())
    }

    /// The process is gone: what it held in memory is lost. Gives back the submissions without an answer.
    pub(crate) fn end(&mut self) -> BTreeSet<RequestId> {
        self.life += 1;
        self.node = None;
        (self.paused, self.busy, self.timer_at, self.inbox_bytes) = (false, false, None, 0);
        (self.clock_read, self.stalled) = (0, false);
        self.inbox.clear();
        self.parked.clear();
        self.gate = Gate::default();
        self.workers = Workers {
            threads: self.workers.threads,
            ..Workers::default()
        };
        self.journal.crash();
        self.snapshots.crash();
        std::mem::take(&mut self.requests)
    }

    /// Everything on the disk is gone; of a host that is down.
    pub(crate) fn lose_disk(&mut self) {
        debug_assert!(self.node.is_none(), "a node's disk does not go from under it");
        self.journal = Journal::default();
        self.snapshots = Snapshots::default();
    }

    /// Links that are up.
    pub(crate) fn peers_up(&self) -> usize {
        self.peers.iter().filter(|peer| peer.up).count()
    }
}
