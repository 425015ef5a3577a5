//! Notes when each node of an upgrade runs the new program, as it happens, and when all do.

use super::live::Live;
use crate::{
    cluster::Cluster,
    inject::{Standing, program, standing},
};
use regatta_plan::PlannedFault;
use regatta_report::model::EventKind;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Pause between two looks at the nodes that are left.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until every node of the fault runs the new program, and notes each one; until `over` is cancelled at most.
pub(super) async fn follow(
    cluster: Arc<Cluster>,
    live: Arc<Live>,
    fault: PlannedFault,
    over: tokio_util::sync::CancellationToken,
) {
    let Some(program) = program(&cluster, &fault) else {
        return;
    };
    let build = fault.build.clone().unwrap_or_default();
    let mut left: BTreeSet<u32> = fault.nodes.iter().copied().collect();
    while !left.is_empty() && !over.is_cancelled() {
        for node in left.clone() {
            if standing(&cluster, node, program).await == Standing::Upgraded {
                left.remove(&node);
                let name = &live.plan().nodes[node as usize].name;
                let text = format!("runs build `{build}`, program {}", program.short());
                live.note(EventKind::Note, name, text);
            }
        }
        over.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
    if left.is_empty() {
        // The plan gives it more time; what is shaded is the time that it took.
        live.fault_ended(fault.index);
    }
}
