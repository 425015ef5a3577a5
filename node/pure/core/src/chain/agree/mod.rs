//! Agreement: runs the consensus core, does what it asks for, and executes what it decides.

mod ahead;
mod ballots;
mod build;
#[cfg(any(test, feature = "byzantine"))]
mod byzantine;
mod execute;
mod messages;
mod thrift;

use ahead::Ahead;
use ballots::{Ballots, Waiting};
use build::Build;
use thrift::Thrift;

use super::{
    Chain, encoded,
    gossip::{Gossip, MessageKey},
    routes::Routes,
};
use crate::{
    context::Context,
    event::{LogLevel, PeerIndex, Time},
    header::Header,
    mutants::mutant,
    record::Record,
};
#[cfg(any(test, feature = "byzantine"))]
pub(super) use byzantine::Misconduct;
use regatta_api::config::InstanceConfig;
use regatta_base::{Digest, Height, HexBytes, PublicKey, Round, decode};
use regatta_consensus::{
    Commit, Config, Core, Draft, Effect, Input, MESSAGE_BYTES_MAX, Message, Proposal, ROUNDS_AWAY_MAX, Scope,
    SignatureClaim, WalRecord, header_digest,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Proposals of the current height that may wait for their payload.
const VALIDATING_MAX: usize = 16;
/// How often the core may send again while a height is open, in milliseconds: half the round
/// timeout's unit, but not more often than this.
const RETRY_INTERVAL_MS_MIN: Time = 125;
/// So long after the next block could have come each neighbour is told once how far this node is, in milliseconds:
/// whatever was lost on the way, the network does not fall silent before everybody has asked for it.
const QUIET_MS: Time = 500;

/// A message that waits for its signatures.
#[derive(Debug)]
struct Inbound {
    from: PeerIndex,
    /// When it arrived.
    at: Time,
    message: Message,
    encoded: HexBytes,
    key: Option<MessageKey>,
    claims: usize,
    /// Digest of the validator set that the claims were made of.
    set: Digest,
}

/// The consensus core and what surrounds it.
#[derive(Debug)]
pub(crate) struct Agreement {
    core: Core,
    pub(crate) gossip: Gossip,
    /// Records of an earlier run, until the start.
    replayed: Vec<WalRecord>,
    /// Messages of the height whose validators the next block makes known.
    early: Vec<(PeerIndex, Message, HexBytes)>,
    inbox: Vec<Inbound>,
    inbox_claims: Vec<SignatureClaim>,
    /// Votes that wait for others before they are checked.
    ballots: Ballots,
    /// A proposal of the next height that waits for others to be checked with.
    ahead: Ahead,
    /// Whom certificates of this node as a leader were not told yet.
    thrift: Thrift,
    checking: Vec<Inbound>,
    /// Headers proposed at the current heights, for neighbours that lack them.
    headers: BTreeMap<(Height, Digest), Vec<u8>>,
    /// How many messages of each neighbour wait in `inbox`.
    inbox_of: BTreeMap<PeerIndex, usize>,
    /// What this node says now goes to everybody again, also to those that are thought to have it.
    insists: bool,
    validating: Vec<Proposal>,
    deciding: Option<Commit>,
    /// Who brought the decision that is being executed.
    decided_by: Option<PeerIndex>,
    build: Option<Build>,
    timer: Option<(Time, u64)>,
    retry_at: Option<Time>,
    last_block_at: Option<Time>,
    /// The greatest height of which a proposal was seen, and when the first one was.
    proposed_at: Option<(Height, Time)>,
    quiet_at: Option<Time>,
    /// Who sent the status message that the core is handling.
    asking: Option<PeerIndex>,
    /// Why this instance stopped; it never starts again by itself.
    pub(crate) halted: Option<String>,
}

impl Agreement {
    pub(crate) fn new(genesis: &Scope, key: PublicKey, config: &InstanceConfig) -> Self {
        Self {
            core: Core::new(core_config([genesis, genesis], key, config, (1, 0))),
            gossip: Gossip::default(),
            replayed: Vec::new(),
            early: Vec::new(),
            inbox: Vec::new(),
            inbox_claims: Vec::new(),
            ballots: Ballots::default(),
            ahead: Ahead::default(),
            thrift: Thrift::default(),
            checking: Vec::new(),
            headers: BTreeMap::new(),
            inbox_of: BTreeMap::new(),
            insists: false,
            validating: Vec::new(),
            deciding: None,
            decided_by: None,
            build: None,
            timer: None,
            retry_at: None,
            last_block_at: None,
            proposed_at: None,
            quiet_at: None,
            asking: None,
            halted: None,
        }
    }

    /// Forgets everything about heights up to `height`, which were passed without deciding them here.
    pub(crate) fn pass(&mut self, height: Height) {
        let next = height + 1;
        self.replayed.retain(|record| record.height() > height);
        self.gossip.advance(next);
        self.ballots.advance(next);
        self.thrift.advance(next);
        self.headers = self.headers.split_off(&(next, Digest::ZERO));
        self.validating.clear();
        self.deciding.take_if(|commit| commit.height() <= height);
        self.timer = None;
        self.retry_at = None;
        self.end_waiting();
    }

    /// Puts messages into the line of those whose signatures are to be checked, and behind them a proposal that waits for
    /// company.
    fn queue(&mut self, messages: Vec<Waiting>) {
        let company = if messages.is_empty() { None } else { self.ahead.take() };
        for Waiting { inbound, claims } in messages.into_iter().chain(company) {
            self.inbox_claims.extend(claims);
            *self.inbox_of.entry(inbound.from).or_default() += 1;
            self.inbox.push(inbound);
        }
    }

    pub(crate) fn round(&self) -> Round {
        self.core.round()
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let timer = self.timer.map(|(at, _)| at);
        [timer, self.retry_at, self.quiet_at, self.thrift.due_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Batches without which the current height cannot go on.
    pub(crate) fn needed_batches(&self) -> BTreeSet<Digest> {
        let proposed = self.validating.iter().map(|proposal| proposal.header.as_slice());
        let headers = proposed.chain(self.deciding.iter().map(|commit| commit.header.as_slice()));
        headers
            .filter_map(|bytes| Header::decode(bytes).ok())
            .flat_map(|header| header.batches)
            .collect()
    }
}

fn core_config([scope, next]: [&Scope; 2], key: PublicKey, config: &InstanceConfig, place: (Height, Height)) -> Config {
    let (height, speaks_from) = place;
    Config {
        scope: scope.clone(),
        next_scope: next.clone(),
        key: Some(key),
        timeout_base_ms: config.round_timeout_ms,
        timeout_cap_ms: config.round_timeout_ms_max,
        silent_heights: config.silent_heights,
        speaks_from,
        leader_aggregates: Routes::aggregates(config.vote_topology),
        height,
    }
}

impl Chain {
    pub(in crate::chain) fn replay_consensus(&mut self, bytes: &[u8]) -> Result<(), crate::NodeError> {
        let record: WalRecord = decode(bytes, MESSAGE_BYTES_MAX)
            .map_err(|error| crate::NodeError::Journal(format!("a consensus record: {error}")))?;
        if record.height() > self.ledger.height() {
            if let Some(header) = record.header() {
                let key = (record.height(), header_digest(header));
                self.agreement.headers.insert(key, header.to_vec());
            }
            self.agreement.replayed.push(record);
        }
        Ok(())
    }

    pub(in crate::chain) fn start_agreement(&mut self, ctx: &mut Context<'_>) {
        let records = std::mem::take(&mut self.agreement.replayed);
        let (next, sets) = (self.ledger.height() + 1, self.ledger.sets());
        let scopes = [sets.at(next).unwrap_or(sets.newest()), sets.newest()];
        let config = core_config(scopes, self.role.key, &self.config, (next, self.memory.speaks_from()));
        self.agreement.core = Core::recover(config, &records);
        self.drive(ctx, Input::Start);
    }

    /// Tells the core that payload waits to be ordered.
    pub(in crate::chain) fn signal_work(&mut self, ctx: &mut Context<'_>) {
        if self.wants_block() {
            self.drive(ctx, Input::Work);
            self.try_build(ctx);
        }
    }

    /// Whether the next block should come as soon as it may.
    fn wants_block(&self) -> bool {
        self.config.empty_blocks || self.batches.has_waiting()
    }

    /// Gives the core one input and does everything that follows from it.
    pub(in crate::chain) fn drive(&mut self, ctx: &mut Context<'_>, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut effects = Vec::new();
        while let Some(input) = inputs.pop_front() {
            if self.agreement.halted.is_some() {
                return;
            }
            self.agreement.core.step(input, &mut effects);
            for effect in effects.drain(..) {
                self.perform(ctx, effect, &mut inputs);
            }
        }
        let next = self.ledger.height() + 1;
        let waits = self.agreement.ballots.waits_at(next) || self.agreement.ahead.waits();
        let wakes = waits && !mutant!(self.agreement.ballots, wait_when_idle);
        if !self.agreement.core.is_active() && wakes {
            // One of these wakes it.
            self.check_all(next);
        }
    }

    fn perform(&mut self, ctx: &mut Context<'_>, effect: Effect, inputs: &mut VecDeque<Input>) {
        match effect {
            Effect::Persist(record) => {
                ctx.append(Record::Consensus {
                    instance: self.index,
                    bytes: encoded(&record),
                });
            }
            Effect::SignSend(draft) => self.sign_and_send(ctx, draft, inputs),
            Effect::Broadcast(message) => self.broadcast(ctx, &message),
            Effect::SetTimer { id, after_ms } => {
                self.agreement.timer = Some((ctx.now + after_ms, id));
                self.retry_soon(ctx.now);
            }
            Effect::Build { height, round, parent } => self.build(ctx.now, (height, round), parent, inputs),
            Effect::Prefetch(proposal) => self.prefetch(ctx, &proposal),
            Effect::Validate(proposal) => {
                // The core takes answers about the present round alone: what others wait for is over.
                let round = self.agreement.round();
                self.agreement
                    .validating
                    .retain(|earlier| earlier.vote.statement.round >= round);
                if self.agreement.validating.len() < VALIDATING_MAX {
                    self.agreement.validating.push(proposal);
                    self.validate_pending(ctx, inputs);
                }
            }
            Effect::Decide(commit) => {
                self.agreement.deciding = Some(commit);
                self.execute_decided(ctx, inputs);
            }
            Effect::Evidence(evidence) => self.keep_evidence(ctx, evidence, None),
            // Nobody in particular said so: the retry asks every neighbour how far it is.
            Effect::NeedSync { .. } => self.retry_soon(ctx.now),
            Effect::NeedHeader { height, digest } => self.ask_for_header(ctx, height, digest),
            Effect::Behind { .. } => self.help_behind(),
        }
    }

    fn retry_interval(&self) -> Time {
        (self.config.round_timeout_ms / 2).max(RETRY_INTERVAL_MS_MIN)
    }

    pub(super) fn retry_soon(&mut self, now: Time) {
        let interval = self.retry_interval();
        self.agreement.retry_at.get_or_insert(now + interval);
    }

    /// Signs a statement of this node, spreads it, and lets it count here too.
    fn sign_and_send(&mut self, ctx: &mut Context<'_>, draft: Draft, inputs: &mut VecDeque<Input>) {
        let round = draft.round();
        if round > 0 {
            ctx.log(LogLevel::Debug, format!("instance {}: {:?}", self.id, draft.statement));
        }
        let Some(scope) = self.ledger.sets().at(draft.statement.height) else {
            return;
        };
        self.routes.note_said(draft.statement);
        let message = draft.sign(scope, ctx.secret);
        if !mutant!(self.agreement.ballots, forget_own) {
            self.count_vote(&message);
        }
        if matches!(message, Message::Timeout(_)) && !mutant!(self.agreement.ballots, wait_when_given_up) {
            self.check_all(message.height());
        }
        self.broadcast(ctx, &message);
        inputs.push_back(Input::Recv(message));
    }

    pub(in crate::chain) fn tick_agreement(&mut self, ctx: &mut Context<'_>) {
        #[cfg(any(test, feature = "byzantine"))]
        self.say_held(ctx);
        if let Some((at, id)) = self.agreement.timer
            && at <= ctx.now
        {
            self.agreement.timer = None;
            self.drive(ctx, Input::Timer(id));
        }
        self.tell_the_others(ctx);
        if self.agreement.retry_at.is_some_and(|at| at <= ctx.now) {
            self.agreement.retry_at = Some(ctx.now + self.retry_interval());
            if !mutant!(self.agreement.ballots, wait_through_retries) {
                self.check_all(self.ledger.height() + 1);
            }
            if self.routes.note_retry(self.ledger.height() + 1) {
                self.offer_to_all(ctx);
            }
            let oldest = self.agreement.round().saturating_sub(ROUNDS_AWAY_MAX);
            self.agreement.gossip.forget_rounds(self.ledger.height() + 1, oldest);
            self.agreement.insists = self.routes.is_insistent();
            self.drive(ctx, Input::Retry);
            self.agreement.insists = false;
        }
        if self.agreement.quiet_at.is_some_and(|at| at <= ctx.now) {
            self.agreement.quiet_at = None;
            let height = self.ledger.height();
            for peer in ctx.links.up().filter(|&peer| self.catchup.height_of(peer) < height) {
                self.outbox.push(peer, self.status_message(), true);
            }
        }
        self.try_build(ctx);
    }

    /// Builds the block that is asked for, if its time has come and there is something to put into it.
    pub(in crate::chain) fn try_build(&mut self, ctx: &mut Context<'_>) {
        let mut inputs = VecDeque::new();
        self.build_when_due(ctx.now, &mut inputs);
        for input in inputs {
            self.drive(ctx, input);
        }
    }

    pub(in crate::chain) fn flush(&mut self, ctx: &mut Context<'_>) {
        // Own statements must not leave before the records that stand behind them.
        let after = ctx.newest_record();
        self.outbox.flush(ctx, self.tag, after);
    }
}

#[cfg(test)]
impl Chain {
    /// Switches defects on.
    pub(crate) fn break_rules(&mut self, knobs: crate::mutants::Knobs) {
        self.agreement.ballots.knobs = knobs;
    }

    /// The votes that wait to be checked: their heights, kinds and signers.
    pub(crate) fn waiting(&self) -> Vec<(Height, regatta_consensus::Phase, u16)> {
        self.agreement.ballots.waiting()
    }

    /// The proposal that waits to be checked: its height and digest.
    pub(crate) fn waiting_proposal(&self) -> Option<(Height, Digest)> {
        self.agreement.ahead.waiting()
    }

    /// The statements whose signatures are being checked.
    pub(crate) fn checking(&self) -> Vec<regatta_consensus::Signed> {
        let messages = self.agreement.checking.iter().map(|inbound| &inbound.message);
        messages.filter_map(Message::signed).copied().collect()
    }

    /// How many messages and headers of open heights are kept, and how many proposals wait for their payload.
    pub(crate) fn kept_for_tests(&self) -> (usize, usize, usize) {
        let agreement = &self.agreement;
        (
            agreement.gossip.len(),
            agreement.headers.len(),
            agreement.validating.len(),
        )
    }

    /// Whether the batch is being asked for.
    pub(crate) fn wants(&self, digest: &Digest) -> bool {
        self.batches.is_wanted(digest)
    }

    /// The latest height of which a proposal counts for the pace, and since when.
    pub(crate) fn pace(&self) -> Option<(Height, Time)> {
        self.agreement.proposed_at
    }

    /// Whether nothing was heard of `key` since it let a turn pass.
    pub(crate) fn seems_dead(&self, key: &PublicKey) -> bool {
        self.agreement.core.lacks_sign_of(key, Height::MAX)
    }

    /// Whether the timer of a round runs.
    pub(crate) fn is_busy(&self) -> bool {
        self.agreement.core.is_active()
    }
}
