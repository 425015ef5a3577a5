//! What a switch reads of a packet: where it comes from and where it goes.

use std::{collections::BTreeMap, net::Ipv4Addr};

/// Bytes that a device puts before a packet that it has not cut or summed up yet (`virtio_net_hdr`). The receiving
/// device understands them, so that they pass the switch as they are.
pub(super) const HEADER_BYTES: usize = 10;
/// Least length of an IPv4 header.
const IPV4_BYTES_MIN: usize = 20;

/// The number of UDP, the length of its header, and what is set in a packet that is a piece of one.
const UDP: u8 = 17;
const UDP_BYTES: usize = 8;
const FRAGMENT_BITS: u16 = 0x3fff;

/// Both ends of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

/// Both ends of an IPv4 packet; none for anything else.
pub(super) fn ends(packet: &[u8]) -> Option<Ends> {
    if packet.len() < IPV4_BYTES_MIN || packet[0] >> 4 != 4 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Some(Ends {
        source: address(12),
        destination: address(16),
    })
}

/// Ports and payload of a UDP datagram in one piece; none for anything else.
pub(super) fn datagram(packet: &[u8]) -> Option<(u16, u16, &[u8])> {
    let (first, protocol) = (*packet.first()?, *packet.get(9)?);
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & FRAGMENT_BITS;
    if first >> 4 != 4 || protocol != UDP || fragment != 0 {
        return None;
    }
    let (header, payload) = packet
        .get(usize::from(first & 0x0f) * 4..)?
        .split_at_checked(UDP_BYTES)?;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Some((port(0), port(2), payload))
}

/// Which device has which address.
#[derive(Debug)]
pub(super) struct Directory(BTreeMap<Ipv4Addr, u32>);

impl Directory {
    /// Devices have the positions of their addresses.
    pub(super) fn new(addresses: &[Ipv4Addr]) -> Self {
        Self(addresses.iter().copied().zip(0..).collect())
    }

    /// The device of an address.
    pub(super) fn port(&self, address: Ipv4Addr) -> Option<u32> {
        self.0.get(&address).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_are_read_from_ipv4_and_nothing_else() {
        let mut packet = vec![0_u8; 20];
        packet[0] = 0x45;
        packet[12..20].copy_from_slice(&[10, 60, 0, 1, 10, 60, 0, 2]);
        let ends_of = ends(&packet).unwrap();
        assert_eq!(ends_of.source, Ipv4Addr::new(10, 60, 0, 1));
        assert_eq!(ends_of.destination, Ipv4Addr::new(10, 60, 0, 2));
        packet[0] = 0x60;
        assert_eq!(ends(&packet), None);
        let directory = Directory::new(&[ends_of.source, ends_of.destination]);
        assert_eq!(directory.port(ends_of.destination), Some(1));
        assert_eq!(directory.port(Ipv4Addr::BROADCAST), None);
    }

    #[test]
    fn datagrams_are_told_from_pieces_and_from_other_protocols() {
        let mut packet = vec![0_u8; 30];
        (packet[0], packet[6], packet[9]) = (0x45, 0x40, UDP);
        packet[20..24].copy_from_slice(&[1, 2, 3, 4]);
        packet[28..].copy_from_slice(b"ab");
        assert_eq!(datagram(&packet), Some((0x0102, 0x0304, &b"ab"[..])));
        packet[6] = 0x20;
        assert_eq!(datagram(&packet), None, "a piece");
        (packet[6], packet[9]) = (0, 6);
        assert_eq!(datagram(&packet), None, "TCP");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = ends(&bytes);
            let _ = datagram(&bytes);
        }
    }
}
