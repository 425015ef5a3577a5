//! Sets of neighbours.

use crate::event::PeerIndex;

/// A set of neighbours, by position in the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PeerSet([u64; 8]);

impl PeerSet {
    pub(crate) fn insert(&mut self, peer: PeerIndex) {
        if let Some(word) = self.0.get_mut(peer / 64) {
            *word |= 1 << (peer % 64);
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerIndex) {
        if let Some(word) = self.0.get_mut(peer / 64) {
            *word &= !(1 << (peer % 64));
        }
    }

    pub(crate) fn contains(&self, peer: PeerIndex) -> bool {
        self.0.get(peer / 64).is_some_and(|word| word & (1 << (peer % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_sets_hold_every_possible_peer() {
        let mut set = PeerSet::default();
        for peer in [0, 63, 64, regatta_base::limits::PEERS_MAX - 1] {
            assert!(!set.contains(peer));
            set.insert(peer);
            assert!(set.contains(peer));
        }
        set.remove(63);
        assert!(!set.contains(63) && set.contains(64));
    }
}
