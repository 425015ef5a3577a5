//! The node: instances over shared links.

mod reads;
mod releases;

use crate::{
    chain::{Chain, Origin},
    context::{Context, Counters},
    event::{Event, Output, PeerIndex, Protocol, SnapshotReport, Time},
    job::{Job, JobResult},
    neighbourhood::{Change, Neighbourhood, Role},
    record::Record,
    releases::Releases,
    snapshot::{Manifest, Restored},
    verification::{self, CLAIMS_MAX, Verification},
    wire::{Frame, Hello, InstanceHello, InstanceTag, PROTOCOL_VERSION, Plain, prefix},
};
use bytes::Bytes;
use regatta_api::{
    NodeConfig,
    view::{SnapshotView, SubmitResult},
};
use regatta_base::{Digest, Height, InstanceId, PublicKey, SecretKey};

/// How long a change of the neighbourhood waits for others before it is told, in milliseconds.
const TOPOLOGY_DELAY_MS: Time = 20;

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
    neighbours: Neighbourhood,
    releases: Releases,
    counters: Counters,
    verification: Verification,
    topology_at: Option<Time>,
    started: bool,
    /// The journal has records.
    replayed: bool,
    /// The journal was lost before, and what it says about any instance is no more than what came since.
    forgot: bool,
}

/// What whoever starts a node says about its earlier lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It had none: nothing was ever said with its key. Without a journal nobody else can know.
    New,
    /// It may have had some. Without a journal it then has to ask the others what it cannot have said.
    Again {
        /// A random number that no life before had.
        nonce: u64,
    },
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
        let instances = chains.iter().map(|chain| (chain.tag, role_of(chain)));
        let peers: Vec<PublicKey> = config.peers.iter().map(|peer| peer.key).collect();
        Ok(Self {
            releases: Releases::new(!config.upgrade.is_off(), prefix(&own.0)),
            neighbours: Neighbourhood::new(&own, &peers, instances),
            chain_digest: Digest::of("regatta chain v1", &[config.chain.as_str().as_bytes()]),
            secret,
            chains,
            counters: Counters::default(),
            verification: Verification::default(),
            topology_at: None,
            started: false,
            replayed: false,
            forgot: false,
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
        | Record::Evidence { instance, .. }
        | Record::Memory { instance, .. }
        | Record::Installed { instance, .. }) = &record;
        self.replayed = true;
        self.forgot |= matches!(
            record,
            Record::Memory {
                speaks_from: Height::MAX,
                ..
            }
        );
        let instance = usize::from(*instance);
        let unknown = || NodeError::Journal(format!("it has an instance {instance} that the configuration lacks"));
        self.chains.get_mut(instance).ok_or_else(unknown)?.replay(record)
    }

    /// Goes on from a checked snapshot of the instance at position `instance`, the newest one on the disk; before the
    /// first [`Node::replay`].
    pub fn restore(&mut self, instance: usize, restored: Restored) {
        if let Some(chain) = self.chains.get_mut(instance) {
            chain.restore(restored);
        }
    }

    /// Serves an older snapshot on the disk too, of the instance at position `instance`; before [`Node::start`].
    pub fn keep_snapshot(&mut self, instance: usize, manifest: Manifest) {
        if let Some(chain) = self.chains.get_mut(instance) {
            chain.keep_snapshot(manifest);
        }
    }

    /// The finished snapshots of all instances, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotView> {
        self.chains.iter().flat_map(Chain::snapshot_views).collect()
    }

    /// Begins. `now` is any time; later ones must not be smaller. The first thing that it asks for is a record of what
    /// it is, if there is none: once that is durable the next start is one again, whatever happens.
    pub fn start(&mut self, now: Time, start: Start, out: &mut Vec<Output>) {
        self.started = true;
        let nonce = match start {
            Start::New => 0,
            Start::Again { nonce } => nonce,
        };
        // An instance without a record is new to a journal that is whole, and unknown to one that was lost.
        let forgot = self.forgot || (!self.replayed && start != Start::New);
        for chain in 0..self.chains.len() {
            self.with(now, chain, out, |chain, ctx| {
                if let Some(record) = chain.remember(forgot) {
                    ctx.append(record);
                }
            });
        }
        for chain in 0..self.chains.len() {
            self.with(now, chain, out, |chain, ctx| chain.start(ctx, nonce));
        }
        self.update_roles(now, out);
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
                if let Some(parts) = self.verification.finish(job) {
                    self.verified(now, &parts, &result, out);
                } else if let Some((chain, purpose)) = self.counters.take_job(job) {
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
            Event::Snapshot(report) => self.snapshot(now, report, out),
            Event::Release(report) => self.release_report(now, report, out),
            Event::Tick => self.tick(now, out),
        }
        self.update_roles(now, out);
        self.take_turn(now, out);
        self.verify(now, out);
    }

    /// Tells the neighbours when blocks made this node a validator of an instance, or no longer one.
    fn update_roles(&mut self, now: Time, out: &mut Vec<Output>) {
        let change = self.neighbours.set_roles(self.chains.iter().map(role_of));
        if change.votes {
            self.topology_at.get_or_insert(now + TOPOLOGY_DELAY_MS);
        }
        if change.wants_votes {
            let peers: Vec<PeerIndex> = self.neighbours.up().collect();
            for peer in peers {
                self.greet(peer, out);
            }
        }
    }

    /// Starts the check of the signatures that wait in any instance, unless one runs.
    fn verify(&mut self, now: Time, out: &mut Vec<Output>) {
        if !self.verification.is_idle() {
            return;
        }
        let backlogs: Vec<usize> = self.chains.iter().map(Chain::unverified).collect();
        let (mut parts, mut claims) = (Vec::new(), Vec::new());
        for (chain, share) in verification::shares(&backlogs, CLAIMS_MAX).into_iter().enumerate() {
            let taken = self.chains[chain].take_claims(share);
            if !taken.is_empty() {
                parts.push((chain, taken.len()));
                claims.extend(taken);
            }
        }
        if let Some(&(first, _)) = parts.first() {
            let start = |_: &mut Chain, ctx: &mut Context<'_>| ctx.start(Job::Claims(claims));
            if let Some(job) = self.with(now, first, out, start) {
                self.verification.started(job, parts);
            }
        }
    }

    /// Hands each instance its part of a checked job.
    fn verified(&mut self, now: Time, parts: &[(usize, usize)], result: &JobResult, out: &mut Vec<Output>) {
        let JobResult::Claims(valid) = result else { return };
        let mut rest = valid.as_slice();
        for &(chain, count) in parts {
            let (own, after) = rest.split_at(count.min(rest.len()));
            rest = after;
            self.with(now, chain, out, |chain, ctx| chain.verified(ctx, own));
        }
    }

    /// When the next [`Event::Tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.chains
            .iter()
            .filter_map(Chain::next_deadline)
            .chain(self.topology_at)
            .chain(self.releases.next_deadline())
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
            neighbours,
            counters,
            chains,
            ..
        } = self;
        let links = neighbours.view(chain)?;
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
            let frame = Plain::Topology(self.neighbours.topology()).encode();
            for peer in self.neighbours.up() {
                out.push(link_frame(peer, frame.clone()));
            }
        }
        self.release_tick(now, out);
        for chain in 0..self.chains.len() {
            if self.chains[chain].next_deadline().is_some_and(|at| at <= now) {
                self.with(now, chain, out, |chain, ctx| chain.tick(ctx));
            }
        }
    }

    /// A link is authenticated: say who we are. It counts as up when the other side has done so too.
    fn greet(&mut self, peer: PeerIndex, out: &mut Vec<Output>) {
        if self.neighbours.connect(peer) {
            let instance = |chain: &Chain| InstanceHello {
                tag: chain.tag,
                height: chain.height(),
                wants_votes: chain.wants_votes(),
            };
            let hello = Hello {
                version: PROTOCOL_VERSION,
                chain: self.chain_digest,
                topology: self.neighbours.topology(),
                instances: self.chains.iter().map(instance).collect(),
            };
            out.push(link_frame(peer, Plain::Hello(hello).encode()));
        }
    }

    fn peer_down(&mut self, now: Time, peer: PeerIndex, out: &mut Vec<Output>) {
        self.releases.peer_down(peer);
        if self.neighbours.disconnect(peer) {
            self.topology_at.get_or_insert(now + TOPOLOGY_DELAY_MS);
            for chain in 0..self.chains.len() {
                self.with(now, chain, out, |chain, ctx| chain.peer_down(ctx, peer));
            }
        }
    }

    fn frame(&mut self, now: Time, peer: PeerIndex, bytes: &Bytes, out: &mut Vec<Output>) {
        let up = self.neighbours.is_up(peer);
        match Frame::decode(bytes) {
            Ok(Frame::Plain(Plain::Hello(hello))) => self.hello(now, peer, &hello, out),
            Ok(_) if !up => out.push(fault(peer, "a frame before the greeting")),
            Ok(Frame::Plain(Plain::Topology(topology))) => {
                let (lost, has_moved) = self.neighbours.set_topology(peer, &topology);
                for chain in 0..self.chains.len() {
                    self.with(now, chain, out, |chain, ctx| chain.cover_again(ctx, &lost));
                }
                if has_moved {
                    self.topology_at.get_or_insert(now + TOPOLOGY_DELAY_MS);
                }
            }
            Ok(Frame::Plain(Plain::Instance(tag, body))) => {
                self.tagged(now, peer, tag, out, |chain, ctx| chain.frame(ctx, peer, body));
            }
            Ok(Frame::Plain(Plain::Release(body))) => self.release_frame(now, peer, body, out),
            Ok(Frame::Batch(tag, batch)) => {
                self.tagged(now, peer, tag, out, |chain, ctx| chain.on_batch(ctx, peer, batch));
            }
            Err(error) => out.push(fault(peer, &format!("a frame that does not decode: {error}"))),
        }
    }

    fn snapshot(&mut self, now: Time, report: SnapshotReport, out: &mut Vec<Output>) {
        match report {
            SnapshotReport::Chunk(request, bytes) => {
                if let Some(load) = self.counters.take_chunk_load(request) {
                    self.with(now, load.instance, out, |chain, ctx| {
                        chain.on_chunk_loaded(ctx, load, bytes);
                    });
                }
            }
            SnapshotReport::Written { instance, .. } | SnapshotReport::Pruned { instance, .. } => {
                self.with(now, instance, out, |chain, ctx| chain.on_snapshot(ctx, &report));
            }
        }
    }

    /// Gives something of an instance to it, if both this node and the neighbour run it.
    fn tagged(
        &mut self,
        now: Time,
        peer: PeerIndex,
        tag: InstanceTag,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Chain, &mut Context<'_>),
    ) {
        let is_shared = |chain: &usize| {
            let links = self.neighbours.view(*chain);
            links.and_then(|links| links.get(peer)).is_some_and(|link| link.up)
        };
        let chain = self.chains.iter().position(|chain| chain.tag == tag).filter(is_shared);
        match chain {
            Some(chain) => drop(self.with(now, chain, out, act)),
            None => out.push(fault(peer, "a frame of an instance that the two nodes do not share")),
        }
    }

    fn hello(&mut self, now: Time, peer: PeerIndex, hello: &Hello, out: &mut Vec<Output>) {
        if hello.version != PROTOCOL_VERSION || hello.chain != self.chain_digest {
            out.push(fault(
                peer,
                "it belongs to another chain or speaks another version of the protocol",
            ));
            return;
        }
        let Some(changes) = self.neighbours.greet(peer, hello) else {
            return out.push(fault(peer, "a greeting on a link that is not up"));
        };
        self.topology_at.get_or_insert(now + TOPOLOGY_DELAY_MS);
        for (chain, change) in changes {
            self.with(now, chain, out, |chain, ctx| match change {
                Change::Up { height } => chain.peer_up(ctx, peer, height),
                Change::WantsVotes => chain.votes_wanted(ctx, peer),
            });
        }
        self.release_peer_up(now, peer, out);
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

    #[cfg(test)]
    pub(crate) fn tag_for_tests(&self) -> u64 {
        self.chains[0].tag
    }

    #[cfg(test)]
    pub(crate) fn chain_for_tests(&mut self) -> &mut Chain {
        &mut self.chains[0]
    }

    #[cfg(test)]
    pub(crate) fn tags_for_tests(&self) -> Vec<InstanceTag> {
        self.chains.iter().map(|chain| chain.tag).collect()
    }
}

fn role_of(chain: &Chain) -> Role {
    Role {
        votes: chain.is_validator(),
        wants_votes: chain.wants_votes(),
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
