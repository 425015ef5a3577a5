//! What a node can be asked.

use super::Node;
use crate::{chain::Chain, links::DISTANCE_MAX, record::StoredBlock};
use regatta_api::{
    metrics::Metric,
    view::{AccountView, BlockSummary, BlockView, EvidenceView, Latest, StateView, TransactionStatus, ValidatorsView},
};
use regatta_base::{Height, InstanceId, PublicKey, TransactionId};

/// Most short forms of blocks in one answer.
const SUMMARIES_MAX: usize = 10_000;

impl Node {
    /// How far every instance is.
    #[must_use]
    pub fn latest(&self) -> Latest {
        Latest {
            instances: self.chains.iter().map(Chain::latest).collect(),
        }
    }

    /// Whether the node is catching up, and what it waits for before it takes transactions (empty when ready).
    #[must_use]
    pub fn readiness(&self) -> (bool, String) {
        let catching_up = self.chains.iter().any(Chain::is_catching_up);
        let forgot = self.chains.iter().any(Chain::waits_for_recall);
        let halted = self.chains.iter().find_map(|chain| chain.halted());
        let waiting_for = match halted {
            Some(reason) => reason.to_owned(),
            None if !self.started => "the journal to be replayed".to_owned(),
            None if catching_up => "blocks that its neighbours have decided".to_owned(),
            None if forgot => {
                "two thirds of the validators, not counting this one, to say where they stand, since its journal is gone"
                    .to_owned()
            }
            None if !self.neighbours.is_empty() && self.neighbours.up().next().is_none() => {
                "a first link to a peer".to_owned()
            }
            None if self.neighbours.views().any(|links| links.distance() >= DISTANCE_MAX) => {
                "a path to a validator".to_owned()
            }
            None => String::new(),
        };
        (catching_up, waiting_for)
    }

    /// Where a transaction stands; `None` for an unknown instance.
    #[must_use]
    pub fn status(&self, instance: Option<&InstanceId>, id: &TransactionId) -> Option<TransactionStatus> {
        self.find(instance).map(|chain| chain.status(id, self.counters.durable))
    }

    /// A sender's next sequence number; `None` for an unknown instance.
    #[must_use]
    pub fn account(&self, instance: Option<&InstanceId>, key: &PublicKey) -> Option<AccountView> {
        self.find(instance).map(|chain| chain.account(key))
    }

    /// A value of the state; `None` for an unknown instance.
    #[must_use]
    pub fn state(&self, instance: Option<&InstanceId>, key: &[u8]) -> Option<StateView> {
        self.find(instance).map(|chain| chain.state(key))
    }

    /// Proofs that validators contradicted themselves; `None` for an unknown instance.
    #[must_use]
    pub fn evidence(&self, instance: Option<&InstanceId>) -> Option<Vec<EvidenceView>> {
        self.find(instance).map(|chain| chain.evidence(self.counters.durable))
    }

    /// Who decides `height`, or the next height; `None` for an unknown instance, and where that is not known.
    #[must_use]
    pub fn validators(&self, instance: Option<&InstanceId>, height: Option<Height>) -> Option<ValidatorsView> {
        self.find(instance)?.validators(height)
    }

    /// Consecutive short forms of blocks from `from` on, at most 10,000; `None` for an unknown instance.
    #[must_use]
    pub fn summaries(&self, instance: Option<&InstanceId>, from: Height, count: usize) -> Option<Vec<BlockSummary>> {
        let chain = self.find(instance)?;
        let first = from.max(1);
        let heights = (0..count.min(SUMMARIES_MAX) as Height).map_while(|offset| first.checked_add(offset));
        Some(heights.map_while(|height| chain.summary(height)).collect())
    }

    /// A whole block, given what the journal keeps of it; `None` when there is no such block.
    #[must_use]
    pub fn block(&self, instance: Option<&InstanceId>, height: Height, stored: &StoredBlock) -> Option<BlockView> {
        self.find(instance)?.block(height, stored)
    }

    /// Current values of the gauges that the core knows.
    #[must_use]
    pub fn gauges(&self) -> Vec<(Metric, u64)> {
        let height = self.chains.iter().map(Chain::height).max().unwrap_or(0);
        let (count, bytes) = self
            .chains
            .iter()
            .map(Chain::pending)
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        vec![
            (Metric::Height, height),
            (Metric::TransactionsPending, count),
            (Metric::MempoolBytes, bytes),
        ]
    }
}
