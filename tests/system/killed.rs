//! The lab killed at every step of a run: no process, namespace, mount or port of it stays, and the next run starts.

use super::support::{lab::Lab, namespaces, process::mentioning, wait::until};
use nix::sys::signal::Signal;
use std::{fs, net::TcpListener};

const PHASES: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"1s\"\ncooldown = \"1s\"\n[[load]]\nrate = 20\n";

/// Every step of a run with a load and no fault, in their order; after the last the lab has nothing left to lose.
const STEPS: [&str; 10] = [
    "seal",
    "spawn",
    "wait_ready",
    "wait_links",
    "warmup",
    "measure",
    "cooldown",
    "drain",
    "collect",
    "stop",
];

/// Mounts that name the folder of the lab, or hold a network namespace.
fn mounts(lab: &Lab) -> Vec<String> {
    let folder = lab.path("");
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_ours = |line: &&str| line.contains(folder.to_str().unwrap()) || line.contains(" - nsfs ");
    text.lines().filter(is_ours).map(str::to_owned).collect()
}

/// Kills the lab as soon as its journal says that a step has begun, for each of them.
fn kill_at_each_step(lab: &Lab, scenario: &str) {
    let before = mounts(lab);
    for step in STEPS {
        let running = lab.start_run(scenario);
        let run = lab.run_of(&running);
        run.wait_for_step(step, &running);
        if step == "measure" {
            let there = mentioning(&lab.path(""));
            assert!(there.len() >= 6, "the lab and its nodes are found: {there:?}");
        }
        running.signal(Signal::SIGKILL);
        assert_eq!(running.wait().signal(), Some(Signal::SIGKILL as i32), "at {step}");
        until(&format!("nobody to be left of a lab killed at {step}"), || {
            let left = mentioning(&lab.path(""));
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
        assert_eq!(mounts(lab), before, "at {step}");
    }
    let last = lab.start_run(scenario).wait();
    assert!(last.stderr.contains("a lab died"), "{}", last.stderr);
    lab.latest().assert_correct();
}

#[test]
fn a_lab_on_loopback_killed_at_any_step_leaves_nothing() {
    let lab = Lab::new();
    kill_at_each_step(&lab, &lab.scenario(PHASES));
    for node in 0..5 {
        drop(TcpListener::bind((lab.subnet.address(node), 7000)).unwrap());
    }
}

#[test]
fn a_lab_in_namespaces_killed_at_any_step_leaves_nothing() {
    let lab = Lab::new();
    if !namespaces::allowed(&lab) {
        return;
    }
    let scenario = lab.scenario(&format!("[provider]\nkind = \"netns\"\n{PHASES}"));
    kill_at_each_step(&lab, &scenario);
}
