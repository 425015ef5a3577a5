//! Faults become nodes and times; none may do more damage than it says.

mod keys;
mod nemesis;
mod quorum;
mod select;

pub(super) use quorum::{takes_away, weight_left};

use super::{Draft, links::ppm};
use crate::{
    FaultExtent, LinkChange, PlannedFault,
    diagnostic::Code,
    scenario::{DiskFate, Fault, FaultKind},
    units::Duration,
};
use rand::RngExt;
use regatta_base::seed;

/// Most faults of a run: a plan lists them all.
const FAULTS_MAX: usize = 1000;

/// A fault with the place in the scenario that it comes from.
type Placed = (String, PlannedFault);

/// Makes the faults, ascending by start.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    let mut planned = Vec::new();
    for (index, fault) in draft.scenario.fault.iter().enumerate() {
        let path = format!("fault.{index}");
        keys::check(draft, &path, fault);
        check_build(draft, &path, fault);
        for (round, at_ms) in starts(draft, &path, fault).into_iter().enumerate() {
            if planned.len() >= FAULTS_MAX {
                let message = format!("the scenario has more than {FAULTS_MAX} faults");
                draft.error(Code::TooManyFaults, &path, message, "repeat it less often");
                return;
            }
            let found = draft.problems.len();
            planned.push((path.clone(), one(draft, &path, fault, round, at_ms)));
            if round > 0 {
                // What is wrong with all of them was said with the first one.
                draft.problems.truncate(found);
            }
            let last_ms = at_ms.saturating_add(fault.lasts.millis());
            if !keys::check_time(draft, &path, fault, (at_ms, last_ms)) {
                break;
            }
        }
    }
    check_upgrades(draft, &planned);
    nemesis::add(draft, &mut planned);
    planned.sort_by_key(|(_, fault)| fault.at_ms);
    quorum::check_overlaps(draft, &planned);
    quorum::check(draft, &planned);
    let numbered = planned
        .into_iter()
        .zip(0..)
        .map(|((_, fault), index)| PlannedFault { index, ..fault });
    draft.faults = numbered.collect();
}

/// The fault as it is the `round`-th time.
fn one(draft: &mut Draft<'_>, path: &str, fault: &Fault, round: usize, at_ms: u64) -> PlannedFault {
    let label = format!("{path}/{round}");
    let sets = select::sets(draft, path, &label, fault);
    let (nodes, leads) = select::nodes(draft, path, &label, fault, &sets);
    PlannedFault {
        index: 0,
        kind: fault.kind,
        nodes,
        leads,
        sets,
        one_way: fault.one_way,
        extent: extent(fault),
        at_ms,
        until_ms: at_ms.saturating_add(fault.lasts.millis()),
        breaks_quorum: fault.breaks_quorum,
        build: fault.build.clone(),
    }
}

/// When it starts, each time.
fn starts(draft: &mut Draft<'_>, path: &str, fault: &Fault) -> Vec<u64> {
    let first = fault.at.millis();
    let Some(repeat) = &fault.repeat else {
        return vec![first];
    };
    let (every, times) = (
        repeat.every.millis(),
        u64::from(repeat.times).min(FAULTS_MAX as u64 + 1),
    );
    let spread = (every as f64 * repeat.jitter.map_or(0.0, |jitter| jitter.0)) as u64;
    let shortest = every.saturating_sub(2 * spread);
    if times == 0 || (times > 1 && shortest <= fault.lasts.millis()) {
        let least = Duration::from_millis(fault.lasts.millis().saturating_add(2 * spread + 1));
        let message = "it would start again before it ends, or never starts";
        let help = format!("use times = 1 or more, and every = \"{least}\" or more");
        draft.error(Code::OverlappingFaults, &format!("{path}.repeat"), message, help);
        return vec![first];
    }
    let mut rng = seed::rng(draft.scenario.seed, &format!("{path}/repeat"));
    let start = |time: u64| {
        let varied = if time == 0 || spread == 0 {
            spread
        } else {
            rng.random_range(0..=2 * spread)
        };
        (first + varied)
            .saturating_add(time.saturating_mul(every))
            .saturating_sub(spread)
    };
    (0..times).map(start).collect()
}

fn extent(fault: &Fault) -> FaultExtent {
    let nanos = |delay: Option<Duration>| delay.map_or(0, |delay| delay.0);
    match fault.kind {
        FaultKind::Crash if fault.disk == Some(DiskFate::Lost) => FaultExtent::DiskLost,
        FaultKind::Link => FaultExtent::Link(LinkChange {
            delay_ns: nanos(fault.delay),
            jitter_ppm: fault.jitter.map(|jitter| ppm(Some(jitter))),
            loss_ppm: fault.loss.map(|loss| ppm(Some(loss))),
            rate_bits: fault.rate.map(|rate| rate.0),
        }),
        FaultKind::Skew => FaultExtent::Ahead(fault.offset.map_or(0, Duration::millis)),
        FaultKind::DiskSlow => FaultExtent::FlushDelay(nanos(fault.delay)),
        FaultKind::Cpu => FaultExtent::Cpu(ppm(fault.share)),
        FaultKind::Memory => FaultExtent::Memory(fault.memory.map_or(0, |memory| memory.0)),
        FaultKind::Crash | FaultKind::Pause | FaultKind::Partition | FaultKind::Upgrade | FaultKind::DiskFull => {
            FaultExtent::Whole
        }
    }
}

/// A release reaches every node that trusts the lab, so that upgrades have their nodes in common.
fn check_upgrades(draft: &mut Draft<'_>, planned: &[Placed]) {
    let mut upgrades = planned.iter().filter(|(_, fault)| fault.kind == FaultKind::Upgrade);
    let Some((_, first)) = upgrades.clone().next() else {
        return;
    };
    for (path, _) in upgrades.clone().filter(|(_, fault)| fault.leads.is_some()) {
        let message = "a release is for nodes that are known beforehand";
        draft.error(
            Code::BadSelection,
            &format!("{path}.nodes"),
            message,
            "name nodes, groups or \"all\"",
        );
    }
    if let Some((path, _)) = upgrades.find(|(_, fault)| fault.nodes != first.nodes) {
        let message = "upgrades have different nodes, and a release reaches every node that trusts the lab";
        draft.error(
            Code::BadSelection,
            &format!("{path}.nodes"),
            message,
            "name the same nodes in each",
        );
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
