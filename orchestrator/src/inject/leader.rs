//! Who leads the next height, as the nodes that run say at this moment.

use super::InjectError;
use crate::cluster::{Cluster, node_key};
use futures::future::join_all;
use regatta_base::{Height, Validator, ValidatorSet};
use regatta_plan::{Plan, PlannedFault};
use std::time::Duration;

/// How long a node may take to say how far it is. Those that are paused never do.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// The fault with the nodes that it is done to from now on.
///
/// # Errors
/// [`InjectError::NoLeader`] when no node says how far it is.
pub(super) async fn resolved(cluster: &Cluster, fault: &PlannedFault) -> Result<PlannedFault, InjectError> {
    let Some(id) = &fault.leads else {
        return Ok(fault.clone());
    };
    let plan = cluster.plan();
    let heights = plan.nodes.iter().map(|node| async move {
        let latest = cluster
            .client(node.index)
            .with_deadline(ANSWER_DEADLINE)
            .latest()
            .await
            .ok()?;
        let mut rows = latest.instances.iter();
        rows.find(|row| row.instance.as_str() == id).map(|row| row.height)
    });
    let highest = join_all(heights).await.into_iter().flatten().max();
    let leader = highest.and_then(|height| leader(plan, id, height + 1));
    match leader {
        Some(node) => Ok(PlannedFault {
            nodes: vec![node],
            ..fault.clone()
        }),
        None => Err(InjectError::NoLeader { fault: fault.index }),
    }
}

/// The node that leads round 0 of `height`, by the validators that the plan starts with.
pub(crate) fn leader(plan: &Plan, instance: &str, height: Height) -> Option<u32> {
    let validators = &plan.instance(instance)?.validators;
    let member = |&(node, weight): &(u32, u64)| Validator {
        key: node_key(plan, &plan.nodes[node as usize]).public(),
        weight,
    };
    let set = ValidatorSet::new(validators.iter().map(member).collect()).ok()?;
    let place = usize::from(set.leader(height, 0));
    validators.get(place).map(|(node, _)| *node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;
    use std::collections::BTreeSet;

    #[test]
    fn every_validator_leads_in_turn_and_nobody_leads_what_is_not_there() {
        let plan = plan(4);
        let leaders: BTreeSet<u32> = (1..5).filter_map(|height| leader(&plan, "main", height)).collect();
        assert_eq!(leaders, BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(leader(&plan, "other", 1), None);
    }
}
