//! The verbs of `regatta-node` against a live network of four.

use super::support::{
    network::Network,
    process::{Ended, Running, run},
    programs,
    wait::until,
};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

fn json(ended: &Ended) -> Value {
    serde_json::from_str(ended.success()).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

#[test]
fn what_one_node_takes_all_nodes_show() {
    let network = Network::new(4, 1).started();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("client.pem");
    let key = key.to_str().unwrap();
    let made = run(programs::node(), &["keygen", "--out", key]);
    assert_eq!(made.success().trim().len(), 64);
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);

    // Through the full node, which hands it to a validator.
    let put = json(&network.command(
        4,
        &["send", "put", "colour", "blue", "--wait=120", "--json", "--key", key],
    ));
    assert_eq!(put["status"]["executed"]["outcome"], "ok", "{put}");
    let id = put["id"].as_str().unwrap();
    let opaque = network.command(
        1,
        &["send", "opaque", "hello", "--count", "5", "--wait=120", "--key", key],
    );
    assert_eq!(opaque.success().matches(": ok").count(), 5);
    let height = put["status"]["executed"]["height"].to_string();
    for index in 0..5 {
        let value = until("the value at every node", || {
            let ended = network.command(index, &["query", "state", "colour"]);
            if ended.stdout == "blue\n" {
                Ok(ended)
            } else {
                Err(ended.stdout + &ended.stderr)
            }
        });
        value.success();
        assert!(
            network
                .command(index, &["query", "tx", id])
                .success()
                .contains("executed at height")
        );
        let block = network.command(index, &["query", "block", &height]);
        assert!(block.success().contains("of 4"), "{}", block.stdout);
    }
    let certificate = json(&network.command(4, &["query", "block", &height, "--json"]));
    assert!(certificate["signers"].as_array().unwrap().len() >= 3, "{certificate:#}");
}

#[test]
fn status_names_links_height_and_program() {
    let network = Network::new(4, 0).started();
    let status = network.command(0, &["status"]);
    let text = status.success();
    assert!(text.starts_with("val-0 of by-hand is ready"), "{text}");
    assert!(text.contains("3 of 3 links are up"), "{text}");
    for peer in ["val-1", "val-2", "val-3"] {
        assert!(text.contains(peer), "{text}");
    }
    let running = json(&network.command(0, &["version", "--json"]));
    let digest = regatta_base::Digest::of_bytes(&std::fs::read(programs::node()).unwrap());
    assert_eq!(running["binary"], digest.to_string());
    assert_eq!(running["name"], "val-0");
}

#[test]
fn watching_shows_blocks_as_they_come() {
    let network = Network::new(4, 0).started();
    let folder = tempfile::tempdir().unwrap();
    let to = network.nodes[2].http().to_string();
    let watch = ["watch", "blocks", "--count", "3", "--json", "--to", &to];
    let mut watching = Running::start(programs::node(), &watch, folder.path(), "watch");
    let mut number = 0;
    // Blocks come from transactions; the subscription may begin after the first ones.
    until("three blocks to be shown", || {
        number += 1;
        network
            .command(0, &["send", "blob", &format!("n{number}"), "--wait=120"])
            .success();
        if watching.has_ended() {
            Ok(())
        } else {
            Err(watching.stdout())
        }
    });
    let shown = watching.wait();
    let blocks: Vec<Value> = shown
        .success()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(blocks.len(), 3);
    for pair in blocks.windows(2) {
        assert_eq!(pair[1]["parent"], pair[0]["hash"], "{pair:#?}");
        assert_eq!(
            pair[1]["height"].as_u64(),
            pair[0]["height"].as_u64().map(|height| height + 1)
        );
    }
}
