//! A deterministic world of nodes: links with random delays, a journal each, crashes and restarts.

pub(super) mod air;
mod disk;
mod promises;

use crate::{
    Event, Job, Node, Output, PeerIndex, Record, RecordNumber, Start, StoredBlock, Time,
    mutants::Knobs,
    wire::{Body, Frame, Plain},
};
use bytes::Bytes;
use disk::Disk;
use rand::{RngExt, rngs::ChaCha8Rng};
use regatta_api::{
    NodeConfig, PeerConfig,
    config::{InstanceConfig, MempoolConfig, SnapshotConfig, StoreConfig, ValidatorConfig, VoteTopology},
    view::SubmitResult,
};
use regatta_base::{Digest, Height, InstanceId, Keyring, SecretKey, TransactionId, decode, limits, seed};
use regatta_consensus::{MESSAGE_BYTES_MAX, Message};
use std::collections::{BTreeMap, BTreeSet};

/// A node with its disk.
struct Host {
    config: NodeConfig,
    node: Option<Node>,
    /// Grows with each start, so that what was meant for an earlier life is not delivered.
    life: u32,
    written: Vec<Record>,
    /// Records of this life that are durable; later ones are lost in a crash.
    durable: RecordNumber,
    /// Records that were on the disk when this life began, less those that were pruned since.
    base: i64,
    gated: Vec<(RecordNumber, Output)>,
    tick_at: Option<Time>,
    disk: Disk,
    pub(super) shelf: air::Shelf,
    /// Its journal was lost.
    forgot: bool,
}

impl Host {
    /// A block follows the one before, or the snapshot that was installed, as the real journal demands.
    fn assert_follows(&self, record: &Record) {
        let Record::Block { instance, height, .. } = record else {
            return;
        };
        let last = self.written.iter().rev().find_map(|record| match record {
            Record::Block {
                instance: of, height, ..
            }
            | Record::Installed { instance: of, height } => (of == instance).then_some(*height),
            _ => None,
        });
        assert!(
            last.is_none_or(|last| last + 1 == *height),
            "block {height} after {last:?}"
        );
    }

    /// Records that a crash leaves for certain.
    fn sure(&self) -> usize {
        (self.base + self.durable as i64) as usize
    }
}

/// Something that will happen.
enum Pending {
    Event(usize, u32, Event),
    Tick(usize, u32),
}

/// Sees each consensus message with its sender and receiver, and says whether it gets through.
pub(super) type Censor = Box<dyn FnMut(usize, usize, &Message) -> bool>;

/// All nodes and what is under way between them.
pub(super) struct World {
    pub(super) now: Time,
    hosts: Vec<Host>,
    pub(super) links: BTreeSet<(usize, usize)>,
    queue: BTreeMap<(Time, u64), Pending>,
    /// When the last frame on a directed link arrives: links keep order.
    arrival: BTreeMap<(usize, usize), Time>,
    number: u64,
    pub(super) rng: ChaCha8Rng,
    pub(super) replies: BTreeMap<u64, Vec<SubmitResult>>,
    /// Ids that a client was told to be final, with where.
    pub(super) told: Vec<(usize, TransactionId)>,
    pub(super) frames: u64,
    /// Signatures of statements that were checked.
    pub(super) checked: usize,
    /// Batches that were checked.
    pub(super) batches_checked: usize,
    /// Whose frames are lost but for those of consensus.
    pub(super) withholds: Option<usize>,
    pub(super) faults: Vec<(usize, String)>,
    /// Who accused whom of a fault.
    pub(super) accused: BTreeSet<(usize, usize)>,
    knobs: Knobs,
    pub(super) censor: Option<Censor>,
    /// Whose frames are noted in `heard`, with the peer that each comes from.
    pub(super) listener: Option<usize>,
    pub(super) heard: Vec<(PeerIndex, Bytes)>,
    next_request: u64,
    /// Every frame takes so long and everything else no time, instead of random times.
    pub(super) steady: Option<Time>,
}

pub(super) fn secret(index: usize) -> SecretKey {
    SecretKey::from_seed(seed::bytes(index as u64, "test node"))
}

pub(super) fn config(index: usize, validators: usize, edges: &[(usize, usize)]) -> NodeConfig {
    let address = |n: usize| format!("10.0.0.{}:7000", n + 1);
    let neighbours = edges
        .iter()
        .filter_map(|&(a, b)| if a == index { Some(b) } else { (b == index).then_some(a) });
    let peer = |n: usize| PeerConfig {
        name: format!("n{n}"),
        key: secret(n).public(),
        address: address(n).parse().unwrap(),
    };
    NodeConfig {
        chain: "test".parse().unwrap(),
        name: format!("n{index}"),
        key_file: "key.pem".to_owned(),
        data_dir: "data".to_owned(),
        ip: format!("10.0.0.{}", index + 1).parse().unwrap(),
        p2p_port: 7000,
        http_port: 7001,
        relay_votes: true,
        mempool: MempoolConfig {
            transactions_max: 500,
            ..MempoolConfig::default()
        },
        store: StoreConfig::default(),
        upgrade: Default::default(),
        testing: Default::default(),
        instances: vec![InstanceConfig {
            id: "main".parse().unwrap(),
            block_interval_ms: 10,
            empty_blocks: false,
            round_timeout_ms: 100,
            round_timeout_ms_max: 1000,
            silent_heights: 1,
            batch_bytes: 2000,
            batch_delay_ms: 4,
            vote_topology: VoteTopology::Relay,
            snapshots: SnapshotConfig::default(),
            validators: (0..validators)
                .map(|n| ValidatorConfig {
                    key: secret(n).public(),
                    weight: 1,
                })
                .collect(),
        }],
        peers: neighbours.map(peer).collect(),
    }
}

impl World {
    /// Starts `nodes` nodes of which the first `validators` vote; all links come up.
    pub(super) fn new(rng_seed: u64, nodes: usize, validators: usize, edges: &[(usize, usize)]) -> Self {
        Self::with_config(rng_seed, nodes, validators, edges, |_, config| config)
    }

    pub(super) fn with_config(
        rng_seed: u64,
        nodes: usize,
        validators: usize,
        edges: &[(usize, usize)],
        change: impl Fn(usize, NodeConfig) -> NodeConfig,
    ) -> Self {
        let host = |index| Host {
            config: change(index, config(index, validators, edges)),
            node: None,
            life: 0,
            written: Vec::new(),
            durable: 0,
            base: 0,
            gated: Vec::new(),
            tick_at: None,
            disk: Disk::default(),
            shelf: air::Shelf::default(),
            forgot: false,
        };
        let mut world = Self {
            now: 1,
            hosts: (0..nodes).map(host).collect(),
            links: BTreeSet::new(),
            queue: BTreeMap::new(),
            arrival: BTreeMap::new(),
            number: 0,
            rng: seed::rng(rng_seed, "world"),
            replies: BTreeMap::new(),
            told: Vec::new(),
            frames: 0,
            checked: 0,
            batches_checked: 0,
            withholds: None,
            faults: Vec::new(),
            accused: BTreeSet::new(),
            knobs: Knobs::default(),
            censor: None,
            listener: None,
            heard: Vec::new(),
            next_request: 0,
            steady: None,
        };
        (0..nodes).for_each(|index| world.start(index));
        edges.iter().for_each(|&(a, b)| world.connect(a, b));
        world
    }

    pub(super) fn node(&self, index: usize) -> &Node {
        self.hosts[index]
            .node
            .as_ref()
            .expect("the test asks for a node that runs")
    }

    pub(super) fn node_mut(&mut self, index: usize) -> &mut Node {
        self.hosts[index]
            .node
            .as_mut()
            .expect("the test asks for a node that runs")
    }

    /// Removes rules from every node, in this life and later ones.
    pub(super) fn break_rules(&mut self, knobs: Knobs) {
        self.knobs = knobs;
        for host in &mut self.hosts {
            host.node
                .iter_mut()
                .for_each(|node| node.chain_for_tests().break_rules(knobs));
        }
    }

    pub(super) fn is_up(&self, index: usize) -> bool {
        self.hosts[index].node.is_some()
    }

    pub(super) fn height(&self, index: usize) -> Height {
        self.node(index).latest().instances[0].height
    }

    /// The height of an instance that the node runs.
    pub(super) fn height_of(&self, index: usize, instance: &str) -> Height {
        let latest = self.node(index).latest();
        let of = latest.instances.iter().find(|of| of.instance.as_str() == instance);
        of.expect("the node runs the instance").height
    }

    pub(super) fn start(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let mut node = Node::new(&host.config, secret(index)).unwrap();
        node.chain_for_tests().break_rules(self.knobs);
        host.disk.restore(&host.config, &mut node);
        for record in host.written.clone() {
            node.replay(record).unwrap();
        }
        (host.base, host.durable, host.tick_at) = (host.written.len() as i64, 0, None);
        host.life += 1;
        let mut out = Vec::new();
        let start = if host.forgot {
            Start::Again {
                nonce: self.rng.random(),
            }
        } else {
            Start::New
        };
        node.start(self.now, start, &mut out);
        host.node = Some(node);
        self.perform(index, out);
        self.show_release(index);
    }

    /// Stops a node at once; records that were not durable are lost, in part or whole.
    pub(super) fn crash(&mut self, index: usize) {
        let neighbours: Vec<_> = (0..self.hosts.len())
            .filter(|&other| self.is_linked(index, other))
            .collect();
        neighbours.into_iter().for_each(|other| self.disconnect(index, other));
        let host = &mut self.hosts[index];
        host.node = None;
        host.gated.clear();
        host.disk.crash(&mut self.rng);
        let host = &mut self.hosts[index];
        let sure = host.sure();
        let kept = self.rng.random_range(sure..=host.written.len().max(sure));
        self.hosts[index].written.truncate(kept);
    }

    /// Loses the disk of a node that does not run.
    pub(super) fn forget(&mut self, index: usize) {
        self.hosts[index].written.clear();
        self.hosts[index].forgot = true;
    }

    pub(super) fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) {
        if self.is_up(a) && self.is_up(b) && self.links.insert((a.min(b), a.max(b))) {
            for (from, to) in [(a, b), (b, a)] {
                let peer = self.peer_index(to, from);
                self.later(2, Pending::Event(to, self.hosts[to].life, Event::PeerUp(peer)));
                self.arrival.insert((from, to), self.now + 2);
            }
        }
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            for (from, to) in [(a, b), (b, a)] {
                let peer = self.peer_index(to, from);
                // What was under way is lost with the connection.
                self.queue.retain(|_, pending| match pending {
                    Pending::Event(at, _, Event::Frame(p, _) | Event::PeerUp(p)) => (*at, *p) != (to, peer),
                    _ => true,
                });
                let gated = &mut self.hosts[to].gated;
                gated.retain(|(_, output)| !matches!(output, Output::Send { peer: p, .. } if *p == peer));
                self.step(to, Event::PeerDown(peer));
            }
        }
    }

    pub(super) fn peer_index(&self, at: usize, of: usize) -> PeerIndex {
        let key = secret(of).public();
        self.hosts[at]
            .config
            .peers
            .iter()
            .position(|peer| peer.key == key)
            .expect("only configured links are used")
    }

    fn index_of(&self, at: usize, peer: PeerIndex) -> usize {
        let key = self.hosts[at].config.peers[peer].key;
        (0..self.hosts.len())
            .find(|&n| secret(n).public() == key)
            .expect("every peer is a host")
    }

    fn delay(&mut self, random: std::ops::Range<Time>, steady: Time) -> Time {
        let drawn = self.rng.random_range(random);
        if self.steady.is_some() { steady } else { drawn }
    }

    fn later(&mut self, delay: Time, pending: Pending) {
        self.number += 1;
        self.queue.insert((self.now + delay, self.number), pending);
    }

    pub(super) fn submit(&mut self, index: usize, transactions: Vec<Bytes>) -> u64 {
        self.submit_to(index, None, transactions)
    }

    pub(super) fn submit_to(&mut self, index: usize, instance: Option<&str>, transactions: Vec<Bytes>) -> u64 {
        let instance = instance.map(|instance| instance.parse().unwrap());
        self.next_request += 1;
        let request = self.next_request;
        self.step(
            index,
            Event::Submit {
                request,
                instance,
                transactions,
            },
        );
        request
    }

    pub(super) fn step(&mut self, index: usize, event: Event) {
        let mut out = Vec::new();
        let now = self.now;
        if let Some(node) = &mut self.hosts[index].node {
            node.step(now, event, &mut out);
        }
        self.perform(index, out);
    }

    fn perform(&mut self, index: usize, outputs: Vec<Output>) {
        for output in outputs {
            self.perform_one(index, output);
        }
        let deadline = self.hosts[index].node.as_ref().and_then(Node::next_deadline);
        if let Some(at) = deadline
            && self.hosts[index].tick_at.is_none_or(|set| at < set)
        {
            let life = self.hosts[index].life;
            self.hosts[index].tick_at = Some(at);
            self.later(at.saturating_sub(self.now), Pending::Tick(index, life));
        }
    }

    fn perform_one(&mut self, index: usize, output: Output) {
        let life = self.hosts[index].life;
        match output {
            Output::Append(number, record) => {
                self.hosts[index].assert_follows(&record);
                self.hosts[index].written.push(record);
                let delay = self.delay(0..3, 0);
                self.later(delay, Pending::Event(index, life, Event::Durable(number)));
            }
            Output::Send { after, .. }
            | Output::Reply { after, .. }
            | Output::Statuses { after, .. }
            | Output::Block { after, .. }
                if after > self.hosts[index].durable =>
            {
                self.hosts[index].gated.push((after, output));
            }
            Output::Send { peer, frame, .. } => self.send(index, peer, frame),
            Output::Work(job, work) => {
                match &work {
                    Job::Claims(claims) => self.checked += claims.len(),
                    Job::Batch { .. } => self.batches_checked += 1,
                    _ => {}
                }
                let result = work.run(&mut Keyring::default(), &mut seed::rng(self.number, "jobs"));
                let delay = self.delay(0..2, 0);
                self.later(delay, Pending::Event(index, life, Event::Done(job, result)));
            }
            Output::Reply { request, results, .. } => {
                self.replies.insert(request, results);
            }
            Output::Load {
                request,
                instance,
                height,
            } => {
                let block = self.load_of(index, instance, height).map(Box::new);
                self.later(1, Pending::Event(index, life, Event::Loaded(request, block)));
            }
            Output::Snapshot(order) => self.perform_snapshot(index, order),
            Output::Release(order) => self.perform_release(index, order),
            Output::Statuses { event, .. } => self.told.extend(event.items.iter().map(|(id, _)| (index, *id))),
            Output::PeerFault { peer, reason } => {
                self.accused.insert((index, self.index_of(index, peer)));
                self.faults.push((index, reason));
            }
            Output::Block { .. } | Output::Count(..) | Output::Log(..) => {}
        }
    }

    fn send(&mut self, from: usize, peer: PeerIndex, frame: Bytes) {
        assert!(frame.len() <= limits::FRAME_BYTES_MAX, "a link ends with such a frame");
        let to = self.index_of(from, peer);
        if !self.is_linked(from, to) {
            return;
        }
        let Some(frame) = self.censored(from, to, frame) else {
            return;
        };
        self.frames += 1;
        let wish = self.now + self.delay(1..4, self.steady.unwrap_or_default());
        let at = *self
            .arrival
            .entry((from, to))
            .and_modify(|last| *last = wish.max(*last))
            .or_insert(wish);
        let (life, peer) = (self.hosts[to].life, self.peer_index(to, from));
        if self.listener == Some(to) {
            self.heard.push((peer, frame.clone()));
        }
        self.later(at - self.now, Pending::Event(to, life, Event::Frame(peer, frame)));
    }

    /// What the censor leaves of a frame.
    fn censored(&mut self, from: usize, to: usize, frame: Bytes) -> Option<Bytes> {
        let is_consensus = |frame: &Bytes| {
            let decoded = Frame::decode(frame);
            matches!(decoded, Ok(Frame::Plain(Plain::Instance(_, Body::Consensus(_)))))
        };
        if self.withholds == Some(from) && !is_consensus(&frame) {
            return None;
        }
        let Some(censor) = &mut self.censor else {
            return Some(frame);
        };
        let Ok(Frame::Plain(Plain::Instance(tag, Body::Consensus(mut messages)))) = Frame::decode(&frame) else {
            return Some(frame);
        };
        messages.retain(|bytes| censor(from, to, &decode(&bytes.0, MESSAGE_BYTES_MAX).unwrap()));
        (!messages.is_empty()).then(|| Plain::Instance(tag, Body::Consensus(messages)).encode())
    }

    /// What a node's journal has of a block of its first instance.
    pub(super) fn load(&self, index: usize, wanted: Height) -> Option<StoredBlock> {
        self.load_of(index, 0, wanted)
    }

    fn load_of(&self, index: usize, of: usize, wanted: Height) -> Option<StoredBlock> {
        let written = &self.hosts[index].written;
        let batch = |wanted: &Digest| {
            written.iter().find_map(|record| match record {
                Record::Batch { digest, bytes, .. } if digest == wanted => Some(bytes.0.clone()),
                _ => None,
            })
        };
        written.iter().find_map(|record| match record {
            Record::Block {
                instance,
                height,
                header,
                certificate,
                batches,
                ..
            } if (usize::from(*instance), *height) == (of, wanted) => Some(StoredBlock {
                header: header.0.clone(),
                certificate: certificate.0.clone(),
                batches: batches.iter().map(batch).collect::<Option<_>>()?,
            }),
            _ => None,
        })
    }

    /// Lets `duration` pass.
    pub(super) fn run(&mut self, duration: Time) {
        let end = self.now + duration;
        while let Some(entry) = self.queue.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let pending = entry.remove();
            self.now = at;
            self.happen(pending);
        }
        self.now = end;
    }

    fn happen(&mut self, pending: Pending) {
        match pending {
            Pending::Event(index, life, event) if life == self.hosts[index].life && self.is_up(index) => {
                if let Event::Snapshot(report) = &event {
                    self.note_report(index, report);
                }
                if let Event::Durable(number) = event {
                    let host = &mut self.hosts[index];
                    host.durable = host.durable.max(number);
                    let durable = host.durable;
                    let gated = std::mem::take(&mut host.gated);
                    let (free, gated) = gated.into_iter().partition(|(after, _)| *after <= durable);
                    host.gated = gated;
                    let free: Vec<(RecordNumber, Output)> = free;
                    self.perform(index, free.into_iter().map(|(_, output)| output).collect());
                }
                self.step(index, event);
            }
            Pending::Tick(index, life) if life == self.hosts[index].life && self.is_up(index) => {
                self.hosts[index].tick_at = None;
                self.step(index, Event::Tick);
            }
            _ => {}
        }
    }

    /// No two nodes may differ at a height that both have.
    pub(super) fn assert_agreement(&self) {
        let mut agreed: BTreeMap<(InstanceId, Height), (Digest, Digest)> = BTreeMap::new();
        for index in (0..self.hosts.len()).filter(|&index| self.is_up(index)) {
            assert!(
                self.node(index).readiness().1.find("halted").is_none(),
                "node {index} halted"
            );
            for instance in self.node(index).latest().instances {
                let id = instance.instance;
                let heights = 1..=instance.height;
                let blocks = heights.filter_map(|height| self.node(index).summaries(Some(&id), height, 1)?.pop());
                for block in blocks {
                    let found = (block.hash, block.state_root);
                    let expected = *agreed.entry((id.clone(), block.height)).or_insert(found);
                    assert_eq!(found, expected, "node {index} disagrees at {id} {}", block.height);
                }
            }
        }
    }
}
