//! Samples of the host and of a run's nodes, as events.

use crate::{clock::now_us, run::Run};
use regatta_fleet::{NodeEvent, NodeSample, limits::SAMPLE_MS_MIN};
use regatta_process::{HostSampler, disk_bytes, usage};
use std::{rc::Rc, time::Duration};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Samples `run` every `interval_ms`, in place of what was asked for before; 0 ends it.
pub(crate) fn sample(run: &Rc<Run>, interval_ms: u64, private: bool) {
    let token = CancellationToken::new();
    run.sampling.replace(token.clone()).cancel();
    if interval_ms > 0 {
        let interval = Duration::from_millis(interval_ms.max(SAMPLE_MS_MIN));
        let run = Rc::clone(run);
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = rounds(&run, interval, private) => {}
                () = token.cancelled() => {}
            }
        });
    }
}

async fn rounds(run: &Run, interval: Duration, private: bool) {
    let mut host = HostSampler::new();
    let mut ticks = tokio::time::interval(interval);
    // A host that could not keep up is not looked at more often afterwards.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let host = host.sample(now_us() / 1000);
        let nodes = run.nodes().into_iter().filter_map(|node| {
            let process = node.running()?;
            let pid = process.pid();
            Some(NodeSample {
                node: node.name().clone(),
                pid,
                usage: usage(i32::try_from(pid).ok()?, private)?,
                disk_bytes: disk_bytes(&run.folder().join("data").join(node.name().as_str())),
            })
        });
        run.tell(NodeEvent::Sampled {
            host,
            nodes: nodes.collect(),
        });
    }
}
