//! A lab in small: it speaks to an agent by way of `attach`, as a lab does over SSH.

use regatta_base::{Digest, SecretKey, encode};
use regatta_fleet::{
    Answer, Event, File, Frames, Hello, HelloAnswer, Holding, Name, NodeEvent, NodeStart, Order, OrderBody, Packed,
    Policy, Program, Refusal, Reply, RunHello, Started, What, encode_frame, limits::PROTOCOL,
};
use regatta_seal::{Artifact, Bundle, Manifest, unix_seconds};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How long anything may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// The program under test; REGATTA_TEST_AGENT names another build of it, such as the static one that hosts get.
pub fn agent() -> PathBuf {
    let other = std::env::var_os("REGATTA_TEST_AGENT");
    other.map_or_else(|| env!("CARGO_BIN_EXE_regatta-agent").into(), PathBuf::from)
}

/// A name or path from a text.
pub fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Looks again and again until `look` finds something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether process `pid` runs.
pub fn runs(pid: u32) -> bool {
    regatta_process::start_ticks(pid).is_some()
}

/// A folder for an agent, which is ended with it.
pub struct Host {
    pub folder: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("fleet/.regatta")
    }

    /// A connection, and nothing said on it.
    pub fn attach(&self) -> Lab {
        Lab::over(self.command())
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(agent());
        command.arg("attach").arg("--root").arg(self.root());
        command
    }

    /// A connection for the run `run`.
    pub fn lab(&self, run: &str, lease_ms: u64) -> (Lab, HelloAnswer) {
        self.lab_again(run, lease_ms, 0)
    }

    /// A connection for the run `run` of a lab that has seen events up to `last_event`.
    pub fn lab_again(&self, run: &str, lease_ms: u64, last_event: u64) -> (Lab, HelloAnswer) {
        let mut lab = self.attach();
        let answer = lab.order(hello(Some((run, lease_ms, last_event))));
        match answer {
            Answer::Hello(hello) => (lab, *hello),
            other => panic!("{other:?}"),
        }
    }

    /// The process of the agent, from its own log.
    pub fn agent_pid(&self) -> Option<u32> {
        let log = std::fs::read_to_string(self.root().join("agent.log")).ok()?;
        log.lines()
            .rev()
            .find_map(|line| line.split_once("began as process ")?.1.parse().ok())
    }
}

impl Host {
    /// Ends the agent.
    pub fn end(&self) {
        // Started by this test: its log is in a folder that nobody else has.
        if let Some(pid) = self.agent_pid().filter(|&pid| runs(pid)) {
            let _ = Command::new("kill").arg(pid.to_string()).status();
            until("the agent ends", || (!runs(pid)).then_some(()));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

/// The key that signs in these tests.
pub fn key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

/// A hello for a run with its lease and the last event seen.
pub fn hello(run: Option<(&str, u64, u64)>) -> OrderBody {
    let policy = Policy {
        pinned: vec![key().public()],
        threshold: 1,
        sequence_min: 0,
    };
    OrderBody::Hello(Hello {
        protocol: PROTOCOL,
        version: "test".to_owned(),
        run: run.map(|(run, lease_ms, last_event)| RunHello {
            run: named(run),
            lease_ms,
            last_event,
            policy,
        }),
    })
}

/// One end of a connection.
pub struct Lab {
    child: Child,
    stdin: Option<ChildStdin>,
    incoming: mpsc::Receiver<Reply>,
    events: VecDeque<Event>,
    next: u64,
    /// Number of the last event that came.
    pub seen: u64,
}

impl Lab {
    pub fn over(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (replies, incoming) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut frames, mut buffer) = (Frames::default(), vec![0; 1 << 16]);
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                frames.push(&buffer[..length]);
                while let Some(reply) = frames.take().unwrap() {
                    if replies.send(reply).is_err() {
                        return;
                    }
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            incoming,
            events: VecDeque::new(),
            next: 1,
            seen: 0,
        }
    }

    /// Sends an order; its answer has the number that is returned.
    pub fn send(&mut self, body: OrderBody) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send_bytes(&encode_frame(&Order { id, body }).unwrap());
        id
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        // The agent may have hung up on what came before.
        let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
    }

    /// Says that no more orders come.
    pub fn finish(&mut self) {
        self.stdin = None;
    }

    fn take(&mut self, what: &str) -> Option<(u64, Answer)> {
        match self.incoming.recv_timeout(DEADLINE) {
            Ok(Reply::Answer { id, body }) => return Some((id, body)),
            Ok(Reply::Event(event)) => {
                assert!(event.sequence > self.seen, "events come in order");
                self.seen = event.sequence;
                self.events.push_back(event);
            }
            Err(error) => panic!("{what}: {error}"),
        }
        None
    }

    /// The answer to order `id`.
    pub fn answer(&mut self, id: u64) -> Answer {
        loop {
            if let Some((got, answer)) = self.take("an answer") {
                assert_eq!(got, id, "{answer:?}");
                return answer;
            }
        }
    }

    /// Sends an order and waits for its answer.
    pub fn order(&mut self, body: OrderBody) -> Answer {
        let id = self.send(body);
        self.answer(id)
    }

    /// Sends an order that is refused.
    pub fn refused(&mut self, body: OrderBody) -> Refusal {
        match self.order(body) {
            Answer::Refused { what, message } => Refusal { what, message },
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The next event that `wanted` makes something of; those before it are passed over.
    pub fn event<T>(&mut self, wanted: impl Fn(&NodeEvent) -> Option<T>) -> (Event, T) {
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(found) = wanted(&event.body) {
                    return (event, found);
                }
            }
            assert_eq!(self.take("an event"), None);
        }
    }

    /// Whether the agent has hung up.
    pub fn is_over(&mut self) -> bool {
        matches!(self.incoming.try_recv(), Err(mpsc::TryRecvError::Disconnected))
    }

    /// Sends a program as a whole.
    pub fn upload(&mut self, build: &Build) -> Holding {
        let mut held = Holding::Partial(0);
        for chunk in &build.packed.chunks {
            held = match self.order(build.put(chunk)) {
                Answer::Holding(held) => held,
                other => panic!("{other:?}"),
            };
        }
        held
    }

    /// Starts nodes from a program that is there.
    pub fn start(&mut self, build: &Build, nodes: &[&str]) -> Vec<Started> {
        match self.order(build.start(nodes)) {
            Answer::Started { program, nodes } => {
                assert_eq!(program, build.packed.digest);
                nodes
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the first line of each of so many nodes.
    pub fn announced(&mut self, nodes: usize) -> Vec<String> {
        let line = |event: &NodeEvent| match event {
            NodeEvent::Announced { line, .. } => Some(line.clone()),
            _ => None,
        };
        (0..nodes).map(|_| self.event(line).1).collect()
    }

    /// Reads a file of the run in pieces of 1,000 bytes.
    pub fn read(&mut self, path: &str) -> String {
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let (path, offset, length) = (named(path), bytes.len() as u64, 1000);
            match self.order(OrderBody::Read { path, offset, length }) {
                Answer::Data { chunk, size } => {
                    bytes.extend(chunk.expand().unwrap());
                    if bytes.len() as u64 >= size {
                        return String::from_utf8(bytes).unwrap();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // As when the connection is cut.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that was made and signed for a test.
#[derive(Clone)]
pub struct Build {
    pub packed: Packed,
    pub manifest: Manifest,
    pub bundle: Bundle,
}

/// A script as a program: it says `ready` and its arguments, and ends when its stdin does.
pub const OBEDIENT: &str = "#!/bin/sh\necho ready $*\necho oops >&2\nread line\nexit 4\n";
/// One that ends for nothing but SIGKILL.
pub const STUBBORN: &str = "#!/bin/sh\ntrap '' TERM HUP INT\necho ready $*\nwhile :; do sleep 0.1; done\n";

impl Build {
    pub fn of(script: &[u8]) -> Self {
        let packed = Packed::of(script).unwrap();
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let artifact = Artifact {
            path: "node".to_owned(),
            size: packed.total,
            blake3: packed.digest,
            mode: 0o555,
            target: target.clone(),
        };
        let manifest = Manifest {
            schema: 1,
            product: "node".to_owned(),
            version: "1.0.0".to_owned(),
            sequence: 5,
            commit: String::new(),
            dirty: false,
            lock: Digest::ZERO,
            rustc: String::new(),
            target,
            profile: "release".to_owned(),
            artifacts: vec![artifact],
            protocol: (1, 1),
            created: unix_seconds(),
            expires: unix_seconds() + 1000,
            previous: None,
            threshold: 1,
            byzantine: false,
        };
        let bundle = Bundle::sign(&manifest, &key());
        Self {
            packed,
            manifest,
            bundle,
        }
    }

    /// The same program under a manifest that was changed before it was signed.
    pub fn resigned(&self, change: impl FnOnce(&mut Manifest), key: &SecretKey) -> Self {
        let mut build = self.clone();
        change(&mut build.manifest);
        build.bundle = Bundle::sign(&build.manifest, key);
        build
    }

    pub fn put(&self, chunk: &regatta_fleet::Chunk) -> OrderBody {
        OrderBody::Put {
            digest: self.packed.digest,
            name: named("node"),
            total: self.packed.total,
            chunk: chunk.clone(),
        }
    }

    pub fn start(&self, nodes: &[&str]) -> OrderBody {
        let node = |name: &&str| NodeStart {
            node: named(name),
            arguments: vec![(*name).to_owned(), regatta_fleet::AGENT_PID.to_owned()],
            again: vec![(*name).to_owned(), "again".to_owned()],
            log_bytes_max: 10_000,
        };
        OrderBody::Start {
            program: Program {
                manifest: self.bundle.manifest.clone(),
                signatures: encode(&self.bundle.signatures),
            },
            nodes: nodes.iter().map(node).collect(),
        }
    }
}

/// The order to write one file.
pub fn place(path: &str, text: &str) -> OrderBody {
    OrderBody::Place {
        folders: Vec::new(),
        files: vec![File {
            path: named(path),
            mode: 0o600,
            bytes: text.into(),
        }],
    }
}

/// Names of everything below `folder`, hidden files too.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        names.extend(names_below(&entry.path()));
    }
    names.sort();
    names
}

fn names_below(path: &Path) -> Vec<String> {
    if path.is_dir() { names(path) } else { Vec::new() }
}

/// What an order that is refused for `what` says.
pub fn assert_refused(refusal: &Refusal, what: What, says: &str) {
    assert!(refusal.what == what && refusal.message.contains(says), "{refusal:?}");
}

/// The node's name.
pub fn node(name: &str) -> Name {
    named(name)
}
