//! A process that looks like a node from outside: for tests of everything around nodes, without a node.
//!
//! The test program itself is the process, started by a script that the lab seals and executes in place of a node.

use regatta_api::{
    NodeConfig,
    view::{BlockRange, InstanceLatest, Latest, Readiness, Version},
};
use regatta_base::{Digest, PublicKey};
use regatta_client::encode_body;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
};

const BEHAVIOUR: &str = "REGATTA_STANDIN";
const CONFIG: &str = "REGATTA_STANDIN_CONFIG";
const PROGRAM: &str = "REGATTA_STANDIN_PROGRAM";
/// What it writes before it dies.
pub(crate) const LAST_WORDS: &str = "the journal is on fire";

/// How a stand-in behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Is ready at once and answers.
    Healthy,
    /// Ends with exit code 7 before it listens.
    DiesAtStart,
    /// Listens and never gets ready.
    NeverReady,
    /// Says that it runs another program.
    Impostor,
}

/// Writes a script that becomes a stand-in when it is started with the arguments of a node.
pub(crate) fn script(folder: &Path, behaviour: Behaviour) -> PathBuf {
    let path = folder.join("regatta-node");
    let test = std::env::current_exe().unwrap();
    // The test program talks on stdout by itself: the announcement goes through descriptor 3.
    let text = format!(
        "#!/bin/sh\n{BEHAVIOUR}={behaviour:?} {CONFIG}=\"$3\" {PROGRAM}=\"$0\" exec '{}' \
         --exact testing::standin::process --ignored --nocapture 3>&1 1>/dev/null\n",
        test.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Tells the stand-in at `address` to die, and returns when it has taken note.
pub(crate) fn order_death(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /die HTTP/1.1\r\n\r\n").unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

/// The process of a stand-in; does nothing as an ordinary test.
#[test]
#[ignore = "is the process of a stand-in and not a test"]
fn process() {
    let Ok(behaviour) = std::env::var(BEHAVIOUR) else {
        return;
    };
    if behaviour == format!("{:?}", Behaviour::DiesAtStart) {
        die();
    }
    let config = std::fs::read_to_string(std::env::var(CONFIG).unwrap()).unwrap();
    let config = NodeConfig::parse(&config).unwrap();
    let mut program = Digest::of_bytes(&std::fs::read(std::env::var(PROGRAM).unwrap()).unwrap());
    if behaviour == format!("{:?}", Behaviour::Impostor) {
        program = Digest::ZERO;
    }
    let ready = behaviour != format!("{:?}", Behaviour::NeverReady);
    let listener = TcpListener::bind((config.ip, config.http_port)).unwrap();
    std::fs::write("/proc/self/fd/3", "{\"ready\":true}\n").unwrap();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        let config = config.clone();
        std::thread::spawn(move || serve(stream.unwrap(), &config, program, ready));
    }
}

fn die() -> ! {
    eprintln!("{LAST_WORDS}");
    std::process::exit(7);
}

fn serve(stream: TcpStream, config: &NodeConfig, program: Digest, ready: bool) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap();
        let body = answer(path, config, program, ready);
        let (status, body) = body.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        if reader.get_mut().write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn answer(path: &str, config: &NodeConfig, program: Digest, ready: bool) -> Option<Vec<u8>> {
    let peers = config.peers.len() as u64;
    match path.split('?').next()? {
        "/die" => die(),
        "/metrics" => Some(Vec::new()),
        "/v1/version" => Some(encode_body(&version(config, program)).unwrap()),
        "/v1/ready" => {
            let readiness = Readiness {
                ready,
                peers_connected: peers,
                peers_configured: peers,
                catching_up: false,
                waiting_for: if ready { String::new() } else { "a miracle".to_owned() },
            };
            Some(encode_body(&readiness).unwrap())
        }
        "/v1/latest" => {
            let row = InstanceLatest {
                instance: config.instances[0].id.clone(),
                height: 0,
                hash: Digest::ZERO,
                state_root: Digest::ZERO,
                round: 0,
                pending: 0,
                known_height: 0,
                first_height: 1,
                first_block: 1,
                snapshot_height: 0,
                snapshot_bytes: 0,
            };
            Some(encode_body(&Latest { instances: vec![row] }).unwrap())
        }
        "/v1/blocks" => Some(encode_body(&BlockRange { blocks: Vec::new() }).unwrap()),
        _ => None,
    }
}

fn version(config: &NodeConfig, program: Digest) -> Version {
    Version {
        version: "0".to_owned(),
        commit: "unknown".to_owned(),
        binary: program,
        target: String::new(),
        byzantine: false,
        profile: "debug".to_owned(),
        chain: config.chain.clone(),
        name: config.name.clone(),
        key: PublicKey([0; 32]),
    }
}
