//! Faults: what each kind does to its nodes, and how it is undone.

use crate::cluster::{Cluster, ClusterError, node_key};
use futures::future::{join_all, try_join_all};
use regatta_api::testing::{Direction, LinkCut, LinkCuts};
use regatta_client::ClientError;
use regatta_link::Partition;
use regatta_plan::{
    Plan, PlannedFault,
    scenario::{FaultKind, ProviderKind},
};
use std::time::Duration;

/// How long a crashed node may take until it takes part again.
const REJOIN_DEADLINE: Duration = Duration::from_secs(60);

/// Why a fault cannot be done or undone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InjectError {
    /// This provider cannot do it. Plans are checked for that, so this is a plan from elsewhere.
    #[error("fault `{0}` is not supported by this provider yet")]
    Unsupported(FaultKind),
    /// A node does not take the order to cut or heal its links.
    #[error("fault {fault}: {error}")]
    Refused {
        /// Position of the fault in the plan.
        fault: u32,
        /// What it answered.
        error: Box<ClientError>,
    },
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
/// [`InjectError`] says what cannot be done.
pub(crate) async fn inject(cluster: &Cluster, fault: &PlannedFault) -> Result<(), InjectError> {
    match fault.kind {
        FaultKind::Crash => {
            let kills: Vec<_> = fault.nodes.iter().map(|&node| cluster.kill(node)).collect();
            join_all(kills).await;
        }
        FaultKind::Pause => fault.nodes.iter().for_each(|&node| cluster.pause(node, true)),
        FaultKind::Partition => match cluster.switch() {
            Some(switch) => switch.part(fault.index, partition(cluster.plan(), fault)),
            None => cut(cluster, fault, |node| cuts_of(cluster.plan(), fault, node)).await?,
        },
        kind => return Err(InjectError::Unsupported(kind)),
    }
    Ok(())
}

/// The partition as the switch between namespaces makes it: by packet, whatever the nodes are linked to.
fn partition(plan: &Plan, fault: &PlannedFault) -> Partition {
    Partition::new(plan.nodes.len(), &fault.sets, fault.one_way)
}

/// Which links of `node` are cut: those to nodes of other sides, in the direction that is lost.
fn cuts_of(plan: &Plan, fault: &PlannedFault, node: u32) -> LinkCuts {
    let side = |node: u32| fault.sets.iter().position(|side| side.contains(&node));
    let own = side(node);
    let cut = |peer: u32| {
        let other = side(peer).filter(|other| own.is_some_and(|own| own != *other))?;
        let direction = match (fault.one_way, own, other) {
            (false, _, _) => Direction::Both,
            (true, Some(0), _) => Direction::Out,
            (true, _, 0) => Direction::In,
            // Between two other sides of a partition of one direction nothing is lost.
            (true, _, _) => return None,
        };
        let peer = node_key(plan, plan.nodes.get(peer as usize)?).public();
        Some(LinkCut { peer, direction })
    };
    LinkCuts {
        cut: plan.peers(node).into_iter().filter_map(cut).collect(),
    }
}

/// Orders all nodes of a partition at once.
async fn cut(cluster: &Cluster, fault: &PlannedFault, cuts: impl Fn(u32) -> LinkCuts) -> Result<(), InjectError> {
    let orders = fault.nodes.iter().map(|&node| {
        let cuts = cuts(node);
        async move {
            let ordered = cluster.client(node).cut_links(&cuts).await;
            ordered.map(drop).map_err(|error| InjectError::Refused {
                fault: fault.index,
                error: Box::new(error),
            })
        }
    });
    try_join_all(orders).await.map(drop)
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
        FaultKind::Pause => fault.nodes.iter().for_each(|&node| cluster.pause(node, false)),
        FaultKind::Partition => match cluster.switch() {
            Some(switch) => switch.heal(fault.index),
            None => cut(cluster, fault, |_| LinkCuts::default()).await?,
        },
        kind => return Err(InjectError::Unsupported(kind)),
    }
    Ok(())
}

/// How real nodes come to suffer it, where that is not plain.
pub(crate) fn means(provider: ProviderKind, fault: &PlannedFault) -> &'static str {
    match fault.kind {
        FaultKind::Partition if provider == ProviderKind::Netns => ", made by the switch between namespaces",
        FaultKind::Partition => ", made inside the nodes' transport",
        _ => "",
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, plan};
    use regatta_plan::scenario::Role;

    /// A ring of four validators and a full node at the first two.
    fn ring() -> Plan {
        let mut plan = plan(4);
        plan.nodes.push(node(4, "full", Role::Full));
        plan.edges = vec![(0, 1), (1, 2), (2, 3), (0, 3), (0, 4), (1, 4)];
        plan
    }

    fn partition(sets: &[&[u32]], one_way: bool) -> PlannedFault {
        PlannedFault {
            index: 0,
            kind: FaultKind::Partition,
            nodes: sets.concat(),
            sets: sets.iter().map(|side| side.to_vec()).collect(),
            one_way,
            at_ms: 0,
            until_ms: 1,
            breaks_quorum: true,
        }
    }

    fn cut_of(fault: &PlannedFault, node: u32) -> Vec<(u32, Direction)> {
        let plan = ring();
        let index = |cut: &LinkCut| {
            let key = |node: &&regatta_plan::PlannedNode| node_key(&plan, node).public() == cut.peer;
            plan.nodes.iter().find(key).unwrap().index
        };
        cuts_of(&plan, fault, node)
            .cut
            .iter()
            .map(|cut| (index(cut), cut.direction))
            .collect()
    }

    #[test]
    fn links_between_sides_are_cut_and_no_others() {
        let fault = partition(&[&[0, 1], &[2, 3]], false);
        assert_eq!(cut_of(&fault, 0), [(3, Direction::Both)]);
        assert_eq!(cut_of(&fault, 1), [(2, Direction::Both)]);
        assert_eq!(cut_of(&fault, 2), [(1, Direction::Both)]);
        assert_eq!(cut_of(&fault, 4), [], "a node of no side reaches everybody");
    }

    #[test]
    fn one_way_loses_what_the_first_side_sends() {
        let fault = partition(&[&[0], &[1, 3], &[2]], true);
        assert_eq!(cut_of(&fault, 0), [(1, Direction::Out), (3, Direction::Out)]);
        assert_eq!(cut_of(&fault, 1), [(0, Direction::In)]);
        assert_eq!(cut_of(&fault, 2), [], "between other sides nothing is lost");
    }
}
