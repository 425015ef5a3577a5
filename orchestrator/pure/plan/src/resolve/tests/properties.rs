//! Whatever a scenario says, reading it never panics, and what is sound stays itself.

use super::{SOUND, host, outcome};
use crate::{
    Plan, Scenario, Source, Step, resolve,
    scenario::{
        ArrivalKind, Behaviour, Budget, Build, Consensus, Fault, FaultKind, Generator, Group, Load, LoadMode, Net,
        NodeOptions, Peering, Phases, Rate, Role, Validators, VoteTopology,
    },
    units::{Duration, Ratio, Size},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn duration() -> impl Strategy<Value = Duration> {
    (1_u64..100_000).prop_map(Duration::from_millis)
}

fn generator() -> impl Strategy<Value = Generator> {
    let of = || "all".to_owned();
    prop_oneof![
        Just(Generator::FullMesh { of: of() }),
        Just(Generator::Ring { of: of() }),
        Just(Generator::Star { of: of() }),
        (1_u32..5).prop_map(move |arity| Generator::Tree { of: of(), arity }),
        (2_u32..9).prop_map(move |k| Generator::KRegular { of: of(), k }),
        (1_u32..4, 0_u32..=10).prop_map(move |(half, rewire)| Generator::SmallWorld {
            of: of(),
            k: 2 * half,
            rewire: Ratio(f64::from(rewire) / 10.0),
        }),
        (1_u32..4).prop_map(move |m| Generator::ScaleFree { of: of(), m }),
        (1_u32..3).prop_map(|degree| Generator::Bipartite {
            from: "full".into(),
            to: "val".into(),
            degree
        }),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    prop_oneof![
        (1_u32..2000).prop_map(|rate| Rate::Constant(f64::from(rate))),
        (0_u32..500, 1_u32..500, duration()).prop_map(|(from, to, over)| Rate::Ramp {
            ramp: (f64::from(from), f64::from(to)),
            over,
        }),
    ]
}

fn load() -> impl Strategy<Value = Load> {
    (
        rate(),
        0_u64..4096,
        1_u32..200,
        any::<bool>(),
        1_u32..5,
        0_u32..5,
        duration(),
    )
        .prop_map(|(rate, size, senders, constant, opaque, put, timeout)| Load {
            consensus: constant.then(|| "main".to_owned()),
            mode: LoadMode::Open,
            arrivals: if constant {
                ArrivalKind::Constant
            } else {
                ArrivalKind::Poisson
            },
            rate,
            mix: BTreeMap::from([
                ("opaque".to_owned(), f64::from(opaque)),
                ("put".to_owned(), f64::from(put)),
            ]),
            size: Size(size),
            target: constant.then(|| "val".to_owned()),
            senders,
            clients: None,
            generators: None,
            timeout,
        })
}

fn group(name: &str, role: Role) -> impl Strategy<Value = Group> {
    let name = name.to_owned();
    let regions = proptest::collection::btree_map("[a-z]{2}", 1_u32..4, 0..3);
    (4_u32..12, regions).prop_map(move |(count, regions)| Group {
        name: name.clone(),
        count,
        role,
        regions,
        behaviour: Behaviour::Honest,
        build: "main".to_owned(),
        join: None,
        archive: false,
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    (0_u64..20, 1_u64..10, 0_u32..4).prop_map(|(at, lasts, node)| Fault {
        at: Duration::from_secs(at),
        lasts: Duration::from_secs(lasts),
        kind: FaultKind::Crash,
        nodes: vec![format!("val-{node}")],
        sets: Vec::new(),
        bridge: Vec::new(),
        one_way: false,
        disk: None,
        delay: None,
        jitter: None,
        loss: None,
        rate: None,
        share: None,
        memory: None,
        build: None,
        offset: None,
        repeat: None,
        breaks_quorum: false,
    })
}

prop_compose! {
    /// Scenarios of everything that the local provider supports; most of them are sound.
    pub(crate) fn scenario()(
        seed in 0_u64..1 << 40,
        val in group("val", Role::Validator),
        full in group("full", Role::Full),
        rules in proptest::collection::btree_map("[a-d]", generator(), 1..3),
        load in proptest::collection::vec(load(), 0..3),
        fault in proptest::collection::vec(fault(), 0..2),
        interval in duration(),
        weight in 1_u64..5,
        port in 1024_u16..60_000,
        disk in 1_u64..64,
    ) -> Scenario {
        Scenario {
            name: "random".to_owned(),
            seed,
            net: Net { p2p_port: port, http_port: port + 1, ..Net::default() },
            build: BTreeMap::from([("main".to_owned(), Build { source: Some(".".to_owned()), ..Build::default() })]),
            group: vec![val, full],
            peering: Peering { edges: vec![("val-0".to_owned(), "full-1".to_owned())], rules },
            consensus: vec![Consensus {
                id: "main".to_owned(),
                validators: Some(Validators::Weights(BTreeMap::from([("val".to_owned(), weight)]))),
                empty_blocks: false,
                followers: None,
                block_interval: interval,
                round_timeout: Duration::from_secs(1),
                silent_heights: None,
                byzantine: Some(1),
                vote_topology: Some(VoteTopology::Relay),
            }],
            phases: Phases { measure: Duration::from_secs(30), ..Phases::default() },
            load,
            fault,
            slo: BTreeMap::from([("agreement".to_owned(), "always".to_owned())]),
            budget: Budget { disk: Size(disk << 30), ..Budget::default() },
            node: NodeOptions { durable: seed % 2 == 0, ..NodeOptions::default() },
            ..Scenario::default()
        }
    }
}

/// `value` as TOML, which has no null: absent is how a scenario says nothing.
fn toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            let members: Vec<String> = members
                .map(|(key, value)| format!("{key:?} = {}", toml(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        serde_json::Value::Array(elements) => format!("[{}]", elements.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A whole file: one line per key.
pub(super) fn file(scenario: &Scenario) -> String {
    let value = serde_json::to_value(scenario).unwrap();
    let members = value.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    members
        .map(|(key, value)| format!("{key} = {}\n", toml(value)))
        .collect()
}

fn assert_sound(plan: &Plan) {
    let count = plan.nodes.len() as u32;
    assert!(plan.edges.iter().all(|&(a, b)| a < b && b < count) && plan.edges.is_sorted());
    let addresses: std::collections::BTreeSet<_> = plan.nodes.iter().map(|node| node.address).collect();
    assert_eq!(addresses.len(), plan.nodes.len());
    assert!(plan.nodes.iter().zip(0..).all(|(node, index)| node.index == index));
    assert!((0..count).all(|node| plan.peers(node).len() as u32 >= plan.graph.degree_min));
    let times: Vec<u64> = plan.steps.iter().filter_map(|planned| planned.at_ms).collect();
    assert!(times.is_sorted());
    for fault in &plan.faults {
        let position = |wanted: Step| plan.steps.iter().position(|planned| planned.step == wanted);
        assert!(position(Step::Inject { fault: fault.index }) < position(Step::Heal { fault: fault.index }));
    }
    for load in &plan.loads {
        assert!((load.mix.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-8);
        assert!(!load.targets.is_empty());
    }
}

/// Values at the edges of what each type holds, and beyond.
fn extreme() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "0",
        "1",
        "-1",
        "3",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "1e300",
        "nan",
        "inf",
        "0s",
        "1ns",
        "200000d",
        "8EiB",
        "16383TiB",
        "100%",
        "[]",
        "{}",
        "true",
        "all",
        "val",
        "val-0",
        "2020-01-01",
        "0.0.0.0/0",
        "255.255.255.255/32",
        "[[\"val-0\",\"val-1\"]]",
        "{ ramp = [0, 1e7], over = \"200000d\" }",
        "{ kind = \"k_regular\", of = \"all\", k = 4294967295 }",
    ])
}

fn key() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "seed",
        "name",
        "schema",
        "net.ipv4",
        "net.p2p_port",
        "group.0.count",
        "group.1.count",
        "group.0.regions.eu",
        "group.1.role",
        "peering.mesh",
        "peering.mesh.of",
        "peering.edges",
        "peering.x",
        "consensus.0.validators",
        "consensus.0.validators.val",
        "consensus.0.block_interval",
        "consensus.0.round_timeout",
        "consensus.0.byzantine",
        "phases.warmup",
        "phases.measure",
        "phases.cooldown",
        "phases.drain",
        "load.0.rate",
        "load.0.size",
        "load.0.senders",
        "load.0.timeout",
        "load.0.mix.put",
        "fault.0.at",
        "fault.0.for",
        "fault.0.nodes",
        "budget.wall",
        "budget.disk",
        "budget.memory",
        "link.rate",
        "link.matrix.a-b",
        "link.jitter",
        "node.batch_bytes",
        "node.mempool_bytes",
        "slo.stall",
        "slo.agreement",
        "churn",
        "provider.kind",
        "build",
    ])
}

proptest! {
    #[test]
    fn a_written_scenario_reads_back_as_itself(scenario in scenario()) {
        let text = file(&scenario);
        let source = Source::read("s.toml", &text, &[]);
        prop_assert_eq!(source.scenario(), Some(&scenario), "{}", text);
    }

    #[test]
    fn plans_are_sound_and_survive_their_encoding(scenario in scenario()) {
        if let Ok(resolved) = outcome(&file(&scenario)) {
            assert_sound(&resolved.plan);
            let json = serde_json::to_string(&resolved.plan).unwrap();
            let read: Plan = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read.digest(), resolved.plan.digest());
            prop_assert_eq!(read, resolved.plan);
        }
    }

    #[test]
    fn no_value_makes_it_panic(changes in proptest::collection::vec((key(), extreme()), 1..4)) {
        let overrides: Vec<String> = changes.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = resolve(&Source::read("s.toml", SOUND, &overrides), &host());
    }

    #[test]
    fn no_text_makes_it_panic(at in 0..SOUND.len(), length in 0_usize..30, text in "[ -~\n\u{e9}]{0,12}") {
        let mut changed = SOUND.to_owned();
        changed.replace_range(at..(at + length).min(SOUND.len()), &text);
        if let Err(problems) = outcome(&changed) {
            prop_assert!(problems.has_errors());
        }
    }
}
