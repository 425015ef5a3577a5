//! Small plans for tests.

use regatta_plan::{
    BuildSource, GraphFacts, Plan, PlannedBudget, PlannedInstance, PlannedNode, PlannedPhases,
    scenario::{NodeOptions, ProviderKind, Role},
};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// A plan of `validators` fully meshed validators without load or steps.
pub(crate) fn plan(validators: u32) -> Plan {
    let edges = (0..validators).flat_map(|a| (a + 1..validators).map(move |b| (a, b)));
    Plan {
        version: 1,
        name: "small".to_owned(),
        question: "Does it work?".to_owned(),
        seed: 7,
        provider: ProviderKind::Local,
        builds: BTreeMap::from([("main".to_owned(), BuildSource::Source(".".to_owned()))]),
        nodes: (0..validators)
            .map(|index| node(index, "val", Role::Validator))
            .collect(),
        edges: edges.collect(),
        graph: GraphFacts {
            diameter: 1,
            mean_path: 1.0,
            degree_min: validators.saturating_sub(1),
            degree_max: validators.saturating_sub(1),
            degree_mean: f64::from(validators.saturating_sub(1)),
            cut_vertices: Vec::new(),
        },
        instances: vec![PlannedInstance {
            id: "main".to_owned(),
            validators: (0..validators).map(|index| (index, 1)).collect(),
            block_interval_ms: 10,
            round_timeout_ms: 300,
        }],
        phases: PlannedPhases {
            warmup_ms: 0,
            measure_ms: 1000,
            cooldown_ms: 0,
            drain_ms: 1000,
        },
        loads: Vec::new(),
        faults: Vec::new(),
        objectives: Vec::new(),
        budget: PlannedBudget {
            wall_ms: 60_000,
            lease_ms: 60_000,
            disk_bytes: 1 << 30,
            memory_bytes: None,
        },
        node: NodeOptions::default(),
        steps: Vec::new(),
    }
}

/// A node of a plan on an address of its own.
pub(crate) fn node(index: u32, group: &str, role: Role) -> PlannedNode {
    PlannedNode {
        index,
        name: format!("{group}-{index}"),
        group: group.to_owned(),
        role,
        region: None,
        address: Ipv4Addr::new(127, 199, 7, 1 + index as u8),
        p2p_port: 7000,
        http_port: 7001,
        build: "main".to_owned(),
        weight: u64::from(role == Role::Validator),
    }
}

/// Runs asynchronous work to its end on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}
