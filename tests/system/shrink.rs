//! A failing scenario of twenty nodes and six faults, one of which is to blame, becomes a handful of nodes and that fault.

use super::support::lab::Lab;
use serde_json::Value;

const TWENTY: &str = r#"# Which of these faults stalls the network?
schema = 1
name = "twenty"
question = "Which of these faults stalls the network?"
[provider]
kind = "sim"
[[group]]
name = "val"
count = 10
role = "validator"
[[group]]
name = "full"
count = 10
role = "full"
[peering]
core = { kind = "full_mesh", of = "val" }
edge = { kind = "bipartite", from = "full", to = "val", degree = 2 }
[[consensus]]
id = "main"
block_interval = "200ms"
empty_blocks = true
[phases]
warmup = "500ms"
measure = "8s"
cooldown = "500ms"
[[load]]
rate = 10
target = "val"
[[fault]]
at = "1s"
for = "500ms"
kind = "crash"
nodes = ["full-1", "full-2"]
[[fault]]
at = "1500ms"
for = "500ms"
kind = "pause"
nodes = ["val-3"]
[[fault]]
at = "2500ms"
for = "3s"
kind = "partition"
sets = [["val-0", "val-1", "val-2", "val-4", "val-5"], ["val-6", "val-7", "val-8", "val-9"]]
breaks_quorum = true
[[fault]]
at = "3s"
for = "1s"
kind = "crash"
nodes = ["full-7"]
[[fault]]
at = "6s"
for = "500ms"
kind = "pause"
nodes = ["full-4", "full-5"]
[[fault]]
at = "7s"
for = "500ms"
kind = "crash"
nodes = ["full-0"]
[slo]
stall = "< 2s"
agreement = "always"
"#;

#[test]
fn twenty_nodes_and_six_faults_become_a_few_nodes_and_one_fault() {
    let lab = Lab::new();
    let scenario = lab.write("twenty.toml", TWENTY);
    let small = lab.path("small.toml");
    let ended = lab.command(&["shrink", &scenario, "--out", small.to_str().unwrap(), "--json"]);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&told["exit_code"], &told["check"]), (&3.into(), &"stall".into()));
    let part = |name: &str| {
        let parts = told["parts"].as_array().unwrap();
        let part = parts.iter().find(|part| part["part"] == name).unwrap();
        (part["before"].as_u64().unwrap(), part["after"].as_u64().unwrap())
    };
    assert_eq!(part("faults"), (6, 1), "{}", ended.stderr);
    assert!(part("nodes").0 == 20 && part("nodes").1 <= 5, "{told:#}");
    assert!(told["complete"] == true, "{}", ended.stderr);
    let text = std::fs::read_to_string(&small).unwrap();
    assert!(text.contains("kind = \"partition\""), "{text}");
    // The file alone shows the failure again, and nothing of the search is left.
    let again = lab.command(&["run", small.to_str().unwrap()]);
    assert_eq!(again.code(), Some(3), "{}", again.stderr);
    let left = std::fs::read_dir(lab.runs())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        left.into_iter()
            .all(|name| !name.to_string_lossy().starts_with(".shrinking"))
    );
    let confirmed = lab.latest().result();
    let missed = confirmed["record"]["objectives"].as_array().unwrap();
    assert!(missed.iter().any(|one| one["metric"] == "stall" && one["met"] == false));
}

/// Real nodes stall when nobody has a quorum: the run is made smaller in virtual time, and real nodes play it again.
#[test]
fn a_failure_of_real_nodes_is_made_smaller_and_played_by_them_again() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "[phases]\nwarmup = \"1s\"\nmeasure = \"9s\"\ncooldown = \"500ms\"\n\
         [[load]]\nrate = 20\ntarget = \"val-0\"\n\
         [[fault]]\nat = \"2s\"\nfor = \"5s\"\nkind = \"partition\"\nbreaks_quorum = true\n\
         sets = [[\"val-0\", \"val-1\"], [\"val-2\", \"val-3\"]]\n\
         [[fault]]\nat = \"8s\"\nfor = \"500ms\"\nkind = \"crash\"\nnodes = [\"full-0\"]\n\
         [slo]\nstall = \"< 3s\"\n",
    );
    let first = lab.start_run(&scenario).wait();
    // On a machine that is too busy to measure anything the verdict is another one, and nothing is to be shown here.
    if first.code() == Some(6) {
        eprintln!("SKIPPED: the machine is too busy for a valid run: {}", first.stderr);
        return;
    }
    assert_eq!(first.code(), Some(3), "{}", first.stderr);
    let small = lab.path("small.toml");
    let node = super::support::programs::node().to_str().unwrap();
    let ended = lab.command(&[
        "shrink",
        "latest",
        "--out",
        small.to_str().unwrap(),
        "--binary",
        node,
        "--confirm",
    ]);
    assert!(
        ended.stderr.contains("it fails: exit code 3, stall"),
        "{}",
        ended.stderr
    );
    let faults = ended.stdout.lines().find(|line| line.starts_with("faults"));
    let faults: Vec<&str> = faults.unwrap_or_default().split_whitespace().collect();
    assert_eq!(faults, ["faults", "2", "1"], "{}", ended.stdout);
    let played = ended.stderr.lines().last().unwrap_or_default().to_owned();
    match ended.code() {
        Some(0) => assert!(played.starts_with("confirmed on local: MISSED"), "{}", ended.stderr),
        // The busy machine again, or a failure so small that real clocks stay just below its bound: said, with its code.
        code => assert!(
            code == Some(5) && played.starts_with("not confirmed on local: "),
            "{}",
            ended.stderr
        ),
    }
}

#[test]
fn a_run_that_passed_has_nothing_to_shrink() {
    let lab = Lab::new();
    let scenario =
        lab.scenario("[provider]\nkind = \"sim\"\n[phases]\nmeasure = \"2s\"\nwarmup = \"0s\"\n[[load]]\nrate = 20\n");
    lab.command(&["run", &scenario]);
    lab.command(&["shrink", "latest"])
        .failure(2, &["did not fail", "help: "]);
    // As a scenario it is played first, and does not fail either.
    lab.command(&["shrink", &scenario])
        .failure(5, &["does not fail in virtual time"]);
}
