//! Intake: checks submitted transactions, admits them at a validator, forwards them elsewhere.

use super::{
    BYTES_OVERHEAD, Chain,
    mempool::Slot,
    submissions::{Answer, Origin},
};
use crate::{
    context::{Context, Purpose},
    event::{Output, PeerIndex, Protocol, Time},
    job::Job,
    record::RecordNumber,
    wire::{Body, Plain},
};
use bytes::Bytes;
use regatta_api::{Reject, metrics::Metric, view::SubmitResult};
use regatta_apps::{CheckedTransaction, TransactionError};
use regatta_base::{HexBytes, TransactionId, limits};
use std::collections::BTreeMap;

/// Most transactions of one signature check: large enough for the batch to pay, short enough to answer soon.
const CHECK_MAX: usize = 2048;
/// So many transactions do not wait for more: a larger check saves little.
const CHECK_ENOUGH: usize = 512;

/// Most bytes of transactions of one forward, which is one frame.
pub(super) const FORWARD_BYTES_MAX: usize = limits::FRAME_BYTES_MAX / 2;

/// What of one submission travels on, in parts of a frame each.
#[derive(Default)]
pub(super) struct Onward {
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    slots: Vec<(u32, TransactionId)>,
    transactions: Vec<Bytes>,
    bytes: usize,
}

impl Part {
    fn has_room(&self, bytes: usize) -> bool {
        let count = self.transactions.len();
        count == 0 || count < limits::REQUEST_TRANSACTIONS_MAX && self.bytes + bytes <= FORWARD_BYTES_MAX
    }
}

impl Onward {
    pub(super) fn push(&mut self, slot: (u32, TransactionId), bytes: Bytes) {
        // What frames a transaction is more than a short one itself.
        let size = bytes.len() + BYTES_OVERHEAD;
        if self.parts.last().is_none_or(|part| !part.has_room(size)) {
            self.parts.push(Part::default());
        }
        if let Some(part) = self.parts.last_mut() {
            part.bytes += size;
            part.slots.push(slot);
            part.transactions.push(bytes);
        }
    }
}

impl Chain {
    /// A neighbour passes transactions on: as many as an honest one puts into a frame, or it is at fault.
    pub(super) fn on_forward(&mut self, ctx: &mut Context<'_>, from: PeerIndex, id: u64, transactions: Vec<HexBytes>) {
        if transactions.len() > limits::REQUEST_TRANSACTIONS_MAX || transactions.iter().any(|bytes| bytes.0.is_empty())
        {
            return ctx.fault(from, "too many transactions in a frame, or empty ones".to_owned());
        }
        let transactions = transactions.into_iter().map(|bytes| bytes.0).collect();
        self.submit(ctx, Origin::Peer(from, id), transactions);
    }

    pub(crate) fn submit(&mut self, ctx: &mut Context<'_>, origin: Origin, transactions: Vec<Bytes>) {
        let refused = if ctx.counters.disk_full {
            Some(Reject::DiskFull)
        } else {
            None
        };
        let count = transactions.len();
        let is_open = refused.is_none() && count > 0 && self.submissions.open(ctx.now, origin, transactions).is_some();
        if !is_open {
            let rejected = Some(refused.unwrap_or(Reject::MempoolFull));
            ctx.count(Metric::TransactionsRejected, count as u64);
            let results = vec![SubmitResult { id: None, rejected }; count];
            self.answer(
                ctx,
                Answer {
                    origin,
                    results,
                    after: 0,
                },
            );
        }
    }

    /// How long a submission waits for others to be checked with: half of what it may wait for its batch.
    /// Checked alone a signature costs four times as much. A follower has no batch to wait for.
    fn check_delay(&self) -> Time {
        if self.role.votes {
            self.config.batch_delay_ms / 2
        } else {
            0
        }
    }

    /// When the next check of signatures has to start.
    pub(super) fn check_due_at(&self) -> Option<Time> {
        self.submissions.check_due_at(self.check_delay())
    }

    /// Starts the next check of signatures when it is due or large enough, unless one runs.
    pub(super) fn check_transactions(&mut self, ctx: &mut Context<'_>) {
        let is_due = self.check_due_at().is_some_and(|at| at <= ctx.now);
        if !is_due && self.submissions.unchecked() < CHECK_ENOUGH {
            return;
        }
        let transactions = self.submissions.next_check(CHECK_MAX);
        if !transactions.is_empty() {
            let job = Job::Transactions {
                domain: self.domain,
                transactions,
            };
            ctx.work(Purpose::Transactions, job);
        }
    }

    pub(super) fn on_transactions(
        &mut self,
        ctx: &mut Context<'_>,
        results: Vec<Result<CheckedTransaction, TransactionError>>,
    ) {
        let slots = self.submissions.checked();
        let mut onward: BTreeMap<u64, Onward> = BTreeMap::new();
        for (slot, result) in slots.into_iter().zip(results) {
            match result {
                Err(error) => self.reject(ctx, slot, None, reason(error)),
                Ok(transaction) if self.role.votes => self.admit(ctx, slot, transaction),
                Ok(transaction) => {
                    if self.admit_onward(ctx, slot, &transaction) {
                        let parts = onward.entry(slot.0).or_default();
                        parts.push((slot.1, transaction.id), transaction.bytes);
                    }
                }
            }
        }
        self.send_onward(ctx, onward);
    }

    /// Forwards what belongs to each submission towards a validator.
    pub(super) fn send_onward(&mut self, ctx: &mut Context<'_>, onward: BTreeMap<u64, Onward>) {
        for (submission, onward) in onward {
            for part in onward.parts {
                let forward = self.submissions.forward(submission, part.slots, part.transactions);
                self.send_forward(ctx, forward);
            }
        }
    }

    /// At a validator: into the mempool. The answer waits until a batch with it is on the disk.
    fn admit(&mut self, ctx: &mut Context<'_>, slot: Slot, transaction: CheckedTransaction) {
        let id = transaction.id;
        if self.mempool.contains(&id) {
            if !self.mempool.echo(id, slot) {
                self.reject(ctx, slot, Some(id), Reject::NoAcknowledgement);
            }
            return;
        }
        match self.try_admit(ctx, slot, transaction) {
            Ok(()) => ctx.count(Metric::TransactionsAccepted, 1),
            Err(rejected) => self.reject(ctx, slot, Some(id), rejected),
        }
    }

    /// Answers second submissions of transactions that are in a batch by now, when that is on the disk.
    pub(super) fn answer_echoes(&mut self, ctx: &mut Context<'_>) {
        while let Some(echo) = self.mempool.next_echo() {
            ctx.count(Metric::TransactionsRejected, 1);
            let result = SubmitResult {
                id: Some(echo.id),
                rejected: Some(Reject::Duplicate),
            };
            self.resolve(ctx, echo.slot, result, ctx.newest_record());
        }
    }

    fn try_admit(&mut self, ctx: &Context<'_>, slot: Slot, transaction: CheckedTransaction) -> Result<(), Reject> {
        let id = transaction.id;
        if self.ledger.place(&id).is_some() {
            return Err(Reject::Duplicate);
        }
        if let Some((sender, sequence)) = transaction.sender {
            self.ledger
                .state()
                .check_sequence(&sender, sequence)
                .map_err(|_| Reject::StaleSequence)?;
        }
        // Its time runs from its arrival, which the check has delayed.
        let since = ctx.now.saturating_sub(self.check_delay());
        self.mempool.admit(since, transaction, slot, self.is_from_client(slot))
    }

    /// At a follower: whether it may travel on towards a validator.
    fn admit_onward(&mut self, ctx: &mut Context<'_>, slot: Slot, transaction: &CheckedTransaction) -> bool {
        let id = transaction.id;
        let stale = |(sender, sequence)| self.ledger.state().check_sequence(&sender, sequence).is_err();
        let rejected = if self.ledger.place(&id).is_some() {
            Some(Reject::Duplicate)
        } else if self.submissions.is_watched(&id) {
            // On its way already, but a neighbour that sends again would take that for the lost acknowledgement.
            let is_told = self.is_from_client(slot);
            Some(if is_told {
                Reject::Duplicate
            } else {
                Reject::NoAcknowledgement
            })
        } else if transaction.sender.is_some_and(stale) {
            Some(Reject::StaleSequence)
        } else if self.is_from_client(slot) && !self.submissions.watch(&id) {
            Some(Reject::MempoolFull)
        } else {
            None
        };
        if let Some(rejected) = rejected {
            self.reject(ctx, slot, Some(id), rejected);
        }
        rejected.is_none()
    }

    fn is_from_client(&self, (submission, _): Slot) -> bool {
        matches!(self.submissions.origin(submission), Some(Origin::Client(_)))
    }

    pub(super) fn reject(&mut self, ctx: &mut Context<'_>, slot: Slot, id: Option<TransactionId>, rejected: Reject) {
        ctx.count(Metric::TransactionsRejected, 1);
        self.resolve(
            ctx,
            slot,
            SubmitResult {
                id,
                rejected: Some(rejected),
            },
            0,
        );
    }

    /// Notes one result; answers when it was the last one of its submission.
    pub(super) fn resolve(&mut self, ctx: &mut Context<'_>, slot: Slot, result: SubmitResult, after: RecordNumber) {
        if let Some(answer) = self.submissions.resolve(slot, result, after) {
            self.answer(ctx, answer);
        }
    }

    fn answer(&self, ctx: &mut Context<'_>, answer: Answer) {
        let Answer { origin, results, after } = answer;
        match origin {
            Origin::Client(request) => ctx.out.push(Output::Reply {
                request,
                results,
                after,
            }),
            Origin::Peer(peer, id) => {
                let frame = Plain::Instance(self.tag, Body::ForwardResult { id, results }).encode();
                ctx.send(peer, frame, Protocol::Payload, after);
            }
        }
    }

    fn send_forward(&mut self, ctx: &mut Context<'_>, id: u64) {
        let Some(forward) = self.submissions.get_forward(id) else {
            return;
        };
        // Never back to where it came from: two followers would play ball with it.
        let Some(peer) = ctx.links.towards_validator(forward.sent_to) else {
            self.submissions.forward_sent(id, None, ctx.now);
            return;
        };
        let transactions = forward.transactions.iter().cloned().map(HexBytes).collect();
        let frame = Plain::Instance(self.tag, Body::Forward { id, transactions }).encode();
        // Not bulk: a dropped one would be noticed by its time-out only.
        ctx.send(peer, frame, Protocol::Payload, 0);
        self.submissions.forward_sent(id, Some(peer), ctx.now);
    }

    /// Sends forwards again whose answer is overdue or whose neighbour is gone; gives spent ones up.
    pub(super) fn resend_forwards(&mut self, ctx: &mut Context<'_>, down: Option<PeerIndex>) {
        for id in self.submissions.due(ctx.now, down) {
            if self.submissions.is_spent(id) {
                let results = self.submissions.finish_forward(id, None, &[]);
                self.finish_forward(ctx, results);
            } else {
                self.send_forward(ctx, id);
            }
        }
    }

    pub(super) fn on_forward_result(
        &mut self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        id: u64,
        results: &[SubmitResult],
    ) {
        let results = self.submissions.finish_forward(id, Some(from), results);
        self.finish_forward(ctx, results);
    }

    fn finish_forward(&mut self, ctx: &mut Context<'_>, results: Vec<(Slot, SubmitResult)>) {
        for (slot, result) in results {
            let certain = result
                .rejected
                .is_some_and(|rejected| rejected != Reject::NoAcknowledgement);
            if let Some(id) = &result.id
                && certain
            {
                self.submissions.unwatch(id);
            }
            let metric = if result.rejected.is_some() {
                Metric::TransactionsRejected
            } else {
                Metric::TransactionsAccepted
            };
            ctx.count(metric, 1);
            self.resolve(ctx, slot, result, 0);
        }
    }
}

fn reason(error: TransactionError) -> Reject {
    match error {
        TransactionError::Malformed => Reject::Malformed,
        TransactionError::TooLarge => Reject::TooLarge,
        TransactionError::BadSignature => Reject::BadSignature,
    }
}
