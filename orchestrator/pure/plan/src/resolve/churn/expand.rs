//! Departures in the order of their times: each takes place, or waits for what is in its way.

use super::{Guest, Wanted};
use crate::{
    PlannedAbsence, PlannedChurn, PlannedFault, defaults,
    diagnostic::Code,
    resolve::{
        Draft,
        fault::{takes_away, weight_left},
        phases,
    },
    units::Duration,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most absences of a plan: each is two steps of the run.
const ABSENCES_MAX: usize = 20_000;

/// Why a node cannot leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// It could at this time.
    Until(u64),
    /// Nothing that comes makes it possible.
    Lasting,
}

/// All absences of `guests`, ascending by departure.
pub(super) fn expand(draft: &mut Draft<'_>, mut guests: BTreeMap<u32, Guest>) -> PlannedChurn {
    let end_ms = phases(draft.scenario).load_ms();
    let mut churn = PlannedChurn::default();
    // Departures by time, and what each waits to do.
    let mut due: BTreeSet<(u64, u32)> = BTreeSet::new();
    let mut wanted: BTreeMap<u32, (Wanted, bool)> = BTreeMap::new();
    for (&node, guest) in &mut guests {
        if let Some(first) = guest.next(None) {
            due.insert((first.at_ms, node));
            wanted.insert(node, (first, false));
        }
    }
    while let Some((at_ms, node)) = due.pop_first() {
        let (Some(guest), Some((departure, was_put_off))) = (guests.get_mut(&node), wanted.get_mut(&node)) else {
            continue;
        };
        if at_ms >= end_ms {
            continue;
        }
        let until_ms = until(draft, node, at_ms, departure.length_ms, end_ms);
        let absence = PlannedAbsence {
            index: churn.absences.len() as u32,
            node,
            at_ms,
            until_ms,
            leave: guest.leave,
            breaks_quorum: guest.breaks_quorum,
        };
        let obstacle = obstacle(draft, &churn, &absence, guest.breaks_quorum);
        if obstacle.is_some() && absence.is_late_start() {
            late_without_quorum(draft, node, &guest.path);
            continue;
        }
        if obstacle.is_some() && !std::mem::replace(was_put_off, true) {
            churn.put_off += 1;
        }
        let here_since = match obstacle {
            Some(Obstacle::Until(later_ms)) => {
                due.insert((later_ms, node));
                continue;
            }
            // It stays: as if it had come back when it meant to.
            Some(Obstacle::Lasting) => until_ms,
            None => {
                churn.absences.push(absence);
                until_ms
            }
        };
        let next = here_since.and_then(|since| guest.next(Some(since)));
        if let Some(next) = next {
            due.insert((next.at_ms, node));
            wanted.insert(node, (next, false));
        }
        if churn.absences.len() > ABSENCES_MAX {
            let message = format!("churn makes more than {ABSENCES_MAX} absences");
            draft.error(
                Code::BadChurn,
                &guests[&node].path,
                message,
                "use longer sessions, or a shorter run",
            );
            break;
        }
    }
    churn
}

/// When a node that leaves at `at_ms` returns. Whatever a validator acknowledged is on its disk: it is back when the load
/// ends; others that would return later stay away.
fn until(draft: &Draft<'_>, node: u32, at_ms: u64, length_ms: Option<u64>, end_ms: u64) -> Option<u64> {
    let until_ms = at_ms.saturating_add(length_ms?);
    let votes = || draft.instances.iter().any(|instance| instance.votes(node));
    match until_ms {
        until_ms if until_ms <= end_ms => Some(until_ms),
        _ if votes() => Some(end_ms),
        _ => None,
    }
}

/// What keeps a node from leaving for `absence`, if anything does.
fn obstacle(
    draft: &Draft<'_>,
    churn: &PlannedChurn,
    absence: &PlannedAbsence,
    breaks_quorum: bool,
) -> Option<Obstacle> {
    let (at_ms, until_ms) = (absence.at_ms, absence.until_ms.unwrap_or(u64::MAX));
    let own = draft.faults.iter().filter(|fault| fault.nodes.contains(&absence.node));
    let clash = own.filter(|fault| at_ms < fault.until_ms && fault.at_ms < until_ms);
    if let Some(clash) = clash.map(|fault| fault.until_ms).max() {
        return Some(Obstacle::Until(clash));
    }
    if breaks_quorum || leaves_quorum(draft, churn, absence) {
        return None;
    }
    let settle_ms = defaults::CHURN_SETTLE.millis();
    let returns = churn.absences.iter().filter_map(|other| other.until_ms);
    let returns = returns.map(|until| until.saturating_add(settle_ms));
    let heals = draft.faults.iter().map(|fault| fault.until_ms);
    let next = returns.chain(heals).filter(|&time| time > at_ms).min();
    Some(next.map_or(Obstacle::Lasting, Obstacle::Until))
}

/// Whether every instance keeps a quorum while a node is away. Later departures look at this one in their turn, so that
/// only faults can make it worse after it began.
fn leaves_quorum(draft: &Draft<'_>, churn: &PlannedChurn, absence: &PlannedAbsence) -> bool {
    let until_ms = absence.until_ms.unwrap_or(u64::MAX);
    let inside = |time: &u64| (absence.at_ms + 1..until_ms).contains(time);
    let changes = draft.faults.iter().flat_map(|fault| [fault.at_ms, fault.until_ms]);
    let moments = changes.filter(inside).chain([absence.at_ms]);
    let voting = || {
        let instances = draft.instances.iter();
        instances.filter(|instance| instance.votes(absence.node))
    };
    let misbehaves = draft.nodes.iter().filter(|node| !node.behaviour.is_honest());
    let misbehaving: BTreeSet<u32> = misbehaves.map(|node| node.index).collect();
    moments.into_iter().all(|moment| {
        let is_on = |fault: &&PlannedFault| fault.at_ms <= moment && moment < fault.until_ms && takes_away(fault);
        let active: Vec<&PlannedFault> = draft.faults.iter().filter(is_on).collect();
        if active.iter().any(|fault| fault.breaks_quorum) {
            return true;
        }
        let settle_ms = defaults::CHURN_SETTLE.millis();
        let away = churn.absences.iter().filter(|other| other.covers(moment, settle_ms));
        let mut without: BTreeSet<u32> = away.map(|other| other.node).collect();
        without.insert(absence.node);
        without.extend(&misbehaving);
        voting().all(|instance| instance.is_quorum(weight_left(instance, &active, &without)))
    })
}

fn late_without_quorum(draft: &mut Draft<'_>, node: u32, path: &str) {
    let name = &draft.nodes[node as usize].name;
    let message = format!(
        "without `{name}`, which starts late, there is no quorum at {}, or a fault meets it",
        Duration(0)
    );
    let help = "let it start with the others, or say breaks_quorum = true in a [[churn]] with its row";
    draft.error(Code::QuorumBroken, path, message, help);
}
