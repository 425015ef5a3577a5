//! Consensus messages: in from neighbours, checked, passed on, and out again.

use super::{Agreement, Inbound, ballots::Waiting};
use crate::{
    chain::{
        Chain, encoded,
        gossip::{Arrival, HEIGHTS_AHEAD_MAX, MessageKey, key_of},
    },
    context::Context,
    event::{PeerIndex, Protocol},
    mutants::mutant,
    wire::{Body, Plain},
};
use regatta_api::metrics::Metric;
use regatta_base::{Digest, Height, HexBytes, ValidatorSet, decode};
use regatta_consensus::{
    Commit, Input, MESSAGE_BYTES_MAX, Message, Proposal, ROUNDS_AWAY_MAX, Scope, SignatureClaim, header_digest,
};
use std::collections::BTreeSet;

/// Messages that may wait for their signatures; beyond it new ones are dropped and come again by retry.
const INBOX_MAX: usize = 20_000;
/// Those of one neighbour, so that it displaces only its own.
const INBOX_PER_PEER_MAX: usize = 4_096;
/// Messages that may wait until the validators of their height are known, for each neighbour.
const EARLY_PER_PEER_MAX: usize = 256;

impl Chain {
    pub(super) fn broadcast(&mut self, ctx: &mut Context<'_>, message: &Message) {
        #[cfg(any(test, feature = "byzantine"))]
        if self.misbehaves(ctx, message) {
            return;
        }
        if let Message::Proposal(proposal) = message {
            self.keep_header(proposal);
            self.note_proposal(ctx.now, proposal);
        }
        let bytes = encoded(message);
        let Some(key) = key_of(message) else {
            for peer in ctx.links.up() {
                self.outbox.push(peer, bytes.clone(), true);
            }
            return;
        };
        let receivers = self.receivers(ctx.links, message);
        let receivers = self.told_at_once(ctx, message, receivers);
        if self.agreement.insists {
            self.agreement.gossip.forget_holders(&key);
        }
        for peer in self.agreement.gossip.spread(key, &bytes, receivers.into_iter()) {
            self.outbox.push(peer, bytes.clone(), true);
        }
    }

    pub(super) fn keep_header(&mut self, proposal: &Proposal) {
        let key = (proposal.vote.statement.height, proposal.digest());
        self.agreement.headers.insert(key, proposal.header.clone());
    }

    pub(in crate::chain) fn on_consensus(&mut self, ctx: &mut Context<'_>, from: PeerIndex, messages: Vec<HexBytes>) {
        for bytes in messages {
            match decode::<Message>(&bytes.0, MESSAGE_BYTES_MAX) {
                Ok(Message::Status { height }) => self.on_status(ctx, from, height),
                Ok(message) => self.receive(ctx, from, message, bytes),
                // The link ends with the first fault.
                Err(error) => return ctx.fault(from, format!("consensus message: {error}")),
            }
        }
    }

    fn on_status(&mut self, ctx: &mut Context<'_>, from: PeerIndex, height: Height) {
        let (before, here) = (self.catchup.height_of(from), self.ledger.height());
        self.catchup.note_height(from, height.saturating_sub(1));
        let is_level = before < here && self.catchup.height_of(from) == here;
        if is_level && self.catchup.was_behind(from, here + 1) {
            self.agreement.gossip.peer_behind(from);
            self.offer_messages(ctx, from);
        }
        self.agreement.asking = Some(from);
        self.drive(ctx, Input::Recv(Message::Status { height }));
        self.agreement.asking = None;
    }

    /// Queues a message for the check of its signatures, unless it is known, stale or too far ahead.
    pub(in crate::chain) fn receive(
        &mut self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        message: Message,
        encoded: HexBytes,
    ) {
        let (height, next) = (message.height(), self.ledger.height() + 1);
        let key = key_of(&message);
        if height == next && key.is_some() {
            self.catchup.note_spoke(from, height);
        }
        match (&message, &key) {
            (Message::Commit(_), _) => {
                self.catchup.note_height(from, height);
                if height < next || !self.catchup.takes(height, next) {
                    return;
                }
            }
            (_, Some(_)) if height < next && !self.is_sign_of_life(&message) => return,
            (_, Some(_)) if height < next => {}
            (_, Some(_)) if height > next + HEIGHTS_AHEAD_MAX => {
                self.catchup.note_height(from, height - 1);
                self.keep_early(from, message, encoded);
                return;
            }
            (_, Some(key)) => match self.agreement.gossip.arrived(*key, from, &encoded) {
                Arrival::New => {}
                Arrival::Rival if !mutant!(self.agreement.ballots, keep_rivals_out) => {}
                Arrival::Rival | Arrival::Known => return,
            },
            (_, None) => return,
        }
        let of_peer = self.agreement.inbox_of.get(&from).copied().unwrap_or(0);
        if self.agreement.inbox.len() >= INBOX_MAX || of_peer >= INBOX_PER_PEER_MAX {
            self.refuse(ctx, &message, key.as_ref(), &encoded);
            ctx.count(Metric::FramesDropped, 1);
            return;
        }
        // A decision far ahead is checked as if the validators did not change on the way.
        let sets = self.ledger.sets();
        let (scope, is_guess) = match sets.at(height) {
            Some(scope) => (scope, false),
            None => (sets.newest(), true),
        };
        match message.claims(scope) {
            Ok(claims) => {
                let may_wait = !is_guess && self.may_wait(ctx, from, &message, scope);
                let inbound = Inbound {
                    from,
                    at: ctx.now,
                    message,
                    encoded,
                    key,
                    claims: claims.len(),
                    set: scope.validators().hash(),
                };
                let waiting = Waiting { inbound, claims };
                if may_wait {
                    let due = match waiting.inbound.message {
                        Message::Proposal(_) => self.agreement.wait_for_company(waiting),
                        _ => self.agreement.ballots.wait(waiting, scope.validators()),
                    };
                    self.agreement.queue(due);
                    if height == next {
                        // As for a vote that is checked: ask again if the height does not go on here.
                        self.retry_soon(ctx.now);
                    }
                    return;
                }
                if gives_up(&waiting.inbound.message) && !mutant!(self.agreement.ballots, wait_when_given_up) {
                    self.check_all(height);
                }
                self.agreement.queue(vec![waiting]);
            }
            Err(error) => {
                self.refuse(ctx, &message, key.as_ref(), &encoded);
                if is_guess || mutant!(self.agreement.ballots, blame_nobody) {
                    return;
                }
                ctx.fault(from, format!("consensus message: {error}"));
            }
        }
    }

    /// Whether a message is one validator's statement about a round that does not count at present.
    fn is_far_off(&self, message: &Message) -> bool {
        let is_current = message.height() == self.ledger.height() + 1;
        let present = if is_current { self.agreement.round() } else { 0 };
        let round = message.signed().map(|signed| signed.statement.round);
        // Whoever proposes proves that the round before is over.
        let is_vote = !matches!(message, Message::Proposal(_));
        is_vote && round.is_some_and(|round| round.abs_diff(present) > ROUNDS_AWAY_MAX)
    }

    /// Whether the signature of a message need not be checked before others of its kind are here.
    fn may_wait(&self, ctx: &Context<'_>, from: PeerIndex, message: &Message, scope: &Scope) -> bool {
        let signer = match message {
            Message::Vote(vote) => vote.signer,
            Message::Proposal(proposal) if self.is_for_later(proposal) => proposal.vote.signer,
            _ => return false,
        };
        let Some(member) = scope.validators().get(signer) else {
            return false;
        };
        let is_direct = ctx.links.get(from).is_some_and(|link| link.key == member.key);
        let core = &self.agreement.core;
        let is_direct = is_direct || mutant!(self.agreement.ballots, wait_from_strangers);
        let is_busy = core.is_active() || mutant!(self.agreement.ballots, wait_when_idle);
        let is_known_to_live = !core.lacks_sign_of(&member.key, message.height());
        let is_known_to_live = is_known_to_live || mutant!(self.agreement.ballots, wait_of_the_silent);
        if !(is_direct && is_busy && is_known_to_live) {
            return false;
        }
        mutant!(self.agreement.ballots, wait_to_be_passed_on)
            || self.relay_receivers(ctx.links, message, from).is_empty()
    }

    /// No vote of `height` waits any more to be checked, nor does a proposal.
    pub(super) fn check_all(&mut self, height: Height) {
        let mut opened = self.agreement.ballots.open(height);
        opened.extend(self.agreement.ahead.take());
        self.agreement.queue(opened);
    }

    /// Notes that a message of this node or a checked one counts.
    pub(super) fn count_vote(&mut self, message: &Message) {
        if let Some(scope) = self.ledger.sets().at(message.height()) {
            let due = self.agreement.ballots.count(message, scope.validators());
            self.agreement.queue(due);
        }
    }

    /// Whether a statement about a decided height shows that a leader lives which seemed dead.
    fn is_sign_of_life(&self, message: &Message) -> bool {
        let height = message.height();
        let signed = message.signed();
        let member = signed.and_then(|signed| self.ledger.sets().at(height)?.validators().get(signed.signer));
        member.is_some_and(|member| self.agreement.core.lacks_sign_of(&member.key, height))
    }

    /// Keeps a message whose signers the next block makes known; later ones come again by retry.
    fn keep_early(&mut self, from: PeerIndex, message: Message, encoded: HexBytes) {
        let is_next = message.height() == self.ledger.height() + 2 + HEIGHTS_AHEAD_MAX;
        let of_peer = self.agreement.early.iter().filter(|(peer, ..)| *peer == from);
        if is_next && of_peer.count() < EARLY_PER_PEER_MAX {
            self.agreement.early.push((from, message, encoded));
        }
    }

    /// A block was executed: what waited to know its validators can be checked.
    pub(super) fn take_early(&mut self, ctx: &mut Context<'_>) {
        for (from, message, encoded) in std::mem::take(&mut self.agreement.early) {
            self.receive(ctx, from, message, encoded);
        }
    }

    /// Forgets a message that does not hold; what it kept out has its turn.
    fn refuse(&mut self, ctx: &mut Context<'_>, message: &Message, key: Option<&MessageKey>, encoded: &HexBytes) {
        let set: Option<&ValidatorSet> = self.ledger.sets().at(message.height()).map(Scope::validators);
        if let Some(set) = set {
            let due = self.agreement.ballots.refuse(message, set);
            self.agreement.queue(due);
        }
        if let Message::Commit(commit) = message {
            self.catchup.refuse(commit.height());
        }
        let spares = key.map(|key| self.agreement.gossip.refuse(key, encoded));
        if !mutant!(self.agreement.ballots, drop_spares) {
            for (from, bytes) in spares.into_iter().flatten() {
                self.on_consensus(ctx, from, vec![bytes]);
            }
        }
    }

    /// Signatures that wait to be checked.
    pub(crate) fn unverified(&self) -> usize {
        self.agreement.inbox_claims.len()
    }

    /// Takes the claims of the messages that arrived first, at most `share` of them, but of one message at least.
    pub(crate) fn take_claims(&mut self, share: usize) -> Vec<SignatureClaim> {
        let Agreement {
            inbox,
            inbox_claims,
            inbox_of,
            checking,
            ..
        } = &mut self.agreement;
        if share == 0 {
            return Vec::new();
        }
        let mut count = 0;
        let fits = |inbound: &&Inbound| {
            let is_first = count == 0;
            count += inbound.claims;
            is_first || count <= share
        };
        let messages = inbox.iter().take_while(fits).count();
        for inbound in inbox.drain(..messages) {
            if let Some(of_peer) = inbox_of.get_mut(&inbound.from) {
                *of_peer = of_peer.saturating_sub(1);
            }
            checking.push(inbound);
        }
        let claims: usize = checking.iter().map(|inbound| inbound.claims).sum();
        inbox_claims.drain(..claims).collect()
    }

    pub(in crate::chain) fn on_claims(&mut self, ctx: &mut Context<'_>, valid: &[bool]) {
        let (mut rest, mut accused) = (valid, BTreeSet::new());
        let blames_all = mutant!(self.agreement.ballots, blame_all) && valid.contains(&false);
        for inbound in std::mem::take(&mut self.agreement.checking) {
            let (own, after) = rest.split_at(inbound.claims.min(rest.len()));
            rest = after;
            let holds = own.len() == inbound.claims && own.iter().all(|&valid| valid) && !blames_all;
            if holds || mutant!(self.agreement.ballots, trust_votes) {
                self.accept(ctx, inbound);
            } else {
                self.refuse(ctx, &inbound.message, inbound.key.as_ref(), &inbound.encoded);
                let known = self.ledger.sets().at(inbound.message.height());
                if known.is_none_or(|scope| scope.validators().hash() != inbound.set) {
                    continue;
                }
                if mutant!(self.agreement.ballots, blame_nobody) {
                    continue;
                }
                if accused.insert(inbound.from) {
                    ctx.fault(inbound.from, "a consensus message with a bad signature".to_owned());
                }
            }
        }
    }

    fn accept(&mut self, ctx: &mut Context<'_>, inbound: Inbound) {
        let Inbound {
            from,
            at,
            message,
            encoded,
            key,
            set,
            ..
        } = inbound;
        if let Message::Commit(commit) = message {
            self.on_commit(ctx, from, commit, set);
            return;
        }
        if message.height() <= self.ledger.height() {
            self.on_late(ctx, from, &message, &encoded);
            return;
        }
        // The signer is convicted by two statements; more would only fill the memory, as would those that never count. What came
        // before this one may have begun another round.
        if self.is_far_off(&message) || key.is_some_and(|key| self.agreement.gossip.is_surplus(&key)) {
            self.refuse(ctx, &message, key.as_ref(), &encoded);
            return;
        }
        if let Message::Proposal(proposal) = &message {
            self.keep_header(proposal);
            self.note_proposal(at, proposal);
        }
        self.count_vote(&message);
        let message_is_current = message.height() == self.ledger.height() + 1;
        if message_is_current {
            self.note_first_votes(at, &message);
        }
        if let Some(key) = key {
            // Everybody waits for these, and they come alone: there is no company to wait for.
            let urgent = matches!(message, Message::Proposal(_) | Message::Quorum(_));
            let receivers = self.relay_receivers(ctx.links, &message, from);
            for peer in self.agreement.gossip.spread(key, &encoded, receivers.into_iter()) {
                self.outbox.push(peer, encoded.clone(), urgent);
            }
        }
        if message_is_current {
            // A height that others work on: ask again if it does not go on here.
            self.retry_soon(ctx.now);
        }
        self.drive(ctx, Input::Recv(message));
    }

    /// A verified statement about a decided height: of use only as a sign of life, which is passed on once.
    fn on_late(&mut self, ctx: &mut Context<'_>, from: PeerIndex, message: &Message, encoded: &HexBytes) {
        let height = message.height();
        let scope = self.ledger.sets().at(height).filter(|_| self.is_sign_of_life(message));
        let signed = message.signed();
        let member = signed.and_then(|signed| scope?.validators().get(signed.signer));
        if let Some(key) = member.map(|member| member.key) {
            for peer in self.relay_receivers(ctx.links, message, from) {
                self.outbox.push(peer, encoded.clone(), false);
            }
            self.drive(ctx, Input::Heard { key, height });
        }
    }

    /// A verified decision: the next one goes to the core, later ones wait for it.
    fn on_commit(&mut self, ctx: &mut Context<'_>, from: PeerIndex, commit: Commit, set: Digest) {
        if header_digest(&commit.header) != commit.digest() {
            self.catchup.refuse(commit.height());
            ctx.fault(from, "a decision whose header has another digest".to_owned());
            return;
        }
        self.catchup.note_brought(from);
        self.catchup.keep(from, commit, set);
        if let Some((from, commit)) = self.next_decision() {
            self.agreement.decided_by = Some(from);
            self.drive(ctx, Input::Recv(Message::Commit(commit)));
        }
    }

    /// The decision of the next height, if it is here and was checked by the validators of that height.
    pub(super) fn next_decision(&mut self) -> Option<(PeerIndex, Commit)> {
        let next = self.ledger.height() + 1;
        let scope = self.ledger.sets().at(next)?;
        self.catchup.take(next, &scope.validators().hash())
    }

    pub(super) fn ask_for_header(&self, ctx: &mut Context<'_>, height: Height, digest: Digest) {
        let frame = Plain::Instance(self.tag, Body::HeaderRequest { height, digest }).encode();
        let peers: Vec<PeerIndex> = ctx.links.up().collect();
        for peer in peers {
            ctx.send(peer, frame.clone(), Protocol::Consensus, 0);
        }
    }

    pub(in crate::chain) fn on_header_request(
        &self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        height: Height,
        digest: Digest,
    ) {
        if let Some(header) = self.agreement.headers.get(&(height, digest)) {
            let frame = Plain::Instance(self.tag, Body::Header(header.clone().into())).encode();
            ctx.send(from, frame, Protocol::Consensus, 0);
        }
    }

    /// The neighbour whose status is being handled is behind: it learns how far this node is and asks one
    /// of those that tell it for the blocks. Blocks from each of them would be many times too much.
    pub(super) fn help_behind(&mut self) {
        if let Some(peer) = self.agreement.asking {
            self.tell_height(peer);
        }
    }
}

/// Whether a message says that somebody gave a round up.
fn gives_up(message: &Message) -> bool {
    match message {
        Message::Timeout(_) | Message::TimeoutQuorum(_) => true,
        Message::Proposal(proposal) => proposal.vote.statement.round > 0,
        _ => false,
    }
}

/// Neighbours that are up and want votes.
#[cfg(any(test, feature = "byzantine"))]
pub(super) fn voting_links(ctx: &Context<'_>) -> Vec<PeerIndex> {
    ctx.links
        .up()
        .filter(|&peer| ctx.links.get(peer).is_some_and(|link| link.wants_votes))
        .collect()
}
