//! Payload: cuts own batches, spreads them, takes in and passes on those of others.
//!
//! An author pushes its batch to every neighbour. Whoever holds a new batch announces it to the
//! neighbours that its source does not reach, and they ask for what they lack: each node receives a
//! batch about once, whatever the graph.

use super::{Chain, batches::AUTHOR_BYTES_MAX};
use crate::{
    context::{Context, Purpose},
    event::{LogLevel, PeerIndex, Protocol, Time},
    job::Job,
    wire::{Body, Plain, batch_frame},
};
use bytes::Bytes;
use regatta_api::{metrics::Metric, view::SubmitResult};
use regatta_apps::{BatchError, CheckedBatch, CheckedTransaction, NamedBatch, TransactionError, View};
use regatta_base::Digest;
use std::sync::Arc;

/// Most bytes of own batches that wait to be ordered; then the mempool fills and says so.
const OWN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of batches that are being checked at once.
const CHECKING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The transactions of a checked batch, as if a client had just submitted them.
pub(super) fn transactions_of(batch: &CheckedBatch) -> impl Iterator<Item = CheckedTransaction> + '_ {
    batch.items.iter().map(|item| {
        let bytes = batch.bytes.slice(item.range());
        let sender = View::parse(&bytes).ok().and_then(|view| view.sender());
        CheckedTransaction {
            id: item.id,
            sender,
            bytes,
        }
    })
}

impl Chain {
    /// When the oldest waiting transaction has waited long enough.
    pub(super) fn batch_due_at(&self) -> Option<Time> {
        let since = self.mempool.queued_since()?;
        let has_room = self.batches.author_bytes(&self.role.key) < OWN_BYTES_MAX;
        (has_room && self.role.votes).then_some(since + self.config.batch_delay_ms)
    }

    /// Makes batches of what is waiting, as long as they are full or due and the last ones get ordered.
    pub(super) fn cut_batches(&mut self, ctx: &mut Context<'_>) {
        while let Some(due) = self.batch_due_at()
            && (due <= ctx.now || self.mempool.queue_bytes() >= self.config.batch_bytes)
        {
            let waiting = self.mempool.cut(ctx.now, self.config.batch_bytes);
            let (transactions, slots): (Vec<_>, Vec<_>) = waiting.into_iter().map(|w| (w.transaction, w.slot)).unzip();
            let batch = CheckedBatch::build(&self.domain, self.ledger.height(), &transactions, ctx.secret);
            let record = self.append_batch(ctx, &batch);
            let frame = batch_frame(self.tag, &batch.bytes);
            let digest = batch.digest;
            self.batches.hold(&Arc::new(batch), true);
            let peers: Vec<PeerIndex> = ctx.links.up().collect();
            for peer in peers {
                if self.batches.begin_send(ctx.now, &digest, peer).is_some() {
                    ctx.send_bulk(peer, frame.clone(), Protocol::Payload);
                }
            }
            for (transaction, slot) in transactions.iter().zip(slots) {
                let Some(slot) = slot else { continue };
                let result = SubmitResult {
                    id: Some(transaction.id),
                    rejected: None,
                };
                self.resolve(ctx, slot, result, record);
            }
            self.signal_work(ctx);
        }
    }

    pub(super) fn replay_batch(&mut self, bytes: Bytes) -> Result<(), crate::NodeError> {
        // The author's signature was checked before it was written. Those of the transactions were not if a quorum seemed to
        // vouch for them then.
        let mut rng = regatta_base::seed::rng(0, "replay");
        let batch = NamedBatch::new(&self.domain, bytes)
            .ok_or(BatchError::Malformed(TransactionError::Malformed))
            .and_then(|batch| {
                CheckedBatch::check(
                    &self.domain,
                    batch,
                    false,
                    &mut regatta_base::Keyring::default(),
                    &mut rng,
                )
            })
            .map_err(|error| crate::NodeError::Journal(format!("a batch: {error}")))?;
        let is_own = batch.author == self.role.key;
        if is_own {
            for transaction in transactions_of(&batch) {
                self.mempool.mark_pending(&transaction);
            }
        }
        self.batches.hold(&Arc::new(batch), is_own);
        Ok(())
    }

    /// Checks the transactions of batches that are held unchecked, to vote for them or to propose them: nobody has to send
    /// them again.
    pub(super) fn check_held(&mut self, ctx: &mut Context<'_>, digests: &[Digest]) {
        for digest in digests {
            let Some(batch) = self.batches.get(digest) else {
                continue;
            };
            let bytes = batch.bytes.clone();
            let size = bytes.len();
            if self.checking.contains(digest) || self.checking_bytes + size > CHECKING_BYTES_MAX {
                continue;
            }
            if let Some(batch) = NamedBatch::new(&self.domain, bytes) {
                self.check(ctx, None, batch, true);
            }
        }
    }

    /// Checks what became of a quorum's business and is now this node's own to vouch for.
    pub(super) fn check_unchecked(&mut self, ctx: &mut Context<'_>) {
        if self.batches.unchecked().is_empty() || !self.checks_transactions() {
            return;
        }
        let digests: Vec<Digest> = self.batches.unchecked().iter().copied().collect();
        self.check_held(ctx, &digests);
    }

    /// Whether this node vouches for transactions. While blocks are being caught up with, their quorum does.
    fn checks_transactions(&self) -> bool {
        self.role.votes && !self.is_catching_up()
    }

    fn check(&mut self, ctx: &mut Context<'_>, from: Option<PeerIndex>, batch: NamedBatch, signatures: bool) {
        let (digest, bytes) = (batch.digest(), batch.bytes().len());
        self.checking.insert(digest);
        self.checking_bytes += bytes;
        let purpose = Purpose::Batch {
            from,
            digest,
            bytes,
            votable: signatures,
        };
        let domain = self.domain;
        let job = Job::Batch {
            domain,
            batch,
            signatures,
        };
        self.check_batch(ctx, purpose, job);
    }

    pub(crate) fn on_batch(&mut self, ctx: &mut Context<'_>, from: PeerIndex, bytes: Bytes) {
        let size = bytes.len();
        let Some(batch) = NamedBatch::new(&self.domain, bytes) else {
            return ctx.fault(from, "a batch that is too short".to_owned());
        };
        let digest = batch.digest();
        if self.is_at_hand(&digest) {
            return;
        }
        if self.checking_bytes + size > CHECKING_BYTES_MAX {
            ctx.count(Metric::FramesDropped, 1);
            return;
        }
        let signatures = self.checks_transactions();
        self.check(ctx, Some(from), batch, signatures);
    }

    /// Whether a batch is held, is being checked, or was ordered before.
    fn is_at_hand(&self, digest: &Digest) -> bool {
        let is_held = self.batches.get(digest).is_some();
        is_held || self.checking.contains(digest) || self.ledger.is_included(digest)
    }

    /// The transactions of a batch that was held before were checked.
    pub(super) fn on_held_checked(&mut self, ctx: &mut Context<'_>, digest: &Digest, holds: bool) {
        if !holds {
            let author = self.batches.get(digest).map(|batch| batch.author.short());
            let of = author.unwrap_or_default();
            let line = format!("instance {}: {of} signed a batch with a forged transaction", self.id);
            ctx.log(LogLevel::Warn, line);
        }
        self.batches.judge(digest, holds);
        self.revisit(ctx);
        self.signal_work(ctx);
    }

    pub(super) fn on_batch_checked(
        &mut self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        votable: bool,
        result: Result<CheckedBatch, BatchError>,
    ) {
        let batch = match result {
            Ok(batch) => batch,
            Err(BatchError::Forged(author)) if ctx.links.get(from).is_none_or(|link| link.key != author) => {
                // Who passed it on may be a follower, which does not check transactions.
                return ctx.count(Metric::FramesDropped, 1);
            }
            Err(error) => return ctx.fault(from, format!("batch: {error}")),
        };
        let digest = batch.digest;
        if self.batches.get(&digest).is_some() || self.ledger.is_included(&digest) {
            return;
        }
        let is_wanted = self.batches.is_wanted(&digest);
        let is_late = !batch.may_be_ordered_at(self.ledger.height() + 1) && batch.base_height <= self.ledger.height();
        // What a block names is held whoever made it; whether it may be voted for is judged with the proposal.
        let is_unasked = !self.is_from_validator(&batch) || self.batches.author_bytes(&batch.author) > AUTHOR_BYTES_MAX;
        if !is_wanted && (is_late || is_unasked) {
            ctx.count(Metric::FramesDropped, 1);
            return;
        }
        // Before the vote that promises to hold it: the journal keeps that order.
        self.append_batch(ctx, &batch);
        self.batches.hold(&Arc::new(batch), votable);
        self.announce(ctx, from, digest);
        self.revisit(ctx);
        self.signal_work(ctx);
    }

    fn announce(&mut self, ctx: &Context<'_>, from: PeerIndex, digest: Digest) {
        for peer in ctx.links.up() {
            if peer != from && !ctx.links.covers(from, peer) {
                self.outbox.announce(peer, digest);
            }
        }
    }

    /// Tells a neighbour whose link came up what waits to be ordered.
    pub(super) fn announce_waiting(&mut self, peer: PeerIndex) {
        for digest in self.batches.propose(self.ledger.height() + 1, &[]) {
            self.outbox.announce(peer, digest);
        }
    }

    pub(super) fn on_announce(&mut self, ctx: &mut Context<'_>, from: PeerIndex, digests: &[Digest]) {
        for digest in digests {
            if !self.is_at_hand(digest) {
                self.batches.want_announced(*digest, from);
            }
        }
        self.request_batches(ctx);
    }

    /// Looks for batches at every neighbour.
    pub(super) fn want_from_everyone(&mut self, ctx: &mut Context<'_>, digests: &[Digest]) {
        for digest in digests.iter().filter(|digest| !self.checking.contains(digest)) {
            for peer in ctx.links.up() {
                self.batches.want(*digest, peer);
            }
        }
        self.request_batches(ctx);
    }

    pub(super) fn request_batches(&mut self, ctx: &mut Context<'_>) {
        let links = ctx.links;
        let is_up = |peer: PeerIndex| links.get(peer).is_some_and(|link| link.up);
        for (peer, digests) in self.batches.requests(ctx.now, is_up) {
            let frame = Plain::Instance(self.tag, Body::Want(digests)).encode();
            ctx.send(peer, frame, Protocol::Payload, 0);
        }
    }

    pub(super) fn on_want(&mut self, ctx: &mut Context<'_>, from: PeerIndex, digests: &[Digest]) {
        for digest in digests {
            if let Some(batch) = self.batches.begin_send(ctx.now, digest, from) {
                ctx.send_bulk(from, batch_frame(self.tag, &batch.bytes), Protocol::Payload);
            }
        }
    }
}

#[cfg(test)]
impl Chain {
    /// Whether a batch is held, and whether this node votes for it.
    pub(crate) fn held_for_tests(&self, digest: &Digest) -> (bool, bool) {
        (self.batches.get(digest).is_some(), self.batches.is_votable(digest))
    }
}
