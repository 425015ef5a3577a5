//! What clients were promised: a transaction that was acknowledged becomes final at every node.

use super::World;
use crate::Time;
use regatta_api::view::{Outcome, TransactionStatus};
use regatta_base::TransactionId;

impl World {
    /// Acknowledged transactions of the first instance that have not taken effect at a node that runs, with that node.
    fn outstanding(&self) -> Option<(usize, TransactionId)> {
        let results = self.replies.values().flatten();
        let mut acknowledged = results
            .filter(|result| result.rejected.is_none())
            .filter_map(|result| result.id);
        acknowledged.find_map(|id| {
            let lacks = |&node: &usize| {
                let status = self.node(node).status(None, &id);
                let outcome = match status {
                    Some(TransactionStatus::Executed { outcome, .. }) => Some(outcome),
                    _ => None,
                };
                outcome != Some(Outcome::Ok)
            };
            let node = (0..self.hosts.len()).filter(|&node| self.is_up(node)).find(lacks)?;
            Some((node, id))
        })
    }

    /// Lets time pass until everything acknowledged is final everywhere, but no more than `most`. To be called in calm
    /// weather, by tests in which no disk is lost.
    pub(in crate::tests) fn assert_promises_kept(&mut self, most: Time) {
        let end = self.now + most;
        while let Some((node, id)) = self.outstanding() {
            assert!(
                self.now < end,
                "{} was acknowledged, and node {node} knows of it: {:?}",
                id.short(),
                self.node(node).status(None, &id)
            );
            self.run(100);
        }
    }
}
