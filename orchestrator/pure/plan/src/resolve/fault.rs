//! Faults become nodes and times; none may do more damage than it says.

use super::{Draft, phases};
use crate::{
    PlannedFault,
    diagnostic::{Code, Problem},
    scenario::{Fault, FaultKind},
};
use std::collections::BTreeSet;

/// Makes the faults, ascending by start.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    let mut planned = Vec::new();
    for (index, fault) in draft.scenario.fault.iter().enumerate() {
        let path = format!("fault.{index}");
        check_time(draft, &path, fault);
        check_keys(draft, &path, fault);
        check_build(draft, &path, fault);
        let nodes = nodes(draft, &path, fault);
        let (at_ms, until_ms) = (
            fault.at.millis(),
            fault.at.millis().saturating_add(fault.lasts.millis()),
        );
        let kind = fault.kind;
        let fault = PlannedFault {
            index: 0,
            kind,
            nodes,
            at_ms,
            until_ms,
            breaks_quorum: fault.breaks_quorum,
        };
        planned.push((path, fault));
    }
    planned.sort_by_key(|(_, fault)| fault.at_ms);
    check_overlaps(draft, &planned);
    check_quorum(draft, &planned);
    let numbered = planned
        .into_iter()
        .zip(0..)
        .map(|((_, fault), index)| PlannedFault { index, ..fault });
    draft.faults = numbered.collect();
}

fn check_time(draft: &mut Draft<'_>, path: &str, fault: &Fault) {
    let end = phases(draft.scenario).load_ms();
    if fault.lasts.0 == 0 {
        let message = "a fault that lasts no time has no effect";
        draft.error(
            Code::FaultOutsidePhases,
            &format!("{path}.for"),
            message,
            "use for = \"5s\"",
        );
    }
    let until = fault.at.millis().saturating_add(fault.lasts.millis());
    let load = crate::units::Duration::from_millis(end);
    if fault.at.millis() >= end {
        let message = format!("the fault starts at {} and the load ends at {load}", fault.at);
        draft.error(
            Code::FaultOutsidePhases,
            &format!("{path}.at"),
            message,
            "let it start earlier or lengthen `measure`",
        );
    } else if until > end {
        let over = crate::units::Duration::from_millis(until);
        let message = format!("the fault lasts until {over} and the load ends at {load}");
        draft.error(
            Code::FaultOutsidePhases,
            &format!("{path}.for"),
            message,
            "shorten it or lengthen `measure`",
        );
    }
}

/// Keys that say nothing about this kind of fault.
fn check_keys(draft: &mut Draft<'_>, path: &str, fault: &Fault) {
    let kind = fault.kind;
    let needs_sets = matches!(kind, FaultKind::Partition);
    let given = [
        ("sets", !fault.sets.is_empty(), needs_sets),
        ("nodes", !fault.nodes.is_empty(), !needs_sets),
        ("build", fault.build.is_some(), kind == FaultKind::Upgrade),
        ("offset", fault.offset.is_some(), kind == FaultKind::Skew),
    ];
    for (key, given, wanted) in given {
        if given && !wanted {
            let message = format!("`{key}` has no effect on the fault `{kind}`");
            draft.problems.push(
                Problem::error(Code::NoEffect, format!("{path}.{key}"), message)
                    .at_key()
                    .help("remove it"),
            );
        } else if wanted && !given {
            let message = format!("the fault `{kind}` needs `{key}`");
            let help = format!("add `{key} = ...`");
            let code = if key == "nodes" {
                Code::NoNodes
            } else {
                Code::MissingKey
            };
            draft.error(code, path, message, help);
        }
    }
}

fn check_build(draft: &mut Draft<'_>, path: &str, fault: &Fault) {
    let Some(build) = &fault.build else { return };
    let path = format!("{path}.build");
    let scenario = draft.scenario;
    draft.check_build(build, &path);
    if scenario.group.iter().all(|group| group.build == *build) {
        let message = format!("every node already runs `{build}`");
        draft.error(Code::SameBuild, &path, message, "name another build");
    }
}

fn nodes(draft: &mut Draft<'_>, path: &str, fault: &Fault) -> Vec<u32> {
    let mut chosen = BTreeSet::new();
    for (index, name) in fault.nodes.iter().enumerate() {
        chosen.extend(draft.select(name, &format!("{path}.nodes.{index}")));
    }
    // Elsewhere `sets` has no effect and is a problem of its own.
    let sets = if fault.kind == FaultKind::Partition {
        fault.sets.as_slice()
    } else {
        &[]
    };
    for (side, names) in sets.iter().enumerate() {
        for (index, name) in names.iter().enumerate() {
            chosen.extend(draft.select(name, &format!("{path}.sets.{side}.{index}")));
        }
    }
    chosen.into_iter().collect()
}

fn check_overlaps(draft: &mut Draft<'_>, faults: &[(String, PlannedFault)]) {
    for (position, (path, fault)) in faults.iter().enumerate() {
        let clash = faults[..position].iter().find_map(|(_, earlier)| {
            let shared = earlier.nodes.iter().find(|node| fault.nodes.contains(node));
            shared
                .filter(|_| fault.at_ms < earlier.until_ms)
                .map(|node| (*node, earlier.until_ms))
        });
        if let Some((node, until)) = clash {
            let name = &draft.nodes[node as usize].name;
            let until = crate::units::Duration::from_millis(until);
            let message = format!("`{name}` already has a fault until {until}");
            draft.error(
                Code::OverlappingFaults,
                &format!("{path}.at"),
                message,
                format!("let it start at {until} or later"),
            );
        }
    }
}

/// At the start of each fault, the nodes that are then up must still be a quorum, unless somebody said otherwise.
fn check_quorum(draft: &mut Draft<'_>, faults: &[(String, PlannedFault)]) {
    for (path, fault) in faults {
        let takes_away = |fault: &PlannedFault| matches!(fault.kind, FaultKind::Crash | FaultKind::Pause);
        let now =
            |other: &&PlannedFault| other.at_ms <= fault.at_ms && fault.at_ms < other.until_ms && takes_away(other);
        let active: Vec<&PlannedFault> = faults.iter().map(|(_, fault)| fault).filter(now).collect();
        if !takes_away(fault) || active.iter().any(|fault| fault.breaks_quorum) {
            continue;
        }
        let down: BTreeSet<u32> = active.iter().flat_map(|fault| fault.nodes.iter().copied()).collect();
        let mut able = draft.instances.iter().filter(|instance| instance.total_weight() > 0);
        let broken = able.find_map(|instance| {
            let up = instance.validators.iter().filter(|(node, _)| !down.contains(node));
            let weight = up.fold(0_u64, |sum, (_, weight)| sum.saturating_add(*weight));
            (!instance.is_quorum(weight)).then(|| (instance.id.clone(), weight, instance.total_weight()))
        });
        if let Some((id, weight, total)) = broken {
            let at = crate::units::Duration::from_millis(fault.at_ms);
            let message = format!("at {at} instance `{id}` has weight {weight} of {total} left: no quorum");
            let help = "crash fewer validators at a time, or say breaks_quorum = true";
            draft.error(Code::QuorumBroken, path, message, help);
        }
    }
}
