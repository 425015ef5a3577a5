//! Writes a snapshot, a chunk at a time, while blocks go on.

use crate::{
    chain::Chain,
    context::Context,
    event::{LogLevel, SnapshotOrder, Time},
    header::STATE_ROOT_LAG,
    snapshot::{CHUNKS_MAX, ChunkInfo, Manifest, first_of_history, history_chunk, link_chunk, state_chunk},
};
use regatta_base::{Digest, Height, HexBytes};
use regatta_consensus::Commit;

/// Time between two chunks, in milliseconds: a snapshot takes a small part of the node's time.
const CHUNK_INTERVAL_MS: Time = 4;
/// A snapshot is due early at heights that are multiples of this, so that neighbours choose the same ones...
const EARLY_HEIGHTS: Height = 100;
/// ...when the blocks since the last one have this many bytes of transactions, and twice those of the state.
const EARLY_BYTES: u64 = 256 * 1024 * 1024;

/// What the next chunk is of.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Link(usize),
    /// The header of this height is the next one.
    History(Height),
    State,
    /// All chunks are written; the manifest is on its way to the disk.
    End,
}

/// A snapshot that is being written.
#[derive(Debug)]
pub(super) struct Taking {
    at: Commit,
    next: HexBytes,
    /// The block that certifies the state; no chunk is written before it.
    proof: Option<Commit>,
    chunks: Vec<ChunkInfo>,
    stage: Stage,
    due_at: Time,
}

impl Taking {
    pub(super) fn height(&self) -> Height {
        self.at.height()
    }

    pub(super) fn due_at(&self) -> Option<Time> {
        (self.proof.is_some() && !matches!(self.stage, Stage::End)).then_some(self.due_at)
    }

    fn manifest(&self, instance: &regatta_base::InstanceId) -> Option<Manifest> {
        Some(Manifest {
            instance: instance.clone(),
            height: self.at.height(),
            at: self.at.clone(),
            next: self.next.clone(),
            proof: self.proof.clone()?,
            chunks: self.chunks.clone(),
        })
    }
}

impl Chain {
    /// A block was executed: it may be the one to write a snapshot of, or prove one.
    pub(in crate::chain) fn note_block(&mut self, now: Time, commit: &Commit, bytes: u64) {
        let height = commit.height();
        self.snapshots.payload += bytes;
        if let Some(taking) = &mut self.snapshots.taking {
            let first = taking.at.height();
            if height == first + 1 {
                taking.next = commit.header.clone().into();
            } else if height == first + STATE_ROOT_LAG {
                (taking.proof, taking.due_at) = (Some(commit.clone()), now);
            }
        } else if self.is_due(height) {
            self.snapshots.payload = 0;
            self.ledger.state_mut().begin_dump();
            self.ledger.history_mut().hold(Some(height));
            self.snapshots.taking = Some(Taking {
                at: commit.clone(),
                next: HexBytes::default(),
                proof: None,
                chunks: Vec::new(),
                stage: Stage::Link(0),
                due_at: now,
            });
        }
    }

    fn is_due(&self, height: Height) -> bool {
        let interval = self.snapshots.config.interval;
        let early = EARLY_BYTES.max(2 * self.ledger.state().bytes() as u64);
        interval > 0
            && (height.is_multiple_of(interval)
                || self.snapshots.extra == Some(height)
                || (height.is_multiple_of(EARLY_HEIGHTS) && self.snapshots.payload >= early))
    }

    /// Writes the next chunk when its time has come.
    pub(in crate::chain) fn write_snapshot(&mut self, ctx: &mut Context<'_>) {
        let is_due = |taking: &mut Taking| taking.due_at().is_some_and(|at| at <= ctx.now);
        let Some(mut taking) = self.snapshots.taking.take_if(is_due) else {
            return;
        };
        let (instance, height) = (ctx.chain, taking.at.height());
        match self.next_chunk(&mut taking) {
            Some(bytes) if taking.chunks.len() < CHUNKS_MAX => {
                let chunk = taking.chunks.len();
                taking.chunks.push(ChunkInfo {
                    digest: Digest::of_bytes(&bytes),
                    bytes: bytes.len() as u32,
                });
                taking.due_at = ctx.now + CHUNK_INTERVAL_MS;
                ctx.order(SnapshotOrder::Append {
                    instance,
                    height,
                    chunk,
                    bytes: bytes.into(),
                });
            }
            Some(_) => {
                ctx.log(
                    LogLevel::Warn,
                    format!("instance {}: the snapshot of height {height} is too large", self.id),
                );
                ctx.order(SnapshotOrder::Remove { instance, height });
                self.ledger.state_mut().end_dump();
                self.ledger.history_mut().hold(None);
                return;
            }
            None => {
                self.ledger.history_mut().hold(None);
                if let Some(manifest) = taking.manifest(&self.id) {
                    ctx.order(SnapshotOrder::Finish {
                        instance,
                        height,
                        manifest: manifest.encode().into(),
                    });
                }
            }
        }
        self.snapshots.taking = Some(taking);
    }

    fn next_chunk(&mut self, taking: &mut Taking) -> Option<Vec<u8>> {
        let height = taking.at.height();
        if let Stage::Link(index) = taking.stage {
            let link = self.snapshots.links.get(index);
            if let Some(link) = link.filter(|link| link.commit.height() < height + STATE_ROOT_LAG) {
                taking.stage = Stage::Link(index + 1);
                return Some(link_chunk(link));
            }
            taking.stage = Stage::History(first_of_history(height));
        }
        if let Stage::History(next) = taking.stage {
            if next < height {
                let headers = self.ledger.history().from(next);
                let (chunk, count) = history_chunk(headers.take_while(|header| header.height < height));
                taking.stage = Stage::History(next + count as Height);
                return Some(chunk);
            }
            taking.stage = Stage::State;
        }
        let piece = self.ledger.state_mut().next_piece();
        if piece.is_none() {
            taking.stage = Stage::End;
        }
        piece.map(|piece| state_chunk(&piece))
    }

    /// The snapshot of `height` was written, or could not be; returns its manifest.
    pub(super) fn end_taking(&mut self, height: Height) -> Option<Manifest> {
        let taking = self.snapshots.taking.take_if(|taking| taking.at.height() == height)?;
        self.ledger.state_mut().end_dump();
        self.ledger.history_mut().hold(None);
        taking.manifest(&self.id)
    }
}
