//! The whole node as a function: `step(now, event) -> outputs`, without clock, sockets or disk.
//!
//! The same [`Node`] runs under real sockets and under virtual time. Heavy work leaves as a
//! [`Job`] and comes back as [`Event::Done`]; what must survive a crash leaves as [`Output::Append`],
//! and whatever depends on it carries the number of that record.

mod chain;
mod context;
mod event;
mod header;
mod job;
mod links;
mod mutants;
mod neighbourhood;
mod node;
mod peers;
mod record;
mod releases;
mod snapshot;
#[cfg(test)]
mod tests;
mod verification;
mod wire;

pub use event::{
    Event, LogLevel, Output, PeerIndex, Protocol, RequestId, SnapshotOrder, SnapshotReport, Time, TrafficClass,
};
pub use job::{Job, JobId, JobResult};
pub use node::{Node, NodeError, Start};
pub use record::{BlockResult, Record, RecordNumber, StoredBlock};
pub use releases::{RELEASE_CHUNKS_MAX, ReleaseFacts, ReleaseOrder, ReleaseReport};
pub use snapshot::{
    CHUNK_BYTES_MAX, CHUNKS_MAX, ChunkInfo, Installer, MANIFEST_BYTES_MAX, Manifest, Restored, SnapshotError,
};
