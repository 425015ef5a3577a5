//! Catch-up: follows neighbours that have decided more, block by block, by certificates.

use super::Chain;
use crate::{
    context::Context,
    event::{PeerIndex, Protocol, Time},
    record::StoredBlock,
    wire::{Body, Plain, batch_frame},
};
use regatta_base::{Digest, Height, HexBytes, decode, encode};
use regatta_consensus::{Certificate, Commit, HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, Message};
use std::collections::{BTreeMap, BTreeSet};

/// Blocks that one request asks for.
const REQUEST_BLOCKS: u16 = 32;
/// Blocks that are read from the journal for one neighbour at a time.
const LOADS_PER_PEER_MAX: usize = 64;
/// Decisions that may be kept ahead of the next height.
const AHEAD_MAX: Height = 64;
/// How long a neighbour has to bring the next block, in milliseconds.
const REQUEST_TIMEOUT_MS: Time = 2000;
/// Who said nothing about so many heights may have been behind meanwhile: statements about two heights are kept.
const SILENT_HEIGHTS: Height = 2;
/// A node further behind than this is catching up and does not take part.
const CATCHING_UP_BLOCKS: Height = 8;

/// What neighbours have, and decisions that arrived ahead of their turn.
#[derive(Debug)]
pub(crate) struct Catchup {
    heights: Vec<Height>,
    /// Which neighbours did not bring the next block when they were asked for it, and no decision since: what they say of
    /// their height moves nothing but questions.
    idle: Vec<bool>,
    /// Of which height each neighbour said anything last, and whether it had been silent about heights before that one.
    spoke: Vec<(Height, bool)>,
    /// The first block that each neighbour still has, as far as it said so.
    firsts: Vec<Height>,
    /// With the digest of the validator set by which each was checked.
    ahead: BTreeMap<Height, (PeerIndex, Commit, Digest)>,
    /// Heights whose decision is being checked.
    checking: BTreeSet<Height>,
    asked: Option<(PeerIndex, Height, Time)>,
}

impl Catchup {
    pub(crate) fn new(peers: usize) -> Self {
        Self {
            heights: vec![0; peers],
            idle: vec![false; peers],
            spoke: vec![(0, false); peers],
            firsts: vec![0; peers],
            ahead: BTreeMap::new(),
            checking: BTreeSet::new(),
            asked: None,
        }
    }

    pub(crate) fn note_height(&mut self, peer: PeerIndex, height: Height) {
        if let Some(known) = self.heights.get_mut(peer) {
            *known = (*known).max(height);
        }
    }

    /// A neighbour sent a statement about `height`.
    pub(crate) fn note_spoke(&mut self, peer: PeerIndex, height: Height) {
        if let Some(spoke) = self.spoke.get_mut(peer).filter(|(last, _)| *last < height) {
            *spoke = (height, spoke.0 + SILENT_HEIGHTS < height);
        }
    }

    /// Whether a neighbour that is at `height` now seems to have been behind when that height began: it dropped then what it
    /// was told about it.
    pub(crate) fn was_behind(&self, peer: PeerIndex, height: Height) -> bool {
        let spoke = self.spoke.get(peer);
        spoke.is_some_and(|(last, after_silence)| *after_silence || last + SILENT_HEIGHTS < height)
    }

    /// A neighbour brought a decision that holds.
    pub(crate) fn note_brought(&mut self, peer: PeerIndex) {
        if let Some(idle) = self.idle.get_mut(peer) {
            *idle = false;
        }
    }

    /// A neighbour has no blocks before `first`: the next one comes from somebody else.
    pub(crate) fn note_first(&mut self, peer: PeerIndex, first: Height) {
        if let Some(known) = self.firsts.get_mut(peer) {
            *known = first;
            self.asked.take_if(|(asked, ..)| *asked == peer);
        }
    }

    /// Whether neighbours are ahead and none of them has the block after `height` any more.
    pub(crate) fn is_cut_off(&self, height: Height) -> bool {
        let mut ahead = self
            .heights
            .iter()
            .zip(&self.firsts)
            .filter(|(theirs, _)| **theirs > height)
            .peekable();
        ahead.peek().is_some() && ahead.all(|(_, first)| *first > height + 1)
    }

    pub(crate) fn height_of(&self, peer: PeerIndex) -> Height {
        self.heights.get(peer).copied().unwrap_or(0)
    }

    /// A peer that returns may have lost its disk.
    pub(crate) fn peer_down(&mut self, peer: PeerIndex) {
        if let Some(known) = self.heights.get_mut(peer) {
            *known = 0;
            self.firsts[peer] = 0;
            self.idle[peer] = false;
            self.spoke[peer] = (0, false);
        }
        if self.asked.is_some_and(|(asked, ..)| asked == peer) {
            self.asked = None;
        }
    }

    /// The greatest height that a linked neighbour has.
    pub(crate) fn target(&self) -> Height {
        self.heights.iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn is_behind(&self, height: Height) -> bool {
        self.target() > height
    }

    /// Whether this node is far behind, as far as neighbours say so whose word is good: one that claims a height and does
    /// not bring the blocks to it would keep this node from taking part.
    pub(crate) fn is_catching_up(&self, height: Height) -> bool {
        let said = self.heights.iter().zip(&self.idle);
        let good = said.filter(|(_, idle)| !**idle).map(|(height, _)| *height);
        good.max().unwrap_or(0) > height.saturating_add(CATCHING_UP_BLOCKS)
    }

    /// Whether a decision of `height` is worth checking; it is then noted as being checked.
    pub(crate) fn takes(&mut self, height: Height, next: Height) -> bool {
        height < next + AHEAD_MAX && !self.ahead.contains_key(&height) && self.checking.insert(height)
    }

    pub(crate) fn refuse(&mut self, height: Height) {
        self.checking.remove(&height);
    }

    /// Keeps a decision until its turn, verified by the validator set `set`.
    pub(crate) fn keep(&mut self, from: PeerIndex, commit: Commit, set: Digest) {
        self.checking.remove(&commit.height());
        self.ahead.insert(commit.height(), (from, commit, set));
    }

    /// Takes out the decision of `height`, unless another set than `set` vouched for it: then it has to come again.
    pub(crate) fn take(&mut self, height: Height, set: &Digest) -> Option<(PeerIndex, Commit)> {
        let (from, commit, by) = self.ahead.remove(&height)?;
        (by == *set).then_some((from, commit))
    }

    /// Forgets everything below `next`.
    pub(crate) fn advance(&mut self, next: Height) {
        self.ahead = self.ahead.split_off(&next);
        self.checking = self.checking.split_off(&next);
    }

    /// Whom to ask for the blocks after `height` now, if anybody: one neighbour at a time, another one
    /// when the last did not bring the next block in time.
    fn next_request(&mut self, now: Time, height: Height, is_up: impl Fn(PeerIndex) -> bool) -> Option<PeerIndex> {
        let stuck = |(_, from, deadline): (PeerIndex, Height, Time)| height < from && now >= deadline;
        let done = |(_, from, _): (PeerIndex, Height, Time)| height >= from;
        let last = self.asked.filter(|&asked| stuck(asked)).map(|(peer, ..)| peer);
        if let Some(idle) = last.and_then(|last| self.idle.get_mut(last)) {
            *idle = true;
        }
        if self.asked.is_some_and(|asked| !stuck(asked) && !done(asked)) {
            return None;
        }
        let ahead = |&peer: &PeerIndex| self.heights[peer] > height && self.firsts[peer] <= height + 1 && is_up(peer);
        let peer = (0..self.heights.len())
            .filter(ahead)
            .min_by_key(|&peer| (self.idle[peer], Some(peer) == last, peer))?;
        // Done when this many blocks have arrived, or all that the neighbour has.
        let until = self.heights[peer].min(height + Height::from(REQUEST_BLOCKS));
        self.asked = Some((peer, until, now + REQUEST_TIMEOUT_MS));
        Some(peer)
    }
}

impl Chain {
    /// Asks a neighbour that is ahead for blocks. Called when nothing else brought them for a while.
    pub(super) fn request_blocks(&mut self, ctx: &mut Context<'_>, height: Height) {
        let links = ctx.links;
        let is_up = |peer: PeerIndex| links.get(peer).is_some_and(|link| link.up);
        if let Some(peer) = self.catchup.next_request(ctx.now, height, is_up) {
            let body = Body::BlockRequest {
                from: height + 1,
                count: REQUEST_BLOCKS,
            };
            ctx.send(peer, Plain::Instance(self.tag, body).encode(), Protocol::Sync, 0);
        }
    }

    /// Lets one neighbour know how far this node is.
    pub(super) fn tell_height(&mut self, peer: PeerIndex) {
        let status = self.status_message();
        self.outbox.push(peer, status, true);
    }

    pub(super) fn status_message(&self) -> HexBytes {
        encode(&Message::Status {
            height: self.ledger.height() + 1,
        })
        .into()
    }

    pub(super) fn on_block_request(&mut self, ctx: &mut Context<'_>, peer: PeerIndex, from: Height, count: u16) {
        self.catchup.note_height(peer, from.saturating_sub(1));
        let first = self.snapshots.first_block();
        if from < first {
            let frame = Plain::Instance(self.tag, Body::Pruned { first }).encode();
            return ctx.send(peer, frame, Protocol::Sync, 0);
        }
        let last = self.ledger.height().min(
            from.saturating_add(Height::from(count.min(REQUEST_BLOCKS)))
                .saturating_sub(1),
        );
        for height in from.max(1)..=last {
            if ctx.loads_of(peer) >= LOADS_PER_PEER_MAX {
                break;
            }
            ctx.load(peer, height);
        }
    }

    /// A block was read for `peer`: the decision first, then its batches.
    pub(crate) fn on_loaded(&mut self, ctx: &mut Context<'_>, peer: PeerIndex, block: &StoredBlock) {
        let (header, certificate) = (HexBytes(block.header.clone()), HexBytes(block.certificate.clone()));
        let frame = Plain::Instance(self.tag, Body::Block { header, certificate }).encode();
        ctx.send_bulk(peer, frame, Protocol::Sync);
        for batch in &block.batches {
            ctx.send_bulk(peer, batch_frame(self.tag, batch), Protocol::Sync);
        }
    }

    pub(super) fn on_block(&mut self, ctx: &mut Context<'_>, from: PeerIndex, header: &[u8], certificate: &[u8]) {
        let parsed = decode::<Certificate>(certificate, MESSAGE_BYTES_MAX);
        match parsed {
            Ok(certificate) if header.len() <= HEADER_BYTES_MAX => {
                let message = Message::Commit(Commit {
                    certificate,
                    header: header.to_vec(),
                });
                let bytes = HexBytes::from(encode(&message));
                self.receive(ctx, from, message, bytes);
            }
            Ok(_) => ctx.fault(from, "a block with too large a header".to_owned()),
            Err(error) => ctx.fault(from, format!("block: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_neighbour_at_a_time_and_another_when_it_stays_silent() {
        let mut catchup = Catchup::new(3);
        assert_eq!(catchup.next_request(0, 0, |_| true), None);
        catchup.note_height(1, 100);
        catchup.note_height(2, 90);
        assert!(catchup.is_behind(0) && catchup.is_catching_up(0) && !catchup.is_catching_up(95));
        assert_eq!(catchup.next_request(0, 0, |_| true), Some(1));
        assert_eq!(catchup.next_request(10, 5, |_| true), None, "still coming");
        assert_eq!(catchup.next_request(REQUEST_TIMEOUT_MS, 5, |_| true), Some(2));
        assert_eq!(
            catchup.next_request(REQUEST_TIMEOUT_MS, 37, |_| true),
            Some(2),
            "the next range, of who brings blocks"
        );
        assert!(!catchup.is_catching_up(85), "what the first one claims counts no more");
        catchup.note_brought(1);
        assert!(catchup.is_catching_up(85));
        assert_eq!(
            catchup.next_request(9 * REQUEST_TIMEOUT_MS, 40, |peer| peer == 1),
            Some(1)
        );
        catchup.peer_down(1);
        assert_eq!(
            catchup.next_request(9 * REQUEST_TIMEOUT_MS, 95, |_| true),
            None,
            "nobody is ahead"
        );
    }

    #[test]
    fn whoever_has_pruned_the_next_block_is_not_asked_for_it() {
        let mut catchup = Catchup::new(3);
        catchup.note_height(0, 5);
        assert!(!catchup.is_cut_off(10), "nobody is ahead");
        catchup.note_height(1, 100);
        catchup.note_height(2, 100);
        assert_eq!(catchup.next_request(0, 10, |_| true), Some(1));
        catchup.note_first(1, 50);
        assert_eq!(catchup.next_request(0, 10, |_| true), Some(2), "at once");
        assert!(!catchup.is_cut_off(10));
        catchup.note_first(2, 12);
        assert_eq!(
            (catchup.next_request(0, 10, |_| true), catchup.is_cut_off(10)),
            (None, true)
        );
        assert!(!catchup.is_cut_off(11), "the second still has block 12");
        catchup.peer_down(2);
        catchup.note_height(2, 100);
        assert!(!catchup.is_cut_off(10), "it may have another disk");
    }

    #[test]
    fn a_decision_is_checked_once_and_only_near_the_next_height() {
        let mut catchup = Catchup::new(1);
        assert!(catchup.takes(5, 5) && !catchup.takes(5, 5));
        assert!(!catchup.takes(5 + AHEAD_MAX, 5));
        catchup.refuse(5);
        assert!(catchup.takes(5, 5), "another one may be right");
        catchup.advance(6);
        assert!(catchup.checking.is_empty());
    }

    #[test]
    fn a_decision_checked_by_another_set_comes_again() {
        let certificate = Certificate {
            phase: regatta_consensus::Phase::Two,
            height: 7,
            round: 0,
            digest: Digest::ZERO,
            signers: regatta_consensus::Signers::default(),
            signatures: Vec::new(),
        };
        let commit = Commit {
            certificate,
            header: Vec::new(),
        };
        let (old, new) = (Digest([1; 32]), Digest([2; 32]));
        let mut catchup = Catchup::new(1);
        assert!(catchup.takes(7, 5));
        catchup.keep(0, commit.clone(), old);
        assert!(!catchup.takes(7, 6), "it is here");
        assert_eq!(catchup.take(7, &new), None, "the set changed on the way");
        assert!(catchup.takes(7, 7));
        catchup.keep(0, commit.clone(), new);
        assert_eq!(catchup.take(7, &new), Some((0, commit)));
    }
}
