//! How runs end before their time: Ctrl-C, a killed lab, a full disk quota, a node that is gone. Nobody stays behind.

use super::support::{lab::Lab, process::is_alive, wait::until_true};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;

const LONG: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"10m\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\n";
const SHORT: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"1s\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\n";

#[test]
fn control_c_stops_cleanly_and_leaves_a_partial_report() {
    let lab = Lab::new();
    let running = lab.start_run(&lab.scenario(LONG));
    let run = lab.run_of(&running);
    run.wait_for_step("measure", &running);
    running.signal(Signal::SIGINT);
    let ended = running.wait();
    assert_eq!(ended.signal(), None, "{}", ended.stderr);
    assert!(ended.stderr.contains("ending the run cleanly"), "{}", ended.stderr);
    run.wait_until_nobody_is_left();
    let result = run.result();
    assert_eq!(result["record"]["partial"], true);
    // What was measured until then is checked like any other run.
    run.assert_correct();
    let ordered = |line: &serde_json::Value| line["kind"] != "node_ended" || line["ordered"] == true;
    assert!(run.journal().iter().all(ordered), "a node had to end by itself");
    for report in ["report.html", "report.md"] {
        let text = run.text(report).to_lowercase();
        assert!(
            text.contains("partial") || text.contains("interrupted"),
            "{report} does not say so"
        );
    }
}

#[test]
fn a_killed_lab_leaves_nobody_behind_and_the_next_run_starts() {
    let lab = Lab::new();
    let running = lab.start_run(&lab.scenario(LONG));
    let run = lab.run_of(&running);
    run.wait_for_step("measure", &running);
    assert_eq!(run.started().len(), 5);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().signal(), Some(Signal::SIGKILL as i32));
    run.wait_until_nobody_is_left();
    until_true("the ports to be free", || {
        (0..5).all(|node| TcpListener::bind((lab.subnet.address(node), 7000)).is_ok())
    });
    let id = run.folder.file_name().unwrap().to_str().unwrap().to_owned();
    let next = lab.start_run(&lab.scenario(SHORT)).wait();
    assert!(
        next.stderr.contains("a lab died") && next.stderr.contains(&id),
        "{}",
        next.stderr
    );
    lab.latest().assert_correct();
}

#[test]
fn a_full_quota_ends_the_run_with_what_it_has() {
    let lab = Lab::new();
    let quota = "[budget]\ndisk = \"128MiB\"\n";
    let running = lab.start_run(&lab.scenario(&format!("{}{quota}", LONG.replace("10m", "3m"))));
    let run = lab.run_of(&running);
    run.wait_for_step("measure", &running);
    // A plan that would fill the quota by itself is refused, so somebody else does.
    std::fs::write(run.folder.join("ballast"), vec![1; 200 << 20]).unwrap();
    running.wait().failure(1, &["disk quota reached", "budget.disk"]);
    run.wait_until_nobody_is_left();
    let result = run.result();
    assert_eq!(result["record"]["partial"], true);
    assert!(
        result["record"]["failure"]
            .as_str()
            .unwrap()
            .contains("disk quota reached")
    );
    run.assert_correct();
}

#[test]
fn a_node_that_is_killed_by_somebody_ends_the_run() {
    let lab = Lab::new();
    let running = lab.start_run(&lab.scenario(LONG));
    let run = lab.run_of(&running);
    run.wait_for_step("measure", &running);
    let (_, pid) = run.started().into_iter().find(|(node, _)| node == "val-2").unwrap();
    assert!(is_alive(pid));
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    running.wait().failure(1, &["val-2", "killed by signal 9"]);
    run.wait_until_nobody_is_left();
    assert_eq!(run.result()["record"]["partial"], true);
}
