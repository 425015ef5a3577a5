//! The lab upgrades the network of a run over the air, under load, and reports who ran what when.

use super::support::{lab::Lab, namespaces::allowed, programs};
use regatta_base::Digest;
use std::fs;

#[test]
fn a_run_upgrades_its_network_under_load_and_says_who_ran_what_when() {
    upgrade_under_load(&Lab::new(), "");
}

#[test]
fn a_network_in_namespaces_is_upgraded_under_load_as_well() {
    let lab = Lab::new();
    if allowed(&lab) {
        upgrade_under_load(&lab, "[provider]\nkind = \"netns\"\n");
    }
}

/// A run with an upgrade of all nodes while it is loaded; `provider` is where they run, as the scenario says it.
fn upgrade_under_load(lab: &Lab, provider: &str) {
    let scenario = lab.scenario(&format!(
        "empty_blocks = true\n{provider}[build.main]\nsource = \".\"\n[build.next]\nsource = \".\"\n\
         [phases]\nwarmup = \"1s\"\nmeasure = \"55s\"\ncooldown = \"1s\"\ndrain = \"60s\"\n\
         [[load]]\nrate = 40\nmix = {{ put = 1 }}\nsize = 200\ntarget = \"val\"\n\
         [[fault]]\nat = \"2s\"\nfor = \"52s\"\nkind = \"upgrade\"\nnodes = [\"all\"]\nbuild = \"next\"\n\
         [budget]\nwall = \"10m\"\n"
    ));
    let next = lab.path("regatta-node-next");
    let mut program = fs::read(programs::node()).unwrap();
    program.extend_from_slice(b"the next build");
    fs::write(&next, &program).unwrap();
    let given = |name: &str, path: &std::path::Path| format!("{name}={}", path.display());
    let binaries = (given("main", programs::node()), given("next", &next));
    let ended = lab.command(&["run", &scenario, "--binary", &binaries.0, "--binary", &binaries.1]);
    // A busy machine makes a run invalid, or slow, and nothing else.
    assert!(matches!(ended.code(), Some(0 | 3 | 5 | 6)), "{}", ended.stderr);
    let run = lab.latest();
    run.assert_correct();
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
        assert!(upgraded(node), "{node}: {events:#?}\n{}", ended.stderr);
    }
    let digest = |path: &std::path::Path| Digest::of_bytes(&fs::read(path).unwrap()).to_string();
    for node in result["record"]["nodes"].as_array().unwrap() {
        let said = [&node["binary_digest"], &node["binary_digest_end"]].map(|said| said.as_str().unwrap().to_owned());
        assert_eq!(said, [digest(programs::node()), digest(&next)], "{node:#}");
    }
    let is_shaded = |event: &&serde_json::Value| event["kind"] == "fault";
    let fault = events.iter().find(is_shaded).expect("the fault is in the report");
    assert!(
        fault["text"].as_str().unwrap().contains("to `next`, over the air"),
        "{fault}"
    );
    // It is shaded until the last node has changed, and not until the plan's end of it.
    let times = |event: &serde_json::Value| event["end_ms"].as_u64().unwrap();
    let notes = events
        .iter()
        .filter(|event| event["text"].as_str().unwrap().starts_with("runs build"));
    let last = notes.map(times).max().expect("every node was noted above");
    assert!(times(fault).abs_diff(last) < 2000, "{} and {last}", times(fault));
    // Every node is one process all along.
    assert_eq!(run.started().len(), 5, "{:?}", run.started());
    run.wait_until_nobody_is_left();
}
