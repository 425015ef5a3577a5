//! The node: instances over shared links.

use crate::{Event, Output, Record, StoredBlock, Time};
use regatta_api::{
    NodeConfig,
    metrics::Metric,
    view::{AccountView, BlockSummary, BlockView, Latest, StateView, TransactionStatus},
};
use regatta_base::{Height, InstanceId, PublicKey, SecretKey, TransactionId};

/// Why a node cannot be built or rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(String),
    /// The journal does not fit the configuration, or is damaged.
    #[error("journal: {0}")]
    Journal(String),
}

/// One full node.
#[derive(Debug)]
pub struct Node {}

#[allow(missing_docs, unused_variables, clippy::missing_errors_doc, clippy::unused_self)]
impl Node {
    pub fn new(config: &NodeConfig, key: SecretKey) -> Result<Self, NodeError> { Ok(Self {}) }
    pub fn replay(&mut self, record: Record) -> Result<(), NodeError> { Ok(()) }
    pub fn start(&mut self, now: Time, out: &mut Vec<Output>) {}
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Output>) {}
    pub fn next_deadline(&self) -> Option<Time> { None }
    pub fn latest(&self) -> Latest { Latest { instances: vec![] } }
    /// (catching up, what it waits for: empty when ready)
    pub fn readiness(&self) -> (bool, String) { (false, String::new()) }
    pub fn instance_index(&self, instance: Option<&InstanceId>) -> Option<usize> { None }
    pub fn status(&self, instance: Option<&InstanceId>, id: &TransactionId) -> Option<TransactionStatus> { None }
    pub fn account(&self, instance: Option<&InstanceId>, key: &PublicKey) -> Option<AccountView> { None }
    pub fn state(&self, instance: Option<&InstanceId>, key: &[u8]) -> Option<StateView> { None }
    pub fn summaries(&self, instance: Option<&InstanceId>, from: Height, count: usize) -> Option<Vec<BlockSummary>> { None }
    pub fn block(&self, instance: Option<&InstanceId>, height: Height, stored: &StoredBlock) -> Option<BlockView> { None }
    pub fn gauges(&self) -> Vec<(Metric, u64)> { vec![] }
}
