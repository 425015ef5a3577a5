//! One honest node of the simulator: a core, its log, what waits for the log, and its crashes.

use super::{Sets, disk::Damage, key, sign};
use crate::{
    Amnesia, Commit, Config, Content, Core, Draft, Effect, Evidence, Input, Message, Proposal, Recall, Statement,
    WalRecord, header_digest, mutants::Knobs,
};
use regatta_base::{Digest, Height, Round};
use std::collections::{BTreeSet, VecDeque};

/// What leaves a host once its log is durable.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // test code
pub(super) enum Outgoing {
    All(Message),
    Decided(Commit),
}

/// What a core asked the layer above to do.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // test code
pub(super) enum Request {
    Build(Height, Round, Option<Digest>),
    Validate(Proposal),
    Apply(Height),
    Sync,
    Header(Digest),
    Behind(Height),
    Timer(u64, u64),
}

impl Request {
    /// Its name in scripts.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Build(..) => "build",
            Self::Validate(_) => "validate",
            Self::Apply(_) => "apply",
            Self::Sync => "sync",
            Self::Header(_) => "header",
            Self::Behind(_) => "behind",
            Self::Timer(..) => "timer",
        }
    }
}

/// An honest node.
pub(super) struct Host {
    /// Whose key it has.
    pub(super) who: u16,
    pub(super) core: Core,
    pub(super) alive: bool,
    /// Counts restarts, so that timers and answers of an earlier life are dropped.
    pub(super) life: u32,
    pub(super) requests: Vec<Request>,
    pub(super) evidence: Vec<Evidence>,
    /// What it said, for whoever wants to know it before it leaves.
    pub(super) said: Option<Vec<Message>>,
    /// What it did, for whoever writes it down.
    pub(super) done: Option<Vec<Effect>>,
    /// Decided blocks that are executed; those beyond `durable_chain` are lost in a crash.
    pub(super) chain: Vec<Commit>,
    durable_chain: usize,
    log: Vec<WalRecord>,
    durable_log: usize,
    /// The first height at which it may speak.
    speaks_from: Height,
    /// What it heard since it lost its log.
    pub(super) amnesia: Option<Amnesia>,
    waiting: Vec<Outgoing>,
    effects: VecDeque<Effect>,
    knobs: Knobs,
    sets: Sets,
}

impl Host {
    pub(super) fn new(sets: &Sets, who: u16, knobs: Knobs) -> Self {
        Self {
            who,
            core: Core::recover_with(config(sets, who, 1), &[], knobs),
            alive: true,
            life: 0,
            requests: Vec::new(),
            evidence: Vec::new(),
            said: None,
            done: None,
            chain: Vec::new(),
            durable_chain: 0,
            log: Vec::new(),
            durable_log: 0,
            speaks_from: 0,
            amnesia: None,
            waiting: Vec::new(),
            effects: VecDeque::new(),
            knobs,
            sets: sets.clone(),
        }
    }

    /// Gives `input` to the core and carries out at most `limit` of the effects that follow.
    pub(super) fn input(&mut self, input: Input, limit: usize) {
        if !self.alive {
            return;
        }
        self.step(input);
        for _ in 0..limit {
            let Some(effect) = self.effects.pop_front() else { return };
            self.carry_out(effect);
        }
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.core.step(input, &mut out);
        self.effects.extend(out);
    }

    fn carry_out(&mut self, effect: Effect) {
        if let Some(done) = &mut self.done {
            done.push(effect.clone());
        }
        match effect {
            Effect::Persist(record) => self.log.push(record),
            Effect::SignSend(draft) => {
                let message = self.sign(draft);
                self.waiting.push(Outgoing::All(message.clone()));
                if let Some(said) = &mut self.said {
                    said.push(message.clone());
                }
                self.step(Input::Recv(message));
            }
            Effect::Broadcast(message) => self.waiting.push(Outgoing::All(message)),
            Effect::Decide(commit) => {
                self.requests.push(Request::Apply(commit.height()));
                if self.chain.len() as Height + 1 == commit.height() {
                    self.chain.push(commit.clone());
                }
                self.waiting.push(Outgoing::Decided(commit));
            }
            Effect::Evidence(evidence) => self.evidence.push(evidence),
            Effect::SetTimer { id, after_ms } => self.requests.push(Request::Timer(id, after_ms)),
            Effect::Build { height, round, parent } => {
                let parent = parent.map(|parent| header_digest(&parent));
                self.requests.push(Request::Build(height, round, parent));
            }
            Effect::Prefetch(_) => {}
            Effect::Validate(proposal) => self.requests.push(Request::Validate(proposal)),
            Effect::NeedSync { .. } => self.requests.push(Request::Sync),
            Effect::NeedHeader { digest, .. } => self.requests.push(Request::Header(digest)),
            Effect::Behind { height } => self.requests.push(Request::Behind(height)),
        }
    }

    fn sign(&self, draft: Draft) -> Message {
        let scope = self.sets.at(draft.statement.height);
        let signature = sign(scope, draft.signer, &draft.statement);
        draft.signed(signature)
    }

    /// The statements that its log holds.
    pub(super) fn logged(&self) -> BTreeSet<Statement> {
        let statement = |record: &WalRecord| {
            let (height, round, content) = match record {
                WalRecord::Propose {
                    height, round, header, ..
                } => (*height, *round, Content::Propose(header_digest(header))),
                WalRecord::Vote1 { height, round, digest } => (*height, *round, Content::Vote1(*digest)),
                WalRecord::FirstVote { height, round, header } => {
                    (*height, *round, Content::Vote1(header_digest(header)))
                }
                WalRecord::Vote2 { quorum } => (quorum.height, quorum.round, Content::Vote2(quorum.digest)),
                WalRecord::Timeout { height, round, high } => {
                    let stated = high.as_ref().map(|high| high.round);
                    (*height, *round, Content::Timeout(stated))
                }
                WalRecord::Entry(_) | WalRecord::Decide(_) => return None,
            };
            Some(Statement { height, round, content })
        };
        self.log.iter().filter_map(statement).collect()
    }

    /// Makes the log durable and hands over what waited for it.
    pub(super) fn sync(&mut self) -> Vec<Outgoing> {
        self.durable_log = self.log.len();
        self.durable_chain = self.chain.len();
        std::mem::take(&mut self.waiting)
    }

    /// The header with this digest, if the node runs and has it.
    pub(super) fn header(&self, digest: &Digest) -> Option<Vec<u8>> {
        let decided = self.chain.iter().find(|commit| commit.digest() == *digest);
        let held = self.core.state.headers.get(digest);
        held.or(decided.map(|commit| &commit.header))
            .filter(|_| self.alive)
            .cloned()
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.waiting.is_empty() || self.durable_log < self.log.len()
    }

    /// Takes over blocks that another node decided.
    pub(super) fn adopt(&mut self, chain: &[Commit]) -> Option<Input> {
        if !self.alive || chain.len() <= self.chain.len() {
            return None;
        }
        let news = &chain[self.chain.len()..];
        self.chain.extend_from_slice(news);
        let height = self.chain.len() as Height;
        let set = |height| self.sets.at(height).validators().clone();
        Some(Input::Synced {
            height,
            validators: [set(height + 1), set(height + 2)],
        })
    }

    /// Dies, and the end of the log that was not synced is damaged, or all of it lost. Returns what it had said for good.
    pub(super) fn crash(&mut self, damage: Damage) -> BTreeSet<Statement> {
        self.alive = false;
        let kept = damage.survivors(&self.log[self.durable_log..]);
        self.log.truncate(self.durable_log + kept);
        self.durable_log = self.log.len();
        self.chain.truncate(self.durable_chain);
        self.waiting.clear();
        self.requests.clear();
        self.effects.clear();
        let said = self.logged();
        if damage == Damage::Lost {
            self.log.clear();
            self.chain.clear();
            (self.durable_log, self.durable_chain) = (0, 0);
            self.speaks_from = Height::MAX;
            self.amnesia = Some(Amnesia::new(key(self.who), u64::from(self.life)));
        }
        said
    }

    /// Whether it may speak at every height that it can still come to, also after a crash.
    pub(super) fn speaks_for_good(&self) -> bool {
        self.speaks_from <= self.durable_chain as Height + 1
    }

    /// Takes the others' answers to the question where they stand; the input that follows if they suffice.
    pub(super) fn recall(&mut self, others: &[(u16, Height)]) -> Option<Input> {
        let amnesia = self.amnesia.as_mut()?;
        let nonce = amnesia.ask().nonce();
        for &(who, height) in others {
            amnesia.hear(&Recall::Standing {
                key: key(who),
                to: key(self.who),
                nonce,
                height,
            });
        }
        let height = self.core.height();
        let sets = [height, height + 1].map(|height| self.sets.at(height).validators());
        let speaks_from = amnesia.release(height, sets)?;
        self.amnesia = None;
        self.speaks_from = speaks_from;
        Some(Input::Released { speaks_from })
    }

    /// Starts again from the log; `truncate` drops what the store may drop.
    pub(super) fn recover(&mut self, truncate: bool) {
        let next = self.chain.len() as Height + 1;
        if truncate {
            self.log.retain(|record| record.height() >= next);
            self.durable_log = self.log.len();
        }
        let config = Config {
            leader_aggregates: self.core.config.leader_aggregates,
            speaks_from: self.speaks_from,
            ..config(&self.sets, self.who, next)
        };
        self.core = Core::recover_with(config, &self.log, self.knobs);
        self.alive = true;
        self.life += 1;
        self.input(Input::Start, usize::MAX);
    }
}

fn config(sets: &Sets, who: u16, height: Height) -> Config {
    Config {
        scope: sets.at(height).clone(),
        next_scope: sets.at(height + 1).clone(),
        key: Some(key(who)),
        timeout_base_ms: 100,
        timeout_cap_ms: 3_000,
        silent_heights: 1,
        speaks_from: 0,
        leader_aggregates: false,
        height,
    }
}
