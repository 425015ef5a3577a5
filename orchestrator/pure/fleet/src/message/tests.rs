//! Every kind of message survives the wire, and limits are named.

use super::*;
use crate::{
    facts::{Exit, HostFacts, HostSample, NodeSample, Usage},
    frame::{Frames, encode_frame},
    limit::{Limit, Resource, Seen, Starved, Throttled},
    limits::{ARGUMENT_BYTES_MAX, CHUNK_BYTES, DIGESTS_MAX, FRAME_BYTES_MAX},
    path::{Name, RelativePath},
    share::Token,
    transfer::Chunk,
};
use proptest::prelude::*;
use regatta_base::{Digest, SecretKey, encode};
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddrV4};

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9][a-z0-9.-]{0,20}".prop_map(|text| text.parse().unwrap())
}

fn path() -> impl Strategy<Value = RelativePath> {
    "[a-z0-9]{1,9}(/[a-z0-9]{1,9}){0,3}".prop_map(|text| text.parse().unwrap())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

fn chunk() -> impl Strategy<Value = Chunk> {
    (any::<u64>(), bytes()).prop_map(|(offset, plain)| Chunk::once(offset, &plain))
}

fn signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        any::<u64>().prop_map(|grace_ms| Signal::Stop { grace_ms }),
        Just(Signal::Kill),
        Just(Signal::Pause),
        Just(Signal::Resume),
    ]
}

fn hello() -> impl Strategy<Value = OrderBody> {
    (any::<u32>(), proptest::option::of(name()), any::<[u64; 3]>()).prop_map(|(protocol, run, numbers)| {
        let policy = Policy {
            pinned: vec![SecretKey::from_seed([1; 32]).public()],
            threshold: 1,
            sequence_min: numbers[0],
        };
        let run = run.map(|run| RunHello {
            run,
            lease_ms: numbers[1],
            last_event: numbers[2],
            policy,
        });
        let version = "0.1.0".to_owned();
        OrderBody::Hello(Hello { protocol, version, run })
    })
}

fn timer() -> impl Strategy<Value = FaultTimer> {
    (
        any::<u32>(),
        name(),
        proptest::option::of(any::<bool>()),
        any::<u64>(),
        any::<Option<u64>>(),
    )
        .prop_map(|(id, node, lose_disk, begin_us, end_us)| FaultTimer {
            id,
            node,
            fault: lose_disk.map_or(TimedFault::Pause, |lose_disk| TimedFault::Crash { lose_disk }),
            begin_us,
            end_us,
        })
}

fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        any::<u32>().prop_map(|share_ppm| Limit::Cpu { share_ppm }),
        any::<u64>().prop_map(|bytes| Limit::Memory { bytes }),
    ]
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        any::<[u64; 2]>().prop_map(|[periods, throttled]| Seen::Cpu(Throttled { periods, throttled })),
        any::<(u64, u64, bool, bool)>().prop_map(|(peak_bytes, hits, killed, held_more)| {
            Seen::Memory(Starved {
                peak_bytes,
                hits,
                killed,
                held_more,
            })
        }),
    ]
}

fn node_start() -> impl Strategy<Value = NodeStart> {
    (name(), any::<Vec<String>>(), any::<u64>()).prop_map(|(node, arguments, log_bytes_max)| NodeStart {
        node,
        again: arguments.clone(),
        arguments,
        log_bytes_max,
    })
}

fn start() -> impl Strategy<Value = OrderBody> {
    (bytes(), bytes(), proptest::collection::vec(node_start(), 0..4)).prop_map(|(manifest, signatures, nodes)| {
        let program = Program { manifest, signatures };
        OrderBody::Start { program, nodes }
    })
}

fn place() -> impl Strategy<Value = OrderBody> {
    let file = (path(), any::<u32>(), bytes()).prop_map(|(path, mode, bytes)| File { path, mode, bytes });
    (
        proptest::collection::vec(path(), 0..3),
        proptest::collection::vec(file, 0..3),
    )
        .prop_map(|(folders, files)| OrderBody::Place { folders, files })
}

fn order() -> impl Strategy<Value = OrderBody> {
    let put = (name(), any::<u64>(), chunk()).prop_map(|(name, total, chunk)| OrderBody::Put {
        digest: Digest::of_bytes(&chunk.bytes),
        name,
        total,
        chunk,
    });
    prop_oneof![
        hello(),
        any::<u64>().prop_map(|lease_ms| OrderBody::Renew { lease_ms }),
        bytes().prop_map(|bytes| OrderBody::Has {
            digests: vec![Digest::of_bytes(&bytes)]
        }),
        put,
        (any::<[u8; 32]>(), any::<[u8; 4]>()).prop_map(|(token, address)| OrderBody::Share {
            digest: Digest::of_bytes(&token),
            address: address.into(),
            token: Token::new(token),
        }),
        (any::<[u8; 32]>(), name(), any::<(u64, u16)>()).prop_map(|(token, name, (total, port))| OrderBody::Fetch {
            digest: Digest::of_bytes(&token),
            name,
            total,
            from: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            token: Token::new(token),
        }),
        place(),
        start(),
        (proptest::collection::vec(name(), 0..4), signal())
            .prop_map(|(nodes, signal)| OrderBody::Signal { nodes, signal }),
        name().prop_map(|node| OrderBody::LoseDisk { node }),
        any::<(u64, bool)>().prop_map(|(interval_ms, private)| OrderBody::Sample { interval_ms, private }),
        any::<u64>().prop_map(|sent_us| OrderBody::Clock { sent_us }),
        (path(), any::<u64>(), any::<u64>()).prop_map(|(path, offset, length)| OrderBody::Read {
            path,
            offset,
            length
        }),
        proptest::option::of(path()).prop_map(|folder| OrderBody::List { folder }),
        proptest::collection::vec(timer(), 0..4).prop_map(|timers| OrderBody::Faults { timers }),
        Just(OrderBody::ForgetFaults),
        (name(), limit()).prop_map(|(node, limit)| OrderBody::Limit { node, limit }),
        (name(), limit()).prop_map(|(node, limit)| OrderBody::Lift { node, of: limit.of() }),
        any::<u64>().prop_map(|grace_ms| OrderBody::Stop { grace_ms }),
        name().prop_map(|run| OrderBody::Remove { run }),
        Just(OrderBody::Status),
    ]
}

fn exit() -> impl Strategy<Value = Exit> {
    any::<(Option<i32>, Option<i32>, [bool; 3], Vec<String>)>().prop_map(|(code, signal, flags, tail)| Exit {
        code,
        signal,
        ordered: flags[0],
        forced: flags[1],
        starved: flags[2],
        tail,
    })
}

fn started() -> impl Strategy<Value = Started> {
    (name(), any::<u32>(), any::<u64>()).prop_map(|(node, pid, start_ticks)| Started { node, pid, start_ticks })
}

fn status() -> impl Strategy<Value = NodeStatus> {
    let state = prop_oneof![
        any::<Option<String>>().prop_map(NodeState::Running),
        exit().prop_map(NodeState::Ended),
    ];
    (started(), state).prop_map(|(started, state)| NodeStatus { started, state })
}

fn event() -> impl Strategy<Value = NodeEvent> {
    let sampled = (name(), any::<u32>(), any::<u64>()).prop_map(|(node, pid, disk_bytes)| NodeEvent::Sampled {
        host: HostSample::default(),
        nodes: vec![NodeSample {
            node,
            pid,
            usage: Usage::default(),
            disk_bytes,
        }],
    });
    let fault =
        any::<(u32, bool, u64, Option<String>)>().prop_map(|(id, undone, planned_us, error)| NodeEvent::Fault {
            id,
            undone,
            planned_us,
            error,
        });
    prop_oneof![
        started().prop_map(NodeEvent::Started),
        (name(), any::<String>()).prop_map(|(node, line)| NodeEvent::Announced { node, line }),
        (name(), any::<u32>(), exit()).prop_map(|(node, pid, exit)| NodeEvent::Ended { node, pid, exit }),
        sampled,
        fault,
        proptest::collection::vec(name(), 0..4).prop_map(|forced| NodeEvent::LeaseEnded { forced }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let hello = (any::<u64>(), proptest::collection::vec(status(), 0..3)).prop_map(|(number, nodes)| {
        Answer::Hello(Box::new(HelloAnswer {
            protocol: 1,
            version: "0.1.0".to_owned(),
            program: Digest::of_bytes(&number.to_le_bytes()),
            pid: 7,
            now_us: number,
            facts: HostFacts {
                limits: vec![Resource::Cpu, Resource::Memory],
                ..HostFacts::default()
            },
            resumed: number % 2 == 0,
            missed: number,
            nodes,
        }))
    });
    let runs = (name(), any::<Option<u64>>(), proptest::collection::vec(status(), 0..3)).prop_map(
        |(run, lease_left_ms, nodes)| RunStatus {
            run,
            lease_left_ms,
            attached: false,
            nodes,
            disk_bytes: 9,
        },
    );
    let entry = (path(), any::<u64>()).prop_map(|(path, size)| Entry { path, size });
    prop_oneof![
        hello,
        Just(Answer::Done),
        any::<u64>().prop_map(|have| Answer::Holds {
            held: vec![Holding::Partial(have), Holding::Whole]
        }),
        Just(Answer::Holding(Holding::Whole)),
        proptest::collection::vec(started(), 0..4).prop_map(|nodes| Answer::Started {
            program: Digest::ZERO,
            nodes
        }),
        proptest::collection::vec(proptest::option::of(exit()), 0..3).prop_map(|exits| Answer::Signalled { exits }),
        any::<bool>().prop_map(|held_more| Answer::Limited { held_more }),
        seen().prop_map(Answer::Lifted),
        any::<[u64; 3]>().prop_map(|[sent_us, received_us, answered_us]| Answer::Clock {
            sent_us,
            received_us,
            answered_us
        }),
        (chunk(), any::<u64>()).prop_map(|(chunk, size)| Answer::Data { chunk, size }),
        proptest::collection::vec(entry, 0..4).prop_map(|entries| Answer::Listing { entries, cut: true }),
        proptest::collection::vec(name(), 0..4).prop_map(|forced| Answer::Stopped { forced }),
        proptest::collection::vec(runs, 0..3).prop_map(|runs| Answer::Status {
            runs,
            store_bytes: 1,
            up_s: 2
        }),
        any::<String>().prop_map(|message| Refusal::new(What::DiskFull, message).into()),
    ]
}

/// What comes out at the other end.
fn carried<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let mut frames = Frames::default();
    frames.push(&encode_frame(value).unwrap());
    let got = frames.take().unwrap().unwrap();
    assert!(frames.is_empty());
    got
}

proptest! {
    #[test]
    fn orders_round_trip(id in any::<u64>(), body in order()) {
        let order = Order { id, body };
        prop_assert_eq!(carried(&order), order);
    }

    #[test]
    fn answers_round_trip(id in any::<u64>(), body in answer()) {
        let reply = Reply::Answer { id, body };
        prop_assert_eq!(carried(&reply), reply);
    }

    #[test]
    fn events_round_trip_and_weigh_no_less_than_their_text(sequence in any::<u64>(), at_us in any::<u64>(), body in event()) {
        prop_assert!(body.weight() + 200 > encode(&body).len());
        let reply = Reply::Event(Event { sequence, at_us, body });
        prop_assert_eq!(carried(&reply), reply);
    }
}

#[test]
fn a_chunk_that_does_not_compress_fits_into_a_frame() {
    let chunk = Chunk {
        offset: u64::MAX,
        compression: crate::Compression::None,
        bytes: vec![0xff; CHUNK_BYTES],
    };
    let digest = Digest::of_bytes(&chunk.bytes);
    let name: Name = "x".repeat(128).parse().unwrap();
    let body = OrderBody::Put {
        digest,
        name,
        total: u64::MAX,
        chunk,
    };
    let frame = encode_frame(&Order { id: u64::MAX, body }).unwrap();
    assert!(frame.len() < FRAME_BYTES_MAX, "{}", frame.len());
}

#[test]
fn names_and_paths_are_checked_as_they_are_read() {
    let bytes = encode_frame(&("renew", "../../etc/passwd")).unwrap();
    let mut frames = Frames::default();
    frames.push(&bytes);
    let error = frames.take::<(String, RelativePath)>().unwrap_err();
    assert!(error.to_string().contains("inside the run's folder"), "{error}");
}

#[test]
fn what_breaks_a_limit_is_refused_with_the_limit() {
    let node = NodeStart {
        node: "val-0".parse().unwrap(),
        arguments: vec!["x".repeat(ARGUMENT_BYTES_MAX + 1)],
        again: Vec::new(),
        log_bytes_max: 1,
    };
    let program = Program {
        manifest: Vec::new(),
        signatures: Vec::new(),
    };
    let orders = [
        OrderBody::Has {
            digests: vec![Digest::ZERO; DIGESTS_MAX + 1],
        },
        OrderBody::Start {
            program,
            nodes: vec![node],
        },
        OrderBody::Read {
            path: "a".parse().unwrap(),
            offset: 0,
            length: u64::MAX,
        },
        OrderBody::Limit {
            node: "val-0".parse().unwrap(),
            limit: Limit::Cpu { share_ppm: 9_999 },
        },
        OrderBody::Limit {
            node: "val-0".parse().unwrap(),
            limit: Limit::Memory { bytes: u64::MAX },
        },
    ];
    for order in orders {
        let refusal = order.check().unwrap_err();
        assert!(
            refusal.what == What::Order && refusal.message.contains("at most"),
            "{refusal}"
        );
    }
    assert_eq!(OrderBody::Status.check(), Ok(()));
}
