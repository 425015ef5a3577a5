//! The directed scripts of ordinary conduct, with and without faults.
//!
//! With equal weights the leader of height h and round r is validator (h + r) mod n.

use super::script::run;
use crate::mutants::Knobs;

/// Runs a script that must end without violations.
fn clean(weights: &[u64], faulty: Option<u16>, script: &str) {
    let violations = run(weights, faulty, Knobs::default(), script);
    assert!(violations.is_empty(), "{violations:#?}");
}

const FOUR: [u64; 4] = [1, 1, 1, 1];

#[test]
fn a_block_is_decided_and_then_all_is_silent() {
    clean(
        &FOUR,
        None,
        "target 2
         work 0 1 2 3
         expect pending propose 4
         deliver
         expect decided 1 1.1.0.0
         expect decided 2 2.2.0.0
         expect at 3 0 0 1 2 3 4
         expect silent
         retry 0 1 2 3
         retry 0 1 2 3
         expect silent",
    );
}

#[test]
fn without_work_nobody_proposes_and_one_leader_with_work_is_enough() {
    clean(
        &FOUR,
        None,
        "work 0 2 3
         expect silent
         work 1
         deliver
         expect decided 1 1.1.0.0
         expect silent",
    );
}

#[test]
fn a_silent_leader_is_replaced_after_one_timeout() {
    clean(
        &FOUR,
        None,
        "work 0 1 2 3
         drop propose
         drop
         timeout 0 2
         expect at 1 0 0
         deliver timeout to 0 2 3
         expect at 1 1 0 2 3
         deliver
         expect decided 1 2.1.1.0",
    );
}

#[test]
fn a_weak_quorum_of_timeouts_makes_others_join_before_their_timers() {
    clean(
        &FOUR,
        None,
        "work 0 1 2 3
         drop
         timeout 0
         deliver to 3
         expect pending timeout 3
         timeout 1
         deliver to 3
         expect at 1 1 3",
    );
}

#[test]
fn a_locked_value_is_proposed_again_in_the_next_round() {
    clean(
        &FOUR,
        None,
        "work 0 1 2 3
         deliver propose vote1
         drop vote2
         timeout 0 1 2 3
         deliver
         expect decided 1 1.1.0.0",
    );
}

#[test]
fn a_leader_without_the_locked_header_fetches_it_before_proposing() {
    clean(
        &FOUR,
        None,
        "work 0 1 2 3
         drop propose to 2
         deliver propose
         deliver vote1 to 0 1 3
         drop vote1 vote2
         timeout 0 1 3
         deliver
         expect decided 1 1.1.0.0",
    );
}

#[test]
fn who_missed_the_last_votes_learns_the_decision_by_asking() {
    clean(
        &FOUR,
        None,
        "work 0 1 2 3
         drop vote2 to 3
         deliver to 0 1 2
         deliver propose vote1 to 3
         drop
         expect at 2 0 0 1 2
         expect at 1 0 3
         retry 3
         expect silent
         retry 3
         deliver status
         expect pending commit 3
         deliver commit
         expect at 2 0 3
         drop vote1 vote2
         expect silent",
    );
}

#[test]
fn a_node_that_was_away_syncs_and_votes_again() {
    clean(
        &FOUR,
        None,
        "target 4
         crash 0
         work 1 2 3
         deliver to 1 2 3
         expect at 4 0 1 2 3
         timeout 1 2 3
         deliver to 1 2 3
         expect at 5 0 1 2 3
         drop
         recover 0
         deliver
         expect at 5 0 0",
    );
}

#[test]
fn a_quorum_certificate_decides_in_a_later_round_too() {
    clean(
        &FOUR,
        None,
        "work 0 1 2 3
         deliver propose vote1
         timeout 0 1 3
         deliver timeout to 3
         expect at 1 1 3
         deliver vote2
         expect decided 1 1.1.0.0
         expect at 2 0 0 1 2 3",
    );
}

#[test]
fn a_follower_decides_without_saying_anything() {
    clean(
        &FOUR,
        None,
        "work 0 1 2 3 4
         deliver to 4
         expect at 1 0 4
         deliver to 0 1 2 3
         deliver to 4
         expect at 2 0 4
         expect silent",
    );
}

#[test]
fn an_equivocating_leader_is_accused_and_loses_its_round() {
    clean(
        &FOUR,
        Some(1),
        "work 0 2 3
         faulty propose 1 0 A to 0 2
         faulty propose 1 0 B to 3
         deliver propose
         faulty propose 1 0 B to 0
         deliver propose
         expect evidence 1
         expect pending timeout 3
         timeout 2
         deliver
         expect decided 1 2.1.1.0",
    );
}

#[test]
fn double_votes_and_denied_votes_are_accused_once() {
    clean(
        &FOUR,
        Some(3),
        "work 0 1 2
         deliver propose
         faulty vote1 1 0 A to 0
         faulty vote1 1 0 B to 0
         faulty vote1 1 0 C to 0
         deliver vote1 to 0
         expect evidence 1
         faulty vote2 1 0 A to 1
         faulty timeout 1 0 A to 1
         deliver vote2 timeout to 1
         expect evidence 2",
    );
}

#[test]
fn an_invalid_proposal_costs_its_leader_the_round() {
    clean(
        &FOUR,
        Some(1),
        "work 0 2 3
         faulty propose 1 0 bad to 0 2 3
         deliver propose
         expect pending vote1 0
         deliver
         expect decided 1 2.1.1.0",
    );
}

#[test]
fn a_recovered_decision_is_delivered_again() {
    clean(
        &FOUR,
        None,
        "work 0 1 2 3
         deliver propose vote1
         deliver vote2 to 1 2 3
         drop vote2
         retry 0
         retry 0
         limit 0 1
         deliver status to 1 2 3
         deliver commit to 0
         recover 0
         deliver
         expect at 2 0 0",
    );
}
