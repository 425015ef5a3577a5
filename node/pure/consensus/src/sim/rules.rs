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
