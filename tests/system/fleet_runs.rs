//! Whole runs on real OpenSSH servers: that they work, and what happens to hosts, connections and labs that do not.

use super::support::{
    lab::{Lab, Run},
    process::Running,
    programs,
    sshd::SshServers,
    wait::until,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A lab with hosts.
pub(super) struct Fleet {
    /// Before the servers: what it leaves up it brings down while they are there.
    pub(super) lab: Lab,
    pub(super) servers: SshServers,
    scenario: String,
}

impl Fleet {
    /// Four validators and full nodes on as many hosts as are not spare; `more` is appended to the scenario.
    pub(super) fn new(servers: SshServers, spares: u8, more: &str) -> Self {
        let lab = Lab::new();
        let nodes = servers.count() - spares;
        let hosts = (0..servers.count()).map(|host| {
            let spare = if host < nodes { "" } else { "spare = true\n" };
            servers
                .entry(host, &servers.host_key(host))
                .replace("[[provider.host]]", "[[host]]")
                + spare
        });
        lab.write("hosts.toml", &hosts.collect::<String>());
        let text = format!(
            "# Does a fleet do what a test expects?\nschema = 1\nname = \"fleet\"\nseed = 5\n\
             [provider]\nkind = \"ssh\"\ninventory = \"hosts.toml\"\n\
             [[group]]\nname = \"val\"\ncount = 4\nrole = \"validator\"\n\
             [[group]]\nname = \"full\"\ncount = {}\nrole = \"full\"\n\
             [peering]\ncore = {{ kind = \"full_mesh\", of = \"val\" }}\n\
             attach = {{ kind = \"bipartite\", from = \"full\", to = \"val\", degree = 2 }}\n\
             [[consensus]]\nid = \"main\"\nblock_interval = \"200ms\"\nround_timeout = \"2s\"\n{more}",
            nodes - 4
        );
        let scenario = lab.write("fleet.toml", &text);
        lab.command(&["keygen", lab.path("release.pem").to_str().unwrap()])
            .success();
        Self { servers, lab, scenario }
    }

    /// The file of the scenario.
    pub(super) fn scenario(&self) -> &str {
        &self.scenario
    }

    pub(super) fn start(&self) -> Running {
        self.start_with(&[programs::node_for_hosts().to_str().unwrap().to_owned()])
    }

    /// The same with these programs, `PATH` or `NAME=PATH` each.
    pub(super) fn start_with(&self, binaries: &[String]) -> Running {
        self.start_set(binaries, &[])
    }

    /// The same with keys of the scenario set to other values, `KEY=VALUE` each.
    pub(super) fn start_set(&self, binaries: &[String], set: &[&str]) -> Running {
        let set: Vec<&str> = set.iter().flat_map(|pair| ["--set", pair]).collect();
        self.start_also(binaries, &set)
    }

    /// The same with further arguments.
    pub(super) fn start_also(&self, binaries: &[String], more: &[&str]) -> Running {
        let arguments = self.arguments("run", binaries);
        let arguments = arguments.iter().map(String::as_str).chain(["--plain"]);
        let arguments: Vec<&str> = arguments.chain(more.iter().copied()).collect();
        self.lab.start(&arguments)
    }

    /// A verb with the scenario and everything that hosts need.
    pub(super) fn arguments(&self, verb: &str, binaries: &[String]) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (agent, key) = (path(programs::agent_for_hosts()), path(&self.lab.path("release.pem")));
        let words = [verb, &self.scenario, "--key", &key, "--agent", &agent];
        let binaries = binaries.iter().flat_map(|binary| ["--binary", binary]);
        words.into_iter().chain(binaries).map(str::to_owned).collect()
    }

    /// Waits until no node and no agent runs on any host.
    pub(super) fn wait_until_nobody_is_left(&self) {
        until("nobody to be left on any host", || {
            let left = self.servers.left_running();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }

    /// Folders of runs that are still on hosts.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let folders =
            (0..self.servers.count()).filter_map(|host| fs::read_dir(self.servers.dir(host).join("runs")).ok());
        folders.flatten().flatten().map(|entry| entry.path()).collect()
    }
}

pub(super) const SHORT: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"6s\"\ncooldown = \"1s\"\n[[load]]\nrate = 30\n";

/// How often the journal notes `state` of a host.
pub(super) fn noted(run: &Run, state: &str) -> usize {
    let journal = run.journal();
    let of_state = |line: &&Value| line["kind"] == "host" && line["state"] == state;
    journal.iter().filter(of_state).count()
}

/// Checks that a run went as it should, however busy the machine was.
#[track_caller]
pub(super) fn assert_went_well(run: &Run, lab: Running) {
    let ended = lab.wait();
    // 6: the machine that plays all hosts was too busy to measure anything.
    assert!(
        matches!(ended.code(), Some(0 | 5 | 6)),
        "{:?}\n{}{}",
        ended.code(),
        ended.stdout,
        ended.stderr
    );
    let record = &run.result()["record"];
    assert!(record["failure"].is_null(), "{}", record["failure"]);
    run.assert_correct();
}

/// Lines of secrets: none of them may stand anywhere but in its own file.
fn secrets(fleet: &Fleet, run: &Run) -> Vec<String> {
    let mut files = vec![fleet.servers.client_key(), fleet.lab.path("release.pem")];
    files.push(run.folder.join("config/val-0/key.pem"));
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines
        .into_iter()
        .filter(|line| !line.starts_with("-----") && line.len() > 20)
        .collect()
}

/// Files below `folder` that hold one of `secrets`, except those that are keys.
fn leaks(folder: &Path, secrets: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && path.file_name().is_some_and(|name| name != "key.pem") {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                found.extend(secrets.iter().any(|secret| text.contains(secret)).then_some(path));
            }
        }
    }
    found
}

#[test]
fn twenty_four_hosts_run_a_load_with_a_crash_and_keep_nothing() {
    let crash = "[[fault]]\nat = \"2s\"\nfor = \"2s\"\nkind = \"crash\"\nnodes = [\"val-1\"]\n";
    let fleet = Fleet::new(SshServers::start(24), 0, &format!("{SHORT}{crash}"));
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    let secrets = secrets(&fleet, &run);
    let lines = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    for line in lines.map(|line| String::from_utf8_lossy(&line).into_owned()) {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
    assert_went_well(&run, lab);
    for state in ["ready", "deployed", "cleared"] {
        assert_eq!(noted(&run, state), 24, "{state}");
    }
    let result = run.result();
    let restarts = result["record"]["processes"].as_array().unwrap().iter();
    let crashed = restarts.clone().find(|process| process["name"] == "val-1").unwrap();
    assert_eq!(crashed["restarts"], 1);
    let sampled = restarts
        .filter(|process| process["cpu_total_s"].as_f64().unwrap() > 0.0)
        .count();
    assert!(sampled >= 24, "hosts told of {sampled} processes");
    assert!(run.text("report.html").contains("hosts over SSH") && run.text("result.json").contains("known to ±"));
    for host in 0..24 {
        let log = fleet.servers.log(host);
        assert!(
            !log.contains("MaxStartups") && !log.contains("drop connection"),
            "{log}"
        );
        assert_eq!(
            log.matches("Accepted publickey").count(),
            1,
            "one connection a host for the whole run:\n{log}"
        );
    }
    assert!(run.text("logs/full-7.log").len() > 100, "logs come back");
    assert_eq!(leaks(&run.folder, &secrets), Vec::<PathBuf>::new());
    for host in 0..24 {
        assert_eq!(leaks(&fleet.servers.dir(host), &secrets), Vec::<PathBuf>::new());
    }
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

/// A file system of one megabyte; gone with this value.
struct Small(PathBuf);

impl Small {
    fn mount(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder)
            .status();
        assert!(status.unwrap().success(), "root may mount");
        Self(folder.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn spare_hosts_take_over_for_those_that_die_or_are_full_while_the_run_is_set_up() {
    let mut fleet = Fleet::new(SshServers::start(8), 2, SHORT);
    let is_root = nix::unistd::geteuid().is_root();
    let full = is_root.then(|| Small::mount(&fleet.servers.dir(4)));
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    until("a host to be in the middle of it", || {
        let log = fleet.servers.log(5);
        if log.contains("Accepted publickey") {
            Ok(())
        } else {
            Err(lab.stderr())
        }
    });
    fleet.servers.end(5);
    assert_went_well(&run, lab);
    let failed = if is_root { 2 } else { 1 };
    assert_eq!((noted(&run, "replaced"), noted(&run, "failed")), (failed, failed));
    if is_root {
        let reasons = run.text("journal.ndjson");
        assert!(reasons.contains("No space left on device"), "{reasons}");
    }
    drop(full);
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

#[test]
fn a_run_with_too_few_hosts_says_which_and_why_and_leaves_nothing() {
    let mut fleet = Fleet::new(SshServers::start(5), 0, SHORT);
    fleet.servers.end(2);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    let ended = lab.wait();
    let dead = format!("host `{}` cannot be reached", fleet.servers.address(2));
    ended.failure(1, &["1 of 5 hosts cannot be used", &dead, "help: is it up"]);
    assert!(
        run.result()["record"]["failure"]
            .as_str()
            .unwrap()
            .contains("hosts cannot be used")
    );
    // Agents that never had a node end with their connection's lease or at once; nothing of a node was ever there.
    let orphans = fleet.lab.command(&["orphans", &fleet.scenario, "--remove"]);
    orphans.failure(1, &[&dead]);
    fleet.wait_until_nobody_is_left();
}

/// Seen on a busy machine: the client heard of the command's end first and threw away what was still under way.
#[test]
fn what_a_host_says_is_heard_when_its_shell_has_ended_before() {
    let mut fleet = Fleet::new(SshServers::start(5), 0, SHORT);
    let late = "(sleep 1; echo regatta-bootstrap failed a reason that comes late) & exit 72";
    fleet.servers.force(2, late);
    let ended = fleet.start().wait();
    ended.failure(1, &["1 of 5 hosts cannot be used", "a reason that comes late"]);
    fleet.wait_until_nobody_is_left();
}

#[test]
fn a_connection_that_is_cut_in_the_middle_is_made_again_and_nothing_is_lost() {
    let fleet = Fleet::new(SshServers::start(5), 0, SHORT);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    assert!(fleet.servers.cut(0) >= 1 && fleet.servers.cut(3) >= 1);
    assert_went_well(&run, lab);
    assert_eq!(
        (noted(&run, "lost"), noted(&run, "back")),
        (2, 2),
        "{}",
        run.text("journal.ndjson")
    );
    assert_eq!(noted(&run, "cleared"), 5);
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

#[test]
fn what_a_killed_lab_leaves_is_found_and_ended_from_its_folder() {
    let fleet = Fleet::new(SshServers::start(5), 0, SHORT);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    lab.signal(Signal::SIGKILL);
    lab.wait();
    let nodes = || {
        fleet
            .servers
            .left_running()
            .iter()
            .filter(|line| line.contains("node.toml"))
            .count()
    };
    assert_eq!(nodes(), 5, "nodes go on while the lease lasts");
    let listed = fleet.lab.command(&["orphans", &fleet.scenario]);
    let id = run.folder.file_name().unwrap().to_str().unwrap();
    assert_eq!(listed.success().matches(id).count(), 5, "{}", listed.stdout);
    assert_eq!(nodes(), 5, "looking changes nothing");
    let down = fleet.lab.command(&["down", id]);
    assert!(down.success().contains("removed from 5 of 5 hosts"), "{}", down.stdout);
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
    let again = fleet.lab.command(&["orphans", "latest"]);
    assert!(
        again.success().contains("nothing is left on 5 hosts"),
        "{}",
        again.stdout
    );
}

#[test]
fn a_run_whose_lab_was_killed_is_finished_by_another() {
    let fleet = Fleet::new(SshServers::start(5), 0, SHORT);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    lab.signal(Signal::SIGKILL);
    lab.wait();
    let id = run.folder.file_name().unwrap().to_str().unwrap();
    let resumed = fleet.lab.command(&["resume", id]);
    assert_eq!(resumed.code(), Some(1), "{}{}", resumed.stdout, resumed.stderr);
    let record = &run.result()["record"];
    assert!(
        record["failure"]
            .as_str()
            .unwrap()
            .contains("the lab died during the run"),
        "{}",
        record["failure"]
    );
    for invariant in record["invariants"].as_array().unwrap() {
        assert_eq!(invariant["holds"], true, "{invariant:#}");
    }
    assert!(run.text("report.html").contains("the lab died during the run"));
    assert!(run.text("logs/val-0.log").len() > 100, "logs come back");
    assert_eq!((noted(&run, "back"), noted(&run, "cleared")), (5, 5));
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
    fleet
        .lab
        .command(&["resume", id])
        .failure(1, &["is finished", "help: "]);
}

#[test]
fn a_lease_that_nobody_renews_ends_the_nodes() {
    let lease = "[budget]\nlease = \"45s\"\n";
    let phases =
        "[phases]\nwarmup = \"1s\"\nmeasure = \"6s\"\ncooldown = \"1s\"\ndrain = \"3s\"\n[[load]]\nrate = 30\n";
    let fleet = Fleet::new(SshServers::start(5), 0, &format!("{phases}{lease}"));
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    lab.signal(Signal::SIGKILL);
    lab.wait();
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders().len(), 5, "what they wrote stays to be looked at");
    fleet.lab.command(&["orphans", &fleet.scenario, "--remove"]).success();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

#[test]
fn a_build_without_a_key_of_the_operator_goes_nowhere() {
    let fleet = Fleet::new(SshServers::start(5), 0, SHORT);
    let node = programs::node_for_hosts().to_str().unwrap();
    let ended = fleet
        .lab
        .command(&["run", &fleet.scenario, "--plain", "--binary", node]);
    ended.failure(
        1,
        &[
            "builds for other machines need a key of yours",
            "help: make one with `regatta keygen",
        ],
    );
    assert!(!fleet.servers.log(0).contains("Accepted"), "no host was touched");
}

/// A number of the lab's `/proc/PID/status`, in bytes.
fn status_bytes(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let kilobytes: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap();
    kilobytes * 1024
}

#[test]
#[ignore = "starts 200 servers and takes minutes; docs/fleets.md says how to run it"]
fn two_hundred_hosts_are_reached_deployed_run_and_cleared() {
    let fleet = Fleet::new(SshServers::start(200), 0, SHORT);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    let peak = status_bytes(lab.pid(), "VmHWM");
    assert_went_well(&run, lab);
    assert_eq!((noted(&run, "deployed"), noted(&run, "cleared")), (200, 200));
    for host in 0..200 {
        assert_eq!(fleet.servers.log(host).matches("Accepted publickey").count(), 1);
    }
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
    println!("memory of the lab at most: {:.1} MB", peak as f64 / 1e6);
    for line in run.result()["record"]["environment"].as_array().unwrap() {
        let name = line["name"].as_str().unwrap();
        if matches!(name, "hosts" | "reaching one host" | "programs, compressed") {
            println!("{name}: {}", line["value"].as_str().unwrap());
        }
    }
    let journal = run.journal();
    let ends = journal.iter().filter(|line| line["kind"] == "step_ended");
    for end in ends {
        let begun = |line: &&Value| line["kind"] == "step_started" && line["id"] == end["id"];
        let step = journal.iter().find(begun).unwrap()["step"].to_string();
        let name: String = step
            .chars()
            .filter(|c| c.is_ascii_alphabetic() || *c == '_')
            .take(20)
            .collect();
        println!("{name}: {:.2} s", end["took_ms"].as_f64().unwrap() / 1e3);
    }
}
