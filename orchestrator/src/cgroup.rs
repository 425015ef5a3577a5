//! Groups of the nodes whose memory a plan limits.

use regatta_fleet::Starved;
use regatta_plan::{Plan, PlannedFault, scenario::FaultKind};
use regatta_process::cgroup::{Begun, CgroupError, Controller, MemoryGroup, Place};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A group for each node whose memory a plan limits; all are gone with this value.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<BTreeMap<u32, MemoryGroup>>);

/// The nodes to which faults of this kind may be done.
pub(crate) fn suffer(plan: &Plan, kind: FaultKind) -> BTreeSet<u32> {
    let nodes = |fault: &PlannedFault| {
        let instance = fault.leads.as_ref().and_then(|id| plan.instance(id));
        let voters = instance.iter().flat_map(|instance| &instance.validators);
        let voters: Vec<u32> = voters.map(|(node, _)| *node).collect();
        voters
            .into_iter()
            .chain(fault.nodes.iter().copied())
            .collect::<Vec<_>>()
    };
    let faults = plan.faults.iter().filter(|fault| fault.kind == kind);
    faults.flat_map(nodes).collect()
}

impl Groups {
    /// Makes a group for each node of this machine whose memory `plan` limits; none where it limits nobody's.
    ///
    /// # Errors
    /// [`CgroupError`] when the system has none, or refuses.
    pub(crate) fn of(plan: &Plan) -> Result<Self, CgroupError> {
        let nodes = suffer(plan, FaultKind::Memory);
        let mut groups = BTreeMap::new();
        if !nodes.is_empty() {
            let place = Place::find(Controller::Memory)?;
            for node in nodes {
                groups.insert(node, MemoryGroup::make(&place, &format!("memory-{node}"))?);
            }
        }
        Ok(Self(Mutex::new(groups)))
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<u32, MemoryGroup>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the process of a node that was just started into the node's group, if it has one.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub(crate) fn enter(&self, node: u32, pid: u32) -> Result<(), CgroupError> {
        self.groups().get(&node).map_or(Ok(()), |group| group.enter(pid))
    }

    /// Leaves the node so many bytes.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub(crate) fn limit(&self, node: u32, bytes: u64) -> Result<Begun, CgroupError> {
        let mut groups = self.groups();
        let group = groups.get_mut(&node).ok_or(CgroupError::None(Controller::Memory))?;
        group.limit(bytes)
    }

    /// Takes the limit away and says what it did.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub(crate) fn lift(&self, node: u32) -> Result<Starved, CgroupError> {
        let groups = self.groups();
        let group = groups.get(&node).ok_or(CgroupError::None(Controller::Memory))?;
        group.lift()
    }

    /// Whether the kernel killed the node for want of memory since the newest limit began.
    pub(crate) fn was_starved(&self, node: u32) -> bool {
        self.groups().get(&node).is_some_and(MemoryGroup::was_starved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fault, plan};

    #[test]
    fn whose_memory_may_be_limited_gets_a_group() {
        let mut plan = plan(4);
        assert!(suffer(&plan, FaultKind::Memory).is_empty());
        plan.faults = vec![fault(FaultKind::Memory, &[2]), fault(FaultKind::Crash, &[1])];
        assert_eq!(suffer(&plan, FaultKind::Memory), BTreeSet::from([2]));
        plan.faults[0].leads = Some("main".to_owned());
        assert_eq!(suffer(&plan, FaultKind::Memory), BTreeSet::from([0, 1, 2, 3]));
    }

    #[test]
    fn who_has_no_group_cannot_be_limited() {
        let groups = Groups::of(&plan(4)).unwrap();
        assert!(matches!(groups.limit(0, 1), Err(CgroupError::None(Controller::Memory))));
        assert!(!groups.was_starved(0) && groups.enter(0, 1).is_ok());
    }
}
