//! Heights that must not stand still for good: enough validators are up, and what they lack can be had.

use super::{
    scripts::{is_final, mesh, opaque},
    validators::execute,
    world::World,
};
use regatta_base::Height;
use regatta_consensus::{Content, Message};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

/// Waits until these nodes have executed it, and all that run agree.
fn ends(world: &mut World, nodes: &[usize], wanted: &[u8]) {
    world.run(20_000);
    assert!(nodes.iter().all(|node| is_final(world, *node, wanted)));
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

/// All have voted twice when the power fails, and nobody knows of a decision. What they are locked on has to be proposed
/// again, and its proposer does not return.
#[test]
fn a_header_outlives_a_power_cut_and_its_proposer() {
    for seed in 1..=4 {
        let mut world = World::new(seed, 4, 4, &mesh(4));
        execute(&mut world, 0, &opaque(1, 1));
        let proposer = Rc::new(Cell::new(None));
        let seen = Rc::clone(&proposer);
        let locked = Rc::new(Cell::new(0));
        let count = Rc::clone(&locked);
        world.censor = Some(Box::new(move |from, _, message| match message {
            Message::Proposal(proposal) if proposal.vote.statement.round == 0 => {
                seen.set(Some(from));
                true
            }
            Message::Vote(vote) if matches!(vote.statement.content, Content::Vote2(_)) => {
                count.set(count.get() + 1);
                false
            }
            _ => true,
        }));
        let wanted = opaque(1, 2);
        world.submit(1, vec![wanted.clone()]);
        world.run(60);
        let proposer = proposer.get().expect("somebody proposed");
        assert!(locked.get() >= 9, "at least three are locked");
        world.censor = None;
        (0..4).for_each(|node| world.crash(node));
        let others: Vec<usize> = (0..4).filter(|node| *node != proposer).collect();
        others.iter().for_each(|node| world.start(*node));
        for (a, b) in mesh(4) {
            world.connect(a, b);
        }
        ends(&mut world, &others, &wanted);
    }
}

/// One returns from far behind while the others are in a later round, and another one is gone by then. It dropped what it was
/// told of that round, since it knew nothing of the height.
#[test]
fn who_returns_from_far_behind_is_told_again_what_it_dropped() {
    let mut world = World::new(5, 4, 4, &mesh(4));
    execute(&mut world, 1, &opaque(1, 1));
    world.run(1_000);
    world.crash(0);
    for sequence in 2..=7 {
        execute(&mut world, 1, &opaque(1, sequence));
    }
    world.run(1_000);
    // Nobody votes; round 0 is given up by all three, and of round 1 the last one says nothing.
    let gave_up: Rc<RefCell<Vec<(usize, Height)>>> = Rc::default();
    let seen = Rc::clone(&gave_up);
    world.censor = Some(Box::new(move |from, _, message| match message {
        Message::Vote(_) => false,
        Message::Timeout(timeout) if timeout.vote.statement.round > 0 => {
            seen.borrow_mut().push((from, timeout.vote.statement.height));
            from != 3
        }
        Message::TimeoutQuorum(certificate) => certificate.round == 0,
        _ => true,
    }));
    let wanted = opaque(1, 8);
    world.submit(1, vec![wanted.clone()]);
    for _ in 0..100 {
        world.run(100);
        let all = gave_up.borrow();
        if (1..4).all(|node| all.iter().any(|(from, _)| *from == node)) {
            break;
        }
    }
    assert!((1..3).all(|node| gave_up.borrow().iter().any(|(from, _)| *from == node)));
    world.run(500);
    world.crash(3);
    world.censor = None;
    world.start(0);
    world.connect(0, 1);
    world.connect(0, 2);
    ends(&mut world, &[0, 1, 2], &wanted);
}

/// A validator proposes at each of its turns what nobody else can get. What the others wait for in vain ends with its round, and
/// leaves room for a proposal that they can judge.
#[test]
fn proposals_without_payload_end_with_their_rounds() {
    let mut world = World::new(7, 4, 4, &mesh(4));
    execute(&mut world, 0, &opaque(1, 1));
    world.run(1_000);
    world.withholds = Some(3);
    let turns: Rc<RefCell<BTreeSet<(Height, u32)>>> = Rc::default();
    let seen = Rc::clone(&turns);
    world.censor = Some(Box::new(move |from, to, message| {
        if let Message::Proposal(proposal) = message
            && (from, to) == (3, 0)
        {
            let statement = proposal.vote.statement;
            seen.borrow_mut().insert((statement.height, statement.round));
        }
        true
    }));
    world.submit(3, vec![opaque(2, 1)]);
    world.run(200_000);
    assert!(turns.borrow().len() > 20, "{:?}", turns.borrow());
    for node in 0..3 {
        let (messages, _, waiting) = world.node_mut(node).chain_for_tests().kept_for_tests();
        assert!(
            messages < 300 && waiting <= 1,
            "node {node} keeps {messages} messages, {waiting} proposals wait"
        );
    }
    execute(&mut world, 0, &opaque(1, 2));
    assert_eq!(world.faults, []);
    world.assert_agreement();
}
