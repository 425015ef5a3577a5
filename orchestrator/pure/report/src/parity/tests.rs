//! A made-up run beside itself, simulated and changed.

use super::*;
use crate::{Counts, evaluate, fixture, model::RunRecord};

fn both(change: impl FnOnce(&mut RunRecord)) -> (RunResult, RunResult) {
    let real = evaluate(fixture::record(fixture::SMALL), false);
    let mut record = fixture::record(fixture::SMALL);
    record.identity.simulated = true;
    record.identity.run = "simulated-1".to_owned();
    change(&mut record);
    (real, evaluate(record, false))
}

/// All latencies are `factor` times what they were.
fn slower(record: &mut RunRecord, factor: f64) {
    let scaled = |counts: &Counts| {
        Counts(
            counts
                .0
                .iter()
                .map(|&(us, n)| ((us as f64 * factor) as u64, n))
                .collect(),
        )
    };
    for block in &mut record.blocks {
        block.latency = scaled(&block.latency);
    }
    let response = &mut record.latency.response.overall;
    *response = scaled(response);
}

fn ratio_of<'a>(parity: &'a Parity, figure: &str) -> &'a Row {
    parity.rows.iter().find(|row| row.figure == figure).unwrap()
}

#[test]
fn a_run_is_at_parity_with_itself() {
    let (real, simulated) = both(|_| {});
    let parity = parity(&real, &simulated, "regatta parity x.toml");
    assert_eq!(parity.problems, [""; 0]);
    assert!(parity.rows.len() >= 6, "{}", parity.text());
    assert!(parity.rows.iter().filter_map(Row::factor).all(|factor| factor == 1.0));
    assert_eq!(parity.beyond(1.0), [""; 0]);
}

#[test]
fn what_differs_is_found_and_named_with_its_factor() {
    let (real, simulated) = both(|record| slower(record, 3.0));
    let parity = parity(&real, &simulated, "");
    let (widest, factor) = parity.widest().unwrap();
    assert!(widest.figure.starts_with("response"), "{}", parity.text());
    assert!((2.7..3.3).contains(&factor), "{factor}");
    let median = ratio_of(&parity, "response p50").ratio.unwrap();
    assert!(median.low < median.value && median.value < median.high);
    assert!(parity.sentence().contains(&widest.figure), "{}", parity.sentence());
    assert!(!parity.beyond(2.0).is_empty());
    assert!(parity.beyond(4.0).is_empty());
    // It does not matter which of the two is greater.
    let (real, simulated) = both(|record| slower(record, 0.5));
    let faster = super::parity(&real, &simulated, "");
    assert!((1.8..2.2).contains(&faster.widest().unwrap().1));
}

#[test]
fn two_that_should_not_be_set_beside_each_other_are_named() {
    let real = evaluate(fixture::record(fixture::SMALL), false);
    let said = parity(&real, &real, "").problems;
    assert!(
        said.iter().any(|problem| problem.contains("were not simulated")),
        "{said:?}"
    );
    let (real, simulated) = both(|record| {
        record.identity.scenario = "another".to_owned();
        record.identity.commit = "0123".to_owned();
    });
    let said = parity(&real, &simulated, "").problems;
    assert_eq!(said.len(), 2, "{said:?}");
}

#[test]
fn the_page_holds_the_table_and_the_curves_of_both() {
    let (real, simulated) = both(|record| slower(record, 2.0));
    let parity = parity(&real, &simulated, "regatta parity x.toml --set 'a=\"<b>\"'");
    let files = parity.artefacts(&real, &simulated).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for name in ["parity-ratios", "parity-response", "parity-blocks"] {
        assert!(paths.contains(&format!("figures/{name}.png").as_str()), "{paths:?}");
    }
    let page = String::from_utf8(files[0].bytes.clone()).unwrap();
    for row in &parity.rows {
        assert!(page.contains(&row.figure), "{}", row.figure);
    }
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(!page.contains("<b>") && !page.contains("<script"), "texts are escaped");
    let read: Parity = serde_json::from_str(&parity.json().unwrap()).unwrap();
    assert_eq!(read.text(), parity.text());
    assert!(parity.markdown().contains("| response p50 |"), "{}", parity.markdown());
}

#[test]
fn names_reach_no_terminal_with_control_characters() {
    let (mut real, simulated) = both(|_| {});
    real.record.identity.scenario = "a\u{1b}[31m".to_owned();
    let text = parity(&real, &simulated, "").text();
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
