//! Agreement: runs the consensus core, does what it asks for, and executes what it decides.

use super::{
    Chain, encoded,
    gossip::{Arrival, Gossip, HEIGHTS_AHEAD_MAX, MessageKey, key_of},
    ledger::Decision,
};
use crate::{
    context::{Context, Purpose},
    event::{LogLevel, Output, PeerIndex, Protocol, Time},
    header::{Header, STATE_ROOT_LAG},
    job::Job,
    record::Record,
    wire::{Body, Plain},
};
use regatta_api::{
    config::InstanceConfig,
    metrics::Metric,
    view::{BlockSummary, StatusEvent},
};
use regatta_apps::CheckedBatch;
use regatta_base::{Digest, Height, HexBytes, Round, decode, encode};
use regatta_consensus::{
    Certificate, Commit, Config, Core, Draft, Effect, Input, MESSAGE_BYTES_MAX, Message, Proposal, Scope,
    SignatureClaim, WalRecord, header_digest,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Messages that may wait for their signatures; beyond it new ones are dropped and come again by retry.
const INBOX_MAX: usize = 20_000;
/// Proposals of the current height that may wait for their payload.
const VALIDATING_MAX: usize = 16;
/// How often the core may send again while a height is open, in milliseconds.
const RETRY_INTERVAL_MS: Time = 125;
/// So long after the last block each neighbour is told once how far this node is, in milliseconds:
/// whatever was lost on the way, the network does not fall silent before everybody has asked for it.
const QUIET_MS: Time = 500;

/// The batches of a block, or the digests of those that are missing.
type HeldOrMissing = Result<Vec<Arc<CheckedBatch>>, Vec<Digest>>;

/// A message that waits for its signatures.
#[derive(Debug)]
struct Inbound {
    from: PeerIndex,
    message: Message,
    encoded: HexBytes,
    key: Option<MessageKey>,
    claims: usize,
}

/// The consensus core and what surrounds it.
#[derive(Debug)]
pub(crate) struct Agreement {
    core: Core,
    pub(crate) gossip: Gossip,
    /// Records of an earlier run, until the start.
    replayed: Vec<WalRecord>,
    inbox: Vec<Inbound>,
    inbox_claims: Vec<SignatureClaim>,
    checking: Vec<Inbound>,
    /// Headers proposed at the current heights, for neighbours that lack them.
    headers: BTreeMap<(Height, Digest), Vec<u8>>,
    validating: Vec<Proposal>,
    deciding: Option<Commit>,
    /// Who brought the decision that is being executed.
    decided_by: Option<PeerIndex>,
    build: Option<(Height, Round)>,
    timer: Option<(Time, u64)>,
    retry_at: Option<Time>,
    last_block_at: Option<Time>,
    quiet_at: Option<Time>,
    block_interval_ms: u64,
    /// Who sent the status message that the core is handling.
    asking: Option<PeerIndex>,
    /// Why this instance stopped; it never starts again by itself.
    pub(crate) halted: Option<String>,
}

impl Agreement {
    pub(crate) fn new(scope: &Scope, own: Option<u16>, config: &InstanceConfig) -> Self {
        Self {
            core: Core::new(core_config(scope, own, config, 1)),
            gossip: Gossip::default(),
            replayed: Vec::new(),
            inbox: Vec::new(),
            inbox_claims: Vec::new(),
            checking: Vec::new(),
            headers: BTreeMap::new(),
            validating: Vec::new(),
            deciding: None,
            decided_by: None,
            build: None,
            timer: None,
            retry_at: None,
            last_block_at: None,
            quiet_at: None,
            block_interval_ms: config.block_interval_ms,
            asking: None,
            halted: None,
        }
    }

    pub(crate) fn round(&self) -> Round {
        self.core.round()
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let build = self.build.map(|_| self.build_at());
        [self.timer.map(|(at, _)| at), self.retry_at, self.quiet_at, build]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the next block may be built.
    fn build_at(&self) -> Time {
        self.last_block_at.map_or(0, |at| at + self.block_interval_ms)
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

fn core_config(scope: &Scope, own: Option<u16>, config: &InstanceConfig, height: Height) -> Config {
    Config {
        scope: scope.clone(),
        index: own,
        timeout_base_ms: config.round_timeout_ms,
        timeout_cap_ms: config.round_timeout_ms_max,
        height,
    }
}

impl Chain {
    pub(super) fn replay_consensus(&mut self, bytes: &[u8]) -> Result<(), crate::NodeError> {
        let record: WalRecord = decode(bytes, MESSAGE_BYTES_MAX)
            .map_err(|error| crate::NodeError::Journal(format!("a consensus record: {error}")))?;
        if record.height() > self.ledger.height() {
            self.agreement.replayed.push(record);
        }
        Ok(())
    }

    pub(super) fn replay_block(
        &mut self,
        height: Height,
        header: &[u8],
        certificate: &[u8],
    ) -> Result<(), crate::NodeError> {
        let bad = |what: String| crate::NodeError::Journal(format!("block {height}: {what}"));
        let certificate: Certificate =
            decode(certificate, MESSAGE_BYTES_MAX).map_err(|error| bad(format!("certificate: {error}")))?;
        let commit = Commit {
            certificate,
            header: header.to_vec(),
        };
        let (header, batches) = self.executable(&commit).map_err(bad)?;
        if header.height != height {
            return Err(bad(format!("its header says {}", header.height)));
        }
        let batches = batches.map_err(|missing| bad(format!("batch {} is missing", missing[0].short())))?;
        self.execute(&commit, &header, &batches);
        self.agreement.replayed.retain(|record| record.height() > height);
        Ok(())
    }

    pub(super) fn start_agreement(&mut self, ctx: &mut Context<'_>) {
        let records = std::mem::take(&mut self.agreement.replayed);
        let config = core_config(&self.scope, self.own, &self.config, self.ledger.height() + 1);
        self.agreement.core = Core::recover(config, &records);
        self.drive(ctx, Input::Start);
    }

    /// Tells the core that payload waits to be ordered.
    pub(super) fn signal_work(&mut self, ctx: &mut Context<'_>) {
        if self.batches.has_waiting() {
            self.drive(ctx, Input::Work);
        }
    }

    /// Gives the core one input and does everything that follows from it.
    pub(super) fn drive(&mut self, ctx: &mut Context<'_>, input: Input) {
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
            Effect::Build { height, round } => {
                self.agreement.build = Some((height, round));
                self.build_when_due(ctx.now, inputs);
            }
            Effect::Validate(proposal) => {
                if self.agreement.validating.len() < VALIDATING_MAX {
                    self.agreement.validating.push(proposal);
                    self.validate_pending(ctx, inputs);
                }
            }
            Effect::Decide(commit) => {
                self.agreement.deciding = Some(commit);
                self.execute_decided(ctx, inputs);
            }
            Effect::Evidence(evidence) => {
                ctx.count(Metric::Evidence, 1);
                ctx.log(
                    LogLevel::Warn,
                    format!("instance {}: conflicting statements: {evidence:?}", self.id),
                );
            }
            // Nobody in particular said so: the retry asks every neighbour how far it is.
            Effect::NeedSync { .. } => self.retry_soon(ctx.now),
            Effect::NeedHeader { height, digest } => self.ask_for_header(ctx, height, digest),
            Effect::Behind { height } => self.help_behind(ctx, height),
        }
    }

    fn retry_soon(&mut self, now: Time) {
        self.agreement.retry_at.get_or_insert(now + RETRY_INTERVAL_MS);
    }

    /// Signs a statement of this node, spreads it, and lets it count here too.
    fn sign_and_send(&mut self, ctx: &mut Context<'_>, draft: Draft, inputs: &mut VecDeque<Input>) {
        let round = draft.round();
        if round > 0 {
            ctx.log(LogLevel::Debug, format!("instance {}: {:?}", self.id, draft.statement));
        }
        let message = draft.sign(&self.scope, ctx.secret);
        self.broadcast(ctx, &message);
        inputs.push_back(Input::Recv(message));
    }

    fn broadcast(&mut self, ctx: &mut Context<'_>, message: &Message) {
        if let Message::Proposal(proposal) = message {
            self.keep_header(proposal);
        }
        let bytes = encoded(message);
        let Some(key) = key_of(message) else {
            for peer in ctx.links.up() {
                self.outbox.push(peer, bytes.clone(), true);
            }
            return;
        };
        let targets = voting_links(ctx);
        for peer in self.agreement.gossip.spread(key, &bytes, targets.into_iter()) {
            self.outbox.push(peer, bytes.clone(), true);
        }
    }

    fn keep_header(&mut self, proposal: &Proposal) {
        let key = (proposal.vote.statement.height, proposal.digest());
        self.agreement.headers.insert(key, proposal.header.clone());
    }

    pub(super) fn on_consensus(&mut self, ctx: &mut Context<'_>, from: PeerIndex, messages: Vec<HexBytes>) {
        for bytes in messages {
            match decode::<Message>(&bytes.0, MESSAGE_BYTES_MAX) {
                Ok(Message::Status { height }) => self.on_status(ctx, from, height),
                Ok(message) => self.receive(ctx, from, message, bytes),
                Err(error) => ctx.fault(from, format!("consensus message: {error}")),
            }
        }
    }

    fn on_status(&mut self, ctx: &mut Context<'_>, from: PeerIndex, height: Height) {
        self.catchup.note_height(from, height.saturating_sub(1));
        self.agreement.asking = Some(from);
        self.drive(ctx, Input::Recv(Message::Status { height }));
        self.agreement.asking = None;
    }

    /// Queues a message for the check of its signatures, unless it is known, stale or too far ahead.
    pub(super) fn receive(&mut self, ctx: &mut Context<'_>, from: PeerIndex, message: Message, encoded: HexBytes) {
        let (height, next) = (message.height(), self.ledger.height() + 1);
        let key = key_of(&message);
        match (&message, &key) {
            (Message::Commit(_), _) => {
                self.catchup.note_height(from, height);
                if height < next || !self.catchup.takes(height, next) {
                    return;
                }
            }
            (_, Some(_)) if height < next => return,
            (_, Some(_)) if height > next + HEIGHTS_AHEAD_MAX => {
                self.catchup.note_height(from, height - 1);
                return;
            }
            (_, Some(key)) => {
                if self.agreement.gossip.arrived(*key, from) == Arrival::Known {
                    return;
                }
            }
            (_, None) => return,
        }
        if self.agreement.inbox.len() >= INBOX_MAX {
            self.refuse(&message, key.as_ref());
            ctx.count(Metric::FramesDropped, 1);
            return;
        }
        match message.claims(&self.scope) {
            Ok(claims) => {
                let count = claims.len();
                self.agreement.inbox_claims.extend(claims);
                self.agreement.inbox.push(Inbound {
                    from,
                    message,
                    encoded,
                    key,
                    claims: count,
                });
            }
            Err(error) => {
                self.refuse(&message, key.as_ref());
                ctx.fault(from, format!("consensus message: {error}"));
            }
        }
    }

    fn refuse(&mut self, message: &Message, key: Option<&MessageKey>) {
        if let Some(key) = key {
            self.agreement.gossip.refuse(key);
        }
        if let Message::Commit(commit) = message {
            self.catchup.refuse(commit.height());
        }
    }

    /// Starts the check of everything that waits, unless one runs: what arrives meanwhile makes the next batch.
    pub(super) fn check_messages(&mut self, ctx: &mut Context<'_>) {
        if self.agreement.checking.is_empty() && !self.agreement.inbox.is_empty() {
            self.agreement.checking = std::mem::take(&mut self.agreement.inbox);
            let claims = std::mem::take(&mut self.agreement.inbox_claims);
            ctx.work(Purpose::Messages, Job::Claims(claims));
        }
    }

    pub(super) fn on_claims(&mut self, ctx: &mut Context<'_>, valid: &[bool]) {
        let mut rest = valid;
        for inbound in std::mem::take(&mut self.agreement.checking) {
            let (own, after) = rest.split_at(inbound.claims.min(rest.len()));
            rest = after;
            if own.len() == inbound.claims && own.iter().all(|&valid| valid) {
                self.accept(ctx, inbound);
            } else {
                self.refuse(&inbound.message, inbound.key.as_ref());
                ctx.fault(inbound.from, "a consensus message with a bad signature".to_owned());
            }
        }
    }

    fn accept(&mut self, ctx: &mut Context<'_>, inbound: Inbound) {
        let Inbound {
            from,
            message,
            encoded,
            key,
            ..
        } = inbound;
        if let Message::Commit(commit) = message {
            self.on_commit(ctx, from, commit);
            return;
        }
        if let Message::Proposal(proposal) = &message {
            self.keep_header(proposal);
        }
        let message_is_current = message.height() == self.ledger.height() + 1;
        if let Some(key) = key {
            let urgent = matches!(message, Message::Proposal(_));
            let mut targets = if self.relays { voting_links(ctx) } else { Vec::new() };
            targets.retain(|&peer| peer != from && !ctx.links.covers(from, peer));
            for peer in self.agreement.gossip.spread(key, &encoded, targets.into_iter()) {
                self.outbox.push(peer, encoded.clone(), urgent);
            }
        }
        if message_is_current {
            // A height that others work on: ask again if it does not go on here.
            self.retry_soon(ctx.now);
        }
        self.drive(ctx, Input::Recv(message));
    }

    /// A verified decision: the next one goes to the core, later ones wait for it.
    fn on_commit(&mut self, ctx: &mut Context<'_>, from: PeerIndex, commit: Commit) {
        if header_digest(&commit.header) != commit.digest() {
            self.catchup.refuse(commit.height());
            ctx.fault(from, "a decision whose header has another digest".to_owned());
            return;
        }
        self.catchup.keep(from, commit);
        if let Some((from, commit)) = self.catchup.take(self.ledger.height() + 1) {
            self.agreement.decided_by = Some(from);
            self.drive(ctx, Input::Recv(Message::Commit(commit)));
        }
    }

    pub(super) fn tick_agreement(&mut self, ctx: &mut Context<'_>) {
        if let Some((at, id)) = self.agreement.timer
            && at <= ctx.now
        {
            self.agreement.timer = None;
            self.drive(ctx, Input::Timer(id));
        }
        if self.agreement.retry_at.is_some_and(|at| at <= ctx.now) {
            self.agreement.retry_at = Some(ctx.now + RETRY_INTERVAL_MS);
            self.drive(ctx, Input::Retry);
        }
        if self.agreement.quiet_at.is_some_and(|at| at <= ctx.now) {
            self.agreement.quiet_at = None;
            let height = self.ledger.height();
            for peer in ctx.links.up().filter(|&peer| self.catchup.height_of(peer) < height) {
                self.outbox.push(peer, self.status_message(), true);
            }
        }
        let mut inputs = VecDeque::new();
        self.build_when_due(ctx.now, &mut inputs);
        for input in inputs {
            self.drive(ctx, input);
        }
    }

    fn build_when_due(&mut self, now: Time, inputs: &mut VecDeque<Input>) {
        let Some((height, round)) = self.agreement.build else {
            return;
        };
        if height <= self.ledger.height() {
            self.agreement.build = None;
        } else if now >= self.agreement.build_at() {
            self.agreement.build = None;
            let header = Header {
                height,
                parent: self.ledger.hash(),
                batches: self.batches.propose(height),
                state_root: self.lagged_state_root(height),
                next_validators: self.scope.validators().hash(),
            };
            inputs.push_back(Input::Built {
                height,
                round,
                header: header.encode(),
            });
        }
    }

    fn lagged_state_root(&self, height: Height) -> Digest {
        self.ledger.state_root_at(height.saturating_sub(STATE_ROOT_LAG))
    }

    /// Looks at proposals whose payload may have arrived meanwhile.
    pub(super) fn revisit(&mut self, ctx: &mut Context<'_>) {
        let mut inputs = VecDeque::new();
        self.validate_pending(ctx, &mut inputs);
        self.execute_decided(ctx, &mut inputs);
        for input in inputs {
            self.drive(ctx, input);
        }
    }

    fn validate_pending(&mut self, ctx: &mut Context<'_>, inputs: &mut VecDeque<Input>) {
        for proposal in std::mem::take(&mut self.agreement.validating) {
            let statement = proposal.vote.statement;
            if statement.height <= self.ledger.height() {
                continue;
            }
            match self.judge(ctx, &proposal) {
                Some(ok) => inputs.push_back(Input::Validated {
                    height: statement.height,
                    round: statement.round,
                    digest: proposal.digest(),
                    ok,
                }),
                None => self.agreement.validating.push(proposal),
            }
        }
    }

    /// Whether a block with this header may follow; `None` while payload is missing.
    fn judge(&mut self, ctx: &mut Context<'_>, proposal: &Proposal) -> Option<bool> {
        let height = proposal.vote.statement.height;
        let Ok(header) = Header::decode(&proposal.header) else {
            return Some(false);
        };
        let unique: BTreeSet<&Digest> = header.batches.iter().collect();
        let fits = header.height == height
            && height == self.ledger.height() + 1
            && header.parent == self.ledger.hash()
            && header.state_root == self.lagged_state_root(height)
            && header.next_validators == self.scope.validators().hash()
            && unique.len() == header.batches.len()
            && !header.batches.iter().any(|digest| self.ledger.is_included(digest));
        if !fits {
            return Some(false);
        }
        let missing: Vec<Digest> = header
            .batches
            .iter()
            .filter(|digest| !self.batches.is_votable(digest))
            .copied()
            .collect();
        if !missing.is_empty() {
            self.want_from_everyone(ctx, &missing);
            return None;
        }
        let held = header.batches.iter().filter_map(|digest| self.batches.get(digest));
        Some(held.into_iter().all(|batch| batch.may_be_ordered_at(height)))
    }

    /// Takes a decision apart: its header, and its batches or which of them are missing.
    fn executable(&self, commit: &Commit) -> Result<(Header, HeldOrMissing), String> {
        let header = Header::decode(&commit.header).map_err(|error| format!("header: {error}"))?;
        if header.height != self.ledger.height() + 1 {
            return Err(format!("it does not follow block {}", self.ledger.height()));
        }
        if header.parent != self.ledger.hash() {
            return Err(format!(
                "its parent is {}, ours is {}",
                header.parent.short(),
                self.ledger.hash().short()
            ));
        }
        let (mut held, mut missing) = (Vec::with_capacity(header.batches.len()), Vec::new());
        for digest in &header.batches {
            match self.batches.get(digest) {
                Some(batch) => held.push(batch.clone()),
                None => missing.push(*digest),
            }
        }
        let batches = if missing.is_empty() { Ok(held) } else { Err(missing) };
        Ok((header, batches))
    }

    fn execute_decided(&mut self, ctx: &mut Context<'_>, inputs: &mut VecDeque<Input>) {
        let Some(commit) = self.agreement.deciding.take() else {
            return;
        };
        match self.executable(&commit) {
            Err(reason) => {
                let line = format!(
                    "instance {} halted: block {} was decided but {reason}",
                    self.id,
                    commit.height()
                );
                ctx.log(LogLevel::Warn, line.clone());
                self.agreement.halted = Some(line);
            }
            Ok((_, Err(missing))) => {
                self.agreement.deciding = Some(commit);
                self.want_from_everyone(ctx, &missing);
            }
            Ok((header, Ok(batches))) => {
                self.apply(ctx, &commit, &header, &batches);
                inputs.push_back(Input::Applied {
                    height: commit.height(),
                });
                if self.batches.has_waiting() {
                    inputs.push_back(Input::Work);
                }
                if let Some((from, next)) = self.catchup.take(commit.height() + 1) {
                    self.agreement.decided_by = Some(from);
                    inputs.push_back(Input::Recv(Message::Commit(next)));
                }
            }
        }
    }

    /// Executes a decided block and tells everybody who waits for it.
    fn apply(&mut self, ctx: &mut Context<'_>, commit: &Commit, header: &Header, batches: &[Arc<CheckedBatch>]) {
        let executed = self.execute(commit, header, batches);
        let height = commit.height();
        let record = ctx.append(Record::Block {
            instance: self.index,
            height,
            header: commit.header.clone().into(),
            certificate: encoded(&commit.certificate),
            batches: header.batches.clone(),
        });
        self.ledger.set_record(record);
        let items: Vec<_> = executed
            .iter()
            .filter(|one| self.submissions.unwatch(&one.id))
            .map(|one| (one.id, one.outcome))
            .collect();
        if !items.is_empty() {
            let event = StatusEvent {
                instance: self.id.clone(),
                height,
                items,
            };
            ctx.out.push(Output::Statuses { event, after: record });
        }
        if let Some(summary) = self.summary(height) {
            self.count_block(ctx, &summary);
            ctx.out.push(Output::Block { summary, after: record });
        }
        self.agreement.last_block_at = Some(ctx.now);
        self.agreement.timer = None;
        self.agreement.retry_at = None;
        self.agreement.quiet_at = Some(ctx.now + QUIET_MS);
        self.expire_batches(ctx.now);
        self.tell_followers(ctx, commit);
    }

    fn count_block(&self, ctx: &mut Context<'_>, summary: &BlockSummary) {
        ctx.count(Metric::TransactionsExecuted, u64::from(summary.transactions));
        ctx.count(Metric::TransactionsFailed, u64::from(summary.failed));
        if summary.round > 0 {
            ctx.count(Metric::RoundsExtra, u64::from(summary.round));
            ctx.log(
                LogLevel::Info,
                format!(
                    "instance {}: block {} took round {}",
                    self.id, summary.height, summary.round
                ),
            );
        }
    }

    /// Changes the state by a block; everything that replay has in common with a live decision.
    fn execute(
        &mut self,
        commit: &Commit,
        header: &Header,
        batches: &[Arc<CheckedBatch>],
    ) -> Vec<super::ledger::Executed> {
        let certificate = &commit.certificate;
        let decision = Decision {
            hash: commit.digest(),
            parent: header.parent,
            round: certificate.round,
            proposer: self.scope.validators().leader(certificate.height, certificate.round),
        };
        let executed = self.ledger.execute(decision, batches);
        for one in &executed {
            self.mempool.executed(&one.id, one.sender);
        }
        self.batches.mark_included(&header.batches);
        let next = self.ledger.height() + 1;
        self.agreement.gossip.advance(next);
        self.agreement.headers = self.agreement.headers.split_off(&(next, Digest::ZERO));
        self.catchup.advance(next);
        executed
    }

    /// Sends the decision to neighbours that do not get votes and probably lack it.
    fn tell_followers(&mut self, ctx: &mut Context<'_>, commit: &Commit) {
        let from = self.agreement.decided_by.take();
        let height = commit.height();
        let lacks = |peer: &PeerIndex| {
            ctx.links.get(*peer).is_some_and(|link| !link.wants_votes)
                && self.catchup.height_of(*peer) < height
                && from.is_none_or(|from| from != *peer && !ctx.links.covers(from, *peer))
        };
        let targets: Vec<PeerIndex> = ctx.links.up().filter(lacks).collect();
        if targets.is_empty() {
            return;
        }
        let frame = commit_frame(self.tag, commit);
        let after = ctx.newest_record();
        for peer in targets {
            self.catchup.note_height(peer, height);
            ctx.send(peer, frame.clone(), Protocol::Consensus, after);
        }
    }

    fn ask_for_header(&self, ctx: &mut Context<'_>, height: Height, digest: Digest) {
        let frame = Plain::Instance(self.tag, Body::HeaderRequest { height, digest }).encode();
        let peers: Vec<PeerIndex> = ctx.links.up().collect();
        for peer in peers {
            ctx.send(peer, frame.clone(), Protocol::Consensus, 0);
        }
    }

    pub(super) fn on_header_request(&self, ctx: &mut Context<'_>, from: PeerIndex, height: Height, digest: Digest) {
        if let Some(header) = self.agreement.headers.get(&(height, digest)) {
            let frame = Plain::Instance(self.tag, Body::Header(header.clone().into())).encode();
            ctx.send(from, frame, Protocol::Consensus, 0);
        }
    }

    /// The neighbour whose status is being handled lacks blocks from `height` on.
    fn help_behind(&mut self, ctx: &mut Context<'_>, height: Height) {
        if let Some(peer) = self.agreement.asking {
            self.on_block_request(ctx, peer, height, super::catchup::HELP_BLOCKS);
        }
    }

    pub(super) fn flush(&mut self, ctx: &mut Context<'_>) {
        // Own statements must not leave before the records that stand behind them.
        let after = ctx.newest_record();
        self.outbox.flush(ctx, self.tag, after);
    }
}

/// Neighbours that are up and want votes.
fn voting_links(ctx: &Context<'_>) -> Vec<PeerIndex> {
    ctx.links
        .up()
        .filter(|&peer| ctx.links.get(peer).is_some_and(|link| link.wants_votes))
        .collect()
}

fn commit_frame(tag: crate::wire::InstanceTag, commit: &Commit) -> bytes::Bytes {
    let message = HexBytes::from(encode(&Message::Commit(commit.clone())));
    Plain::Instance(tag, Body::Consensus(vec![message])).encode()
}
