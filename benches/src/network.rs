//! Whole nodes in virtual time: what blocks with transactions cost them in frames and bytes by protocol.

use crate::samples;
use bytes::Bytes;
use regatta_api::{
    NodeConfig, PeerConfig,
    config::{InstanceConfig, MempoolConfig, SnapshotConfig, StoreConfig, ValidatorConfig, VoteTopology},
};
use regatta_base::{Height, Keyring, PublicKey, encode, seed};
use regatta_core::{Event, Node, Output, Protocol, RecordNumber, Start, Time};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// Time of a frame on its way, and of a record on its way to the disk, in milliseconds.
const DELAY_MS: Time = 1;
/// Longest virtual time that anything here may take, in milliseconds.
const PATIENCE_MS: Time = 60_000;

/// Virtual time in which the last votes of a block arrive and the graph gets known, in milliseconds: less than that after
/// which a network without work tells how far it is.
const REST_MS: Time = 300;

/// What was counted, all nodes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames of consensus.
    pub consensus_frames: u64,
    /// Their bytes.
    pub consensus_bytes: u64,
    /// Frames of transactions and batches.
    pub payload_frames: u64,
    /// Their bytes.
    pub payload_bytes: u64,
    /// Records in journals.
    pub records: u64,
    /// Their encoded bytes.
    pub record_bytes: u64,
}

/// Nodes of which all vote.
#[derive(Debug)]
pub struct Network {
    now: Time,
    nodes: Vec<Node>,
    /// For each node the indices of its peers, in the order of its configuration.
    peers: Vec<Vec<usize>>,
    durable: Vec<RecordNumber>,
    gated: Vec<Vec<(RecordNumber, usize, Bytes)>>,
    queue: BTreeMap<(Time, u64), (usize, Event)>,
    number: u64,
    count: Traffic,
}

impl Network {
    /// `size` validators whose links are up: all with each other, or with a `degree` a ring of which each is linked
    /// with the nearest and with some far ones, so that it is sparse and its diameter small.
    ///
    /// # Panics
    /// When the nodes do not get ready, which is a bug of theirs.
    #[must_use]
    pub fn new(size: usize, degree: Option<usize>, topology: VoteTopology) -> Self {
        let is_linked = |from: usize, to: usize| {
            let ways = [(to + size - from) % size, (from + size - to) % size];
            degree.is_none_or(|degree| ways.iter().any(|way| steps(size, degree).contains(way)))
        };
        let others = |index: usize| {
            let others = (0..size).filter(|other| *other != index && is_linked(index, *other));
            others.collect::<Vec<usize>>()
        };
        let node = |index: usize| {
            let config = config((index, size), &others(index), topology);
            Node::new(&config, samples::key("validator", index)).expect("the configuration is sound")
        };
        let mut network = Self {
            now: 1,
            nodes: (0..size).map(node).collect(),
            peers: (0..size).map(others).collect(),
            durable: vec![0; size],
            gated: vec![Vec::new(); size],
            queue: BTreeMap::new(),
            number: 0,
            count: Traffic::default(),
        };
        for index in 0..size {
            let mut out = Vec::new();
            network.nodes[index].start(network.now, Start::New, &mut out);
            network.perform(index, out);
            for peer in 0..network.peers[index].len() {
                network.step(index, Event::PeerUp(peer));
            }
        }
        network.run_until(|network| network.nodes.iter().all(|node| node.readiness().1.is_empty()));
        network
    }

    /// Hands `transactions` to node 0 and lets all nodes execute them; returns the height after that.
    ///
    /// # Panics
    /// When the nodes do not decide, which is a bug of theirs.
    pub fn execute(&mut self, transactions: Vec<Bytes>) -> Height {
        let wanted = self.executed(0) + transactions.len() as u64;
        let submission = Event::Submit {
            request: self.number,
            instance: None,
            transactions,
        };
        self.step(0, submission);
        self.run_until(|network| (0..network.nodes.len()).all(|index| network.executed(index) >= wanted));
        self.nodes[0].latest().instances[0].height
    }

    /// Lets everything that is on its way arrive.
    pub fn rest(&mut self) {
        let end = self.now + REST_MS;
        while self.next_at().is_some_and(|at| at <= end) {
            self.advance();
        }
        self.now = end;
    }

    /// When something happens next.
    fn next_at(&self) -> Option<Time> {
        let event = self.queue.keys().next().map(|(at, _)| *at);
        let deadline = self.nodes.iter().filter_map(Node::next_deadline).min();
        event.into_iter().chain(deadline).min()
    }

    /// Everything counted so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.count
    }

    fn executed(&self, index: usize) -> u64 {
        let blocks = self.nodes[index].summaries(None, 1, usize::MAX).unwrap_or_default();
        blocks.iter().map(|block| u64::from(block.transactions)).sum()
    }

    fn run_until(&mut self, holds: impl Fn(&Self) -> bool) {
        let end = self.now + PATIENCE_MS;
        while !holds(self) {
            assert!(self.now < end, "the nodes came to nothing within {PATIENCE_MS} ms");
            self.advance();
        }
    }

    /// Goes to the next time at which something happens, and lets it happen.
    fn advance(&mut self) {
        self.now = self.next_at().unwrap_or(self.now).max(self.now);
        let due = self.queue.split_off(&(self.now + 1, 0));
        for (_, (index, event)) in std::mem::replace(&mut self.queue, due) {
            self.step(index, event);
        }
        for index in 0..self.nodes.len() {
            if self.nodes[index].next_deadline().is_some_and(|at| at <= self.now) {
                self.step(index, Event::Tick);
            }
        }
    }

    fn step(&mut self, index: usize, event: Event) {
        if let Event::Durable(number) = event {
            self.durable[index] = self.durable[index].max(number);
            let durable = self.durable[index];
            let gated = std::mem::take(&mut self.gated[index]);
            for (after, peer, frame) in gated {
                self.send(index, after, durable, (peer, frame));
            }
        }
        let mut out = Vec::new();
        self.nodes[index].step(self.now, event, &mut out);
        self.perform(index, out);
    }

    fn perform(&mut self, index: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Append(number, record) => {
                    self.count.records += 1;
                    self.count.record_bytes += encode(&record).len() as u64;
                    self.later(index, Event::Durable(number));
                }
                Output::Send {
                    peer,
                    frame,
                    protocol,
                    after,
                    ..
                } => {
                    self.note(protocol, frame.len() as u64);
                    let durable = self.durable[index];
                    self.send(index, after, durable, (peer, frame));
                }
                Output::Work(job, work) => {
                    let result = work.run(&mut Keyring::default(), &mut seed::rng(self.number, "jobs"));
                    self.later(index, Event::Done(job, result));
                }
                // Nobody reads the answers here, nothing is loaded, and no peer is faulty.
                _ => {}
            }
        }
    }

    fn note(&mut self, protocol: Protocol, bytes: u64) {
        match protocol {
            Protocol::Consensus => {
                self.count.consensus_frames += 1;
                self.count.consensus_bytes += bytes;
            }
            Protocol::Payload => {
                self.count.payload_frames += 1;
                self.count.payload_bytes += bytes;
            }
            // Set-up and catch-up are no part of what a block costs.
            Protocol::Sync | Protocol::Link => {}
        }
    }

    fn send(&mut self, from: usize, after: RecordNumber, durable: RecordNumber, (peer, frame): (usize, Bytes)) {
        if after > durable {
            self.gated[from].push((after, peer, frame));
            return;
        }
        let to = self.peers[from][peer];
        let back = self.peers[to].iter().position(|other| *other == from);
        self.later(to, Event::Frame(back.unwrap_or_default(), frame));
    }

    fn later(&mut self, index: usize, event: Event) {
        self.number += 1;
        self.queue.insert((self.now + DELAY_MS, self.number), (index, event));
    }
}

fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + index as u32))
}

/// How far the links of each node of a ring of `size` reach, `degree / 2` of them: 1, and powers of the same base.
fn steps(size: usize, degree: usize) -> Vec<usize> {
    let half = degree / 2;
    let mut base = 1;
    while usize::pow(base + 1, half as u32) <= size {
        base += 1;
    }
    (0..half as u32).map(|power| usize::pow(base, power)).collect()
}

pub(crate) fn config((index, size): (usize, usize), others: &[usize], vote_topology: VoteTopology) -> NodeConfig {
    let public = |index: usize| -> PublicKey { samples::key("validator", index).public() };
    let peer = |other: &usize| PeerConfig {
        name: format!("val-{other}"),
        key: public(*other),
        address: SocketAddr::new(address(*other), 7000),
    };
    let validator = |index: usize| ValidatorConfig {
        key: public(index),
        weight: 1,
    };
    NodeConfig {
        chain: samples::chain(),
        name: format!("val-{index}"),
        key_file: String::new(),
        data_dir: String::new(),
        ip: address(index),
        p2p_port: 7000,
        http_port: 7001,
        relay_votes: true,
        mempool: MempoolConfig::default(),
        store: StoreConfig::default(),
        upgrade: Default::default(),
        testing: Default::default(),
        instances: vec![InstanceConfig {
            id: samples::instance(),
            block_interval_ms: 10,
            empty_blocks: false,
            round_timeout_ms: 500,
            round_timeout_ms_max: 5000,
            silent_heights: 1,
            batch_bytes: 64 * 1024,
            batch_delay_ms: 2,
            vote_topology,
            snapshots: SnapshotConfig::default(),
            validators: (0..size).map(validator).collect(),
        }],
        peers: others.iter().map(peer).collect(),
    }
}
