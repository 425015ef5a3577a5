//! Connections: dialled again after each end, blocked and opened by direction.

use super::{Pending, World};
use crate::{
    HostIndex, MILLISECOND, Nanos,
    network::{LinkShift, UNACKNOWLEDGED_NS},
};
use rand::RngExt;
use regatta_core::{Event, PeerIndex};

/// Round trips of a new connection: TCP, the choice of protocols, Noise, the stream.
const HANDSHAKE_ROUND_TRIPS: u64 = 4;
/// First wait before a peer is dialled again, and the longest; it doubles with each failure. The node's own.
const REDIAL_NS: (Nanos, Nanos) = (100 * MILLISECOND, 5_000 * MILLISECOND);

impl World {
    /// A host that just started dials every peer that runs.
    pub(super) fn dial_all(&mut self, host: HostIndex) {
        for peer in 0..self.hosts[host].peers.len() {
            let other = self.hosts[host].peers[peer].host;
            if self.hosts[other].node.is_some() {
                self.dial(host, peer, 0);
            }
        }
    }

    fn dial(&mut self, host: HostIndex, peer: PeerIndex, failures: u32) {
        let wait = match failures {
            0 => 0,
            some => {
                let most = (REDIAL_NS.0 << some.min(10) >> 1).min(REDIAL_NS.1);
                self.shared.rng.random_range(most / 2..most)
            }
        };
        let round_trip = self.round_trip(host, peer);
        let at = self.shared.now + wait + HANDSHAKE_ROUND_TRIPS * round_trip;
        self.shared.queue.push(at, Pending::Connect(host, peer, failures));
    }

    /// Delay there and back between a host and one of its peers, faults aside.
    fn round_trip(&self, host: HostIndex, peer: PeerIndex) -> Nanos {
        let link = &self.hosts[host].peers[peer];
        let (here, there) = (self.hosts[host].region, link.region);
        let delays = &self.shared.network.delay_ns;
        let back = &self.hosts[link.host].peers[link.back].lane;
        link.lane.own.delay_ns.unwrap_or(delays[here][there]) + back.own.delay_ns.unwrap_or(delays[there][here])
    }

    /// A handshake is through, unless an end is gone or a direction blocked.
    pub(super) fn connect(&mut self, host: HostIndex, peer: PeerIndex, failures: u32) {
        let link = &self.hosts[host].peers[peer];
        let (other, back) = (link.host, link.back);
        // An end that is gone dials when it returns.
        if link.up || self.hosts[host].node.is_none() || self.hosts[other].node.is_none() {
            return;
        }
        let blocked = |world: &Self, host: HostIndex, peer: PeerIndex| {
            let host = &world.hosts[host];
            host.paused || host.peers[peer].lane.blocked_since.is_some()
        };
        if blocked(self, host, peer) || blocked(self, other, back) {
            return self.dial(host, peer, failures + 1);
        }
        for (host, peer) in [(host, peer), (other, back)] {
            self.hosts[host].peers[peer].up = true;
            self.hosts[host].arrive(Event::PeerUp(peer), None);
            self.wake(host);
        }
    }

    /// The connection is gone: both ends learn of it and dial again.
    pub(super) fn disconnect(&mut self, host: HostIndex, peer: PeerIndex) {
        let link = &self.hosts[host].peers[peer];
        let (other, back) = (link.host, link.back);
        if !link.up {
            return;
        }
        for (host, peer) in [(host, peer), (other, back)] {
            let link = &mut self.hosts[host].peers[peer];
            link.up = false;
            link.epoch += 1;
            link.lane.reset();
            if self.hosts[host].node.is_some() {
                self.hosts[host].arrive(Event::PeerDown(peer), None);
                self.wake(host);
            }
        }
        self.dial(host, peer, 1);
    }

    /// Nothing gets from one host to another any more; false when they are not linked.
    pub fn cut(&mut self, from: HostIndex, to: HostIndex) -> bool {
        let now = self.shared.now;
        let Some(peer) = self.peer_of(from, to) else {
            return false;
        };
        self.shared.trace.note(now, from, 24, to as u64);
        self.hosts[from].peers[peer].lane.blocked_since.get_or_insert(now);
        true
    }

    /// The direction is open again; what was sent meanwhile arrives with the next retransmission.
    pub fn mend(&mut self, from: HostIndex, to: HostIndex) -> bool {
        let now = self.shared.now;
        let Some(peer) = self.peer_of(from, to) else {
            return false;
        };
        self.shared.trace.note(now, from, 25, to as u64);
        let link = &mut self.hosts[from].peers[peer];
        let epoch = link.epoch;
        if let Some(at) = link.lane.open(now) {
            self.shared.queue.push(at, Pending::Retransmit(from, peer, epoch));
        }
        true
    }

    /// The sender of a direction that was blocked tries again.
    pub(super) fn retransmit(&mut self, host: HostIndex, peer: PeerIndex, epoch: u32) {
        let link = &mut self.hosts[host].peers[peer];
        if link.epoch != epoch {
            return;
        }
        for frame in link.lane.retransmit() {
            self.hosts[host].transmit(host, self.shared.now, peer, frame, &mut self.shared);
        }
    }

    /// A direction gets other conditions from now on, on top of those of its regions; false when there is no link.
    pub fn shift(&mut self, from: HostIndex, to: HostIndex, shift: LinkShift) -> bool {
        let Some(peer) = self.peer_of(from, to) else {
            return false;
        };
        self.shared
            .trace
            .note(self.shared.now, from, 28, to as u64 ^ shift.delay_ns.rotate_left(32));
        self.hosts[from].peers[peer].lane.shift = shift;
        true
    }

    /// A direction that is still unacknowledged takes the connection with it, also when it was opened meanwhile and the next
    /// retransmission is not due.
    pub(super) fn silent(&mut self, host: HostIndex, peer: PeerIndex, epoch: u32) {
        let link = &self.hosts[host].peers[peer];
        if link.epoch == epoch && link.lane.is_silent(self.shared.now, UNACKNOWLEDGED_NS) {
            self.disconnect(host, peer);
        }
    }

    fn peer_of(&self, from: HostIndex, to: HostIndex) -> Option<PeerIndex> {
        self.hosts.get(from)?.peers.iter().position(|peer| peer.host == to)
    }
}
