//! Parts of a run against the record that they make.

use super::*;
use crate::{
    check::{BlockRow, Ledger, NodeLedger},
    load::{LoadOutcome, PhaseTally, Tally},
    sample::SampleOutcome,
};
use regatta_plan::{Capabilities, Plan, Source, resolve};
use regatta_report::{
    Counts, evaluate,
    model::{Block, Event, HistogramSet, Identity, Interval, Latency, Phase, PhaseKind, Second},
};
use std::collections::BTreeMap;

const SCENARIO: &str = r#"
name = "record"
question = "Does it add up?"
[[group]]
name = "val"
count = 4
role = "validator"
[peering]
mesh = { kind = "full_mesh", of = "val" }
[[consensus]]
id = "main"
[phases]
warmup = "1s"
measure = "2s"
cooldown = "1s"
[[load]]
rate = 10
target = "val"
[[load]]
rate = { ramp = [5, 20], over = "2s" }
target = "val-0"
mix = { blob = 0.5, put = 0.5 }
[slo]
agreement = "always"
lag_p99 = "< 1s"
"#;

pub(super) fn plan() -> Plan {
    let source = Source::read("record.toml", SCENARIO, &[]);
    resolve(&source, &Capabilities::default()).unwrap().plan
}

fn tally(ok: u64) -> Tally {
    Tally {
        intended: ok,
        ok,
        ..Tally::default()
    }
}

/// Ten transactions in two blocks, final in the seconds 2 and 4.
fn outcome(load: u32, first_ms: u64) -> LoadOutcome {
    let counts = |micros: u64| Counts::of_values([micros; 5], 3);
    let set = HistogramSet {
        overall: Counts::of_values([1000; 10], 3),
        intervals: [2, 4]
            .map(|second| Interval {
                second,
                counts: counts(1000),
            })
            .to_vec(),
    };
    let block = |height, at_ms| Block {
        instance: String::new(),
        height,
        at_ms,
        transactions: 5,
        ok: 5,
        latency: counts(1000),
    };
    let second = |second| Second {
        second,
        intended: 5,
        sent: 5,
        finalised: 5,
        ..Second::default()
    };
    LoadOutcome {
        load,
        tally: PhaseTally {
            measure: tally(10),
            ..PhaseTally::default()
        },
        latency: Latency {
            timeout_ms: 10_000 + u64::from(load),
            response: set.clone(),
            service: set.clone(),
            lag: set,
            accepted: counts(500),
            ..Latency::default()
        },
        seconds: vec![second(2), second(4)],
        blocks: vec![block(1, first_ms), block(2, 4000)],
        ..LoadOutcome::default()
    }
}

fn parts<'a>(plan: &'a Plan, ledgers: &'a [Ledger]) -> RecordParts<'a> {
    let phase = |kind, start_ms, end_ms| Phase { kind, start_ms, end_ms };
    RecordParts {
        links: None,
        spread: None,
        identity: Identity {
            run: "run-1".to_owned(),
            ..Identity::default()
        },
        plan,
        binaries: BTreeMap::from([("main".to_owned(), "abcd".to_owned())]),
        ran: Vec::new(),
        phases: vec![
            phase(PhaseKind::Warmup, 1000, 2000),
            phase(PhaseKind::Measure, 2000, 5000),
        ],
        loads: vec![outcome(0, 2500), outcome(1, 2400)],
        samples: SampleOutcome::default(),
        ledgers,
        invariants: Vec::new(),
        events: [3000, 1000]
            .map(|start_ms| Event {
                start_ms,
                end_ms: start_ms,
                ..Event::default()
            })
            .to_vec(),
        churn: None,
        findings: Vec::new(),
        environment: Vec::new(),
        files: Vec::new(),
        partial: false,
        failure: None,
    }
}

#[test]
fn loads_are_added_up_second_by_second_and_block_by_block() {
    let plan = plan();
    let record = assemble(parts(&plan, &[]));
    assert_eq!((record.accounting.intended, record.accounting.finalised_ok), (20, 20));
    assert_eq!(record.latency.timeout_ms, 10_001);
    assert_eq!(record.latency.response.overall.total(), 20);
    assert_eq!(record.latency.accepted.total(), 10);
    let seconds: Vec<(u32, u64)> = record
        .seconds
        .iter()
        .map(|second| (second.second, second.intended))
        .collect();
    assert_eq!(seconds, [(0, 0), (1, 0), (2, 10), (3, 0), (4, 10)]);
    let blocks: Vec<(u64, u64, u64)> = record.blocks.iter().map(|b| (b.height, b.at_ms, b.ok)).collect();
    assert_eq!(blocks, [(1, 2400, 10), (2, 4000, 10)]);
    assert_eq!(record.blocks[0].latency.total(), 10);
}

#[test]
fn the_plan_fills_in_what_was_run() {
    let plan = plan();
    let record = assemble(parts(&plan, &[]));
    assert_eq!(
        (record.identity.run.as_str(), record.identity.scenario.as_str()),
        ("run-1", "record")
    );
    assert_eq!(record.identity.plan_digest, plan.digest().to_string());
    assert_eq!((record.nodes.len(), record.edges.len()), (4, 6));
    assert_eq!(record.nodes[0].binary_digest, "abcd");
    assert_eq!(record.nodes[0].binary_digest_end, "", "it was not asked");
    assert!(record.nodes[3].address.ends_with(":7000"));
    assert_eq!(record.loads[0].label, None);
    assert!(
        record.loads[1]
            .label
            .as_deref()
            .is_some_and(|label| label.contains("not executed"))
    );
    let mut hasty = plan.clone();
    hasty.node.durable = false;
    let record_of_hasty = assemble(parts(&hasty, &[]));
    assert!(record_of_hasty.loads.iter().all(|load| {
        let label = load.label.as_deref();
        label.is_some_and(|label| label.contains("without a durable journal"))
    }));
    assert!(
        record.loads[0].description.starts_with("Poisson, 10 tx/s, 512 B"),
        "{}",
        record.loads[0].description
    );
    assert!(
        record.loads[1].description.contains("val-0"),
        "{}",
        record.loads[1].description
    );
    assert!(record.events[0].start_ms < record.events[1].start_ms);
    let objectives: Vec<_> = record.objectives.iter().map(|o| (o.metric.as_str(), o.met)).collect();
    assert_eq!(objectives, [("agreement", None), ("lag_p99", Some(true))]);
}

#[test]
fn the_ledger_knows_what_else_a_block_holds() {
    let plan = plan();
    let row = |height| BlockRow {
        height,
        transactions: 9,
        ..BlockRow::default()
    };
    let ledger = Ledger {
        nodes: vec![NodeLedger {
            blocks: vec![row(1), row(2)],
            ..NodeLedger::default()
        }],
        ..Ledger::default()
    };
    let ledgers = [ledger];
    let record = assemble(parts(&plan, &ledgers));
    assert!(record.blocks.iter().all(|block| block.transactions == 9));
}

#[test]
fn a_run_that_never_began_still_makes_a_record() {
    let plan = plan();
    let mut parts = parts(&plan, &[]);
    parts.loads.clear();
    parts.phases.clear();
    parts.failure = Some("no program".to_owned());
    let result = evaluate(assemble(parts), false);
    assert_eq!(result.verdict.exit_code, 1);
    assert_eq!(result.record.nodes.len(), 4);
}

#[test]
fn the_generators_own_lines_are_disclosed() {
    let plan = plan();
    let mut parts = parts(&plan, &[]);
    parts.loads[0]
        .tally
        .measure
        .not_sent
        .insert("backlog_full".to_owned(), 1234);
    parts.loads[0].late = 2;
    parts.loads[0].resolved = 3;
    parts.loads[0].breaks.insert("val-1".to_owned(), 1);
    let record = assemble(parts);
    let value = |name: &str| {
        let line = record.environment.iter().find(|line| line.name == name);
        line.map(|line| (line.section.as_str(), line.value.as_str()))
    };
    assert_eq!(value("not sent, backlog_full"), Some(("load 0", "1,234")));
    assert_eq!(value("final after the timeout"), Some(("load 0", "2")));
    assert_eq!(
        value("final status learnt from another node's blocks"),
        Some(("load 0", "3"))
    );
    assert_eq!(value("broken subscriptions to val-1"), Some(("load 0", "1")));
    assert_eq!(record.accounting.not_sent, 1234);
}

#[test]
fn a_pressed_host_voids_what_was_measured() {
    let plan = plan();
    let mut parts = parts(&plan, &[]);
    let sample = |at_ms| crate::sample::HostSample {
        at_ms,
        steal_share: 0.3,
        ..Default::default()
    };
    parts.samples.host = (0..10).map(|second| sample(second * 1000)).collect();
    let result = evaluate(assemble(parts), false);
    assert_eq!(result.verdict.exit_code, 6, "{:?}", result.verdict);
    assert!(
        result
            .verdict
            .problems
            .iter()
            .any(|problem| problem.contains("hypervisor took 30"))
    );
}
