//! Votes whose signatures need not be checked yet, or ever.
//!
//! A vote does nothing before a quorum says the same. So the votes of round 0 wait here, each brought by its own signer
//! over their link, until with those that count already they are a quorum. Then they are checked together, which costs
//! half; and those that come after a quorum never are. Of four validators each checks two votes in one batch where it
//! would check three alone.
//!
//! What a vote does besides counting is not lost by that:
//! * Two votes of one kind for different blocks are evidence, and a vote beside a timeout can be: as soon as a second
//!   block is voted for nothing waits any more, and once anybody gave the round up nothing does at the height.
//! * A vote wakes a node that has nothing to do, and is a sign of life of a leader that seemed dead: such votes do not
//!   wait, nor do those that this node would pass on.
//! * A vote that its signer did not bring itself does not wait: whoever forged it would keep the real one out.
//! * When the height does not go on everything is checked ([`Ballots::open`]), so that neighbours get it.

use super::Inbound;
use crate::mutants::mutant;
use regatta_base::{Digest, Height, Signature, ValidatorSet};
use regatta_consensus::{Content, Message, Phase, SignatureClaim, Signed};
use std::collections::BTreeMap;

/// A vote that waits, with its signature.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) inbound: Inbound,
    pub(super) claims: Vec<SignatureClaim>,
}

/// The votes of one kind at one height, all for one block until they are contested.
#[derive(Debug)]
struct Ballot {
    digest: Digest,
    /// Who counts, and by which signature: checked, being checked, or this node itself.
    counted: BTreeMap<u16, Signature>,
    waiting: BTreeMap<u16, Waiting>,
    /// There are votes for different blocks.
    contested: bool,
}

/// Votes of round 0 at the current heights.
#[derive(Debug, Default)]
pub(super) struct Ballots {
    ballots: BTreeMap<(Height, Phase), Ballot>,
    /// At heights up to this one nothing waits.
    open: Height,
    #[cfg(test)]
    pub(super) knobs: crate::mutants::Knobs,
}

/// What a ballot is about and what a vote says there; none for what never waits.
fn place(vote: &Signed) -> Option<((Height, Phase), Digest)> {
    let statement = vote.statement;
    let (phase, digest) = match statement.content {
        Content::Vote1(digest) => (Phase::One, digest),
        Content::Vote2(digest) => (Phase::Two, digest),
        Content::Propose(_) | Content::Timeout(_) => return None,
    };
    (statement.round == 0).then_some(((statement.height, phase), digest))
}

impl Ballots {
    /// Takes a vote that may wait and returns those that are to be checked now.
    pub(super) fn wait(&mut self, waiting: Waiting, set: &ValidatorSet) -> Vec<Waiting> {
        let Message::Vote(vote) = waiting.inbound.message else {
            return vec![waiting];
        };
        let Some((key, digest)) = place(&vote).filter(|((height, _), _)| *height > self.open) else {
            return vec![waiting];
        };
        let ballot = self.ballots.entry(key).or_insert_with(|| Ballot::new(digest));
        if ballot.is_contested(digest) && !mutant!(self, wait_when_contested) {
            let mut all = ballot.take();
            all.push(waiting);
            return all;
        }
        ballot.waiting.insert(vote.signer, waiting);
        ballot.due(set)
    }

    /// A vote counts; returns what that makes worth checking.
    pub(super) fn count(&mut self, message: &Message, set: &ValidatorSet) -> Vec<Waiting> {
        let Message::Vote(vote) = message else {
            return Vec::new();
        };
        let Some((key, digest)) = place(vote).filter(|((height, _), _)| *height > self.open) else {
            return Vec::new();
        };
        let ballot = self.ballots.entry(key).or_insert_with(|| Ballot::new(digest));
        if ballot.is_contested(digest) && !mutant!(self, wait_when_contested) {
            return ballot.take();
        }
        ballot.counted.insert(vote.signer, vote.signature);
        ballot.due(set)
    }

    /// A vote does not hold; returns what is to be checked in its place.
    pub(super) fn refuse(&mut self, message: &Message, set: &ValidatorSet) -> Vec<Waiting> {
        let Message::Vote(vote) = message else {
            return Vec::new();
        };
        let ballot = place(vote).and_then(|(key, _)| self.ballots.get_mut(&key));
        let Some(ballot) = ballot else { return Vec::new() };
        // What was forged in somebody's name takes nothing from what that one says.
        let is_counted = ballot.counted.get(&vote.signer) == Some(&vote.signature) || mutant!(self, forget_rivals);
        if is_counted && !mutant!(self, count_refused) {
            ballot.counted.remove(&vote.signer);
        }
        ballot.due(set)
    }

    /// Lets nothing wait at heights up to `height` any more; returns what did.
    pub(super) fn open(&mut self, height: Height) -> Vec<Waiting> {
        self.open = self.open.max(height);
        let later = self.ballots.split_off(&(height + 1, Phase::One));
        let opened = std::mem::replace(&mut self.ballots, later);
        opened.into_values().flat_map(|mut ballot| ballot.take()).collect()
    }

    /// Forgets everything below `height`.
    pub(super) fn advance(&mut self, height: Height) {
        self.ballots = self.ballots.split_off(&(height, Phase::One));
    }

    /// The votes that wait: their heights, kinds and signers.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<(Height, Phase, u16)> {
        let ballots = self.ballots.iter();
        let signers = ballots.flat_map(|(key, ballot)| ballot.waiting.keys().map(move |signer| (*key, *signer)));
        signers
            .map(|((height, phase), signer)| (height, phase, signer))
            .collect()
    }

    /// Whether a vote of `height` waits.
    pub(super) fn waits_at(&self, height: Height) -> bool {
        let ballots = self.ballots.range((height, Phase::One)..=(height, Phase::Two));
        ballots.into_iter().any(|(_, ballot)| !ballot.waiting.is_empty())
    }
}

impl Ballot {
    fn new(digest: Digest) -> Self {
        Self {
            digest,
            counted: BTreeMap::new(),
            waiting: BTreeMap::new(),
            contested: false,
        }
    }

    /// Whether a vote for `digest` is one for another block than earlier ones, or one of them was.
    fn is_contested(&mut self, digest: Digest) -> bool {
        self.contested |= digest != self.digest;
        self.contested
    }

    fn take(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// What waits, if it makes a quorum of those that count; then it counts as well.
    fn due(&mut self, set: &ValidatorSet) -> Vec<Waiting> {
        let weigh = |signers: &mut dyn Iterator<Item = &u16>| signers.map(|signer| set.weight(*signer)).sum::<u64>();
        let counted = weigh(&mut self.counted.keys());
        let all = counted + weigh(&mut self.waiting.keys());
        if set.is_quorum(counted) || !set.is_quorum(all) {
            return Vec::new();
        }
        let due = self.take();
        let signed = due.iter().filter_map(|waiting| waiting.inbound.message.signed());
        self.counted.extend(signed.map(|vote| (vote.signer, vote.signature)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::{SecretKey, Validator};
    use regatta_consensus::Statement;

    fn set() -> ValidatorSet {
        let member = |n: u8| Validator {
            key: SecretKey::from_seed([n; 32]).public(),
            weight: 1,
        };
        ValidatorSet::new((0..7).map(member).collect()).unwrap()
    }

    fn message(signer: u16, height: Height, mark: u8) -> Message {
        Message::Vote(Signed {
            statement: Statement {
                height,
                round: 0,
                content: Content::Vote1(Digest([mark; 32])),
            },
            signer,
            signature: Signature([0; 64]),
        })
    }

    fn waiting(signer: u16, height: Height, mark: u8) -> Waiting {
        let inbound = Inbound {
            from: 0,
            at: 0,
            message: message(signer, height, mark),
            encoded: Vec::new().into(),
            key: None,
            claims: 0,
            set: Digest::ZERO,
        };
        Waiting {
            inbound,
            claims: Vec::new(),
        }
    }

    fn signers(due: Vec<Waiting>) -> Vec<u16> {
        let signer = |waiting: Waiting| waiting.inbound.message.signed().map(|signed| signed.signer);
        due.into_iter().filter_map(signer).collect()
    }

    /// Of seven: the own vote of 6, and of the others `waits` for one block at height 1.
    fn ballots(waits: std::ops::Range<u16>) -> Ballots {
        let mut ballots = Ballots::default();
        assert!(ballots.count(&message(6, 1, 1), &set()).is_empty());
        for signer in waits {
            assert!(ballots.wait(waiting(signer, 1, 1), &set()).is_empty(), "{signer}");
        }
        ballots
    }

    #[test]
    fn votes_wait_for_a_quorum_and_later_ones_for_ever() {
        let mut ballots = ballots(0..3);
        assert_eq!(signers(ballots.wait(waiting(3, 1, 1), &set())), [0, 1, 2, 3]);
        assert!(ballots.wait(waiting(4, 1, 1), &set()).is_empty());
        assert!(ballots.wait(waiting(5, 1, 1), &set()).is_empty());
    }

    #[test]
    fn the_own_vote_may_be_the_last_one() {
        let mut ballots = Ballots::default();
        for signer in 0..4 {
            assert!(ballots.wait(waiting(signer, 1, 1), &set()).is_empty());
        }
        assert_eq!(signers(ballots.count(&message(6, 1, 1), &set())), [0, 1, 2, 3]);
        assert!(ballots.count(&message(6, 1, 1), &set()).is_empty(), "it counts once");
    }

    #[test]
    fn a_later_vote_takes_the_place_of_a_bad_one() {
        let mut ballots = ballots(0..3);
        ballots.wait(waiting(3, 1, 1), &set());
        ballots.wait(waiting(4, 1, 1), &set());
        assert_eq!(signers(ballots.refuse(&message(2, 1, 1), &set())), [4]);
        assert!(ballots.refuse(&message(1, 1, 1), &set()).is_empty());
        assert_eq!(signers(ballots.wait(waiting(5, 1, 1), &set())), [5]);
    }

    #[test]
    fn votes_for_two_blocks_are_all_checked() {
        let mut ballots = ballots(0..2);
        assert_eq!(signers(ballots.wait(waiting(2, 1, 2), &set())), [0, 1, 2]);
        assert_eq!(signers(ballots.wait(waiting(3, 1, 1), &set())), [3]);
        let mut ballots = Ballots::default();
        ballots.wait(waiting(0, 1, 1), &set());
        assert_eq!(
            signers(ballots.count(&message(6, 1, 2), &set())),
            [0],
            "the own one as well"
        );
    }

    #[test]
    fn nothing_waits_where_a_round_was_given_up() {
        let mut ballots = ballots(0..2);
        ballots.wait(waiting(0, 2, 5), &set());
        assert!(ballots.waits_at(1) && ballots.waits_at(2) && !ballots.waits_at(3));
        assert_eq!(signers(ballots.open(1)), [0, 1]);
        assert_eq!(signers(ballots.wait(waiting(2, 1, 1), &set())), [2]);
        assert!(
            ballots.wait(waiting(1, 2, 5), &set()).is_empty(),
            "the next height is another matter"
        );
        ballots.advance(3);
        assert!(!ballots.waits_at(2));
    }
}
