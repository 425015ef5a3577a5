//! Limits that are reached: transactions are refused clearly, and the node goes on.

use super::support::{network::Network, wait::until};
use regatta_api::Reject;
use regatta_base::{HexBytes, SecretKey};

/// One validator whose second block comes long after the first, so that what is accepted stays pending.
fn slow() -> Network {
    let mut network = Network::new(1, 0);
    network.nodes[0].config.instances[0].block_interval_ms = 3_600_000;
    network.nodes[0].config.instances[0].round_timeout_ms = 3_600_000;
    network.nodes[0].config.instances[0].round_timeout_ms_max = 3_600_000;
    network.nodes[0].config.mempool.transactions_max = 10;
    network.nodes[0].config.mempool.per_sender_max = 4;
    network
}

#[test]
fn a_full_mempool_refuses_with_a_reason_and_a_help() {
    let network = slow().started();
    // The first block may come at once.
    let first = network.command(0, &["send", "blob", "first", "--wait=60"]);
    first.success();
    let many = network.command(0, &["send", "blob", "x", "--count", "15"]);
    many.failure(
        3,
        &[
            "10 of 15 transactions went well",
            "help: send slower, or raise mempool.transactions_max",
        ],
    );
    assert_eq!(
        many.stdout.matches("refused: mempool_full").count(),
        5,
        "{}",
        many.stdout
    );
    assert!(network.command(0, &["status"]).success().contains("is ready"));
    let again = network.command(0, &["send", "blob", "first"]);
    again.failure(3, &["help: "]);
}

#[test]
fn one_sender_cannot_fill_the_mempool() {
    let network = slow().started();
    network.command(0, &["send", "blob", "first", "--wait=60"]).success();
    let sender = SecretKey::from_seed([9; 32]);
    let writes = |sequences: std::ops::Range<u64>| -> Vec<HexBytes> {
        sequences
            .map(|sequence| network.put(&sender, sequence, "k", "v"))
            .collect()
    };
    let results = network.submit(0, writes(1..7)).unwrap().results;
    let rejected: Vec<Option<Reject>> = results.iter().map(|result| result.rejected).collect();
    let limit = Some(Reject::SenderLimit);
    assert_eq!(rejected, [None, None, None, None, limit, limit]);
    let twice = network.submit(0, writes(1..2)).unwrap().results;
    assert_eq!(twice[0].rejected, Some(Reject::Duplicate));
    // Others still get in.
    let other = network.put(&SecretKey::from_seed([10; 32]), 1, "k", "v");
    network.acknowledged(0, other);
}

#[test]
fn a_full_disk_quota_refuses_and_keeps_what_is_there() {
    let mut network = Network::new(1, 0);
    network.nodes[0].config.store.disk_bytes_max = 1 << 20;
    let mut network = network.started();
    let mut number = 0;
    let refused = until("the quota to be reached", || {
        number += 1;
        let payload = format!("{number}{}", "x".repeat(100_000));
        let ended = network.command(0, &["send", "blob", &payload, "--wait=60"]);
        if ended.code() == Some(3) {
            Ok(ended)
        } else {
            Err(format!("{number} accepted"))
        }
    });
    refused.failure(3, &["help: raise store.disk_bytes_max"]);
    assert!(refused.stdout.contains("refused: disk_full"), "{}", refused.stdout);
    let height = network.height(0);
    assert!(height > 0);
    network.stop(0);
    let network = network.started();
    assert!(network.height(0) >= height, "the ledger is shorter after a restart");
}
