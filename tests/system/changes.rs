//! Validators that join while the network runs.

use super::support::network::Network;
use regatta_base::SecretKey;

/// The key file of a node, as the command line takes it.
fn key_file(network: &Network, index: usize) -> String {
    network.folder(index).join("key.pem").to_str().unwrap().to_owned()
}

#[test]
fn members_agree_in_different_places_and_the_network_needs_the_vote_of_who_joined() {
    let mut network = Network::new(4, 1).started();
    let entry = format!("{}=1", network.nodes[4].key.public());
    let keys: Vec<String> = (0..4).map(|index| key_file(&network, index)).collect();
    let change = ["send", "validators", &entry];

    let too_few = [&change[..], &["--key", &keys[0], "--key", &keys[1]]].concat();
    network.command(0, &too_few).failure(2, &["weight 2 of 4", "--agree"]);

    let asked = network.command(1, &[&change[..], &["--key", &keys[1], "--agree"]].concat());
    let agreement = asked.success().trim();
    let enough = [
        "--key",
        &keys[0],
        "--key",
        &keys[2],
        "--agreement",
        agreement,
        "--wait=120",
    ];
    network.command(0, &[&change[..], &enough].concat()).success();

    let after = network.command(0, &["query", "validators"]);
    assert!(after.success().contains("version 1"), "{}", after.stdout);
    let first = network.command(0, &["query", "validators", "--height", "1"]);
    assert!(first.success().contains("weight 4"), "{}", first.stdout);
    // What names a version that is over takes no effect.
    let again = [
        &change[..],
        &["--key", &keys[0], "--key", &keys[2], "--agreement", agreement],
    ]
    .concat();
    network
        .command(0, &[&again[..], &["--version", "0", "--wait=120"]].concat())
        .failure(3, &["help:"]);

    // Two heights later five validators decide, and four of them have to.
    let sender = SecretKey::from_seed([33; 32]);
    let write = |network: &Network, sequence: u64| {
        let id = network.acknowledged(0, network.put(&sender, sequence, "key", "value"));
        network.wait_executed(0, &id);
    };
    (1..4).for_each(|sequence| write(&network, sequence));
    let grown = network.command(0, &["query", "validators"]);
    assert!(grown.success().contains("weight 5"), "{}", grown.stdout);
    network.kill(3);
    (4..6).for_each(|sequence| write(&network, sequence));
    network.assert_agreement();
}
