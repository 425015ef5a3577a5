//! What changes while a fleet runs, on real OpenSSH servers: programs, who is there, and what breaks.

use super::{
    fleet_runs::{Fleet, assert_went_well},
    support::{programs, sshd::SshServers},
};
use regatta_base::Digest;
use serde_json::Value;
use std::fs;

#[test]
fn nodes_on_hosts_change_their_program_over_the_air_under_load() {
    let more = "empty_blocks = true\n[build.main]\nsource = \".\"\n[build.next]\nsource = \".\"\n\
         [phases]\nwarmup = \"1s\"\nmeasure = \"55s\"\ncooldown = \"1s\"\ndrain = \"60s\"\n\
         [[load]]\nrate = 20\nmix = { put = 1 }\nsize = 200\ntarget = \"val\"\n\
         [[fault]]\nat = \"2s\"\nfor = \"52s\"\nkind = \"upgrade\"\nnodes = [\"all\"]\nbuild = \"next\"\n\
         [budget]\nwall = \"10m\"\n";
    let fleet = Fleet::new(SshServers::start(5), 0, more);
    let main = programs::node_for_hosts();
    let next = fleet.lab.path("regatta-node-next");
    let mut program = fs::read(main).unwrap();
    program.extend_from_slice(b"the next build");
    fs::write(&next, &program).unwrap();
    let given = |name: &str, path: &std::path::Path| format!("{name}={}", path.display());
    let lab = fleet.start_with(&[given("main", main), given("next", &next)]);
    let run = fleet.lab.run_of(&lab);
    assert_went_well(&run, lab);
    let result = run.result();
    let events = result["record"]["events"].as_array().unwrap();
    let upgraded = |node: &str| {
        let mut own = events.iter().filter(|event| event["node"] == node);
        own.any(|event| {
            event["text"]
                .as_str()
                .unwrap()
                .starts_with("runs build `next`, program ")
        })
    };
    for node in ["val-0", "val-1", "val-2", "val-3", "full-0"] {
        assert!(upgraded(node), "{node}: {events:#?}");
    }
    let digest = |path: &std::path::Path| Digest::of_bytes(&fs::read(path).unwrap()).to_string();
    for node in result["record"]["nodes"].as_array().unwrap() {
        let said = [&node["binary_digest"], &node["binary_digest_end"]].map(|said| said.as_str().unwrap().to_owned());
        assert_eq!(said, [digest(main), digest(&next)], "{node:#}");
    }
    let fault = events.iter().find(|event| event["kind"] == "fault");
    let fault = fault.expect("the fault is in the report");
    assert!(
        fault["text"].as_str().unwrap().contains("to `next`, over the air"),
        "{fault}"
    );
    // Hosts saw one process of each node all along, and none had the next build before it was released.
    assert_eq!(run.started().len(), 5, "{:?}", run.started());
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn nodes_on_hosts_come_and_go_under_load() {
    let more = "[phases]\nwarmup = \"1s\"\nmeasure = \"11s\"\ncooldown = \"1s\"\ndrain = \"30s\"\n\
         [[load]]\nrate = 20\nmix = { opaque = 0.5, put = 0.5 }\nsize = 128\ntarget = \"val-0\"\n\
         [[churn]]\nleave = \"stop\"\nrow = [{ node = \"full-0\", at = \"0s\", until = \"2s\" }, \
         { node = \"full-0\", at = \"5s\", until = \"7s\" }, { node = \"full-1\", at = \"4s\" }]\n\
         [[churn]]\nrow = [{ node = \"val-3\", at = \"3s\", until = \"5s\" }]\n";
    let fleet = Fleet::new(SshServers::start(6), 0, more);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    assert_went_well(&run, lab);
    let result = run.result();
    let churn = &result["summary"]["churn"];
    let counts = ["departures", "returns", "late_starts", "caught_up"].map(|key| churn[key].as_u64());
    assert_eq!(
        counts,
        [Some(3), Some(2), Some(1), Some(3)],
        "{:#}",
        result["record"]["churn"]
    );
    let started = run.started();
    let starts = |name: &str| started.iter().filter(|(node, _)| node == name).count();
    assert_eq!(
        ["full-0", "full-1", "val-3", "val-0"].map(starts),
        [2, 1, 2, 1],
        "{started:?}"
    );
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<std::path::PathBuf>::new());
}

/// One fault after the other, each of a kind that nodes on hosts suffer.
const FAULTS: &str = "[[fault]]\nat = \"1s\"\nfor = \"1500ms\"\nkind = \"pause\"\nnodes = [\"val-0\"]\n\
     [[fault]]\nat = \"4s\"\nfor = \"1500ms\"\nkind = \"partition\"\nsets = [[\"val-1\"], [\"val-0\", \"val-2\", \"val-3\", \"full\"]]\n\
     [[fault]]\nat = \"7s\"\nfor = \"1500ms\"\nkind = \"link\"\nsets = [[\"val-2\"], [\"val-0\", \"val-1\", \"val-3\", \"full\"]]\ndelay = \"40ms\"\n\
     [[fault]]\nat = \"10s\"\nfor = \"1500ms\"\nkind = \"skew\"\nnodes = [\"val-3\"]\noffset = \"1s\"\n\
     [[fault]]\nat = \"13s\"\nfor = \"1500ms\"\nkind = \"disk_full\"\nnodes = [\"val-0\"]\n\
     [[fault]]\nat = \"16s\"\nfor = \"1500ms\"\nkind = \"disk_slow\"\nnodes = [\"val-1\"]\ndelay = \"20ms\"\n\
     [[fault]]\nat = \"19s\"\nfor = \"1500ms\"\nkind = \"crash\"\nnodes = [\"val-2\"]\ndisk = \"lost\"\n";

#[test]
fn every_fault_that_hosts_allow_is_made_and_undone() {
    let more = format!(
        "[phases]\nwarmup = \"1s\"\nmeasure = \"24s\"\ncooldown = \"1s\"\ndrain = \"30s\"\n\
         [[load]]\nrate = 20\nsize = 128\ntarget = \"full\"\n{FAULTS}"
    );
    let fleet = Fleet::new(SshServers::start(5), 0, &more);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    assert_went_well(&run, lab);
    let result = run.result();
    let events = result["record"]["events"].as_array().unwrap();
    let made: Vec<&str> = events
        .iter()
        .filter(|event| event["kind"] == "fault")
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert_eq!(made.len(), 7, "{made:#?}");
    for words in [
        "partition",
        "link",
        "made inside the nodes' transport",
        "made inside the node",
    ] {
        assert!(made.iter().any(|text| text.contains(words)), "{words}: {made:#?}");
    }
    let recoveries = result["summary"]["recoveries"].as_array().unwrap();
    assert_eq!(recoveries.len(), 7, "{recoveries:#?}");
    for recovery in recoveries {
        assert!(recovery["first_block_ms"].is_number(), "no block after {recovery:#}");
    }
    let has = |node: &str, words: &str| run.text(&format!("logs/{node}.log")).contains(words);
    assert!(
        has("val-0", "no room on the device: records wait"),
        "{}",
        run.text("logs/val-0.log")
    );
    let crashed = |process: &&Value| process["name"] == "val-2";
    let processes = result["record"]["processes"].as_array().unwrap();
    assert_eq!(processes.iter().find(crashed).unwrap()["restarts"], 1);
    fleet.wait_until_nobody_is_left();
}
