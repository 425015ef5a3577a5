//! The program `regatta-node` as a person or the lab meets it: processes, streams, exit codes.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_regatta-node");

/// A folder with a key and the configuration of a validator alone on its network.
struct Folder {
    dir: TempDir,
    ip: String,
}

impl Folder {
    /// `test` keeps the addresses of tests apart, the process id those of two runs at a time.
    fn new(test: u8) -> Self {
        let process = std::process::id();
        let ip = format!("127.{}.{}.{test}", 160 + process / 256 % 64, process % 256);
        let folder = Self {
            dir: tempfile::tempdir().unwrap(),
            ip,
        };
        let made = run(&["keygen", "--out", &folder.file("key.pem")]);
        let key = stdout(&made);
        fs::write(
            folder.path("node.toml"),
            format!(
                "chain = \"test\"\nname = \"val-0\"\nkey_file = \"key.pem\"\ndata_dir = \"data\"\nip = \"{}\"\n\
                 p2p_port = 7000\nhttp_port = 7001\n[store]\ndurable = false\n\
                 [[instance]]\nid = \"main\"\n[[instance.validator]]\nkey = \"{}\"\nweight = 1\n",
                folder.ip,
                key.trim()
            ),
        )
        .unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn http(&self) -> String {
        format!("{}:7001", self.ip)
    }

    /// Runs a command against the node of this folder.
    fn ask(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--to", &self.http()]].concat())
    }
}

/// A running node; killed when dropped.
struct Node {
    child: Child,
    stdin: Option<ChildStdin>,
    listening: serde_json::Value,
}

impl Node {
    /// Starts a node and waits for its line on stdout.
    fn start(folder: &Folder) -> Self {
        // The first start in a folder is that of a new node.
        let is_first = !folder.path("data").exists();
        let mut child = Command::new(PROGRAM)
            .args(["run", "--stop-with-stdin", "--log-format", "json", "--config"])
            .arg(folder.path("node.toml"))
            .args(is_first.then_some("--new"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.path("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let log = || fs::read_to_string(folder.path("log")).unwrap();
        let listening = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}{}", log()));
        Self {
            stdin: child.stdin.take(),
            child,
            listening,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn end(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Checks the exit code and that stderr holds an error, its help and each part.
fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains("error: "), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is missing: {stderr}");
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn keygen_makes_a_private_file_and_never_overwrites() {
    let folder = Folder::new(1);
    assert_eq!(mode_of(&folder.path("key.pem")), 0o600);
    let before = fs::read(folder.path("key.pem")).unwrap();
    let again = run(&["keygen", "--out", &folder.file("key.pem")]);
    assert_fails(&again, 2, &["exists", " help: "]);
    assert_eq!(fs::read(folder.path("key.pem")).unwrap(), before);
    let other = stdout(&run(&["keygen", "--json", "--out", &folder.file("other.pem")]));
    let made: serde_json::Value = serde_json::from_str(&other).unwrap();
    assert_eq!(made["key"].as_str().unwrap().len(), 64);
    assert_ne!(fs::read(folder.path("other.pem")).unwrap(), before);
}

#[test]
fn a_write_is_final_and_survives_a_restart() {
    let folder = Folder::new(2);
    let node = Node::start(&folder);
    assert_eq!(node.listening["event"], "listening");
    assert_eq!(node.listening["http"], folder.http());
    let key = folder.file("key.pem");
    let put = ["send", "put", "colour", "blue", "--wait=60", "--json", "--key", &key];
    let sent: serde_json::Value = serde_json::from_str(&stdout(&folder.ask(&put))).unwrap();
    assert_eq!(sent["status"]["executed"]["outcome"], "ok");
    node.signal("TERM");
    assert_eq!(node.end(), Some(0));

    let mut node = Node::start(&folder);
    assert!(node.listening["records_replayed"].as_u64().unwrap() > 0);
    assert_eq!(stdout(&folder.ask(&["query", "state", "colour"])), "blue\n");
    assert_eq!(
        stdout(&folder.ask(&["query", "state", "636f6c6f7572", "--hex"])),
        "blue\n"
    );
    let id = sent["id"].as_str().unwrap();
    assert!(stdout(&folder.ask(&["query", "tx", id])).starts_with("executed at height 1, position 0: ok"));
    // The next sequence number follows the one that was used before the restart.
    let opaque = ["send", "opaque", "hello", "--wait=60", "--key", &key];
    assert!(stdout(&folder.ask(&opaque)).contains(": ok"));
    // Whoever holds the other end of stdin stops the node by closing it.
    drop(node.stdin.take());
    assert_eq!(node.end(), Some(0));
}

#[test]
fn everything_that_can_be_asked_is_answered() {
    let folder = Folder::new(3);
    let _node = Node::start(&folder);
    let client = regatta_client::Client::new(folder.http().parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert!(
        runtime
            .block_on(client.wait_ready(std::time::Duration::from_secs(60)))
            .unwrap()
            .ready
    );
    let blobs = folder.ask(&["send", "blob", "x", "--count", "20", "--wait=60", "--json"]);
    assert_eq!(stdout(&blobs).lines().count(), 20);
    let block = stdout(&folder.ask(&["query", "block", "1"]));
    assert!(block.contains("signed by  1 validators with weight 1 of 1"), "{block}");
    assert!(stdout(&folder.ask(&["query", "blocks", "--count", "5"])).starts_with("main        1 "));
    let latest: serde_json::Value = serde_json::from_str(&stdout(&folder.ask(&["query", "latest", "--json"]))).unwrap();
    assert_eq!(latest["instances"][0]["instance"], "main");
    assert!(stdout(&folder.ask(&["query", "peers"])).starts_with("PEER"));
    assert!(stdout(&folder.ask(&["status"])).starts_with("val-0 of test is ready\n"));
    let running: serde_json::Value = serde_json::from_str(&stdout(&folder.ask(&["version", "--json"]))).unwrap();
    let own: serde_json::Value = serde_json::from_str(&stdout(&run(&["version", "--json"]))).unwrap();
    assert_eq!(running["binary"], own["binary"]);
    let digest = regatta_base::Digest::of_bytes(&fs::read(PROGRAM).unwrap());
    assert_eq!(own["binary"], digest.to_string());
}

#[test]
fn watching_shows_what_happens() {
    let folder = Folder::new(4);
    let _node = Node::start(&folder);
    let mut watch = Command::new(PROGRAM)
        .args(["watch", "statuses", "--count", "1", "--json", "--to", &folder.http()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(watch.stdout.take().unwrap());
    // Until the subscription is in place nothing shows up, so send until something does.
    let (seen, line) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        events.read_line(&mut line).unwrap();
        seen.send(line).unwrap();
    });
    let mut number = 0;
    let line = loop {
        stdout(&folder.ask(&["send", "blob", &format!("n{number}"), "--wait=60"]));
        number += 1;
        if let Ok(line) = line.try_recv() {
            break line;
        }
    };
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["items"][0][1], "ok");
    reader.join().unwrap();
    assert!(watch.wait().unwrap().success());
}

#[test]
fn refused_transactions_have_an_exit_code_of_their_own() {
    let folder = Folder::new(5);
    let _node = Node::start(&folder);
    stdout(&folder.ask(&["send", "blob", "once", "--wait=60"]));
    let again = folder.ask(&["send", "blob", "once"]);
    assert_fails(&again, 3, &["0 of 1 transactions", " help: "]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("refused: duplicate"));
    let nothing = folder.ask(&["query", "block", "999999"]);
    assert_fails(&nothing, 1, &["not_found", " help: /v1/latest"]);
    let instance = folder.ask(&["query", "state", "x", "--instance", "none"]);
    assert_fails(&instance, 1, &["unknown_instance", "use one of: main"]);
}

#[test]
fn ports_and_folders_in_use_name_their_holder() {
    let folder = Folder::new(6);
    let node = Node::start(&folder);
    let holder = format!("process {}", node.child.id());
    let config = folder.file("node.toml");
    let second = run(&["run", "--config", &config]);
    assert_fails(&second, 1, &["7001", "control interface", &holder, " help: "]);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("http_port = 7001", "http_port = 7002")).unwrap();
    assert_fails(&run(&["run", "--config", &config]), 1, &["7000", &holder, " help: "]);
    fs::write(&config, text.replace("7001", "7002").replace("7000", "7003")).unwrap();
    assert_fails(&run(&["run", "--config", &config]), 1, &["data", &holder, " help: "]);
}

#[test]
fn only_the_first_start_of_a_node_is_new() {
    let folder = Folder::new(15);
    let config = folder.file("node.toml");
    let node = Node::start(&folder);
    node.signal("TERM");
    node.end();
    let again = run(&["run", "--config", &config, "--new"]);
    assert_fails(&again, 1, &["--new", "data", " help: start without --new"]);
    let node = Node::start(&folder);
    stdout(&folder.ask(&["send", "blob", "it votes by its journal", "--wait=60"]));
    node.signal("TERM");
    node.end();
    // Without it nobody knows what this node said, and nobody else could say.
    fs::remove_dir_all(folder.path("data")).unwrap();
    fs::create_dir(folder.path("data")).unwrap();
    let node = Node::start(&folder);
    let status = folder.ask(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned() + &String::from_utf8_lossy(&status.stderr);
    assert!(text.contains("its journal is gone"), "{text}");
    node.signal("TERM");
    node.end();
    assert!(
        fs::read_to_string(folder.path("log"))
            .unwrap()
            .contains("makes no statement")
    );
}

#[test]
fn a_node_with_a_bad_configuration_or_key_does_not_start() {
    let folder = Folder::new(7);
    let config = folder.file("node.toml");
    assert_fails(
        &run(&["run", "--config", &folder.file("none.toml")]),
        2,
        &["none.toml", " help: "],
    );
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("7001", "7000").replace("weight = 1", "weight = 0"),
    )
    .unwrap();
    let two = run(&["run", "--config", &config]);
    assert_fails(&two, 2, &["two ports", "weight 0"]);
    fs::write(&config, format!("{text}[testing]\nbehaviour = \"equivocate\"\n")).unwrap();
    // A program that others run follows the protocol, whatever its configuration says.
    #[cfg(not(feature = "byzantine"))]
    assert_fails(&run(&["run", "--config", &config]), 1, &["built for tests", " help: "]);
    fs::write(&config, &text).unwrap();
    fs::set_permissions(folder.path("key.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_fails(
        &run(&["run", "--config", &config]),
        2,
        &["mode 0640", " help: chmod 600"],
    );
    let send = [
        "send",
        "opaque",
        "x",
        "--key",
        &folder.file("key.pem"),
        "--to",
        "127.0.0.1:1",
    ];
    assert_fails(&run(&send), 2, &[" help: chmod 600"]);
}

#[test]
fn a_node_bound_to_another_parent_does_not_start() {
    let folder = Folder::new(8);
    let config = folder.file("node.toml");
    let other = run(&["run", "--config", &config, "--die-with-parent", "1"]);
    assert_fails(&other, 1, &["the parent is process"]);
}

#[test]
fn nobody_there_and_wrong_usage_have_their_codes() {
    assert_fails(&run(&["status", "--to", "127.0.0.1:1"]), 1, &["127.0.0.1:1", " help: "]);
    assert_fails(&run(&["no-such-verb"]), 2, &["no-such-verb"]);
    assert_fails(
        &run(&["query", "tx", "xyz", "--to", "127.0.0.1:1"]),
        2,
        &["64 hexadecimal digits"],
    );
    assert_fails(
        &run(&["query", "state", "0x", "--hex", "--to", "127.0.0.1:1"]),
        2,
        &["without 0x"],
    );
    let long = "k".repeat(257);
    let put = ["send", "put", &long, "v", "--key", "none.pem", "--to", "127.0.0.1:1"];
    assert_fails(&run(&put), 2, &["1 to 256 bytes"]);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = Folder::new(9);
    let _node = Node::start(&folder);
    stdout(&folder.ask(&["send", "blob", "x", "--count", "10", "--wait=60"]));
    let mut child = Command::new(PROGRAM)
        .args(["query", "blocks", "--to", &folder.http()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_killed_node_starts_again_from_its_journal() {
    let folder = Folder::new(10);
    let mut node = Node::start(&folder);
    let key = folder.file("key.pem");
    stdout(&folder.ask(&["send", "put", "k", "v", "--wait=60", "--key", &key]));
    if let Some(stdin) = &mut node.stdin {
        // What is written to stdin means nothing.
        stdin.write_all(b"quit\n").unwrap();
    }
    assert!(stdout(&folder.ask(&["status"])).contains("is ready"));
    node.signal("KILL");
    assert_eq!(node.end(), None);
    let _node = Node::start(&folder);
    assert_eq!(stdout(&folder.ask(&["query", "state", "k"])), "v\n");
}
