//! Where consensus messages go: which neighbours get a message, by the instance's vote topology.
//!
//! * `all_to_all`: an own message goes to every neighbour that votes here, and nobody passes anything on.
//! * `relay`: a message goes to every neighbour that wants votes and lacks it, own or not.
//! * `leader_aggregate`: votes go to the round's leader alone; where there is no link to it they are relayed, so that
//!   they reach it over whatever graph there is. Everything else travels as by `relay`, but for the certificate of the
//!   first votes, which not everybody hears of at once (`agree/thrift.rs`).
//!
//! **Nothing may hang on one neighbour.** A vote of this node that has led to nothing between two retries means that
//! the leader fell silent or a link is missing. From then on until the height is decided everything known about it
//! goes to everybody, as by `relay`: others then count the votes themselves.

use super::Chain;
use crate::{event::PeerIndex, links::Links};
use regatta_api::config::VoteTopology;
use regatta_base::{Digest, Height, PublicKey, ValidatorSet};
use regatta_consensus::{Content, Message, Statement};
use std::collections::BTreeSet;

/// While votes lead to nothing, every so many retries are said to everybody.
const INSIST_RETRIES: u32 = 8;

/// Who gets what in one instance.
#[derive(Debug)]
pub(crate) struct Routes {
    topology: VoteTopology,
    /// Which sets `voters` are from.
    sets: [Digest; 2],
    voters: BTreeSet<PublicKey>,
    /// This node's latest vote.
    said: Option<Statement>,
    /// What `said` was at the last retry.
    said_at_retry: Option<Statement>,
    /// The height at which votes lead to nothing.
    stalled: Option<Height>,
    /// Retries since then.
    retries: u32,
}

/// Who of the neighbours gets a message.
#[derive(Debug, PartialEq, Eq)]
enum Audience {
    /// Only this one.
    One(PeerIndex),
    /// Those that vote in this instance.
    Voters,
    /// Those that want votes.
    Interested,
    /// Nobody: it has arrived where it has to be.
    Nobody,
}

impl Routes {
    pub(crate) fn new(topology: VoteTopology, genesis: &ValidatorSet) -> Self {
        Self {
            topology,
            sets: [genesis.hash(); 2],
            voters: keys(genesis).collect(),
            said: None,
            said_at_retry: None,
            stalled: None,
            retries: 0,
        }
    }

    /// Whether leaders collect votes and tell everybody what they add up to.
    pub(crate) fn aggregates(topology: VoteTopology) -> bool {
        topology == VoteTopology::LeaderAggregate
    }

    /// Whether a neighbour gets single votes; others get decisions.
    pub(crate) fn gets_votes(&self, links: &Links, peer: PeerIndex) -> bool {
        let everybody = self.topology != VoteTopology::AllToAll || self.stalled.is_some();
        links
            .get(peer)
            .is_some_and(|link| link.wants_votes && (everybody || self.voters.contains(&link.key)))
    }

    /// Everything below `height` is decided; `now` decides that height, and `next` the one after.
    pub(crate) fn advance(&mut self, height: Height, now: &ValidatorSet, next: &ValidatorSet) {
        self.stalled = self.stalled.filter(|stalled| *stalled >= height);
        let sets = [now.hash(), next.hash()];
        if self.sets != sets {
            self.sets = sets;
            self.voters = keys(now).chain(keys(next)).collect();
        }
    }

    /// Notes an own statement.
    pub(crate) fn note_said(&mut self, statement: Statement) {
        if matches!(statement.content, Content::Vote1(_) | Content::Vote2(_)) {
            self.said = Some(statement);
        }
    }

    /// A retry is due while `height` is open: whether it stalls from now on.
    pub(crate) fn note_retry(&mut self, height: Height) -> bool {
        let is_same = self.said.is_some() && self.said == self.said_at_retry;
        let is_open = self.said.is_some_and(|said| said.height == height);
        self.said_at_retry = self.said;
        let stalls = is_same && is_open && !self.is_stalled(height);
        self.retries = if self.is_stalled(height) {
            self.retries.saturating_add(1)
        } else {
            0
        };
        if stalls {
            self.stalled = Some(height);
        }
        stalls
    }

    /// Whether what this node said is to be said again to those that are thought to have it: now and then while votes lead to
    /// nothing, since whoever was flooded, or in another height or round, dropped it without a word.
    pub(crate) fn is_insistent(&self) -> bool {
        self.retries > 0 && self.retries.is_multiple_of(INSIST_RETRIES)
    }

    /// Whether votes of this height led to nothing, so that everything goes to everybody.
    pub(super) fn is_stalled(&self, height: Height) -> bool {
        self.stalled == Some(height)
    }

    /// For whom `message` is; `leader` leads its round, and `is_own` is whether this node does.
    fn audience(&self, links: &Links, message: &Message, leader: Option<PublicKey>, is_own: bool) -> Audience {
        if self.is_stalled(message.height()) {
            return Audience::Interested;
        }
        match self.topology {
            VoteTopology::Relay => Audience::Interested,
            VoteTopology::AllToAll => Audience::Voters,
            VoteTopology::LeaderAggregate if !matches!(message, Message::Vote(_)) => Audience::Interested,
            VoteTopology::LeaderAggregate if is_own => Audience::Nobody,
            VoteTopology::LeaderAggregate => {
                let link = leader.and_then(|leader| links.find(&leader));
                link.map_or(Audience::Interested, Audience::One)
            }
        }
    }
}

fn keys(validators: &ValidatorSet) -> impl Iterator<Item = PublicKey> {
    let members = (0..validators.len() as u16).filter_map(|signer| validators.get(signer));
    members.map(|validator| validator.key)
}

impl Chain {
    fn audience(&self, links: &Links, message: &Message) -> Audience {
        let leader = message.signed().and_then(|signed| {
            let Statement { height, round, .. } = signed.statement;
            let validators = self.ledger.sets().at(height)?.validators();
            validators.get(validators.leader(height, round))
        });
        let key = leader.map(|leader| leader.key);
        self.routes.audience(links, message, key, key == Some(self.role.key))
    }

    /// The neighbours for whom a message of this node is.
    pub(super) fn receivers(&self, links: &Links, message: &Message) -> Vec<PeerIndex> {
        let audience = self.audience(links, message);
        let is_meant = |peer: &PeerIndex| match audience {
            Audience::One(one) => *peer == one,
            Audience::Voters => self.routes.gets_votes(links, *peer),
            Audience::Interested => links.get(*peer).is_some_and(|link| link.wants_votes),
            Audience::Nobody => false,
        };
        links.up().filter(is_meant).collect()
    }

    /// The neighbours to which this node passes on what `from` sent it.
    pub(super) fn relay_receivers(&self, links: &Links, message: &Message, from: PeerIndex) -> Vec<PeerIndex> {
        if !self.role.relays || self.audience(links, message) == Audience::Voters {
            return Vec::new();
        }
        let mut receivers = self.receivers(links, message);
        receivers.retain(|&peer| peer != from && !links.covers(from, peer));
        receivers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::{SecretKey, Signature, Validator};
    use regatta_consensus::Signed;

    fn key(n: u8) -> PublicKey {
        SecretKey::from_seed([n; 32]).public()
    }

    fn set(members: std::ops::Range<u8>) -> ValidatorSet {
        let member = |n| Validator { key: key(n), weight: 1 };
        ValidatorSet::new(members.map(member).collect()).unwrap()
    }

    fn routes(topology: VoteTopology) -> Routes {
        Routes::new(topology, &set(0..3))
    }

    /// Validators 0 to 2 and node 3, of which `up` are linked with us.
    fn links(up: &[usize]) -> Links {
        let mut links = Links::new(&key(9), true, (0..4).map(key));
        for &peer in up {
            links.set_up(peer, true, 0, &[]);
        }
        links
    }

    fn vote(height: Height) -> Message {
        let content = Content::Vote1(Digest([1; 32]));
        Message::Vote(Signed {
            statement: Statement {
                height,
                round: 0,
                content,
            },
            signer: 0,
            signature: Signature([0; 64]),
        })
    }

    #[test]
    fn each_topology_has_its_audience() {
        let (links, message, leader) = (links(&[0, 1, 3]), vote(1), Some(key(1)));
        let audience = |topology, leader, is_own| {
            let routes = routes(topology);
            routes.audience(&links, &message, leader, is_own)
        };
        assert_eq!(audience(VoteTopology::Relay, leader, false), Audience::Interested);
        assert_eq!(audience(VoteTopology::AllToAll, leader, false), Audience::Voters);
        let aggregate = VoteTopology::LeaderAggregate;
        assert_eq!(audience(aggregate, leader, false), Audience::One(1));
        assert_eq!(audience(aggregate, leader, true), Audience::Nobody);
        let unlinked = audience(aggregate, Some(key(2)), false);
        assert_eq!(unlinked, Audience::Interested, "relayed towards the leader");
    }

    #[test]
    fn what_is_no_vote_goes_to_everybody_who_aggregates() {
        let routes = routes(VoteTopology::LeaderAggregate);
        let status = Message::Status { height: 1 };
        let audience = routes.audience(&links(&[0, 1]), &status, Some(key(1)), false);
        assert_eq!(audience, Audience::Interested);
    }

    #[test]
    fn full_nodes_get_votes_unless_votes_go_from_validator_to_validator() {
        let links = links(&[0, 3]);
        let gets = |topology, peer| routes(topology).gets_votes(&links, peer);
        assert!(gets(VoteTopology::Relay, 3) && gets(VoteTopology::LeaderAggregate, 3));
        assert!(gets(VoteTopology::AllToAll, 0) && !gets(VoteTopology::AllToAll, 3));
        assert!(!gets(VoteTopology::Relay, 1), "its link is down");
    }

    #[test]
    fn who_gets_votes_follows_the_validator_set() {
        let links = links(&[0, 3]);
        let mut routes = routes(VoteTopology::AllToAll);
        routes.advance(2, &set(0..3), &set(1..4));
        assert!(
            routes.gets_votes(&links, 0) && routes.gets_votes(&links, 3),
            "one leaves, one comes"
        );
        routes.advance(3, &set(1..4), &set(1..4));
        assert!(!routes.gets_votes(&links, 0) && routes.gets_votes(&links, 3));
    }

    #[test]
    fn a_vote_without_effect_between_two_retries_goes_to_everybody() {
        let mut routes = routes(VoteTopology::LeaderAggregate);
        assert!(!routes.note_retry(1) && !routes.note_retry(1), "there was no vote");
        let signed = vote(1).signed().copied().unwrap();
        routes.note_said(signed.statement);
        assert!(!routes.note_retry(1));
        assert!(routes.note_retry(1) && !routes.note_retry(1), "and is told once");
        let links = links(&[0, 1]);
        let audience = |routes: &Routes, height| routes.audience(&links, &vote(height), Some(key(1)), false);
        assert_eq!(audience(&routes, 1), Audience::Interested);
        assert_eq!(
            audience(&routes, 2),
            Audience::One(1),
            "the next height is another matter"
        );
        routes.advance(2, &set(0..3), &set(0..3));
        assert_eq!(audience(&routes, 1), Audience::One(1));
    }
}
