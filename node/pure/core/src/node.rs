//! The node: instances over shared links.

use crate::{
    chain::{Chain, Origin},
    context::{Context, Counters},
    event::{Event, Output, PeerIndex, Protocol, Time},
    links::{DISTANCE_MAX, Links},
    record::{Record, StoredBlock},
    wire::{Frame, Hello, PROTOCOL_VERSION, Plain},
};
use bytes::Bytes;
use regatta_api::{
    NodeConfig,
    metrics::Metric,
    view::{AccountView, BlockSummary, BlockView, EvidenceView, Latest, StateView, SubmitResult, TransactionStatus},
};
use regatta_base::{Digest, Height, InstanceId, PublicKey, SecretKey, TransactionId};

/// How long a change of the neighbourhood waits for others before it is told, in milliseconds.
const TOPOLOGY_DELAY_MS: Time = 20;
/// Most short forms of blocks in one answer.
const SUMMARIES_MAX: usize = 10_000;

/// Why a node cannot be built or rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(String),
    /// The journal does not fit the configuration, or is damaged.
    #[error("journal: {0}")]
    Journal(String),
}

#[cfg(not(any(test, feature = "byzantine")))]
/// A program that others run follows the protocol, whatever its configuration says.
fn refuse_misconduct(config: &NodeConfig) -> Result<(), NodeError> {
    let behaviour = config.testing.behaviour;
    if behaviour == regatta_api::testing::Behaviour::Honest {
        return Ok(());
    }
    let reason = format!(
        "testing.behaviour = \"{behaviour}\" needs a program that was built for tests; help: remove the key, or build \
         regatta-node with --features byzantine"
    );
    Err(NodeError::Config(reason))
}

/// One full node.
#[derive(Debug)]
pub struct Node {
    secret: SecretKey,
    chain_digest: Digest,
    chains: Vec<Chain>,
    links: Links,
    /// Links that are up but whose greeting has not arrived.
    greeting: Vec<bool>,
    /// What the neighbours were told: whether this node wants votes.
    wants_votes: bool,
    counters: Counters,
    topology_at: Option<Time>,
    started: bool,
}

impl Node {
    /// A node that has never run.
    ///
    /// # Errors
    /// [`NodeError::Config`] names what contradicts itself.
    pub fn new(config: &NodeConfig, secret: SecretKey) -> Result<Self, NodeError> {
        config.check().map_err(|errors| NodeError::Config(errors.to_string()))?;
        #[cfg(not(any(test, feature = "byzantine")))]
        refuse_misconduct(config)?;
        let own = secret.public();
        let chains: Vec<Chain> = (0..config.instances.len())
            .map(|index| Chain::new(config, index, &secret))
            .collect::<Result<_, _>>()?;
        let is_validator = chains.iter().any(Chain::is_validator);
        Ok(Self {
            links: Links::new(&own, is_validator, config.peers.iter().map(|peer| peer.key)),
            chain_digest: Digest::of("regatta chain v1", &[config.chain.as_str().as_bytes()]),
            greeting: vec![false; config.peers.len()],
            wants_votes: chains.iter().any(Chain::wants_votes),
            secret,
            chains,
            counters: Counters::default(),
            topology_at: None,
            started: false,
        })
    }

    /// Takes back one record of an earlier run; all of them, in order, before [`Node::start`].
    ///
    /// # Errors
    /// [`NodeError::Journal`] when the record does not fit what came before it.
    pub fn replay(&mut self, record: Record) -> Result<(), NodeError> {
        let (Record::Consensus { instance, .. }
        | Record::Batch { instance, .. }
        | Record::Block { instance, .. }
        | Record::Evidence { instance, .. }) = &record;
        let instance = usize::from(*instance);
        let unknown = || NodeError::Journal(format!("it has an instance {instance} that the configuration lacks"));
        self.chains.get_mut(instance).ok_or_else(unknown)?.replay(record)
    }

    /// Begins. `now` is any time; later ones must not be smaller.
    pub fn start(&mut self, now: Time, out: &mut Vec<Output>) {
        self.started = true;
        for chain in 0..self.chains.len() {
            self.with(now, chain, out, |chain, ctx| chain.start(ctx));
        }
        self.update_role(now, out);
    }

    /// Takes one event and appends what is to be done to `out`.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::PeerUp(peer) => self.greet(peer, out),
            Event::PeerDown(peer) => self.peer_down(now, peer, out),
            Event::Frame(peer, bytes) => self.frame(now, peer, &bytes, out),
            Event::Submit {
                request,
                instance,
                transactions,
            } => {
                self.submit(now, request, instance.as_ref(), transactions, out);
            }
            Event::Done(job, result) => {
                if let Some((chain, purpose)) = self.counters.take_job(job) {
                    self.with(now, chain, out, |chain, ctx| chain.job_done(ctx, &purpose, result));
                }
            }
            Event::Durable(record) => self.counters.durable = self.counters.durable.max(record),
            Event::DiskFull(full) => self.counters.disk_full = full,
            Event::Loaded(request, block) => {
                if let Some((chain, peer)) = self.counters.take_load(request)
                    && let Some(block) = block
                {
                    self.with(now, chain, out, |chain, ctx| chain.on_loaded(ctx, peer, &block));
                }
            }
            Event::Tick => self.tick(now, out),
        }
        self.update_role(now, out);
    }

    /// Tells the neighbours when blocks made this node a validator, or no longer one.
    fn update_role(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.links.set_validator(self.chains.iter().any(Chain::is_validator)) {
            self.topology_at.get_or_insert(now + TOPOLOGY_DELAY_MS);
        }
        let wants_votes = self.chains.iter().any(Chain::wants_votes);
        if self.wants_votes != wants_votes {
            self.wants_votes = wants_votes;
            let peers: Vec<PeerIndex> = self.links.up().collect();
            for peer in peers {
                self.greet(peer, out);
            }
        }
    }

    /// When the next [`Event::Tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.chains
            .iter()
            .filter_map(Chain::next_deadline)
            .chain(self.topology_at)
            .min()
    }

    fn with<T>(
        &mut self,
        now: Time,
        chain: usize,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Chain, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let Self {
            secret,
            links,
            counters,
            chains,
            ..
        } = self;
        let mut ctx = Context {
            now,
            links,
            secret,
            chain,
            counters,
            out,
        };
        chains.get_mut(chain).map(|chain| act(chain, &mut ctx))
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.topology_at.is_some_and(|at| at <= now) {
            self.topology_at = None;
            let frame = Plain::Topology(self.links.topology()).encode();
            for peer in self.links.up() {
                out.push(link_frame(peer, frame.clone()));
            }
        }
        for chain in 0..self.chains.len() {
            if self.chains[chain].next_deadline().is_some_and(|at| at <= now) {
                self.with(now, chain, out, |chain, ctx| chain.tick(ctx));
            }
        }
    }

    /// A link is authenticated: say who we are. It counts as up when the other side has done so too.
    fn greet(&mut self, peer: PeerIndex, out: &mut Vec<Output>) {
        if let Some(greeting) = self.greeting.get_mut(peer) {
            *greeting = true;
            let hello = Hello {
                version: PROTOCOL_VERSION,
                chain: self.chain_digest,
                wants_votes: self.wants_votes,
                topology: self.links.topology(),
                heights: self.chains.iter().map(|chain| (chain.tag, chain.height())).collect(),
            };
            out.push(link_frame(peer, Plain::Hello(hello).encode()));
        }
    }

    fn peer_down(&mut self, now: Time, peer: PeerIndex, out: &mut Vec<Output>) {
        if let Some(greeting) = self.greeting.get_mut(peer) {
            *greeting = false;
        }
        if self.links.get(peer).is_some_and(|link| link.up) {
            self.links.set_down(peer);
            self.topology_at.get_or_insert(now + TOPOLOGY_DELAY_MS);
            for chain in 0..self.chains.len() {
                self.with(now, chain, out, |chain, ctx| chain.peer_down(ctx, peer));
            }
        }
    }

    fn frame(&mut self, now: Time, peer: PeerIndex, bytes: &Bytes, out: &mut Vec<Output>) {
        let up = self.links.get(peer).is_some_and(|link| link.up);
        match Frame::decode(bytes) {
            Ok(Frame::Plain(Plain::Hello(hello))) => self.hello(now, peer, &hello, out),
            Ok(_) if !up => out.push(fault(peer, "a frame before the greeting")),
            Ok(Frame::Plain(Plain::Topology(topology))) => {
                let before = self.links.distance();
                let lost = self.links.set_topology(peer, &topology);
                for chain in 0..self.chains.len() {
                    self.with(now, chain, out, |chain, ctx| chain.cover_again(ctx, &lost));
                }
                if self.links.distance() != before {
                    self.topology_at.get_or_insert(now + TOPOLOGY_DELAY_MS);
                }
            }
            Ok(Frame::Plain(Plain::Instance(tag, body))) => {
                if let Some(chain) = self.tagged(tag) {
                    self.with(now, chain, out, |chain, ctx| chain.frame(ctx, peer, body));
                }
            }
            Ok(Frame::Batch(tag, batch)) => {
                if let Some(chain) = self.tagged(tag) {
                    self.with(now, chain, out, |chain, ctx| chain.on_batch(ctx, peer, batch));
                }
            }
            Err(error) => out.push(fault(peer, &format!("a frame that does not decode: {error}"))),
        }
    }

    fn tagged(&self, tag: u64) -> Option<usize> {
        self.chains.iter().position(|chain| chain.tag == tag)
    }

    fn hello(&mut self, now: Time, peer: PeerIndex, hello: &Hello, out: &mut Vec<Output>) {
        if hello.version != PROTOCOL_VERSION || hello.chain != self.chain_digest {
            out.push(fault(
                peer,
                "it belongs to another chain or speaks another version of the protocol",
            ));
            return;
        }
        if !self.greeting.get(peer).copied().unwrap_or(false) {
            out.push(fault(peer, "a greeting on a link that is not up"));
            return;
        }
        let before = self.links.get(peer).map(|link| (link.up, link.wants_votes));
        let (was_up, wanted_votes) = before.unwrap_or_default();
        self.links.set_up(peer, hello.wants_votes, &hello.topology);
        self.topology_at.get_or_insert(now + TOPOLOGY_DELAY_MS);
        if was_up {
            let is_new = hello.wants_votes && !wanted_votes;
            for chain in (0..self.chains.len()).filter(|_| is_new) {
                self.with(now, chain, out, |chain, ctx| chain.votes_wanted(ctx, peer));
            }
            return;
        }
        for chain in 0..self.chains.len() {
            let tag = self.chains[chain].tag;
            if let Some(&(_, height)) = hello.heights.iter().find(|(theirs, _)| *theirs == tag) {
                self.with(now, chain, out, |chain, ctx| chain.peer_up(ctx, peer, height));
            }
        }
    }

    fn submit(
        &mut self,
        now: Time,
        request: u64,
        instance: Option<&InstanceId>,
        transactions: Vec<Bytes>,
        out: &mut Vec<Output>,
    ) {
        let chain = self.instance_index(instance).filter(|_| self.started);
        match chain {
            Some(chain) => {
                self.with(now, chain, out, |chain, ctx| {
                    chain.submit(ctx, Origin::Client(request), transactions);
                    chain.after_submit(ctx);
                });
            }
            None => {
                let refused = SubmitResult {
                    id: None,
                    rejected: Some(regatta_api::Reject::NotReady),
                };
                out.push(Output::Reply {
                    request,
                    results: vec![refused; transactions.len()],
                    after: 0,
                });
            }
        }
    }

    /// Position of an instance in the configuration; the first one for `None`.
    #[must_use]
    pub fn instance_index(&self, instance: Option<&InstanceId>) -> Option<usize> {
        match instance {
            None => Some(0),
            Some(id) => self.chains.iter().position(|chain| chain.id == *id),
        }
    }

    fn find(&self, instance: Option<&InstanceId>) -> Option<&Chain> {
        self.chains.get(self.instance_index(instance)?)
    }

    /// How far every instance is.
    #[must_use]
    pub fn latest(&self) -> Latest {
        Latest {
            instances: self.chains.iter().map(Chain::latest).collect(),
        }
    }

    /// Whether the node is catching up, and what it waits for before it takes transactions (empty when ready).
    #[must_use]
    pub fn readiness(&self) -> (bool, String) {
        let catching_up = self.chains.iter().any(Chain::is_catching_up);
        let halted = self.chains.iter().find_map(|chain| chain.halted());
        let waiting_for = match halted {
            Some(reason) => reason.to_owned(),
            None if !self.started => "the journal to be replayed".to_owned(),
            None if catching_up => "blocks that its neighbours have decided".to_owned(),
            None if self.links.len() > 0 && self.links.up().next().is_none() => "a first link to a peer".to_owned(),
            None if self.links.distance() >= DISTANCE_MAX => "a path to a validator".to_owned(),
            None => String::new(),
        };
        (catching_up, waiting_for)
    }

    /// Where a transaction stands; `None` for an unknown instance.
    #[must_use]
    pub fn status(&self, instance: Option<&InstanceId>, id: &TransactionId) -> Option<TransactionStatus> {
        self.find(instance).map(|chain| chain.status(id, self.counters.durable))
    }

    /// A sender's next sequence number; `None` for an unknown instance.
    #[must_use]
    pub fn account(&self, instance: Option<&InstanceId>, key: &PublicKey) -> Option<AccountView> {
        self.find(instance).map(|chain| chain.account(key))
    }

    /// A value of the state; `None` for an unknown instance.
    #[must_use]
    pub fn state(&self, instance: Option<&InstanceId>, key: &[u8]) -> Option<StateView> {
        self.find(instance).map(|chain| chain.state(key))
    }

    /// Proofs that validators contradicted themselves; `None` for an unknown instance.
    #[must_use]
    pub fn evidence(&self, instance: Option<&InstanceId>) -> Option<Vec<EvidenceView>> {
        self.find(instance).map(|chain| chain.evidence(self.counters.durable))
    }

    /// Consecutive short forms of blocks from `from` on, at most 10,000; `None` for an unknown instance.
    #[must_use]
    pub fn summaries(&self, instance: Option<&InstanceId>, from: Height, count: usize) -> Option<Vec<BlockSummary>> {
        let chain = self.find(instance)?;
        let first = from.max(1);
        let heights = (0..count.min(SUMMARIES_MAX) as Height).map_while(|offset| first.checked_add(offset));
        Some(heights.map_while(|height| chain.summary(height)).collect())
    }

    /// A whole block, given what the journal keeps of it; `None` when there is no such block.
    #[must_use]
    pub fn block(&self, instance: Option<&InstanceId>, height: Height, stored: &StoredBlock) -> Option<BlockView> {
        self.find(instance)?.block(height, stored)
    }

    #[cfg(test)]
    pub(crate) fn tag_for_tests(&self) -> u64 {
        self.chains[0].tag
    }

    /// Current values of the gauges that the core knows.
    #[must_use]
    pub fn gauges(&self) -> Vec<(Metric, u64)> {
        let height = self.chains.iter().map(Chain::height).max().unwrap_or(0);
        let (count, bytes) = self
            .chains
            .iter()
            .map(Chain::pending)
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        vec![
            (Metric::Height, height),
            (Metric::TransactionsPending, count),
            (Metric::MempoolBytes, bytes),
        ]
    }
}

fn link_frame(peer: PeerIndex, frame: Bytes) -> Output {
    let class = crate::TrafficClass::Control;
    Output::Send {
        peer,
        frame,
        protocol: Protocol::Link,
        class,
        after: 0,
    }
}

fn fault(peer: PeerIndex, reason: &str) -> Output {
    Output::PeerFault {
        peer,
        reason: reason.to_owned(),
    }
}
