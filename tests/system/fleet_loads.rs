//! Loads that hosts of a fleet generate: their books close as one, and the loss of a generator is no quiet one.

use super::{
    fleet_runs::{Fleet, assert_went_well},
    support::{sshd::SshServers, wait::until},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::fs;

const LOAD: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"5s\"\ncooldown = \"1s\"\n\
                    [[load]]\nrate = 60\ntarget = \"val\"\ngenerators = 3\n";

#[test]
fn hosts_generate_a_load_whose_books_close_as_one() {
    let fleet = Fleet::new(SshServers::start(5), 0, LOAD);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    assert_went_well(&run, lab);
    let result = run.result();
    let record = &result["record"];
    assert_eq!(record["loads"].as_array().unwrap().len(), 3, "one share a host");
    let accounting = &record["accounting"];
    let count = |name: &str| accounting[name].as_u64().unwrap();
    let rejected: u64 = accounting["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["count"].as_u64().unwrap())
        .sum();
    let ended = count("not_sent") + rejected + count("timed_out") + count("unknown");
    assert_eq!(
        count("intended"),
        ended + count("finalised_ok") + count("finalised_failed")
    );
    assert!(count("finalised_ok") > 100, "{accounting}");
    let clocks = run.text("result.json").matches("us of the lab's").count();
    assert_eq!(clocks, 3, "each generator's clock is disclosed");
    let logins = |host| fleet.servers.log(host).matches("Accepted publickey").count();
    let twice = (0..5).filter(|&host| logins(host) == 2).count();
    assert_eq!(twice, 3, "a generator has a session of its own");
    fleet.wait_until_nobody_is_left();
    assert!(fleet.folders().is_empty());
}

/// Process ids of generators whose program lies in a folder of these hosts.
fn generators(fleet: &Fleet) -> Vec<i32> {
    let folders: Vec<String> = (0..fleet.servers.count())
        .map(|host| fleet.servers.dir(host).display().to_string())
        .collect();
    let is_ours = |line: &str| line.ends_with("\0generate\0") && folders.iter().any(|folder| line.contains(folder));
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let pid = entry.file_name().to_string_lossy().parse().ok()?;
            is_ours(&String::from_utf8_lossy(&line)).then_some(pid)
        })
        .collect()
}

#[test]
fn a_generator_that_dies_fails_the_run_and_its_host_is_named() {
    let fleet = Fleet::new(SshServers::start(5), 0, LOAD);
    let lab = fleet.start();
    let run = fleet.lab.run_of(&lab);
    run.wait_for_step("measure", &lab);
    let running = generators(&fleet);
    assert_eq!(running.len(), 3, "{running:?}");
    kill(Pid::from_raw(running[0]), Signal::SIGKILL).unwrap();
    let ended = lab.wait();
    // The run failed; the network did nothing wrong.
    assert_eq!(ended.code(), Some(1), "{}", ended.stdout);
    run.assert_correct();
    let failure = run.result()["record"]["failure"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        failure.contains("generator on `") && failure.contains("broke"),
        "{failure}"
    );
    until("all generators to end", || {
        let left = generators(&fleet);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    fleet.wait_until_nobody_is_left();
}
