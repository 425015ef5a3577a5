//! Snapshots of one chain: written every so many blocks, served to neighbours, fetched when far behind.

mod fetch;
mod serve;
mod take;

use super::{Chain, sets::Sets};
use crate::{
    context::Context,
    event::{LogLevel, SnapshotOrder, SnapshotReport, Time},
    record::Record,
    snapshot::{Link, Manifest, Restored},
};
use bytes::Bytes;
use fetch::Fetch;
use regatta_api::{
    NodeConfig,
    config::{Retain, SnapshotConfig},
    view::SnapshotView,
};
use regatta_base::Height;
use regatta_consensus::{Commit, Input, Scope};
use serve::Budget;
use take::Taking;

/// A finished snapshot on the disk.
#[derive(Debug)]
struct Kept {
    manifest: Manifest,
    encoded: Bytes,
}

/// What a chain knows of its snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots {
    config: SnapshotConfig,
    retain: Retain,
    /// Finished ones, in ascending order of their heights.
    kept: Vec<Kept>,
    taking: Option<Taking>,
    /// A height at which one is written besides.
    extra: Option<Height>,
    fetch: Option<Fetch>,
    fetch_after: Time,
    /// A fetched snapshot that waits until it is durable.
    installing: Option<Box<Restored>>,
    /// Changes of the validator set since the first block.
    links: Vec<Link>,
    /// Bytes of transactions executed since the last snapshot was begun.
    payload: u64,
    /// The first of the consecutive blocks that the journal has up to the last one.
    first_block: Height,
    /// The last block that was taken back from the journal.
    last_replayed: Height,
    budget: Budget,
    /// The last snapshot that came from neighbours, since the process began.
    fetched: Option<Fetched>,
}

/// A snapshot that came from neighbours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched {
    pub(crate) height: Height,
    pub(crate) bytes: u64,
}

impl Snapshots {
    pub(crate) fn new(node: &NodeConfig, config: SnapshotConfig) -> Self {
        Self {
            config,
            retain: node.store.retain_blocks,
            kept: Vec::new(),
            taking: None,
            extra: None,
            fetch: None,
            fetch_after: 0,
            installing: None,
            links: Vec::new(),
            payload: 0,
            first_block: 1,
            last_replayed: 0,
            budget: Budget::default(),
            fetched: None,
        }
    }

    /// The last snapshot that the node went on from since it started, having fetched it.
    pub(crate) fn fetched(&self) -> Option<Fetched> {
        self.fetched
    }

    pub(crate) fn first_block(&self) -> Height {
        self.first_block
    }

    /// A block was taken back from the journal.
    pub(crate) fn note_replayed(&mut self, height: Height) {
        if height != self.last_replayed + 1 {
            self.first_block = height;
        }
        self.last_replayed = height;
    }

    /// The journal goes on after a snapshot of `height`.
    pub(crate) fn note_installed(&mut self, height: Height) {
        (self.first_block, self.last_replayed) = (height.saturating_add(1), height);
    }

    /// Whether a snapshot is being fetched, so that blocks need not be.
    pub(crate) fn is_fetching(&self) -> bool {
        self.fetch.as_ref().is_some_and(Fetch::is_under_way) || self.installing.is_some()
    }

    /// Whether the fetching waits for anything.
    pub(crate) fn is_waiting(&self) -> bool {
        self.fetch.is_some()
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.taking.as_ref().and_then(Taking::due_at)
    }

    fn keep(&mut self, manifest: Manifest) {
        let encoded = manifest.encode().into();
        self.kept.retain(|kept| kept.manifest.height() != manifest.height());
        self.kept.push(Kept { manifest, encoded });
        self.kept.sort_by_key(|kept| kept.manifest.height());
    }
}

impl Chain {
    /// Writes a snapshot at this height too, if the node writes any.
    pub(crate) fn want_snapshot(&mut self, height: Height) {
        self.snapshots.extra = Some(height);
    }

    pub(crate) fn is_writing_snapshot(&self) -> bool {
        self.snapshots.taking.is_some()
    }

    /// A finished snapshot that was found on the disk; before the start.
    pub(crate) fn keep_snapshot(&mut self, manifest: Manifest) {
        self.snapshots.keep(manifest);
    }

    /// Goes on from a snapshot that was found on the disk; before the first record is taken back.
    pub(crate) fn restore(&mut self, restored: Restored) {
        self.adopt(restored);
    }

    /// The journal may end before the snapshot that the node begins with: a crash came between writing the two, or the
    /// snapshot was loaded by hand. The next block does not follow the journal's last one then.
    pub(crate) fn mark_installed(&mut self, ctx: &mut Context<'_>) {
        let height = self.ledger.height();
        if self.snapshots.last_replayed < height {
            self.snapshots.note_installed(height);
            ctx.append(Record::Installed {
                instance: self.index,
                height,
            });
        }
    }

    /// Replaces the state by that of a snapshot.
    fn adopt(&mut self, restored: Restored) {
        let height = restored.manifest().height();
        self.snapshots.keep(restored.manifest().clone());
        self.snapshots.first_block = height + 1;
        let changes = restored.links.iter().filter_map(Link::change);
        let sets = Sets::restored(self.genesis.clone(), height, changes);
        self.snapshots.links = restored.links.clone();
        self.ledger.install(sets, restored);
        // The next block brings this one again.
        self.snapshots.links.retain(|link| link.commit.height() <= height);
        self.agreement.pass(height);
        self.update_role();
        let set = |height| self.ledger.sets().at(height).map(Scope::validators);
        if let (Some(now), Some(soon)) = (set(height + 1), set(height + 2)) {
            self.routes.advance(height + 1, now, soon);
        }
        self.catchup.advance(height + 1);
        self.settle_batches();
    }

    /// A block was executed: when another set decides the next height, its certificate proves that set.
    pub(crate) fn note_set_change(&mut self, commit: &Commit) {
        let height = commit.height();
        let set = |height| self.ledger.sets().at(height).map(|scope| scope.validators());
        if let (Some(own), Some(next)) = (set(height), set(height + 1))
            && own.hash() != next.hash()
        {
            self.snapshots.links.push(Link {
                commit: commit.clone(),
                validators: next.members().to_vec(),
            });
        }
    }

    /// Lets go of batches that were ordered in blocks that this node did not execute one by one.
    pub(crate) fn settle_batches(&mut self) {
        let ledger = &self.ledger;
        for batch in self.batches.take_waiting(|digest| ledger.is_included(digest)) {
            for transaction in super::payload::transactions_of(&batch) {
                self.mempool.executed(&transaction.id, transaction.sender);
            }
        }
    }

    pub(crate) fn on_snapshot(&mut self, ctx: &mut Context<'_>, report: &SnapshotReport) {
        match *report {
            SnapshotReport::Written { height, ok, .. } => self.on_written(ctx, height, ok),
            SnapshotReport::Pruned { first, .. } => {
                self.snapshots.first_block = self.snapshots.first_block.max(first);
            }
            // The node finds out for whom a chunk was read.
            SnapshotReport::Chunk(..) => {}
        }
        self.finish_step(ctx);
    }

    fn on_written(&mut self, ctx: &mut Context<'_>, height: Height, ok: bool) {
        let is_installing = |restored: &Restored| restored.manifest().height() == height;
        let id = &self.id;
        if !ok {
            ctx.log(
                LogLevel::Warn,
                format!("instance {id}: the snapshot of height {height} could not be written"),
            );
            self.end_taking(height);
            self.snapshots.installing.take_if(|restored| is_installing(restored));
            return;
        }
        ctx.log(LogLevel::Info, format!("instance {id}: a snapshot of height {height}"));
        if let Some(restored) = self.snapshots.installing.take_if(|restored| is_installing(restored)) {
            self.install(ctx, *restored);
        } else if let Some(manifest) = self.end_taking(height) {
            self.snapshots.keep(manifest);
        }
        // When the newest one is damaged, the one before and the journal make up for it.
        while self.snapshots.kept.len() as u64 > self.snapshots.config.keep.max(2) {
            let old = self.snapshots.kept.remove(0).manifest.height();
            ctx.order(SnapshotOrder::Remove {
                instance: ctx.chain,
                height: old,
            });
        }
        self.prune(ctx);
    }

    /// A fetched snapshot is durable: the node goes on from it.
    fn install(&mut self, ctx: &mut Context<'_>, restored: Restored) {
        let height = restored.manifest().height();
        if height <= self.ledger.height() {
            // Blocks were faster. The snapshot is as good as one written here.
            self.snapshots.keep(restored.manifest().clone());
            return;
        }
        if let Some(taking) = self.snapshots.taking.take() {
            ctx.order(SnapshotOrder::Remove {
                instance: ctx.chain,
                height: taking.height(),
            });
        }
        ctx.append(Record::Installed {
            instance: self.index,
            height,
        });
        ctx.log(
            LogLevel::Info,
            format!(
                "instance {}: goes on from a snapshot of height {height}, having executed {}",
                self.id,
                self.ledger.height()
            ),
        );
        self.snapshots.fetched = Some(Fetched {
            height,
            bytes: restored.manifest().bytes(),
        });
        self.adopt(restored);
        let set = |height| self.ledger.sets().at(height).map(|scope| scope.validators().clone());
        if let (Some(next), Some(after)) = (set(height + 1), set(height + 2)) {
            let validators = [next, after];
            self.drive(ctx, Input::Synced { height, validators });
        }
        self.sweep_soon(ctx.now);
    }

    /// Lets the journal go of what two snapshots and the configured number of blocks do not need.
    fn prune(&mut self, ctx: &mut Context<'_>) {
        let (Retain::Last(blocks), [older, _, ..]) = (self.snapshots.retain, self.snapshots.kept.as_slice()) else {
            return;
        };
        let through = older.manifest.height().min(self.ledger.height().saturating_sub(blocks));
        if through >= self.snapshots.first_block {
            ctx.order(SnapshotOrder::Prune {
                instance: ctx.chain,
                through,
                waiting: self.batches.waiting().collect(),
            });
        }
    }

    /// The finished snapshots, oldest first.
    pub(crate) fn snapshot_views(&self) -> impl Iterator<Item = SnapshotView> + '_ {
        self.snapshots.kept.iter().map(|Kept { manifest, .. }| SnapshotView {
            instance: self.id.clone(),
            height: manifest.height(),
            hash: manifest.hash(),
            state_root: manifest.state_root(),
            chunks: manifest.chunks().len() as u64,
            bytes: manifest.bytes(),
        })
    }
}
