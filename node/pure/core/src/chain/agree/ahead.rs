//! The proposal of the next height, whose signature is checked together with others.
//!
//! The leader of the next height proposes while this one is being decided. Nothing is done about its proposal before
//! the decision if the payload is here. So it waits for whatever else is to be checked, mostly the votes that decide
//! this height, and a batch of three is cheaper than one of two and a single check.
//!
//! What a proposal does besides is not lost by that:
//! * It wakes a node that has nothing to do, is a sign of life of a leader that seemed dead, makes this node fetch the
//!   payload and may have to be passed on: such proposals do not wait (`Chain::may_wait`).
//! * A proposal that its leader did not bring itself does not wait: whoever forged it would keep the real one out.
//! * The block after it is paced by it: its arrival counts and not the end of its wait.
//!
//! One waits at most. A second one takes it along to the check, so that neither displaces the other. It also ends its
//! wait with the height, when somebody gave the round up, and when a retry is due.

use super::{Agreement, ballots::Waiting};
use crate::{chain::Chain, header::Header, mutants::mutant};
use regatta_base::Digest;
#[cfg(test)]
use regatta_base::Height;
#[cfg(test)]
use regatta_consensus::Message;
use regatta_consensus::{Proposal, Statement};

/// A proposal that waits for company.
#[derive(Debug, Default)]
pub(super) struct Ahead(Option<Waiting>);

impl Ahead {
    pub(super) fn take(&mut self) -> Option<Waiting> {
        self.0.take()
    }

    /// What waits: its height and digest.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> Option<(Height, Digest)> {
        match &self.0.as_ref()?.inbound.message {
            Message::Proposal(proposal) => Some((proposal.vote.statement.height, proposal.digest())),
            _ => None,
        }
    }

    pub(super) fn waits(&self) -> bool {
        self.0.is_some()
    }
}

impl Agreement {
    /// Takes a proposal that may wait and returns what is to be checked now.
    pub(super) fn wait_for_company(&mut self, proposal: Waiting) -> Vec<Waiting> {
        let has_company = !self.inbox.is_empty() || self.ahead.waits();
        if has_company && !mutant!(self.ballots, displace_proposal) {
            return self.ahead.take().into_iter().chain([proposal]).collect();
        }
        self.ahead.0 = Some(proposal);
        Vec::new()
    }

    /// No proposal waits any more.
    pub(super) fn end_waiting(&mut self) {
        let proposal = self.ahead.take();
        self.queue(proposal.into_iter().collect());
    }
}

impl Chain {
    /// Whether nothing is done about a proposal before the present height is decided: it is for the next one, and its
    /// payload is here.
    pub(super) fn is_for_later(&self, proposal: &Proposal) -> bool {
        let Statement { height, round, .. } = proposal.vote.statement;
        let is_ahead = height == self.ledger.height() + 2 || mutant!(self.agreement.ballots, wait_when_due);
        let has_payload =
            |header: &Header| self.lacks(header).is_empty() || mutant!(self.agreement.ballots, wait_without_payload);
        is_ahead && round == 0 && Header::decode(&proposal.header).is_ok_and(|header| has_payload(&header))
    }

    /// Batches of a block after the present height that would have to be fetched to vote for it.
    pub(super) fn lacks(&self, header: &Header) -> Vec<Digest> {
        let lacks = |digest: &&Digest| !self.batches.is_votable(digest) && !self.ledger.is_included(digest);
        header.batches.iter().filter(lacks).copied().collect()
    }
}
