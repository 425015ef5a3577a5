//! Programs of others beside the nodes: real links, faults that reach them, and nothing of them left.

use super::support::{lab::Lab, namespaces::allowed, process::is_alive, wait::until};
use nix::sys::signal::Signal;
use std::fs;

/// Processes whose command line contains `text`.
fn running(text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let says = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    pids.filter(says).collect()
}

#[test]
fn a_web_server_and_its_client_feel_the_delay_and_the_partition() {
    let lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    let ended = lab.start_run("topologies/foreign.toml").wait();
    let run = lab.latest();
    run.assert_correct();
    let log = run.text("logs/client-0.log");
    let lines: Vec<&str> = log.lines().collect();
    let took: Vec<u64> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("ms ")?.parse().ok())
        .collect();
    assert!(took.len() > 10, "{log}");
    // A handshake and a request are two round trips of 80 ms, and no packet is early.
    assert!(took.iter().all(|ms| *ms >= 155), "{took:?}");
    assert!(*took.iter().min().unwrap() < 400, "{took:?}");
    let cut = |line: &&str| line.starts_with("cut ");
    let first = lines.iter().position(&cut).unwrap_or_else(|| panic!("{log}"));
    let last = lines.iter().rposition(&cut).unwrap();
    // Attempts give up after a second each: five seconds have no room for more than a few, and none succeeds among them.
    assert!(lines[first..=last].iter().all(cut), "{log}");
    assert!(last - first >= 2 && first > 0 && last + 1 < lines.len(), "{log}");
    let processes = run.result()["record"]["processes"].clone();
    let kinds = processes
        .as_array()
        .unwrap()
        .iter()
        .filter(|process| process["kind"] == "program");
    let used: Vec<f64> = kinds.map(|process| process["cpu_total_s"].as_f64().unwrap()).collect();
    assert!(used.len() == 2 && used.iter().all(|used| *used > 0.0), "{processes:#}");
    assert!(run.text("report.md").contains("| program web-0 |"), "{}", ended.stderr);
    assert!(running("10.88.0.6:8000").is_empty(), "a client is left");
}

#[test]
fn a_program_on_loopback_crashes_comes_back_and_dies_with_the_lab() {
    let mut lab = Lab::new();
    let mark = format!("8639{}", std::process::id());
    let scenario = lab.scenario(&format!(
        "[phases]\nwarmup = \"1s\"\nmeasure = \"10m\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\n\
         [[process]]\nname = \"idle\"\ncommand = [\"sh\", \"-c\", \"echo up at $AT; sleep {mark} & wait\"]\n\
         env = {{ AT = \"{{address}}\" }}\nready = {{ line = \"up at 127.\" }}\n\
         [[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"crash\"\nnodes = [\"idle\"]\n"
    ));
    let command = lab.start_run(&scenario);
    let run = lab.run_of(&command);
    until("the program's second start", || {
        let journal = run.journal();
        let starts: Vec<_> = journal
            .iter()
            .filter(|line| line["kind"] == "program_started")
            .collect();
        let pids: Vec<u32> = starts
            .iter()
            .filter_map(|line| line["pid"].as_u64())
            .map(|pid| pid as u32)
            .collect();
        match pids[..] {
            [first, second] if !is_alive(first) && is_alive(second) => Ok(()),
            _ => Err(format!("{starts:?}")),
        }
    });
    until("a shell and its child", || match running(&mark) {
        both if both.len() == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    command.signal(Signal::SIGKILL);
    command.wait();
    run.wait_until_nobody_is_left();
    let is_root = nix::unistd::geteuid().is_root();
    until("the program to be gone", || {
        let left = running(&mark);
        // Without root a program's own children are its own business.
        let gone = left.len() <= usize::from(!is_root);
        if gone { Ok(()) } else { Err(format!("{left:?}")) }
    });
    lab.up(&scenario).success();
    let told = lab.command(&["status", "latest"]);
    let status = told.success();
    assert!(status.contains("idle-0") && status.contains("running"), "{status}");
    lab.command(&["down"]).success();
    assert!(running(&mark).len() <= usize::from(!is_root));
}

#[test]
fn what_cannot_run_is_said_before_anything_starts() {
    let lab = Lab::new();
    let missing = lab.scenario("[[process]]\nname = \"x\"\ncommand = [\"no-such-program\"]\n");
    let ended = lab.start_run(&missing).wait();
    ended.failure(2, &["program `no-such-program` of `x-0` is not there", "help:"]);
    let phases = "[phases]\nwarmup = \"0s\"\nmeasure = \"1s\"\n";
    let ends = "[[process]]\nname = \"x\"\ncommand = [\"sh\", \"-c\", \"echo oh; exit 3\"]\nready = { port = 9 }\n";
    let ended = lab.start_run(&lab.scenario(&format!("{phases}{ends}"))).wait();
    assert!(
        ended.stderr.contains("`x-0` ended before it was ready"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("| oh"), "{}", ended.stderr);
    let silent =
        "[[process]]\nname = \"x\"\ncommand = [\"sleep\", \"60\"]\nready = { line = \"up\", within = \"1s\" }\n";
    let ended = lab.start_run(&lab.scenario(&format!("{phases}{silent}"))).wait();
    assert!(
        ended.stderr.contains("`x-0` is not ready after 1000 ms"),
        "{}",
        ended.stderr
    );
}
