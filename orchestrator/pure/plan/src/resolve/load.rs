//! Loads become kinds, targets and counts.

use super::{Draft, generators, phases};
use crate::{
    PlannedLoad, arrivals,
    diagnostic::{Code, Problem},
    scenario::{ArrivalKind, Load, LoadMode, Rate, Role, TransactionKind},
    units::round,
};
use regatta_base::limits::{STATE_VALUE_BYTES_MAX, TRANSACTION_BYTES_MAX};

/// Highest rate per load in transactions per second: beyond it a schedule has no nanoseconds left between two.
const RATE_MAX: f64 = 1e7;
/// Most transactions of one load: its schedule and stamps are held in memory.
const TRANSACTIONS_MAX: f64 = 1e8;
/// Most accounts of one load.
const SENDERS_MAX: u32 = 100_000;
/// Room for a transaction's header, key and signature.
pub(super) const OVERHEAD_BYTES: u64 = 1024;

/// Makes the loads.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    let duration_ms = phases(draft.scenario).load_ms();
    for (index, load) in draft.scenario.load.iter().enumerate() {
        let path = format!("load.{index}");
        check_rate(draft, &path, load);
        check_senders(draft, &path, load);
        let mix = mix(draft, &path, load);
        check_size(draft, &path, load, &mix);
        let expected = arrivals::expected(&load.rate, duration_ms as f64 / 1e3);
        if expected > TRANSACTIONS_MAX {
            let message = format!("the load has {expected:.0} transactions and the limit is {TRANSACTIONS_MAX}");
            draft.error(
                Code::BadRate,
                &format!("{path}.rate"),
                message,
                "lower the rate or shorten the phases",
            );
        }
        let instance = instance(draft, &path, load);
        let planned = PlannedLoad {
            index: 0,
            arrivals: load.arrivals,
            rate: load.rate,
            mix,
            size: u32::try_from(load.size.0).unwrap_or(u32::MAX),
            targets: targets(draft, &path, load, &instance),
            instance,
            senders: load.senders,
            timeout_ms: load.timeout.millis(),
            duration_ms,
            expected: expected.round() as u64,
            host: None,
        };
        generators::share(draft, &path, load, planned);
    }
}

fn check_rate(draft: &mut Draft<'_>, path: &str, load: &Load) {
    let path = format!("{path}.rate");
    let rates = match load.rate {
        Rate::Constant(rate) => [rate, rate],
        Rate::Ramp { ramp: (from, to), .. } => [from, to],
    };
    if rates
        .iter()
        .any(|rate| !rate.is_finite() || *rate < 0.0 || *rate > RATE_MAX)
    {
        draft.error(
            Code::BadRate,
            &path,
            "a rate is not between 0 and 10,000,000",
            "use transactions per second",
        );
    } else if rates.iter().all(|rate| *rate == 0.0) {
        draft.error(
            Code::BadRate,
            &path,
            "a rate of zero offers no load",
            "use a rate above 0 or remove the load",
        );
    }
    if matches!(load.rate, Rate::Ramp { over, .. } if over.0 == 0) {
        draft.error(
            Code::BadRate,
            &format!("{path}.over"),
            "the ramp takes no time",
            "use over = \"10s\" or a plain rate",
        );
    }
    if load.timeout.0 == 0 {
        let path = path.replace("rate", "timeout");
        draft.error(
            Code::BadRate,
            &path,
            "every transaction would time out at once",
            "use timeout = \"10s\"",
        );
    }
}

fn check_senders(draft: &mut Draft<'_>, path: &str, load: &Load) {
    if load.senders == 0 || load.senders > SENDERS_MAX {
        let message = format!("{} accounts cannot sign the load", load.senders);
        draft.error(
            Code::BadRate,
            &format!("{path}.senders"),
            message,
            format!("use 1 to {SENDERS_MAX}"),
        );
    }
    if load.clients.is_some() && load.mode == LoadMode::Open {
        let message = "`clients` has no effect in an open loop";
        draft.error(
            Code::NoEffect,
            &format!("{path}.clients"),
            message,
            "remove it, or use mode = \"closed\"",
        );
    }
    if load.arrivals == ArrivalKind::Replay && load.mode == LoadMode::Closed {
        let message = "a closed loop has no schedule to replay";
        draft.error(
            Code::NoEffect,
            &format!("{path}.arrivals"),
            message,
            "remove `arrivals`",
        );
    }
}

/// Known kinds with shares that sum to 1.
fn mix(draft: &mut Draft<'_>, path: &str, load: &Load) -> Vec<(TransactionKind, f64)> {
    let path = format!("{path}.mix");
    let mut kinds = Vec::new();
    for (name, &share) in &load.mix {
        let path = format!("{path}.{name}");
        let Some(kind) = TransactionKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let problem = Problem::error(Code::BadMix, path, format!("there is no transaction kind `{name}`")).at_key();
            draft.unknown(problem, name, TransactionKind::ALL.map(TransactionKind::name));
            continue;
        };
        if !share.is_finite() || share < 0.0 {
            draft.error(
                Code::BadMix,
                &path,
                format!("`{share}` is no share"),
                "use a number of 0 or more",
            );
        } else if share > 0.0 {
            kinds.push((kind, share));
        }
    }
    let total: f64 = kinds.iter().map(|(_, share)| share).sum();
    if load.mix.values().all(|share| *share == 0.0) {
        draft.error(
            Code::BadMix,
            &path,
            "the mix has no kind with a share",
            "use e.g. mix = { opaque = 1 }",
        );
    }
    kinds
        .into_iter()
        .map(|(kind, share)| (kind, round(share / total)))
        .collect()
}

fn check_size(draft: &mut Draft<'_>, path: &str, load: &Load, mix: &[(TransactionKind, f64)]) {
    let path = format!("{path}.size");
    let largest = |kind: TransactionKind| match kind {
        TransactionKind::Put => STATE_VALUE_BYTES_MAX as u64,
        _ => TRANSACTION_BYTES_MAX as u64 - OVERHEAD_BYTES,
    };
    let limit = mix.iter().map(|&(kind, _)| (largest(kind), kind)).min();
    if let Some((limit, kind)) = limit
        && load.size.0 > limit
    {
        let message = format!(
            "`{kind}` transactions of {} exceed the limit of {limit} bytes",
            load.size
        );
        draft.error(
            Code::TransactionTooLarge,
            &path,
            message,
            format!("use size = {limit} or less"),
        );
    }
}

fn instance(draft: &mut Draft<'_>, path: &str, load: &Load) -> String {
    let ids: Vec<&str> = draft
        .scenario
        .consensus
        .iter()
        .map(|instance| instance.id.as_str())
        .collect();
    let Some(name) = &load.consensus else {
        return ids.first().copied().unwrap_or_default().to_owned();
    };
    if !ids.contains(&name.as_str()) {
        let message = format!("there is no consensus instance `{name}`");
        let problem = Problem::error(Code::UnknownInstance, format!("{path}.consensus"), message);
        draft.unknown(problem, name, ids);
    }
    name.clone()
}

/// The nodes that get the load: what is named and runs the instance, less the observers.
fn targets(draft: &mut Draft<'_>, path: &str, load: &Load, instance: &str) -> Vec<u32> {
    let path = format!("{path}.target");
    let instance = draft.instances.iter().find(|planned| planned.id == instance).cloned();
    let runs = |node: u32| instance.as_ref().is_none_or(|instance| instance.runs(node));
    let with_role = |role: Role| {
        let nodes = draft.nodes.iter().filter(move |node| node.role == role);
        let nodes = nodes.map(|node| node.index);
        nodes.filter(|&node| runs(node)).collect::<Vec<_>>()
    };
    let Some(name) = &load.target else {
        let full = with_role(Role::Full);
        return if full.is_empty() {
            with_role(Role::Validator)
        } else {
            full
        };
    };
    let before = draft.problems.len();
    let named = draft.select(name, &path);
    let takes_load = |node: &u32| draft.nodes[*node as usize].role != Role::Observer;
    let able: Vec<u32> = named.into_iter().filter(takes_load).collect();
    if able.is_empty() && draft.problems.len() == before {
        let message = format!("`{name}` has no node that takes load: observers never do");
        let help = "name a group of validators or full nodes";
        draft.error(Code::NoNodes, &path, message, help);
        return able;
    }
    let targets: Vec<u32> = able.into_iter().filter(|&node| runs(node)).collect();
    if targets.is_empty() && draft.problems.len() == before {
        let id = instance.map(|instance| instance.id).unwrap_or_default();
        let message = format!("`{name}` has no node that runs instance `{id}`");
        draft.error(Code::NoNodes, &path, message, "name nodes that vote in it or follow it");
    }
    targets
}
