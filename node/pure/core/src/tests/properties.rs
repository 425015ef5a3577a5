//! Random schedules and hostile bytes.

use super::{
    scripts::{id, opaque},
    world::World,
};
use crate::{
    Event,
    wire::{Body, Frame, Plain},
};
use bytes::Bytes;
use proptest::prelude::*;
use rand::RngExt;
use regatta_api::{config::VoteTopology, view::TransactionStatus};
use regatta_base::Digest;

/// Nodes crash, links drop, clients submit; then all calms down and everything acknowledged must be
/// final everywhere, with equal ledgers.
fn storm(seed: u64, topology: VoteTopology) {
    let edges = [
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 0),
        (0, 2),
        (4, 0),
        (4, 1),
        (5, 2),
        (5, 4),
        (6, 5),
        (6, 3),
    ];
    let mut world = World::with_config(seed, 7, 4, &edges, |_, mut config| {
        config.instances[0].vote_topology = topology;
        config
    });
    world.run(100);
    let mut submitted = Vec::new();
    let mut sequence = 0;
    for _ in 0..60 {
        match world.rng.random_range(0..10) {
            0 => {
                let node = world.rng.random_range(0..7);
                if world.is_up(node) {
                    world.crash(node);
                }
            }
            1 | 2 => {
                let down: Vec<usize> = (0..7).filter(|&node| !world.is_up(node)).collect();
                down.into_iter().for_each(|node| world.start(node));
                reconnect(&mut world, &edges);
            }
            3 => {
                let (a, b) = edges[world.rng.random_range(0..edges.len())];
                world.disconnect(a, b);
            }
            _ => {
                let node = world.rng.random_range(0..7);
                if world.is_up(node) {
                    sequence += 1;
                    let bytes = opaque(1, sequence);
                    submitted.push((world.submit(node, vec![bytes.clone()]), bytes));
                }
            }
        }
        let pause = world.rng.random_range(1..120);
        world.run(pause);
        world.assert_agreement();
    }
    (0..7)
        .filter(|&node| !world.is_up(node))
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|node| world.start(node));
    reconnect(&mut world, &edges);
    world.assert_promises_kept(30_000);
    world.run(30_000);
    world.assert_agreement();
    let top = world.height(0);
    for node in 0..7 {
        assert_eq!(world.height(node), top, "seed {seed}: node {node} did not catch up");
        for (request, bytes) in &submitted {
            let accepted = world
                .replies
                .get(request)
                .is_some_and(|results| results[0].rejected.is_none());
            let status = world.node(node).status(None, &id(bytes));
            let executed = matches!(status, Some(TransactionStatus::Executed { .. }));
            assert!(
                !accepted || executed,
                "seed {seed}: node {node} lost an acknowledged transaction: {status:?}"
            );
        }
    }
    assert_eq!(world.faults, [], "seed {seed}: honest nodes accuse each other");
}

fn reconnect(world: &mut World, edges: &[(usize, usize)]) {
    edges.iter().for_each(|&(a, b)| world.connect(a, b));
}

/// A block decided between the two greetings of a link was never told to a follower behind it.
#[test]
fn a_block_decided_while_a_link_comes_up_is_not_missed() {
    storm(16, VoteTopology::Relay);
}

#[test]
fn storms_end_in_agreement_without_loss() {
    (0..10).for_each(|seed| storm(seed, VoteTopology::Relay));
}

/// The graph lacks links that these topologies count on, and loses more: nothing may hang on a single one.
#[test]
fn storms_end_well_however_votes_travel() {
    (20..25).for_each(|seed| storm(seed, VoteTopology::LeaderAggregate));
    (30..35).for_each(|seed| storm(seed, VoteTopology::AllToAll));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_frames_are_counted_and_change_nothing(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 1..20)) {
        let mut world = World::new(1, 4, 4, &[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
        world.run(100);
        for bytes in frames {
            world.step(0, Event::Frame(1, Bytes::from(bytes)));
        }
        world.run(100);
        prop_assert!(!world.faults.is_empty());
        world.submit(0, vec![opaque(1, 1)]);
        world.run(1000);
        prop_assert!(world.height(3) > 0);
        world.assert_agreement();
    }

    #[test]
    fn mutated_real_frames_never_panic(position in any::<prop::sample::Index>(), flip in 1u8.., kind in 0usize..8) {
        let mut world = World::new(1, 4, 4, &[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
        world.run(100);
        let tag = world.node(0).tag_for_tests();
        let digest = Digest([3; 32]);
        let frame = match kind {
            0 => Plain::Instance(tag, Body::Want(vec![digest; 3])),
            1 => Plain::Instance(tag, Body::Announce(vec![digest; 3])),
            2 => Plain::Instance(tag, Body::Forward { id: 7, transactions: vec![opaque(1, 1).to_vec().into()] }),
            3 => Plain::Instance(tag, Body::ForwardResult { id: 7, results: Vec::new() }),
            4 => Plain::Instance(tag, Body::BlockRequest { from: 0, count: u16::MAX }),
            5 => Plain::Instance(tag, Body::Block { header: vec![1; 40].into(), certificate: vec![2; 90].into() }),
            6 => Plain::Instance(tag, Body::HeaderRequest { height: 1, digest }),
            _ => Plain::Instance(tag, Body::Consensus(vec![vec![5; 100].into()])),
        };
        let mut bytes = frame.encode().to_vec();
        world.step(0, Event::Frame(1, bytes.clone().into()));
        let at = position.index(bytes.len());
        bytes[at] ^= flip;
        let _ = Frame::decode(&bytes.clone().into());
        world.step(0, Event::Frame(1, bytes.into()));
        world.run(100);
        world.submit(0, vec![opaque(2, 1)]);
        world.run(1000);
        prop_assert!(world.height(3) > 0);
    }
}
