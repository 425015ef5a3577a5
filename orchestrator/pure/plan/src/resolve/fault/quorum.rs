//! What faults that are on at the same time leave of a network.

use super::{super::Draft, Placed};
use crate::{PlannedFault, PlannedInstance, diagnostic::Code, scenario::FaultKind, units::Duration};
use std::collections::BTreeSet;

/// Whether two faults may not be on at the same time: both are done to a node itself, and to the same one.
pub(super) fn shared_node(draft: &Draft<'_>, a: &PlannedFault, b: &PlannedFault) -> Option<u32> {
    if a.kind.is_on_links() || b.kind.is_on_links() {
        return None;
    }
    let others = possible(draft, b);
    possible(draft, a).into_iter().find(|node| others.contains(node))
}

/// The nodes that a fault may be done to: a leader that is not known yet may be any validator.
fn possible(draft: &Draft<'_>, fault: &PlannedFault) -> BTreeSet<u32> {
    let leads = |instance: &&PlannedInstance| Some(&instance.id) == fault.leads.as_ref();
    let voters = draft
        .instances
        .iter()
        .filter(leads)
        .flat_map(|instance| &instance.validators);
    voters
        .map(|(node, _)| *node)
        .chain(fault.nodes.iter().copied())
        .collect()
}

pub(super) fn check_overlaps(draft: &mut Draft<'_>, faults: &[Placed]) {
    for (position, (path, fault)) in faults.iter().enumerate() {
        let clash = faults[..position].iter().find_map(|(_, earlier)| {
            let overlaps = fault.at_ms < earlier.until_ms;
            let shared = overlaps.then(|| shared_node(draft, earlier, fault)).flatten();
            shared.map(|node| (node, earlier.until_ms))
        });
        if let Some((node, until)) = clash {
            let name = draft.name_at(node);
            let until = Duration::from_millis(until);
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
pub(super) fn check(draft: &mut Draft<'_>, faults: &[Placed]) {
    for (path, fault) in faults {
        let active: Vec<&PlannedFault> = faults
            .iter()
            .map(|(_, other)| other)
            .filter(|other| other.at_ms <= fault.at_ms && fault.at_ms < other.until_ms && takes_away(other))
            .collect();
        if !takes_away(fault) || active.iter().any(|fault| fault.breaks_quorum) {
            continue;
        }
        if let Some((id, weight, total)) = broken(draft, &active) {
            let at = Duration::from_millis(fault.at_ms);
            let message = format!("at {at} instance `{id}` has weight {weight} of {total} left: no quorum");
            let help = "crash fewer validators at a time, or say breaks_quorum = true";
            draft.error(Code::QuorumBroken, path, message, help);
        }
    }
}

/// The first instance without a quorum while the faults of `active` are on, with what is left of its weight.
pub(super) fn broken(draft: &Draft<'_>, active: &[&PlannedFault]) -> Option<(String, u64, u64)> {
    let misbehaves = draft.nodes.iter().filter(|node| !node.behaviour.is_honest());
    let misbehaving: BTreeSet<u32> = misbehaves.map(|node| node.index).collect();
    let mut able = draft.instances.iter().filter(|instance| instance.total_weight() > 0);
    able.find_map(|instance| {
        let weight = weight_left(instance, active, &misbehaving);
        (!instance.is_quorum(weight)).then(|| (instance.id.clone(), weight, instance.total_weight()))
    })
}

/// Whether a validator under it may not vote.
pub(in crate::resolve) fn takes_away(fault: &PlannedFault) -> bool {
    match fault.kind {
        FaultKind::Crash | FaultKind::Pause | FaultKind::Partition | FaultKind::DiskFull | FaultKind::Memory => true,
        FaultKind::Link | FaultKind::Skew | FaultKind::Upgrade | FaultKind::DiskSlow | FaultKind::Cpu => false,
    }
}

/// The greatest weight of validators that are up and reach each other while the faults of `active` are on, not counting
/// those of `without`: nobody can count on validators that misbehave or are away, and a leader that is not known yet may be the heaviest of all.
pub(in crate::resolve) fn weight_left(
    instance: &PlannedInstance,
    active: &[&PlannedFault],
    without: &BTreeSet<u32>,
) -> u64 {
    let (parted, ended): (Vec<&PlannedFault>, Vec<&PlannedFault>) =
        active.iter().partition(|fault| fault.kind == FaultKind::Partition);
    let mut down: BTreeSet<u32> = ended.iter().flat_map(|fault| fault.nodes.iter().copied()).collect();
    down.extend(without);
    let unknown = ended.iter().filter(|fault| fault.leads.is_some()).count();
    // Somebody stands on one side of each partition, and whoever is on another side of any of them does not count.
    let mut unreached = BTreeSet::from([BTreeSet::new()]);
    for fault in parted {
        let others = |side: usize| {
            let others = fault.sets.iter().enumerate().filter(move |(other, _)| *other != side);
            others.flat_map(|(_, nodes)| nodes.iter().copied())
        };
        let sides = 0..fault.sets.len();
        let with = |away: &BTreeSet<u32>| {
            sides
                .clone()
                .map(|side| away.iter().copied().chain(others(side)).collect())
                .collect::<Vec<_>>()
        };
        unreached = unreached.iter().flat_map(with).collect();
    }
    let weight = |away: BTreeSet<u32>| {
        let up = instance.validators.iter();
        let up = up.filter(|(node, _)| !down.contains(node) && !away.contains(node));
        let mut weights: Vec<u64> = up.map(|(_, weight)| *weight).collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        weights
            .iter()
            .skip(unknown)
            .fold(0_u64, |sum, weight| sum.saturating_add(*weight))
    };
    unreached.into_iter().map(weight).max().unwrap_or(0)
}
