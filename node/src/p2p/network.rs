//! The task that owns the swarm: it dials, opens links, and tells the loop which are up.

use super::{
    admission::{Admission, Admitted, PeerNews},
    backoff::Backoff,
    board::PeerBoard,
    cut::Cuttable,
    handler::StreamNews,
    identity::{BadKey, keypair, multiaddr, peer_id},
    link::{self, LinkEnd, NetworkEvent, Shared},
    outbox::Outbox,
    queue::LinkQueue,
    reasons::{RefusalLog, explain_dial, explain_inbound, root},
    shape::Line,
    single::Single,
    transport::OwnAddressTcp,
};
use crate::{
    host::{ListenError as BindError, explain_listen},
    meter::Meter,
};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, Transport as _,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise,
    swarm::{Config, ConnectionId, DialError, ListenError, SwarmEvent, dial_opts::DialOpts},
};
use rand::{SeedableRng as _, rngs::StdRng};
use regatta_api::{NodeConfig, metrics::Metric};
use regatta_base::{PublicKey, SecretKey};
use regatta_core::PeerIndex;
use std::{
    collections::BTreeMap,
    future::pending,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant as TokioInstant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Longest handshake: Noise, and what to run over it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection without a stream is closed after this long.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes of others that may be unfinished at once, beyond one for each peer.
const HANDSHAKES_SPARE: usize = 32;
/// How often a peer whose link is cut is looked at.
const CUT_PAUSE: Duration = Duration::from_millis(100);
/// How long a dial waits for somebody who arrives from the peer's host, and how often.
const ARRIVAL_PAUSE: Duration = Duration::from_millis(200);
const ARRIVALS_MAX: u32 = 25;
/// Dials at a time: handshakes are costly, and hundreds at once would time out together.
const DIALS_MAX: usize = 8;
/// Events of one connection that wait for the swarm.
const CONNECTION_EVENTS: usize = 4;

/// Why the network cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A key in the configuration is none.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// libp2p refuses its configuration.
    #[error("cannot set up the peer-to-peer protocol: {0}")]
    Protocol(String),
}

/// What the network needs from the node.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Addresses, chain and peers.
    pub config: &'a NodeConfig,
    /// Who this node is.
    pub key: &'a SecretKey,
    /// Where it counts.
    pub meter: Arc<Meter>,
    /// Where it shows the state of peers.
    pub board: Arc<PeerBoard>,
}

/// A network that listens, before its task runs.
pub struct Network {
    task: Task,
    outbox: Outbox,
    events: mpsc::Receiver<NetworkEvent>,
    address: SocketAddr,
}

impl Network {
    /// Listens on the node's address. Nothing is accepted or dialled before [`Network::run`].
    ///
    /// # Errors
    /// [`NetworkError`]; when the port is in use it names the holder.
    pub fn bind(setup: &Setup<'_>) -> Result<Self, NetworkError> {
        let config = setup.config;
        let wanted = SocketAddr::new(config.ip, config.p2p_port);
        let listen_error = |error| explain_listen("peers", wanted, error);
        let tcp = OwnAddressTcp::bind(wanted).map_err(listen_error)?;
        let address = tcp.local_address().map_err(listen_error)?;
        let identity = keypair(setup.key)?;
        let (slots, admitted) = make_slots(config, &setup.key.public())?;
        let protocol = StreamProtocol::try_from_owned(format!("/regatta/1/{}", config.chain))
            .map_err(|error| NetworkError::Protocol(error.to_string()))?;
        let admission = Admission::new(admitted, slots.len() + HANDSHAKES_SPARE, protocol);
        let mut swarm = make_swarm(tcp, &identity, admission)?;
        swarm
            .listen_on(multiaddr(address))
            .map_err(|error| NetworkError::Protocol(error.to_string()))?;
        let outbox = Outbox::new(slots.len(), Arc::clone(&setup.meter));
        let (shared, events) = Shared::new(Arc::clone(&setup.meter));
        let (ends, ended) = mpsc::channel(64);
        let task = Task {
            swarm,
            slots,
            outbox: outbox.clone(),
            board: Arc::clone(&setup.board),
            shared,
            ends,
            ended,
            rng: StdRng::from_rng(&mut rand::rng()),
            refusals: RefusalLog::default(),
        };
        Ok(Self {
            task,
            outbox,
            events,
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the network on the present runtime until `stop` is cancelled.
    #[must_use]
    pub fn run(self, stop: CancellationToken) -> (Outbox, mpsc::Receiver<NetworkEvent>) {
        tokio::spawn(self.task.run(stop));
        (self.outbox, self.events)
    }
}

fn make_slots(config: &NodeConfig, own: &PublicKey) -> Result<(Vec<Slot>, BTreeMap<PeerId, Admitted>), NetworkError> {
    let (mut slots, mut admitted) = (Vec::new(), BTreeMap::new());
    for (index, peer) in config.peers.iter().enumerate() {
        let id = peer_id(&peer.key)?;
        let dials_first = *own < peer.key;
        admitted.insert(id, Admitted { index, dials_first });
        slots.push(Slot {
            name: peer.name.clone(),
            id,
            address: multiaddr(peer.address),
            backoff: Backoff::new(dials_first),
            waited: 0,
            state: State::Down { due: None },
        });
    }
    Ok((slots, admitted))
}

fn make_swarm(tcp: OwnAddressTcp, identity: &Keypair, admission: Admission) -> Result<Swarm<Admission>, NetworkError> {
    let noise = noise::Config::new(identity).map_err(|error| NetworkError::Protocol(error.to_string()))?;
    let transport: Boxed<(PeerId, StreamMuxerBox)> = tcp
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Single)
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed();
    let config = Config::with_tokio_executor()
        .with_idle_connection_timeout(STREAM_TIMEOUT)
        .with_per_connection_event_buffer_size(CONNECTION_EVENTS)
        .with_max_negotiating_inbound_streams(1);
    Ok(Swarm::new(transport, admission, identity.public().to_peer_id(), config))
}

/// What is known about one peer.
struct Slot {
    name: String,
    id: PeerId,
    address: Multiaddr,
    backoff: Backoff,
    /// How often in a row a dial has waited for somebody who arrived from there.
    waited: u32,
    state: State,
}

enum State {
    /// No link; `due` is when to dial, when that is decided.
    Down {
        due: Option<Instant>,
    },
    Dialling,
    /// Connected; the stream is being opened.
    Opening,
    /// The link ended, its connection not yet.
    Closing,
    Up(Live),
}

struct Live {
    connection: ConnectionId,
    since: Instant,
    task: AbortHandle,
}

/// Why and where a link's task ended.
struct Ended {
    peer: PeerIndex,
    connection: ConnectionId,
    end: LinkEnd,
}

struct Task {
    swarm: Swarm<Admission>,
    slots: Vec<Slot>,
    outbox: Outbox,
    board: Arc<PeerBoard>,
    shared: Shared,
    ends: mpsc::Sender<Ended>,
    ended: mpsc::Receiver<Ended>,
    rng: StdRng,
    refusals: RefusalLog,
}

impl Task {
    async fn run(mut self, stop: CancellationToken) {
        for peer in 0..self.slots.len() {
            self.plan_dial(peer);
        }
        loop {
            let next = self.dial_due();
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_swarm(event).await,
                Some(ended) = self.ended.recv() => self.on_ended(ended).await,
                () = sleep_until_some(next) => {}
            }
        }
        self.stop();
    }

    fn stop(self) {
        for slot in &self.slots {
            if let State::Up(live) = &slot.state {
                live.task.abort();
            }
        }
    }

    /// Dials whom it is time to dial and returns when the next one is due.
    fn dial_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut dialling = self
            .slots
            .iter()
            .filter(|slot| matches!(slot.state, State::Dialling))
            .count();
        let mut next: Option<Instant> = None;
        for peer in 0..self.slots.len() {
            let State::Down { due: Some(due) } = self.slots[peer].state else {
                continue;
            };
            let due = if self.board.cuts().is_dead(peer) {
                due.max(now + CUT_PAUSE)
            } else if due <= now && self.waits_for_arrival(peer) {
                let later = now + ARRIVAL_PAUSE;
                self.slots[peer].state = State::Down { due: Some(later) };
                later
            } else {
                due
            };
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
            } else if dialling < DIALS_MAX {
                dialling += 1;
                self.dial(peer);
            }
        }
        // When all dials are taken, the end of one wakes the task.
        next
    }

    /// Whether the peer seems to be connecting by itself: two connections would cost twice as much, and one goes. Not for
    /// ever, since others may stand at the same address.
    fn waits_for_arrival(&mut self, peer: PeerIndex) -> bool {
        let slot = &mut self.slots[peer];
        let waits = slot.waited < ARRIVALS_MAX && self.swarm.behaviour().is_arriving(&slot.address);
        slot.waited = if waits { slot.waited + 1 } else { 0 };
        waits
    }

    fn dial(&mut self, peer: PeerIndex) {
        let slot = &mut self.slots[peer];
        slot.state = State::Dialling;
        let options = DialOpts::peer_id(slot.id).addresses(vec![slot.address.clone()]).build();
        if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(peer, &error);
        }
    }

    fn dial_failed(&mut self, peer: PeerIndex, error: &DialError) {
        let slot = &mut self.slots[peer];
        if !matches!(slot.state, State::Dialling) {
            return;
        }
        slot.state = State::Down { due: None };
        let reason = explain_dial(error);
        tracing::debug!(peer = slot.name, address = %slot.address, reason, "dial failed");
        self.board.dial_failed(peer, &reason);
        if matches!(error, DialError::WrongPeerId { .. }) {
            let address = slot.address.clone();
            self.refuse(&address, &reason);
        }
        self.slots[peer].backoff.failed();
        self.plan_dial(peer);
    }

    /// Decides when to dial a peer that is down, unless a connection to it is there already.
    fn plan_dial(&mut self, peer: PeerIndex) {
        if self.swarm.behaviour().is_connected(peer) {
            self.slots[peer].state = State::Opening;
            return;
        }
        let slot = &mut self.slots[peer];
        let due = Instant::now() + slot.backoff.wait(&mut self.rng);
        slot.state = State::Down { due: Some(due) };
    }

    async fn on_swarm(&mut self, event: SwarmEvent<PeerNews>) {
        match event {
            SwarmEvent::Behaviour(news) => self.on_news(news).await,
            SwarmEvent::ConnectionEstablished { peer_id, .. } => self.on_connected(&peer_id),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => {
                let reason = cause.map_or_else(|| "the connection was closed".to_owned(), |error| root(&error));
                self.on_closed(&peer_id, connection_id, &reason).await;
            }
            SwarmEvent::IncomingConnectionError {
                send_back_addr, error, ..
            } => {
                self.on_refused(&send_back_addr, &error);
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(id),
                error,
                ..
            } => {
                if let Some(peer) = self.swarm.behaviour().index(&id) {
                    self.dial_failed(peer, &error);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "cannot accept a connection"),
            _ => {}
        }
    }

    fn on_connected(&mut self, id: &PeerId) {
        let Some(peer) = self.swarm.behaviour().index(id) else {
            return;
        };
        let slot = &mut self.slots[peer];
        if !matches!(slot.state, State::Up(_)) {
            slot.state = State::Opening;
        }
    }

    async fn on_closed(&mut self, id: &PeerId, connection: ConnectionId, reason: &str) {
        let Some(peer) = self.swarm.behaviour().index(id) else {
            return;
        };
        match &self.slots[peer].state {
            State::Up(live) if live.connection == connection => self.take_down(peer, reason).await,
            _ if self.swarm.behaviour().is_connected(peer) => {}
            State::Opening => {
                self.board.dial_failed(peer, reason);
                self.slots[peer].backoff.failed();
                self.plan_dial(peer);
            }
            State::Closing => self.plan_dial(peer),
            State::Up(_) | State::Down { .. } | State::Dialling => {}
        }
    }

    async fn on_news(&mut self, news: PeerNews) {
        let PeerNews { peer, connection, news } = news;
        match news {
            StreamNews::Open(stream) => self.bring_up(peer, connection, stream).await,
            StreamNews::Failed(reason) => {
                let address = self.slots[peer].address.clone();
                self.board.dial_failed(peer, &reason);
                self.refuse(&address, &reason);
                self.slots[peer].backoff.failed();
                self.slots[peer].state = State::Closing;
                self.swarm.close_connection(connection);
            }
        }
    }

    async fn bring_up(&mut self, peer: PeerIndex, connection: ConnectionId, stream: Stream) {
        if matches!(self.slots[peer].state, State::Up(_)) {
            self.take_down(peer, "replaced by a newer connection").await;
        }
        if self.board.cuts().is_dead(peer) {
            self.slots[peer].state = State::Closing;
            self.swarm.close_connection(connection);
            return;
        }
        let mut stream = Cuttable::new(stream, peer, Arc::clone(&self.board));
        let line = Line::new(peer, Arc::clone(&self.board));
        let queue = Arc::new(LinkQueue::default());
        let (shared, ends, link_queue) = (self.shared.clone(), self.ends.clone(), Arc::clone(&queue));
        self.tell(NetworkEvent::Up(peer)).await;
        self.outbox.set(peer, Some(queue));
        let task = tokio::spawn(async move {
            let end = link::run(&mut stream, line, link_queue, shared).await;
            // Fails only when the network has stopped.
            let _ = ends.send(Ended { peer, connection, end }).await;
            // The connection ends with its stream: not before it is said why.
            drop(stream);
        });
        let slot = &mut self.slots[peer];
        tracing::info!(peer = slot.name, "link up");
        slot.state = State::Up(Live {
            connection,
            since: Instant::now(),
            task: task.abort_handle(),
        });
        self.board.up(peer);
    }

    async fn on_ended(&mut self, ended: Ended) {
        let Ended { peer, connection, end } = ended;
        let current = matches!(&self.slots[peer].state, State::Up(live) if live.connection == connection);
        if current {
            if let LinkEnd::Fault(reason) = &end {
                tracing::warn!(peer = self.slots[peer].name, reason, "the peer broke the framing");
            }
            self.swarm.close_connection(connection);
            self.take_down(peer, &end.to_string()).await;
        }
    }

    async fn take_down(&mut self, peer: PeerIndex, reason: &str) {
        let slot = &mut self.slots[peer];
        if let State::Up(live) = std::mem::replace(&mut slot.state, State::Down { due: None }) {
            // The link's task shares this thread: after the abort it delivers nothing more.
            live.task.abort();
            slot.backoff.ended(live.since.elapsed());
            tracing::info!(peer = slot.name, reason, "link down");
            self.outbox.set(peer, None);
            self.board.down(peer, reason);
            self.tell(NetworkEvent::Down(peer)).await;
            if self.swarm.behaviour().is_connected(peer) {
                self.slots[peer].state = State::Closing;
            } else {
                self.plan_dial(peer);
            }
        }
    }

    async fn tell(&mut self, event: NetworkEvent) {
        // Fails only when the loop has ended.
        let _ = self.shared.events.send(event).await;
    }

    fn on_refused(&mut self, address: &Multiaddr, error: &ListenError) {
        let Some(reason) = explain_inbound(error) else { return };
        self.refuse(address, &reason);
    }

    fn refuse(&mut self, address: &Multiaddr, reason: &str) {
        self.shared.meter.add(Metric::ConnectionsRefused, 1);
        self.refusals.note(address, reason);
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(TokioInstant::from_std(at)).await,
        None => pending().await,
    }
}
