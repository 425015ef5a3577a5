//! Planted problems, each with the status, sentence and exit code that it must cause.

use super::*;
use crate::{
    Counts,
    fixture::{self, SMALL, objective},
    model::Finding,
};

fn verdict_of(change: impl FnOnce(&mut RunRecord)) -> Verdict {
    let mut record = fixture::record(SMALL);
    change(&mut record);
    evaluate(record, false).verdict
}

#[test]
fn a_good_run_is_valid() {
    let verdict = verdict_of(|_| {});
    assert_eq!((verdict.status, verdict.exit_code), (Status::Valid, 0), "{verdict:?}");
    assert!(
        verdict.sentence.starts_with("VALID · 5/5 invariants hold · "),
        "{}",
        verdict.sentence
    );
    assert!(
        verdict.sentence.contains("tx/s goodput at p90 "),
        "{}",
        verdict.sentence
    );
    let aspects: Vec<&str> = verdict.chips.iter().map(|chip| chip.aspect.as_str()).collect();
    assert_eq!(aspects, ["validity", "correctness", "objectives"]);
    assert!(verdict.chips.iter().all(|chip| chip.state == ChipState::Good));
}

#[test]
fn delays_that_are_no_networks_are_labelled_in_the_verdict() {
    let verdict =
        verdict_of(|record| record.identity.emulation = Some("delays inside the nodes' transport".to_owned()));
    let label = "VALID · delays inside the nodes' transport · ";
    assert!(verdict.sentence.starts_with(label), "{}", verdict.sentence);
}

#[test]
fn a_simulated_run_says_so_before_anything_else() {
    let verdict = verdict_of(|record| record.identity.simulated = true);
    assert!(
        verdict.sentence.starts_with("VALID · simulated · "),
        "{}",
        verdict.sentence
    );
}

#[test]
fn a_violated_invariant_hides_the_speed() {
    let verdict = verdict_of(|record| {
        record.invariants[0].holds = false;
        record.invariants[0].evidence = "height 12: full-0 has another state root".to_owned();
        record.accounting.unknown += 1;
        record.objectives[0].met = Some(false);
    });
    assert_eq!((verdict.status, verdict.exit_code), (Status::Incorrect, 4));
    assert_eq!(
        verdict.sentence,
        "INCORRECT · agreement: height 12: full-0 has another state root · 4/5 invariants hold"
    );
    assert_eq!(verdict.problems.len(), 3, "{:?}", verdict.problems);
}

#[test]
fn each_void_finding_makes_the_run_invalid() {
    let changes: [fn(&mut RunRecord); 6] = [
        |record| record.accounting.timed_out += 1,
        |record| record.partial = true,
        |record| record.phases.clear(),
        |record| record.latency.lag.overall = Counts(vec![(8_000, 10)]),
        |record| {
            record.accounting.not_sent += record.accounting.intended / 10;
            record.accounting.intended += record.accounting.intended / 10;
        },
        |record| {
            record.findings.push(Finding {
                code: "pressure".to_owned(),
                void: true,
                text: "busy".to_owned(),
            });
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let verdict = verdict_of(change);
        assert_eq!(
            (verdict.status, verdict.exit_code),
            (Status::Invalid, 6),
            "change {index}: {verdict:?}"
        );
        assert!(!verdict.sentence.contains("tx/s"), "{}", verdict.sentence);
    }
}

#[test]
fn a_missed_objective_fails_and_an_open_one_only_when_strict() {
    let missed = verdict_of(|record| record.objectives[0].met = Some(false));
    assert_eq!((missed.status, missed.exit_code), (Status::Missed, 3));
    assert!(
        missed
            .sentence
            .starts_with("MISSED · latency_p50 is 28.1 ms, wanted < 100ms"),
        "{}",
        missed.sentence
    );
    let open = |record: &mut RunRecord| {
        record
            .objectives
            .push(objective("latency_p99", "< 1s", "needs blocks", None));
    };
    assert_eq!(verdict_of(open).exit_code, 0);
    let mut record = fixture::record(SMALL);
    open(&mut record);
    let strict = evaluate(record, true).verdict;
    assert_eq!((strict.status, strict.exit_code), (Status::Inconclusive, 5));
}

#[test]
fn nothing_final_is_a_missed_run_and_no_load_is_not() {
    let nothing = verdict_of(|record| {
        record.blocks.clear();
        record.accounting = crate::model::Accounting {
            intended: 50,
            timed_out: 50,
            ..Default::default()
        };
    });
    assert_eq!((nothing.status, nothing.exit_code), (Status::Missed, 3), "{nothing:?}");
    assert!(
        nothing.sentence.contains("none of 50 transactions became final"),
        "{}",
        nothing.sentence
    );
    let idle = verdict_of(|record| record.accounting = crate::model::Accounting::default());
    assert!(idle.sentence.contains("no load was offered"), "{}", idle.sentence);
}

#[test]
fn a_failure_of_the_lab_is_broken() {
    let verdict = verdict_of(|record| record.failure = Some("val-0 did not start".to_owned()));
    assert_eq!((verdict.status, verdict.exit_code), (Status::Broken, 1));
    assert!(verdict.sentence.starts_with("BROKEN · val-0 did not start"));
}

#[test]
fn labels_stand_beside_the_speed() {
    let verdict = verdict_of(|record| {
        record.loads[0].name = "blob".to_owned();
        record.loads[0].label = Some("unsigned, not executed".to_owned());
        record.loads[0].mode = LoadMode::Closed;
    });
    let sentence = verdict.sentence;
    assert!(
        sentence.ends_with("(blob: unsigned, not executed; closed loop: not a latency test)"),
        "{sentence}"
    );
}

#[test]
fn unchecked_runs_are_inconclusive() {
    let verdict = verdict_of(|record| record.invariants.clear());
    assert_eq!((verdict.status, verdict.exit_code), (Status::Inconclusive, 0));
    assert_eq!(verdict.chips[1].state, ChipState::Doubtful);
}
