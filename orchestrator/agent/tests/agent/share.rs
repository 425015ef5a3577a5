//! Programs that go from host to host: what a transfer guarantees, whoever is at its other end.

use super::support::{Build, Host, Lab, assert_refused, named, names, runs, until};
use regatta_base::Digest;
use regatta_fleet::{
    Answer, Chunk, Claim, Frames, Holding, OrderBody, Packed, Token, What, encode_frame,
    limits::{CHUNK_BYTES, SHARES_MAX},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    thread::JoinHandle,
};

const LEASE_MS: u64 = 60_000;

/// A script that is followed by bytes that do not compress: three pieces, the last one short.
fn build() -> Build {
    let mut bytes = b"#!/bin/sh\necho ready $*\nread line\nexit 0\n".to_vec();
    let mut state = 7_u64;
    bytes.extend((0..2 * CHUNK_BYTES + 1000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    }));
    Build::of(&bytes)
}

fn token(number: u8) -> Token {
    Token::new([number; 32])
}

fn share(build: &Build, token: Token) -> OrderBody {
    OrderBody::Share {
        digest: build.packed.digest,
        address: Ipv4Addr::LOCALHOST,
        token,
    }
}

fn fetch(build: &Build, port: u16, token: Token) -> OrderBody {
    OrderBody::Fetch {
        digest: build.packed.digest,
        name: named("node"),
        total: build.packed.total,
        from: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
        token,
    }
}

#[track_caller]
fn port_of(answer: Answer) -> u16 {
    match answer {
        Answer::Sharing { port } => port,
        other => panic!("{other:?}"),
    }
}

fn is_closed(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn holding(lab: &mut Lab, build: &Build) -> Holding {
    let digests = vec![build.packed.digest];
    match lab.order(OrderBody::Has { digests }) {
        Answer::Holds { held } => held[0],
        other => panic!("{other:?}"),
    }
}

/// A host that has the program, and one that has not.
struct Pair {
    parent: Host,
    child: Host,
    build: Build,
}

impl Pair {
    fn new() -> Self {
        Self {
            parent: Host::new(),
            child: Host::new(),
            build: build(),
        }
    }

    fn labs(&self) -> (Lab, Lab) {
        let (mut parent, _) = self.parent.lab("r", LEASE_MS);
        assert_eq!(parent.upload(&self.build), Holding::Whole);
        (parent, self.child.lab("r", LEASE_MS).0)
    }
}

#[test]
fn a_program_goes_from_host_to_host_once_and_the_port_closes() {
    let pair = Pair::new();
    let (mut parent, mut child) = pair.labs();
    let port = port_of(parent.order(share(&pair.build, token(1))));
    let answer = child.order(fetch(&pair.build, port, token(1)));
    assert_eq!(answer, Answer::Holding(Holding::Whole));
    assert!(is_closed(port), "the port was for one transfer");
    child.start(&pair.build, &["a"]);
    assert!(child.announced(1)[0].starts_with("ready a"));
    // A second one needs a new offer; what is there already is not asked for.
    assert_eq!(
        child.order(fetch(&pair.build, port, token(1))),
        Answer::Holding(Holding::Whole)
    );
}

#[test]
fn strangers_get_nothing_and_do_not_keep_the_right_one_out() {
    let pair = Pair::new();
    let (mut parent, mut child) = pair.labs();
    let port = port_of(parent.order(share(&pair.build, token(1))));
    let claim = |token| {
        let digest = pair.build.packed.digest;
        encode_frame(&Claim { token, digest, have: 0 }).unwrap()
    };
    let other = Claim {
        token: token(1),
        digest: Digest::ZERO,
        have: 0,
    };
    for said in [
        claim(token(2)),
        encode_frame(&other).unwrap(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 4096],
    ] {
        let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // It may have hung up already.
        let _ = stranger.write_all(&said);
        let mut heard = Vec::new();
        // Closed with unread bytes, it is reset.
        let _ = stranger.read_to_end(&mut heard);
        assert_eq!(heard, Vec::<u8>::new());
    }
    // One that says nothing costs its two seconds.
    let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let answer = child.order(fetch(&pair.build, port, token(1)));
    assert_eq!(answer, Answer::Holding(Holding::Whole));
    drop(silent);
}

/// A host that takes one claim and says `frames` of it.
fn false_parent(frames: Vec<Vec<u8>>) -> (u16, JoinHandle<Claim>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut incoming, mut piece) = (Frames::default(), [0; 4096]);
        let claim = loop {
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "a claim comes first");
            incoming.push(&piece[..count]);
            if let Some(claim) = incoming.take().unwrap() {
                break claim;
            }
        };
        for frame in frames {
            // The other end hangs up when it does not like what it hears.
            let _ = stream.write_all(&frame);
        }
        claim
    });
    (port, thread)
}

fn frames(chunks: &[Chunk]) -> Vec<Vec<u8>> {
    chunks.iter().map(|chunk| encode_frame(chunk).unwrap()).collect()
}

#[test]
fn what_came_from_a_host_that_ended_too_soon_is_gone_on_with() {
    let pair = Pair::new();
    let (mut parent, mut child) = pair.labs();
    let (port, thread) = false_parent(frames(&pair.build.packed.chunks[..1]));
    let refusal = child.refused(fetch(&pair.build, port, token(1)));
    assert_refused(&refusal, What::System, "ended before the program was whole");
    thread.join().unwrap();
    assert_eq!(holding(&mut child, &pair.build), Holding::Partial(CHUNK_BYTES as u64));
    // By another host, or by the lab.
    let port = port_of(parent.order(share(&pair.build, token(2))));
    assert_eq!(
        child.order(fetch(&pair.build, port, token(2))),
        Answer::Holding(Holding::Whole)
    );
}

#[test]
fn a_host_that_sends_something_else_is_found_out_and_nothing_of_it_stays() {
    let pair = Pair::new();
    let (_parent, mut child) = pair.labs();
    let other = Packed::of(&vec![b'x'; usize::try_from(pair.build.packed.total).unwrap()]).unwrap();
    let first = &pair.build.packed.chunks[0];
    let whole = frames(&other.chunks);
    let repeated = frames(&[first.clone(), first.clone(), first.clone()]);
    let beyond = Chunk {
        offset: pair.build.packed.total,
        ..first.clone()
    };
    for (said, what, text) in [
        (whole, What::Digest, "thrown away"),
        (frames(&[beyond]), What::Order, "a chunk of"),
        (vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec()], What::System, "frame"),
        (Vec::new(), What::System, "ended before the program was whole"),
        (repeated, What::System, "repeats itself"),
    ] {
        let (port, thread) = false_parent(said);
        assert_refused(&child.refused(fetch(&pair.build, port, token(1))), what, text);
        assert_eq!(thread.join().unwrap().token, token(1));
    }
    // What was right of the last one stays; the rest still fits.
    assert_eq!(child.upload(&pair.build), Holding::Whole);
    let left = names(&pair.child.root().join("store"));
    assert!(left.iter().all(|name| name != &other.digest.to_string()), "{left:?}");
}

#[test]
fn an_offer_ends_with_the_labs_connection_and_with_its_agent() {
    let pair = Pair::new();
    let (mut parent, _child) = pair.labs();
    let port = port_of(parent.order(share(&pair.build, token(1))));
    assert!(!is_closed(port));
    // The next lab takes over.
    let (mut parent, _) = pair.parent.lab("r", LEASE_MS);
    until("the offer ends", || {
        let log = std::fs::read_to_string(pair.parent.root().join("agent.log")).unwrap();
        log.contains("was not handed on: the lab's connection ended")
            .then_some(())
    });
    assert!(is_closed(port));
    let port = port_of(parent.order(share(&pair.build, token(2))));
    let pid = pair.parent.agent_pid().unwrap();
    pair.parent.end();
    assert!(!runs(pid) && is_closed(port));
}

#[test]
fn what_cannot_be_offered_is_refused() {
    let pair = Pair::new();
    let (mut parent, mut child) = pair.labs();
    assert_refused(&child.refused(share(&pair.build, token(1))), What::Missing, "program");
    // An address for documentation: no machine has it, and nothing is sent to it.
    let elsewhere = OrderBody::Share {
        digest: pair.build.packed.digest,
        address: Ipv4Addr::new(192, 0, 2, 1),
        token: token(1),
    };
    assert_refused(&parent.refused(elsewhere), What::System, "a port of 192.0.2.1");
    let everywhere = OrderBody::Share {
        digest: pair.build.packed.digest,
        address: Ipv4Addr::UNSPECIFIED,
        token: token(1),
    };
    assert_refused(&parent.refused(everywhere), What::Order, "is not one address");
    for number in 0..SHARES_MAX {
        port_of(parent.order(share(&pair.build, token(number as u8))));
    }
    let refusal = parent.refused(share(&pair.build, token(99)));
    assert_refused(&refusal, What::Busy, "are offered to other hosts already");
}
