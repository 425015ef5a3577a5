//! What keeps a run from starting: addresses that are taken, a node that dies, a program that is not what was sealed.

use super::support::{
    lab::Lab,
    process::is_alive,
    programs,
    wait::{until, until_true},
};
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::PathBuf};

/// Phases that are over quickly.
const SHORT: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"1s\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\n";

#[test]
fn a_taken_port_names_who_holds_it() {
    let lab = Lab::new();
    let listener = TcpListener::bind((lab.subnet.address(2), 7001)).unwrap();
    let scenario = lab.scenario(SHORT);
    let holder = format!("process {}", std::process::id());
    let address = listener.local_addr().unwrap().to_string();
    lab.start_run(&scenario)
        .wait()
        .failure(1, &[&address, "in use", &holder, "help: "]);
    assert_eq!(
        lab.latest().started(),
        [],
        "nodes were started beside the one whose port is taken"
    );
    // The same addresses serve once the port is free.
    drop(listener);
    lab.start_run(&scenario).wait();
    lab.latest().assert_correct();
}

#[test]
fn a_range_in_use_by_another_run_names_its_lab() {
    let lab = Lab::new();
    let scenario = lab.scenario(&SHORT.replace("measure = \"1s\"", "measure = \"10m\""));
    let first = lab.start_run(&scenario);
    let run = lab.run_of(&first);
    run.wait_for_step("warmup", &first);
    let holder = format!("process {}", first.pid());
    lab.start_run(&scenario)
        .wait()
        .failure(1, &["in use", &holder, "help: "]);
    assert!(
        run.started().iter().all(|(_, pid)| is_alive(*pid)),
        "the first run was disturbed"
    );
}

#[test]
fn a_node_that_dies_at_start_is_quoted() {
    let lab = Lab::new();
    // The lab itself is a program that knows no `--config`.
    let impostor = programs::lab().to_str().unwrap();
    let ended = lab.command(&["run", &lab.scenario(SHORT), "--binary", impostor]);
    ended.failure(
        1,
        &[
            "ended by itself",
            "exit code 2",
            "  | error: unexpected argument '--config'",
            "log: ",
        ],
    );
    lab.latest().wait_until_nobody_is_left();
}

#[test]
fn a_program_altered_after_sealing_is_not_started() {
    let lab = Lab::new();
    let crash = "[[fault]]\nat = \"2s\"\nfor = \"2s\"\nkind = \"crash\"\nnodes = [\"val-0\"]\n";
    let phases = SHORT.replace("measure = \"1s\"", "measure = \"10s\"");
    let scenario = lab.scenario(&format!("{phases}{crash}"));
    let running = lab.start_run(&scenario);
    let run = lab.run_of(&running);
    run.wait_for_step("warmup", &running);
    // All nodes run from the sealed file. What is started again comes from it too, after its bytes were changed.
    flip_a_byte(&sealed_program(&lab));
    let ended = running.wait();
    ended.failure(1, &["digest ", " instead of ", "help: "]);
    let started = run.started();
    assert_eq!(
        started.iter().filter(|(node, _)| node == "val-0").count(),
        1,
        "{started:?}"
    );
    run.wait_until_nobody_is_left();
    // A later run meets the altered file as well.
    lab.start_run(&scenario)
        .wait()
        .failure(1, &["verify seal of main: FAILED", " instead of "]);
    assert_eq!(lab.latest().started(), []);
}

/// The program in the store of sealed programs.
fn sealed_program(lab: &Lab) -> PathBuf {
    let store = lab.runs().join(".store");
    until("a sealed program", || {
        let folders = fs::read_dir(&store).map_err(|error| error.to_string())?.flatten();
        let mut programs = folders.map(|folder| folder.path().join("regatta-node"));
        programs.find(|path| path.is_file()).ok_or_else(|| "none".to_owned())
    })
}

/// Puts another file with one changed bit in its place, as somebody who may write to the store can.
fn flip_a_byte(program: &PathBuf) {
    let mut bytes = fs::read(program).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let mode = fs::metadata(program).unwrap().permissions().mode();
    let other = program.with_extension("altered");
    fs::write(&other, bytes).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&other, program).unwrap();
    until_true("the altered program to be in place", || program.is_file());
}
