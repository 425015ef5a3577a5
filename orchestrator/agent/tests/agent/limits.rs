//! Limits of nodes, by the counters and files of their control groups: they hold across restarts, and end when they are
//! lifted, with the run, and not before.

use crate::{
    groups::{groups_of, has_groups, skip},
    support::{Build, Host, Lab, OBEDIENT, assert_refused, node, place, runs, until},
};
use regatta_fleet::{
    Answer, HelloAnswer, Limit, NodeEvent, NodeState, OrderBody, Resource, Seen, Signal, Started, Starved, Throttled,
    What,
};
use std::{fs, path::PathBuf, process::Command};

/// A node that does nothing but work.
const BUSY: &str = "#!/bin/sh\necho ready\nwhile :; do :; done\n";
/// One that takes 64 MiB once it finds a file.
const HUNGRY: &str = "#!/bin/sh\necho ready\nuntil [ -e data/val-0/eat ]; do sleep 0.01; done\n\
     exec dd if=/dev/zero of=/dev/null bs=64M count=1000000\n";
/// One that writes down, when it is to end, what a file of its group says.
const WITNESS: &str = "#!/bin/sh\ntrap '' TERM\necho ready\nread line\n\
     cat \"$(cat config/val-0/file)\" >data/val-0/said\n";

fn cpu(share_ppm: u32) -> OrderBody {
    OrderBody::Limit {
        node: node("val-0"),
        limit: Limit::Cpu { share_ppm },
    }
}

fn memory(mib: u64) -> OrderBody {
    OrderBody::Limit {
        node: node("val-0"),
        limit: Limit::Memory { bytes: mib << 20 },
    }
}

fn lift(of: Resource) -> OrderBody {
    OrderBody::Lift {
        node: node("val-0"),
        of,
    }
}

fn throttled(lab: &mut Lab) -> Throttled {
    match lab.order(lift(Resource::Cpu)) {
        Answer::Lifted(Seen::Cpu(throttled)) => throttled,
        other => panic!("{other:?}"),
    }
}

fn starved(lab: &mut Lab) -> Starved {
    match lab.order(lift(Resource::Memory)) {
        Answer::Lifted(Seen::Memory(starved)) => starved,
        other => panic!("{other:?}"),
    }
}

/// Whether nodes here can be limited so; a hierarchy without that controller is one that the machine does not have.
fn can_limit(answer: &HelloAnswer, resource: Resource) -> bool {
    let can = has_groups(answer) && answer.facts.limits.contains(&resource);
    if !can && answer.facts.groups.starts_with("nodes have their own: ") {
        skip(&format!("nodes have no limits of {resource} here"), true);
    }
    can
}

/// A host whose nodes can be limited so, a connection and a node; nothing where the host says that they cannot.
fn ready(resource: Resource, script: &str) -> Option<(Host, Lab, HelloAnswer, Build, Started)> {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    if !can_limit(&answer, resource) {
        return None;
    }
    let build = Build::of(script.as_bytes());
    lab.upload(&build);
    let started = lab.start(&build, &["val-0"]).remove(0);
    lab.announced(1);
    Some((host, lab, answer, build, started))
}

/// The file of a process's groups that one of `names` names: it is called otherwise in each version.
fn file(agent: u32, pid: u32, names: [&str; 2]) -> PathBuf {
    let groups = groups_of(agent);
    let of_it = |group: &&PathBuf| group.display().to_string().ends_with(&format!("-{pid}"));
    let files = groups.iter().filter(of_it);
    let mut files = files.flat_map(|group| names.map(|name| group.join(name)));
    files.find(|file| file.exists()).expect("the group has the file")
}

fn quota(agent: u32, pid: u32) -> String {
    let text = fs::read_to_string(file(agent, pid, ["cpu.cfs_quota_us", "cpu.max"])).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

fn is_free(quota: &str) -> bool {
    ["-1", "max"].contains(&quota)
}

/// How often the kernel has held back what is in a process's group.
fn held_back(agent: u32, pid: u32) -> u64 {
    let text = fs::read_to_string(file(agent, pid, ["cpu.stat", "cpu.stat"])).unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    count.unwrap().parse().unwrap()
}

#[test]
fn a_node_has_less_time_until_that_is_lifted_also_after_a_restart() {
    let Some((_host, mut lab, answer, build, first)) = ready(Resource::Cpu, BUSY) else {
        return;
    };
    assert!(is_free(&quota(answer.pid, first.pid)));
    assert_eq!(lab.order(cpu(20_000)), Answer::Limited { held_more: false });
    assert_eq!(quota(answer.pid, first.pid), "2000");
    until("the kernel to hold it back", || {
        (held_back(answer.pid, first.pid) > 2).then_some(())
    });
    // An answer may be lost, and the order is given again: its counters go on.
    assert_eq!(lab.order(cpu(20_000)), Answer::Limited { held_more: false });
    lab.order(OrderBody::Signal {
        nodes: vec![node("val-0")],
        signal: Signal::Kill,
    });
    let second = lab.start(&build, &["val-0"]).remove(0);
    assert_eq!(quota(answer.pid, second.pid), "2000", "the limit is the node's");
    until("the kernel to hold back the next one", || {
        (held_back(answer.pid, second.pid) > 2).then_some(())
    });
    let seen = throttled(&mut lab);
    assert!(
        seen.throttled > 4 && seen.periods >= seen.throttled,
        "both processes count: {seen:?}"
    );
    assert!(is_free(&quota(answer.pid, second.pid)));
    assert_eq!(throttled(&mut lab), seen, "the answer of the last time");
    let after = held_back(answer.pid, second.pid);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(held_back(answer.pid, second.pid), after, "it is held back no more");
    lab.order(OrderBody::Signal {
        nodes: vec![node("val-0")],
        signal: Signal::Kill,
    });
    let third = lab.start(&build, &["val-0"]).remove(0);
    assert!(is_free(&quota(answer.pid, third.pid)), "nothing is left of it");
}

#[test]
fn a_node_that_needs_more_memory_than_it_is_left_is_killed_and_the_lab_hears_why() {
    let Some((_host, mut lab, _, build, first)) = ready(Resource::Memory, HUNGRY) else {
        return;
    };
    assert_eq!(lab.order(memory(16)), Answer::Limited { held_more: false });
    lab.order(place("data/val-0/eat", "now"));
    let ended = |event: &NodeEvent| match event {
        NodeEvent::Ended { pid, exit, .. } => Some((*pid, exit.clone())),
        _ => None,
    };
    let (_, (pid, exit)) = lab.event(ended);
    assert!(
        pid == first.pid && exit.signal == Some(9) && exit.starved && !exit.ordered,
        "{exit:?}"
    );
    let Answer::Status { runs, .. } = lab.order(OrderBody::Status) else {
        panic!("no status")
    };
    let state = &runs[0].nodes[0].state;
    assert!(matches!(state, NodeState::Ended(exit) if exit.starved), "{state:?}");
    // Started again within the limit it fares no better.
    lab.start(&build, &["val-0"]);
    let (_, (_, exit)) = lab.event(ended);
    assert!(exit.starved, "{exit:?}");
    let seen = starved(&mut lab);
    assert!(
        seen.killed && seen.hits > 0 && seen.peak_bytes <= 17 << 20 && !seen.held_more,
        "{seen:?}"
    );
    assert_eq!(starved(&mut lab), seen, "the answer of the last time");
    // Without the limit it has what it needs, and who kills it is not the kernel.
    let third = lab.start(&build, &["val-0"]).remove(0);
    until("it to take its memory", || {
        let text = fs::read_to_string(format!("/proc/{}/status", third.pid)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        (kib > 60 << 10).then_some(())
    });
    lab.order(OrderBody::Signal {
        nodes: vec![node("val-0")],
        signal: Signal::Kill,
    });
    let (_, (_, exit)) = lab.event(ended);
    assert!(!exit.starved && exit.ordered, "{exit:?}");
}

#[test]
fn a_node_that_holds_more_than_it_is_left_is_told_of() {
    let Some((_host, mut lab, answer, _, first)) = ready(Resource::Memory, HUNGRY) else {
        return;
    };
    lab.order(place("data/val-0/eat", "now"));
    let used = ["memory.usage_in_bytes", "memory.current"];
    until("it to take its memory", || {
        let text = fs::read_to_string(file(answer.pid, first.pid, used)).unwrap();
        (text.trim().parse::<u64>().unwrap() > 60 << 20).then_some(())
    });
    for _ in 0..2 {
        match lab.order(memory(8)) {
            Answer::Limited { held_more: true } => assert!(runs(first.pid), "the lab ends it"),
            // Version 2 does not ask.
            Answer::Limited { held_more: false } => until("it ends", || (!runs(first.pid)).then_some(())),
            other => panic!("{other:?}"),
        }
    }
    let seen = starved(&mut lab);
    assert!(seen.held_more || seen.killed, "{seen:?}");
}

#[test]
fn nodes_end_without_limits_when_the_lease_does() {
    let Some((host, mut lab, answer, _, first)) = ready(Resource::Cpu, WITNESS) else {
        return;
    };
    let quota = file(answer.pid, first.pid, ["cpu.cfs_quota_us", "cpu.max"]);
    lab.order(place("config/val-0/file", quota.to_str().unwrap()));
    lab.order(place("data/val-0/began", "now"));
    assert_eq!(lab.order(cpu(500_000)), Answer::Limited { held_more: false });
    assert_eq!(
        fs::read_to_string(&quota).unwrap().split_whitespace().next(),
        Some("50000")
    );
    lab.order(OrderBody::Renew { lease_ms: 1000 });
    drop(lab);
    let said = host.root().join("runs/run-1/data/val-0/said");
    let said = until("the node to end", || {
        fs::read_to_string(&said).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(is_free(said.split_whitespace().next().unwrap()), "{said:?}");
    until("its groups to go", || groups_of(answer.pid).is_empty().then_some(()));
}

#[test]
fn limits_that_make_no_sense_are_refused_and_a_node_is_limited_before_it_starts() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    assert_refused(&lab.refused(cpu(0)), What::Order, "at least 10000");
    assert_refused(&lab.refused(memory(0)), What::Order, "at least 1048576");
    if !can_limit(&answer, Resource::Cpu) {
        return;
    }
    assert_eq!(lab.order(cpu(100_000)), Answer::Limited { held_more: false });
    let build = Build::of(BUSY.as_bytes());
    lab.upload(&build);
    let pid = lab.start(&build, &["val-0"])[0].pid;
    assert_eq!(quota(answer.pid, pid), "10000");
    lab.order(OrderBody::Stop { grace_ms: 100 });
    until("its groups to go", || groups_of(answer.pid).is_empty().then_some(()));
}

#[test]
fn a_host_without_control_groups_says_so_and_limits_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can hide the control groups of this machine", false);
    }
    let host = Host::new();
    let plain = host.command();
    let mut hidden = Command::new("unshare");
    hidden
        .args([
            "--mount",
            "sh",
            "-c",
            "umount --lazy /sys/fs/cgroup && exec \"$@\"",
            "sh",
        ])
        .arg(plain.get_program())
        .args(plain.get_args());
    let mut lab = Lab::over(hidden);
    let answer = match lab.order(crate::support::hello(Some(("run-1", 60_000, 0)))) {
        Answer::Hello(hello) => hello,
        other => panic!("{other:?}"),
    };
    assert!(answer.facts.limits.is_empty(), "{:?}", answer.facts);
    assert!(
        answer.facts.groups.contains("and no group: "),
        "{}",
        answer.facts.groups
    );
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    lab.start(&build, &["val-0"]);
    for (order, what) in [(cpu(20_000), "time on processors"), (memory(64), "memory")] {
        let refusal = lab.refused(order);
        assert_refused(&refusal, What::System, &format!("no control groups that limit {what}"));
        assert!(refusal.message.contains("help: "), "{refusal}");
    }
}
