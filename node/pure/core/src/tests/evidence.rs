//! Proofs of misconduct: found, passed on once, kept over a restart, bounded, and refused when forged.

use super::{
    scripts::{id, opaque},
    world::World,
};
use crate::{
    Event,
    chain::{EVIDENCE_PER_FRAME_MAX, EVIDENCE_PER_SIGNER_MAX},
    wire::{Body, Frame, Plain},
};
use proptest::prelude::*;
use regatta_api::{
    testing::Behaviour,
    view::{EvidenceKind, EvidenceView, TransactionStatus},
};
use regatta_base::{Digest, HexBytes, SecretKey, encode, seed};
use regatta_consensus::{Content, Evidence, Message, Scope, Signed, Statement, Validator, ValidatorSet};

fn secret(index: u16) -> SecretKey {
    SecretKey::from_seed(seed::bytes(u64::from(index), "test node"))
}

fn scope(validators: u16) -> Scope {
    let members = (0..validators).map(|index| Validator {
        key: secret(index).public(),
        weight: 1,
    });
    let set = ValidatorSet::new(members.collect()).unwrap();
    Scope::new(&"test".parse().unwrap(), &"main".parse().unwrap(), set)
}

fn signed(signer: u16, height: u64, content: Content) -> Signed {
    let statement = Statement {
        height,
        round: 0,
        content,
    };
    Signed {
        statement,
        signer,
        signature: secret(signer).sign(&scope(4).signing_bytes(&statement)),
    }
}

fn vote(signer: u16, height: u64, mark: u8) -> Signed {
    signed(signer, height, Content::Vote1(Digest([mark; 32])))
}

fn proof(signer: u16, height: u64) -> Evidence {
    Evidence {
        first: vote(signer, height, 1),
        second: vote(signer, height, 2),
    }
}

/// A validator in the middle of a line of followers: 3 - 0 - 4 - 5, and the other validators at 0.
fn line() -> World {
    let mut world = World::new(1, 6, 4, &[(0, 1), (0, 2), (0, 3), (1, 2), (0, 4), (4, 5)]);
    world.run(200);
    world
}

fn tell(world: &mut World, to: usize, from: usize, body: Body) {
    let tag = world.node(to).tag_for_tests();
    let peer = world.peer_index(to, from);
    world.step(to, Event::Frame(peer, Plain::Instance(tag, body).encode()));
}

fn shown(world: &World, node: usize) -> Vec<EvidenceView> {
    world.node(node).evidence(None).unwrap()
}

#[test]
fn two_votes_that_contradict_each_other_are_known_everywhere() {
    let mut world = line();
    let votes = [1, 2].map(|mark| HexBytes::from(encode(&Message::Vote(vote(3, 1, mark)))));
    tell(&mut world, 0, 3, Body::Consensus(votes.to_vec()));
    world.run(500);
    for node in 0..6 {
        let [evidence] = &shown(&world, node)[..] else {
            panic!("node {node}: {:?}", shown(&world, node))
        };
        assert_eq!(
            (evidence.signer, evidence.kind),
            (3, EvidenceKind::Vote1),
            "node {node}"
        );
        for statement in [&evidence.first, &evidence.second] {
            assert!(evidence.key.verifies(statement.message.as_ref(), &statement.signature));
        }
    }
    assert_eq!(world.faults, [], "honest nodes accuse nobody else");
}

#[test]
fn a_proof_crosses_each_link_about_once_and_survives_a_restart() {
    let mut world = line();
    tell(&mut world, 0, 3, Body::Evidence(vec![proof(3, 1)]));
    world.run(500);
    let frames = world.frames;
    // Told again by a neighbour, it goes nowhere.
    tell(&mut world, 0, 3, Body::Evidence(vec![proof(3, 1)]));
    world.run(60_000);
    assert_eq!(world.frames, frames);
    world.crash(4);
    world.crash(5);
    world.start(4);
    assert_eq!(shown(&world, 4).len(), 1, "it is in the journal");
    // A node that lost its journal hears of it when a link comes up.
    world.forget(5);
    world.start(5);
    assert_eq!(shown(&world, 5), []);
    world.connect(4, 5);
    world.run(500);
    assert_eq!(shown(&world, 5), shown(&world, 4));
}

#[test]
fn forged_evidence_convicts_whoever_tells_it() {
    let mut wrong_key = proof(3, 1);
    wrong_key.second.signature = wrong_key.first.signature;
    let mut two_signers = proof(3, 1);
    two_signers.second = vote(2, 1, 2);
    let harmless = Evidence {
        first: vote(3, 1, 1),
        second: signed(3, 1, Content::Vote2(Digest([2; 32]))),
    };
    let mut stranger = proof(3, 1);
    (stranger.first.signer, stranger.second.signer) = (9, 9);
    for forged in [wrong_key, two_signers, harmless, stranger] {
        let mut world = line();
        tell(&mut world, 0, 2, Body::Evidence(vec![forged]));
        world.run(500);
        assert_eq!(world.faults.len(), 1, "{forged:?}");
        assert!((0..6).all(|node| shown(&world, node).is_empty()), "{forged:?}");
    }
    let mut world = line();
    let many = vec![proof(3, 1); EVIDENCE_PER_FRAME_MAX + 1];
    tell(&mut world, 0, 2, Body::Evidence(many));
    assert_eq!(world.faults.len(), 1, "too many in one frame");
}

#[test]
fn what_is_kept_is_bounded_for_each_signer() {
    let mut world = line();
    let heights: Vec<u64> = (1..=EVIDENCE_PER_SIGNER_MAX as u64 + 10).collect();
    // Who signs at a height is known when the chain is near it.
    let mut sequence = 0;
    while (0..6).any(|node| world.height(node) < heights.len() as u64) {
        sequence += 1;
        world.submit(0, vec![super::scripts::opaque(1, sequence)]);
        world.run(20);
    }
    for part in heights.chunks(8) {
        let list = part.iter().map(|&height| proof(3, height)).collect();
        tell(&mut world, 0, 3, Body::Evidence(list));
        world.run(10);
    }
    tell(&mut world, 0, 3, Body::Evidence(vec![proof(2, 1)]));
    world.run(500);
    for node in [0, 5] {
        let list = shown(&world, node);
        assert_eq!(
            list.iter().filter(|evidence| evidence.signer == 3).count(),
            EVIDENCE_PER_SIGNER_MAX
        );
        assert!(
            list.iter().any(|evidence| evidence.signer == 2),
            "there is room for others"
        );
    }
    assert_eq!(world.faults, []);
}

/// Four validators of which the last one misbehaves, and two full nodes; all edges of the validators, or a ring.
fn with_misconduct(seed: u64, behaviour: Behaviour, edges: &[(usize, usize)]) -> World {
    let mut world = World::with_config(seed, 6, 4, edges, |index, mut config| {
        if index == 3 {
            config.testing.behaviour = behaviour;
        }
        config
    });
    world.run(200);
    world
}

const MESH: [(usize, usize); 10] = [
    (0, 1),
    (0, 2),
    (0, 3),
    (1, 2),
    (1, 3),
    (2, 3),
    (4, 0),
    (4, 1),
    (5, 2),
    (5, 4),
];
const RING: [(usize, usize); 6] = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)];

/// Submits through every honest validator and waits until all is executed everywhere.
fn assert_goes_on(world: &mut World, count: u64) {
    let mut ids = Vec::new();
    for sequence in 1..=count {
        for node in 0..3 {
            let bytes = opaque(node as u8 + 1, sequence);
            ids.push(id(&bytes));
            world.submit(node, vec![bytes]);
        }
        world.run(60);
    }
    world.run(30_000);
    for node in 0..6 {
        for id in &ids {
            let status = world.node(node).status(None, id);
            assert!(
                matches!(status, Some(TransactionStatus::Executed { .. })),
                "node {node}: {status:?}"
            );
        }
    }
    world.assert_agreement();
}

#[test]
fn an_equivocating_leader_is_convicted_and_nobody_else_is() {
    for (seed, edges) in [(1, &MESH[..]), (2, &RING[..]), (3, &MESH[..])] {
        let mut world = with_misconduct(seed, Behaviour::Equivocate, edges);
        assert_goes_on(&mut world, 20);
        for node in 0..6 {
            let list = shown(&world, node);
            assert!(!list.is_empty(), "node {node} knows of nothing");
            assert!(
                list.iter().all(|evidence| evidence.signer == 3),
                "node {node}: {list:?}"
            );
        }
        assert_eq!(world.faults, []);
    }
}

#[test]
fn silence_and_lateness_cost_time_and_convict_nobody() {
    for behaviour in [Behaviour::Silent, Behaviour::Delay] {
        let mut world = with_misconduct(4, behaviour, &MESH);
        assert_goes_on(&mut world, 10);
        assert!((0..6).all(|node| shown(&world, node).is_empty()), "{behaviour}");
        assert_eq!(world.faults, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mutated_evidence_is_never_kept_and_never_panics(position in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut world = line();
        let tag = world.node(0).tag_for_tests();
        let mut bytes = Plain::Instance(tag, Body::Evidence(vec![proof(3, 1)])).encode().to_vec();
        let at = position.index(bytes.len());
        bytes[at] ^= flip;
        let frame = Frame::decode(&bytes.clone().into());
        // Who signs at a height is known two heights beyond the last block; what is said of later ones convicts nobody.
        let is_judged = |list: &[Evidence]| list.iter().all(|evidence| evidence.first.statement.height <= 2);
        let reaches = matches!(
            &frame,
            Ok(Frame::Plain(Plain::Instance(to, Body::Evidence(list)))) if *to == tag && is_judged(list)
        );
        let peer = world.peer_index(0, 2);
        world.step(0, Event::Frame(peer, bytes.into()));
        world.run(100);
        prop_assert!(shown(&world, 0).is_empty());
        prop_assert!(!reaches || world.faults.len() == 1);
    }
}
