//! Nodes that were away: from their own disk, and from their neighbours.

use super::support::{network::Network, wait::until};
use regatta_base::SecretKey;

/// Writes `count` values through node 0 and waits until they are executed there, so that they are spread over blocks.
fn write(network: &Network, from: u64, count: u64) {
    let sender = SecretKey::from_seed([77; 32]);
    for sequence in from..from + count {
        let write = network.put(
            &sender,
            sequence,
            &format!("key-{sequence}"),
            &format!("value-{sequence}"),
        );
        let id = network.acknowledged(0, write);
        network.wait_executed(0, &id);
    }
}

#[test]
fn a_network_goes_on_from_its_disks() {
    let mut network = Network::new(4, 1).started();
    write(&network, 1, 10);
    let before = network.assert_agreement();
    for index in 0..5 {
        network.stop(index);
    }
    let network = network.started();
    for index in 0..5 {
        assert!(network.height(index) >= before, "node {index} forgot blocks");
        let value = network.ask(network.client(index).state(b"key-7")).unwrap().value;
        assert_eq!(value.unwrap().0.as_ref(), b"value-7");
    }
    write(&network, 11, 3);
    assert!(network.assert_agreement() > before);
}

#[test]
fn nodes_that_were_away_catch_up() {
    let mut network = Network::new(4, 1).started();
    write(&network, 1, 5);
    // A validator and a follower; the three others go on deciding.
    network.stop(3);
    network.kill(4);
    write(&network, 6, 60);
    let away = network.height(0);
    assert!(away >= 60, "only {away} blocks");
    for index in [3, 4] {
        network.start(index);
        network.wait_ready(index);
        until("the node to catch up", || {
            let height = network.height(index);
            if height >= away {
                Ok(())
            } else {
                Err(format!("height {height} of {away}"))
            }
        });
        let value = network.ask(network.client(index).state(b"key-65")).unwrap().value;
        assert_eq!(value.unwrap().0.as_ref(), b"value-65");
    }
    write(&network, 66, 3);
    network.assert_agreement();
}
