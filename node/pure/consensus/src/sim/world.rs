//! Hosts, the faulty validator and the oracles together, without a network between them.

use super::{
    Sets,
    faulty::Faulty,
    host::{Host, Outgoing, Request},
    literal::Translator,
    moves::numbers_after,
    oracle::Oracle,
};
use crate::{Commit, Input, Message, Proposal, header_digest, mutants::Knobs};
use regatta_base::{Digest, Height};
use std::{collections::BTreeMap, fmt};

/// Numbers of second instances: this and the number of the node whose key they share.
pub(super) const TWINS_FROM: u16 = 100;

/// Who takes part, and what is to come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cast {
    pub(super) weights: Vec<u64>,
    /// Other weights from these heights on; nodes of weight 0 follow meanwhile.
    pub(super) changes: Vec<(Height, Vec<u64>)>,
    /// The validator that signs whatever it likes.
    pub(super) faulty: Option<u16>,
    /// Validators that run twice with one key.
    pub(super) twins: Vec<u16>,
    pub(super) followers: u16,
    /// Payload stays pending until so many blocks are decided.
    pub(super) target: Height,
    /// Whether leaders collect votes and tell everybody of the certificates.
    pub(super) aggregates: bool,
    /// Whether the literal model judges what honest nodes say.
    pub(super) literal: bool,
    pub(super) knobs: Knobs,
}

impl Cast {
    /// Validators of these weights, all honest, who want one block.
    pub(super) fn of(weights: &[u64]) -> Self {
        Self {
            weights: weights.to_vec(),
            changes: Vec::new(),
            faulty: None,
            twins: Vec::new(),
            followers: 0,
            target: 1,
            aggregates: false,
            literal: false,
            knobs: Knobs::default(),
        }
    }

    /// Reads `cast W.. [from H W..].. [faulty N] [twins N..] [followers N] [target N]
    /// [aggregates] [literal]`.
    pub(super) fn parse(line: &str, knobs: Knobs) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let first = |name: &str| numbers_after(&words, name).first().copied();
        let weights = |words: &[&str], name: &str| -> Vec<u64> {
            numbers_after(words, name).into_iter().map(u64::from).collect()
        };
        let changes = (0..words.len()).filter(|place| words[*place] == "from");
        let change = |place: usize| {
            let numbers = weights(&words[place..], "from");
            numbers
                .split_first()
                .map(|(height, weights)| (*height, weights.to_vec()))
        };
        Some(Self {
            weights: weights(&words, "cast"),
            changes: changes.map(change).collect::<Option<_>>()?,
            faulty: first("faulty"),
            twins: numbers_after(&words, "twins"),
            followers: first("followers").unwrap_or_default(),
            target: first("target").unwrap_or(1).into(),
            aggregates: words.contains(&"aggregates"),
            literal: words.contains(&"literal"),
            knobs,
        })
        .filter(|cast| !cast.weights.is_empty())
    }

    /// Nodes whose conduct nobody vouches for.
    pub(super) fn dishonest(&self) -> impl Iterator<Item = u16> {
        self.faulty.into_iter().chain(self.twins.iter().copied())
    }
}

impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cast")?;
        self.weights.iter().try_for_each(|weight| write!(f, " {weight}"))?;
        for (height, weights) in &self.changes {
            write!(f, " from {height}")?;
            weights.iter().try_for_each(|weight| write!(f, " {weight}"))?;
        }
        if let Some(faulty) = self.faulty {
            write!(f, " faulty {faulty}")?;
        }
        if !self.twins.is_empty() {
            f.write_str(" twins")?;
            self.twins.iter().try_for_each(|twin| write!(f, " {twin}"))?;
        }
        write!(f, " followers {} target {}", self.followers, self.target)?;
        f.write_str(if self.aggregates { " aggregates" } else { "" })?;
        f.write_str(if self.literal { " literal" } else { "" })
    }
}

/// Everybody but the network.
pub(super) struct World {
    pub(super) sets: Sets,
    /// Honest nodes: those that ever vote first, followers behind them, twins under numbers of their own.
    pub(super) hosts: BTreeMap<u16, Host>,
    pub(super) faulty: Option<Faulty>,
    pub(super) oracle: Oracle,
    pub(super) literal: Option<Translator>,
    pub(super) cast: Cast,
    /// How often somebody was accused.
    pub(super) evidence: usize,
    /// Decisions that somebody made public.
    public: BTreeMap<Height, Commit>,
    pub(super) headers: BTreeMap<Digest, Vec<u8>>,
}

impl World {
    /// Everybody at the start of a new chain.
    pub(super) fn new(cast: Cast) -> Self {
        let sets = Sets::new(&[vec![(1, cast.weights.clone())], cast.changes.clone()].concat());
        let count = cast.weights.len() as u16;
        let twins = cast.twins.iter().map(|twin| twin + TWINS_FROM);
        let all = (0..count + cast.followers).chain(twins);
        let honest = all.filter(|who| Some(*who) != cast.faulty);
        let host = |who: u16| {
            let key = who.checked_sub(TWINS_FROM).unwrap_or(who);
            let mut host = Host::new(&sets, key, cast.knobs);
            host.core.config.leader_aggregates = cast.aggregates;
            host.said = cast.literal.then(Vec::new);
            (who, host)
        };
        Self {
            hosts: honest.map(host).collect(),
            faulty: cast.faulty.map(|who| Faulty::new(&sets, who)),
            oracle: Oracle::new(cast.dishonest()),
            literal: cast.literal.then(|| Translator::new(&sets, cast.dishonest())),
            cast,
            evidence: 0,
            public: BTreeMap::new(),
            headers: BTreeMap::new(),
            sets,
        }
    }

    /// What the layer above answers to `request`, if it does.
    pub(super) fn answer(&mut self, who: u16, request: Request) -> Option<Input> {
        match request {
            Request::Build(height, _, _) if height > self.cast.target => None,
            Request::Build(height, round, parent) => {
                let life = self.hosts[&who].life;
                let mut label = format!("{who}.{height}.{round}.{life}");
                // Built twice for one round it is not the same block.
                while self.headers.contains_key(&header_digest(label.as_bytes())) {
                    label.push('+');
                }
                let header = self.make(&label);
                self.oracle.built_on(header_digest(&header), parent);
                Some(Input::Built { height, round, header })
            }
            Request::Validate(proposal) => Some(Input::Validated {
                height: proposal.vote.statement.height,
                round: proposal.vote.statement.round,
                digest: proposal.digest(),
                ok: !proposal.header.starts_with(b"bad") && self.follows(who, &proposal),
            }),
            Request::Apply(height) => Some(Input::Applied {
                height,
                validators: self.sets.change(height + 2),
            }),
            Request::Header(digest) => {
                // Of those that run and have it: what everybody lost nobody brings back.
                let found = self.hosts.values().find_map(|host| host.header(&digest));
                found.map(Input::Header)
            }
            Request::Sync => {
                let chain: Vec<Commit> = self.public_from(1);
                self.hosts.get_mut(&who)?.adopt(&chain)
            }
            Request::Behind(_) | Request::Timer(..) => None,
        }
    }

    /// Whether the header follows the last block of `who`, as far as it says what it follows.
    fn follows(&self, who: u16, proposal: &Proposal) -> bool {
        let last = self.hosts[&who].chain.last().map(Commit::digest);
        let parent = self.oracle.parent(&proposal.digest());
        parent.is_none_or(|parent| last == Some(parent))
    }

    /// Asks everybody that runs and remembers where they stand, on behalf of `who`; the input that follows.
    pub(super) fn recall(&mut self, who: u16) -> Option<Input> {
        let answers = self.hosts.iter().filter(|(other, host)| {
            let is_other = **other != who && **other < TWINS_FROM;
            is_other && host.alive && host.core.remembers()
        });
        let answers: Vec<(u16, Height)> = answers.map(|(other, host)| (*other, host.core.height())).collect();
        self.hosts.get_mut(&who)?.recall(&answers)
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
            self.evidence += 1;
            self.oracle.evidence(&self.sets, &evidence);
        }
        let mut messages = Vec::new();
        for outgoing in host.sync() {
            match outgoing {
                Outgoing::All(message) => {
                    self.oracle.sent(&self.sets, &message);
                    if let Some(literal) = &mut self.literal {
                        literal.sent(&message);
                    }
                    if let Some(faulty) = &mut self.faulty {
                        faulty.see(&message);
                    }
                    messages.push(message);
                }
                Outgoing::Decided(commit) => {
                    self.oracle.decision(&self.sets, usize::from(who), &commit);
                    if let Some(literal) = &mut self.literal {
                        literal.decided(who, &commit);
                    }
                    self.public.entry(commit.height()).or_insert(commit);
                }
            }
        }
        if let Some(literal) = &mut self.literal {
            self.oracle.violations.extend(literal.take_disputes());
        }
        messages
    }

    /// Lets the literal model judge what `who` said just now.
    pub(super) fn judge(&mut self, who: u16) {
        let (Some(host), Some(literal)) = (self.hosts.get_mut(&who), &mut self.literal) else {
            return;
        };
        for message in host.said.iter_mut().flat_map(std::mem::take) {
            literal.says(who, &message);
        }
        self.oracle.violations.extend(literal.take_disputes());
    }

    /// Lets the literal model judge how it all ended.
    pub(super) fn judge_end(&mut self) {
        if let Some(literal) = &mut self.literal {
            literal.finish(&self.oracle.decided);
            self.oracle.violations.extend(literal.take_disputes());
        }
    }

    /// Whether payload is pending at `who` (and its height should be told so).
    pub(super) fn has_work(&self, who: u16) -> bool {
        self.hosts[&who].core.height() <= self.cast.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_reads_back_from_its_text() {
        for line in [
            "cast 1 1 1 1 followers 0 target 1",
            "cast 3 1 4 from 3 3 1 0 from 5 3 2 1 faulty 1 followers 1 target 7 aggregates",
            "cast 1 1 1 1 1 1 1 faulty 0 twins 3 5 followers 0 target 2 literal",
        ] {
            assert_eq!(Cast::parse(line, Knobs::default()).unwrap().to_string(), line);
        }
        assert_eq!(Cast::parse("cast faulty 1", Knobs::default()), None);
    }
}
