//! How votes travel: each topology on the graph that it is meant for, and when that graph or a leader fails it.

use super::{
    scripts::{is_final, mesh, opaque},
    world::{Censor, World},
};
use regatta_api::config::VoteTopology;
use regatta_base::Height;
use regatta_consensus::{Certificate, Content, Message, Phase};
use std::{cell::RefCell, rc::Rc};

/// A consensus message on its way.
#[derive(Debug, Clone)]
struct Sent {
    from: usize,
    to: usize,
    message: Message,
}

impl Sent {
    /// Who signed it, if it is a vote.
    fn voter(&self) -> Option<usize> {
        match &self.message {
            Message::Vote(vote) => Some(usize::from(vote.signer)),
            _ => None,
        }
    }
}

fn world(seed: u64, nodes: usize, validators: usize, edges: &[(usize, usize)], topology: VoteTopology) -> World {
    World::with_config(seed, nodes, validators, edges, |_, mut config| {
        config.instances[0].vote_topology = topology;
        config
    })
}

/// Notes everything that is sent from now on and lets it through.
fn watch(world: &mut World) -> Rc<RefCell<Vec<Sent>>> {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&sent);
    let censor: Censor = Box::new(move |from, to, message| {
        let message = message.clone();
        seen.borrow_mut().push(Sent { from, to, message });
        true
    });
    world.censor = Some(censor);
    sent
}

/// The validator who leads a round; all weights are equal here.
fn leader(validators: usize, height: Height, round: u32) -> usize {
    (height as usize + round as usize) % validators
}

/// Executes `count` transactions of different senders one after the other; returns the height after them.
fn execute(world: &mut World, nodes: usize, count: u8) -> Height {
    for sender in 1..=count {
        let bytes = opaque(sender, 1);
        world.submit(0, vec![bytes.clone()]);
        world.run(1500);
        for node in (0..nodes).filter(|&node| world.is_up(node)).collect::<Vec<_>>() {
            assert!(is_final(world, node, &bytes), "node {node}, transaction {sender}");
        }
    }
    world.height(0)
}

#[test]
fn all_to_all_votes_take_one_hop_and_full_nodes_get_decisions() {
    let mut edges = mesh(4);
    edges.extend([(4, 0), (4, 1), (5, 4)]);
    let mut world = world(1, 6, 4, &edges, VoteTopology::AllToAll);
    world.run(200);
    let sent = watch(&mut world);
    let height = execute(&mut world, 6, 5);
    let sent = sent.borrow();
    let votes: Vec<&Sent> = sent.iter().filter(|sent| sent.voter().is_some()).collect();
    assert!(votes.iter().all(|vote| vote.voter() == Some(vote.from) && vote.to < 4));
    assert_eq!(
        votes.len() as u64,
        height * 2 * 4 * 3,
        "two votes of each to each other"
    );
    let to_full: Vec<&Sent> = sent.iter().filter(|sent| sent.to >= 4).collect();
    assert!(
        to_full
            .iter()
            .all(|sent| matches!(sent.message, Message::Commit(_) | Message::Status { .. })),
        "{to_full:?}"
    );
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

#[test]
fn all_to_all_goes_on_when_the_links_between_validators_become_a_ring() {
    let mut world = world(2, 5, 5, &mesh(5), VoteTopology::AllToAll);
    world.run(200);
    execute(&mut world, 5, 1);
    for (a, b) in mesh(5) {
        if (b - a) % 5 != 1 && (a + 5 - b) % 5 != 1 {
            world.disconnect(a, b);
        }
    }
    let sent = watch(&mut world);
    let bytes = opaque(9, 1);
    world.submit(0, vec![bytes.clone()]);
    world.run(5000);
    assert!((0..5).all(|node| is_final(&world, node, &bytes)));
    let relayed = sent
        .borrow()
        .iter()
        .filter(|sent| sent.voter().is_some_and(|voter| voter != sent.from))
        .count();
    assert!(relayed > 0, "three votes of five are no quorum");
    world.assert_agreement();
}

#[test]
fn aggregated_votes_go_to_the_leader_and_come_back_as_one_certificate() {
    let mut edges = mesh(7);
    edges.push((7, 0));
    let mut world = world(3, 8, 7, &edges, VoteTopology::LeaderAggregate);
    world.steady = Some(2);
    world.run(200);
    let sent = watch(&mut world);
    let height = execute(&mut world, 8, 5);
    let sent = sent.borrow();
    for vote in sent.iter().filter(|sent| sent.voter().is_some()) {
        let statement = vote.message.signed().unwrap().statement;
        assert_eq!(
            (vote.to, vote.from),
            (leader(7, statement.height, statement.round), vote.voter().unwrap())
        );
    }
    let votes = |phase| {
        let is_one = |sent: &&Sent| match sent.message.signed().map(|signed| signed.statement.content) {
            Some(Content::Vote1(_)) => phase == Phase::One,
            Some(Content::Vote2(_)) => phase == Phase::Two,
            _ => false,
        };
        sent.iter().filter(is_one).count() as u64
    };
    let certificates = |phase| {
        let is_one = |sent: &&Sent| matches!(&sent.message, Message::Quorum(quorum) if quorum.phase == phase);
        sent.iter().filter(is_one).count()
    };
    assert_eq!(votes(Phase::One), height * 6, "a vote of each to the leader");
    let receivers = |leads: usize| if leads == 0 { 7 } else { 6 };
    let wanted: usize = (1..=height).map(|height| receivers(leader(7, height, 0))).sum();
    assert!(certificates(Phase::Two) >= wanted && certificates(Phase::Two) <= wanted + height as usize);
    // Of the first votes a quorum of 5 hears and one to spare, with the leader itself; and node 7 by its neighbour.
    let is_told = |sent: &&Sent| sent.from == leader(7, sent.message.height(), 0) && sent.to < 7;
    let told = |sent: &&Sent| is_told(sent) && matches!(&sent.message, Message::Quorum(one) if one.phase == Phase::One);
    assert_eq!(sent.iter().filter(told).count() as u64, height * 5);
    assert_eq!(votes(Phase::Two), height * 5, "a vote of each that was told");
    assert_eq!(world.faults, []);
    world.assert_agreement();
}

/// The leader of the next height has heard every vote and dies before it can say so.
#[test]
fn a_leader_that_dies_between_collecting_and_telling_costs_no_round() {
    for phase in [Phase::One, Phase::Two] {
        let mut world = world(4, 4, 4, &mesh(4), VoteTopology::LeaderAggregate);
        world.run(200);
        let height = execute(&mut world, 4, 1) + 1;
        let leads = leader(4, height, 0);
        let collected = Rc::new(RefCell::new(false));
        let seen = Rc::clone(&collected);
        world.censor = Some(Box::new(move |from, _, message| {
            let tells = from == leads
                && message.height() == height
                && matches!(message, Message::Quorum(quorum) if quorum.phase == phase);
            *seen.borrow_mut() |= tells;
            // What it still says after having collected is lost with it.
            !(from == leads && *seen.borrow())
        }));
        let bytes = opaque(9, 1);
        let other = (leads + 1) % 4;
        world.submit(other, vec![bytes.clone()]);
        for _ in 0..50 {
            if *collected.borrow() {
                break;
            }
            world.run(10);
        }
        assert!(*collected.borrow(), "the leader has collected");
        world.crash(leads);
        world.run(3000);
        for node in (0..4).filter(|&node| node != leads) {
            assert!(is_final(&world, node, &bytes), "node {node}, {phase:?}");
        }
        let block = world.node(other).summaries(None, height, 1).unwrap().remove(0);
        assert_eq!(
            block.round, 0,
            "the votes were told to everybody when they led to nothing"
        );
        world.censor = None;
        world.start(leads);
        mesh(4).into_iter().for_each(|(a, b)| world.connect(a, b));
        world.run(3000);
        assert!(is_final(&world, leads, &bytes));
        world.assert_agreement();
    }
}

/// The leader stays linked and says nothing any more: there is no lost link that would tell.
#[test]
fn a_leader_that_falls_silent_after_collecting_loses_nothing() {
    let mut world = world(5, 7, 7, &mesh(7), VoteTopology::LeaderAggregate);
    world.run(200);
    let height = execute(&mut world, 7, 1) + 1;
    let leads = leader(7, height, 0);
    world.censor = Some(Box::new(move |from, _, message| {
        from != leads || matches!(message, Message::Proposal(_))
    }));
    let bytes = opaque(9, 1);
    world.submit((leads + 1) % 7, vec![bytes.clone()]);
    world.run(2000);
    for node in (0..7).filter(|&node| node != leads) {
        assert!(is_final(&world, node, &bytes), "node {node}");
    }
    let block = world
        .node((leads + 1) % 7)
        .summaries(None, height, 1)
        .unwrap()
        .remove(0);
    assert_eq!(block.round, 0);
    world.assert_agreement();
}

/// Five of those that are told of the first votes say nothing more: the others are told before anybody asks again.
#[test]
fn whoever_was_left_out_is_told_when_the_second_votes_are_late() {
    let mut world = world(8, 20, 20, &mesh(20), VoteTopology::LeaderAggregate);
    world.run(200);
    let height = execute(&mut world, 20, 1) + 1;
    let (leads, next) = (leader(20, height, 0), leader(20, height + 1, 0));
    let told = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&told);
    world.censor = Some(Box::new(move |from, to, message| {
        let is_first = |quorum: &Certificate| quorum.phase == Phase::One && quorum.height == height;
        if from == leads && matches!(message, Message::Quorum(quorum) if is_first(quorum)) {
            seen.borrow_mut().push(to);
        }
        let is_second_vote = message
            .signed()
            .is_some_and(|signed| matches!(signed.statement.content, Content::Vote2(_)));
        let is_lost =
            is_second_vote && message.height() == height && seen.borrow().iter().take(5).any(|silent| *silent == from);
        !is_lost
    }));
    let bytes = opaque(9, 1);
    world.submit(leads, vec![bytes.clone()]);
    let (since, mut first) = (world.now, Vec::new());
    while !(0..20).all(|node| is_final(&world, node, &bytes)) && world.now < since + 2000 {
        world.run(1);
        if first.is_empty() {
            first.clone_from(&told.borrow());
        }
    }
    let told = told.borrow();
    assert_eq!(told.len(), 19, "in the end everybody hears of it: {told:?}");
    assert!(
        first.len() == 15 && first.contains(&next),
        "16 of 20 with the leader: {first:?}"
    );
    assert!(
        world.now - since < 125,
        "nobody had to ask again: {} ms",
        world.now - since
    );
    let block = world.node(next).summaries(None, height, 1).unwrap().remove(0);
    assert_eq!(block.round, 0);
    world.assert_agreement();
}

#[test]
fn aggregated_votes_reach_a_leader_that_is_no_neighbour() {
    // A ring in which every other node is a validator: each vote crosses full nodes.
    let order = [0, 4, 1, 5, 2, 6, 3, 7];
    let ring: Vec<_> = (0..8).map(|n| (order[n], order[(n + 1) % 8])).collect();
    let mut world = world(6, 8, 4, &ring, VoteTopology::LeaderAggregate);
    world.run(300);
    let height = execute(&mut world, 8, 4);
    for block in world.node(0).summaries(None, 1, 100).unwrap() {
        assert_eq!(block.round, 0, "height {}", block.height);
    }
    assert!(height >= 4);
    assert_eq!(world.faults, []);
}

#[test]
fn a_follower_that_hears_nothing_but_certificates_follows() {
    let mut edges = mesh(4);
    edges.extend([(4, 0), (4, 1)]);
    let mut world = world(7, 5, 4, &edges, VoteTopology::LeaderAggregate);
    world.run(200);
    world.censor = Some(Box::new(|_, to, message| {
        to != 4 || matches!(message, Message::Quorum(_))
    }));
    let height = execute(&mut world, 5, 5);
    assert_eq!(world.height(4), height);
    world.assert_agreement();
}
