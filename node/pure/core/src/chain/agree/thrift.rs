//! Whom a leader that collects votes tells first that the first votes made a quorum.
//!
//! Whoever hears of a QC1 checks each of its signatures and votes again; yet the block needs no more than a quorum of
//! second votes, and who did not give one learns the decision as early as the others. So the leader tells those that
//! have just voted, the next leader, who builds on it, and a few more for those that are slow or die meanwhile. If the
//! second votes are not together after twice the time that first ones took of late, it tells everybody else too. Known
//! from Paxos as "thrifty": I. Moraru, D. Andersen, M. Kaminsky, "There Is More Consensus in Egalitarian Parliaments",
//! SOSP 2013.
//!
//! **Nothing may hang on those that were chosen.** After a wait in vain the leader tells everybody at once in its next
//! turns, and in twice as many after each further one, so that few blocks are late where messages take more or less
//! time, or validators vote once and never twice. Whoever was left out acts as one whose certificate is late. Nobody
//! is left out when a round was given up, when votes lead to nothing, and when a validator has no link to the leader,
//! since somebody else may have to pass the certificate on to it.

use crate::{
    chain::{Chain, routes::Routes},
    context::Context,
    event::{PeerIndex, Time},
    mutants::mutant,
};
use regatta_base::{Height, PublicKey, ValidatorSet};
use regatta_consensus::{Certificate, Message, Phase};
use std::collections::BTreeMap;

/// The part of all weight that is told at once beyond a quorum: one of so many.
const SPARE_SHARE: u128 = 10;
/// For how many of its turns a leader tells everybody at once: after the first wait in vain, and at most.
const GENEROUS_TURNS: [u64; 2] = [4, 64];
/// Of how long first votes took, such a part is forgotten with each block: one of so many. A node that is late itself
/// finds the votes waiting, and one block says little.
const FORGOTTEN_SHARE: Time = 8;
/// Shortest wait for the second votes, in milliseconds: validators that share a machine take turns that long.
const WAIT_MS_MIN: Time = 10;

/// Who was not told yet, and how long nobody is left out.
#[derive(Debug, Default)]
pub(super) struct Thrift {
    /// How long the first votes of a block took of late, from the proposal and the block before to their certificate,
    /// in milliseconds. Waits for second votes are not in it: they would add up from leader to leader.
    first_votes_ms: Time,
    /// A certificate that some were not told, and when they are.
    untold: Option<(Time, Certificate)>,
    /// Up to this height everybody is told at once.
    generous_until: Height,
    /// For how many turns it will be after the next wait in vain, if the last one was in vain.
    turns: Option<u64>,
}

impl Thrift {
    pub(super) fn due_at(&self) -> Option<Time> {
        self.untold.as_ref().map(|(at, _)| *at)
    }

    /// The certificate that everybody is to be told of now: the second votes are late.
    fn take_due(&mut self, now: Time, validators: usize) -> Option<Certificate> {
        let (_, certificate) = self.untold.take_if(|(at, _)| *at <= now)?;
        let [first, most] = GENEROUS_TURNS;
        let turns = self.turns.unwrap_or(first);
        self.turns = Some((2 * turns).min(most));
        self.generous_until = certificate.height.saturating_add(turns * validators as Height);
        Some(certificate)
    }

    fn note(&mut self, took: Time) {
        self.first_votes_ms = took.max(self.first_votes_ms - self.first_votes_ms / FORGOTTEN_SHARE);
    }

    /// Everything below `height` is decided.
    pub(super) fn advance(&mut self, height: Height) {
        if self
            .untold
            .take_if(|(_, certificate)| certificate.height < height)
            .is_some()
        {
            self.turns = None;
        }
    }
}

impl Chain {
    /// Notes how long the first votes took, when their certificate has come or was formed.
    pub(super) fn note_first_votes(&mut self, now: Time, message: &Message) {
        let proposed_at = self.agreement.proposed_at.map(|(_, at)| at);
        let began_at = proposed_at.max(self.agreement.last_block_at);
        if let (Some(began_at), Some(_)) = (began_at, first_quorum(message)) {
            self.agreement.thrift.note(now.saturating_sub(began_at));
        }
    }

    /// Those among `receivers` that are told of `message` at once; the others wait for [`Chain::tell_the_others`].
    pub(super) fn told_at_once(
        &mut self,
        ctx: &Context<'_>,
        message: &Message,
        receivers: Vec<PeerIndex>,
    ) -> Vec<PeerIndex> {
        let Some((certificate, chosen)) = self.thrifty(ctx, message, &receivers) else {
            return receivers;
        };
        self.note_first_votes(ctx.now, message);
        let wait = 2 * self.agreement.thrift.first_votes_ms;
        let wait = wait.clamp(WAIT_MS_MIN, self.retry_interval());
        self.agreement.thrift.untold = Some((ctx.now + wait, certificate));
        chosen
    }

    /// Whom a QC1 that this node formed as the leader goes to first, if that is not everybody.
    fn thrifty(
        &self,
        ctx: &Context<'_>,
        message: &Message,
        receivers: &[PeerIndex],
    ) -> Option<(Certificate, Vec<PeerIndex>)> {
        let certificate = first_quorum(message)?;
        let height = certificate.height;
        let aggregates = Routes::aggregates(self.config.vote_topology) && !self.routes.is_stalled(height);
        if !aggregates || height <= self.agreement.thrift.generous_until {
            return None;
        }
        let validators = self.ledger.sets().at(height)?.validators();
        let own = validators.index_of(&self.role.key)?;
        if own != validators.leader(height, 0) {
            return None;
        }
        let links = receivers
            .iter()
            .filter_map(|&peer| Some((ctx.links.get(peer)?.key, peer)));
        let chosen = choose(validators, own, certificate, &links.collect())?;
        (chosen.len() < receivers.len()).then(|| (certificate.clone(), chosen))
    }

    /// The second votes are late: everybody hears of the first ones.
    pub(super) fn tell_the_others(&mut self, ctx: &mut Context<'_>) {
        let next = self.ledger.height() + 1;
        let validators = self.ledger.sets().at(next).map_or(0, |scope| scope.validators().len());
        if let Some(certificate) = self.agreement.thrift.take_due(ctx.now, validators)
            && !mutant!(self.agreement.ballots, leave_out)
        {
            self.broadcast(ctx, &Message::Quorum(certificate));
        }
    }
}

/// The certificate of the first votes of round 0, if that is what a message is. Those of later rounds come after a
/// timeout: nobody saves then, and how long they took says nothing.
fn first_quorum(message: &Message) -> Option<&Certificate> {
    match message {
        Message::Quorum(certificate) if (certificate.phase, certificate.round) == (Phase::One, 0) => Some(certificate),
        _ => None,
    }
}

/// The links of those that are told first: the signers, the leader of the next height, and those that lead after it
/// until a spare part of the weight is beyond the quorum. `None` when a validator is not linked.
fn choose(
    validators: &ValidatorSet,
    own: u16,
    certificate: &Certificate,
    links: &BTreeMap<PublicKey, PeerIndex>,
) -> Option<Vec<PeerIndex>> {
    let size = validators.len() as u16;
    let others = || (0..size).filter(|&member| member != own);
    let link = |member: u16| validators.get(member).and_then(|validator| links.get(&validator.key));
    if others().any(|member| link(member).is_none()) {
        return None;
    }
    let next = validators.leader(certificate.height + 1, 0);
    let mut told: Vec<u16> = others()
        .filter(|&member| certificate.signers.contains(member))
        .collect();
    let mut weight: u128 = certificate
        .signers
        .iter()
        .map(|member| u128::from(validators.weight(member)))
        .sum();
    let spare = u128::from(validators.total());
    let has_spare = |weight: u128| 3 * (SPARE_SHARE * weight).saturating_sub(spare) > 2 * SPARE_SHARE * spare;
    for member in (0..size).map(|step| (next + step) % size) {
        if member == own || certificate.signers.contains(member) || (member != next && has_spare(weight)) {
            continue;
        }
        told.push(member);
        weight += u128::from(validators.weight(member));
    }
    Some(told.into_iter().filter_map(link).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::{Digest, SecretKey, Signature, Validator};
    use regatta_consensus::Signers;

    fn key(member: u16) -> PublicKey {
        SecretKey::from_seed([member as u8; 32]).public()
    }

    fn set(weights: &[u64]) -> ValidatorSet {
        let member = |(member, &weight): (usize, &u64)| Validator {
            key: key(member as u16),
            weight,
        };
        ValidatorSet::new(weights.iter().enumerate().map(member).collect()).unwrap()
    }

    fn certificate(height: Height, size: usize, signers: std::ops::Range<u16>) -> Certificate {
        Certificate {
            phase: Phase::One,
            height,
            round: 0,
            digest: Digest([1; 32]),
            signatures: vec![Signature([0; 64]); signers.len()],
            signers: Signers::of(size, signers),
        }
    }

    /// Whom member 0 tells, by their place in the set.
    fn told(weights: &[u64], certificate: &Certificate, unlinked: Option<u16>) -> Option<Vec<u16>> {
        let validators = set(weights);
        let members = (1..weights.len() as u16).filter(|&member| Some(member) != unlinked);
        let links = members.filter_map(|member| Some((validators.get(member)?.key, usize::from(member))));
        let mut chosen: Vec<u16> = choose(&validators, 0, certificate, &links.collect())?
            .into_iter()
            .map(|peer| peer as u16)
            .collect();
        chosen.sort_unstable();
        Some(chosen)
    }

    #[test]
    fn signers_and_a_tenth_beyond_the_quorum_are_told_first() {
        for (size, quorum, first) in [
            (4, 3, 4),
            (7, 5, 6),
            (10, 7, 8),
            (20, 14, 16),
            (50, 34, 39),
            (100, 67, 77),
        ] {
            let chosen = told(&vec![1; size], &certificate(1, size, 0..quorum), None).unwrap();
            assert_eq!(chosen.len() + 1, first, "of {size}");
            assert!(
                (1..quorum).all(|signer| chosen.contains(&signer)),
                "of {size}: {chosen:?}"
            );
        }
    }

    #[test]
    fn the_next_leader_is_told_first_and_those_after_it_are_the_spare_ones() {
        let weights = [1; 20];
        let validators = set(&weights);
        let height = (1..).find(|&height| validators.leader(height + 1, 0) == 18).unwrap();
        let chosen = told(&weights, &certificate(height, 20, 0..14), None).unwrap();
        assert_eq!(chosen[13..], [18, 19]);
        let all_signed = told(&weights, &certificate(height, 20, 0..17), None).unwrap();
        assert_eq!(all_signed[16..], [18], "there is enough to spare without it");
    }

    #[test]
    fn weight_counts_and_not_heads() {
        let weights = [10, 10, 10, 1, 1, 1, 1, 1, 1, 1];
        let heavy = told(&weights, &certificate(1, 10, 0..3), None).unwrap();
        assert!(heavy.len() <= 3, "{heavy:?}");
        let light = told(&[1, 1, 1, 1, 1, 1, 1, 10, 10, 10], &certificate(1, 10, 0..9), None).unwrap();
        assert_eq!(
            light.len(),
            9,
            "27 of 37 are a quorum, and 4 more come with the last one"
        );
    }

    #[test]
    fn nobody_is_left_out_while_a_validator_is_not_linked() {
        assert_eq!(told(&[1; 20], &certificate(1, 20, 0..14), Some(17)), None);
    }

    fn untold(at: Time, height: Height) -> Option<(Time, Certificate)> {
        Some((at, certificate(height, 4, 0..3)))
    }

    #[test]
    fn a_wait_in_vain_costs_the_thrift_of_some_turns_and_the_next_one_of_more() {
        let mut thrift = Thrift {
            untold: untold(50, 7),
            ..Thrift::default()
        };
        assert_eq!((thrift.due_at(), thrift.take_due(49, 4)), (Some(50), None));
        assert!(thrift.take_due(50, 4).is_some());
        assert_eq!((thrift.generous_until, thrift.due_at()), (7 + 4 * 4, None));
        for turns in [8, 16, 32, 64, 64] {
            thrift.untold = untold(60, 100);
            assert!(thrift.take_due(60, 4).is_some());
            assert_eq!(thrift.generous_until, 100 + turns * 4);
        }
        thrift.untold = untold(70, 500);
        thrift.advance(501);
        assert_eq!(thrift.turns, None, "this wait was not in vain");
    }

    #[test]
    fn how_long_first_votes_took_is_forgotten_slowly() {
        let mut thrift = Thrift::default();
        let mut seen = Vec::new();
        for took in [80, 0, 75, 0, 90] {
            thrift.note(took);
            seen.push(thrift.first_votes_ms);
        }
        assert_eq!(seen, [80, 70, 75, 66, 90]);
    }

    #[test]
    fn a_decision_ends_the_wait() {
        let mut thrift = Thrift {
            untold: untold(50, 7),
            ..Thrift::default()
        };
        thrift.advance(7);
        assert_eq!(thrift.due_at(), Some(50), "7 is open");
        thrift.advance(8);
        assert_eq!((thrift.due_at(), thrift.generous_until), (None, 0));
    }
}
