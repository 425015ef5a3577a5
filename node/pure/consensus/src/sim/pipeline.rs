//! Proposals ahead of the decision: what they save, and that they cost nothing when their parent loses.

use super::{
    script::{run, run_with},
    stage::{News, Stage},
    world::Cast,
};
use crate::{Message, mutants::Knobs};
use std::rc::Rc;

const FOUR: [u64; 4] = [1; 4];

/// Delivers all messages hop by hop, each log and request at once, until `target` heights are decided; returns the
/// number of hops after which the first honest node had decided each.
fn hops(weights: &[u64], target: u64) -> Vec<u32> {
    let mut stage = Stage::new(Cast {
        target,
        ..Cast::of(weights)
    });
    let everybody: Vec<u16> = stage.world.hosts.keys().copied().collect();
    for &who in &everybody {
        stage.cue(who, super::moves::Cue::Work);
        stage.settle(who);
        stage.sync(who);
    }
    let (mut hop, mut decided) = (0, Vec::new());
    while decided.len() < target as usize {
        hop += 1;
        assert!(hop < 1000, "stuck after {decided:?}");
        let mut sent: Vec<(u16, Rc<Message>)> = Vec::new();
        for news in std::mem::take(&mut stage.news) {
            if let News::Sent { from, message, .. } = news {
                sent.push((from, message));
            }
        }
        for (from, message) in sent {
            for &to in everybody.iter().filter(|to| **to != from) {
                stage.give(from, to, &message);
                stage.settle(to);
                stage.sync(to);
            }
        }
        decided.resize(stage.world.oracle.decided.len(), hop);
    }
    assert_eq!(stage.world.oracle.violations, [""; 0]);
    decided
}

#[test]
fn the_first_block_takes_three_hops_and_each_further_one_two() {
    for weights in [&FOUR[..], &[1; 7], &[3, 1, 4, 2, 3]] {
        assert_eq!(hops(weights, 6), [3, 5, 7, 9, 11, 13], "{weights:?}");
    }
}

/// Node 2 alone sees the certificate of node 1's block and builds on it, and then another block is decided.
#[test]
fn a_proposal_on_a_value_that_is_not_decided_costs_one_round_and_nothing_more() {
    let script = "
        target 2
        work 0 1 2 3
        deliver propose
        deliver vote1 to 2
        expect pending propose 4
        drop vote1 vote2
        timeout 0 1 3
        deliver timeout to 0 1 3
        timeout 0 1 3
        deliver timeout to 0 1 3
        expect at 1 2 0 1 3
        deliver to 0 1 3
        expect decided 1 3.1.2.0
        deliver
        expect decided 2 3.2.1.0
        retry 0 1 2 3 4
        retry 0 1 2 3 4
        deliver
        expect at 3 0 0 1 2 3 4
        expect silent";
    assert_eq!(run(&FOUR, None, Knobs::default(), script), [""; 0]);
}

#[test]
fn a_proposal_ahead_survives_a_crash_and_is_not_made_twice() {
    let script = "
        target 2
        work 0 1 2 3
        deliver propose
        deliver vote1 to 2
        expect pending propose 4
        drop propose
        crash 2
        recover 2
        deliver
        work 2
        deliver
        expect decided 2 2.2.0.0";
    assert_eq!(run(&FOUR, None, Knobs::default(), script), [""; 0]);
}

#[test]
fn with_a_set_that_changes_the_next_leader_is_the_next_sets() {
    let cast = Cast {
        changes: vec![(2, vec![0, 1, 1, 1, 1])],
        ..Cast::of(&[1, 1, 1, 1, 0])
    };
    // The set of height 2 is [1, 2, 3, 4], whose leader of (2, 0) is node 3.
    let script = "
        target 2
        work 0 1 2 3 4
        deliver propose vote1
        deliver
        expect decided 2 3.2.0.0
        expect silent";
    assert_eq!(run_with(cast, script), [""; 0]);
}
