//! Small plans and stand-in nodes for tests.

pub(crate) mod standin;

use regatta_plan::{
    BuildSource, Capabilities, FaultExtent, GraphFacts, Plan, PlannedBudget, PlannedFault, PlannedInstance,
    PlannedNode, PlannedPhases, Source, resolve,
    scenario::{FaultKind, NodeOptions, ProviderKind, Role, VoteTopology},
};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::atomic::{AtomicU8, Ordering},
};

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
            empty_blocks: false,
            round_timeout_ms: 300,
            followers: Vec::new(),
            vote_topology: VoteTopology::AllToAll,
            silent_heights: None,
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
            unattended_ms: None,
            disk_bytes: 1 << 30,
            memory_bytes: None,
            memory_floor_bytes: None,
            hosts: None,
            transfer_bytes: None,
        },
        node: NodeOptions::default(),
        world: None,
        links: None,
        steps: Vec::new(),
        churn: regatta_plan::PlannedChurn::default(),
        hosts: Vec::new(),
        hosts_lost_max: 0,
        fan_out: 0,
        control: regatta_plan::scenario::Control::Direct,
        targets: BTreeMap::new(),
        processes: Vec::new(),
    }
}

/// A fault of nodes without anything special.
pub(crate) fn fault(kind: FaultKind, nodes: &[u32]) -> PlannedFault {
    PlannedFault {
        index: 0,
        kind,
        nodes: nodes.to_vec(),
        leads: None,
        sets: Vec::new(),
        one_way: false,
        extent: FaultExtent::Whole,
        at_ms: 0,
        until_ms: 1,
        breaks_quorum: true,
        build: None,
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
        behaviour: regatta_plan::scenario::Behaviour::Honest,
        host: None,
        archive: false,
        control: None,
    }
}

/// Runs asynchronous work to its end on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// A whole plan of two validators and a full node on addresses of its own, without load; `more` is appended to its
/// scenario.
pub(crate) fn whole_plan(more: &str) -> Plan {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    // Other test programs on this machine have other process ids, and other tests of this one other numbers.
    let (program, test) = (200 + std::process::id() % 50, NEXT.fetch_add(1, Ordering::Relaxed));
    let text = format!(
        "schema = 1\nname = \"whole\"\n[net]\nipv4 = \"127.{program}.{test}.0/24\"\n\
         [[group]]\nname = \"val\"\ncount = 2\nrole = \"validator\"\n\
         [[group]]\nname = \"full\"\ncount = 1\nrole = \"full\"\n\
         [peering]\nall = {{ kind = \"full_mesh\", of = \"all\" }}\n\
         [[consensus]]\nid = \"main\"\n{more}"
    );
    let source = Source::read("whole.toml", &text, &[]);
    let host = Capabilities {
        descriptors_per_process: 1 << 20,
        simulates_misconduct: cfg!(feature = "byzantine"),
        ..Capabilities::default()
    };
    resolve(&source, &host).unwrap().plan
}

/// Links between namespaces that do nothing to packets.
pub(crate) fn links() -> regatta_plan::PlannedLinks {
    regatta_plan::PlannedLinks {
        lab: Ipv4Addr::new(10, 60, 255, 254),
        prefix: 16,
        regions: vec![String::new()],
        delay_ns: vec![vec![0]],
        jitter_ppm: 0,
        loss_ppm: 0,
        reorder_ppm: 0,
        duplicate_ppm: 0,
        rate_bits: None,
        directions: Vec::new(),
    }
}
