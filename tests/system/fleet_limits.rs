//! Less time and memory for nodes on hosts: shown by the counters of their control groups while it lasts, and gone after it.

use super::{
    fleet_runs::{Fleet, assert_went_well, noted},
    support::{lab::Run, process::Running, skip::skip, sshd::SshServers, wait::until},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders of control groups are this deep at most.
const DEPTH_MAX: u32 = 8;
/// What hides the control groups of this machine from whatever a client starts.
const WITHOUT_GROUPS: &str =
    "unshare --mount sh -c 'umount --lazy /sys/fs/cgroup && exec sh -c \"$SSH_ORIGINAL_COMMAND\"'";

/// Files of the control groups of a process that its agent has made, in one of the versions.
struct Groups {
    node: String,
    pid: u32,
}

impl Groups {
    fn file(&self, names: [&str; 2]) -> Option<PathBuf> {
        fn look(folder: &Path, end: &str, depth: u32, found: &mut Vec<PathBuf>) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("regatta-") && name.ends_with(end) {
                    found.push(entry.path());
                } else if depth < DEPTH_MAX {
                    look(&entry.path(), end, depth + 1, found);
                }
            }
        }
        let mut found = Vec::new();
        let end = format!("-{}-{}", self.node, self.pid);
        look(Path::new("/sys/fs/cgroup"), &end, 0, &mut found);
        let mut files = found.iter().flat_map(|group| names.map(|name| group.join(name)));
        files.find(|file| file.exists())
    }

    fn word(&self, names: [&str; 2]) -> String {
        let text = self.file(names).and_then(|file| fs::read_to_string(file).ok());
        let text = text.unwrap_or_default();
        text.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Microseconds of each period; `-1` or `max` without a limit.
    fn quota(&self) -> String {
        self.word(["cpu.cfs_quota_us", "cpu.max"])
    }

    fn throttled(&self) -> u64 {
        let text = self.file(["cpu.stat", "cpu.stat"]);
        let text = text.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Bytes that it may have, when that is limited; a limit that nobody reaches is none.
    fn memory(&self) -> Option<u64> {
        let bytes = self.word(["memory.limit_in_bytes", "memory.max"]);
        bytes.parse().ok().filter(|bytes| *bytes < 1 << 40)
    }
}

fn groups_of(run: &Run, node: &str) -> Groups {
    let started = run.started();
    let (node, pid) = started.iter().rev().find(|(name, _)| name == node).unwrap().clone();
    Groups { node, pid }
}

fn wait_for_fault(run: &Run, kind: &str, fault: u64, lab: &Running) {
    until(&format!("{kind} {fault}"), || {
        let told = |line: &Value| line["kind"] == kind && line["fault"] == fault;
        let found = run.journal().iter().any(told);
        if found { Ok(()) } else { Err(lab.stderr()) }
    });
}

/// Whether a host of this machine has said that it limits nothing, which ends the run before a program is sent.
fn is_refused(fleet: &Fleet, lab: &Running, run: &Run) -> bool {
    let stderr = until("the programs or a refusal", || {
        let stderr = lab.stderr();
        let is_known = stderr.contains("cannot limit") || noted(run, "deployed") == usize::from(fleet.servers.count());
        if is_known { Ok(stderr) } else { Err(stderr) }
    });
    let refused = stderr.contains("cannot limit");
    if refused {
        assert!(stderr.contains("help: log in as root"), "{stderr}");
        skip(&stderr, !stderr.contains("control group `"));
    }
    refused
}

#[test]
fn nodes_on_hosts_have_less_time_and_memory_and_then_have_it_back() {
    let more = "[phases]\nwarmup = \"1s\"\nmeasure = \"24s\"\ncooldown = \"1s\"\ndrain = \"30s\"\n\
         [[load]]\nrate = 20\nsize = 128\ntarget = \"full\"\n\
         [[fault]]\nat = \"1s\"\nfor = \"5s\"\nkind = \"cpu\"\nshare = \"2%\"\nnodes = [\"val-0\"]\n\
         [[fault]]\nat = \"8s\"\nfor = \"4s\"\nkind = \"memory\"\nmemory = \"700MiB\"\nnodes = [\"val-1\"]\n\
         [[fault]]\nat = \"14s\"\nfor = \"3s\"\nkind = \"memory\"\nmemory = \"1MiB\"\nnodes = [\"val-2\"]\n";
    let fleet = Fleet::new(SshServers::start(5), 0, more);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    if is_refused(&fleet, &lab, &run) {
        return;
    }
    wait_for_fault(&run, "fault_began", 0, &lab);
    let slow = groups_of(&run, "val-0");
    assert_eq!((slow.quota().as_str(), slow.memory()), ("2000", None));
    until("the kernel to hold the node back", || {
        let throttled = slow.throttled();
        if throttled > 3 {
            Ok(())
        } else {
            Err(throttled.to_string())
        }
    });
    wait_for_fault(&run, "fault_ended", 0, &lab);
    assert!(["-1", "max"].contains(&slow.quota().as_str()), "{}", slow.quota());
    let throttled = slow.throttled();
    wait_for_fault(&run, "fault_began", 1, &lab);
    assert_eq!(slow.throttled(), throttled, "it is held back no more");
    let small = groups_of(&run, "val-1");
    // Within the four seconds that it lasts: after that there is no limit to be seen.
    until("the limit to be in the group", || match small.memory() {
        Some(bytes) if bytes == 700 << 20 => Ok(()),
        other => Err(format!(
            "{other:?} in {:?}",
            small.file(["memory.limit_in_bytes", "memory.max"])
        )),
    });
    wait_for_fault(&run, "fault_ended", 1, &lab);
    assert_eq!(small.memory(), None);
    wait_for_fault(&run, "fault_ended", 2, &lab);
    assert_eq!(
        groups_of(&run, "val-2").memory(),
        None,
        "the next process has what it needs"
    );
    assert_went_well(&run, lab);
    assert_told(&run);
    fleet.wait_until_nobody_is_left();
    assert_eq!(slow.file(["cgroup.procs", "cgroup.procs"]), None, "its groups are gone");
}

/// What the report says of the three faults.
fn assert_told(run: &Run) {
    let result = run.result();
    let events = result["record"]["events"].as_array().unwrap();
    let faults: Vec<&Value> = events.iter().filter(|event| event["kind"] == "fault").collect();
    let told = |begin: &str, seen: &str| {
        let text = |fault: &&Value| fault["text"].as_str().unwrap().to_owned();
        let texts: Vec<String> = faults.iter().map(text).collect();
        let found = texts.iter().any(|text| text.starts_with(begin) && text.contains(seen));
        assert!(found, "{begin} ... {seen}: {texts:#?}");
    };
    told(
        "cpu val-0 2% of a core, made by control groups: val-0 ",
        "held back in ",
    );
    told(
        "memory val-1 700MiB, made by control groups: val-1 ",
        "lived with at most ",
    );
    // What it had before does not count. Of what it takes from now on the kernel takes pages back, or it kills the node.
    let begin = "memory val-2 1MiB, made by control groups: val-2 ";
    let mut texts = faults.iter().filter_map(|fault| fault["text"].as_str());
    let scarce = texts.find(|text| text.starts_with(begin));
    let is_killed = scarce.is_some_and(|text| text.contains("killed"));
    let is_at_limit = scarce.is_some_and(|text| text.contains(" times at the limit"));
    assert!(is_killed || is_at_limit, "{faults:#?}");
    // Shaded when they were made and undone, which is never before it was planned.
    let (slow, phases) = (faults[0], result["record"]["phases"].as_array().unwrap());
    let warmup = phases.iter().find(|phase| phase["kind"] == "warmup").unwrap();
    let time = |value: &Value| value.as_u64().unwrap();
    assert!(time(&slow["start_ms"]) >= time(&warmup["start_ms"]) + 1000, "{slow:#}");
    assert!(time(&slow["end_ms"]) >= time(&slow["start_ms"]) + 4900, "{slow:#}");
    let again = events.iter().filter(|event| event["kind"] == "restart");
    let again: Vec<&Value> = again.map(|event| &event["node"]).collect();
    assert_eq!(again, ["val-2"][..usize::from(is_killed)], "{events:#?}");
    for recovery in result["summary"]["recoveries"].as_array().unwrap() {
        assert!(recovery["first_block_ms"].is_number(), "no block after {recovery:#}");
    }
}

const SHORT_FAULT: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"8s\"\ncooldown = \"1s\"\n[[load]]\nrate = 20\n\
     [[fault]]\nat = \"2s\"\nfor = \"3s\"\nkind = \"cpu\"\nshare = \"50%\"\nnodes = [\"all\"]\n";

/// A fleet of which one host has no control groups.
fn fleet_with_a_poor_host(servers: u8, spares: u8) -> Option<Fleet> {
    if !nix::unistd::geteuid().is_root() {
        skip("only root can hide the control groups of this machine", false);
        return None;
    }
    let mut fleet = Fleet::new(SshServers::start(servers), spares, SHORT_FAULT);
    fleet.servers.force(0, WITHOUT_GROUPS);
    Some(fleet)
}

const LIMITS_NOTHING: &str =
    "cannot limit time on processors of its nodes, which a fault needs: nodes have a session of their own and no group";

#[test]
fn a_host_that_limits_nothing_is_refused_for_it_before_it_gets_a_program() {
    let Some(fleet) = fleet_with_a_poor_host(5, 0) else {
        return;
    };
    let ended = fleet.start().wait();
    ended.failure(
        1,
        &["1 of 5 hosts cannot be used", LIMITS_NOTHING, "help: log in as root"],
    );
    for host in 0..5 {
        let store = fs::read_dir(fleet.servers.dir(host).join("store")).unwrap().flatten();
        let programs = store.filter(|entry| entry.path().is_dir() && entry.file_name() != "partial");
        assert_eq!(programs.count(), 0, "host {host} got a program");
    }
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
    fleet.wait_until_nobody_is_left();
}

#[test]
fn a_spare_host_that_can_limit_takes_the_nodes_of_one_that_cannot() {
    let Some(fleet) = fleet_with_a_poor_host(6, 1) else {
        return;
    };
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    assert_went_well(&run, lab);
    assert_eq!(noted(&run, "replaced"), 1);
    assert!(run.text("journal.ndjson").contains(LIMITS_NOTHING));
    fleet.wait_until_nobody_is_left();
}
