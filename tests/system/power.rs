//! Crashes of few, of too many and of all validators, and clocks that are wrong.

use super::support::{network::Network, wait::until};
use regatta_api::{testing::ClockConfig, view::BlockSummary};
use regatta_base::{SecretKey, TransactionId};

fn write(network: &Network, to: usize, sequence: u64) -> TransactionId {
    let sender = SecretKey::from_seed([220 + to as u8; 32]);
    let write = network.put(&sender, sequence, &format!("{to}-{sequence}"), "value");
    network.acknowledged(to, write)
}

fn assert_executed(network: &Network, nodes: &[usize], ids: &[TransactionId]) {
    for node in nodes {
        for id in ids {
            network.wait_executed(*node, id);
        }
    }
}

#[test]
fn one_of_four_is_not_missed_two_are_and_nothing_is_lost() {
    let mut network = Network::new(4, 0).started();
    let mut ids = vec![write(&network, 0, 1)];
    network.kill(3);
    // Whoever leads while it is away costs a timeout, and no more.
    ids.extend((2..8).map(|sequence| write(&network, sequence as usize % 3, sequence)));
    assert_executed(&network, &[0, 1, 2], &ids);
    network.kill(2);
    let stalled = network.height(0).max(network.height(1));
    let waiting = [write(&network, 0, 20), write(&network, 1, 20)];
    let frames = |network: &Network| network.metrics(0)["regatta_consensus_frames_sent_total"];
    let asked = frames(&network);
    until("the two to ask in vain", || {
        let now = frames(&network);
        if now >= asked + 8.0 {
            Ok(())
        } else {
            Err(format!("{asked}, then {now}"))
        }
    });
    assert!(
        network.height(0).max(network.height(1)) <= stalled + 1,
        "two of four decide nothing"
    );
    network.start(2);
    assert_executed(&network, &[0, 1, 2], &waiting);
    network.start(3);
    assert_executed(&network, &[3], &ids);
    assert_executed(&network, &[3], &waiting);
    network.assert_agreement();
}

fn ledger(network: &Network, node: usize) -> Vec<BlockSummary> {
    network.ask(network.client(node).blocks(1, 1000)).unwrap().blocks
}

#[test]
fn all_killed_at_once_go_on_at_the_same_height_with_the_same_state() {
    let mut network = Network::new(4, 0).started();
    let ids: Vec<TransactionId> = (1..6)
        .map(|sequence| write(&network, sequence as usize % 4, sequence))
        .collect();
    assert_executed(&network, &[0, 1, 2, 3], &ids);
    network.assert_agreement();
    let before: Vec<Vec<BlockSummary>> = (0..4).map(|node| ledger(&network, node)).collect();
    for node in 0..4 {
        network.kill(node);
    }
    for node in 0..4 {
        network.start(node);
    }
    for node in 0..4 {
        network.wait_ready(node);
    }
    let height = before.iter().map(Vec::len).max().unwrap() as u64;
    assert_executed(&network, &[0, 1, 2, 3], &ids);
    let next = write(&network, 1, 50);
    assert_executed(&network, &[0, 1, 2, 3], &[next]);
    for (node, before) in before.iter().enumerate() {
        let now = ledger(&network, node);
        assert!(now.len() as u64 > height, "node {node} goes on");
        assert_eq!(
            now[..before.len()],
            before[..],
            "node {node} has the same blocks and state roots"
        );
    }
    network.assert_agreement();
}

#[test]
fn a_wrong_clock_changes_nothing() {
    let mut network = Network::new(4, 0);
    let clocks = [(0, 1000), (3_600_000, 1000), (31_536_000_000, 1300), (7, 800)];
    for (node, (offset_ms, rate_permille)) in network.nodes.iter_mut().zip(clocks) {
        node.config.testing.clock = ClockConfig {
            offset_ms,
            rate_permille,
        };
    }
    let network = network.started();
    let ids: Vec<TransactionId> = (1..9)
        .map(|sequence| write(&network, sequence as usize % 4, sequence))
        .collect();
    assert_executed(&network, &[0, 1, 2, 3], &ids);
    for node in 0..4 {
        assert_eq!(
            network.ask(network.client(node).evidence()).unwrap().evidence,
            [],
            "nobody is accused"
        );
    }
    network.assert_agreement();
}
