//! Control of nodes through SSH: the lab opens no connection to a port of a host but that of its SSH server.

use super::{
    fleet_runs::{Fleet, SHORT, assert_went_well, noted},
    support::{
        lab::Run,
        programs,
        sshd::{PORT, SshServers},
        wait::until,
    },
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{collections::BTreeSet, fs, net::Ipv4Addr, path::PathBuf};

const THROUGH_SSH: &[&str] = &["provider.control=ssh"];

/// An open connection, as the kernel lists it.
struct Open {
    address: Ipv4Addr,
    port: u16,
    inode: String,
}

/// Open connections of this machine by where they lead.
fn open() -> Vec<Open> {
    let text = fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = text.lines().skip(1);
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields[2].split_once(':')?;
        Some(Open {
            address: Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.swap_bytes()),
            port: u16::from_str_radix(port, 16).ok()?,
            inode: format!("socket:[{}]", fields[9]),
        })
    };
    lines.filter_map(one).filter(|open| open.port != 0).collect()
}

/// What a process has open.
fn descriptors(pid: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.map(|target| target.display().to_string()).collect()
}

/// Names of the programs that are connected to one of these ports of a host, and those ports of hosts that `lab` is connected
/// to.
fn connected(fleet: &Fleet, ports: &BTreeSet<u16>, lab: u32) -> (BTreeSet<String>, BTreeSet<u16>) {
    let hosts: Vec<Ipv4Addr> = (0..fleet.servers.count())
        .map(|host| fleet.servers.address(host))
        .collect();
    let open: Vec<Open> = open()
        .into_iter()
        .filter(|open| hosts.contains(&open.address))
        .collect();
    let of_lab = descriptors(&lab.to_string());
    let direct = open.iter().filter(|open| of_lab.contains(&open.inode));
    let direct = direct.map(|open| open.port).collect();
    let controls: Vec<&Open> = open.iter().filter(|open| ports.contains(&open.port)).collect();
    let mut programs = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let has = descriptors(&pid);
        if controls.iter().any(|open| has.contains(&open.inode)) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            programs.insert(name.trim().to_owned());
        }
    }
    (programs, direct)
}

fn control_ports(run: &Run) -> BTreeSet<u16> {
    let plan: Value = serde_json::from_str(&run.text("plan.json")).unwrap();
    let nodes = plan["nodes"].as_array().unwrap().iter();
    nodes
        .map(|node| u16::try_from(node["http_port"].as_u64().unwrap()).unwrap())
        .collect()
}

/// Sockets of SSH clients that are left in the run's folder.
fn sockets(run: &Run) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.folder.join("ssh")).unwrap().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.display().to_string().contains(".ssh-connection"))
        .collect()
}

fn node() -> String {
    programs::node_for_hosts().to_str().unwrap().to_owned()
}

#[test]
fn load_faults_and_checks_go_through_ssh_also_after_a_connection_was_cut() {
    let faults = "[[fault]]\nat = \"1s\"\nfor = \"2s\"\nkind = \"crash\"\nnodes = [\"val-1\"]\n\
         [[fault]]\nat = \"4s\"\nfor = \"2s\"\nkind = \"skew\"\nnodes = [\"val-2\"]\noffset = \"1s\"\n";
    let fleet = Fleet::new(SshServers::start(5), 0, &format!("{SHORT}{faults}"));
    let lab = fleet.start_set(&[node()], THROUGH_SSH);
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    let ports = control_ports(&run);
    assert!(!ports.is_empty() && !ports.contains(&PORT));
    let (programs, direct) = until("connections to nodes", || {
        let (programs, direct) = connected(&fleet, &ports, lab.pid());
        let known = !programs.is_empty();
        if known {
            Ok((programs, direct))
        } else {
            Err(lab.stderr())
        }
    });
    assert!(programs.iter().all(|name| name.starts_with("sshd")), "{programs:?}");
    assert_eq!(
        direct,
        BTreeSet::new(),
        "the lab connects to no port of a host by itself"
    );
    assert!(fleet.servers.cut(0) >= 1 && fleet.servers.cut(3) >= 1);
    assert_went_well(&run, lab);
    assert_eq!(
        (noted(&run, "lost"), noted(&run, "back")),
        (2, 2),
        "{}",
        run.text("journal.ndjson")
    );
    let result = run.result();
    let acknowledged = result["summary"]["accounting"]["ok"].as_u64();
    assert!(
        acknowledged.is_none_or(|count| count > 0),
        "{}",
        result["summary"]["accounting"]
    );
    assert!(
        run.text("result.json")
            .contains("through the SSH connection of each host")
    );
    assert_eq!(sockets(&run), Vec::<PathBuf>::new());
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

#[test]
fn a_run_that_was_controlled_through_ssh_is_finished_by_another_lab() {
    let fleet = Fleet::new(SshServers::start(5), 0, SHORT);
    let lab = fleet.start_set(&[node()], THROUGH_SSH);
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    lab.signal(Signal::SIGKILL);
    lab.wait();
    let id = run.folder.file_name().unwrap().to_str().unwrap();
    let resumed = fleet.lab.command(&["resume", id]);
    assert_eq!(resumed.code(), Some(1), "{}{}", resumed.stdout, resumed.stderr);
    let record = &run.result()["record"];
    for invariant in record["invariants"].as_array().unwrap() {
        assert_eq!(invariant["holds"], true, "{invariant:#}");
    }
    assert_eq!((noted(&run, "back"), noted(&run, "cleared")), (5, 5));
    fleet.wait_until_nobody_is_left();
    until("no socket to be left", || match sockets(&run) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}
