//! One scenario with real and with simulated nodes, and the page that sets them beside each other.

use super::support::{lab::Lab, programs};
use serde_json::Value;

const LOAD: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"6s\"\ncooldown = \"500ms\"\ndrain = \"10s\"\n\
    [[load]]\nrate = 60\nmix = { opaque = 0.5, put = 0.5 }\nsize = 128\ntarget = \"full\"\n";

#[test]
fn a_scenario_runs_on_both_and_the_page_says_where_they_differ() {
    let lab = Lab::new();
    let scenario = lab.scenario(LOAD);
    let binary = programs::node().to_str().unwrap();
    let out = lab.path("page");
    let folder = out.to_str().unwrap();
    let ended = lab.command(&["parity", &scenario, "--binary", binary, "--out", folder]);
    // A busy machine makes the real run invalid, which the page says; all else is there all the same.
    let is_valid = ended.code() == Some(0);
    assert!(is_valid || ended.code() == Some(6), "{}", ended.stderr);
    let page = std::fs::read_to_string(out.join("parity.html")).unwrap();
    for part in [
        "simulated / real",
        "response p50",
        "CPU per block",
        "Time between blocks",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for figure in ["parity-ratios", "parity-response", "parity-blocks"] {
        assert!(std::fs::read(out.join(format!("figures/{figure}.png"))).unwrap().len() > 1000);
    }
    let parity: Value = serde_json::from_slice(&std::fs::read(out.join("parity.json")).unwrap()).unwrap();
    // Lab and node of a working copy may have been built before and after a commit, which the page says too.
    let problems = parity["problems"].as_array().unwrap().iter();
    let problems: Vec<&Value> = problems
        .filter(|problem| *problem != "the programs are of two commits")
        .collect();
    assert_eq!(problems.is_empty(), is_valid, "{problems:?}");
    let says_so = |problem: &&Value| problem.as_str().unwrap().contains("measures nothing");
    assert!(problems.iter().all(says_so), "{problems:?}");
    let rows = parity["rows"].as_array().unwrap();
    let goodput = rows.iter().find(|row| row["figure"] == "goodput").unwrap();
    let ratio = goodput["ratio"]["value"].as_f64().unwrap();
    assert!((0.8..1.25).contains(&ratio), "both carry what is offered: {goodput:#}");
    assert!(ended.stdout.contains("simulated / real"), "{}", ended.stdout);

    // Beside the real run that was made, another simulated one; nothing agrees to the last digit.
    let real = parity["real"]["run"].as_str().unwrap();
    let again = lab.command(&[
        "parity", &scenario, "--binary", binary, "--real", real, "--within", "1", "--out", folder,
    ]);
    assert_eq!(again.code(), Some(if is_valid { 3 } else { 6 }), "{}", again.stderr);
    assert_eq!(again.stderr.contains("apart     "), is_valid, "{}", again.stderr);
}

#[test]
fn what_cannot_be_set_beside_each_other_is_refused() {
    let lab = Lab::new();
    let scenario = lab.scenario(LOAD);
    lab.command(&["parity", &scenario, "--provider", "sim"])
        .failure(2, &["simulated already", "help:"]);
    lab.command(&["parity", &scenario, "--within", "0.5"])
        .failure(2, &["--within 0.5", "help:"]);
    lab.command(&["parity", &scenario, "--real", "nobody"])
        .failure(2, &["nobody"]);
}
