//! Heights in every instance of a run with several, for live views: samples tell of one.

use super::live::Live;
use crate::{cluster::Cluster, runner::Observer};
use futures::{StreamExt, stream};
use std::{sync::Arc, time::Duration};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a node may take to answer: what comes later is of another round.
const DEADLINE: Duration = Duration::from_millis(800);
/// Nodes that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// Asks every node that runs again and again, until the task is ended; nobody where nobody looks or one instance runs.
pub(super) async fn follow(live: Arc<Live>, cluster: Arc<Cluster>, observer: Arc<dyn Observer>) {
    let plan = Arc::clone(cluster.shared_plan());
    if plan.instances.len() < 2 || observer.look_interval().is_none() {
        return;
    }
    loop {
        let running: Vec<u32> = (0..plan.nodes.len() as u32)
            .filter(|&node| cluster.is_running(node))
            .collect();
        let asked = running.into_iter().map(|node| {
            let client = cluster.client(node).with_deadline(DEADLINE);
            async move { (node, client.latest().await) }
        });
        let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        while let Some((node, answer)) = answers.next().await {
            // One that does not answer keeps the heights that it told last.
            let Ok(latest) = answer else { continue };
            let height = |instance: &regatta_plan::PlannedInstance| {
                let mut rows = latest.instances.iter();
                rows.find(|row| row.instance.to_string() == instance.id)
                    .map(|row| row.height)
            };
            live.heights_seen(node, plan.instances.iter().map(height).collect());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
