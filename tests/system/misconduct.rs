//! A validator that signs two proposals for one height: it is convicted, the others agree and lose nothing.

use super::support::{lab::Lab, programs, subnet::Subnet};
use regatta_tests::workspace_root;
use serde_json::Value;
use std::collections::BTreeSet;

/// The scenario that comes with the project, shorter and on addresses of its own.
fn scenario(subnet: Subnet) -> String {
    let text = std::fs::read_to_string(workspace_root().join("topologies/equivocate.toml")).unwrap();
    let changes = [
        ("127.72.0.0/16", subnet.text()),
        ("measure = \"15s\"", "measure = \"6s\"".to_owned()),
        ("rate = 200", "rate = 50".to_owned()),
    ];
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

#[test]
fn an_equivocating_validator_is_convicted_and_nobody_else_is() {
    let lab = Lab::new();
    let file = lab.write("equivocate.toml", &scenario(lab.subnet));
    let bad = format!("main-byzantine={}", programs::byzantine_node().display());
    let ended = lab
        .start(&[
            "run",
            &file,
            "--binary",
            programs::node().to_str().unwrap(),
            "--binary",
            &bad,
        ])
        .wait();
    let run = lab.latest();
    run.assert_correct();
    let result = run.result();
    let accusations = result["record"]["accusations"].as_array().unwrap();
    assert!(!accusations.is_empty(), "{}", ended.stderr);
    let accused: BTreeSet<&str> = accusations
        .iter()
        .map(|row| row["validator"].as_str().unwrap())
        .collect();
    assert_eq!(accused, BTreeSet::from(["bad-0"]));
    let all = |row: &&Value| row["told_by"] == row["asked"] && row["asked"] == 8;
    assert!(
        accusations.iter().any(|row| all(&row)),
        "no proof reached everybody: {accusations:#?}"
    );
    let nodes = result["record"]["nodes"].as_array().unwrap();
    let byzantine = |node: &&Value| node["byzantine"] == "equivocate";
    assert_eq!(nodes.iter().filter(byzantine).count(), 1);
    assert!(
        run.text("report.html").contains("Evidence"),
        "the page shows what was found"
    );
}

#[test]
fn a_program_that_can_misbehave_is_no_honest_one() {
    let lab = Lab::new();
    let file = lab.scenario("");
    let ended = lab
        .start(&["run", &file, "--binary", programs::byzantine_node().to_str().unwrap()])
        .wait();
    assert_ne!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("made to break the protocol"), "{}", ended.stderr);
}
