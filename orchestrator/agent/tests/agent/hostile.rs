//! What damages, fills or lies: damaged programs, bad bundles, full disks, bytes that are no orders.

use crate::support::{Build, Host, OBEDIENT, agent, assert_refused, hello, key, named, names, place, until};
use regatta_base::{Digest, SecretKey};
use regatta_fleet::{
    Answer, Chunk, Compression, FaultTimer, Holding, OrderBody, Signal, TimedFault, What,
    limits::{CHUNK_BYTES, CONNECTIONS_MAX},
};
use regatta_seal::unix_seconds;
use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Command,
};

#[test]
fn a_program_that_is_not_what_its_digest_says_never_counts() {
    let host = Host::new();
    let (mut lab, _) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    let mut wrong = build.clone();
    wrong.packed.chunks[0] = Chunk {
        offset: 0,
        compression: Compression::None,
        bytes: OBEDIENT.replace("exit 4", "exit 5").into_bytes(),
    };
    assert_refused(
        &lab.refused(wrong.put(&wrong.packed.chunks[0])),
        What::Digest,
        "thrown away",
    );
    assert_eq!(names(&host.root().join("store")), ["partial"]);
    assert_refused(&lab.refused(build.start(&["val-0"])), What::Seal, "missing");
    assert_eq!(lab.upload(&build), Holding::Whole);
    // Altered on the host's disk after it had arrived.
    let path = host
        .root()
        .join("store")
        .join(build.packed.digest.to_string())
        .join("node");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let altered = OBEDIENT.replace("exit 4", "exit 5");
    fs::write(&path, altered).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    assert_refused(&lab.refused(build.start(&["val-0"])), What::Seal, "altered");
}

#[test]
fn bad_bundles_start_nothing() {
    let host = Host::new();
    let (mut lab, _) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let stranger = SecretKey::from_seed([9; 32]);
    let mut refused = |bad: &Build, says: &str| {
        let refusal = lab.refused(bad.start(&["val-0"]));
        assert_refused(&refusal, What::Seal, says);
    };
    refused(&build.resigned(|_| (), &stranger), "0 valid signatures");
    refused(
        &build.resigned(|manifest| manifest.expires = unix_seconds() - 5, &key()),
        "expired",
    );
    let riscv = "riscv64gc-unknown-none-elf".to_owned();
    refused(
        &build.resigned(|manifest| manifest.artifacts[0].target = riscv, &key()),
        "this host is",
    );
    refused(
        &build.resigned(|manifest| manifest.artifacts[0].size -= 1, &key()),
        "more than",
    );
    refused(
        &build.resigned(|manifest| manifest.artifacts.clear(), &key()),
        "names no artifact",
    );
    refused(
        &build.resigned(|manifest| manifest.byzantine = true, &key()),
        "break the protocol",
    );
    refused(
        &build.resigned(|manifest| manifest.artifacts[0].blake3 = Digest::ZERO, &key()),
        "missing",
    );
    let outside = |manifest: &mut regatta_seal::Manifest| {
        manifest.product = "../node".to_owned();
        manifest.artifacts[0].path = "../node".to_owned();
    };
    refused(&build.resigned(outside, &key()), "not a plain file name");
    for bit in [0, 77, 400] {
        let mut flipped = build.clone();
        flipped.bundle.manifest[bit / 8] ^= 1 << (bit % 8);
        refused(&flipped, "0 valid signatures");
    }
    assert!(!host.root().join("runs/run-1/logs").exists(), "nothing was started");
    assert_eq!(lab.start(&build, &["val-0"]).len(), 1, "the good one does");
}

#[test]
fn an_older_program_than_the_host_was_told_of_is_refused_for_good() {
    let host = Host::new();
    let build = Build::of(OBEDIENT.as_bytes());
    let (mut lab, _) = host.lab("run-1", 60_000);
    lab.upload(&build);
    let mut demanding = host.attach();
    let OrderBody::Hello(mut hello) = hello(Some(("run-2", 60_000, 0))) else {
        panic!("no hello");
    };
    hello.run.as_mut().unwrap().policy.sequence_min = 6;
    assert!(matches!(demanding.order(OrderBody::Hello(hello)), Answer::Hello(_)));
    assert_refused(&demanding.refused(build.start(&["val-0"])), What::Seal, "at least 6");
    assert_refused(&lab.refused(build.start(&["val-0"])), What::Seal, "at least 6");
    let newer = build.resigned(|manifest| manifest.sequence = 6, &key());
    lab.start(&newer, &["val-0"]);
}

#[test]
fn bytes_that_are_no_orders_end_their_connection_and_nothing_else() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    let mut seed = 1_u64;
    for round in 0..40_usize {
        let mut stream = UnixStream::connect(host.root().join("agent.sock")).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..round * 20 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push((seed >> 56) as u8);
        }
        if round % 2 == 0 {
            // A length that fits, so that the rest is taken for an order.
            let length = bytes.len().saturating_sub(4) as u32;
            bytes
                .iter_mut()
                .zip(length.to_le_bytes())
                .for_each(|(byte, length)| *byte = length);
        }
        // The agent may hang up before all is written.
        let _ = stream.write_all(&bytes);
    }
    lab.send_bytes(&u32::MAX.to_le_bytes());
    assert!(matches!(lab.answer(0), Answer::Refused { what: What::Order, message } if message.contains("at most")));
    until("the connection ends", || lab.is_over().then_some(()));
    let (_, again) = host.lab("run-1", 60_000);
    assert!(again.resumed && again.pid == answer.pid);
}

/// Orders that are well formed and make no sense, with what each is refused for, where it is.
type Absurd = Vec<(OrderBody, Option<What>)>;

fn absurd_programs(build: &Build) -> Absurd {
    let put = |total, offset, length| OrderBody::Put {
        digest: Digest::ZERO,
        name: named("node"),
        total,
        chunk: Chunk {
            offset,
            compression: Compression::None,
            bytes: vec![7; length],
        },
    };
    let mut garbage = build.start(&["val-1"]);
    if let OrderBody::Start { program, .. } = &mut garbage {
        (program.manifest, program.signatures) = (vec![0xff; 9000], vec![0xdd; 70_000]);
    }
    let digests = vec![Digest::ZERO; 1025];
    vec![
        (garbage, Some(What::Seal)),
        (build.start(&["val-0"]), Some(What::Busy)),
        (build.start(&[]), None),
        (put(u64::MAX, 0, 1), Some(What::Order)),
        (put(0, 0, 1), Some(What::Order)),
        (put(9, u64::MAX, 9), Some(What::Order)),
        (put(9, 0, 0), Some(What::Order)),
        (put(9, 0, CHUNK_BYTES + 1), Some(What::Order)),
        (OrderBody::Has { digests }, Some(What::Order)),
    ]
}

fn absurd_files() -> Absurd {
    let read = |path: &str, offset, length| OrderBody::Read {
        path: named(path),
        offset,
        length,
    };
    let lose = |node: &str| OrderBody::LoseDisk { node: named(node) };
    let run = named("run-7");
    vec![
        (read("logs/val-0.log", u64::MAX, 9), None),
        (read("logs/val-0.log", 0, u64::MAX), Some(What::Order)),
        (read("logs", 0, 9), Some(What::Missing)),
        (read("logs/val-0.log/deeper", 0, 9), Some(What::System)),
        (place("logs/val-0.log/deeper", ""), Some(What::System)),
        (place("logs", ""), Some(What::System)),
        (lose("val-0"), Some(What::Busy)),
        (lose("val-7"), Some(What::Missing)),
        (OrderBody::Remove { run }, Some(What::Missing)),
    ]
}

fn absurd_times() -> Absurd {
    let most = u64::MAX;
    let timer = |begin_us, end_us| FaultTimer {
        id: u32::MAX,
        node: named("val-0"),
        fault: TimedFault::Pause,
        begin_us,
        end_us,
    };
    let faults = |timers| OrderBody::Faults { timers };
    let sample = |interval_ms, private| OrderBody::Sample { interval_ms, private };
    let kill = |nodes: &[&str]| OrderBody::Signal {
        nodes: nodes.iter().map(|name| named(name)).collect(),
        signal: Signal::Kill,
    };
    vec![
        (OrderBody::Renew { lease_ms: most }, None),
        (OrderBody::Clock { sent_us: most }, None),
        (faults(vec![timer(most, Some(most))]), None),
        (faults(vec![timer(1, Some(0))]), Some(What::Order)),
        (faults(vec![timer(most, None); 10_001]), Some(What::Order)),
        (sample(most, true), None),
        (sample(1, false), None),
        (kill(&["val-0", "val-7"]), Some(What::Missing)),
        (kill(&[]), None),
    ]
}

#[test]
fn orders_that_make_no_sense_are_answered_and_change_nothing() {
    let host = Host::new();
    let (mut lab, answer) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let pid = lab.start(&build, &["val-0"])[0].pid;
    lab.announced(1);
    for (order, expected) in [absurd_programs(&build), absurd_files(), absurd_times()].concat() {
        let shown = format!("{order:?}").chars().take(200).collect::<String>();
        let refused = match lab.order(order) {
            Answer::Refused { what, .. } => Some(what),
            _ => None,
        };
        assert_eq!(refused, expected, "{shown}");
    }
    assert!(regatta_process::start_ticks(pid).is_some(), "the node runs");
    assert_eq!(host.agent_pid(), Some(answer.pid));
    assert_eq!(names(&host.root().join("store/partial")), Vec::<String>::new());
    assert_eq!(
        lab.order(OrderBody::Stop { grace_ms: u64::MAX }),
        Answer::Stopped { forced: vec![] }
    );
}

#[test]
fn one_connection_too_many_is_told() {
    let host = Host::new();
    let (_lab, _) = host.lab("run-1", 60_000);
    // Whoever says nothing holds a place for a while; one that is given back is free at once.
    let connect = |_| UnixStream::connect(host.root().join("agent.sock")).unwrap();
    let silent: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(connect).collect();
    let said = host.command().stdin(std::process::Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert!(
        !said.status.success() && stderr.contains("too many connections"),
        "{stderr}"
    );
    drop(silent);
    until("a place is free", || {
        let said = host.command().stdin(std::process::Stdio::null()).output().unwrap();
        said.status.success().then_some(())
    });
}

#[test]
fn a_lab_of_another_version_and_one_without_a_hello_are_told() {
    let host = Host::new();
    let mut lab = host.attach();
    let OrderBody::Hello(mut old) = hello(None) else {
        panic!("no hello")
    };
    old.protocol = 0;
    assert_refused(&lab.refused(OrderBody::Hello(old)), What::Version, "help:");
    let mut lab = host.attach();
    assert_refused(&lab.refused(OrderBody::Status), What::Order, "hello");
    let mut lab = host.attach();
    lab.order(hello(None));
    assert_refused(&lab.refused(OrderBody::Renew { lease_ms: 9 }), What::Order, "no run");
    assert_refused(&lab.refused(hello(None)), What::Order, "second hello");
}

#[test]
fn programs_beyond_the_quota_are_refused_and_leave_nothing() {
    let host = Host::new();
    let mut command = host.command();
    let mut lab = crate::support::Lab::over({
        command.args(["--store-max", "100000"]);
        command
    });
    lab.order(hello(Some(("run-1", 60_000, 0))));
    let large = Build::of(&vec![b'#'; 200_000]);
    assert_refused(
        &lab.refused(large.put(&large.packed.chunks[0])),
        What::DiskFull,
        "--store-max",
    );
    assert_eq!(names(&host.root().join("store")), ["partial"]);
    assert_eq!(lab.upload(&Build::of(OBEDIENT.as_bytes())), Holding::Whole);
}

/// A file system of its own, of so many MiB; unmounted with the value.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(folder: &'a Path, mebibytes: u32) -> Self {
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder)
            .status();
        assert!(status.unwrap().success(), "mount");
        Self(folder)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: the agent's folder goes with its last user.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_is_said_and_nothing_half_written_stays() {
    if !nix::unistd::geteuid().is_root() {
        println!("not shown: only root may mount a small file system; the quota is shown by another test");
        return;
    }
    let host = Host::new();
    let _disk = Mounted::new(host.folder.path(), 40);
    let (mut lab, _) = host.lab("run-1", 60_000);
    let mut script = OBEDIENT.as_bytes().to_vec();
    let mut seed = 1_u64;
    script.resize_with(3 * CHUNK_BYTES, || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    });
    let build = Build::of(&script);
    lab.order(build.put(&build.packed.chunks[0]));
    let filler = host.folder.path().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    assert_refused(
        &lab.refused(build.put(&build.packed.chunks[1])),
        What::DiskFull,
        "disk is full",
    );
    assert_eq!(names(&host.root().join("store")), ["partial"]);
    while file.write_all(&[1; 4096]).is_ok() {}
    let refusal = lab.refused(place("config/val-0/big", &"x".repeat(900_000)));
    assert_refused(&refusal, What::DiskFull, "config/val-0/big");
    assert!(
        !names(&host.root().join("runs"))
            .iter()
            .any(|name| name.contains("big") || name.starts_with(".tmp"))
    );
    // Refused before a byte is written, where the disk is known to be too small.
    assert_refused(
        &lab.refused(build.put(&build.packed.chunks[0])),
        What::DiskFull,
        "stay free",
    );
    drop(file);
    fs::remove_file(filler).unwrap();
    assert_eq!(lab.upload(&build), Holding::Whole);
    // Before its disk goes, where it says which process it is.
    host.end();
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        println!("not shown: only root may give a folder away");
        return;
    }
    let host = Host::new();
    fs::create_dir_all(host.root()).unwrap();
    std::os::unix::fs::chown(host.root(), Some(1234), Some(1234)).unwrap();
    let said = host.command().output().unwrap();
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert!(!said.status.success() && stderr.contains("another user"), "{stderr}");
}

#[test]
fn nodes_learn_nothing_of_the_login_that_started_their_agent() {
    let host = Host::new();
    let mut command = host.command();
    command.env("SSH_AUTH_SOCK", "/run/keys").env("TOKEN", "secret");
    let mut lab = crate::support::Lab::over(command);
    lab.order(hello(Some(("run-1", 60_000, 0))));
    let build = Build::of(b"#!/bin/sh\necho ready $SSH_AUTH_SOCK $TOKEN\nread line\n");
    lab.upload(&build);
    lab.start(&build, &["val-0"]);
    assert_eq!(lab.announced(1), ["ready"]);
}

#[test]
fn a_second_agent_of_one_folder_does_not_start() {
    let host = Host::new();
    let (_lab, _) = host.lab("run-1", 60_000);
    let said = Command::new(agent())
        .arg("serve")
        .arg("--root")
        .arg(host.root())
        .output()
        .unwrap();
    assert!(!said.status.success());
    assert!(String::from_utf8(said.stderr).unwrap().contains("another agent"));
}

#[test]
fn a_node_cannot_make_the_agent_read_what_is_not_its_own() {
    let host = Host::new();
    let (mut lab, _) = host.lab("run-1", 60_000);
    let build = Build::of(b"#!/bin/sh\nln -s /etc/passwd logs/other.log\necho ready\nread line\n");
    lab.upload(&build);
    lab.start(&build, &["val-0"]);
    lab.announced(1);
    let read = OrderBody::Read {
        path: named("logs/other.log"),
        offset: 0,
        length: 10,
    };
    assert_refused(&lab.refused(read), What::Order, "symbolic link");
}
