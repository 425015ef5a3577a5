//! Memory that runs out: the run ends in order before the kernel ends what it likes, says who held how much, and is reported.

use super::support::{
    lab::{Lab, Run},
    namespaces,
    process::{Ended, Running, mentioning},
    skip::skip,
    wait::until,
};
use regatta_process::cgroup::{Begun, CgroupError, Controller, MemoryGroup, Place};
use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

const PHASES: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"5m\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\n";
/// More than any machine has: the first look finds it short.
const FLOOR: &str = "[budget]\nmemory_floor = \"1024TiB\"\n";

/// Checks that the run says why it ended and that nothing of it is left.
fn assert_ended_for_memory(lab: &Lab, run: &Run, ended: &Ended) {
    ended.failure(
        1,
        &[
            "memory is nearly gone: ",
            " are to stay",
            "help: fewer nodes, a lower rate",
        ],
    );
    let left = mentioning(&lab.path(""));
    assert!(left.is_empty(), "{left:?}");
    run.wait_until_nobody_is_left();
    let record = &run.result()["record"];
    assert_eq!(record["partial"], true);
    let failure = record["failure"].as_str().unwrap();
    assert!(failure.starts_with("memory is nearly gone"), "{failure}");
    let events = record["events"].as_array().unwrap();
    let told = events.iter().any(|event| {
        let text = event["text"].as_str().unwrap();
        ["group `val`: ", " in 4 processes", "most `val-", "this program: "]
            .iter()
            .all(|part| text.contains(part))
    });
    assert!(told, "the events say who held how much: {events:#?}");
    for report in ["report.html", "report.md"] {
        assert!(run.text(report).contains("memory is nearly gone"), "{report}");
    }
}

#[test]
fn a_machine_without_the_memory_that_is_to_stay_ends_a_run_while_it_starts() {
    let lab = Lab::new();
    let scenario = lab.scenario(&format!("{PHASES}{FLOOR}"));
    let running = lab.start_run(&scenario);
    let run = lab.run_of(&running);
    let ended = running.wait();
    assert!(
        ended.stderr.contains("a run ends when less than"),
        "it was warned before: {}",
        ended.stderr
    );
    ended.failure(1, &["memory is nearly gone: the machine has "]);
    let left = mentioning(&lab.path(""));
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(run.result()["record"]["partial"], true);
    assert!(run.text("report.md").contains("memory is nearly gone"));
}

/// A group with 1 GiB for the lab and all that it starts; none where this user may make none.
fn group(what: &str) -> Option<MemoryGroup> {
    let place = match Place::find(Controller::Memory) {
        Ok(place) => place,
        Err(error) => {
            assert!(error.to_string().contains("help:"), "{error}");
            skip(&error.to_string(), matches!(error, CgroupError::None(_)));
            return None;
        }
    };
    let mut group = MemoryGroup::make(&place, what).unwrap();
    assert_eq!(group.limit(1 << 30).unwrap(), Begun::Holds);
    Some(group)
}

/// Has somebody in `group` write 32 MiB to a file in memory, which the group is charged for.
fn take(group: &MemoryGroup, file: &tempfile::NamedTempFile) {
    let mut writer = Command::new("sh")
        .args(["-c", "read line; head -c 33554432 /dev/zero >> \"$0\""])
        .arg(file.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    group.enter(writer.id()).unwrap();
    writer.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(writer.wait().unwrap().success());
}

/// Runs `scenario` in a group of its own, and fills the group from the measurement on until the run ends.
fn starve(lab: &Lab, scenario: &str, group: &MemoryGroup) -> (Run, Ended) {
    let mut running: Running = lab.start_run(scenario);
    group.enter(running.pid()).unwrap();
    let run = lab.run_of(&running);
    run.wait_for_step("measure", &running);
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    until("the run to end", || {
        if running.has_ended() {
            return Ok(());
        }
        // With less than a step left the kernel would end somebody: the run has to be about to end by now.
        if fs::metadata(file.path()).unwrap().len() <= 896 << 20 {
            take(group, &file);
        }
        Err(running.stderr())
    });
    (run, running.wait())
}

#[test]
fn a_run_whose_control_group_fills_up_ends_in_order_and_is_reported() {
    let Some(group) = group("memory-run") else { return };
    let lab = Lab::new();
    let (run, ended) = starve(&lab, &lab.scenario(PHASES), &group);
    assert!(!group.was_starved(), "the kernel ended nobody");
    assert_ended_for_memory(&lab, &run, &ended);
    assert!(ended.stderr.contains("control group /"), "{}", ended.stderr);
    let ordered = |line: &serde_json::Value| line["kind"] != "node_ended" || line["ordered"] == true;
    assert!(run.journal().iter().all(ordered), "a node had to end by itself");
    // What was measured until then is in the report.
    let record = &run.result()["record"];
    assert!(
        record["accounting"]["intended"].as_u64().unwrap() > 0,
        "{:#}",
        record["accounting"]
    );
    let samples =
        |process: &serde_json::Value| process["samples"].as_array().is_some_and(|samples| !samples.is_empty());
    assert!(
        record["processes"].as_array().unwrap().iter().all(samples),
        "each node's memory was sampled"
    );
}

#[test]
fn a_run_in_namespaces_ends_in_order_too() {
    let lab = Lab::new();
    if !namespaces::allowed(&lab) {
        return;
    }
    let Some(group) = group("memory-netns") else { return };
    let scenario = lab.scenario(&format!("[provider]\nkind = \"netns\"\n{PHASES}"));
    let (run, ended) = starve(&lab, &scenario, &group);
    assert!(!group.was_starved(), "the kernel ended nobody");
    assert_ended_for_memory(&lab, &run, &ended);
}

#[test]
fn nodes_are_offered_to_the_kernel_before_their_lab() {
    let lab = Lab::new();
    let running = lab.start_run(&lab.scenario(PHASES));
    let run = lab.run_of(&running);
    run.wait_for_step("measure", &running);
    let score = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let own = score(running.pid());
    for (node, pid) in run.started() {
        assert!(
            score(pid) >= (own.max(0) + 500).min(1000),
            "{node}: {} and the lab {own}",
            score(pid)
        );
    }
}

#[test]
fn a_cluster_that_stays_does_not_where_memory_is_short() {
    let mut lab = Lab::new();
    let scenario = lab.scenario(FLOOR);
    let up = lab.up(&scenario);
    up.failure(1, &["memory is nearly gone: the machine has "]);
    let left = mentioning(&lab.path(""));
    assert!(left.is_empty(), "{left:?}");
    let journal = lab.latest().journal();
    let end = journal.iter().find(|line| line["kind"] == "lab_ended").unwrap();
    assert!(
        end["sentence"].as_str().unwrap().starts_with("memory is nearly gone"),
        "{end}"
    );
}
