//! The control interface on a real socket, before a core that decides nothing by itself.

mod faults;
mod hostile;
mod limits;
pub(crate) mod reference;
mod routes;
mod streams;

use super::{Control, limits::Limits, serve};
use crate::{
    Meter, NodeHandle,
    handle::{Request, SubmitAnswer},
    p2p::PeerBoard,
};
use bytes::Bytes;
use regatta_api::{
    NodeConfig, Reject,
    config::{InstanceConfig, MempoolConfig, PeerConfig, SnapshotConfig, StoreConfig, ValidatorConfig, VoteTopology},
    metrics::Metric,
    view::SubmitResult,
};
use regatta_base::{Digest, SecretKey};
use regatta_client::Client;
use regatta_core::Node;
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// A running control interface.
struct Harness {
    address: SocketAddr,
    client: Client,
    handle: NodeHandle,
    server: tokio::task::JoinHandle<()>,
}

fn secret() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

/// A validator alone on its network, with one peer that is never there.
fn config() -> NodeConfig {
    let instance = |name: &str| InstanceConfig {
        id: name.parse().unwrap(),
        block_interval_ms: 10,
        empty_blocks: false,
        round_timeout_ms: 500,
        round_timeout_ms_max: 1000,
        silent_heights: 1,
        batch_bytes: 1000,
        batch_delay_ms: 1,
        vote_topology: VoteTopology::Relay,
        snapshots: SnapshotConfig::default(),
        validators: vec![ValidatorConfig {
            key: secret().public(),
            weight: 1,
        }],
    };
    NodeConfig {
        chain: "test".parse().unwrap(),
        name: "val-0".to_owned(),
        key_file: "key.pem".to_owned(),
        data_dir: "data".to_owned(),
        ip: "127.0.0.1".parse().unwrap(),
        p2p_port: 7000,
        http_port: 7001,
        relay_votes: true,
        mempool: MempoolConfig::default(),
        store: StoreConfig::default(),
        upgrade: Default::default(),
        testing: Default::default(),
        instances: vec![instance("main"), instance("side")],
        peers: vec![PeerConfig {
            name: "val-1".to_owned(),
            key: SecretKey::from_seed([2; 32]).public(),
            address: "127.0.0.1:1".parse().unwrap(),
        }],
    }
}

impl Harness {
    async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    async fn with_limits(limits: Limits) -> Self {
        Self::with(config(), limits).await
    }

    async fn with_config(config: NodeConfig) -> Self {
        Self::with(config, Limits::default()).await
    }

    async fn with(config: NodeConfig, limits: Limits) -> Self {
        let meter = Arc::new(Meter::default());
        let peers = Arc::new(PeerBoard::new(&config.peers, Arc::clone(&meter)));
        let (handle, requests) = NodeHandle::new(
            meter,
            peers,
            Arc::new(|_, _| None),
            Arc::default(),
            CancellationToken::new(),
        );
        let node = Node::new(&config, secret()).unwrap();
        tokio::spawn(answer_requests(node, requests, handle.stop_token().clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let control = Control::with_limits(handle.clone(), &config, secret().public(), limits);
        let server = tokio::spawn(serve(listener, control));
        Self {
            address,
            client: Client::new(address),
            handle,
            server,
        }
    }

    fn errors(&self) -> u64 {
        self.handle.metrics().get(Metric::HttpErrors)
    }

    /// Sends bytes, ends the sending side, and reads until the node closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The node may refuse and close before everything is sent.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request with these header lines; the whole answer as text.
    async fn request(&self, line: &str, headers: &[&str], body: &[u8]) -> String {
        let mut bytes = format!("{line} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n").into_bytes();
        for header in headers {
            bytes.extend_from_slice(format!("{header}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str) -> String {
        self.request(&format!("GET {path}"), &[], &[]).await
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.handle.stop_token().cancel();
    }
}

/// Takes the place of the node's loop: reads see a real core, submissions are judged by their first byte.
async fn answer_requests(node: Node, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
    while let Some(Some(request)) = stop.run_until_cancelled(requests.recv()).await {
        match request {
            Request::Read(read) => read(&node),
            Request::Submit {
                transactions, answer, ..
            } => judge(&transactions, answer),
        }
    }
}

fn judge(transactions: &[Bytes], answer: SubmitAnswer) {
    let judge_one = |bytes: &Bytes| match bytes.first() {
        Some(0xff) | None => SubmitResult {
            id: None,
            rejected: Some(Reject::Malformed),
        },
        Some(_) => SubmitResult {
            id: Some(Digest::of_bytes(bytes)),
            rejected: None,
        },
    };
    answer.send(transactions.iter().map(judge_one).collect());
}

/// The status of an answer.
fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

/// The body of an answer.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
