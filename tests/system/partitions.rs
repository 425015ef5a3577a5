//! Networks that fall apart and come together again: they stall or go on, lose nothing, and agree.

use super::support::{network::Network, wait::until};
use regatta_api::testing::{Direction, LinkCut, LinkFaults};
use regatta_base::{SecretKey, TransactionId};

/// Validators linked with each other whose links may be cut.
fn network(validators: u8) -> Network {
    let mut network = Network::new(validators, 0);
    for node in &mut network.nodes {
        node.config.testing.faults = true;
    }
    network.started()
}

/// Cuts every link between two sides, or heals all with no sides.
fn part(network: &Network, sides: &[&[usize]]) {
    let side = |node: usize| sides.iter().position(|side| side.contains(&node));
    for node in 0..network.nodes.len() {
        let apart = |other: &usize| side(*other) != side(node);
        let cut = (0..network.nodes.len()).filter(apart).map(|other| LinkCut {
            peer: network.nodes[other].key.public(),
            direction: Direction::Both,
        });
        let cuts = LinkFaults {
            cut: cut.collect(),
            ..LinkFaults::default()
        };
        assert_eq!(
            network.ask(network.client(node).set_link_faults(&cuts)),
            Ok(cuts.clone())
        );
    }
}

fn write(network: &Network, to: usize, sequence: u64) -> TransactionId {
    let sender = SecretKey::from_seed([210 + to as u8; 32]);
    let write = network.put(&sender, sequence, &format!("{to}-{sequence}"), "value");
    network.acknowledged(to, write)
}

fn assert_executed(network: &Network, nodes: std::ops::Range<usize>, ids: &[TransactionId]) {
    for node in nodes {
        for id in ids {
            network.wait_executed(node, id);
        }
    }
}

#[test]
fn two_halves_stall_and_go_on_together() {
    let network = network(4);
    let first = write(&network, 0, 1);
    assert_executed(&network, 0..4, &[first]);
    part(&network, &[&[0, 1], &[2, 3]]);
    let before: Vec<u64> = (0..4).map(|node| network.height(node)).collect();
    // Both halves take transactions, and neither can order them.
    let waiting: Vec<TransactionId> = (0..4).map(|node| write(&network, node, 2)).collect();
    // They ask each other again and again, and nothing arrives.
    let frames = |node: usize| network.metrics(node)["regatta_consensus_frames_sent_total"];
    let asked: Vec<f64> = (0..4).map(frames).collect();
    until("every validator to wait for a quorum", || {
        let now: Vec<f64> = (0..4).map(frames).collect();
        let retried = now.iter().zip(&asked).all(|(now, before)| *now >= before + 12.0);
        if retried {
            Ok(())
        } else {
            Err(format!("{asked:?}, then {now:?}"))
        }
    });
    for (node, before) in before.iter().enumerate() {
        // A block that was on its way when the links were cut may still have been decided on one side.
        assert!(
            network.height(node) <= before + 1,
            "node {node} decided without a quorum"
        );
    }
    part(&network, &[&[0, 1, 2, 3]]);
    assert_executed(&network, 0..4, &waiting);
    for node in 0..4 {
        assert!(network.peers(node).iter().all(|peer| peer.connected), "node {node}");
    }
    network.assert_agreement();
}

#[test]
fn a_minority_that_is_cut_off_keeps_nobody_waiting_and_catches_up() {
    let network = network(4);
    let first = write(&network, 0, 1);
    assert_executed(&network, 0..4, &[first]);
    part(&network, &[&[0, 1, 2], &[3]]);
    let stays = network.height(3);
    let decided: Vec<TransactionId> = (2..8)
        .map(|sequence| write(&network, (sequence % 3) as usize, sequence))
        .collect();
    assert_executed(&network, 0..3, &decided);
    assert!(network.height(3) <= stays + 1, "alone it decides nothing");
    part(&network, &[&[0, 1, 2, 3]]);
    assert_executed(&network, 3..4, &decided);
    network.assert_agreement();
}

#[test]
fn a_validator_that_hears_nobody_is_heard_and_loses_nothing() {
    let network = network(4);
    let first = write(&network, 0, 1);
    assert_executed(&network, 0..4, &[first]);
    // What the others send it is lost; what it sends arrives.
    let cut = (0..3).map(|other| LinkCut {
        peer: network.nodes[other].key.public(),
        direction: Direction::In,
    });
    let cuts = LinkFaults {
        cut: cut.collect(),
        ..LinkFaults::default()
    };
    network.ask(network.client(3).set_link_faults(&cuts)).unwrap();
    let decided: Vec<TransactionId> = (2..5).map(|sequence| write(&network, 0, sequence)).collect();
    assert_executed(&network, 0..3, &decided);
    network
        .ask(network.client(3).set_link_faults(&LinkFaults::default()))
        .unwrap();
    assert_executed(&network, 3..4, &decided);
    network.assert_agreement();
}
