//! The definitions of homogeneous HPaxos for one height, word by word: messages refer to messages, and
//! everything else follows from what a message's past contains. Slow, small, and written apart from the
//! wire protocol.
//!
//! A message is a 1b iff it refers to a 1a, otherwise a 2a. The wire protocol says two things that the
//! paper does not: a node leaves a ballot by a message of its own, which states the ballot of its
//! greatest 2a, and a quorum of those frees a 2a as a later 2a for another value does.

use crate::ValidatorSet;
use regatta_base::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// A message, by its place among all.
pub(super) type Id = usize;
/// A ballot: the round.
pub(super) type Ballot = u32;

/// What a message says by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// 1a: a value is offered.
    Offer(Ballot, Digest),
    /// 1b or 2a, which the references tell.
    Answer,
    /// The ballot is left, and the greatest own 2a is of that one.
    Leave(Ballot, Option<Ballot>),
}

/// What a message turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OneA,
    OneB,
    TwoA,
    Leave,
}

#[derive(Debug, Clone)]
struct Message {
    signer: u16,
    body: Body,
    kind: Kind,
    /// Tran: itself and everything that it refers to, directly or not.
    tran: BTreeSet<Id>,
    ballot: Option<Ballot>,
    value: Option<Digest>,
    fresh: bool,
}

/// Every message of one height.
#[derive(Debug, Clone)]
pub(super) struct Height {
    validators: ValidatorSet,
    messages: Vec<Message>,
}

impl Height {
    pub(super) fn new(validators: ValidatorSet) -> Self {
        Self {
            validators,
            messages: Vec::new(),
        }
    }

    /// Adds a message that refers to `refs`.
    pub(super) fn add(&mut self, signer: u16, body: Body, refs: &BTreeSet<Id>) -> Id {
        let id = self.messages.len();
        let mut tran = BTreeSet::from([id]);
        tran.extend(refs.iter().flat_map(|past| &self.messages[*past].tran));
        let offers = refs.iter().filter_map(|past| self.offer(*past));
        let offer = offers.max_by_key(|(ballot, _)| *ballot);
        let kind = match (body, offer) {
            (Body::Offer(..), _) => Kind::OneA,
            (Body::Leave(..), _) => Kind::Leave,
            (Body::Answer, Some(_)) => Kind::OneB,
            (Body::Answer, None) => Kind::TwoA,
        };
        let ballot = match body {
            Body::Offer(ballot, _) | Body::Leave(ballot, _) => Some(ballot),
            Body::Answer => self.greatest_ballot(&tran),
        };
        let value = match (body, kind) {
            (Body::Offer(_, value), _) => Some(value),
            (_, Kind::OneB) => offer.map(|(_, value)| value),
            (_, Kind::TwoA) => self.sealed(&tran, ballot),
            _ => None,
        };
        self.messages.push(Message {
            signer,
            body,
            kind,
            tran,
            ballot,
            value,
            fresh: false,
        });
        self.messages[id].fresh = self.con2as(id, true).iter().all(|own| self.value(*own) == value);
        id
    }

    fn offer(&self, id: Id) -> Option<(Ballot, Digest)> {
        match self.messages[id].body {
            Body::Offer(ballot, value) => Some((ballot, value)),
            _ => None,
        }
    }

    /// B: the ballot of the highest 1a in the past.
    fn greatest_ballot(&self, tran: &BTreeSet<Id>) -> Option<Ballot> {
        let known = tran.iter().filter(|id| **id < self.messages.len());
        known.filter_map(|id| self.offer(*id)).map(|(ballot, _)| ballot).max()
    }

    pub(super) fn kind(&self, id: Id) -> Kind {
        self.messages[id].kind
    }

    pub(super) fn ballot(&self, id: Id) -> Option<Ballot> {
        self.messages[id].ballot
    }

    /// V: the value that a 1b answers, or that a quorum of fresh 1bs gives a 2a; no value, no 2a.
    pub(super) fn value(&self, id: Id) -> Option<Digest> {
        self.messages[id].value
    }

    /// Fresh: every 2a of the signer that still binds it carries the same value.
    pub(super) fn fresh(&self, id: Id) -> bool {
        self.messages[id].fresh
    }

    /// Fresh by the paper alone, without what quorums of leaves free.
    pub(super) fn fresh_on_paper(&self, id: Id) -> bool {
        self.con2as(id, false)
            .iter()
            .all(|own| self.value(*own) == self.value(id))
    }

    /// Con2as: the signer's own 2as in the past that are not buried, nor freed if that counts.
    fn con2as(&self, id: Id, freeing: bool) -> Vec<Id> {
        let own = self.own(id).filter(|own| *own != id && self.kind(*own) == Kind::TwoA);
        own.filter(|own| !(self.buried(*own, id) || freeing && self.freed(*own, id)))
            .collect()
    }

    /// The signer's messages in the past of `id`, itself included.
    pub(super) fn own(&self, id: Id) -> impl Iterator<Item = Id> {
        let signer = self.messages[id].signer;
        let tran = self.messages[id].tran.iter().copied();
        tran.filter(move |past| self.messages[*past].signer == signer)
    }

    /// Buried: a 2a for another value in a higher ballot is known, or the quorum that makes it one.
    fn buried(&self, own: Id, by: Id) -> bool {
        let tran = &self.messages[by].tran;
        let ballots: BTreeSet<Ballot> = tran.iter().filter_map(|id| self.ballot(*id)).collect();
        let higher = ballots.into_iter().filter(|ballot| Some(*ballot) > self.ballot(own));
        let mut sealed = higher.filter_map(|ballot| self.sealed(tran, Some(ballot)));
        sealed.any(|value| Some(value) != self.value(own))
    }

    /// Freed: a quorum left the ballot of the 2a, or a later one, without a 2a from there on.
    fn freed(&self, own: Id, by: Id) -> bool {
        let tran = &self.messages[by].tran;
        let gone = |id: &&Id| match self.messages[**id].body {
            Body::Leave(ballot, stated) => {
                let voted = self.greatest_2a(**id).max(stated);
                Some(ballot) >= self.ballot(own) && voted < self.ballot(own)
            }
            _ => false,
        };
        self.is_quorum(tran.iter().filter(gone).map(|id| self.messages[*id].signer))
    }

    /// The ballot of the signer's greatest 2a in the past.
    pub(super) fn greatest_2a(&self, id: Id) -> Option<Ballot> {
        let own = self.own(id).filter(|own| self.kind(*own) == Kind::TwoA);
        own.filter_map(|own| self.ballot(own)).max()
    }

    /// q: the value for which a quorum sent fresh 1bs in that ballot, among these messages.
    pub(super) fn sealed(&self, among: &BTreeSet<Id>, ballot: Option<Ballot>) -> Option<Digest> {
        let mut signers: BTreeMap<Digest, BTreeSet<u16>> = BTreeMap::new();
        for message in among.iter().filter_map(|id| self.messages.get(*id)) {
            if message.kind == Kind::OneB && message.fresh && message.ballot == ballot {
                signers.entry(message.value?).or_default().insert(message.signer);
            }
        }
        let mut sealed = signers
            .into_iter()
            .filter(|(_, signers)| self.is_quorum(signers.iter().copied()));
        sealed.next().map(|(value, _)| value)
    }

    fn is_quorum(&self, signers: impl Iterator<Item = u16>) -> bool {
        let signers: BTreeSet<u16> = signers.collect();
        let members = self.validators.members();
        let weight: u64 = signers.iter().map(|signer| members[usize::from(*signer)].weight).sum();
        let total: u64 = members.iter().map(|member| member.weight).sum();
        3 * weight > 2 * total
    }

    /// Caught: who signed two of these messages, neither in the past of the other.
    pub(super) fn caught(&self, among: &BTreeSet<Id>) -> BTreeSet<u16> {
        let chain = |id: &&Id| self.kind(**id) != Kind::OneA;
        let mut last: BTreeMap<u16, Id> = BTreeMap::new();
        let mut caught = BTreeSet::new();
        // References lead to earlier messages only, so that a chain is in ascending order.
        for id in among.iter().filter(chain) {
            let signer = self.messages[*id].signer;
            if let Some(before) = last.insert(signer, *id)
                && !self.messages[*id].tran.contains(&before)
            {
                caught.insert(signer);
            }
        }
        caught
    }

    /// Decisions: ballots and values for which these 2as have a quorum of signers.
    pub(super) fn decisions(&self, among: &BTreeSet<Id>) -> BTreeSet<(Ballot, Digest)> {
        let mut signers: BTreeMap<(Ballot, Digest), BTreeSet<u16>> = BTreeMap::new();
        for message in among.iter().map(|id| &self.messages[*id]) {
            if let (Kind::TwoA, Some(ballot), Some(value)) = (message.kind, message.ballot, message.value) {
                signers.entry((ballot, value)).or_default().insert(message.signer);
            }
        }
        let decided = signers
            .into_iter()
            .filter(|(_, signers)| self.is_quorum(signers.iter().copied()));
        decided.map(|(decision, _)| decision).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scope;

    const A: Digest = Digest([1; 32]);
    const B: Digest = Digest([2; 32]);

    fn signers<const N: usize>(signers: [u16; N]) -> BTreeSet<u16> {
        BTreeSet::from(signers)
    }

    fn refs<const N: usize>(ids: [Id; N]) -> BTreeSet<Id> {
        BTreeSet::from(ids)
    }

    /// An offer in ballot 0, three fresh 1bs, and a 2a of signer 0.
    fn locked() -> (Height, Id, [Id; 3], Id) {
        let mut height = Height::new(scope(&[1; 4]).validators().clone());
        let offer = height.add(0, Body::Offer(0, A), &refs([]));
        let answers = [0, 1, 2].map(|signer| height.add(signer, Body::Answer, &refs([offer])));
        let lock = height.add(0, Body::Answer, &refs(answers));
        (height, offer, answers, lock)
    }

    #[test]
    fn a_quorum_of_fresh_1bs_makes_a_2a_and_a_quorum_of_2as_a_decision() {
        let (mut height, offer, answers, lock) = locked();
        assert_eq!((height.kind(lock), height.value(lock)), (Kind::TwoA, Some(A)));
        let early = height.add(1, Body::Answer, &refs([answers[0], answers[1]]));
        assert_eq!(
            (height.kind(early), height.value(early)),
            (Kind::TwoA, None),
            "two of four are none"
        );
        let answer = height.add(3, Body::Answer, &refs([offer, lock]));
        assert_eq!(height.kind(answer), Kind::OneB);
        let others = [1, 2].map(|signer| height.add(signer, Body::Answer, &refs(answers)));
        assert_eq!(height.decisions(&refs([lock, others[0]])), BTreeSet::new());
        assert_eq!(
            height.decisions(&refs([lock, others[0], others[1]])),
            BTreeSet::from([(0, A)])
        );
    }

    #[test]
    fn who_is_locked_is_fresh_for_its_value_only_until_the_lock_is_buried() {
        let (mut height, _, _, lock) = locked();
        let offer = height.add(1, Body::Offer(1, B), &refs([]));
        let stale = height.add(0, Body::Answer, &refs([lock, offer]));
        assert!(!height.fresh(stale));
        let again = height.add(1, Body::Offer(1, A), &refs([]));
        let same = height.add(0, Body::Answer, &refs([lock, again]));
        assert!(height.fresh(same));
        let others = [1, 2, 3].map(|signer| height.add(signer, Body::Answer, &refs([offer])));
        let later = height.add(2, Body::Offer(2, B), &refs([]));
        let buried = height.add(0, Body::Answer, &refs([lock, later, others[0], others[1], others[2]]));
        assert!(height.fresh(buried) && height.fresh_on_paper(buried));
    }

    #[test]
    fn a_quorum_that_left_without_a_2a_frees_and_the_paper_does_not_know_it() {
        let (mut height, _, answers, lock) = locked();
        let mut leave = |signer, past, high| height.add(signer, Body::Leave(0, high), &refs([past]));
        let left = [
            leave(1, answers[1], None),
            leave(2, answers[2], None),
            leave(0, lock, Some(0)),
        ];
        let without = height.add(3, Body::Leave(0, None), &refs([]));
        let offer = height.add(1, Body::Offer(1, B), &refs([]));
        let bound = height.add(0, Body::Answer, &refs([lock, offer, left[0], left[1], left[2]]));
        assert!(!height.fresh(bound), "the third of them had voted");
        let free = height.add(0, Body::Answer, &refs([lock, offer, left[0], left[1], without]));
        assert!(height.fresh(free) && !height.fresh_on_paper(free));
    }

    #[test]
    fn who_forks_its_own_past_is_caught() {
        let (mut height, offer, answers, lock) = locked();
        let chained = height.add(1, Body::Leave(0, None), &refs([answers[1]]));
        assert_eq!(
            height.caught(&refs([offer, answers[0], answers[1], lock, chained])),
            signers([])
        );
        let fork = height.add(0, Body::Leave(0, None), &refs([answers[0]]));
        assert_eq!(height.caught(&refs([answers[0], lock, fork])), signers([0]));
        assert_eq!(height.greatest_2a(fork), None);
        let after = height.add(0, Body::Leave(0, Some(0)), &refs([lock]));
        assert_eq!(height.greatest_2a(after), Some(0));
    }
}
