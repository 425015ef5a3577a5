//! Directed scripts for validator sets that change: who joins, leaves and grows, and who is faulty on the way.
//!
//! With equal weights the leader of height h and round r is validator (h + r) mod n of that height's set.

use super::{script::run_with, world::Cast};
use regatta_base::Height;

/// Four validators; from height 3 on node 4 is one too, from height 4 on node 0 is none any more.
fn joining() -> Vec<(Height, Vec<u64>)> {
    vec![
        (1, vec![1, 1, 1, 1, 0]),
        (3, vec![1, 1, 1, 1, 1]),
        (4, vec![0, 1, 1, 1, 1]),
    ]
}

fn clean(weights: &[(Height, Vec<u64>)], faulty: Option<u16>, script: &str) {
    let cast = Cast {
        changes: weights[1..].to_vec(),
        faulty,
        followers: 1,
        ..Cast::of(&weights[0].1)
    };
    let violations = run_with(cast, script);
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn who_joins_votes_and_leads_and_who_leaves_follows() {
    clean(
        &joining(),
        None,
        "target 5
         work 0 1 2 3 4
         deliver
         expect decided 1 1.1.0.0
         expect decided 2 2.2.0.0
         expect decided 3 3.3.0.0
         expect decided 4 1.4.0.0
         expect decided 5 2.5.0.0
         expect at 6 0 0 1 2 3 4 5
         expect silent",
    );
}

#[test]
fn a_quorum_of_the_old_set_is_none_of_the_new_one() {
    clean(
        &joining(),
        None,
        "target 3
         work 0 1 2 3 4
         crash 4
         crash 2
         deliver
         expect at 2 0 0 1 3
         timeout 0 1 3
         deliver
         expect decided 2 3.2.1.0
         expect at 3 0 0 1 3
         timeout 0 1 3
         deliver
         expect undecided 3",
    );
}

#[test]
fn a_validator_that_left_cannot_vote_any_more() {
    clean(
        &joining(),
        Some(0),
        "target 3
         work 1 2 3 4
         deliver to 1 2 3 4
         expect decided 2 2.2.0.0
         expect decided 3 3.3.0.0
         expect at 4 0 1 2 3 4
         faulty vote1 3 0 A to 1
         deliver
         expect evidence 0",
    );
}

#[test]
fn a_crashed_leader_costs_one_timeout_and_is_skipped_until_it_is_heard() {
    clean(
        &[(1, vec![1; 4])],
        None,
        "target 9
         crash 1
         work 0 2 3
         expect silent
         timeout 0 2 3
         deliver
         expect decided 1 2.1.1.0
         expect decided 4 0.4.0.0
         # It leads (5, 0), and nobody waits for it.
         expect decided 5 2.5.1.0
         expect decided 8 0.8.0.0
         expect decided 9 2.9.1.0
         expect silent
         target 13
         recover 1
         deliver
         work 0 1 2 3
         deliver
         expect decided 12 0.12.0.0
         expect decided 13 1.13.0.1
         expect silent",
    );
}

#[test]
fn a_leader_that_returns_in_its_own_turn_is_heard_for_the_next_one() {
    clean(
        &[(1, vec![1; 4])],
        None,
        "target 4
         crash 1
         work 0 2 3
         timeout 0 2 3
         deliver
         recover 1
         deliver
         target 5
         work 1
         # It missed everything since and leads now: it speaks, and the others give nothing up.
         deliver
         expect decided 5 1.5.0.1
         expect silent",
    );
}

/// Those who waited join those who did not.
#[test]
fn a_weak_quorum_that_skips_takes_the_others_along() {
    clean(
        &[(1, vec![1; 4])],
        None,
        "target 5
         crash 1
         work 0 2 3
         timeout 0 2
         deliver timeout to 3
         expect at 1 1 3
         deliver
         expect decided 4 0.4.0.0
         expect decided 5 2.5.1.0
         expect silent",
    );
}

/// The one without a log follows, is released, and votes two heights later.
#[test]
fn who_lost_its_log_follows_and_speaks_where_it_cannot_have_spoken() {
    clean(
        &[(1, vec![1; 4])],
        None,
        "target 2
         work 0 1 2 3
         deliver
         crash 2 lost 0
         recover 2
         deliver
         expect at 3 0 2
         # The others are at 3 as well: it is silent there and at 4.
         retry 2
         deliver
         target 4
         work 2
         timeout 2
         expect silent
         work 0 1 3
         deliver
         expect decided 3 3.3.0.0
         expect decided 4 0.4.0.0
         # Now it takes its vote.
         crash 0
         target 5
         work 1 2 3
         deliver
         expect decided 5 1.5.0.0",
    );
}
