//! What goes into a node and what comes out of it.

use crate::{Job, JobId, JobResult, Record, RecordNumber, ReleaseOrder, ReleaseReport, StoredBlock};
use bytes::Bytes;
use regatta_api::{
    metrics::Metric,
    view::{BlockSummary, StatusEvent, SubmitResult},
};
use regatta_base::{Digest, Height, InstanceId};

/// Milliseconds on the node's own clock; only differences matter.
pub type Time = u64;
/// Position of a peer in the node's configuration.
pub type PeerIndex = usize;
/// Chosen by the caller of [`Event::Submit`] and [`Output::Load`] to match answers.
pub type RequestId = u64;

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// The link to a configured peer came up (authenticated).
    PeerUp(PeerIndex),
    /// That link is gone.
    PeerDown(PeerIndex),
    /// A frame arrived on that link.
    Frame(PeerIndex, Bytes),
    /// A client submits transactions for an instance (the first configured one when `None`).
    Submit {
        /// Names the answer.
        request: RequestId,
        /// Which instance.
        instance: Option<InstanceId>,
        /// Exact bytes of each transaction.
        transactions: Vec<Bytes>,
    },
    /// A job is done.
    Done(JobId, JobResult),
    /// Every record up to this number is as durable as the configuration asks for.
    Durable(RecordNumber),
    /// Whether the journal has reached its quota: while it has, transactions are refused.
    DiskFull(bool),
    /// Answer to [`Output::Load`]; `None` when the journal does not have the block.
    Loaded(RequestId, Option<Box<StoredBlock>>),
    /// Something about the snapshots on the disk.
    Snapshot(SnapshotReport),
    /// Something about releases.
    Release(ReleaseReport),
    /// The time of [`crate::Node::next_deadline`] has come.
    Tick,
}

/// What became of a [`SnapshotOrder`].
#[derive(Debug)]
pub enum SnapshotReport {
    /// Answer to [`SnapshotOrder::Finish`]: the snapshot is durable, or could not be written.
    Written {
        /// Position of the instance in the configuration.
        instance: usize,
        /// Its height.
        height: Height,
        /// Whether it is durable.
        ok: bool,
    },
    /// Answer to [`SnapshotOrder::Load`]; `None` when there is no such chunk any more.
    Chunk(RequestId, Option<Bytes>),
    /// The journal now begins with this block of the instance.
    Pruned {
        /// Position of the instance in the configuration.
        instance: usize,
        /// Height of the first block that it has.
        first: Height,
    },
}

/// What is to be done with snapshots, in the order given.
#[derive(Debug)]
pub enum SnapshotOrder {
    /// Add the next chunk to the snapshot that is being written; the first one begins a new file.
    Append {
        /// Position of the instance in the configuration.
        instance: usize,
        /// Height of the snapshot.
        height: Height,
        /// Position of the chunk, from 0.
        chunk: usize,
        /// Its bytes.
        bytes: Bytes,
    },
    /// End the snapshot that is being written with this manifest, make it durable, and report it.
    Finish {
        /// Position of the instance in the configuration.
        instance: usize,
        /// Height of the snapshot.
        height: Height,
        /// The encoded manifest.
        manifest: Bytes,
    },
    /// Remove a snapshot, finished or not.
    Remove {
        /// Position of the instance in the configuration.
        instance: usize,
        /// Height of the snapshot.
        height: Height,
    },
    /// Read a chunk of a finished snapshot and report it.
    Load {
        /// Names the answer.
        request: RequestId,
        /// Position of the instance in the configuration.
        instance: usize,
        /// Height of the snapshot.
        height: Height,
        /// Position of the chunk, from 0.
        chunk: usize,
    },
    /// The journal may let go of what belongs to blocks up to this height, except for batches that later blocks
    /// have, and these.
    Prune {
        /// Position of the instance in the configuration.
        instance: usize,
        /// The last height that is not needed any more.
        through: Height,
        /// Batches that wait to be ordered.
        waiting: Vec<Digest>,
    },
}

/// Which of a link's two queues a frame takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficClass {
    /// Consensus and other small frames: sent first; when this queue overflows the link is reset.
    Control,
    /// Payload: may be dropped when the queue overflows, because it can be asked for again.
    Bulk,
}

/// What a frame belongs to, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Proposals, votes, timeouts, certificates.
    Consensus,
    /// Transactions and batches, their announcements and requests.
    Payload,
    /// Catch-up.
    Sync,
    /// Link set-up and topology.
    Link,
}

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// For whoever traces one node.
    Debug,
    /// Worth a line in a run's log.
    Info,
    /// Something is wrong but handled.
    Warn,
}

/// One thing to do. Outputs of one step are done in their order.
#[derive(Debug)]
pub enum Output {
    /// Append to the journal. Numbers are consecutive, from 1 after each start.
    Append(RecordNumber, Record),
    /// Send to a peer, but not before record `after` is durable (0: at once).
    Send {
        /// To whom.
        peer: PeerIndex,
        /// The encoded frame.
        frame: Bytes,
        /// What the metrics count it as.
        protocol: Protocol,
        /// Which queue.
        class: TrafficClass,
        /// The record that has to be durable before.
        after: RecordNumber,
    },
    /// Run this job, at once or on another thread, and return its result as [`Event::Done`].
    Work(JobId, Job),
    /// Answer a client's submission, but not before record `after` is durable.
    Reply {
        /// The request's name.
        request: RequestId,
        /// One result for each transaction.
        results: Vec<SubmitResult>,
        /// The record that has to be durable before.
        after: RecordNumber,
    },
    /// Read a block with its batches from the journal and return it as [`Event::Loaded`].
    Load {
        /// Names the answer.
        request: RequestId,
        /// Position of the instance in the configuration.
        instance: usize,
        /// Which block.
        height: Height,
    },
    /// Write, read or remove snapshots, or what they replace.
    Snapshot(SnapshotOrder),
    /// Judge, keep or read releases, or switch to one.
    Release(ReleaseOrder),
    /// Something for subscribers of statuses, but not before record `after` is durable.
    Statuses {
        /// The event.
        event: StatusEvent,
        /// The record that has to be durable before.
        after: RecordNumber,
    },
    /// A block was executed, for subscribers of blocks, but not before record `after` is durable.
    Block {
        /// The event.
        summary: BlockSummary,
        /// The record that has to be durable before.
        after: RecordNumber,
    },
    /// A peer broke the protocol: count it, and reset the link when it is not to be trusted further.
    PeerFault {
        /// Who.
        peer: PeerIndex,
        /// What it did.
        reason: String,
    },
    /// Add to a metric of the common table (counters only).
    Count(Metric, u64),
    /// A line for the node's log.
    Log(LogLevel, String),
}
