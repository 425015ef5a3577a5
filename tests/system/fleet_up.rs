//! Clusters that stay on hosts, on real OpenSSH servers: who keeps them, and what becomes of them when nobody does.

use super::{
    fleet_runs::{Fleet, noted},
    support::{lab::Run, programs, sshd::SshServers, wait::until},
};
use nix::{sys::signal, unistd::Pid};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// Nodes go on for so long alone. It is short, so that a test sees that somebody renews it.
const MORE: &str = "[phases]\nwarmup = \"0s\"\nmeasure = \"1s\"\ncooldown = \"0s\"\ndrain = \"1s\"\n\
    [budget]\nlease = \"10m\"\nunattended = \"15s\"\n";

/// Brings the fleet's nodes up; the run.
fn up(fleet: &mut Fleet) -> Run {
    fleet.lab.ends_clusters();
    let mut arguments = fleet.arguments("up", &[programs::node_for_hosts().to_str().unwrap().to_owned()]);
    arguments.push("--json".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = fleet.lab.command(&arguments);
    let said: Value = serde_json::from_str(ended.success()).unwrap();
    assert_eq!(said["nodes"].as_array().unwrap().len(), 5, "{said:#}");
    fleet.lab.latest()
}

fn id(run: &Run) -> String {
    run.folder.file_name().unwrap().to_str().unwrap().to_owned()
}

fn status(fleet: &Fleet, run: &Run) -> Value {
    let ended = fleet.lab.command(&["status", &id(run), "--json"]);
    serde_json::from_str(ended.success()).unwrap()
}

#[test]
fn a_cluster_on_hosts_stays_takes_load_and_goes() {
    let mut fleet = Fleet::new(SshServers::start(5), 0, MORE);
    let run = up(&mut fleet);
    let first = status(&fleet, &run);
    let is_running = |node: &Value| node["state"] == "running" && node["links"][0] == node["links"][1];
    assert!(first["nodes"].as_array().unwrap().iter().all(is_running), "{first:#}");
    let log = fleet.lab.command(&["logs", &id(&run), "val-0"]);
    assert!(
        log.success().contains("listening") || log.stdout.len() > 100,
        "{}",
        log.stdout
    );
    let load = fleet.lab.command(&[
        "load",
        &id(&run),
        "--rate",
        "20",
        "--for",
        "3s",
        "--size",
        "200",
        "--json",
    ]);
    let books: Value = serde_json::from_str(load.success()).unwrap();
    assert!(books["accounting"]["finalised_ok"].as_u64().unwrap() > 20, "{books:#}");
    // A connection is cut and made again, and the lease is renewed: otherwise nobody would be left by then.
    assert!(fleet.servers.cut(1) >= 1);
    until("more time than the hosts would go on alone", || {
        let now = status(&fleet, &run);
        if now["up_s"].as_u64().unwrap() > 25 {
            Ok(())
        } else {
            Err(now.to_string())
        }
    });
    let last = status(&fleet, &run);
    assert!(
        last["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|node| node["state"] == "running"),
        "{last:#}"
    );
    assert!(last["nodes"][0]["height"].as_u64() > first["nodes"][0]["height"].as_u64());
    let down = fleet.lab.command(&["down", &id(&run)]);
    assert!(down.success().contains("is down"), "{}", down.stdout);
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
    assert!(run.text("logs/val-0.log").len() > 100, "logs come back");
    let over = fleet.lab.command(&["logs", &id(&run), "val-0"]);
    assert!(over.success().len() > 100);
}

#[test]
fn a_cluster_whose_keeper_was_killed_ends_by_itself_and_is_cleared_from_its_folder() {
    let mut fleet = Fleet::new(SshServers::start(5), 0, MORE);
    let run = up(&mut fleet);
    let keeper = status(&fleet, &run)["pid"].as_i64().unwrap();
    signal::kill(Pid::from_raw(i32::try_from(keeper).unwrap()), signal::Signal::SIGKILL).unwrap();
    let nodes = || {
        let left = fleet.servers.left_running();
        left.iter().filter(|line| line.contains("node.toml")).count()
    };
    assert_eq!(nodes(), 5, "nodes go on at first");
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders().len(), 5, "what they wrote stays to be looked at");
    let down = fleet.lab.command(&["down", &id(&run)]);
    assert!(down.success().contains("removed from 5 of 5 hosts"), "{}", down.stdout);
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

#[test]
fn a_cluster_on_hosts_needs_a_key_of_the_operator() {
    let fleet = Fleet::new(SshServers::start(5), 0, MORE);
    let arguments = fleet.arguments("up", &[programs::node_for_hosts().to_str().unwrap().to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let place = arguments.iter().position(|word| *word == "--key").unwrap();
    let without = [&arguments[..place], &arguments[place + 2..]].concat();
    fleet
        .lab
        .command(&without)
        .failure(1, &["builds for other machines need a key of yours"]);
    assert!((0..5).all(|host| !fleet.servers.log(host).contains("Accepted")));
}

/// What becomes of hosts that are ready when the lab cannot prepare its nodes: a file is where a folder of one would be.
fn hosts_are_let_go(verb: &str) {
    let mut fleet = Fleet::new(SshServers::start(5), 0, MORE);
    fleet.lab.ends_clusters();
    let arguments = fleet.arguments(verb, &[programs::node_for_hosts().to_str().unwrap().to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let lab = fleet.lab.start(&arguments);
    let run = fleet.lab.run_of(&lab);
    fs::write(run.folder.join("config/val-0"), "no folder").unwrap();
    let ended = lab.wait();
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("config/val-0"), "{}", ended.stderr);
    assert_eq!(
        (noted(&run, "deployed"), noted(&run, "cleared")),
        (5, 5),
        "{:#?}",
        run.journal()
    );
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
    fleet.wait_until_nobody_is_left();
}

#[test]
fn hosts_keep_nothing_of_a_cluster_that_cannot_be_prepared() {
    hosts_are_let_go("up");
}

#[test]
fn hosts_keep_nothing_of_a_run_that_cannot_be_prepared() {
    hosts_are_let_go("run");
}
