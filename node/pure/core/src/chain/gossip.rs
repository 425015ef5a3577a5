//! Spreading consensus messages over a sparse graph: who has what, and what waits to be sent.
//!
//! Every message of the current heights is kept with a bitmap of the neighbours that have it. A link
//! that comes up gets everything its other end lacks, so that flooding is complete over whatever links
//! exist, and a vote crosses each link at most about once.

use crate::{event::PeerIndex, peers::PeerSet};
use regatta_base::{Digest, Height, HexBytes, Round, decode, encode};
use regatta_consensus::{Content, MESSAGE_BYTES_MAX, Message, Phase};
use std::collections::BTreeMap;

/// Messages for this many heights beyond the current one are kept: as far as the validators are known.
pub(crate) const HEIGHTS_AHEAD_MAX: Height = 1;
/// Most messages that are noted while they are being checked: proposals, two votes and timeouts of 1,024 validators in
/// several rounds. What was checked is kept beyond it, two statements of each signer, kind and round at most.
const MESSAGES_MAX: usize = 16_384;

/// What makes two messages the same.
pub(crate) type MessageKey = (Height, u8, Round, u16, Digest);

/// Kinds of messages up to this one are one signer's statement, of which there are no two good copies but by a faulty
/// signer.
const STATEMENT_KIND_MAX: u8 = 3;
/// Statements of one signer, kind, height and round that are kept and passed on: two convict it.
const RIVALS_MAX: usize = 2;
/// The kinds of certificates of votes.
const QUORUM_KINDS: [u8; 2] = [4, 5];
/// Other copies of a certificate that are kept while one is being checked, in case that one is forged.
const SPARES_MAX: usize = 8;

/// The key of a message; `None` for what is not flooded.
pub(crate) fn key_of(message: &Message) -> Option<MessageKey> {
    if let Some(signed) = message.signed() {
        let statement = signed.statement;
        let (kind, digest) = match statement.content {
            Content::Propose(digest) => (0, digest),
            Content::Vote1(digest) => (1, digest),
            Content::Vote2(digest) => (2, digest),
            Content::Timeout(high) => (3, Digest::of("regatta timeout key v1", &[&encode(&high)])),
        };
        return Some((statement.height, kind, statement.round, signed.signer, digest));
    }
    match message {
        Message::Quorum(certificate) => {
            let kind = if certificate.phase == Phase::One { 4 } else { 5 };
            Some((certificate.height, kind, certificate.round, 0, certificate.digest))
        }
        Message::TimeoutQuorum(certificate) => Some((certificate.height, 6, certificate.round, 0, Digest::ZERO)),
        _ => None,
    }
}

#[derive(Debug)]
struct Known {
    peers: PeerSet,
    encoded: HexBytes,
    /// Its signatures hold.
    checked: bool,
    /// Certificates of the same with other bytes, and who brought them, while this one is being checked.
    spares: Vec<(PeerIndex, HexBytes)>,
}

impl Known {
    fn new(encoded: &HexBytes) -> Self {
        Self {
            peers: PeerSet::default(),
            encoded: encoded.clone(),
            checked: false,
            spares: Vec::new(),
        }
    }
}

/// Messages of the current heights.
#[derive(Debug, Default)]
pub(crate) struct Gossip {
    known: BTreeMap<MessageKey, Known>,
}

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Seen for the first time: check it.
    New,
    /// Another copy of one that is being checked, with other bytes: one of them may be forged, and it has to be checked
    /// which. Each neighbour brings one at most.
    Rival,
    /// Known, or being checked.
    Known,
}

impl Gossip {
    /// Notes that `peer` sent a message.
    pub(crate) fn arrived(&mut self, key: MessageKey, peer: PeerIndex, encoded: &HexBytes) -> Arrival {
        if let Some(known) = self.known.get_mut(&key) {
            let is_rival = !known.checked && known.encoded != *encoded && !known.peers.contains(peer);
            known.peers.insert(peer);
            if is_rival && key.1 <= STATEMENT_KIND_MAX {
                return Arrival::Rival;
            }
            // Everybody makes another certificate of the same votes: one is checked, and the next if it is forged.
            if is_rival && known.spares.len() < SPARES_MAX {
                known.spares.push((peer, encoded.clone()));
            }
            return Arrival::Known;
        }
        if self.known.len() < MESSAGES_MAX {
            let mut known = Known::new(encoded);
            known.peers.insert(peer);
            self.known.insert(key, known);
        }
        Arrival::New
    }

    /// Whether enough other statements of the same signer about the same were checked: one more says nothing new.
    pub(crate) fn is_surplus(&self, key: &MessageKey) -> bool {
        let (height, kind, round, signer, _) = *key;
        if kind > STATEMENT_KIND_MAX {
            return false;
        }
        let place = (height, kind, round, signer);
        let same = self.known.range((height, kind, round, signer, Digest::ZERO)..);
        let same = same.take_while(|((height, kind, round, signer, _), _)| (*height, *kind, *round, *signer) == place);
        let others = same.filter(|(other, known)| known.checked && *other != key);
        others.take(RIVALS_MAX).count() == RIVALS_MAX
    }

    /// The checked certificates of a height.
    pub(crate) fn certificates(&self, height: Height) -> Vec<Message> {
        let known = self.known.range((height, STATEMENT_KIND_MAX + 1, 0, 0, Digest::ZERO)..);
        let of_height = known.take_while(|(key, _)| key.0 == height);
        let checked = of_height.filter(|(_, known)| known.checked);
        checked
            .filter_map(|(_, known)| decode(&known.encoded.0, MESSAGE_BYTES_MAX).ok())
            .collect()
    }

    /// Forgets who has a message: it goes to everybody again.
    pub(crate) fn forget_holders(&mut self, key: &MessageKey) {
        if let Some(known) = self.known.get_mut(key) {
            known.peers = PeerSet::default();
        }
    }

    /// Forgets what a neighbour has: it was told, but too far behind to keep it.
    pub(crate) fn peer_behind(&mut self, peer: PeerIndex) {
        for known in self.known.values_mut() {
            known.peers.remove(peer);
        }
    }

    /// Forgets a message whose signatures do not hold; returns what came meanwhile and may hold.
    pub(crate) fn refuse(&mut self, key: &MessageKey, encoded: &HexBytes) -> Vec<(PeerIndex, HexBytes)> {
        let is_refused = |known: &Known| !known.checked && known.encoded == *encoded;
        if !self.known.get(key).is_some_and(is_refused) {
            return Vec::new();
        }
        self.known.remove(key).map(|known| known.spares).unwrap_or_default()
    }

    /// Keeps a valid message and returns the neighbours among `targets` that lack it; they are noted as
    /// having it from now on.
    pub(crate) fn spread(
        &mut self,
        key: MessageKey,
        encoded: &HexBytes,
        targets: impl Iterator<Item = PeerIndex>,
    ) -> Vec<PeerIndex> {
        let known = self.known.entry(key).or_insert_with(|| Known::new(encoded));
        if !known.checked {
            if known.encoded != *encoded {
                // Who brought another copy may have forged it, and lacks this one.
                known.peers = PeerSet::default();
            }
            (known.checked, known.encoded) = (true, encoded.clone());
            known.spares = Vec::new();
        }
        let lacking: Vec<_> = targets.filter(|&peer| !known.peers.contains(peer)).collect();
        for &peer in &lacking {
            known.peers.insert(peer);
        }
        lacking
    }

    /// Everything that `peer` lacks, now that its link came up.
    pub(crate) fn catch_up(&mut self, peer: PeerIndex) -> Vec<HexBytes> {
        let mut lacking = Vec::new();
        for known in self.known.values_mut() {
            if known.checked && !known.peers.contains(peer) {
                known.peers.insert(peer);
                lacking.push(known.encoded.clone());
            }
        }
        lacking
    }

    /// Forgets what a neighbour had and what it brought to wait: it may have restarted.
    pub(crate) fn peer_down(&mut self, peer: PeerIndex) {
        for known in self.known.values_mut() {
            known.peers.remove(peer);
            known.spares.retain(|(from, _)| *from != peer);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets statements of `height` about rounds before `first`, and the certificates that such a round was given up:
    /// nobody who is told of them now has a use for them.
    pub(crate) fn forget_rounds(&mut self, height: Height, first: Round) {
        let is_over = |key: &MessageKey| key.0 == height && key.2 < first && !QUORUM_KINDS.contains(&key.1);
        self.known.retain(|key, _| !is_over(key));
    }

    /// Forgets everything below `height`.
    pub(crate) fn advance(&mut self, height: Height) {
        self.known = self.known.split_off(&(height, 0, 0, 0, Digest::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_consensus::{Certificate, Signers};

    fn key(height: Height, signer: u16) -> MessageKey {
        (height, 1, 0, signer, Digest([1; 32]))
    }

    #[test]
    fn a_message_crosses_each_link_once() {
        let mut gossip = Gossip::default();
        let encoded = HexBytes::from(vec![1]);
        assert_eq!(gossip.arrived(key(1, 0), 2, &encoded), Arrival::New);
        assert_eq!(gossip.arrived(key(1, 0), 3, &encoded), Arrival::Known);
        assert_eq!(gossip.spread(key(1, 0), &encoded, 0..5), [0, 1, 4]);
        assert!(gossip.spread(key(1, 0), &encoded, 0..5).is_empty());
    }

    #[test]
    fn a_link_that_returns_gets_what_it_missed() {
        let mut gossip = Gossip::default();
        let encoded = HexBytes::from(vec![1]);
        gossip.spread(key(1, 0), &encoded, 0..2);
        gossip.spread(key(2, 0), &encoded, 0..2);
        gossip.arrived(key(2, 1), 0, &encoded);
        assert_eq!(gossip.catch_up(0).len(), 0);
        gossip.peer_down(0);
        assert_eq!(
            gossip.catch_up(0).len(),
            2,
            "and not the one that is still being checked"
        );
        gossip.peer_down(0);
        gossip.advance(2);
        assert_eq!(gossip.catch_up(0).len(), 1);
    }

    #[test]
    fn certificates_of_a_height_are_at_hand_once_they_were_checked() {
        let certificate = |height, phase| {
            Message::Quorum(Certificate {
                phase,
                height,
                round: 0,
                digest: Digest::ZERO,
                signers: Signers::default(),
                signatures: Vec::new(),
            })
        };
        let mut gossip = Gossip::default();
        for (height, phase) in [(1, Phase::One), (2, Phase::One), (3, Phase::One)] {
            let message = certificate(height, phase);
            let encoded = HexBytes::from(encode(&message));
            gossip.spread(key_of(&message).unwrap(), &encoded, 0..0);
        }
        let unchecked = certificate(2, Phase::Two);
        gossip.arrived(key_of(&unchecked).unwrap(), 0, &encode(&unchecked).into());
        gossip.spread(key(2, 0), &HexBytes::from(vec![1]), 0..0);
        assert_eq!(gossip.certificates(2), [certificate(2, Phase::One)]);
    }

    #[test]
    fn a_refused_message_may_be_right_from_somebody_else() {
        let mut gossip = Gossip::default();
        let [forged, right] = [1, 2].map(|byte| HexBytes::from(vec![byte]));
        gossip.arrived(key(1, 0), 0, &forged);
        gossip.refuse(&key(1, 0), &forged);
        assert_eq!(gossip.arrived(key(1, 0), 1, &right), Arrival::New);
    }

    #[test]
    fn a_message_that_is_being_checked_keeps_no_other_copy_out() {
        let mut gossip = Gossip::default();
        let [forged, right] = [1, 2].map(|byte| HexBytes::from(vec![byte]));
        assert_eq!(gossip.arrived(key(1, 0), 0, &forged), Arrival::New);
        assert_eq!(
            gossip.arrived(key(1, 0), 0, &right),
            Arrival::Known,
            "one for each neighbour"
        );
        assert_eq!(gossip.arrived(key(1, 0), 1, &right), Arrival::Rival);
        assert_eq!(gossip.arrived(key(1, 0), 2, &forged), Arrival::Known, "the same bytes");
        gossip.spread(key(1, 0), &right, 0..0);
        gossip.refuse(&key(1, 0), &forged);
        assert_eq!(
            gossip.arrived(key(1, 0), 3, &forged),
            Arrival::Known,
            "it is known by now"
        );
        assert_eq!(gossip.catch_up(4), [right]);
    }

    #[test]
    fn of_certificates_one_is_checked_and_the_others_only_if_it_is_forged() {
        let mut gossip = Gossip::default();
        let key = (1, STATEMENT_KIND_MAX + 1, 0, 0, Digest::ZERO);
        let [forged, right, other] = [1, 2, 3].map(|byte| HexBytes::from(vec![byte]));
        let come = |gossip: &mut Gossip| {
            assert_eq!(gossip.arrived(key, 0, &forged), Arrival::New);
            for (peer, copy) in [(0, &right), (1, &right), (2, &forged), (3, &other)] {
                assert_eq!(gossip.arrived(key, peer, copy), Arrival::Known);
            }
        };
        come(&mut gossip);
        assert_eq!(
            gossip.refuse(&key, &other),
            [],
            "it is not the one that is being checked"
        );
        let spares = [(1, right.clone()), (3, other.clone())];
        assert_eq!(gossip.refuse(&key, &forged), spares, "one of each neighbour");
        come(&mut gossip);
        gossip.peer_down(1);
        assert_eq!(gossip.refuse(&key, &forged), spares[1..], "and of who is gone none");
        come(&mut gossip);
        gossip.spread(key, &forged, 0..0);
        assert_eq!(gossip.refuse(&key, &forged), [], "it holds");
        let key = (3, STATEMENT_KIND_MAX + 1, 0, 0, Digest::ZERO);
        gossip.arrived(key, 0, &forged);
        assert_eq!(gossip.spread(key, &right, 0..2), [0, 1], "who forges it lacks it");
        let many = (0..100).map(|peer| (peer, HexBytes::from(vec![peer as u8, 9])));
        let key = (2, STATEMENT_KIND_MAX + 1, 0, 0, Digest::ZERO);
        for (peer, copy) in many {
            gossip.arrived(key, peer, &copy);
        }
        assert_eq!(gossip.refuse(&key, &HexBytes::from(vec![0, 9])).len(), SPARES_MAX);
    }
}
