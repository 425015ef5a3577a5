//! What a neighbour says that nothing proves: it costs a little time, and no block.

use super::{
    scripts::{domain, id, is_final, mesh, opaque},
    validators::execute,
    world::{World, secret},
};
use crate::{
    Event, PeerIndex,
    wire::{Body, Plain, batch_frame},
};
use bytes::Bytes;
use regatta_apps::{CheckedBatch, CheckedTransaction, transaction};
use regatta_base::{Digest, Height, encode};
use regatta_consensus::{Content, Message, Proposal, Scope, Signed, Statement, Validator, ValidatorSet, header_digest};

/// A frame from `from` to `to`, whatever `from` itself thinks of it.
fn tell(world: &mut World, from: usize, to: usize, frame: Bytes) {
    let peer: PeerIndex = world.peer_index(to, from);
    world.step(to, Event::Frame(peer, frame));
}

/// Node 3 claims a height to all others.
fn claim_height(world: &mut World, height: Height) {
    let tag = *world.node(0).tags_for_tests().first().unwrap();
    let message = encode(&Message::Status { height }).into();
    let frame = Plain::Instance(tag, Body::Consensus(vec![message])).encode();
    (0..3).for_each(|to| tell(world, 3, to, frame.clone()));
}

/// Four validators that decided a block, and as many followers behind the first one.
fn four_and(seed: u64, followers: usize) -> World {
    let mut edges = mesh(4);
    edges.extend((4..4 + followers).map(|follower| (follower, 0)));
    let mut world = World::new(seed, 4 + followers, 4, &edges);
    execute(&mut world, 0, &opaque(1, 1));
    world
}

#[test]
fn a_height_that_nobody_has_keeps_no_transaction_out() {
    let mut world = four_and(1, 0);
    claim_height(&mut world, 1_000_000_000);
    for sequence in 2..=9 {
        claim_height(&mut world, Height::MAX);
        execute(&mut world, sequence as usize % 3, &opaque(1, sequence));
    }
    world.run(5_000);
    claim_height(&mut world, Height::MAX);
    for node in 0..3 {
        let (catching_up, _) = world.node(node).readiness();
        assert!(!catching_up, "whoever brought no block is not believed");
    }
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

/// A batch that node 3 signed, with a transaction that its sender did not sign.
fn forged_batch(base_height: Height) -> (CheckedBatch, Bytes) {
    let mut bytes = opaque(7, 1).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let bytes = Bytes::from(bytes);
    let transaction = CheckedTransaction {
        id: id(&bytes),
        sender: None,
        bytes: bytes.clone(),
    };
    (
        CheckedBatch::build(&domain(), base_height, &[transaction], &secret(3)),
        bytes,
    )
}

/// While a node catches up it takes batches unchecked, since a quorum vouches for them. It starts again, and the author
/// proposes the batch: what the journal keeps was not checked either.
#[test]
fn a_batch_that_was_kept_unchecked_is_checked_before_anybody_votes_for_it() {
    let mut world = four_and(2, 0);
    let (batch, forged) = forged_batch(world.height(0));
    let tag = *world.node(0).tags_for_tests().first().unwrap();
    claim_height(&mut world, 1_000);
    for to in 0..3 {
        tell(&mut world, 3, to, batch_frame(tag, &batch.bytes));
    }
    let peer = world.peer_index(3, 0);
    let liar = |world: &mut World| {
        let message = encode(&Message::Status { height: 1_000 }).into();
        world.step(
            3,
            Event::Frame(peer, Plain::Instance(tag, Body::Consensus(vec![message])).encode()),
        );
        world.step(3, Event::Frame(peer, batch_frame(tag, &batch.bytes)));
    };
    liar(&mut world);
    world.run(100);
    for node in 0..4 {
        world.crash(node);
        world.start(node);
    }
    mesh(4).into_iter().for_each(|(a, b)| world.connect(a, b));
    for sequence in 2..=9 {
        execute(&mut world, sequence as usize % 3, &opaque(1, sequence));
    }
    world.run(2_000);
    assert!((0..4).all(|node| !is_final(&world, node, &forged)));
    for node in 0..3 {
        let batches = world.node_mut(node).chain_for_tests().held_for_tests(&batch.digest);
        assert_eq!(batches, (false, false), "node {node} let go of it");
    }
    world.assert_agreement();
}

/// Nobody has to send again what is held unchecked, and everybody is released from a height that was only claimed.
#[test]
fn what_was_kept_unchecked_is_proposed_when_it_was_checked() {
    let mut world = four_and(3, 0);
    claim_height(&mut world, 1_000);
    // The votes are lost, so that the batch waits.
    world.censor = Some(Box::new(|_, _, message| message.signed().is_none()));
    world.submit(0, vec![opaque(1, 2)]);
    world.run(50);
    // Its author does not return; the others do, with what their journals have.
    world.censor = None;
    for node in 0..4 {
        world.crash(node);
    }
    (1..4).for_each(|node| world.start(node));
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        world.connect(a, b);
    }
    world.run(5_000);
    assert!((1..4).all(|node| is_final(&world, node, &opaque(1, 2))));
    assert_eq!(world.faults, []);
}

/// One validator signs ever more about an open height, each time something else: everybody keeps and passes on what convicts
/// it, and no more.
#[test]
fn what_one_validator_signs_about_an_open_height_fills_no_memory() {
    let mut world = four_and(4, 0);
    world.run(2_000);
    let (height, member) = (world.height(0) + 1, |node| Validator {
        key: secret(node).public(),
        weight: 1,
    });
    let set = ValidatorSet::new((0..4).map(member).collect()).unwrap();
    let leader = usize::from(set.leader(height, 0));
    let scope = Scope::new(&"test".parse().unwrap(), &"main".parse().unwrap(), set);
    let sign = |round, content| {
        let statement = Statement { height, round, content };
        Signed {
            statement,
            signer: leader as u16,
            signature: secret(leader).sign(&scope.signing_bytes(&statement)),
        }
    };
    let victim = (leader + 1) % 4;
    let tag = *world.node(victim).tags_for_tests().first().unwrap();
    let mut said = 0u32;
    for _ in 0..30 {
        let mut messages = Vec::new();
        for _ in 0..20 {
            said += 1;
            let digest = Digest::of("test", &[&said.to_be_bytes()]);
            let header = [&said.to_be_bytes()[..], &[0; 1000]].concat();
            messages.extend([
                Message::Vote(sign(0, Content::Vote1(digest))),
                Message::Vote(sign(1, Content::Vote2(digest))),
                Message::Vote(sign(said + 100, Content::Vote1(digest))),
                Message::Proposal(Proposal {
                    vote: sign(0, Content::Propose(header_digest(&header))),
                    header,
                    justification: None,
                }),
            ]);
        }
        let messages = messages.iter().map(|message| encode(message).into()).collect();
        tell(
            &mut world,
            leader,
            victim,
            Plain::Instance(tag, Body::Consensus(messages)).encode(),
        );
        world.run(20);
    }
    // Whoever passes on more than its share loses what is too much of it.
    let mut of_a_round = |round| {
        said += 1;
        let digest = Digest::of("test", &[&said.to_be_bytes()]);
        encode(&Message::Vote(sign(round, Content::Vote1(digest)))).into()
    };
    for _ in 0..10 {
        let messages = (0..600).map(|_| of_a_round(2)).collect();
        let frame = Plain::Instance(tag, Body::Consensus(messages)).encode();
        tell(&mut world, (leader + 2) % 4, victim, frame);
    }
    assert_eq!(world.node_mut(victim).chain_for_tests().unverified(), 4_096);
    world.run(100);
    for node in (0..4).filter(|node| *node != leader) {
        let (messages, headers, _) = world.node_mut(node).chain_for_tests().kept_for_tests();
        assert!(
            messages < 60 && headers <= 8,
            "node {node} keeps {messages} messages and {headers} headers"
        );
        assert_eq!(world.node(node).evidence(None).map(|list| list.len()), Some(1));
    }
    execute(&mut world, victim, &opaque(1, 2));
    world.assert_agreement();
}

/// Followers pass batches on unchecked: they are no liars for it, and their links stay.
#[test]
fn of_a_forged_batch_its_author_is_accused_and_nobody_who_passed_it_on() {
    let mut world = four_and(6, 1);
    let height = world.height(0);
    let tag = *world.node(0).tags_for_tests().first().unwrap();
    for (from, base_height, accused) in [(4, height, vec![]), (1, height, vec![]), (3, height - 1, vec![(0, 3)])] {
        let (batch, _) = forged_batch(base_height);
        tell(&mut world, from, 0, batch_frame(tag, &batch.bytes));
        world.run(100);
        let said: Vec<_> = world.accused.iter().copied().collect();
        assert_eq!(said, accused, "{from} brought it");
        let held = world.node_mut(0).chain_for_tests().held_for_tests(&batch.digest);
        assert_eq!(held, (false, false));
    }
    let checked = world.batches_checked;
    tell(&mut world, 4, 0, batch_frame(tag, &forged_batch(height).0.bytes));
    assert_eq!(world.batches_checked, checked, "it is known");
}

/// A node that does not vote passes on what clients give it, in frames that its links can carry.
#[test]
fn a_large_submission_to_a_follower_ends_no_link() {
    let mut world = four_and(7, 1);
    let blob = |n: u8| transaction::blob(&vec![n; 200_000]);
    let blobs: Vec<Bytes> = (0..8).map(blob).collect();
    world.submit(4, blobs.clone());
    world.run(5_000);
    assert!(blobs.iter().all(|blob| is_final(&world, 4, blob)));
}

/// Of what a neighbour sends, what nobody would keep is not checked, and a frame has one fault at most.
#[test]
fn floods_of_a_follower_cost_no_check_and_no_line_each() {
    let mut world = four_and(8, 1);
    world.run(2_000);
    let (height, checked) = (world.height(0), world.batches_checked);
    let tag = *world.node(0).tags_for_tests().first().unwrap();
    let transaction = CheckedTransaction {
        id: id(&opaque(9, 1)),
        sender: None,
        bytes: opaque(9, 1),
    };
    for (base_height, author) in [(height, 9), (Height::MAX - 1, 3), (height + 65, 3)] {
        let batch = CheckedBatch::build(
            &domain(),
            base_height,
            std::slice::from_ref(&transaction),
            &secret(author),
        );
        tell(&mut world, 4, 0, batch_frame(tag, &batch.bytes));
    }
    world.run(5_000);
    assert_eq!((world.batches_checked, world.height(0)), (checked, height));
    assert_eq!(world.faults, []);
    let garbage = (0..1_000).map(|_| Vec::new().into()).collect();
    tell(
        &mut world,
        4,
        0,
        Plain::Instance(tag, Body::Consensus(garbage)).encode(),
    );
    assert_eq!(world.faults.len(), 1);
    for count in [1, 20_000] {
        let bytes = if count == 1 { Vec::new() } else { vec![0; 10] };
        let transactions = vec![bytes.into(); count];
        tell(
            &mut world,
            4,
            0,
            Plain::Instance(tag, Body::Forward { id: 1, transactions }).encode(),
        );
    }
    assert_eq!(world.faults.len(), 3);
    assert_eq!(world.accused.iter().copied().collect::<Vec<_>>(), [(0, 4)]);
}
