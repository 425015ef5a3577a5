//! Control groups of nodes: one for each in every hierarchy, gone with the node whichever way that ends.

use crate::support::{Build, Host, Lab, STUBBORN, runs, until};
use regatta_fleet::{HelloAnswer, OrderBody, Signal};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// A node that leaves a process behind, which asks for no signal and has a session of its own. What a node starts in the
/// moment before it is in its group would not be found there, so that it waits for that.
const LITTERING: &str = "#!/bin/sh\nuntil grep -q cpu:.*/regatta- /proc/$$/cgroup || grep -q 0::.*/regatta- /proc/$$/cgroup; do :; done\nsetsid sleep 1000 >/dev/null 2>&1 </dev/null &\necho ready $!\nread line\n";
/// Folders of control groups are this deep at most.
const DEPTH_MAX: u32 = 8;

/// Whether nodes get groups on this machine; where not, the agent says why.
pub fn has_groups(answer: &HelloAnswer) -> bool {
    let words = &answer.facts.groups;
    if words.starts_with("nodes have their own: ") {
        return true;
    }
    assert!(words.contains("a session of their own and no group: "), "{words}");
    // A machine without control groups has nothing to test; one that has them and refuses them has.
    skip(words, !words.contains("control group `"));
    false
}

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// Says that a test is skipped and why, past the harness, which shows nothing of tests that pass, and counts it. What is not
/// `excused` is no success where CI is set.
pub fn skip(why: &str, excused: bool) {
    assert!(excused || std::env::var_os("CI").is_none(), "CI must be able to: {why}");
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // In one piece: others print at the same time.
    let line = format!("SKIPPED, {count} of this program so far: {why}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Groups that an agent made and that are there.
pub fn groups_of(agent: u32) -> Vec<PathBuf> {
    fn look(folder: &Path, prefix: &str, depth: u32, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                found.push(entry.path());
            } else if depth < DEPTH_MAX {
                look(&entry.path(), prefix, depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    look(Path::new("/sys/fs/cgroup"), &format!("regatta-{agent}-"), 0, &mut found);
    found
}

/// Processes in some groups, each once.
fn inside(groups: &[PathBuf]) -> Vec<u32> {
    let texts = groups
        .iter()
        .map(|group| fs::read_to_string(group.join("cgroup.procs")).unwrap());
    let mut pids: Vec<u32> = texts
        .flat_map(|text| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Starts a node that leaves something behind: its process, and that one.
fn littered(lab: &mut Lab) -> (u32, u32) {
    let build = Build::of(LITTERING.as_bytes());
    lab.upload(&build);
    let pid = lab.start(&build, &["val-0"])[0].pid;
    let said = lab.announced(1);
    let left = said[0].strip_prefix("ready ").unwrap().parse().unwrap();
    (pid, left)
}

#[test]
fn what_a_node_leaves_behind_ends_with_it_and_its_groups_are_removed() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    if !has_groups(&answer) {
        return;
    }
    let (pid, left) = littered(&mut lab);
    let groups = groups_of(answer.pid);
    assert!(!groups.is_empty(), "{}", answer.facts.groups);
    assert_eq!(inside(&groups), {
        let mut both = [pid, left];
        both.sort_unstable();
        both
    });
    lab.order(OrderBody::Signal {
        nodes: vec!["val-0".parse().unwrap()],
        signal: Signal::Kill,
    });
    until("what it left to end", || (!runs(left)).then_some(()));
    until("its groups to go", || groups_of(answer.pid).is_empty().then_some(()));
}

#[test]
fn the_end_of_the_lease_removes_the_groups_of_its_nodes() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 1500);
    if !has_groups(&answer) {
        return;
    }
    let (pid, left) = littered(&mut lab);
    until("the node and what it left to end", || {
        (!runs(pid) && !runs(left)).then_some(())
    });
    until("its groups to go", || groups_of(answer.pid).is_empty().then_some(()));
}

#[test]
fn the_next_agent_ends_and_removes_what_is_in_the_groups_of_a_killed_one() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    if !has_groups(&answer) {
        return;
    }
    let build = Build::of(STUBBORN.as_bytes());
    lab.upload(&build);
    let stubborn = lab.start(&build, &["val-1"])[0].pid;
    lab.announced(1);
    let (_, left) = littered(&mut lab);
    Command::new("kill")
        .args(["-9", &answer.pid.to_string()])
        .status()
        .unwrap();
    until("the connection ends", || lab.is_over().then_some(()));
    assert!(
        runs(left) && !groups_of(answer.pid).is_empty(),
        "nobody has looked after them yet"
    );
    let (_, again) = host.lab("run-1", 60_000);
    assert!(!again.resumed && !runs(stubborn) && !runs(left));
    assert_eq!(groups_of(answer.pid), Vec::<PathBuf>::new());
    let log = fs::read_to_string(host.root().join("agent.log")).unwrap();
    assert!(log.contains("control groups that earlier agents had left"), "{log}");
}
