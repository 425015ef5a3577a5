//! A plan that comes back from the disk: whatever the file holds, nothing of it leads outside the plan or the folder.

use regatta_base::ids::check_name;
use regatta_plan::{Plan, Step};

/// Checks that every node that the plan speaks of is one of its nodes, and that names are names.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check(plan: &Plan) -> Result<(), String> {
    check_name(&plan.name).map_err(|error| error.to_string())?;
    for (node, position) in plan.nodes.iter().zip(0..) {
        check_name(&node.name).map_err(|error| error.to_string())?;
        if node.index != position {
            return Err(format!(
                "node `{}` has index {} at position {position}",
                node.name, node.index
            ));
        }
    }
    let edges = plan.edges.iter().flat_map(|&(a, b)| [a, b]);
    let voters = plan
        .instances
        .iter()
        .flat_map(|instance| instance.validators.iter().map(|&(node, _)| node));
    let targets = plan.loads.iter().flat_map(|load| load.targets.iter().copied());
    for (process, place) in plan.processes.iter().zip(plan.nodes.len() as u32..) {
        check_name(&process.name).map_err(|error| error.to_string())?;
        if process.place != place || process.command.is_empty() {
            return Err(format!(
                "process `{}` has no command, or another place than {place}",
                process.name
            ));
        }
    }
    let sides = plan.faults.iter().flat_map(|fault| fault.sets.iter().flatten());
    let struck = plan.faults.iter().flat_map(|fault| fault.nodes.iter()).chain(sides);
    let started = plan.steps.iter().flat_map(|step| match &step.step {
        Step::Processes { places } => places.as_slice(),
        _ => &[],
    });
    let placed = struck
        .chain(started)
        .copied()
        .find(|&place| place as usize >= plan.places());
    if let Some(place) = placed {
        return Err(format!("there is no node {place} among {}", plan.nodes.len()));
    }
    let away = plan.churn.absences.iter().map(|absence| absence.node);
    let stepped = plan.steps.iter().flat_map(|step| match &step.step {
        Step::Spawn { nodes } | Step::WaitReady { nodes } => nodes.as_slice(),
        _ => &[],
    });
    let mut named = edges.chain(voters).chain(targets).chain(away).chain(stepped.copied());
    match named.find(|&node| node as usize >= plan.nodes.len()) {
        Some(node) => Err(format!("there is no node {node} among {}", plan.nodes.len())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::whole_plan;

    #[test]
    fn a_plan_that_the_lab_made_passes() {
        assert_eq!(check(&whole_plan("")), Ok(()));
    }

    #[test]
    fn nodes_that_do_not_exist_are_found_wherever_they_are_named() {
        let changes: [fn(&mut Plan); 6] = [
            |plan| plan.edges.push((0, 3)),
            |plan| plan.instances[0].validators.push((3, 1)),
            |plan| plan.nodes[1].index = 2,
            |plan| {
                plan.nodes.pop();
            },
            |plan| {
                for step in &mut plan.steps {
                    if let Step::Spawn { nodes } = &mut step.step {
                        nodes.push(7);
                    }
                }
            },
            |plan| plan.nodes.clear(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut plan = whole_plan("");
            change(&mut plan);
            assert!(check(&plan).is_err(), "change {number}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../../etc", "/etc", "", "a/b"] {
            let mut plan = whole_plan("");
            plan.nodes[0].name = name.to_owned();
            assert!(check(&plan).is_err(), "{name}");
            let mut plan = whole_plan("");
            plan.name = name.to_owned();
            assert!(check(&plan).is_err(), "{name}");
        }
    }
}
