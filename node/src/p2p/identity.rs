//! Keys of the configuration and the identities that libp2p proves.

use libp2p::{
    Multiaddr, PeerId,
    identity::{self, Keypair, ed25519},
    multiaddr::Protocol,
};
use regatta_base::{PublicKey, SecretKey};
use std::net::{IpAddr, SocketAddr};

/// The key is not a point of the curve: nobody can hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no Ed25519 public key; help: `regatta-node keygen` prints one")]
pub struct BadKey(pub PublicKey);

/// The identity with which this node proves its key.
pub(super) fn keypair(key: &SecretKey) -> Result<Keypair, BadKey> {
    Keypair::ed25519_from_bytes(key.to_seed()).map_err(|_| BadKey(key.public()))
}

/// The identity that proves `key`.
pub(super) fn peer_id(key: &PublicKey) -> Result<PeerId, BadKey> {
    let key = ed25519::PublicKey::try_from_bytes(&key.0).map_err(|_| BadKey(*key))?;
    Ok(identity::PublicKey::from(key).to_peer_id())
}

/// The Ed25519 key inside an identity; `None` for other kinds of keys.
pub(super) fn public_key(peer: &PeerId) -> Option<PublicKey> {
    // Small keys are not hashed: the multihash of the identity carries them whole.
    let key = identity::PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PublicKey(key.try_into_ed25519().ok()?.to_bytes()))
}

/// An address in libp2p's form.
pub(super) fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// The inverse of [`multiaddr`]; `None` for anything but an IP address and a TCP port.
pub(super) fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else {
        return None;
    };
    match parts.next() {
        None | Some(Protocol::P2p(_)) => Some(SocketAddr::new(ip, port)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_identities_convert_both_ways() {
        let secret = SecretKey::from_seed([7; 32]);
        let id = peer_id(&secret.public()).unwrap();
        assert_eq!(keypair(&secret).unwrap().public().to_peer_id(), id);
        assert_eq!(public_key(&id), Some(secret.public()));
    }

    #[test]
    fn a_key_off_the_curve_is_named() {
        let off = PublicKey([2; 32]);
        assert_eq!(peer_id(&off), Err(BadKey(off)));
    }

    #[test]
    fn addresses_convert_both_ways() {
        for text in ["127.60.0.1:7000", "[::1]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_address(&multiaddr(address)), Some(address));
        }
        for text in ["/ip4/1.2.3.4/udp/5", "/dns4/a.example/tcp/5", "/ip4/1.2.3.4/tcp/5/ws"] {
            assert_eq!(socket_address(&text.parse().unwrap()), None, "{text}");
        }
    }
}
