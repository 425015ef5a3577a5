//! Planted changes between two made-up runs.

use super::*;
use crate::{
    Counts, evaluate,
    fixture::{self, EIGHT, SMALL},
    model::RunRecord,
    result::QuantileValue,
};

fn changed(change: impl FnOnce(&mut RunRecord)) -> RunResult {
    let mut record = fixture::record(SMALL);
    change(&mut record);
    evaluate(record, false)
}

fn kind(comparison: &Comparison, metric: &str) -> ChangeKind {
    comparison
        .metrics
        .iter()
        .find(|change| change.metric == metric)
        .unwrap_or_else(|| panic!("{metric}"))
        .kind
}

fn slower(record: &mut RunRecord, factor: f64) {
    for block in &mut record.blocks {
        block.latency = Counts(
            block
                .latency
                .0
                .iter()
                .map(|&(us, n)| ((us as f64 * factor) as u64, n))
                .collect(),
        );
    }
}

#[test]
fn a_run_equals_itself() {
    let result = changed(|_| {});
    let comparison = compare(&result, &result, 0.1);
    assert_eq!(
        (comparison.outcome, comparison.exit_code),
        (Outcome::Unchanged, 0),
        "{}",
        comparison.text()
    );
    assert!(comparison.differences.is_empty());
    assert!(
        comparison
            .metrics
            .iter()
            .all(|change| change.change.is_none_or(|share| share.value == 0.0))
    );
}

#[test]
fn a_slower_head_is_worse_and_a_faster_one_better() {
    let base = changed(|_| {});
    let slow = changed(|record| slower(record, 1.3));
    let worse = compare(&base, &slow, 0.05);
    assert_eq!((worse.outcome, worse.exit_code), (Outcome::Worse, 3));
    assert_eq!(kind(&worse, "response p50"), ChangeKind::Worse);
    assert!(
        worse.sentence().starts_with("WORSE · worse: response p50 +30.0 % ["),
        "{}",
        worse.sentence()
    );
    let better = compare(&slow, &base, 0.05);
    assert_eq!(kind(&better, "response p50"), ChangeKind::Better);
    assert_eq!(better.exit_code, 0);
    assert_eq!(compare(&base, &slow, 0.5).exit_code, 0, "within a wide margin");
}

#[test]
fn a_small_change_within_noise_is_not_called() {
    let comparison = compare(&changed(|_| {}), &changed(|record| slower(record, 1.02)), 0.02);
    assert_eq!(
        kind(&comparison, "response p50"),
        ChangeKind::Inconclusive,
        "{}",
        comparison.text()
    );
    assert_eq!(comparison.exit_code, 0);
}

#[test]
fn lower_goodput_is_worse() {
    let comparison = compare(
        &changed(|_| {}),
        &changed(|record| record.blocks.iter_mut().for_each(|block| block.ok = block.ok * 3 / 4)),
        0.05,
    );
    assert_eq!(kind(&comparison, "goodput"), ChangeKind::Worse);
}

#[test]
fn a_lost_tail_is_worse_than_a_measured_one() {
    let lost = changed(|record| {
        record.accounting.timed_out += record.accounting.intended / 5;
        record.accounting.intended += record.accounting.intended / 5;
    });
    assert!(matches!(
        lost.summary.response[1].value,
        QuantileValue::AtLeastTimeout { .. }
    ));
    let comparison = compare(&changed(|_| {}), &lost, 0.05);
    assert_eq!(kind(&comparison, "response p90"), ChangeKind::Worse);
    assert_eq!(comparison.exit_code, 3);
}

#[test]
fn runs_that_measure_nothing_are_incomparable() {
    let good = changed(|_| {});
    let invalid = changed(|record| record.partial = true);
    let incorrect = changed(|record| record.invariants[0].holds = false);
    assert_eq!(compare(&good, &invalid, 0.05).exit_code, 6);
    assert_eq!(compare(&invalid, &good, 0.05).exit_code, 6);
    assert_eq!(compare(&good, &incorrect, 0.05).exit_code, 4);
    assert!(compare(&good, &invalid, 0.05).sentence().contains("is INVALID"));
}

#[test]
fn differences_are_named() {
    let other = evaluate(
        RunRecord {
            environment: Vec::new(),
            ..fixture::record(EIGHT)
        },
        false,
    );
    let comparison = compare(&changed(|record| record.identity.dirty = true), &other, f64::NAN);
    let what: Vec<&str> = comparison
        .differences
        .iter()
        .map(|difference| difference.what.as_str())
        .collect();
    for wanted in ["commit", "nodes", "load", "machine: CPU"] {
        assert!(what.contains(&wanted), "{what:?}");
    }
    assert_eq!(comparison.margin, 0.0);
}

#[test]
fn every_form_is_safe_and_whole() {
    let evil = changed(|record| record.identity.run = "<script>\u{1b}[31m|".to_owned());
    let comparison = compare(&evil, &changed(|record| slower(record, 2.0)), 0.05);
    assert!(!comparison.text().contains('\u{1b}'));
    assert!(!comparison.markdown().contains("<script"));
    let again: Comparison = serde_json::from_str(&comparison.json().unwrap()).unwrap();
    assert_eq!(again.outcome, comparison.outcome);
}

#[test]
fn terminal_text_of_a_comparison() {
    insta::assert_snapshot!(compare(&changed(|_| {}), &changed(|record| slower(record, 1.3)), 0.05).text());
}
