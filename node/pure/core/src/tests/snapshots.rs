//! Snapshots in virtual time: written, served, fetched, restarted from, and refused.

use super::{
    scripts::{domain, id},
    validators::{change, execute},
    world::World,
};
use bytes::Bytes;
use rand::RngExt;
use regatta_api::{
    NodeConfig,
    config::{Retain, SnapshotConfig},
    view::{Outcome, TransactionStatus},
};
use regatta_apps::transaction;
use regatta_base::{Height, SecretKey};

const EDGES: [(usize, usize); 9] = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3), (4, 0), (4, 1), (4, 2)];

fn small(_: usize, mut config: NodeConfig) -> NodeConfig {
    config.instances[0].snapshots = SnapshotConfig {
        interval: 10,
        lag: 20,
        keep: 2,
    };
    config.store.retain_blocks = Retain::Last(5);
    config
}

/// Four validators and a full node, which write a snapshot every ten blocks and keep five blocks.
fn world(seed: u64) -> World {
    let mut world = World::with_config(seed, 5, 4, &EDGES, small);
    world.run(200);
    world
}

fn put(sequence: u64, bytes: usize) -> Bytes {
    let key = (sequence % 50).to_be_bytes();
    transaction::put(
        &domain(),
        &SecretKey::from_seed([1; 32]),
        sequence,
        &key,
        &vec![sequence as u8; bytes],
    )
}

/// Submits at `node` until the chain has grown by `blocks`.
fn load(world: &mut World, node: usize, sequence: &mut u64, blocks: Height) {
    let until = world.height(node) + blocks;
    for _ in 0..blocks * 20 {
        if world.height(node) >= until {
            return;
        }
        *sequence += 1;
        world.submit(node, vec![put(*sequence, 1500)]);
        world.run(20);
    }
    panic!("the chain does not grow");
}

fn restart(world: &mut World, node: usize) {
    world.start(node);
    EDGES
        .iter()
        .filter(|&&(a, b)| a == node || b == node)
        .for_each(|&(a, b)| world.connect(a, b));
}

/// All nodes are at one height with one state.
fn assert_level(world: &World) {
    world.assert_agreement();
    let latest = |node| world.node(node).latest().instances[0].clone();
    let first = latest(0);
    for node in 1..5 {
        let other = latest(node);
        assert_eq!(
            (other.height, other.hash, other.state_root),
            (first.height, first.hash, first.state_root),
            "node {node}"
        );
    }
    assert!(world.faults.is_empty(), "{:?}", world.faults);
}

#[test]
fn snapshots_are_written_two_are_kept_and_older_blocks_go() {
    let mut world = world(1);
    let mut sequence = 0;
    load(&mut world, 1, &mut sequence, 55);
    world.run(2000);
    for node in 0..5 {
        let snapshots = world.snapshots(node);
        let newest = (world.height(node) - 2) / 10 * 10;
        assert_eq!(snapshots, [newest - 10, newest], "node {node}");
        let blocks = world.journal_blocks(node);
        assert!(
            blocks[0] > 10 && blocks[0] <= newest - 10 + 1,
            "node {node}: {}",
            blocks[0]
        );
    }
    let views: Vec<_> = (0..5).map(|node| world.node(node).snapshots()).collect();
    assert!(
        views.iter().all(|view| *view == views[0]),
        "all nodes write the same chunks"
    );
    assert_level(&world);
}

#[test]
fn a_late_node_fetches_a_snapshot_and_follows_by_blocks() {
    let mut world = world(2);
    world.crash(4);
    world.wipe(4);
    let mut sequence = 0;
    load(&mut world, 1, &mut sequence, 60);
    world.run(2000);
    let before = world.snapshots(0)[1];
    restart(&mut world, 4);
    world.run(3000);
    assert!(
        world.journal_blocks(4)[0] > before,
        "it did not execute what the snapshot has"
    );
    assert_level(&world);
    load(&mut world, 4, &mut sequence, 5);
    world.run(2000);
    assert_level(&world);
    let value = |node| world.node(node).state(None, &1u64.to_be_bytes()).unwrap().value;
    assert!(value(4).is_some() && value(4) == value(0));
    // It starts again from what it fetched, and serves it.
    world.crash(4);
    restart(&mut world, 4);
    assert!(world.restored(4).is_some_and(|height| height >= before));
    assert!(world.snapshots(4).contains(&before));
    world.run(2000);
    assert_level(&world);
}

#[test]
fn a_validator_that_lost_its_disk_comes_back_by_snapshot_and_votes() {
    let mut world = world(3);
    let mut sequence = 0;
    load(&mut world, 1, &mut sequence, 30);
    world.crash(2);
    world.wipe(2);
    load(&mut world, 1, &mut sequence, 60);
    restart(&mut world, 2);
    world.run(3000);
    assert!(world.journal_blocks(2)[0] > 60);
    // Without it there is no quorum.
    world.crash(3);
    load(&mut world, 1, &mut sequence, 10);
    restart(&mut world, 3);
    world.run(3000);
    assert_level(&world);
}

#[test]
fn a_source_with_other_chunks_is_refused_and_another_one_makes_up_for_it() {
    let mut world = world(4);
    world.crash(4);
    world.wipe(4);
    let mut sequence = 0;
    load(&mut world, 1, &mut sequence, 60);
    world.run(2000);
    world.damage_snapshots(1, 0);
    restart(&mut world, 4);
    world.run(6000);
    let (node, reason) = world.faults.first().expect("the source is faulted").clone();
    assert!(node == 4 && reason.contains("has digest"), "{reason}");
    assert!(world.faults.iter().all(|(at, _)| *at == 4));
    world.faults.clear();
    assert_level(&world);
}

#[test]
fn a_fetching_survives_its_links() {
    let mut world = world(5);
    world.crash(4);
    world.wipe(4);
    let mut sequence = 0;
    // A state of some hundred kilobytes: several chunks.
    for _ in 0..40 {
        for _ in 0..10 {
            sequence += 1;
            let wide = transaction::put(
                &domain(),
                &SecretKey::from_seed([2; 32]),
                sequence,
                &sequence.to_be_bytes(),
                &[7; 1900],
            );
            world.submit(1, vec![wide]);
        }
        world.run(60);
    }
    world.run(2000);
    assert!(
        world.node(0).snapshots()[1].chunks > 3,
        "{:?}",
        world.node(0).snapshots()
    );
    restart(&mut world, 4);
    for round in 0..400 {
        world.run(7);
        let (a, b) = EDGES[6 + round % 3];
        world.disconnect(a, b);
        world.run(7);
        world.connect(a, b);
    }
    world.run(6000);
    assert!(world.journal_blocks(4).first().is_none_or(|first| *first > 10));
    assert_level(&world);
}

#[test]
fn what_was_final_before_a_snapshot_is_still_known_after_a_restart() {
    let mut world = world(6);
    let mut sequence = 0;
    load(&mut world, 1, &mut sequence, 43);
    world.run(2000);
    let last = id(&put(sequence, 1500));
    let early = id(&put(sequence - 4, 1500));
    let status = |world: &World, id| world.node(1).status(None, id);
    let before = [status(&world, &last), status(&world, &early)];
    assert!(matches!(before[1], Some(TransactionStatus::Executed { .. })));
    world.crash(1);
    restart(&mut world, 1);
    assert_eq!(world.restored(1), Some((world.height(0) - 2) / 10 * 10));
    assert_eq!([status(&world, &last), status(&world, &early)], before);
    world.run(1000);
    assert_level(&world);
}

/// Who knows only the first validators follows the chain of certificates to the present ones.
#[test]
fn a_late_node_joins_a_network_whose_validators_have_changed() {
    let mut world = world(8);
    let mut sequence = 0;
    load(&mut world, 1, &mut sequence, 7);
    // The full node becomes a validator, and one of the first leaves; the full node is away afterwards.
    let changes = [
        change(0, &[(4, 1)], &[0, 1, 2, 3]),
        change(1, &[(3, 2)], &[0, 1, 2, 3, 4]),
        change(2, &[(0, 0)], &[0, 1, 2, 3, 4]),
    ];
    for change in &changes {
        assert_eq!(execute(&mut world, 1, change).1, Outcome::Ok);
        load(&mut world, 1, &mut sequence, 12);
    }
    world.crash(4);
    world.wipe(4);
    load(&mut world, 1, &mut sequence, 50);
    world.run(2000);
    let newest = world.snapshots(1)[1];
    restart(&mut world, 4);
    world.run(3000);
    assert!(world.journal_blocks(4)[0] > newest);
    assert_level(&world);
    // It starts from what it fetched, with the sets that it never saw decided.
    world.crash(4);
    restart(&mut world, 4);
    assert!(world.restored(4).is_some());
    load(&mut world, 1, &mut sequence, 15);
    world.run(2000);
    assert!(world.snapshots(4).iter().any(|height| *height > newest));
    assert_level(&world);
}

/// A damaged newest snapshot: the one before and the journal make up for it.
#[test]
fn a_damaged_snapshot_is_passed_over() {
    let mut world = world(7);
    let mut sequence = 0;
    load(&mut world, 1, &mut sequence, 45);
    world.run(2000);
    world.crash(1);
    world.damage_newest(1);
    restart(&mut world, 1);
    let newest = world.snapshots(0);
    assert_eq!(world.restored(1), Some(newest[0]));
    world.run(2000);
    assert_level(&world);
}

/// Nodes crash and lose unsynced records, unfinished snapshots and sometimes the whole disk of one full node; in the
/// end all are level.
fn storm(seed: u64) {
    let mut world = world(seed);
    let mut sequence = 0;
    for _ in 0..50 {
        match world.rng.random_range(0..12) {
            0 | 1 => {
                let node = world.rng.random_range(0..5);
                if world.is_up(node) {
                    world.crash(node);
                    if node == 4 && world.rng.random_bool(0.3) {
                        world.wipe(4);
                    }
                }
            }
            2..=4 => {
                let down: Vec<usize> = (0..5).filter(|&node| !world.is_up(node)).collect();
                down.into_iter().for_each(|node| restart(&mut world, node));
            }
            _ => {
                for _ in 0..8 {
                    sequence += 1;
                    let node = world.rng.random_range(0..5);
                    if world.is_up(node) {
                        world.submit(node, vec![put(sequence, 1500)]);
                    }
                    world.run(25);
                }
            }
        }
        let pause = world.rng.random_range(0..200);
        world.run(pause);
        world.assert_agreement();
    }
    (0..5)
        .filter(|&node| !world.is_up(node))
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|node| restart(&mut world, node));
    EDGES.iter().for_each(|&(a, b)| world.connect(a, b));
    world.run(10_000);
    load(&mut world, 4, &mut sequence, 3);
    world.run(10_000);
    assert_level(&world);
}

#[test]
fn crashes_at_any_point_leave_nodes_that_start_and_agree() {
    for seed in 0..5 {
        storm(100 + seed);
    }
}
