//! Validators that join, leave and change their weight while the network runs.

use super::{
    scripts::{domain, id, is_final, mesh, opaque},
    world::{World, secret},
};
use bytes::Bytes;
use rand::RngExt;
use regatta_api::view::{Failure, Outcome, TransactionStatus};
use regatta_apps::change;
use regatta_base::Height;
use std::collections::BTreeSet;

/// A change of set `version` that these validators sign: nodes with their new weights.
pub(super) fn change(version: u64, changes: &[(usize, u64)], signers: &[usize]) -> Bytes {
    let changes: Vec<_> = changes
        .iter()
        .map(|&(node, weight)| (secret(node).public(), weight))
        .collect();
    let secrets: Vec<_> = signers.iter().map(|&node| secret(node)).collect();
    change::sign(&domain(), &change::propose(version, &changes), &secrets)
}

/// Submits at `node` and lets it become final there; returns its height.
pub(super) fn execute(world: &mut World, node: usize, bytes: &Bytes) -> (Height, Outcome) {
    world.submit(node, vec![bytes.clone()]);
    for _ in 0..200 {
        world.run(50);
        if let Some(TransactionStatus::Executed { height, outcome, .. }) = world.node(node).status(None, &id(bytes)) {
            return (height, outcome);
        }
    }
    panic!("node {node} never saw it executed")
}

/// Who signed the certificate of `height`, by node, as `node` shows it; every signature is checked.
fn signers(world: &World, node: usize, height: Height) -> BTreeSet<usize> {
    let stored = world.load(node, height).unwrap();
    let block = world.node(node).block(None, height, &stored).unwrap();
    let weight: u64 = block.signers.iter().map(|signer| signer.weight).sum();
    assert!(3 * weight > 2 * block.weight_total);
    let who = block.signers.iter().map(|signer| {
        let message = block.certificate_message.as_ref();
        assert!(signer.key.verifies(message, &signer.signature));
        (0..6).find(|&node| secret(node).public() == signer.key).unwrap()
    });
    who.collect()
}

/// Six nodes, all linked, of which four vote at first; the others do not even relay votes.
fn six(seed: u64) -> World {
    let mut world = World::with_config(seed, 6, 4, &mesh(6), |index, mut config| {
        config.relay_votes = index < 4;
        config
    });
    world.run(200);
    world
}

#[test]
fn who_joins_votes_two_heights_later_and_who_leaves_goes_on_as_a_follower() {
    let mut world = six(1);
    let (height, outcome) = execute(&mut world, 5, &change(0, &[(4, 1)], &[0, 1, 2]));
    assert_eq!(outcome, Outcome::Ok);
    for sequence in 1..=12 {
        execute(&mut world, sequence as usize % 6, &opaque(1, sequence));
    }
    let all = |world: &World, from: Height, to: Height| -> BTreeSet<usize> {
        (from..=to).flat_map(|height| signers(world, 3, height)).collect()
    };
    assert!(!all(&world, 1, height + 1).contains(&4), "not before");
    let top = world.height(3);
    assert!(all(&world, height + 2, top).contains(&4), "but then");
    // Five equal validators: four are needed, and without the new one there are only three.
    world.crash(0);
    let (height, outcome) = execute(&mut world, 1, &change(1, &[(0, 0)], &[1, 2, 3, 4]));
    assert_eq!(outcome, Outcome::Ok);
    world.start(0);
    (1..6).for_each(|other| world.connect(0, other));
    world.run(2000);
    for sequence in 13..=24 {
        let at = sequence as usize % 6;
        execute(&mut world, at, &opaque(1, sequence));
    }
    let top = world.height(3);
    assert!(!all(&world, height + 2, top).contains(&0));
    assert!(is_final(&world, 0, &opaque(1, 24)), "it follows");
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

#[test]
fn what_waits_at_a_validator_that_leaves_travels_on() {
    let mut world = six(2);
    execute(&mut world, 1, &change(0, &[(4, 1)], &[0, 1, 2]));
    let leave = change(1, &[(0, 0)], &[1, 2, 3, 4]);
    world.submit(1, vec![leave.clone()]);
    let mut requests = Vec::new();
    for sequence in 1..=60 {
        requests.push((world.submit(0, vec![opaque(1, sequence)]), sequence));
        world.run(5);
    }
    world.run(10_000);
    for (request, sequence) in requests {
        assert_eq!(world.replies[&request][0].rejected, None, "{sequence}");
        assert!(
            (0..6).all(|node| is_final(&world, node, &opaque(1, sequence))),
            "{sequence}"
        );
    }
    world.assert_agreement();
}

#[test]
fn a_change_that_does_not_hold_is_ordered_and_fails() {
    let mut world = six(3);
    let mut failure = |bytes: &Bytes| match execute(&mut world, 1, bytes) {
        (_, Outcome::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(&change(0, &[(4, 1)], &[0, 1])), Failure::ValidatorsUnsigned);
    assert_eq!(failure(&change(1, &[(4, 1)], &[0, 1, 2])), Failure::ValidatorsVersion);
    assert_eq!(failure(&change(0, &[(4, 9)], &[0, 1, 2])), Failure::ValidatorsUnfit);
    world.assert_agreement();
}

#[test]
fn a_node_that_was_away_over_changes_catches_up_by_the_set_of_each_height() {
    let mut world = six(4);
    world.crash(5);
    for (version, node) in [4, 0].into_iter().enumerate() {
        let signers: &[usize] = if version == 0 { &[0, 1, 2] } else { &[1, 2, 3, 4] };
        let weight = u64::from(version == 0);
        execute(&mut world, 1, &change(version as u64, &[(node, weight)], signers));
        for sequence in 1..=20 {
            execute(&mut world, 1, &opaque(version as u8 + 1, sequence));
        }
    }
    // Only the newest validators are there to ask.
    world.crash(0);
    world.start(5);
    (1..5).for_each(|other| world.connect(5, other));
    world.run(20_000);
    assert_eq!(world.height(5), world.height(1));
    assert!(is_final(&world, 5, &opaque(2, 20)));
    assert_eq!(world.faults, []);
    // And so does one that replays them from its own journal.
    world.crash(5);
    world.start(5);
    assert_eq!(world.height(5), world.height(1));
    world.assert_agreement();
}

/// Random changes, crashes and loads; then everybody is up and has the same ledger.
fn storm(seed: u64) {
    let mut world = World::with_config(seed, 6, 4, &mesh(6), |_, mut config| {
        for validator in &mut config.instances[0].validators {
            validator.weight = 2;
        }
        config
    });
    let (mut version, mut weights, mut sequence) = (0, [2u64, 2, 2, 2, 0, 0], 0);
    for _ in 0..40 {
        match world.rng.random_range(0..8) {
            0 => {
                let node = world.rng.random_range(0..6);
                if world.is_up(node) && (0..6).filter(|&node| world.is_up(node)).count() > 5 {
                    world.crash(node);
                }
            }
            1 | 2 => restart(&mut world),
            3 | 4 => {
                let mut after = weights;
                after[world.rng.random_range(0..6)] = world.rng.random_range(0..3);
                let before: u64 = weights.iter().sum();
                let moved = (0..6).map(|node| after[node].abs_diff(weights[node])).sum::<u64>();
                if moved > 0 && 3 * moved < before.min(after.iter().sum()) {
                    restart(&mut world);
                    let signers: Vec<usize> = (0..6).filter(|&node| weights[node] > 0).collect();
                    let changes: Vec<_> = (0..6).map(|node| (node, after[node])).collect();
                    let (_, outcome) = execute(&mut world, 1, &change(version, &changes, &signers));
                    assert_eq!(outcome, Outcome::Ok, "seed {seed}: {weights:?} to {after:?}");
                    (version, weights) = (version + 1, after);
                }
            }
            _ => {
                let node = world.rng.random_range(0..6);
                if world.is_up(node) {
                    sequence += 1;
                    world.submit(node, vec![opaque(1, sequence)]);
                }
            }
        }
        let pause = world.rng.random_range(1..150);
        world.run(pause);
        world.assert_agreement();
    }
    restart(&mut world);
    world.run(20_000);
    execute(&mut world, 2, &opaque(9, 1));
    world.run(2000);
    let top = world.height(0);
    assert!((0..6).all(|node| world.height(node) == top), "seed {seed}");
    assert!(version > 0, "seed {seed} changed nothing");
    assert_eq!(world.faults, [], "seed {seed}: honest nodes accuse each other");
    world.assert_agreement();
}

fn restart(world: &mut World) {
    let down: Vec<usize> = (0..6).filter(|&node| !world.is_up(node)).collect();
    down.into_iter().for_each(|node| world.start(node));
    mesh(6).into_iter().for_each(|(a, b)| world.connect(a, b));
}

#[test]
fn random_changes_and_crashes_end_in_agreement() {
    (100..108).for_each(storm);
}
