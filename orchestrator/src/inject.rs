//! Faults: what each kind does to its nodes, and how it is undone.

use crate::cluster::{Cluster, ClusterError};
use futures::future::{join_all, try_join_all};
use regatta_plan::{PlannedFault, scenario::FaultKind};
use std::time::Duration;

/// How long a crashed node may take until it takes part again.
const REJOIN_DEADLINE: Duration = Duration::from_secs(60);

/// Why a fault cannot be done or undone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InjectError {
    /// This provider cannot do it. Plans are checked for that, so this is a plan from elsewhere.
    #[error("fault `{0}` is not supported by this provider yet")]
    Unsupported(FaultKind),
    /// A crashed node did not come back.
    #[error("after fault {fault}: {error}")]
    NotHealed {
        /// Position of the fault in the plan.
        fault: u32,
        /// What went wrong.
        error: ClusterError,
    },
}

/// Does `fault` to its nodes.
///
/// # Errors
/// [`InjectError::Unsupported`]
pub(crate) async fn inject(cluster: &Cluster, fault: &PlannedFault) -> Result<(), InjectError> {
    match fault.kind {
        FaultKind::Crash => {
            let kills: Vec<_> = fault.nodes.iter().map(|&node| cluster.kill(node)).collect();
            join_all(kills).await;
        }
        kind => return Err(InjectError::Unsupported(kind)),
    }
    Ok(())
}

/// Undoes `fault`: crashed nodes are started again from verified programs, with the data that they had.
///
/// # Errors
/// [`InjectError::NotHealed`] when a node does not start or does not take part again in time.
pub(crate) async fn heal(cluster: &Cluster, fault: &PlannedFault) -> Result<(), InjectError> {
    match fault.kind {
        FaultKind::Crash => {
            let restarts: Vec<_> = fault
                .nodes
                .iter()
                .map(|&node| cluster.restart(node, REJOIN_DEADLINE))
                .collect();
            let not_healed = |error| InjectError::NotHealed {
                fault: fault.index,
                error,
            };
            try_join_all(restarts).await.map_err(not_healed)?;
        }
        kind => return Err(InjectError::Unsupported(kind)),
    }
    Ok(())
}

/// The fault in words, for the report and the heartbeat.
pub(crate) fn describe(fault: &PlannedFault, names: &[String]) -> String {
    let name = |&node: &u32| names.get(node as usize).map_or("?", String::as_str);
    let list = |nodes: &[u32]| nodes.iter().map(name).collect::<Vec<&str>>().join(", ");
    if fault.sets.is_empty() {
        return format!("{} {}", fault.kind, list(&fault.nodes));
    }
    let sides: Vec<String> = fault.sets.iter().map(|side| list(side)).collect();
    format!(
        "{} {}",
        fault.kind,
        sides.join(if fault.one_way { " -> " } else { " | " })
    )
}
