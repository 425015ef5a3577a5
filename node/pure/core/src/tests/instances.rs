//! Several instances on the nodes of one network: each with its own validators, and nothing of one counts in another.

use super::{
    scripts::mesh,
    world::{World, config, secret},
};
use crate::{
    Event, Job, JobId, JobResult, Node, Output, Start,
    verification::CLAIMS_MAX,
    wire::{Body, Frame, InstanceTag, Plain},
};
use bytes::Bytes;
use rand::RngExt;
use regatta_api::{
    NodeConfig, Reject,
    config::ValidatorConfig,
    view::{Outcome, TransactionStatus},
};
use regatta_apps::{CheckedBatch, CheckedTransaction, Domain, transaction};
use regatta_base::{Digest, SecretKey, Signature, TransactionId};
use regatta_consensus::{Content, Message, Signed, Statement};

/// The instances with their validators and followers; node 3 votes in all of them.
const INSTANCES: [(&str, &[usize], &[usize]); 3] = [
    ("a", &[0, 1, 2, 3], &[4, 7, 9]),
    ("b", &[3, 4, 5, 6], &[7]),
    ("c", &[0, 1, 2, 3, 4, 5, 6], &[8]),
];

/// Seven validators, and full nodes behind them: 7 and 8 are linked and share no instance, 9 follows `a` behind a
/// node that does not vote there.
fn edges() -> Vec<(usize, usize)> {
    let mut edges = mesh(7);
    edges.extend([(7, 0), (7, 5), (8, 7), (8, 1), (9, 4)]);
    edges
}

fn domain(instance: &str) -> Domain {
    Domain::new(&"test".parse().unwrap(), &instance.parse().unwrap())
}

fn opaque(instance: &str, sender: u8, sequence: u64) -> Bytes {
    let sender = SecretKey::from_seed([sender; 32]);
    transaction::opaque(&domain(instance), &sender, sequence, b"payload")
}

fn id(instance: &str, bytes: &[u8]) -> TransactionId {
    regatta_apps::transaction_id(&domain(instance), bytes).unwrap()
}

/// Makes the one instance of a configuration these `instances`, as far as node `index` runs them.
fn with_instances(index: usize, mut config: NodeConfig, instances: &[(&str, &[usize], &[usize])]) -> NodeConfig {
    let one = config.instances.remove(0);
    for (name, validators, followers) in instances {
        if validators.contains(&index) || followers.contains(&index) {
            let mut instance = one.clone();
            instance.id = name.parse().unwrap();
            let validator = |&n: &usize| ValidatorConfig {
                key: secret(n).public(),
                weight: 1,
            };
            instance.validators = validators.iter().map(validator).collect();
            config.instances.push(instance);
        }
    }
    config
}

fn world(seed: u64) -> World {
    World::with_config(seed, 10, 4, &edges(), |index, config| {
        with_instances(index, config, &INSTANCES)
    })
}

fn runs(node: usize, instance: &str) -> bool {
    let (_, validators, followers) = INSTANCES.iter().find(|(name, ..)| *name == instance).unwrap();
    validators.contains(&node) || followers.contains(&node)
}

fn is_final(world: &World, node: usize, instance: &str, bytes: &[u8]) -> bool {
    let status = world
        .node(node)
        .status(Some(&instance.parse().unwrap()), &id(instance, bytes));
    matches!(
        status,
        Some(TransactionStatus::Executed {
            outcome: Outcome::Ok,
            ..
        })
    )
}

/// Whether everybody who runs the instance has executed the transaction.
fn is_final_everywhere(world: &World, instance: &str, bytes: &[u8]) -> bool {
    let nodes = (0..10).filter(|&node| world.is_up(node) && runs(node, instance));
    nodes.into_iter().all(|node| is_final(world, node, instance, bytes))
}

#[test]
fn each_instance_decides_for_those_who_run_it_and_for_nobody_else() {
    let mut world = world(1);
    world.run(300);
    // The same sender and sequence number in each: their states have nothing to do with each other.
    let at = [("a", 9), ("b", 7), ("c", 8)];
    let list: Vec<_> = at
        .map(|(instance, node)| (instance, node, opaque(instance, 1, 1)))
        .into();
    for (instance, node, bytes) in &list {
        world.submit_to(*node, Some(instance), vec![bytes.clone()]);
    }
    world.run(1000);
    for (instance, _, bytes) in &list {
        assert!(is_final_everywhere(&world, instance, bytes), "{instance}");
        let others = ["a", "b", "c"].into_iter().filter(|other| other != instance);
        for other in others {
            let found = world
                .node(3)
                .status(Some(&other.parse().unwrap()), &id(instance, bytes));
            assert_eq!(found, Some(TransactionStatus::Unknown), "{instance} leaks into {other}");
        }
    }
    assert_eq!(
        world.faults,
        [],
        "nothing was sent to nodes that do not run the instance"
    );
    let request = world.submit_to(7, Some("c"), vec![opaque("c", 2, 1)]);
    assert_eq!(world.replies[&request][0].rejected, Some(Reject::NotReady));
    world.assert_agreement();
}

#[test]
fn an_instance_without_a_quorum_stops_alone_and_goes_on_later() {
    let mut world = world(2);
    world.run(300);
    // Of b's four validators two are gone; a lacks one, and c lacks two of seven.
    world.crash(3);
    world.crash(4);
    let list: Vec<_> = ["a", "b", "c"]
        .map(|instance| (instance, opaque(instance, 1, 1)))
        .into();
    for ((instance, bytes), node) in list.iter().zip([0, 5, 1]) {
        world.submit_to(node, Some(instance), vec![bytes.clone()]);
    }
    world.run(5000);
    let stopped = |world: &World, instance| {
        (0..10)
            .filter(|&node| world.is_up(node) && runs(node, instance))
            .all(|node| world.height_of(node, instance) == 0)
    };
    assert!(is_final(&world, 0, "a", &list[0].1) && is_final(&world, 6, "c", &list[2].1));
    assert!(stopped(&world, "b"));
    for node in [3, 4] {
        world.start(node);
    }
    edges().into_iter().for_each(|(a, b)| world.connect(a, b));
    world.run(10_000);
    for (instance, bytes) in &list {
        assert!(is_final_everywhere(&world, instance, bytes), "{instance}");
    }
    world.assert_agreement();
}

#[test]
fn crashes_end_in_agreement_without_loss_in_every_instance() {
    for seed in 0..4 {
        let mut world = world(100 + seed);
        world.run(100);
        let mut submitted = Vec::new();
        for step in 1..40 {
            let node = world.rng.random_range(0..10);
            match world.rng.random_range(0..4) {
                0 if world.is_up(node) => world.crash(node),
                1 => {
                    (0..10)
                        .filter(|&node| !world.is_up(node))
                        .collect::<Vec<_>>()
                        .into_iter()
                        .for_each(|node| world.start(node));
                    edges().into_iter().for_each(|(a, b)| world.connect(a, b));
                }
                _ if world.is_up(node) => {
                    let instance = ["a", "b", "c"][world.rng.random_range(0..3)];
                    if runs(node, instance) {
                        let bytes = opaque(instance, 1, step);
                        let request = world.submit_to(node, Some(instance), vec![bytes.clone()]);
                        submitted.push((request, instance, bytes));
                    }
                }
                _ => {}
            }
            let pause = world.rng.random_range(1..120);
            world.run(pause);
        }
        (0..10)
            .filter(|&node| !world.is_up(node))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|node| world.start(node));
        edges().into_iter().for_each(|(a, b)| world.connect(a, b));
        world.run(30_000);
        for (request, instance, bytes) in &submitted {
            let reply = world.replies.get(request);
            let accepted = reply.is_some_and(|results| results[0].rejected.is_none());
            assert!(
                !accepted || is_final_everywhere(&world, instance, bytes),
                "seed {seed}: {instance}"
            );
        }
        assert_eq!(world.faults, [], "seed {seed}");
        world.assert_agreement();
    }
}

/// Two instances of the same validators: only the name in each signature tells them apart.
const TWINS: [(&str, &[usize], &[usize]); 2] = [("a", &[0, 1, 2, 3], &[]), ("b", &[0, 1, 2, 3], &[])];

fn twins(seed: u64) -> World {
    let mut world = World::with_config(seed, 4, 4, &mesh(4), |index, config| {
        with_instances(index, config, &TWINS)
    });
    world.run(200);
    world
}

fn retagged(frame: &Bytes, from: InstanceTag, to: InstanceTag) -> Option<Bytes> {
    match Frame::decode(frame).unwrap() {
        Frame::Plain(Plain::Instance(tag, body @ Body::Consensus(_))) if tag == from => {
            Some(Plain::Instance(to, body).encode())
        }
        _ => None,
    }
}

#[test]
fn statements_of_one_instance_do_not_count_in_another() {
    let mut world = twins(3);
    let tags = world.node(0).tags_for_tests();
    world.listener = Some(0);
    world.submit_to(1, Some("a"), vec![opaque("a", 1, 1)]);
    world.run(1000);
    assert!(world.height_of(0, "a") > 0);
    let frames = std::mem::take(&mut world.heard);
    let other: Vec<(usize, Bytes)> = frames
        .iter()
        .filter_map(|(peer, frame)| Some((*peer, retagged(frame, tags[0], tags[1])?)))
        .collect();
    assert!(other.len() >= 6, "two votes of three validators");
    // The very same frames are harmless where they belong.
    for (peer, frame) in &frames {
        world.step(0, Event::Frame(*peer, frame.clone()));
    }
    world.run(100);
    assert_eq!(world.faults, []);
    for (peer, frame) in other {
        world.step(0, Event::Frame(peer, frame));
    }
    world.run(3000);
    assert!((0..4).all(|node| world.height_of(node, "b") == 0));
    let is_refusal = |(node, reason): &(usize, String)| *node == 0 && reason.contains("bad signature");
    assert!(world.faults.iter().all(is_refusal), "{:?}", world.faults);
    let accused: Vec<_> = world.accused.iter().copied().collect();
    assert_eq!(accused, [(0, 1), (0, 2), (0, 3)], "each who brought one");
    world.submit_to(1, Some("b"), vec![opaque("b", 1, 1)]);
    world.run(1000);
    assert!(world.height_of(0, "b") > 0, "and nothing stays behind");
    world.assert_agreement();
}

#[test]
fn transactions_and_batches_of_one_instance_are_refused_in_another() {
    let mut world = twins(4);
    let request = world.submit_to(0, Some("b"), vec![opaque("a", 1, 1)]);
    world.run(500);
    assert_eq!(world.replies[&request][0].rejected, Some(Reject::BadSignature));
    let tags = world.node(0).tags_for_tests();
    let checked = |instance: &str| {
        let bytes = opaque(instance, 1, 1);
        CheckedTransaction {
            id: id(instance, &bytes),
            sender: Some((SecretKey::from_seed([1; 32]).public(), 1)),
            bytes,
        }
    };
    let batch = CheckedBatch::build(&domain("a"), 0, &[checked("a")], &secret(1));
    world.step(0, Event::Frame(0, crate::wire::batch_frame(tags[1], &batch.bytes)));
    world.run(500);
    assert!(
        world
            .faults
            .iter()
            .any(|(node, reason)| *node == 0 && reason.starts_with("batch")),
        "{:?}",
        world.faults
    );
    let whole = CheckedBatch::build(&domain("b"), 0, &[checked("a")], &secret(1));
    world.faults.clear();
    world.step(0, Event::Frame(0, crate::wire::batch_frame(tags[1], &whole.bytes)));
    world.run(500);
    assert!(
        world
            .faults
            .iter()
            .any(|(node, reason)| *node == 0 && reason.starts_with("batch")),
        "its transactions are not b's"
    );
    assert_eq!(world.height_of(0, "b"), 0);
    world.step(0, Event::Frame(0, crate::wire::batch_frame(tags[0], &batch.bytes)));
    // Only this node has it, and its turn to propose comes after some rounds.
    world.run(10_000);
    assert!(
        is_final(&world, 0, "a", &opaque("a", 1, 1)),
        "where it belongs it is welcome"
    );
}

#[test]
fn a_frame_of_an_instance_that_is_not_shared_is_a_fault() {
    let mut world = world(5);
    world.run(200);
    let tag = *world.node(8).tags_for_tests().first().unwrap();
    let frame = Plain::Instance(tag, Body::Want(vec![Digest([1; 32])])).encode();
    // Node 7 does not run instance c, and 0 does.
    world.step(7, Event::Frame(0, frame));
    assert_eq!(world.faults.len(), 1);
}

/// A node with one linked neighbour, of the twins, whose jobs nobody does.
fn alone() -> Node {
    let edges = [(0, 1)];
    let [mut node, mut other] = [0, 1].map(|index| {
        let config = with_instances(index, config(index, 4, &edges), &TWINS);
        Node::new(&config, secret(index)).unwrap()
    });
    let mut out = Vec::new();
    node.start(1, Start::New, &mut out);
    node.step(1, Event::PeerUp(0), &mut out);
    let mut greeting = Vec::new();
    other.start(1, Start::New, &mut greeting);
    other.step(1, Event::PeerUp(0), &mut greeting);
    for output in greeting {
        if let Output::Send { frame, .. } = output {
            node.step(1, Event::Frame(0, frame), &mut out);
        }
    }
    node
}

/// The claims that a step wants to have checked.
fn claims(out: Vec<Output>) -> Vec<(JobId, usize, Vec<Vec<u8>>)> {
    let jobs = out.into_iter().filter_map(|output| match output {
        Output::Work(id, Job::Claims(claims)) => {
            let messages: Vec<Vec<u8>> = claims.into_iter().map(|claim| claim.message).collect();
            Some((id, messages.len(), messages))
        }
        _ => None,
    });
    jobs.collect()
}

/// Votes of one validator for as many things, as one frame.
fn votes(tag: InstanceTag, numbers: std::ops::Range<u64>) -> Event {
    let vote = |number: u64| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        let statement = Statement {
            height: 1,
            round: 0,
            content: Content::Vote1(Digest(digest)),
        };
        let signed = Signed {
            statement,
            signer: 1,
            signature: Signature([0; 64]),
        };
        regatta_base::encode(&Message::Vote(signed)).into()
    };
    Event::Frame(
        0,
        Plain::Instance(tag, Body::Consensus(numbers.map(vote).collect())).encode(),
    )
}

#[test]
fn signatures_of_all_instances_share_a_job_and_a_flood_of_one_delays_the_other_by_one() {
    let mut node = alone();
    let tags = node.tags_for_tests();
    let mut out = Vec::new();
    node.step(2, votes(tags[0], 0..100), &mut out);
    let first = claims(std::mem::take(&mut out));
    assert_eq!(first.iter().map(|(_, count, _)| *count).collect::<Vec<_>>(), [100]);
    for part in 1..10 {
        node.step(3, votes(tags[0], part * 1000..part * 1000 + 1000), &mut out);
    }
    node.step(3, votes(tags[1], 0..3), &mut out);
    assert_eq!(claims(std::mem::take(&mut out)).len(), 0, "one job at a time");
    node.step(
        4,
        Event::Done(first[0].0, JobResult::Claims(vec![false; 100])),
        &mut out,
    );
    let second = claims(out);
    let [(_, count, messages)] = second.as_slice() else {
        panic!("{} jobs", second.len())
    };
    assert_eq!(*count, CLAIMS_MAX, "a job is bounded");
    let of_b = messages
        .iter()
        .filter(|message| message.windows(2).any(|bytes| bytes == [1, b'b']));
    assert_eq!(of_b.count(), 3, "all of the quiet instance are in it");
}
