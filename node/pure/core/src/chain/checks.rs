//! Batches on their way through the workers: a few at once, the others in line.
//!
//! Workers are shared by all instances and take jobs in their order. An instance that is flooded with batches keeps its
//! line to itself: whatever another instance needs waits behind a few batches at most.

use super::Chain;
use crate::{
    context::{Context, Purpose},
    job::Job,
};
use std::collections::VecDeque;

/// Batches of one instance that are checked at once: enough for every worker to have one and to find the next.
const BATCHES_AT_ONCE: usize = 8;

/// The line; its length is bounded by the bytes that a chain lets in for checking.
#[derive(Debug, Default)]
pub(crate) struct BatchChecks {
    running: usize,
    waiting: VecDeque<(Purpose, Job)>,
}

impl Chain {
    /// Checks a batch, at once or in its turn.
    pub(super) fn check_batch(&mut self, ctx: &mut Context<'_>, purpose: Purpose, job: Job) {
        self.batch_checks.waiting.push_back((purpose, job));
        self.start_checks(ctx);
    }

    /// A check is done: the next one begins.
    pub(super) fn batch_check_done(&mut self, ctx: &mut Context<'_>) {
        self.batch_checks.running = self.batch_checks.running.saturating_sub(1);
        self.start_checks(ctx);
    }

    fn start_checks(&mut self, ctx: &mut Context<'_>) {
        while self.batch_checks.running < BATCHES_AT_ONCE
            && let Some((purpose, job)) = self.batch_checks.waiting.pop_front()
        {
            self.batch_checks.running += 1;
            ctx.work(purpose, job);
        }
    }
}
