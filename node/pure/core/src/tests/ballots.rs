//! Votes whose signatures nobody has to check, and those that must not wait.

use super::{
    scripts::{is_final, mesh, opaque},
    world::{World, secret},
};
use crate::{
    Event,
    wire::{Body, Plain},
};
use regatta_api::config::VoteTopology;
use regatta_base::{Digest, HexBytes, Signature, encode};
use regatta_consensus::{Content, Message, Scope, Signed, Statement, Validator, ValidatorSet};

/// Validators that all vote to all.
fn world(validators: usize, empty_blocks: bool) -> World {
    let mut world = World::with_config(1, validators, validators, &mesh(validators), |_, mut config| {
        let instance = &mut config.instances[0];
        instance.vote_topology = VoteTopology::AllToAll;
        instance.empty_blocks = empty_blocks;
        config
    });
    world.run(200);
    world
}

fn vote(signer: u16, mark: u8) -> Signed {
    let members = (0..4).map(|index| Validator {
        key: secret(index).public(),
        weight: 1,
    });
    let set = ValidatorSet::new(members.collect()).unwrap();
    let scope = Scope::new(&"test".parse().unwrap(), &"main".parse().unwrap(), set);
    let statement = Statement {
        height: 1,
        round: 0,
        content: Content::Vote1(Digest([mark; 32])),
    };
    let signature = secret(usize::from(signer)).sign(&scope.signing_bytes(&statement));
    Signed {
        statement,
        signer,
        signature,
    }
}

fn tell(world: &mut World, to: usize, from: usize, votes: &[Signed]) {
    let messages = votes.iter().map(|vote| HexBytes::from(encode(&Message::Vote(*vote))));
    let tag = world.node(to).tag_for_tests();
    let peer = world.peer_index(to, from);
    let frame = Plain::Instance(tag, Body::Consensus(messages.collect())).encode();
    world.step(to, Event::Frame(peer, frame));
}

#[test]
fn votes_beyond_a_quorum_are_never_checked() {
    for (validators, quorum) in [(4, 3), (10, 7)] {
        let mut world = world(validators, true);
        let (before, checked) = (world.height(0), world.checked);
        world.run(2000);
        let blocks = (world.height(0) - before) as usize;
        // Of both kinds those that with the own one are a quorum, and the proposal.
        let each = 2 * (quorum - 1) + 1;
        let all = world.checked - checked;
        assert!(blocks > 10, "{blocks}");
        assert!(
            all <= (blocks + 2) * validators * each,
            "{all} for {blocks} blocks of {validators}"
        );
        assert_eq!(world.faults, []);
        world.assert_agreement();
    }
}

#[test]
fn an_idle_node_is_woken_by_the_first_vote() {
    let mut world = world(4, false);
    tell(&mut world, 0, 1, &[vote(1, 7)]);
    world.run(10);
    assert_eq!(world.checked, 1);
    assert!(world.node(0).next_deadline().is_some(), "its round timer runs");
}

#[test]
fn a_vote_that_its_signer_did_not_bring_keeps_no_real_one_out() {
    let mut world = world(4, false);
    tell(&mut world, 0, 1, &[vote(1, 7)]);
    world.run(10);
    let mut forged = vote(2, 7);
    forged.signature = Signature([3; 64]);
    tell(&mut world, 0, 1, &[forged]);
    world.run(10);
    assert_eq!(world.faults.len(), 1, "found at once: {:?}", world.faults);
    tell(&mut world, 0, 2, &[vote(2, 7)]);
    tell(&mut world, 0, 3, &[vote(3, 7)]);
    world.run(10);
    assert_eq!(world.faults.len(), 1, "{:?}", world.faults);
    // With the real one three are a quorum, so that the node votes again, which each of the others checks.
    assert_eq!(world.checked, 4 + 3);
}

#[test]
fn who_signs_badly_is_found_by_the_quorum_and_stops_nothing() {
    let mut world = world(4, false);
    let mut bad = vote(3, 9);
    bad.signature = Signature([3; 64]);
    tell(&mut world, 0, 1, &[vote(1, 9)]);
    world.run(10);
    tell(&mut world, 0, 3, &[bad]);
    world.run(10);
    assert_eq!(world.faults, [], "it waits");
    tell(&mut world, 0, 2, &[vote(2, 9)]);
    world.run(10);
    assert_eq!(world.faults.len(), 1, "{:?}", world.faults);
    world.submit(0, vec![opaque(1, 1)]);
    world.run(5000);
    assert!((0..4).all(|node| is_final(&world, node, &opaque(1, 1))));
    world.assert_agreement();
}
