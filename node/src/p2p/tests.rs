//! Networks against each other and against hostile peers, over real sockets on loopback.

use super::{
    Network, NetworkError, NetworkEvent, Outbox, PeerBoard, Setup,
    link::{self, LinkEnd, Shared},
    queue::LinkQueue,
    shape::Line,
};
use crate::meter::Meter;
use bytes::Bytes;
use rand::RngExt as _;
use regatta_api::{
    NodeConfig, PeerConfig,
    config::{MempoolConfig, StoreConfig},
    metrics::Metric,
};
use regatta_base::{PublicKey, SecretKey, limits::FRAME_BYTES_MAX, seed};
use regatta_core::TrafficClass;
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_util::{compat::TokioAsyncReadCompatExt as _, sync::CancellationToken};

/// Only a hanging test takes this long.
const GUARD: Duration = Duration::from_secs(60);
const PORT: u16 = 7000;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

/// An address that no other test, and hardly another run of the tests, uses.
fn address(test: u8, number: u8) -> SocketAddr {
    let run = 100 + (std::process::id() % 100) as u8;
    SocketAddr::from(([127, run, test, number], PORT))
}

fn config(test: u8, number: u8, peers: &[u8]) -> NodeConfig {
    let peer = |number: &u8| PeerConfig {
        name: format!("n{number}"),
        key: key(*number).public(),
        address: address(test, *number),
    };
    NodeConfig {
        chain: "test".parse().unwrap(),
        name: format!("n{number}"),
        key_file: "key.pem".to_owned(),
        data_dir: "data".to_owned(),
        ip: address(test, number).ip(),
        p2p_port: PORT,
        http_port: PORT + 1,
        relay_votes: true,
        mempool: MempoolConfig::default(),
        store: StoreConfig::default(),
        upgrade: Default::default(),
        testing: Default::default(),
        instances: Vec::new(),
        peers: peers.iter().map(peer).collect(),
    }
}

struct TestNode {
    outbox: Outbox,
    events: mpsc::Receiver<NetworkEvent>,
    meter: Arc<Meter>,
    board: Arc<PeerBoard>,
    stop: CancellationToken,
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl TestNode {
    fn start(config: &NodeConfig, number: u8) -> Self {
        let meter = Arc::new(Meter::default());
        let board = Arc::new(PeerBoard::new(&config.peers, Arc::clone(&meter)));
        let setup = Setup {
            config,
            key: &key(number),
            meter: Arc::clone(&meter),
            board: Arc::clone(&board),
        };
        let stop = CancellationToken::new();
        let (outbox, events) = Network::bind(&setup).unwrap().run(stop.clone());
        Self {
            outbox,
            events,
            meter,
            board,
            stop,
        }
    }

    async fn event(&mut self) -> NetworkEvent {
        timeout(GUARD, self.events.recv())
            .await
            .expect("an event comes")
            .unwrap()
    }

    async fn up(&mut self, peer: usize) {
        let event = self.event().await;
        assert!(matches!(event, NetworkEvent::Up(index) if index == peer), "{event:?}");
    }

    async fn down(&mut self, peer: usize) {
        let event = self.event().await;
        assert!(matches!(event, NetworkEvent::Down(index) if index == peer), "{event:?}");
    }

    async fn frame(&mut self) -> Bytes {
        match self.event().await {
            NetworkEvent::Frame(_, frame, _) => frame,
            other => panic!("{other:?}"),
        }
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(GUARD, wait).await.is_ok(), "{what} never came");
    }

    async fn until_refused(&self, count: u64) {
        self.until("the refusal", |node| {
            node.meter.get(Metric::ConnectionsRefused) >= count
        })
        .await;
    }

    fn error_of(&self, peer: usize) -> Option<String> {
        self.board.views()[peer].last_error.clone()
    }
}

async fn pair(test: u8) -> (TestNode, TestNode) {
    let mut a = TestNode::start(&config(test, 1, &[2]), 1);
    let mut b = TestNode::start(&config(test, 2, &[1]), 2);
    a.up(0).await;
    b.up(0).await;
    (a, b)
}

#[tokio::test]
async fn frames_arrive_in_order_both_ways_under_load() {
    let (mut a, mut b) = pair(1).await;
    let mut rng = seed::rng(1, "frames");
    let mut frames: Vec<Bytes> = (0..3000u32)
        .map(|number| {
            let mut bytes = vec![number as u8; rng.random_range(4..3000)];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            bytes.into()
        })
        .collect();
    frames.push(Bytes::from(vec![9; FRAME_BYTES_MAX]));
    for frame in &frames {
        a.outbox.send(0, frame.clone(), TrafficClass::Bulk);
        b.outbox.send(0, frame.clone(), TrafficClass::Bulk);
    }
    for frame in &frames {
        assert_eq!(b.frame().await, frame);
        assert_eq!(a.frame().await, frame);
    }
    let sent: usize = frames.iter().map(|frame| frame.len() + 4).sum();
    assert_eq!(a.meter.get(Metric::FramesSent), frames.len() as u64);
    assert_eq!(a.meter.get(Metric::FrameBytesSent), sent as u64);
    assert_eq!(b.meter.get(Metric::FramesReceived), frames.len() as u64);
    assert_eq!(a.meter.get(Metric::PeersConnected), 1);
}

#[tokio::test]
async fn every_pair_of_a_mesh_has_one_link() {
    const NODES: u8 = 6;
    let others = |number: u8| (1..=NODES).filter(move |other| *other != number).collect::<Vec<u8>>();
    let mut nodes: Vec<TestNode> = (1..=NODES)
        .map(|number| TestNode::start(&config(2, number, &others(number)), number))
        .collect();
    for node in &mut nodes {
        let mut links = [0i32; NODES as usize - 1];
        while links.iter().any(|count| *count != 1) {
            match node.event().await {
                NetworkEvent::Up(peer) => links[peer] += 1,
                NetworkEvent::Down(peer) => links[peer] -= 1,
                NetworkEvent::Frame(..) => {}
            }
            assert!(
                links.iter().all(|count| (0..=1).contains(count)),
                "ups and downs are no pairs: {links:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_key_is_refused_and_counted() {
    let a = TestNode::start(&config(3, 1, &[2]), 1);
    let stranger = TestNode::start(&config(3, 3, &[1]), 3);
    a.until_refused(1).await;
    stranger.until("the reason", |node| node.error_of(0).is_some()).await;
    assert_eq!(a.meter.get(Metric::PeersConnected), 0);
    assert_eq!(a.board.counts(), (0, 1));
}

#[tokio::test]
async fn another_key_at_a_peers_address_is_refused_by_the_dialler() {
    let mut wrong = config(4, 1, &[2]);
    wrong.peers[0].key = key(7).public();
    let _b = TestNode::start(&config(4, 2, &[1]), 2);
    let a = TestNode::start(&wrong, 1);
    let told = |node: &TestNode| node.error_of(0).is_some_and(|text| text.contains("has another key"));
    a.until("the reason", told).await;
    assert!(a.meter.get(Metric::ConnectionsRefused) >= 1);
    assert!(a.error_of(0).unwrap().contains(&key(2).public().to_string()));
}

#[tokio::test]
async fn a_node_of_another_chain_gets_no_link() {
    let mut other = config(5, 2, &[1]);
    other.chain = "other".parse().unwrap();
    let a = TestNode::start(&config(5, 1, &[2]), 1);
    let b = TestNode::start(&other, 2);
    let told = |node: &TestNode| node.error_of(0).is_some_and(|text| text.contains("same chain"));
    let either = async {
        while !told(&a) && !told(&b) {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(GUARD, either).await.is_ok());
    assert_eq!((a.board.counts(), b.board.counts()), ((0, 1), (0, 1)));
}

#[tokio::test]
async fn random_truncated_and_oversized_bytes_on_the_port_leave_the_node_up() {
    let mut a = TestNode::start(&config(6, 1, &[2]), 1);
    let mut rng = seed::rng(2, "garbage");
    let mut garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x13/multistream/1.0.0\n".to_vec(),
        b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff".to_vec(),
        vec![0xff; 200_000],
    ];
    garbage.extend((0..20).map(|length| (0..length * 50).map(|_| rng.random()).collect()));
    for bytes in &garbage {
        let mut stream = TcpStream::connect(address(6, 1)).await.unwrap();
        // The node may hang up before it has taken everything.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(GUARD, stream.read_to_end(&mut answer))
            .await
            .expect("the node hangs up");
    }
    a.until_refused(garbage.len() as u64).await;
    let mut b = TestNode::start(&config(6, 2, &[1]), 2);
    a.up(0).await;
    b.up(0).await;
}

#[tokio::test]
async fn silent_connections_are_bounded_and_keep_no_peer_out() {
    let mut a = TestNode::start(&config(13, 1, &[2]), 1);
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(address(13, 1)).await.unwrap());
    }
    a.until_refused(10).await;
    let mut b = TestNode::start(&config(13, 2, &[1]), 2);
    a.up(0).await;
    b.up(0).await;
    a.until_refused(50).await;
}

#[tokio::test]
async fn a_link_that_is_reset_comes_back() {
    let (mut a, mut b) = pair(7).await;
    for _ in 0..3 {
        a.outbox.reset(0, "for the test");
        a.down(0).await;
        b.down(0).await;
        a.up(0).await;
        b.up(0).await;
    }
    assert_eq!(a.error_of(0).as_deref(), Some("for the test"));
    assert_eq!(a.board.views()[0].connects, 4);
}

#[tokio::test]
async fn a_node_that_starts_again_is_linked_again() {
    for (test, first, second) in [(8, 1, 2), (12, 2, 1)] {
        let mut a = TestNode::start(&config(test, first, &[second]), first);
        for _ in 0..2 {
            let mut b = TestNode::start(&config(test, second, &[first]), second);
            a.up(0).await;
            b.up(0).await;
            drop(b);
            a.down(0).await;
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_payload_and_no_memory() {
    let (a, mut b) = pair(9).await;
    let frame = Bytes::from(vec![1; 1024 * 1024]);
    let mut sent = 0u64;
    while a.meter.get(Metric::FramesDropped) == 0 {
        a.outbox.send(0, frame.clone(), TrafficClass::Bulk);
        sent += 1;
        tokio::task::yield_now().await;
        assert!(sent < 2000, "nothing is ever dropped");
    }
    a.outbox.send(0, Bytes::from_static(b"vote"), TrafficClass::Control);
    let mut received = 0;
    while b.frame().await.len() > 4 {
        received += 1;
    }
    assert!(received < sent, "{received} of {sent}");
    a.until("the rest", |node| node.meter.get(Metric::FramesSent) == sent)
        .await;
}

#[tokio::test]
async fn an_address_in_use_is_explained() {
    let configuration = config(10, 1, &[]);
    let _first = TestNode::start(&configuration, 1);
    let meter = Arc::new(Meter::default());
    let board = Arc::new(PeerBoard::new(&[], Arc::clone(&meter)));
    let setup = Setup {
        config: &configuration,
        key: &key(1),
        meter,
        board,
    };
    let error = Network::bind(&setup).err().unwrap();
    assert!(matches!(error, NetworkError::Listen(_)));
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
}

#[tokio::test]
async fn a_key_that_is_none_is_named() {
    let mut configuration = config(11, 1, &[2]);
    configuration.peers[0].key = PublicKey([2; 32]);
    let meter = Arc::new(Meter::default());
    let board = Arc::new(PeerBoard::new(&configuration.peers, Arc::clone(&meter)));
    let setup = Setup {
        config: &configuration,
        key: &key(1),
        meter,
        board,
    };
    assert!(matches!(Network::bind(&setup), Err(NetworkError::Key(_))));
}

#[tokio::test]
async fn a_bad_length_or_a_cut_ends_the_link_and_is_told() {
    for (bytes, fault) in [(&[0xff; 4][..], true), (&[0; 4], true), (&[0, 0, 0, 9, 1], false)] {
        let meter = Arc::new(Meter::default());
        let (shared, _events) = Shared::new(Arc::clone(&meter));
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let running = link::run(theirs.compat(), line(0), Arc::new(LinkQueue::default()), shared);
        ours.write_all(bytes).await.unwrap();
        ours.shutdown().await.unwrap();
        let end = timeout(GUARD, running).await.unwrap();
        assert_eq!(matches!(end, LinkEnd::Fault(_)), fault, "{end}");
        assert_eq!(meter.get(Metric::FramesInvalid), u64::from(fault));
    }
}

/// A line that holds nothing.
fn line(peer: usize) -> Line {
    Line::new(peer, Arc::new(PeerBoard::new(&[], Arc::new(Meter::default()))))
}

/// Two ends of a link in memory, without a network around them.
struct Ends {
    queues: [Arc<LinkQueue>; 2],
    events: [mpsc::Receiver<NetworkEvent>; 2],
}

fn ends(buffer: usize) -> (Ends, impl Future<Output = LinkEnd>) {
    let (left, right) = tokio::io::duplex(buffer);
    let (shared_left, events_left) = Shared::new(Arc::new(Meter::default()));
    let (shared_right, events_right) = Shared::new(Arc::new(Meter::default()));
    let queues = [Arc::new(LinkQueue::default()), Arc::new(LinkQueue::default())];
    let (queue_left, queue_right) = (Arc::clone(&queues[0]), Arc::clone(&queues[1]));
    let both = async move {
        tokio::select! {
            end = link::run(left.compat(), line(0), queue_left, shared_left) => end,
            end = link::run(right.compat(), line(1), queue_right, shared_right) => end,
        }
    };
    (
        Ends {
            queues,
            events: [events_left, events_right],
        },
        both,
    )
}

async fn receive(events: &mut mpsc::Receiver<NetworkEvent>, count: usize) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while frames.len() < count {
        match events.recv().await {
            Some(NetworkEvent::Frame(_, frame, _)) => frames.push(frame),
            other => panic!("{other:?}"),
        }
    }
    frames
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn a_link_carries_any_frames_both_ways_through_any_buffer(
        lengths in proptest::collection::vec(1..50_000usize, 1..20),
        buffer in 1..10_000usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut ends, running) = ends(buffer);
        let frame = |(number, length): (usize, &usize)| Bytes::from(vec![number as u8; *length]);
        let frames: Vec<Bytes> = lengths.iter().enumerate().map(frame).collect();
        for queue in &ends.queues {
            for frame in &frames {
                queue.push(frame.clone(), TrafficClass::Bulk);
            }
        }
        let [left, right] = &mut ends.events;
        let received = runtime.block_on(async {
            tokio::select! {
                received = async { tokio::join!(receive(left, frames.len()), receive(right, frames.len())) } => received,
                end = running => panic!("{end}"),
            }
        });
        proptest::prop_assert_eq!(&received.0, &frames);
        proptest::prop_assert_eq!(&received.1, &frames);
    }
}

#[tokio::test]
async fn closing_a_queue_ends_the_link_with_its_reason() {
    let (ends, running) = ends(100);
    ends.queues[1].close("enough");
    assert_eq!(timeout(GUARD, running).await.unwrap().to_string(), "enough");
}

#[tokio::test]
async fn a_loop_that_has_ended_ends_its_links() {
    let (ends, running) = ends(100);
    let Ends { queues, events } = ends;
    drop(events);
    queues[0].push(Bytes::from_static(b"x"), TrafficClass::Control);
    assert!(matches!(timeout(GUARD, running).await.unwrap(), LinkEnd::Stopping));
}

#[tokio::test]
async fn frames_that_the_loop_does_not_take_are_bounded() {
    let (mut ends, running) = ends(64 * 1024);
    let frame = Bytes::from(vec![1; 1024 * 1024]);
    let mut sent = 0;
    let flood = async {
        // As many bytes as may wait at the receiver; one more fills the sender's queue in turn.
        while ends.queues[0].push(frame.clone(), TrafficClass::Bulk) == super::queue::Queued::Yes || sent < 60 {
            sent += 1;
            tokio::task::yield_now().await;
        }
    };
    let running = tokio::spawn(running);
    timeout(GUARD, flood).await.expect("the sender's queue fills");
    assert!(
        sent < 200,
        "{sent} MB were taken from a sender whose receiver does not read"
    );
    let received = timeout(GUARD, receive(&mut ends.events[1], 60)).await.unwrap();
    assert!(received.iter().all(|other| *other == frame));
    running.abort();
}
