//! A scenario in which everything that can be taken away has a place of its own: faults name their nodes, and churn lists
//! its absences.

use crate::{
    Plan, PlannedAbsence, PlannedFault,
    scenario::{Churn, Fault, Leave, ProviderKind, Scenario},
};
use std::collections::BTreeMap;

/// The scenario of `plan` with its choices written out, for nodes in virtual time.
#[must_use]
pub fn explicit(scenario: &Scenario, plan: &Plan) -> Scenario {
    let mut explicit = scenario.clone();
    explicit.provider.kind = ProviderKind::Sim;
    explicit.provider.host.clear();
    (explicit.provider.inventory, explicit.provider.inventory_command) = (None, None);
    explicit.provider.tolerate = None;
    (explicit.provider.distribute, explicit.provider.fan_out) = (None, None);
    explicit.provider.control = None;
    let name = |node: u32| {
        plan.nodes
            .get(node as usize)
            .map_or_else(String::new, |node| node.name.clone())
    };
    // A plan has its faults in the order of their times.
    explicit.fault.sort_by_key(|fault| fault.at.millis());
    if explicit.fault.len() == plan.faults.len() {
        for (fault, planned) in explicit.fault.iter_mut().zip(&plan.faults) {
            name_nodes(fault, planned, name);
        }
    }
    for group in &mut explicit.group {
        group.join = None;
    }
    explicit.churn = rows(plan, name);
    explicit
}

fn name_nodes(fault: &mut Fault, planned: &PlannedFault, name: impl Fn(u32) -> String) {
    let names = |nodes: &[u32]| nodes.iter().map(|&node| name(node)).collect::<Vec<String>>();
    if planned.sets.is_empty() {
        fault.nodes = names(&planned.nodes);
    } else {
        fault.sets = planned.sets.iter().map(|side| names(side)).collect();
    }
}

/// The absences of a plan, in one list for each way to leave.
fn rows(plan: &Plan, name: impl Fn(u32) -> String) -> Vec<Churn> {
    let mut lists: BTreeMap<(bool, bool), Vec<PlannedAbsence>> = BTreeMap::new();
    for absence in &plan.churn.absences {
        let list = (absence.leave == Leave::Stop, absence.breaks_quorum);
        lists.entry(list).or_default().push(absence.clone());
    }
    // A node that comes and goes in two lists would be a problem: its absences all go to the first of them.
    let mut home: BTreeMap<u32, (bool, bool)> = BTreeMap::new();
    for (list, absences) in &lists {
        for absence in absences {
            home.entry(absence.node).or_insert(*list);
        }
    }
    let mut churn: BTreeMap<(bool, bool), Churn> = BTreeMap::new();
    for absence in &plan.churn.absences {
        let Some(&list) = home.get(&absence.node) else { continue };
        let (stops, breaks_quorum) = list;
        let entry = churn.entry(list).or_insert_with(|| Churn {
            leave: if stops { Leave::Stop } else { Leave::Kill },
            breaks_quorum,
            ..Churn::default()
        });
        entry.row.push(absence.row(&name));
    }
    churn.into_values().collect()
}
