//! A faulty validator's tools: it sees everything that was ever sent and signs whatever it likes,
//! but only with its own key.

use super::{Sets, sign};
use crate::{
    Certificate, Content, Justification, Message, Phase, Proposal, Signed, Signers, Statement, TimeoutCertificate,
    TimeoutVote, header_digest,
};
use regatta_base::{Digest, Height, Round};
use std::collections::BTreeMap;

/// The faulty validator with its memory.
pub(super) struct Faulty {
    pub(super) who: u16,
    sets: Sets,
    /// Valid QC1s by height and round.
    quorums: BTreeMap<(Height, Round), Certificate>,
    votes: BTreeMap<(Height, Round, Digest), BTreeMap<u16, Signed>>,
    timeouts: BTreeMap<(Height, Round), BTreeMap<u16, Option<Round>>>,
    signed: BTreeMap<(u16, Statement), Signed>,
    /// Headers proposed by anybody, in order of appearance.
    pub(super) headers: Vec<(Height, Vec<u8>)>,
    /// The latest place that anybody spoke of.
    pub(super) latest: (Height, Round),
}

impl Faulty {
    pub(super) fn new(sets: &Sets, who: u16) -> Self {
        Self {
            who,
            sets: sets.clone(),
            quorums: BTreeMap::new(),
            votes: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            signed: BTreeMap::new(),
            headers: Vec::new(),
            latest: (1, 0),
        }
    }

    /// Its signer index at `height`, if it is a validator there.
    pub(super) fn index(&self, height: Height) -> Option<u16> {
        self.sets.signer(height, self.who)
    }

    /// Remembers a message that somebody sent.
    pub(super) fn see(&mut self, message: &Message) {
        if let Some(signed) = message.signed() {
            let Statement { height, round, content } = signed.statement;
            self.latest = self.latest.max((height, round));
            self.signed.insert((signed.signer, signed.statement), *signed);
            match content {
                Content::Vote1(digest) => self.see_vote1((height, round, digest), *signed),
                Content::Timeout(high) => {
                    let stated = self.timeouts.entry((height, round)).or_default();
                    stated.insert(signed.signer, high);
                }
                _ => {}
            }
        }
        match message {
            Message::Proposal(proposal) => {
                let header = (proposal.vote.statement.height, proposal.header.clone());
                if !self.headers.contains(&header) {
                    self.headers.push(header);
                }
            }
            Message::Timeout(TimeoutVote { high: Some(high), .. }) => {
                self.quorums.insert((high.height, high.round), high.clone());
            }
            _ => {}
        }
    }

    fn see_vote1(&mut self, place: (Height, Round, Digest), vote: Signed) {
        // Its own vote is always there for the taking.
        let own = self
            .index(place.0)
            .map(|index| (index, self.sign(place.0, place.1, Content::Vote1(place.2))));
        let votes = self.votes.entry(place).or_default();
        votes.insert(vote.signer, vote);
        votes.extend(own);
        let validators = self.sets.at(place.0).validators();
        let weight = votes.keys().map(|signer| validators.weight(*signer)).sum();
        if validators.is_quorum(weight) {
            let certificate = Certificate {
                phase: Phase::One,
                height: place.0,
                round: place.1,
                digest: place.2,
                signers: Signers::of(validators.len(), votes.keys().copied()),
                signatures: votes.values().map(|vote| vote.signature).collect(),
            };
            self.quorums.insert((place.0, place.1), certificate);
        }
    }

    fn sign(&self, height: Height, round: Round, content: Content) -> Signed {
        let statement = Statement { height, round, content };
        let signer = self.index(height).unwrap();
        Signed {
            statement,
            signer,
            signature: sign(self.sets.at(height), signer, &statement),
        }
    }

    /// A vote of either kind at a height where it is a validator, or a timeout that denies having voted.
    pub(super) fn say(&self, height: Height, round: Round, content: Content) -> Message {
        let vote = self.sign(height, round, content);
        match content {
            Content::Timeout(_) => Message::Timeout(TimeoutVote { vote, high: None }),
            _ => Message::Vote(vote),
        }
    }

    /// A proposal of `header`, justified by the timeouts of `signers` and its own, as far as they go.
    pub(super) fn propose(&self, height: Height, round: Round, header: &[u8], signers: &[u16]) -> Message {
        let vote = self.sign(height, round, Content::Propose(header_digest(header)));
        let previous = round.checked_sub(1);
        Message::Proposal(Proposal {
            vote,
            header: header.to_vec(),
            justification: previous.map(|previous| Justification::Timeout(self.certificate(height, previous, signers))),
        })
    }

    /// A proposal of `header` that the QC1 of the round before is to justify; none if there is no such QC1.
    pub(super) fn extend(&self, height: Height, round: Round, header: &[u8]) -> Option<Message> {
        let quorum = self.quorum(height, round.checked_sub(1)?)?.clone();
        Some(Message::Proposal(Proposal {
            vote: self.sign(height, round, Content::Propose(header_digest(header))),
            header: header.to_vec(),
            justification: Some(Justification::Quorum(quorum)),
        }))
    }

    /// The QC1 that it knows of that place, if any.
    pub(super) fn quorum(&self, height: Height, round: Round) -> Option<&Certificate> {
        self.quorums.get(&(height, round))
    }

    fn certificate(&self, height: Height, round: Round, signers: &[u16]) -> TimeoutCertificate {
        let stated = self.timeouts.get(&(height, round)).cloned().unwrap_or_default();
        let mut members: BTreeMap<u16, Option<Round>> = stated;
        members.retain(|signer, _| signers.contains(signer));
        let (scope, index) = (self.sets.at(height), self.index(height).unwrap());
        members.insert(index, None);
        let signature = |(signer, high): (&u16, &Option<Round>)| {
            let content = Content::Timeout(*high);
            let statement = Statement { height, round, content };
            let known = self.signed.get(&(*signer, statement)).map(|signed| signed.signature);
            known.unwrap_or_else(|| sign(scope, index, &statement))
        };
        let greatest = members.values().copied().max().flatten();
        TimeoutCertificate {
            height,
            round,
            signers: Signers::of(scope.validators().len(), members.keys().copied()),
            signatures: members.iter().map(signature).collect(),
            highs: members.values().copied().collect(),
            high: greatest.and_then(|high| self.quorums.get(&(height, high)).cloned()),
        }
    }

    /// The signers whose timeouts of that round lock the least: the best choice to forget a value.
    pub(super) fn least_locked(&self, height: Height, round: Round) -> Vec<u16> {
        let Some(stated) = self.timeouts.get(&(height, round)) else {
            return Vec::new();
        };
        let mut by_lock: Vec<(Option<Round>, u16)> = stated.iter().map(|(signer, high)| (*high, *signer)).collect();
        by_lock.sort_unstable();
        let (validators, index) = (self.sets.at(height).validators(), self.index(height).unwrap());
        let (mut weight, mut chosen) = (validators.weight(index), Vec::new());
        for (_, signer) in by_lock.into_iter().filter(|(_, signer)| *signer != index) {
            if validators.is_quorum(weight) {
                break;
            }
            weight += validators.weight(signer);
            chosen.push(signer);
        }
        chosen
    }
}
