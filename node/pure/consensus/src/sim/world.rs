//! Hosts, the faulty validator and the oracles together, without a network between them.

use super::{
    Sets,
    faulty::Faulty,
    host::{Host, Outgoing, Request},
    oracle::Oracle,
};
use crate::{Commit, Input, Message, header_digest, mutants::Knobs};
use regatta_base::{Digest, Height};
use std::collections::BTreeMap;

/// Everybody but the network.
pub(super) struct World {
    pub(super) sets: Sets,
    /// Honest nodes: those that ever vote first, followers behind them.
    pub(super) hosts: BTreeMap<u16, Host>,
    pub(super) faulty: Option<Faulty>,
    pub(super) oracle: Oracle,
    /// Payload stays pending until so many blocks are decided.
    pub(super) target: Height,
    /// Decisions that somebody made public.
    public: BTreeMap<Height, Commit>,
    headers: BTreeMap<Digest, Vec<u8>>,
}

impl World {
    /// Validators of these weights, of which `faulty` is not honest, and some followers.
    pub(super) fn new(weights: &[u64], faulty: Option<u16>, followers: u16, knobs: Knobs) -> Self {
        Self::changing(&[(1, weights.to_vec())], faulty, followers, knobs)
    }

    /// The same with other weights from each of these heights on; nodes of weight 0 follow meanwhile.
    pub(super) fn changing(weights: &[(Height, Vec<u64>)], faulty: Option<u16>, followers: u16, knobs: Knobs) -> Self {
        let sets = Sets::new(weights);
        let count = weights[0].1.len() as u16;
        let host = |index: u16| (index, Host::new(&sets, index, knobs));
        let honest = (0..count + followers).filter(|index| Some(*index) != faulty);
        Self {
            hosts: honest.map(host).collect(),
            faulty: faulty.map(|index| Faulty::new(&sets, index)),
            oracle: Oracle::default(),
            target: 1,
            public: BTreeMap::new(),
            headers: BTreeMap::new(),
            sets,
        }
    }

    /// What the layer above answers to `request`, if it does.
    pub(super) fn answer(&mut self, who: u16, request: Request) -> Option<Input> {
        match request {
            Request::Build(height, round) => {
                let life = self.hosts[&who].life;
                let header = self.make(&format!("{who}.{height}.{round}.{life}"));
                Some(Input::Built { height, round, header })
            }
            Request::Validate(proposal) => Some(Input::Validated {
                height: proposal.vote.statement.height,
                round: proposal.vote.statement.round,
                digest: proposal.digest(),
                ok: !proposal.header.starts_with(b"bad"),
            }),
            Request::Apply(height) => Some(Input::Applied {
                height,
                validators: self.sets.change(height + 2),
            }),
            Request::Header(digest) => self.headers.get(&digest).cloned().map(Input::Header),
            Request::Sync => {
                let chain: Vec<Commit> = self.public_from(1);
                self.hosts.get_mut(&who)?.adopt(&chain)
            }
            Request::Behind(_) | Request::Timer(..) => None,
        }
    }

    /// A header that may be decided.
    pub(super) fn make(&mut self, label: &str) -> Vec<u8> {
        let digest = header_digest(label.as_bytes());
        self.oracle.built(digest);
        self.headers.insert(digest, label.as_bytes().to_vec());
        label.as_bytes().to_vec()
    }

    /// Public decisions from `height` on, without a gap.
    pub(super) fn public_from(&self, height: Height) -> Vec<Commit> {
        (height..)
            .map_while(|height| self.public.get(&height).cloned())
            .collect()
    }

    /// Makes the log of `who` durable; returns the messages that may leave now.
    pub(super) fn release(&mut self, who: u16) -> Vec<Message> {
        let Some(host) = self.hosts.get_mut(&who) else {
            return Vec::new();
        };
        for evidence in std::mem::take(&mut host.evidence) {
            let faulty = self.faulty.as_ref().map(|faulty| faulty.who);
            self.oracle.evidence(&self.sets, &evidence, faulty);
        }
        let mut messages = Vec::new();
        for outgoing in host.sync() {
            match outgoing {
                Outgoing::All(message) => {
                    self.oracle.sent(&self.sets, &message);
                    if let Some(faulty) = &mut self.faulty {
                        faulty.see(&message);
                    }
                    messages.push(message);
                }
                Outgoing::Decided(commit) => {
                    self.oracle.decision(&self.sets, usize::from(who), &commit);
                    self.public.entry(commit.height()).or_insert(commit);
                }
            }
        }
        messages
    }

    /// Whether payload is pending at `who` (and its height should be told so).
    pub(super) fn has_work(&self, who: u16) -> bool {
        self.hosts[&who].core.height() <= self.target
    }
}
