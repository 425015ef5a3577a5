//! Building blocks: when, on which parent, and of which batches.

use crate::{chain::Chain, context::Context, event::Time, header::Header};
use regatta_base::{Digest, Height, Round};
use regatta_consensus::{Input, Proposal, Scope, header_digest};
use std::collections::VecDeque;

/// A block that this node is asked to build.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) height: Height,
    pub(super) round: Round,
    /// The header before it, where that is certified and not decided yet.
    pub(super) parent: Option<Vec<u8>>,
    /// It is due and there is nothing to put into it yet.
    pub(super) waits: bool,
}

impl Chain {
    pub(super) fn build(
        &mut self,
        now: Time,
        (height, round): (Height, Round),
        parent: Option<Vec<u8>>,
        inputs: &mut VecDeque<Input>,
    ) {
        self.agreement.build = Some(Build {
            height,
            round,
            parent,
            waits: false,
        });
        self.build_when_due(now, inputs);
    }

    /// When the block that is asked for may be built: so long after the one before it was proposed, or was executed
    /// where the proposal was not seen.
    pub(super) fn build_at(&self, height: Height) -> Time {
        let agreement = &self.agreement;
        let proposed = agreement.proposed_at.filter(|(proposed, _)| proposed + 1 == height);
        let before = proposed.map(|(_, at)| at).or(agreement.last_block_at);
        // Who is a quorum alone would otherwise decide block after block and never come to the end of one step.
        let interval = match self.config.block_interval_ms {
            0 if self.decides_alone(height) => 1,
            interval => interval,
        };
        before.map_or(0, |at| at + interval)
    }

    fn decides_alone(&self, height: Height) -> bool {
        let validators = self.ledger.sets().at(height).map(Scope::validators);
        validators.is_some_and(|set| {
            let own = set.index_of(&self.role.key).map(|signer| set.weight(signer));
            own.is_some_and(|weight| set.is_quorum(weight))
        })
    }

    /// When there is something to build, unless only payload is missing, which brings itself to notice.
    pub(in crate::chain) fn build_deadline(&self) -> Option<Time> {
        let build = self.agreement.build.as_ref().filter(|build| !build.waits)?;
        Some(self.build_at(build.height))
    }

    pub(in crate::chain) fn build_when_due(&mut self, now: Time, inputs: &mut VecDeque<Input>) {
        let Some(build) = self
            .agreement
            .build
            .take_if(|build| build.height > self.ledger.height())
        else {
            self.agreement.build = None;
            return;
        };
        if now < self.build_at(build.height) {
            self.agreement.build = Some(build);
            return;
        }
        let header = match &build.parent {
            None => self.next_header(build.height),
            Some(parent) => self.header_ahead(build.height, parent),
        };
        match header {
            Some(header) => inputs.push_back(Input::Built {
                height: build.height,
                round: build.round,
                header: header.encode(),
            }),
            None => self.agreement.build = Some(Build { waits: true, ..build }),
        }
    }

    /// The header of the block after the last executed one.
    fn next_header(&self, height: Height) -> Option<Header> {
        Some(Header {
            height,
            parent: self.ledger.hash(),
            batches: self.batches.propose(height, &[]),
            state_root: self.lagged_state_root(height),
            next_validators: self.next_set(height)?,
        })
    }

    /// The header of a block whose parent is not decided; none while it would be empty and need not be, or the parent may
    /// change the validators, whom this header has to name.
    fn header_ahead(&self, height: Height, parent: &[u8]) -> Option<Header> {
        let before = Header::decode(parent).ok()?;
        if height != self.ledger.height() + 2 || before.height + 1 != height {
            return None;
        }
        let keeps_set = |digest: &Digest| self.batches.get(digest).is_some_and(|batch| !batch.changes_validators);
        if !before.batches.iter().all(keeps_set) {
            return None;
        }
        let batches = self.batches.propose(height, &before.batches);
        (self.config.empty_blocks || !batches.is_empty()).then(|| Header {
            height,
            parent: header_digest(parent),
            batches,
            state_root: self.lagged_state_root(height),
            next_validators: self.ledger.sets().newest().validators().hash(),
        })
    }

    /// Looks for the payload of a block that may become the one after the next.
    pub(super) fn prefetch(&mut self, ctx: &mut Context<'_>, proposal: &Proposal) {
        let Ok(header) = Header::decode(&proposal.header) else {
            return;
        };
        let lacking = self.lacks(&header);
        self.make_votable(ctx, &lacking);
    }

    /// A proposal was made or seen: the next block is paced by it.
    pub(super) fn note_proposal(&mut self, now: Time, proposal: &Proposal) {
        let height = proposal.vote.statement.height;
        if self.agreement.proposed_at.is_none_or(|(seen, _)| seen < height) {
            self.agreement.proposed_at = Some((height, now));
        }
    }
}
