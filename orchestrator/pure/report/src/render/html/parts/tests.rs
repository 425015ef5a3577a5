//! The texts of the page, for runs of several kinds.

use super::*;
use crate::{
    evaluate,
    fixture::{self, EIGHT, SMALL, objective},
    model::{Accusation, LoadMode, NamedText, RunRecord},
    result::RunResult,
};

fn changed(change: impl FnOnce(&mut RunRecord)) -> RunResult {
    let mut record = fixture::record(SMALL);
    change(&mut record);
    evaluate(record, false)
}

#[test]
fn the_four_numbers_carry_intervals() {
    let result = evaluate(fixture::record(EIGHT), false);
    let cards = cards(&result);
    let names: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
    assert_eq!(
        names,
        ["Goodput", "Response, median", "Response, p99", "CPU per transaction"]
    );
    let units: Vec<&str> = cards.iter().map(|card| card.unit.as_str()).collect();
    assert_eq!(units, ["tx/s", "ms", "ms", "ms"]);
    assert!(cards.iter().all(|card| card.interval.starts_with("95 % [")));
    assert_eq!(cards[2].note, "p99.9 needs 10,000 blocks");
}

#[test]
fn the_tail_card_takes_what_the_run_can_tell() {
    let few = cards(&changed(|_| {}));
    assert_eq!(
        (few[2].name.as_str(), few[2].note.as_str()),
        ("Response, p90", "p99 needs 1,000 blocks")
    );
    let lost = cards(&changed(|record| {
        record.accounting.timed_out += record.accounting.intended / 4;
        record.accounting.intended += record.accounting.intended / 4;
    }));
    assert_eq!(
        (lost[2].name.as_str(), lost[2].value.as_str(), lost[2].interval.as_str()),
        ("Response, p99", ">= 10.0", "")
    );
    let short = cards(&changed(|record| record.blocks.truncate(75)));
    let names: Vec<&str> = short.iter().map(|card| card.name.as_str()).collect();
    assert!(
        !names.contains(&"Response, p90") && names.contains(&"Response, median"),
        "{names:?}"
    );
}

#[test]
fn without_samples_there_is_no_cost() {
    let result = changed(|record| record.processes.clear());
    assert!(cards(&result).iter().all(|card| card.name != "CPU per transaction"));
    assert!(
        nodes(&result)
            .iter()
            .all(|row| row.cells.iter().all(|cell| cell == "–"))
    );
}

#[test]
fn node_rows_have_a_cell_for_each_column() {
    let result = evaluate(fixture::record(EIGHT), false);
    let rows = nodes(&result);
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| row.cells.len() == 13));
    assert_eq!((rows[0].symbol, rows[7].symbol), ("◆", "●"));
    assert_eq!(rows[3].cells[12], "1", "val-3 was started again");
    let unsampled = changed(|record| record.processes.clear());
    assert_eq!(nodes(&unsampled)[0].cells.len(), 13);
}

#[test]
fn a_node_that_became_another_program_shows_both() {
    let result = changed(|record| {
        record.nodes[0].binary_digest_end = "0123456789abcdef".to_owned();
        record.nodes[1].binary_digest_end = String::new();
    });
    let rows = nodes(&result);
    let before = &result.record.nodes[0].binary_digest[..8];
    assert_eq!(rows[0].program, format!("{before} → 01234567"));
    assert_eq!(rows[1].program, format!("{before} → ?"), "nobody knows");
    let unchanged = evaluate(fixture::record(EIGHT), false);
    assert_eq!(nodes(&unchanged)[7].program, before);
    let named = digests(&result);
    let is_named = |value: &str| named.iter().any(|line| line.value == value);
    assert!(is_named("0123456789abcdef"), "{named:?}");
    assert!(
        crate::render::csv::nodes_csv(&result)
            .lines()
            .nth(1)
            .is_some_and(|row| row.ends_with(",0123456789abcdef"))
    );
}

#[test]
fn digests_name_each_binary_once() {
    let result = changed(|record| {
        record.identity.dirty = true;
        record.nodes[1].binary_digest = "another".to_owned();
    });
    let lines = digests(&result);
    let value = |name: &str| {
        lines
            .iter()
            .find(|line| line.name == name)
            .map(|line| line.value.as_str())
    };
    assert!(value("commit").unwrap().ends_with("with uncommitted changes"));
    assert_eq!(value("node binary"), Some("another"), "the other is named already");
    assert_eq!(value("seed"), Some("42"));
    assert_eq!(
        lines
            .iter()
            .filter(|line: &&NamedText| line.name == "node binary")
            .count(),
        1
    );
}

#[test]
fn the_method_tells_the_numbers_of_this_run() {
    let text = |result: &RunResult| method(result).join("\n");
    let plain = text(&changed(|_| {}));
    assert!(
        plain.contains("open loop: arrivals were scheduled before the run"),
        "{plain}"
    );
    assert!(plain.contains("Steadiness: the backlog changes by"), "{plain}");
    let closed = text(&changed(|record| record.loads[0].mode = LoadMode::Closed));
    assert!(closed.contains("closed loop: not a latency test"), "{closed}");
    let saturated = text(&changed(|record| record.loads[0].mode = LoadMode::Saturate));
    assert!(saturated.contains("as many as the system takes"), "{saturated}");
    let never = text(&changed(|record| {
        for (index, block) in record.blocks.iter_mut().enumerate() {
            let us = if index < 150 { 20_000 * index as u64 } else { 10_000 };
            block.latency = crate::Counts(vec![(us.max(1), block.ok.max(1))]);
        }
    }));
    assert!(never.contains("was refused"), "{never}");
}

#[test]
fn checks_say_their_result_in_words() {
    let result = changed(|record| {
        record.invariants[1].holds = false;
        record.objectives = vec![
            objective("latency_p50", "< 1s", "107 ms", Some(true)),
            objective("goodput", ">= 98%", "90 %", Some(false)),
            objective("latency_p99", "< 1s", "needs 1,000 blocks", None),
        ];
    });
    let words = |checks: &[Check<'_>]| checks.iter().map(|check| check.word).collect::<Vec<&str>>();
    assert_eq!(
        words(&invariants(&result)),
        ["holds", "violated", "holds", "holds", "holds"]
    );
    assert_eq!(words(&objectives(&result)), ["met", "missed", "open"]);
    let signs: Vec<&str> = objectives(&result).iter().map(|check| check.icon).collect();
    assert_eq!(signs, ["✓", "✕", "?"], "told apart without colour");
    assert_eq!(invariants(&result)[0].numbers, "2 nodes");
}

#[test]
fn disclosures_come_under_their_headings() {
    let result = changed(|_| {});
    let sections = environment(&result);
    let titles: Vec<(&str, usize)> = sections
        .iter()
        .map(|section| (section.title, section.lines.len()))
        .collect();
    assert_eq!(titles, [("machine", 3), ("build", 2), ("pressure", 1)]);
    assert_eq!(files(&result)[0].size, "1.83 MB");
}

#[test]
fn every_quantile_has_a_row_when_there_was_load() {
    let result = changed(|_| {});
    let rows = quantiles(&result);
    assert_eq!(rows.len(), 4);
    assert!(
        rows[0].response.contains('[') && rows[2].response.starts_with("needs "),
        "{}",
        rows[2].response
    );
    assert!(quantiles(&evaluate(RunRecord::default(), false)).is_empty());
}

#[test]
fn moments_have_no_end() {
    let result = evaluate(fixture::record(EIGHT), false);
    let events = events(&result);
    assert_eq!((events[0].from.as_str(), events[0].to.as_str()), ("1.9 s", ""));
    assert_eq!(
        (events[1].kind, events[1].node, events[1].to.as_str()),
        ("fault", "val-3", "23.0 s")
    );
}

#[test]
fn evidence_is_listed_up_to_a_bound() {
    let row = |height| Accusation {
        instance: "main".to_owned(),
        validator: "bad-0".to_owned(),
        height,
        kind: "two first votes".to_owned(),
        told_by: 3,
        asked: 4,
        ..Accusation::default()
    };
    let none = changed(|_| {});
    assert!(accusations(&none).is_empty() && accusations_more(&none) == 0);
    let many = changed(|record| record.accusations = (1..=70).map(row).collect());
    assert_eq!((accusations(&many).len(), accusations_more(&many)), (64, 6));
    let page = crate::render::html::html(&many).unwrap();
    for text in ["bad-0", "two first votes", "3 of 4 nodes", "6 more are in result.json"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!crate::render::html::html(&none).unwrap().contains("two first votes"));
}
