//! Validators that lost their journals: silent, answered, released; and those that must stay silent.

use super::{
    scripts::{is_final, mesh, opaque},
    validators::execute,
    world::{World, secret},
};
use crate::{
    Event,
    wire::{Body, Plain},
};
use regatta_base::{Height, PublicKey, Signature};
use regatta_consensus::{Recall, SignedRecall, Validator, ValidatorSet};
use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

/// Heights at which each validator, by its key, was heard to make statements.
type Heard = Rc<RefCell<BTreeSet<(PublicKey, Height)>>>;

/// Notes from now on who makes statements about which heights.
fn listen(world: &mut World, validators: usize) -> Heard {
    let member = |node| Validator {
        key: secret(node).public(),
        weight: 1,
    };
    let set = ValidatorSet::new((0..validators).map(member).collect()).unwrap();
    let heard = Heard::default();
    let notes = Rc::clone(&heard);
    world.censor = Some(Box::new(move |_, _, message| {
        if let Some(signed) = message.signed() {
            let key = set.get(signed.signer).unwrap().key;
            notes.borrow_mut().insert((key, signed.statement.height));
        }
        true
    }));
    heard
}

fn heights_of(heard: &Heard, node: usize) -> BTreeSet<Height> {
    let key = secret(node).public();
    let heard = heard.borrow();
    heard
        .iter()
        .filter(|(who, _)| *who == key)
        .map(|(_, height)| *height)
        .collect()
}

fn waits(world: &World, node: usize) -> bool {
    world.node(node).readiness().1.contains("its journal is gone")
}

/// Stops these, takes their disks away, and starts them again with all their links.
fn lose(world: &mut World, nodes: &[usize], edges: &[(usize, usize)]) {
    nodes.iter().for_each(|&node| world.crash(node));
    for &node in nodes {
        world.forget(node);
        world.start(node);
    }
    edges.iter().for_each(|&(a, b)| world.connect(a, b));
}

/// Three validators, and a fourth one behind a node that only follows.
const BEHIND: [(usize, usize); 5] = [(0, 1), (0, 2), (1, 2), (0, 4), (4, 3)];

#[test]
fn who_lost_its_journal_follows_and_speaks_again_two_heights_later() {
    let mut world = World::new(1, 5, 4, &BEHIND);
    for sequence in 1..=3 {
        execute(&mut world, 0, &opaque(1, sequence));
    }
    world.run(2_000);
    let next = world.height(0) + 1;
    let heard = listen(&mut world, 4);
    lose(&mut world, &[3], &BEHIND);
    assert!(waits(&world, 3));
    world.run(3_000);
    assert!(!waits(&world, 3), "the others have answered");
    assert_eq!(heights_of(&heard, 3), BTreeSet::new());
    for sequence in 4..=9 {
        execute(&mut world, 0, &opaque(1, sequence));
    }
    world.run(2_000);
    assert!(is_final(&world, 3, &opaque(1, 9)));
    assert_eq!(
        heights_of(&heard, 3).first(),
        Some(&(next + 2)),
        "silent before, and not longer"
    );
    // The release is in the journal: nobody is asked again, and without another one its votes are needed.
    world.crash(3);
    world.start(3);
    assert!(!waits(&world, 3));
    world.connect(3, 4);
    world.crash(1);
    for sequence in 10..=12 {
        execute(&mut world, 2, &opaque(1, sequence));
    }
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

#[test]
fn two_of_seven_lose_their_journals_at_once_while_the_others_go_on() {
    let edges = mesh(7);
    let mut world = World::new(2, 7, 7, &edges);
    execute(&mut world, 0, &opaque(1, 1));
    let heard = listen(&mut world, 7);
    let next = world.height(0) + 1;
    lose(&mut world, &[5, 6], &edges);
    for sequence in 2..=9 {
        execute(&mut world, 0, &opaque(1, sequence));
    }
    world.run(3_000);
    for sequence in 10..=16 {
        execute(&mut world, 0, &opaque(1, sequence));
    }
    for node in [5, 6] {
        let spoken = heights_of(&heard, node);
        assert!(!waits(&world, node) && !spoken.is_empty());
        assert!(
            spoken.iter().all(|height| *height >= next + 2),
            "{spoken:?} from {next} on"
        );
    }
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

/// One after the other, the same one twice: each is released by those that remember, and the chain goes on.
#[test]
fn journals_that_are_lost_in_turn_cost_no_agreement() {
    let edges = mesh(4);
    let mut world = World::new(6, 4, 4, &edges);
    execute(&mut world, 0, &opaque(1, 1));
    let mut sequence = 1;
    for lost in [1, 2, 3, 3, 0] {
        let heard = listen(&mut world, 4);
        let next = world.height((lost + 1) % 4) + 1;
        lose(&mut world, &[lost], &edges);
        world.run(3_000);
        for _ in 0..5 {
            sequence += 1;
            execute(&mut world, (lost + 1) % 4, &opaque(1, sequence));
        }
        world.run(2_000);
        assert!(!waits(&world, lost), "{lost} is released");
        let spoken = heights_of(&heard, lost);
        assert!(
            spoken.iter().all(|height| *height >= next + 2),
            "{lost}: {spoken:?} from {next} on"
        );
    }
    assert!((0..4).all(|node| is_final(&world, node, &opaque(1, sequence))));
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

#[test]
fn when_too_many_forgot_nobody_releases_anybody_and_all_say_so() {
    for (seed, lost) in [(3, vec![2, 3]), (4, vec![0, 1, 2, 3])] {
        let edges = mesh(4);
        let mut world = World::new(seed, 4, 4, &edges);
        execute(&mut world, 0, &opaque(1, 1));
        world.run(2_000);
        let heard = listen(&mut world, 4);
        lose(&mut world, &lost, &edges);
        world.submit(0, vec![opaque(1, 2)]);
        world.run(20_000);
        for &node in &lost {
            assert!(waits(&world, node));
            assert_eq!(heights_of(&heard, node), BTreeSet::new());
        }
        assert!(world.height(0) <= 1);
        assert_eq!(world.faults, []);
    }
}

#[test]
fn forged_and_foreign_recalls_change_nothing() {
    let mut world = World::new(5, 4, 4, &mesh(4));
    world.run(500);
    let tag = *world.node(0).tags_for_tests().first().unwrap();
    let ask = |node| SignedRecall {
        recall: Recall::Ask {
            key: secret(node).public(),
            nonce: 1,
        },
        signature: Signature([0; 64]),
    };
    let mut tell = |list: Vec<SignedRecall>| {
        let peer = world.peer_index(0, 1);
        let before = world.faults.len();
        world.step(0, Event::Frame(peer, Plain::Instance(tag, Body::Recall(list)).encode()));
        world.run(500);
        world.faults.len() - before
    };
    assert_eq!(tell(vec![ask(9)]), 0, "no validator: not even looked at");
    assert_eq!(tell(vec![ask(3)]), 1, "a false signature");
    assert_eq!(tell(vec![ask(9); 129]), 1, "too many at once");
}
