//! A node's control interface in a few lines: accepts, refuses, stalls, drops or forgets on order.

use crate::Endpoint;
use regatta_api::{
    ApiError, Reject,
    view::{
        BlockRange, BlockSummary, BlockView, InstanceLatest, Latest, Outcome, StatusEvent, SubmitRequest,
        SubmitResponse, SubmitResult, TransactionStatus,
    },
};
use regatta_apps::{Domain, transaction_id};
use regatta_base::{Digest, HexBytes, TransactionId};
use regatta_client::{
    decode_body, encode_body,
    frame::{Frame, encode},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};

/// What the double does with a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Accepts, and finalises in a block of its own.
    Finalise,
    /// Finalises in blocks whose statuses say "failed".
    Fail,
    /// Accepts, and never finalises.
    Forget,
    /// Finalises without telling any subscriber.
    Mute,
    /// Refuses everything.
    Reject(Reject),
    /// Keeps every answer back until another mode is set, then does as that says.
    Stall,
    /// Breaks the connection before an answer, having finalised.
    DropAfter,
    /// Breaks the connection before an answer, having done nothing.
    DropBefore,
    /// Answers with ids that are not those of the transactions.
    WrongIds,
    /// Answers with fewer results than transactions.
    ShortAnswer,
    /// Does as each of these says, one request after the other.
    Cycle(&'static [Mode]),
    /// Refuses the whole request with this status and an error whose code is `overloaded`.
    Refuse(u16),
}

/// The chain, as the double made it.
#[derive(Debug, Default)]
pub struct Chain {
    pub blocks: Vec<BlockView>,
    /// Every transaction that arrived, in order of arrival.
    pub arrived: Vec<TransactionId>,
    pub requests: usize,
    /// What `/metrics` answers.
    pub metrics: String,
    pub pending: BTreeMap<TransactionId, ()>,
    /// Transactions that it still knows the blocks of, though it need not have those.
    pub places: BTreeMap<TransactionId, u64>,
    /// Blocks that it has not, as a node that began with a snapshot of this height.
    pub begins_after: usize,
    subscribers: Vec<mpsc::UnboundedSender<StatusEvent>>,
    announcers: Vec<mpsc::UnboundedSender<BlockSummary>>,
}

/// A node with a control interface and no consensus. Clones share one chain.
#[derive(Debug, Clone)]
pub struct Double {
    pub chain: Arc<Mutex<Chain>>,
    pub endpoint: Endpoint,
    mode: Arc<watch::Sender<Mode>>,
    stop: Arc<watch::Sender<u64>>,
}

impl Double {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(node: u32, mode: Mode) -> Self {
        Self::listen(node, mode, Arc::default()).await
    }

    /// Another node of the same chain.
    pub async fn twin(&self, node: u32, mode: Mode) -> Self {
        Self::listen(node, mode, Arc::clone(&self.chain)).await
    }

    async fn listen(node: u32, mode: Mode, chain: Arc<Mutex<Chain>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let double = Self {
            chain,
            endpoint: Endpoint {
                node,
                name: format!("full-{node}"),
                http: listener.local_addr().unwrap(),
            },
            mode: Arc::new(watch::channel(mode).0),
            stop: Arc::new(watch::channel(0).0),
        };
        tokio::spawn(double.clone().serve(listener));
        double
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Breaks every open connection, as a node that is killed; it listens again at once.
    pub fn break_connections(&self) {
        self.chain.lock().unwrap().subscribers.clear();
        self.chain.lock().unwrap().announcers.clear();
        self.stop.send_modify(|count| *count += 1);
    }

    /// Breaks every connection and listens no more; returns when nobody can connect.
    pub async fn close(&self) {
        self.stop.send_replace(u64::MAX);
        while TcpStream::connect(self.endpoint.http).await.is_ok() {}
        let mut chain = self.chain.lock().unwrap();
        chain.subscribers.clear();
        chain.announcers.clear();
    }

    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut stop = self.stop.subscribe();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.unwrap();
                    connections.spawn(self.clone().connection(stream));
                }
                _ = stop.changed() => {
                    connections.abort_all();
                    if *stop.borrow() == u64::MAX {
                        return;
                    }
                }
            }
        }
    }

    async fn connection(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some((path, body)) = request(&mut stream, &mut buffer).await {
            if path.starts_with("/v1/statuses/stream") {
                return self.statuses(stream).await;
            }
            if path.starts_with("/v1/blocks/stream") {
                return self.announce(stream).await;
            }
            let answer = if path.starts_with("/v1/transactions/") {
                Some((200, encode_body(&self.status(&path)).unwrap()))
            } else if path.starts_with("/v1/transactions") {
                self.submit(decode_body(&body).unwrap()).await
            } else {
                self.read(&path).map(|answer| (200, answer))
            };
            let Some((status, answer)) = answer else { return };
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
            if stream.write_all(&[head.as_bytes(), &answer].concat()).await.is_err() {
                return;
            }
        }
    }

    async fn statuses(&self, stream: TcpStream) {
        let (sender, events) = mpsc::unbounded_channel();
        self.chain.lock().unwrap().subscribers.push(sender);
        forward(stream, events).await;
    }

    async fn announce(&self, stream: TcpStream) {
        let (sender, events) = mpsc::unbounded_channel();
        self.chain.lock().unwrap().announcers.push(sender);
        forward(stream, events).await;
    }

    /// The status and body of the answer; `None` breaks the connection.
    async fn submit(&self, request: SubmitRequest) -> Option<(u16, Vec<u8>)> {
        let domain = Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap());
        let ids: Vec<TransactionId> = request
            .transactions
            .iter()
            .map(|bytes| transaction_id(&domain, &bytes.0).unwrap())
            .collect();
        let mut mode = self.mode.subscribe();
        {
            let mut chain = self.chain.lock().unwrap();
            chain.requests += 1;
            chain.arrived.extend(&ids);
        }
        let mut mode = *mode.wait_for(|mode| *mode != Mode::Stall).await.unwrap();
        let mut chain = self.chain.lock().unwrap();
        if let Mode::Cycle(modes) = mode {
            mode = modes[chain.requests % modes.len()];
        }
        match mode {
            Mode::Finalise | Mode::Mute | Mode::DropAfter => chain.finalise(&ids, Outcome::Ok, mode != Mode::Mute),
            Mode::Fail => chain.finalise(&ids, FAILED, true),
            Mode::Forget => chain.pending.extend(ids.iter().map(|id| (*id, ()))),
            _ => {}
        }
        let mut ids = ids;
        let rejected = match mode {
            Mode::DropAfter | Mode::DropBefore => return None,
            Mode::Refuse(status) => return Some((status, encode_body(&overloaded()).unwrap())),
            Mode::Reject(reject) => Some(reject),
            Mode::WrongIds => {
                ids.iter_mut().for_each(|id| id.0[31] ^= 1);
                None
            }
            Mode::ShortAnswer => {
                ids.pop();
                None
            }
            _ => None,
        };
        let results = ids.into_iter().map(|id| SubmitResult { id: Some(id), rejected });
        let response = SubmitResponse {
            results: results.collect(),
        };
        Some((200, encode_body(&response).unwrap()))
    }

    fn status(&self, path: &str) -> TransactionStatus {
        let id = path.trim_start_matches("/v1/transactions/").split('?').next().unwrap();
        let id: TransactionId = id.parse().unwrap();
        let chain = self.chain.lock().unwrap();
        if let Some(&height) = chain.places.get(&id) {
            return TransactionStatus::Executed {
                height,
                index: 0,
                outcome: Outcome::Ok,
            };
        }
        match chain.pending.contains_key(&id) {
            true => TransactionStatus::Pending,
            false => TransactionStatus::Unknown,
        }
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let chain = self.chain.lock().unwrap();
        let query = |name: &str| {
            let (_, rest) = path.split_once(&format!("{name}="))?;
            rest.split('&').next()?.parse::<usize>().ok()
        };
        if path == "/metrics" {
            return Some(chain.metrics.clone().into_bytes());
        }
        if path.starts_with("/v1/latest") {
            return Some(encode_body(&chain.latest()).unwrap());
        }
        if path.starts_with("/v1/blocks?") {
            let from = query("from")? - 1;
            let rows = chain.blocks.iter().skip(from).take(query("count")?);
            let rows = rows.filter(|_| from >= chain.begins_after);
            let blocks = rows.map(|block| block.summary.clone()).collect();
            return Some(encode_body(&BlockRange { blocks }).unwrap());
        }
        let height: usize = path.strip_prefix("/v1/blocks/")?.split('?').next()?.parse().ok()?;
        let block = chain.blocks.get(height - 1).filter(|_| height > chain.begins_after)?;
        Some(encode_body(block).unwrap())
    }
}

fn overloaded() -> ApiError {
    ApiError {
        code: "overloaded".to_owned(),
        message: "too much".to_owned(),
        help: "wait".to_owned(),
    }
}

const FAILED: Outcome = Outcome::Failed(regatta_api::view::Failure::SequenceUsed);

impl Chain {
    fn latest(&self) -> Latest {
        let last = self.blocks.last().map(|block| &block.summary);
        let row = InstanceLatest {
            instance: "main".parse().unwrap(),
            height: self.blocks.len() as u64,
            hash: last.map_or(Digest::ZERO, |summary| summary.hash),
            state_root: Digest::ZERO,
            round: 0,
            pending: 0,
            known_height: self.blocks.len() as u64,
            first_height: self.begins_after as u64 + 1,
            first_block: self.begins_after as u64 + 1,
            snapshot_height: 0,
            snapshot_bytes: 0,
        };
        Latest { instances: vec![row] }
    }

    /// Tells subscribers of statuses something that no block says.
    pub fn tell(&mut self, event: &StatusEvent) {
        self.subscribers
            .retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// Whether anyone still listens to statuses.
    pub fn has_subscribers(&self) -> bool {
        self.subscribers.iter().any(|subscriber| !subscriber.is_closed())
    }

    /// Appends a block and tells subscribers.
    pub fn finalise(&mut self, ids: &[TransactionId], outcome: Outcome, tell: bool) {
        let height = self.blocks.len() as u64 + 1;
        let parent = self.blocks.last().map_or(Digest::ZERO, |block| block.summary.hash);
        let items: Vec<(TransactionId, Outcome)> = ids.iter().map(|id| (*id, outcome)).collect();
        let failed = if outcome == Outcome::Ok { 0 } else { ids.len() as u32 };
        self.blocks.push(BlockView {
            summary: BlockSummary {
                instance: "main".parse().unwrap(),
                height,
                hash: Digest::of("double", &[&height.to_be_bytes(), &parent.0]),
                parent,
                state_root: Digest::of("double root", &[&height.to_be_bytes()]),
                round: 0,
                proposer: 0,
                transactions: ids.len() as u32,
                failed,
                bytes: 0,
            },
            batches: Vec::new(),
            items: items.clone(),
            certificate_message: HexBytes::default(),
            signers: Vec::new(),
            weight_total: 0,
            header: HexBytes::default(),
            next_validators: None,
        });
        let event = StatusEvent {
            instance: "main".parse().unwrap(),
            height,
            items,
        };
        let summary = self.blocks.last().map(|block| block.summary.clone()).unwrap();
        self.announcers
            .retain(|announcer| announcer.send(summary.clone()).is_ok());
        if tell {
            self.subscribers
                .retain(|subscriber| subscriber.send(event.clone()).is_ok());
        }
    }
}

/// Writes events as frames until either side has enough.
async fn forward<T: serde::Serialize>(mut stream: TcpStream, mut events: mpsc::UnboundedReceiver<T>) {
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut rest = [0; 1];
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            // Whoever subscribed sends nothing more: this is the end of the connection.
            _ = stream.read(&mut rest) => None,
        };
        let Some(event) = event else { return };
        if stream.write_all(&encode(&Frame::Event(event)).unwrap()).await.is_err() {
            return;
        }
    }
}

/// Reads one request; `None` at the end of the connection. `buffer` keeps what came after it.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let length = text
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| rest.lines().next().unwrap().trim().parse().unwrap());
            if buffer.len() >= head + 4 + length {
                let body = buffer[head + 4..head + 4 + length].to_vec();
                buffer.drain(..head + 4 + length);
                return Some((text.split(' ').nth(1).unwrap().to_owned(), body));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
