//! Nodes that come and go: whoever returns catches up, and all agree.

use super::support::lab::Lab;

const PHASES: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"9s\"\ncooldown = \"1s\"\ndrain = \"20s\"\n\
    [[load]]\nrate = 40\nmix = { opaque = 0.5, put = 0.5 }\nsize = 128\ntarget = \"val-0\"\n";
/// A follower that starts late, leaves by itself and returns; validators that are killed, one of which has to wait.
const ROWS: &str = "[[churn]]\nleave = \"stop\"\ntrace = \"away.csv\"\n\
    [[churn]]\nrow = [{ node = \"val-3\", at = \"3s\", until = \"5s\" }, { node = \"val-2\", at = \"4s\", until = \"6s\" }]\n";
const TRACE: &str = "node,leave,return\nfull-0,0s,2s\nfull-0,5s,7s\n";

/// What both providers owe of the same churn.
fn assert_came_and_went(lab: &Lab) {
    let run = lab.latest();
    run.assert_correct();
    let result = run.result();
    let churn = &result["summary"]["churn"];
    assert_eq!(
        (&churn["departures"], &churn["returns"]),
        (&3.into(), &3.into()),
        "{churn:#}"
    );
    assert_eq!(
        (&churn["late_starts"], &churn["put_off"]),
        (&1.into(), &1.into()),
        "{churn:#}"
    );
    assert_eq!(churn["caught_up"], 4, "{:#}", result["record"]["churn"]);
    let invariants = result["record"]["invariants"].as_array().unwrap();
    assert!(invariants.iter().any(|invariant| invariant["name"] == "returns"));
    assert!(run.text("report.html").contains("Nodes that are up"));
}

#[test]
fn nodes_that_come_and_go_catch_up_and_all_agree() {
    let lab = Lab::new();
    lab.write("away.csv", TRACE);
    let scenario = lab.scenario(&format!("{PHASES}{ROWS}"));
    let ended = lab.start_run(&scenario).wait();
    assert_came_and_went(&lab);
    let started = lab.latest().started();
    let starts = |name: &str| started.iter().filter(|(node, _)| node == name).count();
    assert_eq!(
        (starts("full-0"), starts("val-3"), starts("val-2"), starts("val-0")),
        (2, 2, 2, 1),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_same_churn_in_virtual_time() {
    let lab = Lab::new();
    lab.write("away.csv", TRACE);
    let scenario = lab.scenario(&format!("{PHASES}{ROWS}"));
    lab.command(&["run", &scenario, "--provider", "sim"]);
    assert_came_and_went(&lab);
}

#[test]
fn a_trace_that_is_wrong_is_refused_with_its_line() {
    let lab = Lab::new();
    lab.write("away.csv", "full-0,0s,2s\nfull-0,later,3s\n");
    let scenario = lab.scenario(&format!("{PHASES}{ROWS}"));
    lab.command(&["plan", &scenario])
        .failure(2, &["error[T060]", "`away.csv`: line 2"]);
}
