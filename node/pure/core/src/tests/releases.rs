//! Releases between nodes: how they spread, who is believed, and who switches when.

use super::world::{World, air::release, secret};
use crate::{
    Event, ReleaseReport,
    wire::{Plain, ReleaseBody},
};
use proptest::prelude::*;
use regatta_api::{NodeConfig, view::ReleaseStage};
use regatta_base::Height;
use regatta_base::{Digest, HexBytes};

const CLIQUE: [(usize, usize); 6] = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];

/// Blocks go on without load, and a key is trusted.
fn trusting(mut config: NodeConfig) -> NodeConfig {
    config.instances[0].empty_blocks = true;
    config.upgrade.trusted_keys = vec![secret(99).public()];
    config
}

fn world(seed: u64) -> World {
    World::with_config(seed, 4, 4, &CLIQUE, |_, config| trusting(config))
}

fn stage(world: &World, index: usize) -> Option<ReleaseStage> {
    world.node(index).release().map(|release| release.stage)
}

#[test]
fn a_release_told_to_one_node_reaches_all_and_they_switch_one_after_the_other() {
    for seed in 0..5 {
        let mut world = world(seed);
        world.run(100);
        let from = world.height(0) + 60;
        world.bring(0, &release(1, 40, from));
        let mut away: Vec<(usize, u64)> = Vec::new();
        let mut order: Vec<(usize, Height)> = Vec::new();
        for _ in 0..600 {
            world.run(10);
            for index in 0..4 {
                let switched = world.shelf(index).switched;
                if let Some((_, height)) = switched.filter(|_| !order.iter().any(|(done, _)| *done == index)) {
                    order.push((index, height));
                    away.push((index, world.now + 100));
                    world.crash(index);
                }
            }
            assert!(away.len() <= 1, "seed {seed}: {away:?} are away at once");
            let now = world.now;
            let back: Vec<usize> = away
                .iter()
                .filter(|(_, at)| *at <= now)
                .map(|(index, _)| *index)
                .collect();
            away.retain(|(_, at)| *at > now);
            for index in back {
                world.start(index);
                (0..4)
                    .filter(|other| *other != index)
                    .for_each(|other| world.connect(index, other));
            }
        }
        assert_eq!(order.len(), 4, "seed {seed}: {order:?}");
        assert!(order.iter().all(|(_, height)| *height >= from + 10), "{order:?}");
        for index in 0..4 {
            assert_eq!(stage(&world, index), Some(ReleaseStage::Settled));
            assert_eq!(world.shelf(index).written, 40, "each piece is written once");
            assert!(
                world.snapshots(index).contains(&from),
                "node {index} has no snapshot of height {from}"
            );
        }
        assert!(world.faults.is_empty(), "{:?}", world.faults);
        world.assert_agreement();
    }
}

#[test]
fn whoever_sends_something_else_is_noted_and_not_asked_again() {
    let mut world = world(1);
    world.run(100);
    world.bring(0, &release(1, 40, 1_000_000));
    world.run(2000);
    // Another node comes, and one of its neighbours lies about every piece.
    world.crash(3);
    *world.shelf(3) = Default::default();
    world.shelf(1).lies = true;
    world.start(3);
    (0..3).for_each(|other| world.connect(3, other));
    world.run(5000);
    let complaints: Vec<_> = world.faults.iter().filter(|(by, _)| *by == 3).collect();
    // Two pieces may be under way when the first one shows what the neighbour is.
    assert!((1..=2).contains(&complaints.len()), "{complaints:?}");
    assert!(complaints[0].1.contains("not what was signed"), "{complaints:?}");
    assert_eq!(stage(&world, 3), Some(ReleaseStage::Ready));
}

#[test]
fn a_restart_in_the_middle_asks_only_for_what_is_missing() {
    let mut world = world(2);
    world.run(100);
    world.bring(0, &release(1, 200, 1_000_000));
    while world.shelf(3).written < 50 {
        world.run(1);
    }
    world.crash(3);
    let before = world.shelf(3).written;
    assert!(before < 200);
    world.start(3);
    (0..3).for_each(|other| world.connect(3, other));
    world.run(10_000);
    assert_eq!(world.shelf(3).written, 200, "after {before} in the first life");
    assert_eq!(stage(&world, 3), Some(ReleaseStage::Ready));
}

#[test]
fn a_refused_document_is_asked_of_each_neighbour_once() {
    let mut world = world(3);
    world.shelf(3).refuses = true;
    world.run(100);
    world.bring(0, &release(1, 4, 1_000_000));
    world.run(12_000);
    assert_eq!((stage(&world, 3), world.shelf(3).judged), (None, 3));
    assert_eq!(stage(&world, 2), Some(ReleaseStage::Ready));
    assert!(world.faults.is_empty(), "{:?}", world.faults);
}

#[test]
fn who_trusts_nobody_hears_nothing() {
    let trust = |index: usize, config: NodeConfig| if index == 3 { config } else { trusting(config) };
    let mut world = World::with_config(4, 4, 4, &CLIQUE, |index, config| {
        let mut config = trust(index, config);
        config.instances[0].empty_blocks = true;
        config
    });
    world.run(100);
    let from = world.height(0) + 10;
    world.bring(0, &release(1, 4, from));
    world.run(5000);
    assert_eq!((stage(&world, 3), world.shelf(3).judged), (None, 0));
    assert_eq!(world.shelf(3).switched, None);
    assert!((0..3).any(|index| world.shelf(index).switched.is_some()));
}

#[test]
fn a_newer_release_takes_the_place_of_one_that_waits() {
    let mut world = world(5);
    world.run(100);
    world.bring(0, &release(1, 4, 1_000_000));
    world.run(1000);
    world.bring(1, &release(2, 6, 2_000_000));
    world.run(3000);
    world.bring(2, &release(1, 4, 1_000_000));
    world.run(1000);
    for index in 0..4 {
        let release = world.node(index).release().unwrap();
        assert_eq!(
            (release.number, release.chunks_held, release.stage),
            (2, 6, ReleaseStage::Ready)
        );
    }
}

/// Any frame about releases, of this one mostly.
fn frame() -> impl Strategy<Value = ReleaseBody> {
    let (facts, _) = release(1, 4, 1_000_000);
    let digest = prop_oneof![Just(facts.id), Just(facts.artifact), Just(Digest::ZERO)];
    let bytes = proptest::collection::vec(any::<u8>(), 0..600).prop_map(HexBytes::from);
    let chunk = prop_oneof![0_u32..6, any::<u32>()];
    (0..5, digest, bytes, chunk, any::<u64>()).prop_map(|(kind, digest, bytes, chunk, number)| match kind {
        0 => ReleaseBody::Announce {
            number,
            id: digest,
            held: bytes,
        },
        1 => ReleaseBody::DocumentRequest { id: digest },
        2 => ReleaseBody::Document(bytes),
        3 => ReleaseBody::ChunkRequest {
            artifact: digest,
            chunk,
        },
        _ => {
            let bytes = (number % 2 == 0).then_some(bytes);
            ReleaseBody::Chunk {
                artifact: digest,
                chunk,
                bytes,
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_frame_about_releases_makes_a_node_panic_or_believe(
        before in proptest::collection::vec(frame(), 0..10),
        after in proptest::collection::vec(frame(), 0..40),
    ) {
        let mut world = world(7);
        world.run(50);
        for body in before {
            world.step(0, Event::Frame(0, Plain::Release(body).encode()));
        }
        let (facts, _) = release(1, 4, 1_000_000);
        let held = vec![false; facts.chunks.len()];
        world.step(0, Event::Release(ReleaseReport::Accepted { facts: Box::new(facts), held }));
        for body in after {
            world.step(0, Event::Frame(0, Plain::Release(body).encode()));
            world.run(5);
        }
        prop_assert_eq!(world.node(0).release().map(|release| release.chunks_held), Some(0));
    }
}
