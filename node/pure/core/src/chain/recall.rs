//! Lost memory: a validator without the journal of what it said asks the others where they stand.
//!
//! Questions and answers are flooded like proofs of misconduct, each with the neighbours that have it, so that
//! they cross sparse graphs and links that come and go. They are kept for half a minute, not on the disk, and in
//! bounded number. Only the release is a record.

use super::Chain;
use crate::{
    context::{Context, Purpose},
    event::{LogLevel, PeerIndex, Protocol, Time},
    job::Job,
    peers::PeerSet,
    record::Record,
    wire::{Body, Plain},
};
use regatta_base::{Height, PublicKey};
use regatta_consensus::{Amnesia, Input, Recall, Scope, SignatureClaim, SignedRecall, ValidatorSet};
use std::collections::BTreeMap;

/// How often the question is asked anew, in milliseconds.
const ASK_INTERVAL_MS: Time = 2_000;
/// How often a validator may ask, or answer one that asks, in milliseconds: what comes sooner is dropped.
const REPEAT_MS_MIN: Time = 500;
/// How long a question or an answer is passed on, in milliseconds.
const LIFE_MS: Time = 30_000;
/// Questions and answers that are kept for passing on.
const HELD_MAX: usize = 16_384;
/// Most of them in one frame.
const PER_FRAME_MAX: usize = 128;
/// Frames that may be checked at a time; more are dropped, and the question comes again.
const CHECKS_MAX: usize = 64;

/// Who lost its memory, and who says so or answers.
type Key = (PublicKey, PublicKey);

#[derive(Debug)]
struct Held {
    signed: SignedRecall,
    /// Neighbours that have it.
    peers: PeerSet,
    since: Time,
}

/// What this node knows about its own memory and about those that lost theirs.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The first height at which this node may make statements, as the journal says.
    replayed: Option<Height>,
    /// While it has not been released.
    amnesia: Option<Amnesia>,
    ask_at: Option<Time>,
    held: BTreeMap<Key, Held>,
    checking: usize,
}

impl Memory {
    /// Takes a record of an earlier run. Pruning may bring an older one back behind a newer one, which is less.
    pub(crate) fn replay(&mut self, speaks_from: Height) {
        self.replayed = Some(speaks_from.min(self.replayed.unwrap_or(Height::MAX)));
    }

    /// The first height at which this node may make statements; `Height::MAX` while it has to wait.
    pub(crate) fn speaks_from(&self) -> Height {
        self.replayed.unwrap_or(0)
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.ask_at
    }

    pub(crate) fn peer_down(&mut self, peer: PeerIndex) {
        for held in self.held.values_mut() {
            held.peers.remove(peer);
        }
    }

    /// Whether this says something that is not known, and not too soon after what is.
    fn is_news(&self, now: Time, recall: &Recall) -> bool {
        match self.held.get(&key_of(recall)) {
            Some(held) => held.signed.recall.nonce() != recall.nonce() && now >= held.since + REPEAT_MS_MIN,
            None => self.held.len() < HELD_MAX,
        }
    }

    /// What a neighbour lacks; it is noted as having it from now on.
    fn lacking(&mut self, peer: PeerIndex) -> Vec<SignedRecall> {
        let lacking = self.held.values_mut().filter(|held| !held.peers.contains(peer));
        lacking
            .map(|held| {
                held.peers.insert(peer);
                held.signed
            })
            .collect()
    }
}

fn key_of(recall: &Recall) -> Key {
    (recall.subject(), recall.key())
}

impl Chain {
    /// Settles, before anything is said, whether this node knows what it said in earlier lives: `forgot` says
    /// that the journal is gone. Gives back what the journal has to say about it from now on.
    pub(crate) fn remember(&mut self, forgot: bool) -> Option<Record> {
        let has_record = self.memory.replayed.is_some();
        if !has_record {
            self.memory.replayed = Some(if forgot { Height::MAX } else { 0 });
        }
        (!has_record).then(|| Record::Memory {
            instance: self.index,
            speaks_from: self.memory.speaks_from(),
        })
    }

    /// Begins to ask, if this node may not speak; `nonce` is random.
    pub(super) fn start_recall(&mut self, ctx: &mut Context<'_>, nonce: u64) {
        if self.memory.speaks_from() == Height::MAX {
            self.memory.amnesia = Some(Amnesia::new(self.role.key, nonce));
            self.memory.ask_at = Some(ctx.now);
            let line = format!(
                "instance {}: the journal of what this node said is gone; it follows, and makes no statement until two \
                 thirds of the validators, not counting it, have said where they stand",
                self.id
            );
            ctx.log(LogLevel::Warn, line);
        }
    }

    /// Whether this node is a validator that has to wait for the others' answers.
    pub(crate) fn waits_for_recall(&self) -> bool {
        self.memory.amnesia.is_some() && self.is_known_validator(&self.role.key)
    }

    /// The validators of the height being decided and of the next one.
    fn present_sets(&self) -> Option<[&ValidatorSet; 2]> {
        let next = self.ledger.height() + 1;
        let set = |height| self.ledger.sets().at(height).map(Scope::validators);
        Some([set(next)?, set(next + 1)?])
    }

    fn is_known_validator(&self, key: &PublicKey) -> bool {
        let sets = self.present_sets();
        sets.is_some_and(|sets| sets.iter().any(|set| set.index_of(key).is_some()))
    }

    /// Asks when it is time to.
    pub(super) fn tick_recall(&mut self, ctx: &mut Context<'_>) {
        if self.memory.ask_at.is_none_or(|at| at > ctx.now) {
            return;
        }
        self.memory.ask_at = Some(ctx.now + ASK_INTERVAL_MS);
        if self.waits_for_recall()
            && let Some(amnesia) = &mut self.memory.amnesia
        {
            let question = amnesia.ask();
            let signed = question.sign(&self.genesis, ctx.secret);
            self.keep_recall(ctx, signed, None);
        }
    }

    /// Lets the node speak again as soon as the answers allow it.
    pub(super) fn release_when_known(&mut self, ctx: &mut Context<'_>) {
        let next = self.ledger.height() + 1;
        let speaks_from = match (&self.memory.amnesia, self.present_sets()) {
            (Some(amnesia), Some(sets)) => amnesia.release(next, sets),
            _ => None,
        };
        let Some(speaks_from) = speaks_from else { return };
        self.memory.amnesia = None;
        self.memory.ask_at = None;
        self.memory.replayed = Some(speaks_from);
        let instance = self.index;
        ctx.append(Record::Memory { instance, speaks_from });
        ctx.log(
            LogLevel::Info,
            format!(
                "instance {}: the others have said where they stand; statements from height {speaks_from} on",
                self.id
            ),
        );
        self.drive(ctx, Input::Released { speaks_from });
    }

    /// Sends a neighbour every question and answer that it is not known to have.
    pub(super) fn offer_recalls(&mut self, ctx: &mut Context<'_>, peer: PeerIndex) {
        let after = ctx.newest_record();
        for part in self.memory.lacking(peer).chunks(PER_FRAME_MAX) {
            let frame = Plain::Instance(self.tag, Body::Recall(part.to_vec())).encode();
            ctx.send(peer, frame, Protocol::Consensus, after);
        }
    }

    /// A neighbour's questions and answers: those that are new are checked.
    pub(super) fn on_recalls(&mut self, ctx: &mut Context<'_>, from: PeerIndex, list: Vec<SignedRecall>) {
        if list.len() > PER_FRAME_MAX {
            ctx.fault(from, format!("{} recalls in one frame", list.len()));
            return;
        }
        let (mut fresh, mut claims) = (Vec::new(), Vec::new());
        for signed in list {
            let recall = &signed.recall;
            if let Some(held) = self.memory.held.get_mut(&key_of(recall))
                && held.signed == signed
            {
                held.peers.insert(from);
                continue;
            }
            // Who the validators are may not be known here yet; the question comes again.
            let is_known = self.is_known_validator(&recall.key()) && self.is_known_validator(&recall.subject());
            if is_known && self.memory.is_news(ctx.now, recall) {
                claims.push(SignatureClaim {
                    key: recall.key(),
                    message: recall.signing_bytes(&self.genesis),
                    signature: signed.signature,
                });
                fresh.push(signed);
            }
        }
        if fresh.is_empty() || self.memory.checking >= CHECKS_MAX {
            return;
        }
        self.memory.checking += 1;
        ctx.work(Purpose::Recalls { from, recalls: fresh }, Job::Claims(claims));
    }

    pub(super) fn on_recalls_checked(
        &mut self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        recalls: &[SignedRecall],
        valid: &[bool],
    ) {
        self.memory.checking = self.memory.checking.saturating_sub(1);
        for (signed, valid) in recalls.iter().zip(valid) {
            if !valid {
                ctx.fault(from, "a recall whose signature does not hold".to_owned());
                return;
            }
            if self.memory.is_news(ctx.now, &signed.recall) {
                self.keep_recall(ctx, *signed, Some(from));
                self.heed(ctx, &signed.recall);
            }
        }
    }

    /// Keeps what was said for a while and passes it on.
    fn keep_recall(&mut self, ctx: &mut Context<'_>, signed: SignedRecall, from: Option<PeerIndex>) {
        let now = ctx.now;
        self.memory.held.retain(|_, held| now < held.since + LIFE_MS);
        let mut peers = PeerSet::default();
        from.iter().for_each(|&peer| peers.insert(peer));
        let held = Held {
            signed,
            peers,
            since: now,
        };
        self.memory.held.insert(key_of(&signed.recall), held);
        let up: Vec<PeerIndex> = ctx.links.up().collect();
        for peer in up {
            self.offer_recalls(ctx, peer);
        }
    }

    /// Answers a question, or takes an answer to an own one.
    fn heed(&mut self, ctx: &mut Context<'_>, recall: &Recall) {
        if let Some(amnesia) = &mut self.memory.amnesia {
            amnesia.hear(recall);
        }
        let Recall::Ask { key: to, nonce } = *recall else {
            return;
        };
        let (key, height) = (self.role.key, self.ledger.height() + 1);
        // Who was released, but is not beyond what it may have said, does not know its own part either.
        if to == key || height < self.memory.speaks_from() || !self.is_known_validator(&key) {
            return;
        }
        let answer = Recall::Standing { key, to, nonce, height };
        let signed = answer.sign(&self.genesis, ctx.secret);
        self.keep_recall(ctx, signed, None);
    }
}
