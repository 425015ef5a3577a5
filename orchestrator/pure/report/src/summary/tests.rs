//! Known answers and planted violations for the summary.

use super::*;
use crate::{
    Counts,
    fixture::{self, EIGHT, SMALL},
    model::{Accounting, Phase, PhaseKind, Process, Rejection, Sample, Second},
    result::AccountingCheck,
};

fn measured(quantile: &Quantile) -> Estimate {
    match quantile.value {
        QuantileValue::Measured(estimate) => estimate,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_run_adds_up() {
    let summary = summarise(&fixture::record(EIGHT));
    assert!(summary.accounting.closes && summary.generator.valid, "{summary:?}");
    assert!(summary.window.loaded_blocks >= 1000, "{:?}", summary.window);
    let goodput = summary.goodput_per_s.unwrap();
    assert!(
        goodput.low < goodput.value && goodput.value < goodput.high,
        "{goodput:?}"
    );
    assert!((900.0..1100.0).contains(&goodput.value), "{goodput:?}");
    let p50 = measured(&summary.response[0]);
    let p99 = measured(&summary.response[2]);
    assert!(p50.value < p99.value && p99.low <= p99.value && p99.value <= p99.high);
    assert!(matches!(
        summary.response[3].value,
        QuantileValue::NeedsBlocks { needed: 10_000, .. }
    ));
    assert_eq!(summary.nodes.len(), 8);
    assert_eq!(summary.nodes[3].restarts, 1);
    assert!(summary.steady.is_none(), "a fault acts in the window");
    let undisturbed = summarise(&fixture::record(SMALL));
    assert!(undisturbed.steady.unwrap().steady, "{:?}", undisturbed.steady);
}

#[test]
fn the_warm_up_cut_never_hides_a_fault() {
    let record = fixture::record(EIGHT);
    let fault = &record.events[1];
    let window = summarise(&record).window;
    assert!(window.start_ms < fault.start_ms, "{window:?}");
    let mut unannounced = record.clone();
    unannounced.events.clear();
    assert!(
        summarise(&unannounced).window.start_ms > fault.start_ms,
        "without the event it looks like a warm-up"
    );
}

#[test]
fn the_same_record_gives_the_same_summary() {
    assert_eq!(summarise(&fixture::record(SMALL)), summarise(&fixture::record(SMALL)));
}

#[test]
fn the_identity_catches_a_transaction_without_an_end() {
    let closing = Accounting {
        intended: 10,
        not_sent: 1,
        rejected: vec![
            Rejection {
                reason: "full".to_owned(),
                count: 2,
            },
            Rejection {
                reason: "nonce".to_owned(),
                count: 1,
            },
        ],
        timed_out: 1,
        unknown: 1,
        finalised_ok: 3,
        finalised_failed: 1,
    };
    let check = checks::accounting(&closing);
    assert_eq!(
        check,
        AccountingCheck {
            closes: true,
            difference: 0,
            rejected: 3,
            finalised: 4,
            lost_share: 0.6
        }
    );
    let missing = checks::accounting(&Accounting {
        finalised_ok: 2,
        ..closing.clone()
    });
    assert!(!missing.closes && missing.difference == 1);
    let doubled = checks::accounting(&Accounting {
        finalised_ok: 5,
        ..closing
    });
    assert!(!doubled.closes && doubled.difference == -2);
}

#[test]
fn a_lost_tail_is_at_least_the_timeout() {
    let mut record = fixture::record(EIGHT);
    let lost = record.accounting.intended / 50;
    record.accounting.intended += lost;
    record.accounting.timed_out += lost;
    let summary = summarise(&record);
    assert!(matches!(summary.response[0].value, QuantileValue::Measured(_)));
    assert!(matches!(summary.response[1].value, QuantileValue::Measured(_)));
    assert_eq!(
        summary.response[2].value,
        QuantileValue::AtLeastTimeout { timeout_ms: 10_000 }
    );
    assert_eq!(
        summary.response[3].value,
        QuantileValue::AtLeastTimeout { timeout_ms: 10_000 }
    );
}

#[test]
fn too_few_blocks_are_named() {
    let mut record = fixture::record(SMALL);
    record.blocks.truncate(90);
    let summary = summarise(&record);
    let QuantileValue::NeedsBlocks { needed: 100, have } = summary.response[1].value else {
        panic!("{summary:?}")
    };
    assert!(have < 100);
}

#[test]
fn goodput_counts_only_the_window_and_all_of_it() {
    let block = |at_ms, ok| Block {
        at_ms,
        ok,
        latency: Counts::of_values([5_000], 3),
        ..Block::default()
    };
    let record = RunRecord {
        phases: vec![Phase {
            kind: PhaseKind::Measure,
            start_ms: 1_000,
            end_ms: 11_000,
        }],
        blocks: vec![
            block(900, 1_000),
            block(2_000, 30),
            block(3_000, 20),
            block(11_000, 500),
        ],
        ..RunRecord::default()
    };
    let summary = summarise(&record);
    assert_eq!(summary.goodput_per_s.unwrap().value, 5.0);
    assert_eq!(summary.window.blocks, 2);
    assert_eq!(summary.block_interval_ms.unwrap().value, 1_000.0);
}

#[test]
fn the_generator_is_judged_by_lag_and_share() {
    let mut record = fixture::record(SMALL);
    record.latency.lag.overall = Counts(vec![(10, 980), (9_000, 20)]);
    let late = checks::generator(&record);
    assert!(!late.valid && late.lag_p99_us == 9_000);
    record.latency.response.overall = Counts(vec![(1_000_000, 10)]);
    assert!(checks::generator(&record).valid, "5 % of a second allow 50 ms");
    record.accounting.not_sent = record.accounting.intended / 50;
    assert!(!checks::generator(&record).valid);
}

#[test]
fn a_growing_backlog_is_not_steady() {
    let window = Window {
        start_ms: 0,
        end_ms: 20_000,
        ..Window::default()
    };
    let second = |second, finalised| Second {
        second,
        intended: 1000,
        sent: 1000,
        finalised,
        ..Second::default()
    };
    let flat = RunRecord {
        seconds: (0..20).map(|s| second(s, 1000)).collect(),
        ..RunRecord::default()
    };
    assert!(checks::steady(&flat, &window).unwrap().steady);
    let growing = RunRecord {
        seconds: (0..20).map(|s| second(s, 950)).collect(),
        ..RunRecord::default()
    };
    let check = checks::steady(&growing, &window).unwrap();
    assert!(
        !check.steady && (check.backlog_slope_share - 0.05).abs() < 1e-9,
        "{check:?}"
    );
    let falling = RunRecord {
        seconds: (0..20).map(|s| second(s, if s < 10 { 1090 } else { 910 })).collect(),
        ..flat.clone()
    };
    assert!(!checks::steady(&falling, &window).unwrap().steady);
    assert!(
        checks::steady(
            &flat,
            &Window {
                end_ms: 3_000,
                ..window
            }
        )
        .is_none()
    );
}

#[test]
fn cpu_per_transaction_is_interpolated_over_the_window() {
    let samples = |rate: f64| {
        (0..=10)
            .map(|s| Sample {
                at_ms: s * 1000,
                cpu_s: rate * s as f64,
                ..Sample::default()
            })
            .collect()
    };
    let process = |kind, rate| Process {
        kind,
        samples: samples(rate),
        ..Process::default()
    };
    let record = RunRecord {
        processes: vec![
            process(crate::model::ProcessKind::Node, 0.5),
            process(crate::model::ProcessKind::Node, 0.25),
            process(crate::model::ProcessKind::Lab, 0.1),
        ],
        ..RunRecord::default()
    };
    let window = Window {
        start_ms: 2_500,
        end_ms: 6_500,
        ..Window::default()
    };
    let block = Block {
        at_ms: 3_000,
        ok: 1000,
        ..Block::default()
    };
    let cost = resources::cost(&record, &window, &[&block]).unwrap();
    assert!((cost.nodes_us_per_tx.value - 3_000.0).abs() < 1e-6, "{cost:?}");
    assert!((cost.lab_us_per_tx - 400.0).abs() < 1e-6, "{cost:?}");
    assert!(resources::cost(&record, &window, &[]).is_none());
}

#[test]
fn a_block_costs_what_the_nodes_did_between_the_windows_ends() {
    let process = |kind, messages: u64| Process {
        kind,
        samples: (0..=10)
            .map(|s| Sample {
                at_ms: s * 1000,
                cpu_s: 0.3 * s as f64,
                messages_out: messages * s,
                bytes_out: 1000 * s,
                ..Sample::default()
            })
            .collect(),
        ..Process::default()
    };
    let record = RunRecord {
        processes: vec![
            process(crate::model::ProcessKind::Node, 200),
            process(crate::model::ProcessKind::Node, 400),
            process(crate::model::ProcessKind::Lab, 7),
        ],
        ..RunRecord::default()
    };
    let window = Window {
        start_ms: 2_500,
        end_ms: 6_500,
        blocks: 400,
        ..Window::default()
    };
    let cost = resources::block_cost(&record, &window).unwrap();
    assert!((cost.blocks_per_s - 100.0).abs() < 1e-6, "{cost:?}");
    assert!((cost.nodes_us - 6_000.0).abs() < 1e-6, "{cost:?}");
    assert!((cost.messages_per_node - 3.0).abs() < 1e-6, "{cost:?}");
    assert!((cost.bytes_per_node - 10.0).abs() < 1e-6, "{cost:?}");
    assert!(resources::block_cost(&record, &Window { blocks: 0, ..window }).is_none());
    assert!(resources::block_cost(&RunRecord::default(), &window).is_none());
}

#[test]
fn an_empty_record_has_an_empty_summary() {
    let summary = summarise(&RunRecord::default());
    assert_eq!(summary.window, Window::default());
    assert!(summary.goodput_per_s.is_none() && summary.steady.is_none() && summary.cpu.is_none());
    assert!(summary.block_cost.is_none());
    assert!(
        summary
            .response
            .iter()
            .all(|quantile| quantile.value == QuantileValue::Nothing)
    );
    assert!(summary.accounting.closes);
}

#[test]
fn a_short_time_before_a_fault_is_no_unsettled_run() {
    let mut record = fixture::record(SMALL);
    let start = record.phases[2].start_ms;
    let rising = record
        .blocks
        .iter_mut()
        .filter(|block| block.at_ms >= start)
        .enumerate();
    for (index, block) in rising {
        block.latency = Counts(vec![(1_000 * index as u64 + 1, 1)]);
    }
    assert!(summarise(&record).window.cut_refused);
    let end_ms = record.phases[2].end_ms;
    record.events = vec![crate::model::Event {
        start_ms: end_ms - 100,
        end_ms,
        kind: crate::model::EventKind::Fault,
        ..Default::default()
    }];
    assert!(!summarise(&record).window.cut_refused);
}

#[test]
fn a_warm_up_is_cut_from_the_window() {
    let mut record = fixture::record(SMALL);
    let start = record.phases[2].start_ms;
    for block in record
        .blocks
        .iter_mut()
        .filter(|block| (start..start + 2_000).contains(&block.at_ms))
    {
        block.latency = Counts::of_values(std::iter::repeat_n(4_000_000, block.ok as usize), 3);
    }
    let window = summarise(&record).window;
    assert!(
        (1_900..4_500).contains(&window.cut_ms) && !window.cut_refused,
        "{window:?}"
    );
    assert_eq!(window.start_ms, start + window.cut_ms);
}
