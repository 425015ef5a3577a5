//! Who may be connected: configured peers, one connection each, and few unfinished handshakes.
//!
//! Written as a libp2p behaviour because only there a connection can be refused right after its key is
//! proved, before any stream exists.

use super::{
    handler::{LinkHandler, StreamNews},
    identity::{public_key, socket_address},
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, ToSwarm},
};
use regatta_core::PeerIndex;
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
};

/// Why a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0} is no configured peer; help: add it to this node's [[peer]] list, or correct its key there")]
    Unknown(String),
    #[error("{0} handshakes are unfinished already")]
    TooMany(usize),
    #[error("a better connection to this peer exists")]
    Duplicate,
}

/// A configured peer, as admission sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    pub(super) index: PeerIndex,
    /// Whether this node is the one of the two that dials first.
    pub(super) dials_first: bool,
}

/// The connection to a peer.
#[derive(Debug, Clone, Copy)]
struct Current {
    connection: ConnectionId,
    preferred: bool,
}

/// Something happened to a peer's stream.
#[derive(Debug)]
pub(super) struct PeerNews {
    pub(super) peer: PeerIndex,
    pub(super) connection: ConnectionId,
    pub(super) news: StreamNews,
}

/// The behaviour of the swarm.
pub(super) struct Admission {
    peers: BTreeMap<PeerId, Admitted>,
    current: BTreeMap<PeerIndex, Current>,
    /// Unfinished handshakes of others, with where they come from.
    handshakes: BTreeMap<ConnectionId, Option<IpAddr>>,
    handshakes_max: usize,
    protocol: StreamProtocol,
    actions: VecDeque<ToSwarm<PeerNews, Infallible>>,
}

impl Admission {
    pub(super) fn new(peers: BTreeMap<PeerId, Admitted>, handshakes_max: usize, protocol: StreamProtocol) -> Self {
        Self {
            peers,
            current: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            handshakes_max,
            protocol,
            actions: VecDeque::new(),
        }
    }

    /// Position of a peer in the configuration.
    pub(super) fn index(&self, peer: &PeerId) -> Option<PeerIndex> {
        self.peers.get(peer).map(|admitted| admitted.index)
    }

    /// Whether a connection to the peer exists.
    pub(super) fn is_connected(&self, peer: PeerIndex) -> bool {
        self.current.contains_key(&peer)
    }

    /// Whether somebody at the host of `address` is about to connect: most likely the peer itself.
    pub(super) fn is_arriving(&self, address: &Multiaddr) -> bool {
        let host = socket_address(address).map(|address| address.ip());
        host.is_some() && self.handshakes.values().any(|from| *from == host)
    }

    /// Admits or refuses a connection whose other side has proved to be `peer`.
    ///
    /// When both sides dial at once, both must keep the same connection: the one that the side which
    /// dials first has dialled. Of two others the newer one stays, since a peer dials anew only after
    /// it lost the older one.
    fn admit(&mut self, connection: ConnectionId, peer: PeerId, dialled: bool) -> Result<LinkHandler, Refusal> {
        let name = || public_key(&peer).map_or_else(|| peer.to_string(), |key| key.to_string());
        let admitted = *self.peers.get(&peer).ok_or_else(|| Refusal::Unknown(name()))?;
        let preferred = dialled == admitted.dials_first;
        if let Some(current) = self.current.get(&admitted.index) {
            if current.preferred && !preferred {
                return Err(Refusal::Duplicate);
            }
            self.actions.push_back(ToSwarm::CloseConnection {
                peer_id: peer,
                connection: CloseConnection::One(current.connection),
            });
        }
        self.current.insert(admitted.index, Current { connection, preferred });
        Ok(LinkHandler::new(self.protocol.clone(), dialled))
    }

    fn closed(&mut self, connection: ConnectionId, peer: &PeerId) {
        let Some(index) = self.index(peer) else { return };
        if self
            .current
            .get(&index)
            .is_some_and(|current| current.connection == connection)
        {
            self.current.remove(&index);
        }
    }
}

impl NetworkBehaviour for Admission {
    type ConnectionHandler = LinkHandler;
    type ToSwarm = PeerNews;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.handshakes.len() >= self.handshakes_max {
            return Err(ConnectionDenied::new(Refusal::TooMany(self.handshakes.len())));
        }
        let from = socket_address(from).map(|address| address.ip());
        self.handshakes.insert(connection, from);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<LinkHandler, ConnectionDenied> {
        self.admit(connection, peer, false).map_err(ConnectionDenied::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<LinkHandler, ConnectionDenied> {
        self.admit(connection, peer, true).map_err(ConnectionDenied::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                self.handshakes.remove(&event.connection_id);
            }
            FromSwarm::ListenFailure(event) => {
                self.handshakes.remove(&event.connection_id);
            }
            FromSwarm::ConnectionClosed(event) => self.closed(event.connection_id, &event.peer_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, news: StreamNews) {
        if let Some(peer) = self.index(&peer) {
            self.actions
                .push_back(ToSwarm::GenerateEvent(PeerNews { peer, connection, news }));
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<PeerNews, Infallible>> {
        // Actions are only queued inside calls of the swarm, which polls again after each of them.
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::identity::peer_id;
    use regatta_base::SecretKey;

    fn id(seed: u8) -> PeerId {
        peer_id(&SecretKey::from_seed([seed; 32]).public()).unwrap()
    }

    fn admission(dials_first: bool) -> Admission {
        let peers = BTreeMap::from([(id(1), Admitted { index: 4, dials_first })]);
        Admission::new(peers, 2, StreamProtocol::new("/test"))
    }

    fn connection(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn a_stranger_is_refused_by_key() {
        let key = SecretKey::from_seed([9; 32]).public();
        let refusal = admission(true).admit(connection(1), id(9), false).err().unwrap();
        assert_eq!(refusal, Refusal::Unknown(key.to_string()));
    }

    #[test]
    fn both_sides_keep_the_connection_of_the_one_that_dials_first() {
        for first_inbound in [true, false] {
            for dials_first in [true, false] {
                let mut side = admission(dials_first);
                let _ = side.admit(connection(1), id(1), !first_inbound);
                let _ = side.admit(connection(2), id(1), first_inbound);
                let kept = side.current[&4].connection;
                let preferred = if dials_first == first_inbound {
                    connection(2)
                } else {
                    connection(1)
                };
                assert_eq!(
                    kept, preferred,
                    "dials first: {dials_first}, first is inbound: {first_inbound}"
                );
            }
        }
    }

    #[test]
    fn a_newer_connection_of_the_same_side_replaces_the_older() {
        for dials_first in [true, false] {
            let mut side = admission(dials_first);
            assert!(side.admit(connection(1), id(1), false).is_ok());
            assert!(side.admit(connection(2), id(1), false).is_ok());
            assert_eq!(side.current[&4].connection, connection(2));
            assert_eq!(side.actions.len(), 1);
            side.closed(connection(1), &id(1));
            assert!(side.is_connected(4));
            side.closed(connection(2), &id(1));
            assert!(!side.is_connected(4));
        }
    }

    #[test]
    fn unfinished_handshakes_are_bounded() {
        let (mut side, address) = (admission(true), Multiaddr::empty());
        for number in 0..2 {
            assert!(
                side.handle_pending_inbound_connection(connection(number), &address, &address)
                    .is_ok()
            );
        }
        assert!(
            side.handle_pending_inbound_connection(connection(2), &address, &address)
                .is_err()
        );
        side.handshakes.remove(&connection(0));
        assert!(
            side.handle_pending_inbound_connection(connection(3), &address, &address)
                .is_ok()
        );
    }

    #[test]
    fn who_arrives_is_known_by_the_host() {
        let mut side = admission(true);
        let [own, peer, same_host, other]: [Multiaddr; 4] = [
            "/ip4/127.0.0.9/tcp/7000",
            "/ip4/127.0.0.1/tcp/7000",
            "/ip4/127.0.0.1/tcp/40000",
            "/ip4/127.0.0.2/tcp/7000",
        ]
        .map(|text| text.parse().unwrap());
        assert!(!side.is_arriving(&peer));
        let admitted = side.handle_pending_inbound_connection(connection(0), &own, &same_host);
        assert!(admitted.is_ok() && side.is_arriving(&peer) && !side.is_arriving(&other));
        side.handshakes.remove(&connection(0));
        let nowhere = Multiaddr::empty();
        let admitted = side.handle_pending_inbound_connection(connection(1), &own, &nowhere);
        assert!(admitted.is_ok() && !side.is_arriving(&peer) && !side.is_arriving(&nowhere));
    }

    /// Two sides, each of which learns of the same connections in an order of its own.
    fn sides(orders: &[Vec<usize>; 2], dialled_by_first: &[bool]) -> [Option<usize>; 2] {
        let mut kept = [None, None];
        for (side, order) in orders.iter().enumerate() {
            let first = side == 0;
            let mut admission = admission(first);
            for &number in order {
                let dialled = dialled_by_first[number] == first;
                let _ = admission.admit(connection(number), id(1), dialled);
            }
            let current = admission.current.get(&4).map(|current| current.connection);
            kept[side] = (0..dialled_by_first.len()).find(|number| current == Some(connection(*number)));
        }
        kept
    }

    proptest::proptest! {
        #[test]
        fn two_crossing_dials_leave_the_same_connection_on_both_sides(
            swap_first in proptest::bool::ANY,
            swap_second in proptest::bool::ANY,
        ) {
            let order = |swap| if swap { vec![1, 0] } else { vec![0, 1] };
            let kept = sides(&[order(swap_first), order(swap_second)], &[true, false]);
            proptest::prop_assert_eq!(kept, [Some(0), Some(0)]);
        }
    }
}
