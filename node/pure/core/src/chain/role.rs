//! What this node is at the current height: a validator that votes and makes batches, or one that follows.
//!
//! The validator set changes with the state, so that a node may become one or cease to be one while it runs.

use super::{
    Chain,
    intake::{FORWARD_BYTES_MAX, Onward},
};
use crate::context::Context;
use regatta_api::Reject;
use regatta_base::{Height, PublicKey, ValidatorSet};
use std::collections::BTreeMap;

/// The node's own key and what it may do with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role {
    pub(crate) key: PublicKey,
    /// Whether it is a validator of the height being decided.
    pub(crate) votes: bool,
    /// Whether it passes votes on: as a validator, shortly before it becomes one, or because it was told to.
    pub(crate) relays: bool,
    relay_votes: bool,
}

impl Role {
    pub(crate) fn new(key: PublicKey, votes: bool, relay_votes: bool) -> Self {
        Self {
            key,
            votes,
            relays: votes || relay_votes,
            relay_votes,
        }
    }
}

impl Chain {
    /// A block was executed: the next height may have other validators.
    pub(super) fn update_role(&mut self) {
        let next = self.ledger.height() + 1;
        let is_member = |height| {
            let scope = self.ledger.sets().at(height);
            scope.is_some_and(|scope| scope.validators().index_of(&self.role.key).is_some())
        };
        self.role.votes = is_member(next);
        self.role.relays = self.role.votes || is_member(next + 1) || self.role.relay_votes;
    }

    /// The validators of the height being decided.
    pub(crate) fn next_validators(&self) -> Option<&ValidatorSet> {
        let scope = self.ledger.sets().at(self.ledger.height() + 1)?;
        Some(scope.validators())
    }

    /// Whether the author of a batch was a validator when it made it, as far as that can be known here: a batch from
    /// beyond the known heights is taken from whoever is a validator at the last one.
    pub(super) fn is_from_validator(&self, author: PublicKey, base_height: Height) -> bool {
        let sets = self.ledger.sets();
        let scope = sets.at(base_height.saturating_add(1)).unwrap_or(sets.newest());
        scope.validators().index_of(&author).is_some()
    }

    /// Passes what waits for a batch on to a validator, now that this node is none any more.
    pub(super) fn hand_on(&mut self, ctx: &mut Context<'_>) {
        while self.mempool.queued_since().is_some() {
            let mut onward: BTreeMap<u64, Onward> = BTreeMap::new();
            for waiting in self.mempool.cut(ctx.now, FORWARD_BYTES_MAX) {
                let (id, sender) = (waiting.transaction.id, waiting.transaction.sender);
                self.mempool.executed(&id, sender);
                // Nobody waits for an answer under the number 0.
                let (submission, slot) = waiting.slot.unwrap_or_default();
                onward
                    .entry(submission)
                    .or_default()
                    .push((slot, id), waiting.transaction.bytes);
            }
            self.send_onward(ctx, onward);
            while let Some(echo) = self.mempool.next_echo() {
                self.reject(ctx, echo.slot, Some(echo.id), Reject::NoAcknowledgement);
            }
        }
    }
}
