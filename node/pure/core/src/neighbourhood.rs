//! The neighbours of a node as each of its instances sees them.
//!
//! Links are shared and instances are not: a neighbour is up for an instance once both greeted each other and both run
//! it. To one that does not run an instance nothing of it is sent, and nothing of it is taken from there.

use crate::{
    event::PeerIndex,
    links::Links,
    wire::{Hello, InstanceTag, KeyPrefix, Topology, prefix},
};
use regatta_base::{Height, PublicKey};

/// All configured neighbours.
#[derive(Debug)]
pub(crate) struct Neighbourhood {
    peers: Vec<Neighbour>,
    /// By position of the instance.
    views: Vec<View>,
}

/// The neighbours as one instance sees them.
#[derive(Debug)]
struct View {
    tag: InstanceTag,
    role: Role,
    links: Links,
}

/// What this node is in an instance; blocks can change it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Role {
    /// Whether it is a validator.
    pub(crate) votes: bool,
    /// Whether it wants single votes of others, not only decisions.
    pub(crate) wants_votes: bool,
}

#[derive(Debug)]
struct Neighbour {
    prefix: KeyPrefix,
    /// The link is up; its greeting may not have arrived.
    connected: bool,
    greeted: bool,
}

/// What a greeting has changed for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The neighbour is up from now on.
    Up {
        /// The last height that it has executed.
        height: Height,
    },
    /// It wants votes from now on.
    WantsVotes,
}

impl Neighbourhood {
    /// `instances` are the tags, each with what this node is there.
    pub(crate) fn new(
        own: &PublicKey,
        peers: &[PublicKey],
        instances: impl Iterator<Item = (InstanceTag, Role)>,
    ) -> Self {
        let neighbour = |key: &PublicKey| Neighbour {
            prefix: prefix(&key.0),
            connected: false,
            greeted: false,
        };
        let view = |(tag, role): (InstanceTag, Role)| View {
            tag,
            role,
            links: Links::new(own, role.votes, peers.iter().copied()),
        };
        Self {
            peers: peers.iter().map(neighbour).collect(),
            views: instances.map(view).collect(),
        }
    }

    /// Notes what this node is in each instance; says which of it is new in some instance.
    pub(crate) fn set_roles(&mut self, roles: impl Iterator<Item = Role>) -> Role {
        let mut change = Role::default();
        for (view, role) in self.views.iter_mut().zip(roles) {
            change.votes |= view.links.set_validator(role.votes);
            change.wants_votes |= view.role.wants_votes != role.wants_votes;
            view.role = role;
        }
        change
    }

    /// The links of the instance at a position.
    pub(crate) fn view(&self, instance: usize) -> Option<&Links> {
        self.views.get(instance).map(|view| &view.links)
    }

    /// The links of every instance.
    pub(crate) fn views(&self) -> impl Iterator<Item = &Links> {
        self.views.iter().map(|view| &view.links)
    }

    /// Whether the link is up and its greeting has arrived.
    pub(crate) fn is_up(&self, peer: PeerIndex) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.greeted)
    }

    /// Neighbours that are up, whatever instances they run.
    pub(crate) fn up(&self) -> impl Iterator<Item = PeerIndex> + '_ {
        (0..self.peers.len()).filter(|&peer| self.is_up(peer))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The link of a neighbour is authenticated; whether it is one of ours.
    pub(crate) fn connect(&mut self, peer: PeerIndex) -> bool {
        let known = self.peers.get_mut(peer);
        known.map(|peer| peer.connected = true).is_some()
    }

    /// A neighbour says who it is. Returns what that changes, by position of the instance; `None` if its link is not up.
    pub(crate) fn greet(&mut self, peer: PeerIndex, hello: &Hello) -> Option<Vec<(usize, Change)>> {
        self.peers.get_mut(peer).filter(|peer| peer.connected)?.greeted = true;
        let mut changes = Vec::new();
        for (instance, View { tag, links, .. }) in self.views.iter_mut().enumerate() {
            let Some(theirs) = hello.instances.iter().find(|theirs| theirs.tag == *tag) else {
                continue;
            };
            let before = links.get(peer).map(|link| (link.up, link.wants_votes));
            let (was_up, wanted_votes) = before.unwrap_or_default();
            let distance = hello.topology.distance(*tag);
            links.set_up(peer, theirs.wants_votes, distance, &hello.topology.neighbours);
            if !was_up {
                changes.push((instance, Change::Up { height: theirs.height }));
            } else if theirs.wants_votes && !wanted_votes {
                changes.push((instance, Change::WantsVotes));
            }
        }
        Some(changes)
    }

    /// Takes in what a neighbour says of its links; returns the common neighbours that it has lost, and whether
    /// this node's own way to a validator has changed.
    pub(crate) fn set_topology(&mut self, peer: PeerIndex, topology: &Topology) -> (Vec<PeerIndex>, bool) {
        let before = self.distances();
        let mut lost = Vec::new();
        for View { tag, links, .. } in &mut self.views {
            if links.get(peer).is_some_and(|link| link.up) {
                lost.extend(links.set_topology(peer, topology.distance(*tag), &topology.neighbours));
            }
        }
        lost.sort_unstable();
        lost.dedup();
        (lost, self.distances() != before)
    }

    /// The link of a neighbour is gone; whether it was up.
    pub(crate) fn disconnect(&mut self, peer: PeerIndex) -> bool {
        let Some(neighbour) = self.peers.get_mut(peer) else {
            return false;
        };
        neighbour.connected = false;
        let was_up = std::mem::take(&mut neighbour.greeted);
        for view in &mut self.views {
            view.links.set_down(peer);
        }
        was_up
    }

    fn distances(&self) -> Vec<(InstanceTag, u8)> {
        let views = self.views.iter();
        views.map(|view| (view.tag, view.links.distance())).collect()
    }

    /// What to tell the neighbours.
    pub(crate) fn topology(&self) -> Topology {
        let up = self.peers.iter().filter(|peer| peer.greeted);
        let mut neighbours: Vec<KeyPrefix> = up.map(|peer| peer.prefix).collect();
        neighbours.sort_unstable();
        Topology {
            neighbours,
            distances: self.distances(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{links::DISTANCE_MAX, wire::InstanceHello};
    use regatta_base::Digest;

    fn key(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    /// A greeting of somebody who runs these instances, at these distances from a validator.
    fn hello(instances: &[(InstanceTag, u8)]) -> Hello {
        let instance = |&(tag, _): &(InstanceTag, u8)| InstanceHello {
            tag,
            height: 0,
            wants_votes: true,
        };
        Hello {
            version: 0,
            chain: Digest::ZERO,
            topology: Topology {
                neighbours: vec![prefix(&key(2).0)],
                distances: instances.to_vec(),
            },
            instances: instances.iter().map(instance).collect(),
        }
    }

    /// Follows instance 7 and votes in instance 8.
    fn neighbourhood() -> Neighbourhood {
        let role = |votes| Role {
            votes,
            wants_votes: votes,
        };
        let instances = [(7, role(false)), (8, role(true))];
        Neighbourhood::new(&key(0), &[key(1), key(2)], instances.into_iter())
    }

    #[test]
    fn a_neighbour_is_up_only_for_the_instances_that_it_runs() {
        let mut all = neighbourhood();
        assert_eq!(all.greet(0, &hello(&[(7, 0)])), None);
        assert!(all.connect(0) && !all.connect(9));
        let up = Change::Up { height: 0 };
        assert_eq!(all.greet(0, &hello(&[(7, 0), (5, 0)])), Some(vec![(0, up)]));
        assert_eq!(all.greet(0, &hello(&[(7, 0)])), Some(Vec::new()));
        let is_up = |all: &Neighbourhood, instance: usize| all.view(instance).unwrap().get(0).unwrap().up;
        assert!(all.is_up(0) && is_up(&all, 0) && !is_up(&all, 1));
        assert!(all.disconnect(0) && !is_up(&all, 0) && !all.disconnect(0));
    }

    #[test]
    fn each_instance_has_its_own_way_to_a_validator() {
        let mut all = neighbourhood();
        let distances = |all: &Neighbourhood| all.views().map(Links::distance).collect::<Vec<_>>();
        assert_eq!(distances(&all), [DISTANCE_MAX, 0]);
        all.connect(0);
        all.greet(0, &hello(&[(7, 2), (8, 0)]));
        assert_eq!(distances(&all), [3, 0]);
        let nearer = hello(&[(7, 0)]).topology;
        assert_eq!(all.set_topology(0, &nearer), (Vec::new(), true));
        assert_eq!(all.set_topology(0, &nearer), (Vec::new(), false));
        assert_eq!(distances(&all), [1, 0]);
    }

    #[test]
    fn a_change_of_role_is_told_once() {
        let mut all = neighbourhood();
        let voter = Role {
            votes: true,
            wants_votes: true,
        };
        assert_eq!(all.set_roles([voter, voter].into_iter()), voter);
        assert_eq!(all.set_roles([voter, voter].into_iter()), Role::default());
        all.connect(0);
        let mut hello = hello(&[(7, 0), (8, 0)]);
        hello.instances[1].wants_votes = false;
        all.greet(0, &hello);
        hello.instances[1].wants_votes = true;
        assert_eq!(all.greet(0, &hello), Some(vec![(1, Change::WantsVotes)]));
    }

    #[test]
    fn a_neighbour_lost_for_two_instances_is_lost_once() {
        let mut all = neighbourhood();
        for peer in [0, 1] {
            all.connect(peer);
            all.greet(peer, &hello(&[(7, 0), (8, 0)]));
        }
        let alone = Topology::default();
        assert_eq!(all.set_topology(0, &alone).0, [1]);
    }
}
