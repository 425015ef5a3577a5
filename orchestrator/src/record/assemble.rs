//! The record itself.

use crate::{
    check::Ledger,
    load::{LoadOutcome, Tally},
    record::{Ran, RecordParts, accused, findings, instances, merge, objectives},
};
use regatta_plan::{
    Plan, PlannedInstance, PlannedLoad,
    scenario::{self, ArrivalKind, Rate, TransactionKind},
};
use regatta_report::{
    RunRecord, format,
    model::{Disclosure, Edge, Event, Identity, Load, LoadMode, NamedText, Node, Role},
    summarise,
};
use std::collections::BTreeMap;

/// What must be said beside every figure of a load with blobs.
const BLOB_LABEL: &str = "unsigned, ordered and not executed: only for comparison with systems that do no more";
/// What must be said beside every figure of nodes that do not wait for their disks.
const NOT_DURABLE_LABEL: &str = "without a durable journal: votes and acknowledgements do not wait for the disk";

/// Puts the record of a run together and judges its objectives.
#[must_use]
pub fn assemble(parts: RecordParts<'_>) -> RunRecord {
    let RecordParts { plan, loads, .. } = parts;
    let mut environment = parts.environment;
    environment.extend(plan.instances.iter().flat_map(agreement));
    environment.extend(loads.iter().flat_map(generator));
    let mut findings = parts.findings;
    findings.extend(findings::of_loads(&loads));
    findings.extend(findings::of_host(&parts.samples, &parts.phases));
    findings.extend(parts.links.iter().flat_map(super::links::findings));
    let mut tally = Tally::default();
    loads.iter().for_each(|load| tally.add(&load.tally.total()));
    let mut record = RunRecord {
        identity: identity(parts.identity, plan),
        nodes: nodes(plan, &parts.binaries, &parts.ran),
        edges: edges(plan),
        instances: instances::of_plan(plan, &loads, parts.ledgers),
        phases: parts.phases,
        loads: plan.loads.iter().map(|load| describe(plan, load, &loads)).collect(),
        latency: merge::latency(&loads),
        seconds: merge::seconds(&loads),
        accounting: tally.to_accounting(),
        blocks: merge::blocks(plan, loads),
        processes: parts.samples.processes,
        events: in_order(parts.events),
        churn: parts.churn,
        invariants: parts.invariants,
        accusations: accused::accused(plan, parts.ledgers),
        links: parts.links,
        spread: parts.spread,
        findings,
        objectives: Vec::new(),
        environment,
        files: parts.files,
        partial: parts.partial,
        failure: parts.failure,
    };
    fill_transactions(&mut record, plan, parts.ledgers);
    let summary = summarise(&record);
    record.objectives = objectives::judge_all(plan, &record, &summary);
    record
}

fn identity(given: Identity, plan: &Plan) -> Identity {
    Identity {
        scenario: plan.name.clone(),
        question: plan.question.clone(),
        seed: plan.seed,
        plan_digest: plan.digest().to_string(),
        ..given
    }
}

fn nodes(plan: &Plan, binaries: &BTreeMap<String, String>, ran: &[Ran]) -> Vec<Node> {
    let role = |role| match role {
        scenario::Role::Validator => Role::Validator,
        scenario::Role::Full => Role::Full,
        scenario::Role::Observer => Role::Observer,
    };
    let ran = |node: u32| ran.get(node as usize).copied().unwrap_or_default();
    let sealed = |build: &String| binaries.get(build).cloned().unwrap_or_default();
    let nodes = plan.nodes.iter().map(|node| Node {
        name: node.name.clone(),
        role: role(node.role),
        group: node.group.clone(),
        region: node.region.clone().unwrap_or_default(),
        address: format!("{}:{}", node.address, node.p2p_port),
        binary_digest: ran(node.index)
            .start
            .map_or_else(|| sealed(&node.build), |digest| digest.to_string()),
        binary_digest_end: ran(node.index)
            .end
            .map_or_else(String::new, |digest| digest.to_string()),
        byzantine: (!node.behaviour.is_honest()).then(|| node.behaviour.to_string()),
    });
    nodes.collect()
}

fn edges(plan: &Plan) -> Vec<Edge> {
    let name = |index: u32| plan.nodes.get(index as usize).map(|node| node.name.clone());
    let edge = |&(a, b): &(u32, u32)| {
        Some(Edge {
            a: name(a)?,
            b: name(b)?,
            rule: String::new(),
        })
    };
    plan.edges.iter().filter_map(edge).collect()
}

fn describe(plan: &Plan, load: &PlannedLoad, outcomes: &[LoadOutcome]) -> Load {
    let outcome = outcomes.iter().find(|outcome| outcome.load == load.index);
    let seconds = plan.phases.measure_ms as f64 / 1000.0;
    let measured = outcome.map_or(0, |outcome| outcome.tally.measure.intended);
    let kinds: Vec<&str> = load.mix.iter().map(|(kind, _)| kind.name()).collect();
    let blob = load.mix.iter().any(|(kind, _)| *kind == TransactionKind::Blob);
    let labels = [(blob, BLOB_LABEL), (!plan.node.durable, NOT_DURABLE_LABEL)];
    let labels: Vec<&str> = labels
        .into_iter()
        .filter_map(|(holds, label)| holds.then_some(label))
        .collect();
    Load {
        name: kinds.join(" and "),
        mode: LoadMode::Open,
        description: description(plan, load),
        offered_per_s: if seconds > 0.0 { measured as f64 / seconds } else { 0.0 },
        size_bytes: u64::from(load.size),
        label: (!labels.is_empty()).then(|| labels.join("; ")),
    }
}

fn description(plan: &Plan, load: &PlannedLoad) -> String {
    let arrivals = match load.arrivals {
        ArrivalKind::Constant => "constant",
        ArrivalKind::Poisson => "Poisson",
        ArrivalKind::Replay => "replayed",
    };
    let rate = match load.rate {
        Rate::Constant(rate) => format!("{} tx/s", whole(rate)),
        Rate::Ramp { ramp: (from, to), over } => {
            format!("{} to {} tx/s over {over}", whole(from), whole(to))
        }
    };
    let mix: Vec<String> = load
        .mix
        .iter()
        .map(|(kind, share)| format!("{} {}", format::percent(*share), kind.name()))
        .collect();
    let target = match load.targets.as_slice() {
        [one] => plan
            .nodes
            .get(*one as usize)
            .map_or_else(String::new, |node| node.name.clone()),
        several => format!("{} nodes in turn", several.len()),
    };
    let senders = format::plural(u64::from(load.senders), "account");
    format!(
        "{arrivals}, {rate}, {} B, {}, {senders}, to {target}",
        load.size,
        mix.join(" and ")
    )
}

/// A rate as people write it: whole where it is.
fn whole(rate: f64) -> String {
    if rate.fract() == 0.0 && rate < 1e15 {
        format::integer(rate as u64)
    } else {
        format::number(rate)
    }
}

/// What an instance's figures rest on.
fn agreement(instance: &PlannedInstance) -> impl Iterator<Item = Disclosure> + use<> {
    let interval = format!("{} ms", instance.block_interval_ms);
    let timeout = format!("{} ms × (3 + 2 × round)", instance.round_timeout_ms);
    let lines = [
        ("validators", format::integer(instance.validators.len() as u64)),
        ("followers", format::integer(instance.followers.len() as u64)),
        ("weight", format::integer(instance.total_weight())),
        ("votes", instance.vote_topology.name().to_owned()),
        ("least block interval", interval),
        ("round timeout", timeout),
    ];
    let section = format!("consensus {}", instance.id);
    lines.into_iter().map(move |(name, value)| Disclosure {
        section: section.clone(),
        name: name.to_owned(),
        value,
    })
}

/// The generator's own lines of the disclosure list, and what else its books say.
fn generator(load: &LoadOutcome) -> impl Iterator<Item = Disclosure> + use<> {
    let text = |name: String, value: String| NamedText { name, value };
    let mut lines = load.disclosure.clone();
    let total = load.tally.total();
    for (reason, count) in &total.not_sent {
        lines.push(text(format!("not sent, {reason}"), format::integer(*count)));
    }
    let counts = [
        ("final after the timeout", load.late),
        ("final status learnt from another node's blocks", load.resolved),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        lines.push(text(name.to_owned(), format::integer(count)));
    }
    for (target, count) in &load.breaks {
        lines.push(text(
            format!("broken subscriptions to {target}"),
            format::integer(*count),
        ));
    }
    let section = format!("load {}", load.load);
    lines.into_iter().map(move |line| Disclosure {
        section: section.clone(),
        name: line.name,
        value: line.value,
    })
}

fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| event.start_ms);
    events
}

/// The ledger knows all transactions of a block, the load only its own.
fn fill_transactions(record: &mut RunRecord, plan: &Plan, ledgers: &[Ledger]) {
    for block in &mut record.blocks {
        let instances = plan.instances.iter().zip(ledgers);
        let of = instances.filter(|(instance, _)| instance.id == block.instance);
        let node = of.filter_map(|(_, ledger)| ledger.nodes.get(ledger.reference)).next();
        let row = node.and_then(|node| node.block(block.height));
        block.transactions = row.map_or(block.transactions, |row| u64::from(row.transactions));
    }
}
