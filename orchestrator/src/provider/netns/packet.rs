//! What a switch reads of a packet: where it comes from and where it goes.

use std::{collections::BTreeMap, net::Ipv4Addr};

/// Bytes that a device puts before a packet that it has not cut or summed up yet (`virtio_net_hdr`). The receiving
/// device understands them, so that they pass the switch as they are.
pub(super) const HEADER_BYTES: usize = 10;
/// Least length of an IPv4 header.
const IPV4_BYTES_MIN: usize = 20;

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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = ends(&bytes);
        }
    }
}
