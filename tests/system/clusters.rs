//! Clusters that stay: two side by side, each with its own status, load and logs, from other commands.

use super::support::{lab::Lab, process::Ended, subnet::Subnet, wait::until_true};
use serde_json::Value;
use std::net::TcpListener;

const STAYS: &str = "[budget]\nlease = \"10m\"\n";

fn json(ended: &Ended) -> Value {
    serde_json::from_str(ended.success()).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

#[test]
fn two_clusters_live_side_by_side() {
    let mut lab = Lab::new();
    let scenario = lab.scenario(STAYS);
    let first = json(&lab.up(&scenario))["run"].as_str().unwrap().to_owned();
    // The same file on another range.
    let other = Subnet::take();
    let text = std::fs::read_to_string(&scenario).unwrap();
    let moved = lab.write("moved.toml", &text.replace(&lab.subnet.text(), &other.text()));
    let second = json(&lab.up(&moved))["run"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let listed = json(&lab.command(&["status", "--json"]));
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed:#}");
    for run in [&first, &second] {
        let status = json(&lab.command(&["status", run, "--json"]));
        let nodes = status["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 5);
        assert!(nodes.iter().all(|node| node["state"] == "running"), "{status:#}");
    }
    let load = json(&lab.command(&["load", &second, "--rate", "30", "--for", "3s", "--json"]));
    let count = |end: &str| load["accounting"][end].as_u64().unwrap();
    assert!(count("intended") > 30, "{load:#}");
    // A busy machine may be late; nothing may be refused or fail.
    assert!(count("finalised_ok") > count("intended") / 2, "{load:#}");
    assert_eq!(load["accounting"]["rejected"], Value::Array(Vec::new()), "{load:#}");
    assert_eq!(count("finalised_failed"), 0, "{load:#}");
    assert!(lab.command(&["logs", &first, "val-0"]).success().contains("listening"));
    lab.command(&["logs", &first, "val-9"])
        .failure(2, &["no node `val-9`", "help: its nodes are val-0"]);
    // Which one is meant must be said.
    lab.command(&["down"])
        .failure(2, &["several clusters are up", &first, &second]);

    lab.command(&["down", &first]).success();
    let left = json(&lab.command(&["status", "--json"]));
    assert_eq!(left.as_array().unwrap().len(), 1, "{left:#}");
    assert_eq!(left[0]["run"], second);
    assert!(
        left[0]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|node| node["state"] == "running")
    );
    lab.command(&["down"]).success();
    assert_eq!(json(&lab.command(&["status", "--json"])), Value::Array(Vec::new()));
    until_true("all ports to be free", || {
        let addresses = (0..5).flat_map(|node| [lab.subnet.address(node), other.address(node)]);
        addresses
            .into_iter()
            .all(|address| TcpListener::bind((address, 7001)).is_ok())
    });
}
