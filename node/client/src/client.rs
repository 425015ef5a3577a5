//! The client: keep-alive connections to one node, a typed method for each route.

use crate::{
    ClientError, EventStream,
    body::{MSGPACK, decode_body, encode_body, encode_submission},
    error::chain,
    exposition,
    frame::FRAMES,
    subscription,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{ACCEPT, CONTENT_TYPE},
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use regatta_api::{
    ApiError,
    testing::{LinkFaults, NodeFaults},
    view::{
        AccountView, BlockRange, BlockSummary, BlockTimes, BlockView, EvidenceList, Latest, PeerView, Readiness,
        ReleaseChunk, ReleaseChunkTaken, ReleaseOffer, ReleaseTaken, SnapshotList, StateView, StatusEvent,
        SubmitRequest, SubmitResponse, TransactionStatus, UpgradeView, ValidatorsView, Version,
    },
};
use regatta_base::{Height, InstanceId, PublicKey, TransactionId};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Deadline of a request unless [`Client::with_deadline`] sets another.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Largest answer that is read, in bytes.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Idle keep-alive connections that are kept.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long one is kept: shorter than the node does, so that a request never meets a closing connection.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// First and longest pause between two questions whether a node is ready.
const READY_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// A client of one node. Clones share connections and are cheap.
///
/// Every method asks one route once and gives back its body; errors are [`ClientError`].
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    deadline: Duration,
    instance: Option<InstanceId>,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client of the node whose control interface listens at `address`. Connects when first used.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(REQUEST_DEADLINE));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self {
            address,
            deadline: REQUEST_DEADLINE,
            instance: None,
            http,
        }
    }

    /// The same client with another deadline for every request.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same client asking about `instance` instead of the node's first one.
    ///
    /// [`Client::submit`] follows the request's own field.
    #[must_use]
    pub fn with_instance(mut self, instance: InstanceId) -> Self {
        self.instance = Some(instance);
        self
    }

    /// The node's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Submits one or many transactions; the answer comes when each is refused or on a validator's disk.
    ///
    /// # Errors
    /// [`ClientError`]; refusals of single transactions are part of the answer.
    pub async fn submit(&self, request: &SubmitRequest) -> Result<SubmitResponse, ClientError> {
        let path = "/v1/transactions";
        let body = encode_submission(request).map_err(|reason| self.malformed(path, reason))?;
        self.call(Method::POST, path, Some(body.into())).await
    }

    /// Where a transaction stands, as this node knows it.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn status(&self, id: &TransactionId) -> Result<TransactionStatus, ClientError> {
        self.get(&self.scoped(format!("/v1/transactions/{id}"))).await
    }

    /// How far the node is in each of its instances.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn latest(&self) -> Result<Latest, ClientError> {
        self.get("/v1/latest").await
    }

    /// Proofs that validators contradicted themselves, as far as the node has them.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn evidence(&self) -> Result<EvidenceList, ClientError> {
        self.get(&self.scoped("/v1/evidence".to_owned())).await
    }

    /// Who decides `height`, or the next height when that is absent.
    ///
    /// # Errors
    /// [`ClientError`], also when the node does not know it.
    pub async fn validators(&self, height: Option<Height>) -> Result<ValidatorsView, ClientError> {
        let query = height.map_or_else(String::new, |height| format!("?height={height}"));
        self.get(&self.scoped(format!("/v1/validators{query}"))).await
    }

    /// Snapshots of the state that the node keeps, of all its instances.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn snapshots(&self) -> Result<SnapshotList, ClientError> {
        self.get("/v1/snapshots").await
    }

    /// Makes these links of the node faulty and heals all others; only nodes that are configured for faults take the order.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn set_link_faults(&self, faults: &LinkFaults) -> Result<LinkFaults, ClientError> {
        let path = "/v1/faults/links";
        let body = encode_body(faults).map_err(|reason| self.malformed(path, reason))?;
        self.call(Method::PUT, path, Some(body.into())).await
    }

    /// Makes exactly these faults of the node's clock and disk; only nodes that are configured for faults take the order.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn set_node_faults(&self, faults: &NodeFaults) -> Result<NodeFaults, ClientError> {
        let path = "/v1/faults/node";
        let body = encode_body(faults).map_err(|reason| self.malformed(path, reason))?;
        self.call(Method::PUT, path, Some(body.into())).await
    }

    /// Whether the node takes transactions, and what it waits for if not. Both are answers, not errors.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn readiness(&self) -> Result<Readiness, ClientError> {
        let path = "/v1/ready";
        let (status, bytes) = self.exchange(Method::GET, path, None).await?;
        match status {
            200 | 503 => decode_body(&bytes).map_err(|reason| self.malformed(path, reason)),
            _ => Err(self.refused(path, status, &bytes)),
        }
    }

    /// Returns when the process answers at all.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn health(&self) -> Result<(), ClientError> {
        let path = "/v1/health";
        let (status, bytes) = self.exchange(Method::GET, path, None).await?;
        if status == 200 {
            Ok(())
        } else {
            Err(self.refused(path, status, &bytes))
        }
    }

    /// What runs there.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get("/v1/version").await
    }

    /// The newest release that the node knows, and what it does about it.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn release(&self) -> Result<UpgradeView, ClientError> {
        self.get("/v1/release").await
    }

    /// Brings a release, which the node judges and tells the others.
    ///
    /// # Errors
    /// [`ClientError`], also when a check refuses it.
    pub async fn offer_release(&self, offer: &ReleaseOffer) -> Result<ReleaseTaken, ClientError> {
        self.post("/v1/release", offer).await
    }

    /// Brings a piece of a released program.
    ///
    /// # Errors
    /// [`ClientError`], also when it is not the one that was released.
    pub async fn bring_chunk(&self, chunk: &ReleaseChunk) -> Result<ReleaseChunkTaken, ClientError> {
        self.post("/v1/release/chunk", chunk).await
    }

    /// The node's configured peers and their links.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn peers(&self) -> Result<Vec<PeerView>, ClientError> {
        self.get("/v1/peers").await
    }

    /// Every metric by its exported name.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn metrics(&self) -> Result<BTreeMap<String, f64>, ClientError> {
        let path = "/metrics";
        let (status, bytes) = self.exchange(Method::GET, path, None).await?;
        if status != 200 {
            return Err(self.refused(path, status, &bytes));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| self.malformed(path, error.to_string()))?;
        exposition::parse(text).map_err(|error| self.malformed(path, error.to_string()))
    }

    /// A block with the proof that it was decided.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] beyond the ledger's end.
    pub async fn block(&self, height: Height) -> Result<BlockView, ClientError> {
        self.get(&self.scoped(format!("/v1/blocks/{height}"))).await
    }

    /// Short forms of consecutive blocks from height `from`; fewer than `count` at the ledger's end or
    /// at the node's own limit.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn blocks(&self, from: Height, count: usize) -> Result<BlockRange, ClientError> {
        self.get(&self.scoped(format!("/v1/blocks?from={from}&count={count}")))
            .await
    }

    /// One value of the state.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn state(&self, key: &[u8]) -> Result<StateView, ClientError> {
        use std::fmt::Write;
        let mut path = "/v1/state/".to_owned();
        for byte in key {
            let _ = write!(path, "{byte:02x}");
        }
        self.get(&self.scoped(path)).await
    }

    /// What a sender needs to know before it signs.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn account(&self, key: &PublicKey) -> Result<AccountView, ClientError> {
        self.get(&self.scoped(format!("/v1/accounts/{key}"))).await
    }

    /// When the node told of at most `count` blocks from height `from` on, on the monotonic clock of its host.
    ///
    /// # Errors
    /// [`ClientError`] when the node does not answer or refuses.
    pub async fn block_times(&self, from: Height, count: usize) -> Result<BlockTimes, ClientError> {
        self.get(&self.scoped(format!("/v1/blocks/times?from={from}&count={count}")))
            .await
    }

    /// Subscribes to what blocks do to the transactions that were submitted through this node.
    ///
    /// The subscription is in place when this returns: whatever is submitted afterwards shows up in it.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn statuses_stream(&self) -> Result<EventStream<StatusEvent>, ClientError> {
        self.subscribe("/v1/statuses/stream").await
    }

    /// Subscribes to the short forms of executed blocks.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn blocks_stream(&self) -> Result<EventStream<BlockSummary>, ClientError> {
        self.subscribe("/v1/blocks/stream").await
    }

    /// Asks until the node is ready, with growing pauses.
    ///
    /// # Errors
    /// [`ClientError::NotReady`] after `deadline`, with what the last attempt said.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<Readiness, ClientError> {
        let until = Instant::now() + deadline;
        let mut pause = READY_PAUSE.0;
        let mut last = "it was never asked".to_owned();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.readiness()).await {
                Ok(Ok(readiness)) if readiness.ready => return Ok(readiness),
                Ok(Ok(readiness)) => last = readiness.waiting_for,
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => {
                    return Err(ClientError::NotReady {
                        address: self.address,
                        after: deadline,
                        last,
                    });
                }
            }
            tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 2).min(READY_PAUSE.1);
        }
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = encode_body(body).map_err(|reason| self.malformed(path, reason))?;
        self.call(Method::POST, path, Some(body.into())).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<T, ClientError> {
        let (status, bytes) = self.exchange(method, path, body).await?;
        if status == 200 {
            decode_body(&bytes).map_err(|reason| self.malformed(path, reason))
        } else {
            Err(self.refused(path, status, &bytes))
        }
    }

    /// One request and its whole answer, within the deadline.
    async fn exchange(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<(u16, Bytes), ClientError> {
        let work = async {
            let response = self.send(method, path, MSGPACK, body).await?;
            let status = response.status().as_u16();
            let bytes = Limited::new(response.into_body(), RESPONSE_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| self.transport(path, chain(error.as_ref())))?
                .to_bytes();
            Ok((status, bytes))
        };
        tokio::time::timeout(self.deadline, work)
            .await
            .map_err(|_| self.late(path))?
    }

    async fn subscribe<T: DeserializeOwned + Send + 'static>(&self, path: &str) -> Result<EventStream<T>, ClientError> {
        let path = self.scoped(path.to_owned());
        let response = tokio::time::timeout(self.deadline, self.send(Method::GET, &path, FRAMES, None))
            .await
            .map_err(|_| self.late(&path))??;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(subscription::events(self.address, path, response.into_body()));
        }
        let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect();
        let bytes = tokio::time::timeout(self.deadline, body)
            .await
            .map_err(|_| self.late(&path))?
            .map_err(|error| self.transport(&path, chain(error.as_ref())))?
            .to_bytes();
        Err(self.refused(&path, status, &bytes))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(ACCEPT, accept);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, MSGPACK);
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| self.transport(path, error.to_string()))?;
        self.http.request(request).await.map_err(|error| {
            if error.is_connect() {
                ClientError::Unreachable {
                    address: self.address,
                    reason: chain(&error),
                }
            } else {
                self.transport(path, chain(&error))
            }
        })
    }

    /// Adds the instance to a path when one was chosen. Its characters are safe in an address.
    fn scoped(&self, path: String) -> String {
        match &self.instance {
            None => path,
            Some(instance) => {
                let separator = if path.contains('?') { '&' } else { '?' };
                format!("{path}{separator}instance={instance}")
            }
        }
    }

    fn late(&self, path: &str) -> ClientError {
        ClientError::Deadline {
            address: self.address,
            path: path.to_owned(),
            after: self.deadline,
        }
    }

    fn transport(&self, path: &str, reason: String) -> ClientError {
        ClientError::Transport {
            address: self.address,
            path: path.to_owned(),
            reason,
        }
    }

    fn malformed(&self, path: &str, reason: String) -> ClientError {
        ClientError::Malformed {
            address: self.address,
            path: path.to_owned(),
            reason,
        }
    }

    /// The error in a refusal's body, or one that shows how the body began.
    fn refused(&self, path: &str, status: u16, bytes: &[u8]) -> ClientError {
        let error = decode_body(bytes).unwrap_or_else(|_| ApiError {
            code: "unexpected_answer".to_owned(),
            message: String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned(),
            help: "check that this address is a node's control interface".to_owned(),
        });
        ClientError::Api {
            address: self.address,
            path: path.to_owned(),
            status,
            error,
        }
    }
}
