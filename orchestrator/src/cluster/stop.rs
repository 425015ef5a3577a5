//! The end of a cluster: all nodes stop where they stand, and then each one is told to end, some at a time.

use super::{Cluster, foreign::FOREIGN_GRACE};
use futures::future::join_all;
use std::{sync::PoisonError, time::Duration};
use tokio::sync::Semaphore;

/// Nodes that end at the same time. Many more only take the processor from each other, and from who is told next.
const ENDING_AT_ONCE: usize = 64;

impl Cluster {
    /// Stops all nodes and waits until none is left and the end of each is in the journal. Returns the names of those that
    /// had to be killed.
    ///
    /// Nodes of this machine stop running before the first of them is told to end: otherwise a thousand of them go on with
    /// the block that they are at and dial whoever has gone, all at the cost of those that are to end. One that does not end
    /// holds up the others for no longer than `grace`.
    pub(crate) async fn stop(&self, grace: Duration) -> Vec<String> {
        let processes = self.locked().clone();
        if self.plan.provider.is_on_this_machine() {
            for (place, process) in (0..).zip(&processes) {
                if let Some(process) = process.as_ref().filter(|_| self.plan.is_node(place)) {
                    process.pause(true);
                }
            }
        }
        let turns = Semaphore::new(ENDING_AT_ONCE);
        let stops = (0..).zip(processes).map(|(place, process)| {
            let turns = &turns;
            async move {
                let (process, is_node) = (process?, self.plan.is_node(place));
                let grace = if is_node { grace } else { FOREIGN_GRACE.min(grace) };
                let _turn = tokio::time::timeout(grace, turns.acquire()).await;
                let exit = process.stop(grace).await;
                // That a program of others has to be killed says nothing about it.
                (exit.forced && is_node).then(|| self.plan.name_at(place).to_owned())
            }
        });
        let forced = join_all(stops).await;
        let watchers = std::mem::take(&mut *self.watchers.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(watchers).await;
        forced.into_iter().flatten().collect()
    }
}
