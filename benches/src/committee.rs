//! Consensus cores that talk at once and without loss: what a block costs them in messages, bytes and log records.

use crate::samples;
use regatta_base::{Height, Signature, encode};
use regatta_consensus::{Config, Core, Effect, Input, Message, Scope, Validator, ValidatorSet};
use std::collections::VecDeque;

/// Size of a proposed header in bytes: about that of a block with a few batches.
const HEADER_BYTES: usize = 400;

/// What a block took, all cores together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Messages delivered from one core to another.
    pub messages: u64,
    /// Their encoded bytes.
    pub bytes: u64,
    /// Records of the write-ahead logs.
    pub records: u64,
    /// Their encoded bytes.
    pub record_bytes: u64,
}

/// Validators of equal weight, all linked with each other.
#[derive(Debug)]
pub struct Committee {
    scope: Scope,
    cores: Vec<Core>,
    queue: VecDeque<(usize, Input)>,
    height: Height,
}

impl Committee {
    /// `size` validators at height 1.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let member = |index| Validator {
            key: samples::key("validator", index).public(),
            weight: 1,
        };
        let set = ValidatorSet::new((0..size).map(member).collect()).expect("the members are few and distinct");
        let scope = Scope::new(&samples::chain(), &samples::instance(), set);
        let config = |index: usize| Config {
            scope: scope.clone(),
            next_scope: scope.clone(),
            key: Some(samples::key("validator", index).public()),
            timeout_base_ms: 1000,
            timeout_cap_ms: 10_000,
            silent_heights: 1,
            speaks_from: 0,
            leader_aggregates: false,
            height: 1,
        };
        let mut committee = Self {
            cores: (0..size).map(|index| Core::new(config(index))).collect(),
            scope,
            queue: (0..size).map(|index| (index, Input::Start)).collect(),
            height: 1,
        };
        committee.run(&mut None);
        committee
    }

    /// Decides one block; returns what it took when `count` is set, since counting means encoding.
    ///
    /// # Panics
    /// When the cores do not decide, which is a bug of theirs.
    pub fn decide(&mut self, count: bool) -> Option<Spent> {
        let mut spent = count.then(Spent::default);
        self.queue
            .extend((0..self.cores.len()).map(|index| (index, Input::Work)));
        self.run(&mut spent);
        self.height += 1;
        let all = self.cores.iter().all(|core| core.height() == self.height);
        assert!(all, "not every core has decided height {}", self.height - 1);
        spent
    }

    fn run(&mut self, spent: &mut Option<Spent>) {
        let mut effects = Vec::new();
        while let Some((index, input)) = self.queue.pop_front() {
            self.cores[index].step(input, &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(index, effect, spent);
            }
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect, spent: &mut Option<Spent>) {
        match effect {
            Effect::Persist(record) => {
                if let Some(spent) = spent {
                    spent.records += 1;
                    spent.record_bytes += encode(&record).len() as u64;
                }
            }
            Effect::SignSend(draft) => {
                // Cores check no signature, so that any will do.
                let message = draft.signed(Signature([7; 64]));
                self.queue.push_front((index, Input::Recv(message.clone())));
                self.send(index, &message, spent);
            }
            Effect::Broadcast(message) => self.send(index, &message, spent),
            // Only what is decided next is counted: there is no payload for what comes after.
            Effect::Build { height, .. } if height > self.height => {}
            Effect::Build { height, round, .. } => {
                let mut header = vec![0; HEADER_BYTES];
                header[..8].copy_from_slice(&height.to_be_bytes());
                self.queue.push_back((index, Input::Built { height, round, header }));
            }
            Effect::Validate(proposal) => {
                let statement = proposal.vote.statement;
                let answer = Input::Validated {
                    height: statement.height,
                    round: statement.round,
                    digest: proposal.digest(),
                    ok: true,
                };
                self.queue.push_back((index, answer));
            }
            Effect::Decide(commit) => {
                let height = commit.height();
                let validators = None;
                self.queue.push_back((index, Input::Applied { height, validators }));
            }
            // Nothing is late or lost here, so that there is nothing to repair.
            Effect::SetTimer { .. }
            | Effect::Prefetch(_)
            | Effect::Evidence(_)
            | Effect::NeedSync { .. }
            | Effect::NeedHeader { .. }
            | Effect::Behind { .. } => {}
        }
    }

    fn send(&mut self, from: usize, message: &Message, spent: &mut Option<Spent>) {
        let others = (0..self.cores.len()).filter(|to| *to != from);
        self.queue.extend(others.map(|to| (to, Input::Recv(message.clone()))));
        if let Some(spent) = spent {
            let copies = self.cores.len() as u64 - 1;
            spent.messages += copies;
            spent.bytes += copies * encode(message).len() as u64;
        }
    }

    /// The frame of every signature of this committee.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}
