//! Blocks that are proposed before the one before them is decided.

use super::{
    scripts::{is_final, mesh, opaque},
    world::World,
};
use rand::RngExt;
use regatta_api::config::VoteTopology;
use regatta_base::Height;
use std::collections::BTreeSet;

/// Milliseconds that every frame takes.
const HOP: u64 = 20;

/// Four validators that decide as fast as they can, each with a transaction in hand at any time.
fn fast(seed: u64, interval: u64) -> World {
    let mut world = World::with_config(seed, 4, 4, &mesh(4), |_, mut config| {
        config.instances[0].block_interval_ms = interval;
        config.instances[0].batch_delay_ms = 1;
        config.instances[0].round_timeout_ms = 400;
        config.instances[0].round_timeout_ms_max = 2000;
        config
    });
    world.run(200);
    world.steady = Some(HOP);
    world
}

/// Keeps every validator busy for so long; returns how many blocks that took.
fn busy(world: &mut World, sequence: &mut u64, duration: u64) -> Height {
    let (before, end) = (top(world), world.now + duration);
    while world.now < end {
        *sequence += 1;
        for node in (0..4).filter(|&node| world.is_up(node)).collect::<Vec<_>>() {
            world.submit(node, vec![opaque(node as u8 + 1, *sequence)]);
        }
        world.run(5);
    }
    top(world) - before
}

fn top(world: &World) -> Height {
    (0..4)
        .filter(|&node| world.is_up(node))
        .map(|node| world.height(node))
        .max()
        .unwrap()
}

#[test]
fn a_block_takes_two_hops_and_not_three() {
    let (mut world, mut sequence) = (fast(1, 0), 0);
    busy(&mut world, &mut sequence, 500);
    let blocks = busy(&mut world, &mut sequence, 3000);
    // Two hops are 40 ms: 75 blocks; three would be 50. Batches and clocks round up.
    assert!((65..=75).contains(&blocks), "{blocks} blocks in 3000 ms");
    world.run(3000);
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

#[test]
fn the_pace_holds_and_no_batch_is_ordered_twice() {
    let (mut world, mut sequence) = (fast(2, 100), 0);
    busy(&mut world, &mut sequence, 500);
    let blocks = busy(&mut world, &mut sequence, 3000);
    assert!((20..=30).contains(&blocks), "{blocks} blocks in 3000 ms");
    world.run(3000);
    let mut seen = BTreeSet::new();
    for height in 1..=world.height(0) {
        let stored = world.load(0, height).unwrap();
        let block = world.node(0).block(None, height, &stored).unwrap();
        assert!(block.batches.iter().all(|batch| seen.insert(*batch)), "height {height}");
    }
    let last = |node: usize| opaque(node as u8 + 1, sequence);
    assert!((0..4).all(|node| is_final(&world, 0, &last(node))));
}

#[test]
fn crashes_of_whoever_proposed_ahead_lose_nothing() {
    let (mut world, mut sequence) = (fast(3, 0), 0);
    for round in 0..12 {
        let node = round % 4;
        busy(&mut world, &mut sequence, 200);
        world.crash(node);
        world.assert_agreement();
        busy(&mut world, &mut sequence, 600);
        world.start(node);
        (0..4)
            .filter(|&other| other != node)
            .for_each(|other| world.connect(node, other));
        world.assert_agreement();
    }
    world.assert_promises_kept(20_000);
    world.run(20_000);
    world.assert_agreement();
    let height = world.height(0);
    assert!((0..4).all(|node| world.height(node) == height));
    let (request, bytes) = (world.submit(0, vec![opaque(9, 1)]), opaque(9, 1));
    world.run(5000);
    assert_eq!(world.replies[&request][0].rejected, None);
    assert!((0..4).all(|node| is_final(&world, node, &bytes)));
    assert_eq!(world.faults, []);
}

/// Anything that can go wrong with nodes and links while blocks are proposed ahead, and then calm weather in which
/// everything acknowledged becomes final.
fn storm(seed: u64, topology: VoteTopology) {
    let mut edges = mesh(4);
    edges.extend([(4, 0), (4, 1), (5, 4)]);
    let interval = [0, 10, 60][seed as usize % 3];
    let mut world = World::with_config(seed, 6, 4, &edges, |_, mut config| {
        let instance = &mut config.instances[0];
        (instance.block_interval_ms, instance.batch_delay_ms) = (interval, 1);
        instance.vote_topology = topology;
        config
    });
    world.run(200);
    world.steady = Some(HOP).filter(|_| seed.is_multiple_of(2));
    let mut draw = regatta_base::seed::rng(seed, "pipelined storm");
    for step in 0..40 {
        match draw.random_range(0..12) {
            0..4 => {
                let node = draw.random_range(0..6);
                if world.is_up(node) {
                    world.crash(node);
                }
            }
            4..7 => all_up(&mut world, &edges),
            7 | 8 => {
                let (a, b) = edges[draw.random_range(0..edges.len())];
                world.disconnect(a, b);
            }
            9 => world.run(1000),
            10 => {
                (0..6).for_each(|node| world.crash(node));
                all_up(&mut world, &edges);
            }
            _ => {}
        }
        for burst in 0..8 {
            for node in (0..6).filter(|&node| world.is_up(node)).collect::<Vec<_>>() {
                world.submit(node, vec![opaque(node as u8 + 1, 8 * step + burst + 1)]);
            }
            let pause = draw.random_range(1..25);
            world.run(pause);
        }
        world.assert_agreement();
    }
    all_up(&mut world, &edges);
    world.assert_promises_kept(30_000);
    world.run(5000);
    world.assert_agreement();
    assert!(
        (0..6).all(|node| world.height(node) == world.height(0)),
        "seed {seed}: somebody stays behind"
    );
}

fn all_up(world: &mut World, edges: &[(usize, usize)]) {
    for node in (0..6).filter(|&node| !world.is_up(node)).collect::<Vec<_>>() {
        world.start(node);
    }
    edges.iter().for_each(|&(a, b)| world.connect(a, b));
}

#[test]
fn storms_over_blocks_ahead_lose_nothing_acknowledged() {
    storm(0, VoteTopology::Relay);
    storm(1, VoteTopology::AllToAll);
    storm(2, VoteTopology::LeaderAggregate);
}
