//! The few requests to the kernel's routing socket that a namespace needs: a device up, and an address on it.
//!
//! They act on the network namespace of the calling thread.

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};
use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
};

const HEADER_BYTES: usize = 16;
/// Longest answer that is read: an acknowledgement repeats the request.
const ANSWER_BYTES_MAX: usize = 4096;

/// Message types, flags and attributes as the kernel numbers them (`linux/netlink.h`, `rtnetlink.h`, `if_link.h`).
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;

/// A socket to the kernel's routing tables.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens one in the namespace of this thread.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sets the length of a device's queue in packets, its largest packet in bytes, and starts it.
    ///
    /// # Errors
    /// What the kernel answered.
    pub(super) fn up(&mut self, device: u32, settings: Option<(u32, u32)>) -> io::Result<()> {
        let mut body = link_body(device);
        if let Some((mtu, queue)) = settings {
            attribute(&mut body, IFLA_MTU, mtu.to_ne_bytes());
            attribute(&mut body, IFLA_TXQLEN, queue.to_ne_bytes());
        }
        self.request(RTM_NEWLINK, 0, &body)
    }

    /// Gives a device an address; all of its `prefix` is reached through the device.
    ///
    /// # Errors
    /// What the kernel answered.
    pub(super) fn address(&mut self, device: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut body = vec![AF_INET, prefix, 0, 0];
        body.extend(device.to_ne_bytes());
        attribute(&mut body, IFA_LOCAL, address.octets());
        attribute(&mut body, IFA_ADDRESS, address.octets());
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body)
    }

    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let message = message(kind, flags, self.sequence, body);
        sendto(
            self.socket.as_raw_fd(),
            &message,
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )?;
        let mut answer = [0; ANSWER_BYTES_MAX];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        acknowledged(&answer[..length])
    }
}

/// The device and the wish that it be up.
fn link_body(device: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(device.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body
}

/// Appends an attribute of four bytes, which needs no padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = (HEADER_BYTES + body.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// Whether the kernel's answer is the acknowledgement of a request.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "an answer that is no acknowledgement");
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    if kind.map(u16::from_ne_bytes) != Some(NLMSG_ERROR) {
        return Err(odd());
    }
    let code = answer
        .get(HEADER_BYTES..HEADER_BYTES + 4)
        .and_then(|bytes| bytes.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_as_long_as_they_say() {
        let mut body = link_body(7);
        attribute(&mut body, IFLA_MTU, 1500_u32.to_ne_bytes());
        let bytes = message(RTM_NEWLINK, 0, 3, &body);
        assert_eq!(bytes.len(), 40);
        assert_eq!(bytes[..4], 40_u32.to_ne_bytes());
        assert_eq!(bytes[20..24], 7_u32.to_ne_bytes());
        assert_eq!(bytes[36..], 1500_u32.to_ne_bytes());
    }

    #[test]
    fn an_answer_says_yes_or_why_not() {
        let answer = |code: i32| message(NLMSG_ERROR, 0, 1, &code.to_ne_bytes());
        assert!(acknowledged(&answer(0)).is_ok());
        let refused = acknowledged(&answer(-1)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        assert!(acknowledged(&message(RTM_NEWLINK, 0, 1, &[0; 4])).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = acknowledged(&bytes);
        }
    }
}
