//! Several consensus instances on the nodes of one network: as a whole run, and when one of them loses its quorum.

use super::support::{lab::Lab, network::Network, wait::until};
use regatta_api::{
    Reject,
    config::{InstanceConfig, ValidatorConfig},
    view::{SubmitRequest, TransactionStatus},
};
use regatta_apps::{Domain, transaction};
use regatta_base::{HexBytes, SecretKey, TransactionId};
use std::path::Path;

/// The scenario that comes with the project, on a lab's own addresses and shorter.
fn scenario(lab: &Lab) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies/instances.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.replace("127.68.0.0/16", &lab.subnet.text());
    let text = text.replace("measure = \"12s\"", "measure = \"6s\"");
    // A busy machine may be late.
    let text = text
        .replace("drain = \"5s\"", "drain = \"20s\"")
        .replace("stall = \"< 2s\"\n", "");
    lab.write("instances.toml", &text)
}

#[test]
fn three_instances_run_side_by_side_and_none_leaks_into_another() {
    let lab = Lab::new();
    let scenario = scenario(&lab);
    let plan = lab.command(&["plan", &scenario]).success().to_owned();
    assert!(
        plan.contains("instance  alpha: 4 validators, weight 6, 2 followers"),
        "{plan}"
    );
    assert!(plan.contains("votes leader_aggregate"), "{plan}");
    let ended = lab.start_run(&scenario).wait();
    let run = lab.latest();
    run.assert_correct();
    let result = run.result();
    let invariants = result["record"]["invariants"].as_array().unwrap();
    let isolation = invariants.iter().find(|invariant| invariant["name"] == "isolation");
    assert!(isolation.is_some(), "{invariants:#?}");
    for instance in result["record"]["instances"].as_array().unwrap() {
        let id = instance["id"].as_str().unwrap();
        assert!(instance["height"].as_u64().unwrap() > 0, "{instance:#}");
        assert!(
            instance["accounting"]["finalised_ok"].as_u64().unwrap() > 0,
            "{instance:#}"
        );
        assert!(
            ended.stdout.lines().any(|line| line.starts_with(id)),
            "{}",
            ended.stdout
        );
    }
    assert!(run.text("report.html").contains("<section id=\"instances\">"));
}

/// Who runs an instance: validators with their weights, and followers.
type Members<'a> = (&'a str, &'a [(usize, u64)], &'a [usize]);

/// Six validators and two full nodes. `alpha` cannot decide without node 3, `beta` can; node 1 follows `beta`.
const MEMBERS: [Members<'_>; 2] = [
    ("alpha", &[(0, 1), (1, 1), (2, 1), (3, 3)], &[6]),
    ("beta", &[(2, 1), (3, 1), (4, 1), (5, 1)], &[1, 7]),
];

fn overlapping() -> Network {
    let mut network = Network::new(6, 2);
    let keys: Vec<_> = network.nodes.iter().map(|node| node.key.public()).collect();
    for (index, node) in network.nodes.iter_mut().enumerate() {
        let one = node.config.instances.remove(0);
        for (id, validators, followers) in MEMBERS {
            if followers.contains(&index) || validators.iter().any(|(node, _)| *node == index) {
                let validator = |&(node, weight): &(usize, u64)| ValidatorConfig {
                    key: keys[node],
                    weight,
                };
                node.config.instances.push(InstanceConfig {
                    id: id.parse().unwrap(),
                    validators: validators.iter().map(validator).collect(),
                    ..one.clone()
                });
            }
        }
    }
    network.started()
}

fn put(signed_for: &str, sequence: u64) -> HexBytes {
    let domain = Domain::new(&"by-hand".parse().unwrap(), &signed_for.parse().unwrap());
    let sender = SecretKey::from_seed([77; 32]);
    let key = format!("{signed_for}-{sequence}");
    HexBytes(transaction::put(&domain, &sender, sequence, key.as_bytes(), b"value"))
}

fn submit(network: &Network, node: usize, to: &str, bytes: HexBytes) -> Result<TransactionId, String> {
    let request = SubmitRequest {
        instance: Some(to.parse().unwrap()),
        transactions: vec![bytes],
    };
    let response = network.ask(network.client(node).submit(&request))?;
    let result = &response.results[0];
    match (result.id, result.rejected) {
        (Some(id), None) => Ok(id),
        (_, rejected) => Err(format!("{rejected:?}")),
    }
}

fn status(network: &Network, node: usize, of: &str, id: &TransactionId) -> Result<TransactionStatus, String> {
    let client = network.client(node).with_instance(of.parse().unwrap());
    network.ask(client.status(id))
}

fn wait_executed(network: &Network, nodes: &[usize], of: &str, id: &TransactionId) {
    for &node in nodes {
        until(&format!("{id} in {of} at node {node}"), || {
            match status(network, node, of, id)? {
                TransactionStatus::Executed { .. } => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}

#[test]
fn an_instance_that_lost_its_quorum_leaves_the_other_alone() {
    let mut network = overlapping();
    let alpha = submit(&network, 6, "alpha", put("alpha", 1)).unwrap();
    let beta = submit(&network, 7, "beta", put("beta", 1)).unwrap();
    wait_executed(&network, &[0, 1, 2, 3, 6], "alpha", &alpha);
    wait_executed(&network, &[1, 2, 3, 4, 5, 7], "beta", &beta);
    assert_eq!(status(&network, 2, "beta", &alpha), Ok(TransactionStatus::Unknown));
    let refused = submit(&network, 2, "beta", put("alpha", 2)).unwrap_err();
    assert!(refused.contains(&format!("{:?}", Reject::BadSignature)), "{refused}");
    submit(&network, 4, "alpha", put("alpha", 2)).expect_err("node 4 does not run alpha");

    // Node 3 votes in both and only alpha needs it.
    network.kill(3);
    let waiting = submit(&network, 0, "alpha", put("alpha", 2)).unwrap();
    for sequence in 2..8 {
        let id = submit(&network, 4, "beta", put("beta", sequence)).unwrap();
        wait_executed(&network, &[2, 5, 7], "beta", &id);
    }
    let still = status(&network, 0, "alpha", &waiting).unwrap();
    assert!(!matches!(still, TransactionStatus::Executed { .. }), "{still:?}");

    network.start(3);
    network.wait_ready(3);
    wait_executed(&network, &[0, 1, 2, 3, 6], "alpha", &waiting);
    let last = submit(&network, 3, "beta", put("beta", 8)).unwrap();
    wait_executed(&network, &[1, 2, 3, 4, 5, 7], "beta", &last);
}

#[test]
fn commands_name_the_instance_that_they_mean() {
    let network = overlapping();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("client.pem");
    let key = key.to_str().unwrap();
    super::support::process::run(super::support::programs::node(), &["keygen", "--out", key]).success();
    for (instance, value) in [("alpha", "red"), ("beta", "blue")] {
        let send = [
            "send",
            "put",
            "colour",
            value,
            "--wait=120",
            "--key",
            key,
            "--instance",
            instance,
        ];
        network.command(2, &send).success();
    }
    for (instance, value) in [("alpha", "red\n"), ("beta", "blue\n")] {
        let query = ["query", "state", "colour", "--instance", instance];
        assert_eq!(network.command(2, &query).success(), value);
    }
    let shown = network.command(2, &["status"]).success().to_owned();
    assert!(shown.contains("alpha") && shown.contains("beta"), "{shown}");
    let elsewhere = ["query", "state", "colour", "--instance", "alpha"];
    network.command(4, &elsewhere).failure(1, &["alpha"]);
}
