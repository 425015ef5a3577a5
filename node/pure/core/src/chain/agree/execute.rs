//! Proposals are judged and decisions executed.

use crate::{
    NodeError,
    chain::{
        Chain, encoded,
        ledger::{Decision, Executed, Row},
        sets::SET_LAG,
    },
    context::Context,
    event::{LogLevel, Output, PeerIndex, Protocol},
    header::{Header, STATE_ROOT_LAG},
    mutants::mutant,
    record::{BlockResult, Record},
    wire::{Body, InstanceTag, Plain},
};
use regatta_api::{
    metrics::Metric,
    view::{BlockSummary, StatusEvent},
};
use regatta_apps::CheckedBatch;
use regatta_base::{Digest, Height, HexBytes, ValidatorSet, decode, encode};
use regatta_consensus::{Certificate, Commit, Input, MESSAGE_BYTES_MAX, Message, Proposal};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// Headers of so many decided heights are kept for neighbours that got the certificate before the proposal.
const HEADERS_BEHIND: Height = 2;

/// The batches of a block, or the digests of those that are missing.
type HeldOrMissing = Result<Vec<Arc<CheckedBatch>>, Vec<Digest>>;

impl Chain {
    pub(in crate::chain) fn replay_block(
        &mut self,
        height: Height,
        header: &[u8],
        certificate: &[u8],
        result: BlockResult,
    ) -> Result<(), NodeError> {
        let bad = |what: String| NodeError::Journal(format!("block {height}: {what}"));
        let certificate: Certificate =
            decode(certificate, MESSAGE_BYTES_MAX).map_err(|error| bad(format!("certificate: {error}")))?;
        let commit = Commit {
            certificate,
            header: header.to_vec(),
        };
        if height <= self.ledger.height() {
            return self.remember_block(&commit, result).map_err(bad);
        }
        let (header, batches) = self.executable(&commit).map_err(bad)?;
        if header.height != height {
            return Err(bad(format!("its header says {}", header.height)));
        }
        let batches = batches.map_err(|missing| bad(format!("batch {} is missing", missing[0].short())))?;
        self.execute(&commit, header, &batches);
        let root = self.ledger.state_root_at(height);
        if root != result.state_root {
            return Err(bad(format!(
                "the state after it is {root}, and once was {}",
                result.state_root
            )));
        }
        self.agreement.replayed.retain(|record| record.height() > height);
        Ok(())
    }

    /// Digest of the validators that decide the height after `height`, as its header names them.
    pub(super) fn next_set(&self, height: Height) -> Option<Digest> {
        let scope = self.ledger.sets().at(height + 1)?;
        Some(scope.validators().hash())
    }

    /// The validators that decide `height`, if they are not those of the height before.
    pub(in crate::chain) fn new_set(&self, height: Height) -> Option<ValidatorSet> {
        let sets = self.ledger.sets();
        let (before, scope) = (sets.at(height - 1)?, sets.at(height)?);
        (before != scope).then(|| scope.validators().clone())
    }

    /// Takes back a block that is part of the snapshot that this node begins with.
    fn remember_block(&mut self, commit: &Commit, result: BlockResult) -> Result<(), String> {
        let header = Header::decode(&commit.header).map_err(|error| format!("header: {error}"))?;
        let digest = commit.digest();
        let known = self.ledger.history().get(header.height).map(Header::digest);
        if known.is_some_and(|known| known != digest) || header.height != commit.height() {
            return Err("it is another one than the snapshot's".to_owned());
        }
        let held: Vec<_> = header
            .batches
            .iter()
            .filter_map(|digest| self.batches.get(digest))
            .cloned()
            .collect();
        // Older parts of the journal may be gone, and batches with them.
        let batches = if held.len() == header.batches.len() {
            held
        } else {
            Vec::new()
        };
        let decision = self.decision(commit, &header);
        for one in self.ledger.remember(header.height, decision, result, &batches) {
            self.mempool.executed(&one.id, one.sender);
        }
        self.batches.mark_included(&header.batches);
        Ok(())
    }

    fn decision(&self, commit: &Commit, header: &Header) -> Decision {
        let (height, round) = (commit.height(), commit.certificate.round);
        let scope = self.ledger.sets().at(height);
        Decision {
            hash: commit.digest(),
            parent: header.parent,
            round,
            proposer: scope.map_or(0, |scope| scope.validators().leader(height, round)),
        }
    }

    pub(super) fn lagged_state_root(&self, height: Height) -> Digest {
        self.ledger.state_root_at(height.saturating_sub(STATE_ROOT_LAG))
    }

    /// Looks at proposals whose payload may have arrived meanwhile.
    pub(in crate::chain) fn revisit(&mut self, ctx: &mut Context<'_>) {
        let mut inputs = VecDeque::new();
        self.validate_pending(ctx, &mut inputs);
        self.execute_decided(ctx, &mut inputs);
        for input in inputs {
            self.drive(ctx, input);
        }
    }

    pub(super) fn validate_pending(&mut self, ctx: &mut Context<'_>, inputs: &mut VecDeque<Input>) {
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
            && Some(header.next_validators) == self.next_set(height)
            && unique.len() == header.batches.len()
            && !header.batches.iter().any(|digest| self.ledger.is_included(digest));
        if !fits {
            return Some(false);
        }
        if header.batches.iter().any(|digest| self.batches.is_forged(digest)) {
            return Some(false);
        }
        let not_votable = header.batches.iter().filter(|digest| !self.batches.is_votable(digest));
        let not_votable: Vec<Digest> = not_votable.copied().collect();
        if !not_votable.is_empty() {
            self.make_votable(ctx, &not_votable);
            return None;
        }
        let held = header.batches.iter().filter_map(|digest| self.batches.get(digest));
        Some(
            held.into_iter().all(|batch| {
                batch.may_be_ordered_at(height) && self.is_from_validator(batch.author, batch.base_height)
            }),
        )
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

    pub(super) fn execute_decided(&mut self, ctx: &mut Context<'_>, inputs: &mut VecDeque<Input>) {
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
                self.apply(ctx, &commit, header, &batches);
                self.take_early(ctx);
                inputs.push_back(Input::Applied {
                    height: commit.height(),
                    validators: self.new_set(commit.height() + SET_LAG),
                });
                // They came one height early, when the core keeps votes alone.
                let early = self.agreement.gossip.certificates(self.ledger.height() + 1);
                inputs.extend(early.into_iter().map(Input::Recv));
                if self.wants_block() {
                    inputs.push_back(Input::Work);
                }
                if let Some((from, next)) = self.next_decision() {
                    self.agreement.decided_by = Some(from);
                    inputs.push_back(Input::Recv(Message::Commit(next)));
                }
            }
        }
    }

    /// Executes a decided block and tells everybody who waits for it.
    fn apply(&mut self, ctx: &mut Context<'_>, commit: &Commit, header: Header, batches: &[Arc<CheckedBatch>]) {
        let voted = self.role.votes;
        let digests = header.batches.clone();
        let executed = self.execute(commit, header, batches);
        if voted && !self.role.votes {
            self.hand_on(ctx);
        }
        let height = commit.height();
        let Some(result) = self.ledger.row(height).map(Row::result) else {
            return;
        };
        self.note_block(ctx.now, commit, result.bytes);
        let record = ctx.append(Record::Block {
            instance: self.index,
            height,
            header: commit.header.clone().into(),
            certificate: encoded(&commit.certificate),
            batches: digests,
            result,
        });
        self.ledger.set_record(record);
        let items: Vec<_> = executed
            .iter()
            .filter(|one| self.submissions.unwatch(&one.id) || one.watched)
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
        // If it was for the next height, it is asked again.
        self.agreement.build = None;
        self.agreement.retry_at = None;
        self.agreement.quiet_at = Some(ctx.now + super::QUIET_MS + 2 * self.config.block_interval_ms);
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
    fn execute(&mut self, commit: &Commit, header: Header, batches: &[Arc<CheckedBatch>]) -> Vec<Executed> {
        self.batches.mark_included(&header.batches);
        let decision = self.decision(commit, &header);
        let mut executed = self.ledger.execute(decision, header, batches);
        self.note_set_change(commit);
        for one in &mut executed {
            one.watched = self.mempool.executed(&one.id, one.sender);
        }
        self.update_role();
        let next = self.ledger.height() + 1;
        self.agreement.gossip.advance(next);
        self.agreement.ballots.advance(next);
        self.agreement.thrift.advance(next);
        if !mutant!(self.agreement.ballots, wait_beyond_decision) {
            self.agreement.end_waiting();
        }
        if let (Some(now), Some(soon)) = (self.ledger.sets().at(next), self.ledger.sets().at(next + 1)) {
            self.routes.advance(next, now.validators(), soon.validators());
        }
        let oldest = next.saturating_sub(HEADERS_BEHIND);
        self.agreement.headers = self.agreement.headers.split_off(&(oldest, Digest::ZERO));
        self.catchup.advance(next);
        executed
    }

    /// Sends the decision to neighbours that do not get votes and probably lack it.
    fn tell_followers(&mut self, ctx: &mut Context<'_>, commit: &Commit) {
        let from = self.agreement.decided_by.take();
        let height = commit.height();
        let lacks = |peer: &PeerIndex| {
            !self.routes.gets_votes(ctx.links, *peer)
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
}

fn commit_frame(tag: InstanceTag, commit: &Commit) -> bytes::Bytes {
    let message = HexBytes::from(encode(&Message::Commit(commit.clone())));
    Plain::Instance(tag, Body::Consensus(vec![message])).encode()
}
