//! From the upload of a program to the removal of a run, with connections that are cut in between.

use crate::support::{Build, Host, Lab, OBEDIENT, STUBBORN, agent, hello, named, node, place, runs, until};
use regatta_base::Digest;
use regatta_fleet::{Answer, ClockBounds, Holding, NodeEvent, NodeState, OrderBody, Signal, What, limits::CHUNK_BYTES};
use std::{fs, os::unix::fs::PermissionsExt, process::Command, thread, time::Instant};

#[test]
fn a_run_from_its_upload_to_its_removal() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    assert_eq!(answer.program, Digest::of_bytes(&fs::read(agent()).unwrap()));
    assert!(!answer.resumed && answer.facts.cores > 0, "{answer:?}");
    assert_eq!(fs::metadata(host.root()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        fs::metadata(host.root().join("agent.sock"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );

    let build = Build::of(OBEDIENT.as_bytes());
    assert_eq!(lab.upload(&build), Holding::Whole);
    assert_eq!(lab.order(place("config/val-0/node.toml", "port = 7\n")), Answer::Done);
    let started = lab.start(&build, &["val-0", "val-1"]);
    assert!(
        started
            .iter()
            .all(|started| runs(started.pid) && started.start_ticks > 0)
    );
    let mut lines = lab.announced(2);
    lines.sort();
    assert_eq!(lines, [0, 1].map(|number| format!("ready val-{number} {}", answer.pid)));
    assert_eq!(lab.refused(build.start(&["val-0"])).what, What::Busy);

    let stop = Signal::Stop { grace_ms: 60_000 };
    let (nodes, signal) = (vec![node("val-0")], stop);
    let Answer::Signalled { exits } = lab.order(OrderBody::Signal { nodes, signal }) else {
        panic!("no exits");
    };
    let exit = exits[0].clone().unwrap();
    assert!(exit.ordered && !exit.forced, "{exit:?}");
    assert!(!runs(started[0].pid) && runs(started[1].pid));
    assert!(lab.read("logs/val-0.log").contains("oops"));
    assert_eq!(lab.read("config/val-0/node.toml"), "port = 7\n");
    let Answer::Listing { entries, cut: false } = lab.order(OrderBody::List { folder: None }) else {
        panic!("no listing");
    };
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["config/val-0/node.toml", "logs/val-0.log", "logs/val-1.log"]);

    let run = node("run-1");
    assert_eq!(lab.refused(OrderBody::Remove { run: run.clone() }).what, What::Busy);
    assert_eq!(
        lab.order(OrderBody::Stop { grace_ms: 60_000 }),
        Answer::Stopped { forced: vec![] }
    );
    assert!(!runs(started[1].pid));
    assert_eq!(lab.order(OrderBody::Remove { run }), Answer::Done);
    assert!(!host.root().join("runs/run-1").exists());
    assert_eq!(lab.refused(OrderBody::Renew { lease_ms: 9 }).what, What::Lease);
}

#[test]
fn an_upload_goes_on_where_it_was_cut_off_and_what_is_there_is_skipped() {
    let host = Host::new();
    let mut script = OBEDIENT.as_bytes().to_vec();
    script.extend((0..2 * CHUNK_BYTES).map(|at| b"# \n"[at % 3]));
    let build = Build::of(&script);
    let has = || OrderBody::Has {
        digests: vec![build.packed.digest, Digest::ZERO],
    };
    let mut lab = host.attach();
    lab.order(hello(None));
    lab.order(build.put(&build.packed.chunks[0]));
    drop(lab);
    let (mut lab, _) = host.lab("run-1", 60_000);
    let have = CHUNK_BYTES as u64;
    assert_eq!(
        lab.order(has()),
        Answer::Holds {
            held: vec![Holding::Partial(have), Holding::Partial(0)]
        }
    );
    // Sent all at once, and answered in order.
    let rest = build.packed.rest(have);
    let ids: Vec<u64> = rest.iter().map(|chunk| lab.send(build.put(chunk))).collect();
    let answers: Vec<Answer> = ids.into_iter().map(|id| lab.answer(id)).collect();
    assert_eq!(answers.last(), Some(&Answer::Holding(Holding::Whole)));
    lab.start(&build, &["val-0"]);
    assert_eq!(lab.announced(1).len(), 1);
    let (mut other, _) = host.lab("run-2", 60_000);
    assert!(matches!(other.order(has()), Answer::Holds { held } if held[0] == Holding::Whole));
    other.start(&build, &["val-0"]);
}

#[test]
fn a_lab_that_comes_back_misses_nothing() {
    let host = Host::new();
    let (mut lab, first) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let started = lab.start(&build, &["val-0", "val-1"]);
    lab.announced(2);
    let seen = lab.seen;
    drop(lab);
    // Nobody listens while this one ends.
    Command::new("kill")
        .args(["-9", &started[0].pid.to_string()])
        .status()
        .unwrap();
    until("the node ends", || (!runs(started[0].pid)).then_some(()));
    let (mut lab, again) = host.lab_again("run-1", 60_000, seen);
    assert!(
        again.resumed && again.missed == 0 && again.pid == first.pid,
        "{again:?}"
    );
    assert!(matches!(again.nodes[1].state, NodeState::Running(Some(_))), "{again:?}");
    let ended = |event: &NodeEvent| match event {
        NodeEvent::Ended { node, exit, .. } => Some((node.clone(), exit.clone())),
        _ => None,
    };
    let (event, (name, exit)) = lab.event(ended);
    assert!(event.sequence == seen + 1 && name == node("val-0"), "{event:?}");
    assert!(
        exit.signal == Some(9) && !exit.ordered && exit.tail.contains(&"oops".to_owned()),
        "{exit:?}"
    );
    assert!(runs(started[1].pid));
}

#[test]
fn a_second_lab_takes_a_run_over() {
    let host = Host::new();
    let (mut old, _) = host.lab("run-1", 60_000);
    let (mut new, answer) = host.lab("run-1", 60_000);
    assert!(answer.resumed);
    until("the first connection ends", || old.is_over().then_some(()));
    assert_eq!(new.order(OrderBody::Renew { lease_ms: 1000 }), Answer::Done);
    let Answer::Status { runs, .. } = new.order(OrderBody::Status) else {
        panic!("no status");
    };
    assert!(runs.len() == 1 && runs[0].attached, "{runs:?}");
}

#[test]
fn the_end_of_the_lease_stops_everything_and_then_the_agent() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 1500);
    let (obedient, stubborn) = (Build::of(OBEDIENT.as_bytes()), Build::of(STUBBORN.as_bytes()));
    lab.upload(&obedient);
    lab.upload(&stubborn);
    let mut started = lab.start(&obedient, &["val-0"]);
    started.extend(lab.start(&stubborn, &["val-1"]));
    lab.announced(2);
    let seen = lab.seen;
    drop(lab);
    let began = Instant::now();
    until("all nodes end", || {
        started.iter().all(|one| !runs(one.pid)).then_some(())
    });
    assert!(began.elapsed().as_millis() > 500, "not at once");
    let (mut lab, again) = host.lab_again("run-1", 60_000, seen);
    assert!(again.resumed && again.pid == answer.pid);
    let (_, forced) = lab.event(|event| match event {
        NodeEvent::LeaseEnded { forced } => Some(forced.clone()),
        _ => None,
    });
    assert_eq!(forced, [node("val-1")]);
    assert_eq!(lab.refused(OrderBody::Renew { lease_ms: 9000 }).what, What::Lease);
    assert_eq!(lab.refused(obedient.start(&["val-0"])).what, What::Lease);
    assert!(
        lab.read("logs/val-1.log").contains("ready"),
        "what it left can be collected"
    );
    drop(lab);
    until("the agent ends", || (!runs(answer.pid)).then_some(()));
    assert!(!host.root().join("agent.sock").exists());
    // The next one finds the folder, and knows that nothing of the run lives.
    let mut lab = host.attach();
    lab.order(hello(None));
    let Answer::Status { runs, .. } = lab.order(OrderBody::Status) else {
        panic!("no status");
    };
    assert!(
        runs[0].run == node("run-1") && runs[0].lease_left_ms.is_none(),
        "{runs:?}"
    );
    assert_eq!(lab.order(OrderBody::Remove { run: node("run-1") }), Answer::Done);
}

#[test]
fn an_agent_whose_folder_is_gone_ends_when_it_has_nothing_to_do() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 1000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let started = lab.start(&build, &["val-0"]);
    drop(lab);
    fs::remove_dir_all(host.root()).unwrap();
    until("the node ends", || (!runs(started[0].pid)).then_some(()));
    until("the agent ends", || (!runs(answer.pid)).then_some(()));
}

#[test]
fn a_lease_that_is_renewed_does_not_end() {
    let host = Host::new();
    let (mut lab, _) = host.lab("run-1", 1000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let started = lab.start(&build, &["val-0"]);
    let began = Instant::now();
    while began.elapsed().as_millis() < 2500 {
        assert_eq!(lab.order(OrderBody::Renew { lease_ms: 1000 }), Answer::Done);
        thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(runs(started[0].pid));
}

#[test]
fn nothing_outlives_an_agent_that_is_killed_and_the_next_one_says_so() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let started = lab.start(&build, &["val-0", "val-1", "val-2"]);
    lab.announced(3);
    Command::new("kill")
        .args(["-9", &answer.pid.to_string()])
        .status()
        .unwrap();
    until("all nodes end", || {
        started.iter().all(|one| !runs(one.pid)).then_some(())
    });
    until("the connection ends", || lab.is_over().then_some(()));
    let (_, again) = host.lab_again("run-1", 60_000, lab.seen);
    assert!(
        !again.resumed && again.nodes.is_empty() && again.pid != answer.pid,
        "{again:?}"
    );
}

#[test]
fn a_node_that_heeds_nothing_is_ended_by_the_next_agent() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    let build = Build::of(STUBBORN.as_bytes());
    lab.upload(&build);
    let pid = lab.start(&build, &["val-0"])[0].pid;
    lab.announced(1);
    Command::new("kill")
        .args(["-9", &answer.pid.to_string()])
        .status()
        .unwrap();
    until("the connection ends", || lab.is_over().then_some(()));
    assert!(runs(pid), "it asked for no signal and reads no stdin");
    let (_, again) = host.lab("run-1", 60_000);
    assert!(!runs(pid) && !again.resumed);
    let log = fs::read_to_string(host.root().join("agent.log")).unwrap();
    assert!(log.contains("ended 1 processes"), "{log}");
}

#[test]
fn an_agent_that_is_told_to_end_stops_its_nodes() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let started = lab.start(&build, &["val-0"]);
    lab.announced(1);
    Command::new("kill").arg(answer.pid.to_string()).status().unwrap();
    until("the agent ends", || (!runs(answer.pid)).then_some(()));
    assert!(!runs(started[0].pid));
}

#[test]
fn labs_that_attach_at_once_get_one_agent() {
    let host = Host::new();
    let pids: Vec<u32> = thread::scope(|scope| {
        let one = |number: usize| {
            let host = &host;
            scope.spawn(move || host.lab(&format!("run-{number}"), 60_000).1.pid)
        };
        let attached: Vec<_> = (0..8).map(one).collect();
        attached.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    let log = fs::read_to_string(host.root().join("agent.log")).unwrap();
    assert_eq!(log.matches("began as process").count(), 1, "{log}");
}

#[test]
fn answers_are_given_after_the_last_order_was_sent() {
    let host = Host::new();
    let (mut lab, _) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    lab.start(&build, &["val-0"]);
    let id = lab.send(OrderBody::Stop { grace_ms: 60_000 });
    lab.finish();
    assert!(matches!(lab.answer(id), Answer::Stopped { .. }));
    until("the connection ends", || lab.is_over().then_some(()));
}

#[test]
fn samples_and_clock_stamps_come_from_the_host() {
    let host = Host::new();
    let (mut lab, _) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let started = lab.start(&build, &["val-0"]);
    let sample = OrderBody::Sample {
        interval_ms: 100,
        private: true,
    };
    assert_eq!(lab.order(sample), Answer::Done);
    let sampled = |event: &NodeEvent| match event {
        NodeEvent::Sampled { host, nodes } => Some((*host, nodes.clone())),
        _ => None,
    };
    let (_, (machine, nodes)) = lab.event(sampled);
    assert!(machine.memory_available_bytes > 0 && nodes[0].pid == started[0].pid);
    assert!(
        nodes[0].usage.rss_bytes > 0 && nodes[0].usage.private_bytes > 0,
        "{nodes:?}"
    );
    lab.event(sampled);
    let off = OrderBody::Sample {
        interval_ms: 0,
        private: false,
    };
    assert_eq!(lab.order(off), Answer::Done);

    // One machine, two origins: the bounds hold the truth, which is known here.
    let origin = Instant::now();
    let lab_us = || u64::try_from(origin.elapsed().as_micros()).unwrap();
    let mut bounds = ClockBounds::UNKNOWN;
    for _ in 0..20 {
        let sent = lab_us();
        let Answer::Clock {
            sent_us,
            received_us,
            answered_us,
        } = lab.order(OrderBody::Clock { sent_us: sent })
        else {
            panic!("no stamps");
        };
        assert!(sent_us == sent && answered_us >= received_us);
        bounds = bounds.observe(sent, received_us, answered_us, lab_us()).unwrap();
    }
    assert!(bounds.half_width_us() < 1_000_000, "{bounds:?}");
}

#[test]
fn the_program_says_what_it_is() {
    let said = Command::new(agent()).arg("version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let digest = Digest::of_bytes(&fs::read(agent()).unwrap()).to_string();
    assert!(
        said.starts_with("regatta-agent ") && said.trim_end().ends_with(&digest),
        "{said}"
    );
    let said = Command::new(agent()).arg("attach").output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8(said.stderr).unwrap().contains("--root DIR"));
}

#[test]
fn a_node_that_writes_without_end_has_a_bounded_log() {
    let host = Host::new();
    let (mut lab, _) = host.lab("run-1", 60_000);
    let build = Build::of(b"#!/bin/sh\necho ready\nhead -c 300000 /dev/zero | tr '\\0' x\necho\necho end\n");
    lab.upload(&build);
    lab.start(&build, &["val-0"]);
    lab.event(|event| matches!(event, NodeEvent::Ended { .. }).then_some(()));
    let Answer::Listing { entries, .. } = lab.order(OrderBody::List {
        folder: Some(named("logs")),
    }) else {
        panic!("no listing");
    };
    let bytes: u64 = entries.iter().map(|entry| entry.size).sum();
    assert!((1..=10_000).contains(&bytes), "{entries:?}");
}

#[test]
fn replies_to_a_lab_that_does_not_read_do_not_pile_up() {
    let host = Host::new();
    let (_lab, answer) = host.lab("run-1", 60_000);
    // Asks for far more than any pipe holds, and reads nothing of it.
    let mut command = host.command();
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut deaf = command.spawn().unwrap();
    let mut stdin = deaf.stdin.take().unwrap();
    let asking = thread::spawn(move || {
        use std::io::Write;
        let orders = (1..3000).map(|id| regatta_fleet::Order {
            id,
            body: match id {
                1 => hello(Some(("run-1", 60_000, 0))),
                _ => OrderBody::List { folder: None },
            },
        });
        orders
            .map(|order| stdin.write_all(&regatta_fleet::encode_frame(&order).unwrap()))
            .all(|sent| sent.is_ok())
    });
    let began = Instant::now();
    while began.elapsed().as_millis() < 500 {
        // Others are served meanwhile.
        let mut other: Lab = host.attach();
        assert!(matches!(other.order(hello(None)), Answer::Hello(_)));
    }
    let usage = regatta_process::usage(answer.pid.cast_signed(), true).unwrap();
    assert!(usage.private_bytes < 64 << 20, "{usage:?}");
    deaf.kill().unwrap();
    deaf.wait().unwrap();
    asking.join().unwrap();
}
