//! Faults become nodes and times; none may do more damage than it says.

use super::{Draft, phases};
use crate::{
    PlannedFault, PlannedInstance,
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
        let sets = sets(draft, &path, fault);
        let nodes = nodes(draft, &path, fault, &sets);
        let (at_ms, until_ms) = (
            fault.at.millis(),
            fault.at.millis().saturating_add(fault.lasts.millis()),
        );
        let kind = fault.kind;
        let fault = PlannedFault {
            index: 0,
            kind,
            nodes,
            sets,
            one_way: fault.one_way,
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
    if fault.one_way && !needs_sets {
        let message = format!("`one_way` has no effect on the fault `{kind}`");
        draft.error(Code::NoEffect, &format!("{path}.one_way"), message, "remove it");
    }
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

/// The sides of a partition; elsewhere `sets` has no effect and is a problem of its own.
fn sets(draft: &mut Draft<'_>, path: &str, fault: &Fault) -> Vec<Vec<u32>> {
    if fault.kind != FaultKind::Partition {
        return Vec::new();
    }
    let mut sides: Vec<Vec<u32>> = Vec::new();
    for (side, names) in fault.sets.iter().enumerate() {
        let mut chosen = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            chosen.extend(draft.select(name, &format!("{path}.sets.{side}.{index}")));
        }
        sides.push(chosen.into_iter().collect());
    }
    check_sides(draft, path, &sides);
    sides
}

/// A partition has at least two sides, and nobody stands on two of them.
fn check_sides(draft: &mut Draft<'_>, path: &str, sides: &[Vec<u32>]) {
    let path = format!("{path}.sets");
    if sides.len() == 1 {
        let message = "a partition with one side parts nobody";
        draft.error(Code::NoEffect, &path, message, "list the other side as a second set");
    }
    let mut seen = BTreeSet::new();
    let twice = sides.iter().flatten().find(|node| !seen.insert(**node));
    if let Some(&node) = twice {
        let message = format!("`{}` is on two sides", draft.nodes[node as usize].name);
        draft.error(Code::DuplicateName, &path, message, "list each node in one set");
    }
}

fn nodes(draft: &mut Draft<'_>, path: &str, fault: &Fault, sets: &[Vec<u32>]) -> Vec<u32> {
    let mut chosen: BTreeSet<u32> = sets.iter().flatten().copied().collect();
    for (index, name) in fault.nodes.iter().enumerate() {
        chosen.extend(draft.select(name, &format!("{path}.nodes.{index}")));
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

/// At the start of each fault, the nodes that are then up and reach each other must still be a quorum, unless somebody
/// said otherwise.
fn check_quorum(draft: &mut Draft<'_>, faults: &[(String, PlannedFault)]) {
    let misbehaves = draft.nodes.iter().filter(|node| !node.behaviour.is_honest());
    let misbehaving: BTreeSet<u32> = misbehaves.map(|node| node.index).collect();
    for (path, fault) in faults {
        let active: Vec<&PlannedFault> = faults
            .iter()
            .map(|(_, other)| other)
            .filter(|other| other.at_ms <= fault.at_ms && fault.at_ms < other.until_ms && takes_away(other))
            .collect();
        if !takes_away(fault) || active.iter().any(|fault| fault.breaks_quorum) {
            continue;
        }
        let mut able = draft.instances.iter().filter(|instance| instance.total_weight() > 0);
        let broken = able.find_map(|instance| {
            let weight = weight_left(instance, &active, &misbehaving);
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

pub(super) fn takes_away(fault: &PlannedFault) -> bool {
    matches!(fault.kind, FaultKind::Crash | FaultKind::Pause | FaultKind::Partition)
}

/// The greatest weight of validators that are up and reach each other while the faults of `active` are on, not counting
/// those of `without`: nobody can count on validators that misbehave or are away.
pub(super) fn weight_left(instance: &PlannedInstance, active: &[&PlannedFault], without: &BTreeSet<u32>) -> u64 {
    let (parted, ended): (Vec<&PlannedFault>, Vec<&PlannedFault>) =
        active.iter().partition(|fault| fault.kind == FaultKind::Partition);
    let mut down: BTreeSet<u32> = ended.iter().flat_map(|fault| fault.nodes.iter().copied()).collect();
    down.extend(without);
    // Sides of all partitions at once: whoever one of them keeps from a side does not count for it.
    let sides = parted.iter().flat_map(|fault| {
        let others = |side: usize| {
            let others = fault.sets.iter().enumerate().filter(move |(other, _)| *other != side);
            others
                .flat_map(|(_, nodes)| nodes.iter().copied())
                .collect::<BTreeSet<u32>>()
        };
        (0..fault.sets.len()).map(others)
    });
    let unreached = sides.chain(parted.is_empty().then(BTreeSet::new));
    let weight = |away: BTreeSet<u32>| {
        let up = instance.validators.iter();
        let up = up.filter(|(node, _)| !down.contains(node) && !away.contains(node));
        up.fold(0_u64, |sum, (_, weight)| sum.saturating_add(*weight))
    };
    unreached.map(weight).max().unwrap_or(0)
}
