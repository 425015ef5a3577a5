//! What the next start makes of a lab that died, also before the machine was started anew: it says so, removes what is of no
//! use to anybody, keeps what the run found out, and leaves processes alone that only look like the run's.

use super::support::{
    lab::{Lab, Run},
    process::is_alive,
    skip::skip,
    wait::until_true,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use regatta_process::{
    cgroup::{CgroupError, Controller, Place},
    start_ticks,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    os::unix::fs::FileTypeExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

const STAYS: &str = "[budget]\nlease = \"10m\"\n";

/// Somebody's process that has nothing to do with any lab.
struct Bystander(Child);

impl Bystander {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brings a cluster up and kills its lab; nobody of it is left but what lies in its folder.
fn died(lab: &mut Lab) -> Run {
    let scenario = lab.scenario(STAYS);
    lab.up(&scenario).success();
    let run = lab.latest();
    let keeper = parent(run.started()[0].1);
    kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
    run.wait_until_nobody_is_left();
    until_true("the lab to be gone", || !is_alive(keeper.cast_unsigned()));
    assert!(socket(&run).is_some(), "a killed lab leaves its socket");
    run
}

/// The process that started this one.
fn parent(pid: u32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.unwrap().trim().parse().unwrap()
}

/// The control socket of a run, as long as it is there.
fn socket(run: &Run) -> Option<PathBuf> {
    let mut entries = fs::read_dir(&run.folder).unwrap().flatten();
    let found = entries.find(|entry| entry.file_type().unwrap().is_socket())?;
    Some(found.path())
}

/// Rewrites every line of the run's journal.
fn edit(run: &Run, change: impl Fn(&mut Value)) {
    let lines = run.journal().into_iter().map(|mut line| {
        change(&mut line);
        format!("{line}\n")
    });
    fs::write(run.folder.join("journal.ndjson"), lines.collect::<String>()).unwrap();
}

/// Has the journal say that the process of `val-0` was this one.
fn blame(run: &Run, pid: u32, ticks: u64) {
    edit(run, |line| {
        if line["kind"] == "node_started" && line["node"] == "val-0" {
            (line["pid"], line["start_ticks"]) = (json!(pid), json!(ticks));
        }
    });
}

/// What a start says before anything else, and of a run that is refused at once: nothing is started by it.
fn next_start(lab: &Lab) -> String {
    let range = format!("net.ipv4={}", lab.subnet.text());
    let arguments = [
        "run",
        "topologies/quickstart.toml",
        "--set",
        &range,
        "--binary",
        "/nowhere/at/all",
    ];
    let ended = lab.command(&arguments);
    assert_ne!(ended.code(), Some(0), "{}", ended.stderr);
    ended.stderr
}

/// Every file of a run below a folder, with what is in it.
fn contents(run: &Run, folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut folders = vec![run.folder.join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                _ => files.push((entry.path(), fs::read(entry.path()).unwrap())),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn what_a_lab_of_an_earlier_boot_left_is_swept_and_nobody_else_is_touched() {
    let mut lab = Lab::new();
    let run = died(&mut lab);
    let id = run.folder.file_name().unwrap().to_str().unwrap().to_owned();
    // By chance somebody has the number and even the start time that a node had before.
    let bystander = Bystander::start();
    blame(&run, bystander.pid(), start_ticks(bystander.pid()).unwrap());
    edit(&run, |line| {
        if line["kind"] == "lab_started" {
            line["boot"] = json!("5f0c9e0e-0000-4000-8000-000000000000");
        }
    });
    let kept = ["data", "logs", "config", "build"].map(|folder| contents(&run, folder));
    assert!(kept.iter().flatten().count() >= 15, "there is something to keep");

    let told = next_start(&lab);
    assert!(told.contains(&format!("note: a lab died in run {id}")), "{told}");
    assert!(
        told.contains("1 of them died before this machine was last started"),
        "{told}"
    );
    assert!(told.contains("removed 1 control sockets"), "{told}");
    assert!(
        !told.contains("outlived its lab"),
        "the bystander is nobody's node: {told}"
    );
    assert!(is_alive(bystander.pid()), "the bystander lives");
    assert_eq!(socket(&run), None);
    assert_eq!(
        ["data", "logs", "config", "build"].map(|folder| contents(&run, folder)),
        kept
    );
    let journal = run.journal();
    let end = journal.last().unwrap();
    assert_eq!(
        (&end["kind"], &end["exit_code"]),
        (&json!("lab_ended"), &json!(1)),
        "{end}"
    );

    let told = next_start(&lab);
    assert!(!told.contains(&id), "it is said once: {told}");
    assert_eq!(run.journal().len(), journal.len());
}

#[test]
fn a_process_that_may_be_a_node_of_this_boot_is_named_and_left_to_the_person() {
    let mut lab = Lab::new();
    let run = died(&mut lab);
    let bystander = Bystander::start();
    let ticks = start_ticks(bystander.pid()).unwrap();
    blame(&run, bystander.pid(), ticks);
    for _ in 0..2 {
        let told = next_start(&lab);
        let named = format!("outlived its lab as process {}", bystander.pid());
        assert!(
            told.contains(&named) && told.contains(&format!("help: kill {}", bystander.pid())),
            "{told}"
        );
        assert!(
            is_alive(bystander.pid()) && socket(&run).is_some(),
            "nothing is done before the person has"
        );
    }
    // The same number at another time is another process.
    blame(&run, bystander.pid(), ticks - 1);
    let told = next_start(&lab);
    assert!(
        told.contains("a lab died in run") && !told.contains("outlived its lab"),
        "{told}"
    );
    assert!(!told.contains("before this machine was last started"), "{told}");
    assert!(is_alive(bystander.pid()) && socket(&run).is_none());
}

#[test]
fn temporary_folders_of_dead_labs_go_and_those_that_are_held_stay() {
    let lab = Lab::new();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    let folder = |what: &str| {
        let made = tempfile::Builder::new()
            .prefix(&format!("regatta-ssh-{what}"))
            .tempdir()
            .unwrap();
        fs::write(made.path().join("config"), "Host *").unwrap();
        let handle = File::open(made.path()).unwrap();
        handle.set_modified(long_ago).unwrap();
        (made, handle)
    };
    let (held, handle) = folder("held");
    handle.lock().unwrap();
    let (left, _) = folder("left");
    next_start(&lab);
    assert!(!left.path().exists() && held.path().join("config").exists());
}

#[test]
fn control_groups_of_dead_labs_go_and_those_of_the_living_stay() {
    let place = match Place::find(Controller::Memory) {
        Ok(place) => place,
        Err(error) => {
            assert!(error.to_string().contains("help:"), "{error}");
            skip(&error.to_string(), matches!(error, CgroupError::None(_)));
            return;
        }
    };
    let lab = Lab::new();
    let described = place.describe();
    let (_, parent) = described.split_once(" in ").unwrap();
    let bystander = Bystander::start();
    let (pid, ticks) = (bystander.pid(), start_ticks(bystander.pid()).unwrap());
    // The number was used again, by somebody else.
    let left = PathBuf::from(parent).join(format!("regatta-{pid}-{}-memory-9", ticks - 1));
    let own = PathBuf::from(parent).join(format!("regatta-{pid}-{ticks}-memory-9"));
    for group in [&left, &own] {
        fs::create_dir(group).unwrap();
    }
    next_start(&lab);
    let stays = own.exists();
    fs::remove_dir(&own).unwrap();
    assert!(!left.exists() && stays && is_alive(pid));
}
