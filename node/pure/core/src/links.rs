//! What an instance knows about the neighbours of its node.

use crate::{
    event::PeerIndex,
    peers::PeerSet,
    wire::{KeyPrefix, prefix},
};
use regatta_base::PublicKey;
use std::collections::BTreeSet;

/// Farther than any validator can be; also what keeps a counting-to-infinity loop finite.
pub(crate) const DISTANCE_MAX: u8 = 32;

/// One configured neighbour.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) key: PublicKey,
    prefix: KeyPrefix,
    /// Whether the link is up, its `Hello` arrived, *and* the neighbour runs the instance.
    pub(crate) up: bool,
    pub(crate) wants_votes: bool,
    pub(crate) distance: u8,
    /// Those of this node's neighbours to which it has links. Each message that is passed on asks for all of them.
    covers: PeerSet,
}

/// All configured neighbours, by position in the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    own_prefix: KeyPrefix,
    /// Distance to the nearest validator as far as this node's own role goes: 0 or the maximum.
    own_distance: u8,
    list: Vec<Link>,
}

impl Links {
    pub(crate) fn new(own: &PublicKey, is_validator: bool, peers: impl Iterator<Item = PublicKey>) -> Self {
        let link = |key: PublicKey| Link {
            key,
            prefix: prefix(&key.0),
            up: false,
            wants_votes: false,
            distance: DISTANCE_MAX,
            covers: PeerSet::default(),
        };
        let own_distance = if is_validator { 0 } else { DISTANCE_MAX };
        Self {
            own_prefix: prefix(&own.0),
            own_distance,
            list: peers.map(link).collect(),
        }
    }

    /// Notes whether this node is a validator; says whether that is new.
    pub(crate) fn set_validator(&mut self, is_validator: bool) -> bool {
        let distance = if is_validator { 0 } else { DISTANCE_MAX };
        std::mem::replace(&mut self.own_distance, distance) != distance
    }

    /// Every configured neighbour, in the order of the configuration.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Link> {
        self.list.iter()
    }

    pub(crate) fn get(&self, peer: PeerIndex) -> Option<&Link> {
        self.list.get(peer)
    }

    /// The neighbour with this key, if its link is up.
    pub(crate) fn find(&self, key: &PublicKey) -> Option<PeerIndex> {
        self.up().find(|&peer| self.list[peer].key == *key)
    }

    pub(crate) fn set_up(&mut self, peer: PeerIndex, wants_votes: bool, distance: u8, neighbours: &[KeyPrefix]) {
        if let Some(link) = self.list.get_mut(peer) {
            (link.up, link.wants_votes) = (true, wants_votes);
        }
        self.set_topology(peer, distance, neighbours);
    }

    /// Takes in what a neighbour says of its links; returns the common neighbours that it has lost.
    pub(crate) fn set_topology(&mut self, peer: PeerIndex, distance: u8, neighbours: &[KeyPrefix]) -> Vec<PeerIndex> {
        let stated: BTreeSet<KeyPrefix> = neighbours.iter().copied().collect();
        let mut covers = PeerSet::default();
        let linked = self.list.iter().enumerate();
        linked
            .filter(|(_, link)| stated.contains(&link.prefix))
            .for_each(|(other, _)| covers.insert(other));
        let Some(link) = self.list.get_mut(peer) else {
            return Vec::new();
        };
        link.distance = distance.min(DISTANCE_MAX);
        let before = std::mem::replace(&mut link.covers, covers);
        let is_lost = |other: &PeerIndex| before.contains(*other) && !covers.contains(*other);
        self.up().filter(is_lost).collect()
    }

    pub(crate) fn set_down(&mut self, peer: PeerIndex) {
        if let Some(link) = self.list.get_mut(peer) {
            link.up = false;
            link.distance = DISTANCE_MAX;
            link.covers = PeerSet::default();
        }
    }

    /// Neighbours whose link is up, in the order of the configuration.
    pub(crate) fn up(&self) -> impl Iterator<Item = PeerIndex> + '_ {
        self.list
            .iter()
            .enumerate()
            .filter(|(_, link)| link.up)
            .map(|(peer, _)| peer)
    }

    /// Whether `source` has a link to `peer`, so that what `source` sent everybody need not be passed on.
    pub(crate) fn covers(&self, source: PeerIndex, peer: PeerIndex) -> bool {
        self.list
            .get(source)
            .is_some_and(|link| link.up && link.covers.contains(peer))
    }

    /// Links to the nearest validator, [`DISTANCE_MAX`] when none is known.
    pub(crate) fn distance(&self) -> u8 {
        let through = self
            .list
            .iter()
            .filter(|link| link.up)
            .map(|link| link.distance.saturating_add(1))
            .min();
        self.own_distance.min(through.unwrap_or(DISTANCE_MAX)).min(DISTANCE_MAX)
    }

    /// The neighbour nearest to a validator, `avoid` only if there is no other.
    ///
    /// Among equals the choice depends on this node's key, so that clients of many full nodes spread
    /// over the validators; it stays the same while links do, so that a sender's transactions keep order.
    pub(crate) fn towards_validator(&self, avoid: Option<PeerIndex>) -> Option<PeerIndex> {
        let spread = |peer: PeerIndex| self.list[peer].prefix.rotate_left(17) ^ self.own_prefix;
        self.up()
            .filter(|&peer| self.list[peer].distance < DISTANCE_MAX)
            .min_by_key(|&peer| (Some(peer) == avoid, self.list[peer].distance, spread(peer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    fn prefixes(of: &[u8]) -> Vec<KeyPrefix> {
        of.iter().map(|&n| prefix(&key(n).0)).collect()
    }

    #[test]
    fn transactions_go_towards_the_nearest_validator_and_around_a_dead_link() {
        let mut links = Links::new(&key(0), false, [key(1), key(2), key(3)].into_iter());
        assert_eq!((links.towards_validator(None), links.distance()), (None, DISTANCE_MAX));
        links.set_up(0, true, 2, &prefixes(&[]));
        links.set_up(1, true, 0, &prefixes(&[]));
        assert_eq!((links.towards_validator(None), links.distance()), (Some(1), 1));
        assert_eq!(links.towards_validator(Some(1)), Some(0));
        links.set_down(1);
        assert_eq!((links.towards_validator(None), links.distance()), (Some(0), 3));
        links.set_down(0);
        assert_eq!(links.towards_validator(None), None);
    }

    #[test]
    fn a_common_neighbour_is_covered_only_while_the_source_says_so() {
        let mut links = Links::new(&key(0), true, [key(1), key(2)].into_iter());
        links.set_up(0, true, 0, &prefixes(&[2, 0]));
        links.set_up(1, true, 0, &prefixes(&[]));
        assert!(links.covers(0, 1) && !links.covers(1, 0));
        assert_eq!(
            links.set_topology(0, 0, &prefixes(&[0])),
            [1],
            "and a lost one is reported"
        );
        assert!(!links.covers(0, 1));
    }
}
