//! TCP from and to the node's own address.
//!
//! libp2p's own TCP transport lets the system choose the source address of a dial. Where many nodes
//! share a host, each on a loopback address of its own, the other side would then see 127.0.0.1.

use super::{
    ahead::ReadAhead,
    identity::{multiaddr, socket_address},
};
use futures::{FutureExt as _, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use socket2::{SockRef, TcpKeepalive};
use std::{
    future::{Ready, ready},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready as when_ready},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Sleep, sleep, timeout},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

/// Connections that the system keeps for us until we accept them.
const BACKLOG: u32 = 1024;
/// Longest wait for a TCP connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause after the system refuses to accept, for example because descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// An idle connection is probed after this time, and then as often.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A connection whose data stays unacknowledged for this long is dead, in milliseconds.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MS_MAX: u32 = 20_000;

/// A connection of this transport.
pub(super) type Connection = ReadAhead<Compat<TcpStream>>;

/// Listens on one address and dials from its IP address.
#[derive(Debug)]
pub(super) struct OwnAddressTcp {
    ip: IpAddr,
    listener: TcpListener,
    id: Option<ListenerId>,
    announced: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl OwnAddressTcp {
    /// Starts to listen. Port 0 lets the system choose one.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = new_socket(address)?;
        // Without this, a restart fails while connections of the last run linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        Ok(Self {
            ip: address.ip(),
            listener,
            id: None,
            announced: false,
            pause: None,
        })
    }

    /// Where it listens.
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address to announce, once.
    fn announcement(&mut self) -> Option<(ListenerId, Multiaddr)> {
        let id = self.id.filter(|_| !self.announced)?;
        self.announced = true;
        let address = self.listener.local_addr().ok()?;
        Some((id, multiaddr(address)))
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        if let Some(pause) = &mut self.pause {
            when_ready!(pause.poll_unpin(cx));
            self.pause = None;
        }
        let accepted = when_ready!(self.listener.poll_accept(cx));
        if accepted.is_err() {
            self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
        }
        Poll::Ready(accepted)
    }
}

fn new_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// Sets what every connection needs: no delay for small writes, and notice of a peer that vanished.
fn prepare(stream: TcpStream) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(
        &stream,
        nix::sys::socket::sockopt::TcpUserTimeout,
        &UNACKNOWLEDGED_MS_MAX,
    )?;
    Ok(ReadAhead::new(stream.compat()))
}

async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<Connection> {
    let socket = new_socket(to)?;
    if !from.is_unspecified() {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection request");
    let stream = timeout(CONNECT_TIMEOUT, socket.connect(to)).await.map_err(late)??;
    prepare(stream)
}

impl Transport for OwnAddressTcp {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Connection>>;
    type Dial = BoxFuture<'static, io::Result<Connection>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let own = self.listener.local_addr().map_err(TransportError::Other)?;
        if self.id.is_some() || socket_address(&address) != Some(own) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        self.id = Some(id);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let known = self.id == Some(id);
        if known {
            self.id = None;
        }
        known
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let to = socket_address(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        Ok(connect(self.ip, to).boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        if let Some((listener_id, listen_addr)) = self.announcement() {
            return Poll::Ready(TransportEvent::NewAddress {
                listener_id,
                listen_addr,
            });
        }
        let Some(listener_id) = self.id else {
            return Poll::Pending;
        };
        let event = match when_ready!(self.poll_accept(cx)) {
            Ok((stream, remote)) => TransportEvent::Incoming {
                listener_id,
                local_addr: multiaddr(stream.local_addr().unwrap_or(remote)),
                send_back_addr: multiaddr(remote),
                upgrade: ready(prepare(stream)),
            },
            Err(error) => TransportEvent::ListenerError { listener_id, error },
        };
        Poll::Ready(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::core::{Endpoint, transport::PortUse};

    fn dial_options() -> DialOpts {
        DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        }
    }

    async fn seen_from(ip: &str, listen: &str) -> SocketAddr {
        let listener = TcpListener::bind(listen).await.unwrap();
        let mut transport = OwnAddressTcp::bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        let to = multiaddr(listener.local_addr().unwrap());
        let dial = transport.dial(to, dial_options()).unwrap();
        let (stream, accepted) = tokio::join!(dial, listener.accept());
        stream.unwrap();
        let (_, remote) = accepted.unwrap();
        assert_ne!(remote.port(), transport.local_address().unwrap().port());
        remote
    }

    #[tokio::test]
    async fn the_other_side_sees_the_nodes_own_address() {
        let remote = seen_from("127.61.2.3", "127.61.2.4:0").await;
        assert_eq!(remote.ip().to_string(), "127.61.2.3");
        let remote = seen_from("::1", "[::1]:0").await;
        assert_eq!(remote.ip().to_string(), "::1");
        let remote = seen_from("0.0.0.0", "127.0.0.1:0").await;
        assert_eq!(remote.ip().to_string(), "127.0.0.1");
    }

    /// Simulators that interpose on system calls know no shared ports, so that a dial must not ask for one.
    #[tokio::test]
    async fn a_dial_shares_no_port_and_is_plain_tcp() {
        use nix::sys::socket::{getsockopt, sockopt};
        let listener = TcpListener::bind("127.61.2.9:0").await.unwrap();
        let mut transport = OwnAddressTcp::bind("127.61.2.10:0".parse().unwrap()).unwrap();
        let to = multiaddr(listener.local_addr().unwrap());
        let dial = transport.dial(to, dial_options()).unwrap();
        let (stream, accepted) = tokio::join!(dial, listener.accept());
        let (stream, _) = (stream.unwrap(), accepted.unwrap());
        assert!(!getsockopt(stream.get_ref().get_ref(), sockopt::ReusePort).unwrap());
        assert!(!getsockopt(&transport.listener, sockopt::ReusePort).unwrap());
        assert!(stream.get_ref().get_ref().local_addr().unwrap().is_ipv4());
    }

    #[tokio::test]
    async fn a_second_listener_on_the_address_is_refused() {
        let first = OwnAddressTcp::bind("127.61.2.5:0".parse().unwrap()).unwrap();
        let error = OwnAddressTcp::bind(first.local_address().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn other_addresses_are_not_dialled_and_not_listened_on() {
        let mut transport = OwnAddressTcp::bind("127.61.2.6:0".parse().unwrap()).unwrap();
        let other: Multiaddr = "/ip4/127.0.0.1/udp/1".parse().unwrap();
        assert!(transport.dial(other.clone(), dial_options()).is_err());
        assert!(transport.listen_on(ListenerId::next(), other).is_err());
        let own = multiaddr(transport.local_address().unwrap());
        let id = ListenerId::next();
        assert!(transport.listen_on(id, own.clone()).is_ok());
        assert!(transport.listen_on(ListenerId::next(), own).is_err());
        assert!(transport.remove_listener(id) && !transport.remove_listener(id));
    }

    #[tokio::test]
    async fn a_dial_to_a_closed_port_fails_at_once() {
        let mut transport = OwnAddressTcp::bind("127.61.2.7:0".parse().unwrap()).unwrap();
        let dial = transport
            .dial("/ip4/127.61.2.8/tcp/9".parse().unwrap(), dial_options())
            .unwrap();
        assert_eq!(dial.await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
