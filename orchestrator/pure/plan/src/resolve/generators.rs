//! Loads that hosts of a fleet generate: which hosts, and how the load is shared among them.

use super::Draft;
use crate::{
    PlannedLoad,
    diagnostic::Code,
    scenario::{Load, ProviderKind, Rate},
};

/// Adds `whole` as it is, or as the shares of its generators.
pub(super) fn share(draft: &mut Draft<'_>, path: &str, load: &Load, whole: PlannedLoad) {
    let hosts = hosts(draft, path, load);
    if hosts.is_empty() {
        push(draft, whole);
        return;
    }
    let count = hosts.len() as u64;
    let part = f64::from(hosts.len() as u32);
    let rate = match whole.rate {
        Rate::Constant(rate) => Rate::Constant(rate / part),
        Rate::Ramp { ramp: (from, to), over } => Rate::Ramp {
            ramp: (from / part, to / part),
            over,
        },
    };
    for (index, host) in hosts.into_iter().enumerate() {
        let mut share = PlannedLoad {
            rate,
            // Accounts belong to one generator: each knows what it signed last.
            senders: whole.senders.div_ceil(count as u32),
            expected: whole.expected / count,
            host: Some(host),
            ..whole.clone()
        };
        // Each begins with another target, so that no target gets all first transactions.
        let turn = index * share.targets.len() / count as usize;
        share.targets.rotate_left(turn);
        push(draft, share);
    }
}

fn push(draft: &mut Draft<'_>, load: PlannedLoad) {
    let index = draft.loads.len() as u32;
    draft.loads.push(PlannedLoad { index, ..load });
}

/// The hosts that generate: at equal distances among those that are not spare; none where the lab does.
fn hosts(draft: &mut Draft<'_>, path: &str, load: &Load) -> Vec<u32> {
    let Some(wanted) = load.generators else {
        return Vec::new();
    };
    let path = format!("{path}.generators");
    if draft.scenario.provider.kind != ProviderKind::Ssh {
        let message = "`generators` has no effect: the nodes are on the machine of the lab";
        draft.error(
            Code::NoEffect,
            &path,
            message,
            "remove it, or use provider.kind = \"ssh\"",
        );
        return Vec::new();
    }
    let able: Vec<u32> = draft
        .hosts
        .iter()
        .filter(|host| !host.spare)
        .map(|host| host.index)
        .collect();
    let count = able.len() as u32;
    if !able.is_empty() && !(1..=count).contains(&wanted) {
        let message = format!("{wanted} hosts cannot generate the load, the fleet has {count}");
        draft.error(
            Code::BadRate,
            &path,
            message,
            format!("use 1 to {count}, or remove it for the lab"),
        );
        return Vec::new();
    }
    (0..wanted.min(count))
        .map(|turn| able[(u64::from(turn) * u64::from(count) / u64::from(wanted)) as usize])
        .collect()
}
