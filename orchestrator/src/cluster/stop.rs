//! The end of a cluster: all nodes stop where they stand, and then each one is told to end, some at a time.

use super::{Cluster, foreign::FOREIGN_GRACE};
use futures::future::join_all;
use regatta_process::Process;
use std::{sync::PoisonError, time::Duration};
use tokio::sync::Semaphore;

/// Nodes that end at the same time. Many more only take the processor from each other, and from who is told next.
const ENDING_AT_ONCE: usize = 64;

impl Cluster {
    /// Stops all nodes and waits until none is left and the end of each is in the journal. Returns the names of those that
    /// had to be killed.
    ///
    /// Nodes of this machine stop running before the first of them is told to end: otherwise a thousand of them go on with
    /// the block that they are at and dial whoever has gone, all at the cost of those that are to end. Nodes that do not end
    /// hold up the others for no longer than `grace`, so that all of it takes twice that at most.
    pub(crate) async fn stop(&self, grace: Duration) -> Vec<String> {
        let processes = self.locked().clone();
        if self.plan.provider.is_on_this_machine() {
            for (place, process) in (0..).zip(&processes) {
                if let Some(process) = process.as_ref().filter(|_| self.plan.is_node(place)) {
                    process.pause(true);
                }
            }
        }
        let of_place = |(place, process): (u32, Option<Process>)| {
            let grace = if self.plan.is_node(place) {
                grace
            } else {
                FOREIGN_GRACE.min(grace)
            };
            Some((place, process?, grace))
        };
        let running = (0..).zip(processes).filter_map(of_place).collect();
        let forced = end_in_turns(running, ENDING_AT_ONCE).await;
        let watchers = std::mem::take(&mut *self.watchers.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(watchers).await;
        // That a program of others has to be killed says nothing about it.
        let nodes = forced.into_iter().filter(|place| self.plan.is_node(*place));
        nodes.map(|place| self.plan.name_at(place).to_owned()).collect()
    }
}

/// Ends processes, `at_once` at a time, each within its grace. Returns the places of those that had to be killed.
async fn end_in_turns(processes: Vec<(u32, Process, Duration)>, at_once: usize) -> Vec<u32> {
    let turns = Semaphore::new(at_once);
    let ends = processes.into_iter().map(|(place, process, grace)| {
        let turns = &turns;
        async move {
            // Whoever waits in vain goes without a turn.
            let _turn = tokio::time::timeout(grace, turns.acquire()).await;
            process.stop(grace).await.forced.then_some(place)
        }
    });
    join_all(ends).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProcessSpec;
    use regatta_process::Keeper;
    use std::path::Path;

    async fn start(keeper: &Keeper, folder: &Path, place: u32, script: &str) -> Process {
        let spec = ProcessSpec {
            name: place.to_string(),
            program: "/bin/sh".into(),
            held: None,
            folder: Some(folder.to_owned()),
            arguments: vec!["-c".into(), script.into()],
            log: folder.join(place.to_string()),
            log_bytes_max: 1 << 20,
            foreign: None,
        };
        let process = keeper.spawn(spec, None).await.unwrap();
        process.announced().await.unwrap();
        process
    }

    #[tokio::test]
    async fn frozen_processes_end_in_turns_and_only_those_that_do_not_are_killed() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::start().unwrap();
        let mut processes = Vec::new();
        for place in 0..7 {
            // The first two end at nothing, and have both turns; the others wait for them, longer than those have.
            let (script, grace) = if place < 2 {
                (
                    "trap '' TERM; echo up; while :; do sleep 1; done",
                    Duration::from_millis(50),
                )
            } else {
                ("echo up; cat", Duration::from_secs(60))
            };
            let process = start(&keeper, folder.path(), place, script).await;
            process.pause(true);
            processes.push((place, process, grace));
        }
        let all: Vec<Process> = processes.iter().map(|(_, process, _)| process.clone()).collect();
        assert_eq!(end_in_turns(processes, 2).await, [0, 1]);
        assert!(all.iter().all(|process| process.exit().is_some()));
    }

    #[tokio::test]
    async fn a_turn_that_never_comes_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::start().unwrap();
        let process = start(&keeper, folder.path(), 0, "echo up; cat").await;
        let seen = process.clone();
        end_in_turns(vec![(0, process, Duration::from_millis(500))], 0).await;
        assert!(seen.exit().is_some());
    }
}
