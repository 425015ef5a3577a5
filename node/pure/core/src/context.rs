//! What a chain may touch while it handles one event.

use crate::{
    event::{LogLevel, Output, PeerIndex, Protocol, SnapshotOrder, Time, TrafficClass},
    job::{Job, JobId},
    links::Links,
    record::{Record, RecordNumber},
};
use bytes::Bytes;
use regatta_api::metrics::Metric;
use regatta_base::{Digest, Height, SecretKey};
use regatta_consensus::{Evidence, SignedRecall};
use std::collections::BTreeMap;

/// Why a job was started: what its result is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A batch from this peer, or of nobody when it is held; `votable` when its transactions are checked too.
    Batch {
        from: Option<PeerIndex>,
        digest: Digest,
        bytes: usize,
        votable: bool,
    },
    /// Proofs of misconduct from this peer, two signatures each.
    Evidence { from: PeerIndex, evidence: Vec<Evidence> },
    /// What this peer passed on about lost memory, a signature each.
    Recalls {
        from: PeerIndex,
        recalls: Vec<SignedRecall>,
    },
    /// The submissions that wait for their signatures.
    Transactions,
    /// The snapshot that is being fetched.
    Snapshot,
}

/// Numbers that are handed out once, over all chains of a node.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: RecordNumber,
    pub(crate) durable: RecordNumber,
    pub(crate) disk_full: bool,
    last_job: JobId,
    last_load: u64,
    jobs: BTreeMap<JobId, (usize, Purpose)>,
    loads: BTreeMap<u64, (usize, PeerIndex)>,
    chunk_loads: BTreeMap<u64, ChunkLoad>,
}

/// A chunk of a snapshot that is being read for a neighbour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLoad {
    pub(crate) instance: usize,
    pub(crate) peer: PeerIndex,
    pub(crate) height: Height,
    pub(crate) chunk: u32,
}

impl Counters {
    pub(crate) fn take_job(&mut self, job: JobId) -> Option<(usize, Purpose)> {
        self.jobs.remove(&job)
    }

    pub(crate) fn take_load(&mut self, load: u64) -> Option<(usize, PeerIndex)> {
        self.loads.remove(&load)
    }

    pub(crate) fn take_chunk_load(&mut self, load: u64) -> Option<ChunkLoad> {
        self.chunk_loads.remove(&load)
    }
}

/// The surroundings of one step of one chain.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) links: &'a Links,
    pub(crate) secret: &'a SecretKey,
    pub(crate) chain: usize,
    pub(crate) counters: &'a mut Counters,
    pub(crate) out: &'a mut Vec<Output>,
}

impl Context<'_> {
    /// Appends a record and returns its number.
    pub(crate) fn append(&mut self, record: Record) -> RecordNumber {
        self.counters.records += 1;
        self.out.push(Output::Append(self.counters.records, record));
        self.counters.records
    }

    /// The number of the newest record: what a statement of this node has to wait for.
    pub(crate) fn newest_record(&self) -> RecordNumber {
        self.counters.records
    }

    /// Starts a job of this instance.
    pub(crate) fn work(&mut self, purpose: Purpose, job: Job) {
        let id = self.start(job);
        self.counters.jobs.insert(id, (self.chain, purpose));
    }

    /// Starts a job; whoever wants its result notes the id.
    pub(crate) fn start(&mut self, job: Job) -> JobId {
        self.counters.last_job += 1;
        let id = self.counters.last_job;
        if let Job::Claims(claims) = &job {
            self.count(Metric::SignaturesChecked, claims.len() as u64);
        }
        self.out.push(Output::Work(id, job));
        id
    }

    pub(crate) fn load(&mut self, peer: PeerIndex, height: u64) {
        self.counters.last_load += 1;
        let request = self.counters.last_load;
        self.counters.loads.insert(request, (self.chain, peer));
        self.out.push(Output::Load {
            request,
            instance: self.chain,
            height,
        });
    }

    pub(crate) fn load_chunk(&mut self, peer: PeerIndex, height: Height, chunk: u32) {
        self.counters.last_load += 1;
        let (request, instance) = (self.counters.last_load, self.chain);
        let load = ChunkLoad {
            instance,
            peer,
            height,
            chunk,
        };
        self.counters.chunk_loads.insert(request, load);
        self.order(SnapshotOrder::Load {
            request,
            instance,
            height,
            chunk: chunk as usize,
        });
    }

    /// Chunks of snapshots that are being read, for all neighbours and for this one.
    pub(crate) fn chunk_loads(&self, peer: PeerIndex) -> (usize, usize) {
        let loads = &self.counters.chunk_loads;
        let own = loads.values().filter(|load| load.peer == peer).count();
        (loads.len(), own)
    }

    pub(crate) fn order(&mut self, order: SnapshotOrder) {
        self.out.push(Output::Snapshot(order));
    }

    /// Loads for this peer that are under way.
    pub(crate) fn loads_of(&self, peer: PeerIndex) -> usize {
        self.counters.loads.values().filter(|(_, to)| *to == peer).count()
    }

    pub(crate) fn send(&mut self, peer: PeerIndex, frame: Bytes, protocol: Protocol, after: RecordNumber) {
        let class = TrafficClass::Control;
        self.out.push(Output::Send {
            peer,
            frame,
            protocol,
            class,
            after,
        });
    }

    pub(crate) fn send_bulk(&mut self, peer: PeerIndex, frame: Bytes, protocol: Protocol) {
        self.out.push(Output::Send {
            peer,
            frame,
            protocol,
            class: TrafficClass::Bulk,
            after: 0,
        });
    }

    pub(crate) fn count(&mut self, metric: Metric, by: u64) {
        self.out.push(Output::Count(metric, by));
    }

    pub(crate) fn log(&mut self, level: LogLevel, line: String) {
        self.out.push(Output::Log(level, line));
    }

    pub(crate) fn fault(&mut self, peer: PeerIndex, reason: String) {
        self.out.push(Output::PeerFault { peer, reason });
    }
}
