//! Counting votes and timeouts of one height, with certificates as the result.
//!
//! Bounded: one statement per signer, kind and round, for rounds within a window around the current
//! one. What falls outside is not needed: a node that far off enters through a certificate instead.

use crate::{
    signers::Signers,
    types::{Certificate, Content, Phase, Signed, TimeoutCertificate, TimeoutVote},
};
use regatta_base::{Digest, Round, ValidatorSet};
use std::collections::BTreeMap;

/// Statements for so many rounds behind the current one, and ahead of it, are kept: a late `Vote2` may still decide.
pub const ROUNDS_AWAY_MAX: Round = 8;

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
        match ballot.votes.get(&vote.signer) {
            Some((same, _)) if *same == digest => Counted::Again,
            Some((_, first)) => Counted::Conflict(*first),
            None => {
                let sum = ballot.weights.entry(digest).or_insert(0);
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
    round <= current.saturating_add(ROUNDS_AWAY_MAX) && round.saturating_add(ROUNDS_AWAY_MAX) >= current
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{certificate, config, signed, timeout},
        types::header_digest,
    };

    fn vote(signer: u16, round: Round, content: Content) -> Signed {
        signed(&config(None).scope, signer, 1, round, content)
    }

    #[test]
    fn a_vote_counts_once_and_a_second_opinion_not_at_all() {
        let mut tally = Tally::default();
        let (a, b) = (header_digest(b"a"), header_digest(b"b"));
        let first = vote(0, 0, Content::Vote1(a));
        let add = |tally: &mut Tally, vote: Signed, weight| tally.add_vote(subject(&vote).unwrap(), vote, weight, 0);
        assert_eq!(add(&mut tally, first, 3), Counted::New { before: 0, after: 3 });
        assert_eq!(add(&mut tally, first, 3), Counted::Again);
        assert_eq!(
            add(&mut tally, vote(0, 0, Content::Vote1(b)), 3),
            Counted::Conflict(first)
        );
        assert_eq!(
            add(&mut tally, vote(1, 0, Content::Vote1(b)), 2),
            Counted::New { before: 0, after: 2 }
        );
        assert_eq!(
            add(&mut tally, vote(2, 0, Content::Vote1(a)), 1),
            Counted::New { before: 3, after: 4 }
        );
        let certificate = tally.certificate((Phase::One, a), &first, 4);
        assert_eq!(certificate.signers, Signers::of(4, [0, 2]));
        assert_eq!(
            certificate.signatures,
            [first.signature, vote(2, 0, Content::Vote1(a)).signature]
        );
    }

    #[test]
    fn rounds_outside_the_window_are_neither_taken_nor_kept() {
        let mut tally = Tally::default();
        let digest = header_digest(b"a");
        let scope = config(None).scope;
        for (round, taken) in [(1, false), (2, true), (18, true), (19, false)] {
            let counted = tally.add_vote((Phase::Two, digest), vote(0, round, Content::Vote2(digest)), 1, 10);
            assert_eq!(counted != Counted::OutOfWindow, taken, "{round}");
            let counted = tally.add_timeout(timeout(&scope, 0, 1, round, None), 1, 10);
            assert_eq!(counted != Counted::OutOfWindow, taken, "{round}");
        }
        tally.prune(15);
        assert_eq!(tally.votes.len() + tally.timeouts.len(), 2, "only round 18 is left");
    }

    #[test]
    fn the_weak_round_is_the_greatest_that_a_third_has_reached() {
        let scope = config(None).scope;
        let mut tally = Tally::default();
        let mut add = |signer, round| {
            tally.add_timeout(timeout(&scope, signer, 1, round, None), 1, 0);
            tally.weak_round(scope.validators())
        };
        assert_eq!(add(0, 5), None);
        assert_eq!(add(0, 4), None, "one signer is one signer");
        assert_eq!(add(1, 2), Some(2), "signer 0 is beyond round 2");
        assert_eq!(add(2, 3), Some(3));
    }

    #[test]
    fn a_timeout_certificate_carries_the_greatest_lock() {
        let scope = config(None).scope;
        let mut tally = Tally::default();
        for (signer, high) in [(0, Some(0)), (1, Some(1)), (3, None)] {
            tally.add_timeout(timeout(&scope, signer, 1, 1, high), 1, 0);
        }
        let any = vote(0, 1, Content::Timeout(None));
        let certified = tally.timeout_certificate(&any, 4);
        assert_eq!(certified.highs, [Some(0), Some(1), None]);
        assert_eq!(certified.high, Some(certificate(&scope, Phase::One, 1, 1, &[0, 1, 2])));
        let message = crate::Message::TimeoutQuorum(certified);
        assert!(crate::sim::verifies(&scope, &message));
    }

    #[test]
    fn denial_is_found_in_either_order() {
        let scope = config(None).scope;
        let digest = header_digest(b"a");
        let voted = vote(0, 1, Content::Vote2(digest));
        let denied = timeout(&scope, 0, 1, 2, Some(0));
        let mut tally = Tally::default();
        tally.add_vote((Phase::Two, digest), voted, 1, 0);
        assert_eq!(tally.contradiction(&denied.vote), Some(voted));
        let mut tally = Tally::default();
        tally.add_timeout(denied.clone(), 1, 0);
        assert_eq!(tally.contradiction(&voted), Some(denied.vote));
        let admitted = timeout(&scope, 0, 1, 2, Some(1));
        let mut tally = Tally::default();
        tally.add_timeout(admitted, 1, 0);
        assert_eq!(tally.contradiction(&voted), None);
    }
}
