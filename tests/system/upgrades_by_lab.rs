//! The lab upgrades the network of a run over the air, under load, and reports who ran what when.

use super::support::{lab::Lab, programs};
use std::fs;

#[test]
fn a_run_upgrades_its_network_under_load_and_says_who_ran_what_when() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "empty_blocks = true\n[build.main]\nsource = \".\"\n[build.next]\nsource = \".\"\n\
         [phases]\nwarmup = \"1s\"\nmeasure = \"55s\"\ncooldown = \"1s\"\ndrain = \"60s\"\n\
         [[load]]\nrate = 40\nmix = { put = 1 }\nsize = 200\ntarget = \"val\"\n\
         [[fault]]\nat = \"2s\"\nfor = \"52s\"\nkind = \"upgrade\"\nnodes = [\"all\"]\nbuild = \"next\"\n\
         [budget]\nwall = \"10m\"\n",
    );
    let next = lab.path("regatta-node-next");
    let mut program = fs::read(programs::node()).unwrap();
    program.extend_from_slice(b"the next build");
    fs::write(&next, &program).unwrap();
    let given = |name: &str, path: &std::path::Path| format!("{name}={}", path.display());
    let (main, next) = (given("main", programs::node()), given("next", &next));
    let ended = lab.command(&["run", &scenario, "--binary", &main, "--binary", &next]);
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
