//! Waiting for nodes by asking them, never by sleeping and hoping.

use super::{Cluster, ClusterError, http_address};
use crate::provider::Exit;
use futures::{StreamExt, stream::FuturesUnordered};
use regatta_client::Client;
use regatta_plan::PlannedNode;
use std::time::{Duration, Instant};

/// Nodes that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;
/// First pause between two questions to one node. It doubles up to [`longest_pause`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause among few nodes and among many.
const LONGEST_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));
/// With so many nodes the pause becomes longer than that among few.
const FEW_NODES: u32 = 200;
/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What a look at a node that comes back shows.
#[derive(Debug)]
pub(crate) enum Look {
    /// It takes part.
    Ready,
    /// It has so many blocks of all instances together, and waits for something.
    Waits {
        /// Blocks; 0 when it does not answer.
        blocks: u64,
        /// What it waits for, in words.
        why: String,
    },
    /// Its process has ended, how.
    Gone(String),
}

impl Cluster {
    /// Waits until every node of `nodes` says that it listens, and checks that it runs the program that was sealed.
    ///
    /// # Errors
    /// [`ClusterError::Died`] with its last lines when a node ends instead; [`ClusterError::NotReady`].
    pub(crate) async fn wait_listening(&self, nodes: &[u32], deadline: Duration) -> Result<(), ClusterError> {
        let until = Instant::now() + deadline;
        self.each(nodes, |node| self.listens(node, until)).await
    }

    /// Waits until every node of `nodes` takes transactions.
    ///
    /// # Errors
    /// As [`Cluster::wait_listening`].
    pub(crate) async fn wait_ready(&self, nodes: &[u32], deadline: Duration) -> Result<(), ClusterError> {
        self.wait_for(nodes, deadline, false).await
    }

    /// Waits until every link of the graph is up and every node takes transactions.
    ///
    /// # Errors
    /// As [`Cluster::wait_listening`].
    pub(crate) async fn wait_links(&self, deadline: Duration) -> Result<(), ClusterError> {
        let late = self.plan.churn.late();
        let nodes = self.plan.nodes.iter().map(|node| node.index);
        let nodes: Vec<u32> = nodes.filter(|node| late.binary_search(node).is_err()).collect();
        self.wait_for(&nodes, deadline, true).await
    }

    async fn wait_for(&self, nodes: &[u32], deadline: Duration, all_links: bool) -> Result<(), ClusterError> {
        let until = Instant::now() + deadline;
        let waits = self.each(nodes, |node| self.is_ready(node, until, all_links));
        tokio::select! {
            // A node that has gone is the reason that the others wait: say that and not that they do.
            biased;
            error = self.first_death() => Err(error),
            result = waits => result,
        }
    }

    /// Runs `check` for each node, some at a time. All that are not ready are reported together.
    async fn each<'a, F>(&'a self, nodes: &[u32], check: impl Fn(&'a PlannedNode) -> F) -> Result<(), ClusterError>
    where
        F: Future<Output = Result<(), ClusterError>>,
    {
        let started = Instant::now();
        // Collected: a closure that borrows from its argument keeps the whole from being sent to another task.
        let checks: Vec<F> = nodes
            .iter()
            .map(|&index| check(&self.plan.nodes[index as usize]))
            .collect();
        let mut results = futures::stream::iter(checks).buffer_unordered(ASKED_AT_ONCE);
        let mut late: Vec<(String, String)> = Vec::new();
        while let Some(result) = results.next().await {
            match result {
                Err(ClusterError::NotReady { waiting, .. }) => late.extend(waiting),
                other => other?,
            }
        }
        match late.first() {
            None => Ok(()),
            Some((first, _)) => Err(ClusterError::NotReady {
                of: nodes.len(),
                after_s: started.elapsed().as_secs(),
                log: self.run.log(first),
                waiting: late,
            }),
        }
    }

    async fn listens(&self, node: &PlannedNode, until: Instant) -> Result<(), ClusterError> {
        let Some(process) = self.process(node.index) else {
            return Err(self.late(node, "it was not started"));
        };
        let announced = tokio::time::timeout_at(until.into(), process.announced()).await;
        match announced {
            Err(_) => return Err(self.late(node, "it has not said that it listens")),
            Ok(Err(exit)) => return Err(self.died(node, exit)),
            Ok(Ok(_)) => {}
        }
        self.check_program(node, &process).await
    }

    async fn is_ready(&self, node: &PlannedNode, until: Instant, all_links: bool) -> Result<(), ClusterError> {
        let client = client(node);
        let peers = self.plan.peers(node.index);
        let absent = self.plan.churn.late();
        // Peers that start late: nobody waits for links to them.
        let late = peers.iter().filter(|peer| absent.binary_search(peer).is_ok()).count() as u64;
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match client.readiness().await {
                Ok(answer) => {
                    let linked = answer.peers_connected + late >= answer.peers_configured;
                    if answer.ready && (linked || !all_links) {
                        return Ok(());
                    }
                    let links = format!("{} of {} links are up", answer.peers_connected, answer.peers_configured);
                    if answer.waiting_for.is_empty() {
                        links
                    } else {
                        format!("{}; {links}", answer.waiting_for)
                    }
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() >= until {
                return Err(self.late(node, &why));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest_pause(self.plan.nodes.len()));
        }
    }

    /// One look at a node that comes back.
    pub(crate) async fn look(&self, node: u32) -> Look {
        let planned = &self.plan.nodes[node as usize];
        let exit = self.process(node).and_then(|process| process.exit());
        if let Some(exit) = exit.filter(|exit| !exit.ordered) {
            return Look::Gone(format!("it ended: {exit}"));
        }
        let client = client(planned);
        let why = match client.readiness().await {
            Ok(answer) if answer.ready => return Look::Ready,
            Ok(answer) => answer.waiting_for,
            Err(error) => error.to_string(),
        };
        let rows = client.latest().await.map(|latest| latest.instances).unwrap_or_default();
        Look::Waits {
            blocks: rows.iter().map(|row| row.height).sum(),
            why,
        }
    }

    /// The error that names those of `of` nodes that are `waiting` since `began`, with what they wait for; none when
    /// nobody is.
    pub(crate) fn all_back(
        &self,
        of: usize,
        began: Instant,
        waiting: Vec<(String, String)>,
    ) -> Result<(), ClusterError> {
        let Some((first, _)) = waiting.first() else {
            return Ok(());
        };
        Err(ClusterError::NotReady {
            of,
            after_s: began.elapsed().as_secs(),
            log: self.run.log(first),
            waiting,
        })
    }

    /// Completes when a node ends that nobody told to.
    async fn first_death(&self) -> ClusterError {
        let running = self
            .plan
            .nodes
            .iter()
            .filter_map(|node| Some((node, self.process(node.index)?)));
        let mut ends: FuturesUnordered<_> = running
            .map(|(node, process)| async move { (node, process.ended().await) })
            .collect();
        while let Some((node, exit)) = ends.next().await {
            if !exit.ordered {
                return self.died(node, exit);
            }
        }
        // All have ended by order: whoever waits will see that they do not answer.
        std::future::pending().await
    }

    fn died(&self, node: &PlannedNode, exit: Exit) -> ClusterError {
        ClusterError::Died {
            node: node.name.clone(),
            exit,
            log: self.run.log(&node.name),
        }
    }

    pub(super) fn late(&self, node: &PlannedNode, why: &str) -> ClusterError {
        ClusterError::NotReady {
            waiting: vec![(node.name.clone(), why.to_owned())],
            of: 1,
            after_s: 0,
            log: self.run.log(&node.name),
        }
    }
}

/// Questions take time from the nodes that are to become ready: among many, each is asked more seldom.
fn longest_pause(nodes: usize) -> Duration {
    let times = u32::try_from(nodes).unwrap_or(u32::MAX) / FEW_NODES;
    LONGEST_PAUSES.0.saturating_mul(times.max(1)).min(LONGEST_PAUSES.1)
}

pub(super) fn client(node: &PlannedNode) -> Client {
    Client::new(http_address(node)).with_deadline(ANSWER_DEADLINE)
}
