//! Counting votes and timeouts of one height, with certificates as the result.
//!
//! Bounded: one statement per signer, kind and round, for rounds within a window around the current
//! one. What falls outside is not needed: a node that far off enters through a certificate instead.

use crate::{
    signers::Signers,
    types::{Certificate, Content, Phase, Signed, TimeoutCertificate, TimeoutVote},
    validators::ValidatorSet,
};
use regatta_base::{Digest, Round};
use std::collections::BTreeMap;

/// Statements for so many rounds behind the current one are kept: a late `Vote2` may still decide.
const ROUNDS_BEHIND: Round = 8;
/// Statements for so many rounds ahead of the current one are kept.
const ROUNDS_AHEAD: Round = 8;

/// All votes and timeouts that count for one height.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    votes: BTreeMap<(Phase, Round), Ballot>,
    timeouts: BTreeMap<Round, TimeoutBallot>,
}

/// The votes of one phase and round.
#[derive(Debug, Clone, Default)]
struct Ballot {
    votes: BTreeMap<u16, (Digest, Signed)>,
    weights: BTreeMap<Digest, u64>,
}

/// The timeouts of one round, with the QC1 of the greatest high round among them.
#[derive(Debug, Clone, Default)]
struct TimeoutBallot {
    votes: BTreeMap<u16, (Option<Round>, Signed)>,
    weight: u64,
    high: Option<Certificate>,
}

/// What became of a statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It counts: the weight for its content before and after.
    New {
        /// Weight without it.
        before: u64,
        /// Weight with it.
        after: u64,
    },
    /// Seen already.
    Again,
    /// Its signer said otherwise before.
    Conflict(Signed),
    /// Outside the window of rounds.
    OutOfWindow,
}

impl Tally {
    /// Counts a vote of `phase` for `digest` while the current round is `current`.
    pub(crate) fn add_vote(
        &mut self,
        (phase, digest): (Phase, Digest),
        vote: Signed,
        weight: u64,
        current: Round,
    ) -> Counted {
        let round = vote.statement.round;
        if !in_window(round, current) {
            return Counted::OutOfWindow;
        }
        let ballot = self.votes.entry((phase, round)).or_default();
        let sum = ballot.weights.entry(digest).or_insert(0);
        match ballot.votes.get(&vote.signer) {
            Some((same, _)) if *same == digest => Counted::Again,
            Some((_, first)) => Counted::Conflict(*first),
            None => {
                let before = *sum;
                *sum += weight;
                ballot.votes.insert(vote.signer, (digest, vote));
                Counted::New { before, after: *sum }
            }
        }
    }

    /// Counts a timeout while the current round is `current`.
    pub(crate) fn add_timeout(&mut self, timeout: TimeoutVote, weight: u64, current: Round) -> Counted {
        let vote = timeout.vote;
        let round = vote.statement.round;
        if !in_window(round, current) {
            return Counted::OutOfWindow;
        }
        let stated = timeout.high.as_ref().map(|high| high.round);
        let ballot = self.timeouts.entry(round).or_default();
        match ballot.votes.get(&vote.signer) {
            Some((same, _)) if *same == stated => Counted::Again,
            Some((_, first)) => Counted::Conflict(*first),
            None => {
                let before = ballot.weight;
                ballot.weight += weight;
                ballot.votes.insert(vote.signer, (stated, vote));
                if stated > ballot.high.as_ref().map(|high| high.round) {
                    ballot.high = timeout.high;
                }
                Counted::New {
                    before,
                    after: ballot.weight,
                }
            }
        }
    }

    /// A statement of the same signer that `vote` conflicts with across kinds (`Vote2` and timeout).
    pub(crate) fn contradiction(&self, vote: &Signed) -> Option<Signed> {
        let timeouts = self
            .timeouts
            .values()
            .filter_map(|ballot| ballot.votes.get(&vote.signer));
        let votes = self.votes.iter().filter(|((phase, _), _)| *phase == Phase::Two);
        let votes = votes.filter_map(|(_, ballot)| ballot.votes.get(&vote.signer));
        timeouts
            .map(|(_, signed)| signed)
            .chain(votes.map(|(_, signed)| signed))
            .find(|earlier| earlier.statement.conflicts_with(&vote.statement))
            .copied()
    }

    /// The certificate over every vote of `phase` for `digest` in `vote`'s round.
    pub(crate) fn certificate(&self, (phase, digest): (Phase, Digest), vote: &Signed, size: usize) -> Certificate {
        let round = vote.statement.round;
        let ballot = self.votes.get(&(phase, round));
        let votes = ballot.iter().flat_map(|ballot| ballot.votes.values());
        let votes: Vec<&Signed> = votes
            .filter(|(other, _)| *other == digest)
            .map(|(_, vote)| vote)
            .collect();
        Certificate {
            phase,
            height: vote.statement.height,
            round,
            digest,
            signers: Signers::of(size, votes.iter().map(|vote| vote.signer)),
            signatures: votes.iter().map(|vote| vote.signature).collect(),
        }
    }

    /// The certificate over every timeout in `vote`'s round.
    pub(crate) fn timeout_certificate(&self, vote: &Signed, size: usize) -> TimeoutCertificate {
        let round = vote.statement.round;
        let ballot = self.timeouts.get(&round);
        let votes = || ballot.iter().flat_map(|ballot| ballot.votes.values());
        TimeoutCertificate {
            height: vote.statement.height,
            round,
            signers: Signers::of(size, votes().map(|(_, vote)| vote.signer)),
            highs: votes().map(|(high, _)| *high).collect(),
            signatures: votes().map(|(_, vote)| vote.signature).collect(),
            high: ballot.and_then(|ballot| ballot.high.clone()),
        }
    }

    /// The greatest round that signers of weak weight have given up or gone beyond, if any.
    pub(crate) fn weak_round(&self, validators: &ValidatorSet) -> Option<Round> {
        let mut latest = BTreeMap::new();
        for (round, ballot) in self.timeouts.iter().rev() {
            for signer in ballot.votes.keys() {
                latest.entry(*signer).or_insert(*round);
            }
            let weight = latest.keys().map(|signer| validators.weight(*signer)).sum();
            if validators.is_weak(weight) {
                return Some(*round);
            }
        }
        None
    }

    /// Forgets what fell out of the window around `current`.
    pub(crate) fn prune(&mut self, current: Round) {
        self.votes.retain(|(_, round), _| in_window(*round, current));
        self.timeouts.retain(|round, _| in_window(*round, current));
    }
}

/// The phase and digest of a vote; none for other statements.
pub(crate) fn subject(vote: &Signed) -> Option<(Phase, Digest)> {
    match vote.statement.content {
        Content::Vote1(digest) => Some((Phase::One, digest)),
        Content::Vote2(digest) => Some((Phase::Two, digest)),
        Content::Propose(_) | Content::Timeout(_) => None,
    }
}

fn in_window(round: Round, current: Round) -> bool {
    round <= current.saturating_add(ROUNDS_AHEAD) && round.saturating_add(ROUNDS_BEHIND) >= current
}
