//! Directed scripts: one situation each.

use super::world::World;
use crate::Event;
use bytes::Bytes;
use regatta_api::{
    Reject,
    view::{Outcome, TransactionStatus},
};
use regatta_apps::{Domain, transaction};
use regatta_base::{SecretKey, TransactionId};

pub(super) fn domain() -> Domain {
    Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap())
}

pub(super) fn opaque(sender: u8, sequence: u64) -> Bytes {
    transaction::opaque(&domain(), &SecretKey::from_seed([sender; 32]), sequence, b"payload")
}

pub(super) fn id(bytes: &[u8]) -> TransactionId {
    regatta_apps::transaction_id(&domain(), bytes).unwrap()
}

pub(super) fn mesh(n: usize) -> Vec<(usize, usize)> {
    (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect()
}

pub(super) fn is_final(world: &World, node: usize, bytes: &[u8]) -> bool {
    let status = world.node(node).status(None, &id(bytes));
    matches!(
        status,
        Some(TransactionStatus::Executed {
            outcome: Outcome::Ok,
            ..
        })
    )
}

/// Two full nodes behind four validators, the second one behind the first.
fn four_and_two(seed: u64) -> World {
    let mut edges = mesh(4);
    edges.extend([(4, 0), (4, 1), (5, 4)]);
    World::new(seed, 6, 4, &edges)
}

#[test]
fn a_transaction_at_a_far_full_node_becomes_final_everywhere() {
    let mut world = four_and_two(1);
    world.run(200);
    let list = vec![opaque(1, 1), transaction::blob(b"blob"), opaque(1, 2)];
    let request = world.submit(5, list.clone());
    world.run(500);
    let results = &world.replies[&request];
    assert!(
        results
            .iter()
            .all(|result| result.rejected.is_none() && result.id.is_some()),
        "{results:?}"
    );
    for node in 0..6 {
        assert!(list.iter().all(|bytes| is_final(&world, node, bytes)), "node {node}");
    }
    assert_eq!(
        world.told.iter().filter(|(node, _)| *node == 5).count(),
        3,
        "the client's node tells the outcomes"
    );
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

#[test]
fn an_idle_network_is_silent() {
    let mut world = four_and_two(2);
    world.run(1000);
    let frames = world.frames;
    for node in 0..6 {
        assert_eq!(
            world.node(node).next_deadline(),
            None,
            "node {node} waits for something"
        );
    }
    world.run(60_000);
    assert_eq!((world.frames, world.height(0)), (frames, 0));
    world.submit(0, vec![opaque(1, 1)]);
    world.run(2000);
    let (frames, height) = (world.frames, world.height(5));
    assert!(height > 0);
    world.run(60_000);
    assert_eq!(
        (world.frames, world.height(5)),
        (frames, height),
        "and silent again after a block"
    );
}

#[test]
fn blocks_follow_one_another_without_payload_where_that_is_wanted() {
    let mesh = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    let mut world = World::with_config(5, 4, 4, &mesh, |_, mut config| {
        config.instances[0].empty_blocks = true;
        config
    });
    world.run(2000);
    let reached = world.height(0);
    assert!(reached > 10, "height {reached}");
    world.run(1000);
    assert!(world.height(0) > reached);
    world.assert_agreement();
}

#[test]
fn votes_reach_validators_that_are_no_neighbours() {
    // A ring in which every other node is a validator: each vote crosses a full node.
    let ring: Vec<_> = (0..8)
        .map(|n| ([0, 4, 1, 5, 2, 6, 3, 7][n], [0, 4, 1, 5, 2, 6, 3, 7][(n + 1) % 8]))
        .collect();
    let mut world = World::new(3, 8, 4, &ring);
    world.run(300);
    let bytes = opaque(1, 1);
    world.submit(7, vec![bytes.clone()]);
    world.run(3000);
    for node in 0..8 {
        assert!(is_final(&world, node, &bytes), "node {node}");
    }
    assert_eq!(world.faults, []);
}

#[test]
fn a_follower_that_relays_no_votes_follows_by_decisions() {
    let mut edges = mesh(4);
    edges.extend([(4, 0), (5, 4)]);
    let mut world = World::with_config(4, 6, 4, &edges, |index, mut config| {
        config.relay_votes = index < 4;
        config
    });
    world.run(200);
    let bytes = opaque(1, 1);
    world.submit(5, vec![bytes.clone()]);
    world.run(1000);
    assert!(is_final(&world, 4, &bytes) && is_final(&world, 5, &bytes));
}

#[test]
fn one_dead_validator_of_four_costs_time_and_nothing_else() {
    let mut world = four_and_two(5);
    world.run(200);
    world.crash(2);
    let list: Vec<_> = (1..=20).map(|sequence| opaque(1, sequence)).collect();
    for bytes in &list {
        world.submit(0, vec![bytes.clone()]);
        world.run(100);
    }
    world.run(5000);
    assert!(list.iter().all(|bytes| is_final(&world, 5, bytes)));
    world.start(2);
    for other in [0, 1, 3] {
        world.connect(2, other);
    }
    world.run(5000);
    assert_eq!(world.height(2), world.height(0));
    assert!(list.iter().all(|bytes| is_final(&world, 2, bytes)));
    world.assert_agreement();
}

#[test]
fn without_a_quorum_nothing_is_decided_and_nothing_is_lost() {
    let mut world = four_and_two(6);
    world.run(200);
    world.crash(2);
    world.crash(3);
    let bytes = opaque(1, 1);
    let request = world.submit(0, vec![bytes.clone()]);
    world.run(3000);
    assert_eq!((world.replies[&request][0].rejected, world.height(0)), (None, 0));
    // Even when the only node that holds it restarts.
    world.crash(0);
    world.start(0);
    world.start(2);
    for (a, b) in [(0, 1), (0, 2), (1, 2), (4, 0)] {
        world.connect(a, b);
    }
    world.run(20_000);
    assert!((0..3).all(|node| is_final(&world, node, &bytes)));
    world.assert_agreement();
}

#[test]
fn everybody_restarts_and_goes_on_at_the_same_height() {
    let mut world = four_and_two(7);
    world.run(200);
    let first = opaque(1, 1);
    world.submit(4, vec![first.clone()]);
    world.run(1000);
    let height = world.height(0);
    (0..6).for_each(|node| world.crash(node));
    (0..6).for_each(|node| world.start(node));
    let mut edges = mesh(4);
    edges.extend([(4, 0), (4, 1), (5, 4)]);
    edges.into_iter().for_each(|(a, b)| world.connect(a, b));
    assert!((0..6).all(|node| world.height(node) == height && is_final(&world, node, &first)));
    world.run(200);
    let second = opaque(1, 2);
    world.submit(4, vec![second.clone()]);
    world.run(3000);
    assert!((0..6).all(|node| is_final(&world, node, &second)));
    world.assert_agreement();
}

#[test]
fn a_node_that_was_away_for_long_catches_up_from_the_journal() {
    let mut world = four_and_two(8);
    world.run(200);
    world.crash(5);
    let mut sequence = 0;
    while world.height(0) < 80 {
        sequence += 1;
        world.submit(0, vec![opaque(1, sequence)]);
        world.run(15);
    }
    world.run(1000);
    world.start(5);
    world.connect(5, 4);
    world.run(10_000);
    assert_eq!(world.height(5), world.height(0));
    assert!(is_final(&world, 5, &opaque(1, 1)) && is_final(&world, 5, &opaque(1, sequence)));
    world.assert_agreement();
}

#[test]
fn a_forward_finds_another_way_when_the_next_node_dies() {
    let mut edges = mesh(4);
    edges.extend([(4, 0), (4, 1)]);
    let mut world = World::new(9, 5, 4, &edges);
    world.run(200);
    let bytes = opaque(1, 1);
    let request = world.submit(4, vec![bytes.clone()]);
    // Before the forward can have been answered, its target dies: whichever it was, the other one lives.
    world.crash(0);
    world.run(10_000);
    assert_eq!(world.replies[&request][0].rejected, None);
    assert!(is_final(&world, 4, &bytes));
    let request = world.submit(4, vec![opaque(1, 2)]);
    world.crash(1);
    world.run(30_000);
    assert_eq!(world.replies[&request][0].rejected, Some(Reject::NoAcknowledgement));
}

/// The validator refused the second attempt as a duplicate while the first one waited for its batch, and the follower
/// took that for the acknowledgement whose loss it was guarding against.
#[test]
fn a_second_attempt_is_not_acknowledged_before_the_first_is_on_a_disk() {
    let mut edges = mesh(4);
    edges.push((4, 0));
    // Checked after 4 s, together with the attempt that follows after 3 s, and in a batch after 8 s.
    let slow = |seed| {
        let mut world = World::with_config(seed, 5, 4, &edges, |_, mut config| {
            config.instances[0].batch_delay_ms = 8000;
            config
        });
        world.run(200);
        let request = world.submit(4, vec![opaque(1, 1)]);
        world.run(6000);
        assert!(!world.replies.contains_key(&request), "no disk has it yet");
        (world, request)
    };
    let (mut world, request) = slow(14);
    world.run(2500);
    assert_eq!(world.replies[&request][0].rejected, None);
    world.assert_promises_kept(20_000);
    let (mut world, request) = slow(15);
    world.crash(0);
    world.start(0);
    (1..5).for_each(|other| world.connect(0, other));
    world.run(30_000);
    assert_eq!(world.replies[&request][0].rejected, Some(Reject::NoAcknowledgement));
    assert!(
        !is_final(&world, 0, &opaque(1, 1)),
        "it was lost with the mempool, and nobody was promised it"
    );
}

/// A follower whose own client waits for the same transaction has no acknowledgement to give either.
#[test]
fn a_neighbour_that_waits_itself_acknowledges_nothing() {
    let mut edges = mesh(4);
    edges.extend([(4, 0), (5, 4)]);
    let mut world = World::with_config(16, 6, 4, &edges, |_, mut config| {
        config.instances[0].batch_delay_ms = 8000;
        config
    });
    world.run(200);
    let first = world.submit(4, vec![opaque(1, 1)]);
    let second = world.submit(5, vec![opaque(1, 1)]);
    world.run(1000);
    assert!(!world.replies.contains_key(&first));
    assert_eq!(world.replies[&second][0].rejected, Some(Reject::NoAcknowledgement));
}

/// Two followers that were cut off together asked each other: the one was told that its own forward is a duplicate,
/// and acknowledged what no validator had any more.
#[test]
fn followers_that_are_cut_off_acknowledge_nothing_to_each_other() {
    let mut edges = mesh(4);
    edges.extend([(4, 0), (5, 4)]);
    let mut world = World::with_config(17, 6, 4, &edges, |_, mut config| {
        config.instances[0].batch_delay_ms = 8000;
        config
    });
    world.run(200);
    let request = world.submit(4, vec![opaque(1, 1)]);
    world.run(50);
    // With the only copy that a validator had, in its mempool.
    world.crash(0);
    world.run(20_000);
    assert_eq!(world.replies[&request][0].rejected, Some(Reject::NoAcknowledgement));
}

#[test]
fn every_refusal_has_its_reason() {
    let mut world = four_and_two(10);
    world.run(200);
    let good = opaque(1, 1);
    let mut forged = opaque(1, 2).to_vec();
    forged[45] ^= 1;
    let request = world.submit(
        0,
        vec![good.clone(), good.clone(), forged.into(), Bytes::from_static(&[9])],
    );
    world.run(1000);
    let reasons: Vec<_> = world.replies[&request].iter().map(|result| result.rejected).collect();
    let expected = [
        None,
        Some(Reject::Duplicate),
        Some(Reject::BadSignature),
        Some(Reject::Malformed),
    ];
    assert_eq!(reasons, expected);
    for node in [0, 4] {
        let other_payload = transaction::blob(b"x");
        let stale = transaction::opaque(&domain(), &SecretKey::from_seed([1; 32]), 1, b"other");
        let request = world.submit(node, vec![good.clone(), stale, other_payload]);
        world.run(1000);
        let reasons: Vec<_> = world.replies[&request].iter().map(|result| result.rejected).collect();
        let blob = (node != 0).then_some(Reject::Duplicate);
        assert_eq!(reasons, [Some(Reject::Duplicate), Some(Reject::StaleSequence), blob]);
    }
    world.step(0, Event::DiskFull(true));
    let request = world.submit(0, vec![opaque(1, 9)]);
    assert_eq!(world.replies[&request][0].rejected, Some(Reject::DiskFull));
}

#[test]
fn a_full_mempool_says_so_and_recovers() {
    let mut world = four_and_two(11);
    world.run(200);
    // Without a quorum nothing leaves the mempool.
    world.crash(2);
    world.crash(3);
    let list: Vec<_> = (1..=700).map(|sequence| opaque(1, sequence)).collect();
    let request = world.submit(0, list.clone());
    world.run(1000);
    let full = world.replies[&request]
        .iter()
        .filter(|r| r.rejected == Some(Reject::MempoolFull))
        .count();
    assert_eq!(full, 200);
    world.start(2);
    for other in [0, 1] {
        world.connect(2, other);
    }
    world.run(20_000);
    let request = world.submit(0, list[500..].to_vec());
    world.run(5000);
    assert!(world.replies[&request].iter().all(|result| result.rejected.is_none()));
    assert!(list.iter().all(|bytes| is_final(&world, 2, bytes)));
}

#[test]
fn a_block_reads_back_whole_with_a_certificate_that_verifies() {
    let mut world = four_and_two(12);
    world.run(200);
    let list = vec![opaque(1, 1), opaque(2, 1), opaque(1, 1)];
    world.submit(1, list.clone());
    world.run(1000);
    let Some(TransactionStatus::Executed { height, index, .. }) = world.node(3).status(None, &id(&list[1])) else {
        panic!("not executed")
    };
    let stored = world.load(3, height).unwrap();
    let block = world.node(3).block(None, height, &stored).unwrap();
    assert_eq!(block.items[index as usize].0, id(&list[1]));
    let weight: u64 = block.signers.iter().map(|signer| signer.weight).sum();
    assert!(3 * weight > 2 * block.weight_total);
    for signer in &block.signers {
        assert!(
            signer
                .key
                .verifies(block.certificate_message.as_ref(), &signer.signature)
        );
    }
    assert!(world.node(3).block(None, height + 1, &stored).is_none());
}

#[test]
fn a_crashed_leader_costs_one_timeout_and_one_that_returns_leads_again() {
    let mut world = World::new(13, 4, 4, &mesh(4));
    world.run(200);
    world.crash(1);
    let late = |world: &World| {
        let blocks = world.node(0).summaries(None, 1, 10_000).unwrap();
        blocks
            .iter()
            .filter(|block| block.round > 0)
            .map(|block| block.height)
            .collect::<Vec<_>>()
    };
    let mut sequence = 0;
    let mut rounds = |world: &mut World, blocks: u64| {
        let mut slowest = 0;
        for _ in 0..blocks {
            sequence += 1;
            let (before, since) = (world.height(0), world.now);
            world.submit(0, vec![opaque(1, sequence)]);
            while world.height(0) == before {
                world.run(5);
            }
            slowest = slowest.max(world.now - since);
        }
        slowest
    };
    assert!(rounds(&mut world, 8) >= 300, "its first turn costs the timeout");
    assert!(!late(&world).is_empty());
    let slowest = rounds(&mut world, 24);
    assert!(slowest < 300, "and further ones do not: {slowest} ms");
    world.start(1);
    [0, 2, 3].into_iter().for_each(|other| world.connect(1, other));
    world.run(3000);
    rounds(&mut world, 8);
    let before = world.height(0);
    rounds(&mut world, 16);
    assert!(
        late(&world).iter().all(|height| *height <= before),
        "{:?}",
        late(&world)
    );
    world.assert_agreement();
}

/// With 0 a dead leader costs its timeout at every turn; with 1 at its first.
#[test]
fn how_long_a_leader_must_be_silent_is_configured() {
    let late = |silent_heights| {
        let mut world = World::with_config(14, 4, 4, &mesh(4), |_, mut config| {
            let instance = &mut config.instances[0];
            (instance.silent_heights, instance.empty_blocks) = (silent_heights, true);
            config
        });
        world.run(200);
        world.crash(1);
        let from = world.height(0) + 1;
        while world.height(0) < from + 16 {
            world.run(50);
        }
        let since = world.now;
        while world.height(0) < from + 32 {
            world.run(5);
        }
        world.now - since
    };
    let (always, once) = (late(0), late(1));
    assert!(
        always >= 4 * 300,
        "four turns of the dead one take a timeout each: {always} ms"
    );
    assert!(once < 2 * 300, "{once} ms");
}
