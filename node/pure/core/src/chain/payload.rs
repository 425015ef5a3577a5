//! Payload: cuts own batches, spreads them, takes in and passes on those of others.
//!
//! An author pushes its batch to every neighbour. Whoever holds a new batch announces it to the
//! neighbours that its source does not reach, and they ask for what they lack: each node receives a
//! batch about once, whatever the graph.

use super::{Chain, batches::AUTHOR_BATCHES_MAX};
use crate::{
    context::{Context, Purpose},
    event::{LogLevel, PeerIndex, Protocol, Time},
    job::Job,
    wire::{Body, Plain, batch_frame},
};
use bytes::Bytes;
use regatta_api::{metrics::Metric, view::SubmitResult};
use regatta_apps::{BatchError, CheckedBatch, CheckedTransaction, NamedBatch, TransactionError, View};
use regatta_base::{Digest, Height, PublicKey, limits};
use std::sync::Arc;

/// Most bytes of own batches that wait to be ordered; then the mempool fills and says so.
const OWN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of batches that are being checked at once.
const CHECKING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A batch whose author claims to be so many blocks ahead of this node is not taken: it comes again when a block names it.
const BASES_AHEAD_MAX: Height = 64;

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
        let own = self.batches.share_of(&self.role.key);
        let has_room = own.bytes < OWN_BYTES_MAX && own.batches < AUTHOR_BATCHES_MAX / 2;
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

    /// Checks the transactions of a batch that is held unchecked, to vote for it or to propose it: nobody has to send it
    /// again. Not if there is no room for it now.
    fn check_held(&mut self, ctx: &mut Context<'_>, digest: &Digest) -> bool {
        let bytes = self.batches.get(digest).map(|batch| batch.bytes.clone());
        let named = bytes.and_then(|bytes| NamedBatch::new(&self.domain, bytes));
        let is_checking = self.checking.contains(digest);
        let Some(batch) = named.filter(|batch| !is_checking && self.has_room_to_check(batch)) else {
            return false;
        };
        self.batches.begin_check(digest);
        self.check(ctx, None, batch, true);
        true
    }

    /// Checks those of these batches that are held unchecked, and looks for the others.
    pub(super) fn make_votable(&mut self, ctx: &mut Context<'_>, digests: &[Digest]) {
        let is_held = |digest: &&Digest| self.batches.get(digest).is_some();
        let (held, missing): (Vec<&Digest>, Vec<&Digest>) = digests.iter().partition(is_held);
        for digest in held {
            self.check_held(ctx, digest);
        }
        let missing: Vec<Digest> = missing.into_iter().copied().collect();
        if !missing.is_empty() {
            self.want_from_everyone(ctx, &missing);
        }
    }

    /// Checks what a quorum seemed to vouch for and is now this node's own to vouch for.
    pub(super) fn check_unchecked(&mut self, ctx: &mut Context<'_>) {
        while let Some(digest) = self.batches.next_unchecked()
            && self.checks_transactions()
            && self.check_held(ctx, &digest)
        {}
    }

    fn has_room_to_check(&self, batch: &NamedBatch) -> bool {
        self.checking_bytes + batch.bytes().len() <= CHECKING_BYTES_MAX
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
        let Some((batch, claimed)) = NamedBatch::new(&self.domain, bytes).and_then(|batch| {
            let claimed = batch.claimed()?;
            Some((batch, claimed))
        }) else {
            return ctx.fault(from, "a batch that is too short".to_owned());
        };
        let digest = batch.digest();
        if self.is_at_hand(&digest) {
            return;
        }
        // What nobody would keep is not worth a check.
        if !self.has_room_to_check(&batch) || !self.is_welcome(&digest, claimed) {
            ctx.count(Metric::FramesDropped, 1);
            return;
        }
        let signatures = self.checks_transactions();
        self.check(ctx, Some(from), batch, signatures);
    }

    /// Whether a batch is held, is being checked, or was ordered before.
    fn is_at_hand(&self, digest: &Digest) -> bool {
        let is_held = self.batches.get(digest).is_some() || self.batches.is_forged(digest);
        is_held || self.checking.contains(digest) || self.ledger.is_included(digest)
    }

    /// Whether a batch of this author and base height is taken. What a block names is, whoever made it; whether it may be
    /// voted for is judged with the proposal.
    fn is_welcome(&self, digest: &Digest, (author, base_height): (PublicKey, Height)) -> bool {
        let height = self.ledger.height();
        let is_late = base_height.saturating_add(limits::BATCH_LIFETIME_BLOCKS) < height + 1;
        let is_early = base_height > height.saturating_add(BASES_AHEAD_MAX);
        let is_timely = !is_late && !is_early;
        let has_room = !self.batches.share_of(&author).is_full();
        self.batches.is_wanted(digest) || is_timely && has_room && self.is_from_validator(author, base_height)
    }

    /// The transactions of a batch that was held before were checked.
    pub(super) fn on_held_checked(&mut self, ctx: &mut Context<'_>, digest: &Digest, holds: bool) {
        if !holds {
            let author = self.batches.get(digest).map(|batch| batch.author.short());
            let of = author.unwrap_or_default();
            let line = format!("instance {}: {of} signed a batch with a forged transaction", self.id);
            ctx.log(LogLevel::Warn, line);
        }
        if holds {
            self.batches.vouch(digest);
        } else {
            self.batches.condemn(digest);
        }
        self.revisit(ctx);
        self.signal_work(ctx);
    }

    pub(super) fn on_batch_checked(
        &mut self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        (digest, votable): (Digest, bool),
        result: Result<CheckedBatch, BatchError>,
    ) {
        let batch = match result {
            Ok(batch) => batch,
            Err(error) => return self.on_bad_batch(ctx, from, &digest, error),
        };
        if self.batches.get(&digest).is_some() || self.ledger.is_included(&digest) {
            return;
        }
        if !self.is_welcome(&digest, (batch.author, batch.base_height)) {
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

    fn on_bad_batch(&mut self, ctx: &mut Context<'_>, from: PeerIndex, digest: &Digest, error: BatchError) {
        let author = match error {
            BatchError::Forged(author) => Some(author),
            BatchError::Malformed(_) | BatchError::BadAuthor => None,
        };
        let bearer = ctx.links.get(from).map(|link| link.key);
        if author.is_some() {
            self.batches.condemn(digest);
            self.revisit(ctx);
        }
        if author.is_some() && author != bearer {
            // Who passed it on may be a follower, which does not check transactions.
            ctx.count(Metric::FramesDropped, 1);
        } else {
            ctx.fault(from, format!("batch: {error}"));
        }
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
