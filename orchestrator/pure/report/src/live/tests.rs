//! Tests of the board: each state, the spread, and that it stays bounded whatever it is shown.

use super::*;
use crate::model::{Event, EventKind, PhaseKind, Role, Sample};
use proptest::prelude::*;

/// Four validators in a ring and two followers, in two regions.
pub(crate) fn setting() -> Setting {
    let place = |name: &str, role, region: &str| Place {
        name: name.to_owned(),
        role,
        region: region.to_owned(),
    };
    Setting {
        run: "small-1".to_owned(),
        scenario: "small".to_owned(),
        question: "Does it work?".to_owned(),
        nodes: vec![
            place("val-0", Role::Validator, "eu"),
            place("val-1", Role::Validator, "eu"),
            place("val-2", Role::Validator, "us"),
            place("val-3", Role::Validator, "us"),
            place("full-0", Role::Full, "eu"),
            place("full-1", Role::Full, "us"),
        ],
        edges: vec![(0, 1), (1, 2), (2, 3), (0, 3), (0, 4), (2, 5)],
        instances: vec!["main".to_owned()],
        programs: Vec::new(),
        phases: vec![(PhaseKind::Warmup, 3000), (PhaseKind::Measure, 12_000)],
    }
}

fn running(at_ms: u64, height: u64, cpu_s: f64) -> NodeGlimpse {
    NodeGlimpse {
        life: Life::Running,
        started_ms: 0,
        sample: Some(Sample {
            at_ms,
            height,
            cpu_s,
            peers: 2,
            rss_bytes: 10 << 20,
            ..Sample::default()
        }),
        heights: Vec::new(),
    }
}

/// A look at `at_ms` at which all nodes have `height`.
pub(crate) fn glimpse(at_ms: u64, height: u64) -> Glimpse {
    Glimpse {
        at_ms,
        phase: PhaseKind::Measure,
        phase_left_ms: Some(9000),
        nodes: vec![running(at_ms, height, at_ms as f64 / 4000.0); 6],
        lab: Some(Sample {
            at_ms,
            cpu_s: at_ms as f64 / 10_000.0,
            rss_bytes: 30 << 20,
            ..Sample::default()
        }),
        load: Some(LoadNow {
            offered_per_s: 300,
            final_per_s: 298,
            p50_us: 21_000,
            p99_us: 48_000,
            in_flight: 7,
            finalised: 298,
            ..LoadNow::default()
        }),
        ..Glimpse::default()
    }
}

fn board() -> Board {
    let mut board = Board::new(setting());
    board.look(&glimpse(1000, 10));
    board.look(&glimpse(2000, 20));
    board
}

#[test]
fn a_new_board_says_that_all_nodes_start() {
    let board = Board::new(setting());
    assert_eq!(
        (board.counts.starting, board.spreads.as_slice()),
        (6, [None].as_slice())
    );
    assert_eq!(board.phase_name, "start");
}

#[test]
fn every_state_is_told_apart() {
    let mut board = board();
    let mut next = glimpse(3000, 30);
    next.nodes[0] = running(3000, 17, 0.0);
    next.nodes[1].life = Life::Paused;
    next.nodes[2].life = Life::Ended;
    // Started again after its last sample was taken.
    next.nodes[3] = NodeGlimpse {
        started_ms: 2500,
        ..running(2000, 20, 0.5)
    };
    // One block less than others had a look ago is no lag.
    next.nodes[4] = running(3000, 19, 0.0);
    board.look(&next);
    let states: Vec<NodeState> = board.nodes.iter().map(|node| node.state).collect();
    use NodeState::{Behind, Down, Paused, Ready, Starting};
    assert_eq!(states, [Behind, Paused, Down, Starting, Ready, Ready]);
    for state in NodeState::ALL {
        let expected = states.iter().filter(|one| **one == state).count();
        assert_eq!(board.counts.get(state), expected, "{state:?}");
    }
    assert_eq!(board.nodes[0].lag, 13);
    // A node without a process has no height to compare.
    assert_eq!(
        board.spreads,
        [Some(Spread {
            min: 17,
            median: 20,
            max: 30
        })]
    );
    let regions = board.regions();
    assert_eq!(regions.len(), 2);
    assert_eq!(
        (regions[0].0.as_str(), regions[0].1.behind, regions[1].1.down),
        ("eu", 1, 1)
    );
}

#[test]
fn a_node_without_links_on_the_map_needs_none_to_be_ready() {
    let mut lonely = setting();
    lonely.edges.clear();
    let mut board = Board::new(lonely);
    let mut look = glimpse(1000, 1);
    for node in &mut look.nodes {
        node.sample.as_mut().unwrap().peers = 0;
    }
    board.look(&look);
    assert_eq!(board.counts.ready, 6);
}

#[test]
fn cpu_is_of_the_time_between_two_samples() {
    let mut board = board();
    assert_eq!(board.nodes[0].usage.cpu_percent.round(), 25.0);
    assert_eq!(board.lab.cpu_percent.round(), 10.0);
    assert_eq!(board.total.cpu_percent.round(), 150.0);
    assert_eq!(board.total.rss_bytes, 60 << 20);
    // The same sample once more says nothing new.
    let mut again = glimpse(2000, 20);
    again.at_ms = 2400;
    board.look(&again);
    assert_eq!(board.nodes[0].usage.cpu_percent.round(), 25.0);
}

#[test]
fn a_fault_is_told_when_it_begins_and_when_it_ends() {
    let mut board = board();
    let fault = OpenFault {
        id: 3,
        text: "pause val-1".to_owned(),
        nodes: vec![1],
        since_ms: 2900,
        by_hand: true,
        ..OpenFault::default()
    };
    for at_ms in [3000, 4000] {
        board.look(&Glimpse {
            faults: vec![fault.clone()],
            ..glimpse(at_ms, 30)
        });
    }
    assert!(board.by_hand && board.faulted().contains(&1));
    board.look(&Glimpse {
        events: vec![Event {
            start_ms: 2900,
            end_ms: 4500,
            kind: EventKind::Fault,
            node: "val-1".to_owned(),
            text: "pause val-1".to_owned(),
        }],
        ..glimpse(5000, 30)
    });
    let texts: Vec<&str> = board.events.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["pause val-1", "ended: pause val-1"]);
    assert!(board.faults.is_empty() && board.by_hand);
    assert_eq!(board.history.iter().filter(|point| point.fault).count(), 2);
}

#[test]
fn heights_of_several_instances_are_kept_apart() {
    let mut several = setting();
    several.instances = vec!["a".to_owned(), "b".to_owned()];
    let mut board = Board::new(several);
    let mut look = glimpse(1000, 99);
    for (node, index) in look.nodes.iter_mut().zip(0..) {
        node.heights = vec![Some(10 + index), Some(50)];
    }
    board.look(&look);
    let spread = |min, median, max| Some(Spread { min, median, max });
    assert_eq!(board.spreads, [spread(10, 13, 15), spread(50, 50, 50)]);
    assert_eq!(board.nodes[0].lag, 5);
    // One that does not run an instance lacks nothing of it, and does not count for its spread.
    look.at_ms = 2000;
    look.nodes[5].heights = vec![None, Some(50)];
    board.look(&look);
    assert_eq!(board.spreads, [spread(10, 12, 14), spread(50, 50, 50)]);
    assert_eq!((board.nodes[5].lag, board.nodes[5].state), (0, NodeState::Ready));
}

#[test]
fn programs_of_others_have_a_state_and_what_they_use() {
    let mut with = setting();
    with.programs = ["web-0", "web-1"]
        .map(|name| Place {
            name: name.to_owned(),
            ..Place::default()
        })
        .to_vec();
    let mut board = Board::new(with);
    assert_eq!(board.programs[0].state, NodeState::Starting);
    for at_ms in [1000, 2000] {
        let mut look = glimpse(at_ms, 9);
        look.programs = vec![running(at_ms, 0, at_ms as f64 / 2000.0); 2];
        look.programs[1].life = Life::Ended;
        board.look(&look);
    }
    let [web, gone] = &board.programs[..] else {
        panic!("{:?}", board.programs)
    };
    assert_eq!(
        (web.state, web.usage.cpu_percent, web.usage.rss_bytes),
        (NodeState::Ready, 50.0, 10 << 20)
    );
    assert_eq!((gone.state, gone.usage), (NodeState::Down, Usage::default()));
    assert_eq!(board.counts.ready, 6, "they are no nodes");
}

#[test]
fn a_board_travels_as_json() {
    let board = board();
    let text = serde_json::to_string(&board).unwrap();
    let read: Board = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (read.counts, read.spreads.clone()),
        (board.counts, board.spreads.clone())
    );
    assert_eq!(read.nodes[0].heights, board.nodes[0].heights);
    assert_eq!(read.history, board.history);
}

#[test]
fn regions_lie_apart_on_the_map_and_every_node_on_it() {
    let map = map(&setting());
    assert_eq!(map.places.len(), 6);
    let inside = |place: &(f64, f64)| (0.0..=1.0).contains(&place.0) && (0.0..=1.0).contains(&place.1);
    assert!(map.places.iter().all(inside), "{:?}", map.places);
    let distance = |a: usize, b: usize| {
        let (a, b) = (map.places[a], map.places[b]);
        (a.0 - b.0).hypot(a.1 - b.1)
    };
    assert!(distance(0, 1) < distance(0, 2), "{:?}", map.places);
    assert_eq!(map.regions.len(), 2);
}

fn any_node() -> impl Strategy<Value = NodeGlimpse> {
    let life = prop_oneof![
        Just(Life::NotStarted),
        Just(Life::Running),
        Just(Life::Paused),
        Just(Life::Ended)
    ];
    let sample = proptest::option::of((any::<u64>(), any::<u64>(), any::<f64>(), any::<u64>()));
    (
        life,
        any::<u64>(),
        sample,
        proptest::collection::vec(any::<Option<u64>>(), 0..4),
    )
        .prop_map(|(life, started_ms, sample, heights)| NodeGlimpse {
            life,
            started_ms,
            sample: sample.map(|(at_ms, height, cpu_s, peers)| Sample {
                at_ms,
                height,
                cpu_s,
                peers,
                rss_bytes: peers,
                ..Sample::default()
            }),
            heights,
        })
}

fn any_glimpse() -> impl Strategy<Value = Glimpse> {
    let character = prop_oneof![Just('a'), Just('\u{1b}'), Just('\n'), Just('‖'), any::<char>()];
    let text = (character, 0usize..600).prop_map(|(character, length)| character.to_string().repeat(length));
    let fault = (
        any::<u32>(),
        text.clone(),
        proptest::collection::vec(any::<u32>(), 0..9),
    );
    let faults = proptest::collection::vec(fault, 0..4);
    let events = proptest::collection::vec(text, 0..12);
    (
        any::<u64>(),
        proptest::collection::vec(any_node(), 0..9),
        faults,
        events,
    )
        .prop_map(|(at_ms, nodes, faults, events)| Glimpse {
            at_ms,
            programs: nodes.clone(),
            nodes,
            faults: faults
                .into_iter()
                .map(|(id, text, nodes)| OpenFault {
                    id,
                    text,
                    nodes,
                    ..OpenFault::default()
                })
                .collect(),
            events: events
                .into_iter()
                .map(|text| Event {
                    text,
                    ..Event::default()
                })
                .collect(),
            ..Glimpse::default()
        })
}

proptest! {
    // Each case is a whole run.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_seen_the_board_stays_bounded_and_consistent(
        looks in proptest::collection::vec(any_glimpse(), 0..20)
    ) {
        let mut board = Board::new(setting());
        for look in &looks {
            board.look(look);
            prop_assert!(board.events.len() <= EVENTS_MAX && board.history.len() <= HISTORY_MAX);
            prop_assert_eq!(board.nodes.len(), 6);
            let counted: usize = NodeState::ALL.iter().map(|state| board.counts.get(*state)).sum();
            prop_assert_eq!(counted, 6);
            for spread in board.spreads.iter().flatten() {
                prop_assert!(spread.min <= spread.median && spread.median <= spread.max);
            }
            for line in &board.events {
                prop_assert!(line.text.len() <= 420 && !line.text.contains(char::is_control));
            }
            prop_assert!(board.nodes.iter().all(|node| node.usage.cpu_percent.is_finite()));
        }
    }
}
