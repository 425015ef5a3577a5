//! Partitions by round, as in the Twins method: in each of the first rounds of a height the nodes are
//! divided anew, and what is proposed or voted in a round reaches the own group only.
//!
//! Bano, Sonnino, Chursin, Perelman, Li, Ching and Malkhi: Twins: BFT Systems Made Robust (OPODIS 2021).
//! There a node leaves a round by itself. Here it takes a quorum's timeouts, which therefore pass in
//! some rounds and not in others.

use crate::Message;
use rand::{Rng, RngExt};
use regatta_base::Round;
use std::collections::BTreeMap;

/// Groups that the nodes of a round are divided into, at most.
const GROUPS_MAX: u8 = 3;

/// How the nodes are divided, by round.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<Division>);

#[derive(Debug)]
struct Division {
    group: BTreeMap<u16, u8>,
    timeouts_too: bool,
}

impl Groups {
    /// Random groups of `hosts` for so many rounds.
    pub(super) fn random(hosts: &[u16], rounds: Round, rng: &mut impl Rng) -> Self {
        let mut divide = || Division {
            group: hosts
                .iter()
                .map(|who| (*who, rng.random_range(0..GROUPS_MAX)))
                .collect(),
            timeouts_too: rng.random_bool(0.15),
        };
        Self((0..rounds).map(|_| divide()).collect())
    }

    /// Whether `message` cannot pass between the two.
    pub(super) fn part(&self, (from, to): (u16, u16), message: &Message) -> bool {
        let (round, timeout) = match message {
            Message::Proposal(proposal) => (proposal.vote.statement.round, false),
            Message::Vote(vote) => (vote.statement.round, false),
            Message::Quorum(certificate) => (certificate.round, false),
            Message::Timeout(timeout) => (timeout.vote.statement.round, true),
            Message::TimeoutQuorum(certificate) => (certificate.round, true),
            Message::Commit(_) | Message::Status { .. } => return false,
        };
        let division = usize::try_from(round).ok().and_then(|round| self.0.get(round));
        division.is_some_and(|division| {
            division.group.get(&from) != division.group.get(&to) && (!timeout || division.timeouts_too)
        })
    }
}
