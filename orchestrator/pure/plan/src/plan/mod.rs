//! The plan: a scenario with every choice made, as values that the lab interprets and the report reads.

mod churn;
pub(crate) mod estimate;
mod fault;
mod host;
mod links;
mod process;
mod render;
mod simulated;
mod step;

pub use churn::{PlannedAbsence, PlannedChurn};
pub use estimate::{Estimate, LOG_BYTES_MAX};
pub use fault::{FaultExtent, LinkChange, PlannedFault};
pub use host::{PlannedHost, Replaced};
pub use links::{LinkConditions, PlannedDirection, PlannedLinks};
pub use process::{PlannedProcess, ReadyWhen};
pub use simulated::PlannedWorld;
pub use step::{PlannedStep, Step};

use crate::{
    Objective,
    scenario::{ArrivalKind, Behaviour, Control, NodeOptions, ProviderKind, Rate, Role, TransactionKind, VoteTopology},
};
use regatta_base::{Digest, encode};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

/// Version of the plan's form; part of its digest.
pub const PLAN_VERSION: u32 = 1;

/// Everything that a run does, decided before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`] of the program that made it.
    pub version: u32,
    /// Name of the scenario.
    pub name: String,
    /// The question that the scenario answers.
    pub question: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Where the nodes run.
    pub provider: ProviderKind,
    /// Programs by name.
    pub builds: BTreeMap<String, BuildSource>,
    /// Nodes; a node's index is its position.
    pub nodes: Vec<PlannedNode>,
    /// Links as pairs of node indices, lower first, ascending; the lower index dials.
    pub edges: Vec<(u32, u32)>,
    /// What the graph looks like.
    pub graph: GraphFacts,
    /// Consensus instances.
    pub instances: Vec<PlannedInstance>,
    /// The timeline.
    pub phases: PlannedPhases,
    /// Loads; `Step::Load` names them by position.
    pub loads: Vec<PlannedLoad>,
    /// Faults by start; `Step::Inject` and `Step::Heal` name them by position.
    pub faults: Vec<PlannedFault>,
    /// Objectives in the order of their metrics' names.
    pub objectives: Vec<Objective>,
    /// Limits of the run.
    pub budget: PlannedBudget,
    /// Tuning of every node.
    pub node: NodeOptions,
    /// Machines and links of simulated nodes; none where nodes are real.
    pub world: Option<PlannedWorld>,
    /// What to do, in order.
    pub steps: Vec<PlannedStep>,
    /// Conditions of the links of real nodes; none where they are those of the machine. This and what follows come last, so that
    /// plans without them are encoded as they always were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<PlannedLinks>,
    /// Nodes that come and go.
    #[serde(default, skip_serializing_if = "PlannedChurn::is_none")]
    pub churn: PlannedChurn,
    /// Hosts of a fleet; a host's index is its position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<PlannedHost>,
    /// Hosts with nodes that may fail while the run is set up, beside those that spare ones replace.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hosts_lost_max: u32,
    /// Targets of the compiler by name of the build, where it is not this machine's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, String>,
    /// Programs of others beside the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<PlannedProcess>,
    /// Hosts that one with a program hands it on to at once; 0 where the lab sends to all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fan_out: u32,
    /// How the lab reaches the control interfaces of nodes on hosts.
    #[serde(default, skip_serializing_if = "Control::is_direct")]
    pub control: Control,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Plan {
    /// BLAKE3 over the plan's canonical encoding: part of the run's id.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of("regatta plan v1", &[&encode(self)])
    }

    /// The instance called `id`.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<&PlannedInstance> {
        self.instances.iter().find(|instance| instance.id == id)
    }

    /// Node indices that `node` is linked to, ascending.
    #[must_use]
    pub fn peers(&self, node: u32) -> Vec<u32> {
        let other = |&(a, b): &(u32, u32)| (a == node).then_some(b).or((b == node).then_some(a));
        let mut peers: Vec<u32> = self.edges.iter().filter_map(other).collect();
        peers.sort_unstable();
        peers
    }

    /// What the scenario makes of what `from` sends to `to`, faults aside; `None` where the link is that of the machine.
    #[must_use]
    pub fn conditions(&self, from: u32, to: u32) -> Option<LinkConditions> {
        let region = |node: u32| self.nodes.get(node as usize)?.region.as_deref();
        let links = self.links.as_ref()?;
        let base = links.between(region(from), region(to));
        let own = links.directions.iter().filter(|direction| direction.covers(from, to));
        Some(own.fold(base, |conditions, direction| direction.on(conditions)))
    }

    /// The node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&PlannedNode> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The seed label of a load's arrivals: [`regatta_base::seed::rng`] with it gives their stream.
    #[must_use]
    pub fn arrivals_label(load: usize) -> String {
        format!("arrivals/{load}")
    }
}

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildSource {
    /// Built from the workspace in this folder.
    Source(String),
    /// A signed release.
    Release(String),
    /// Built for tests from the workspace in this folder: its nodes break the protocol where they are told to.
    Byzantine(String),
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedNode {
    /// Position in [`Plan::nodes`].
    pub index: u32,
    /// `GROUP-N`.
    pub name: String,
    /// Group that it belongs to.
    pub group: String,
    /// What it does.
    pub role: Role,
    /// Region that it is placed in.
    pub region: Option<String>,
    /// Its own address.
    pub address: Ipv4Addr,
    /// TCP port between nodes.
    pub p2p_port: u16,
    /// TCP port of its control interface.
    pub http_port: u16,
    /// Program that it runs: a key of [`Plan::builds`].
    pub build: String,
    /// Its weight over all instances; 0 does not vote.
    pub weight: u64,
    /// How it behaves.
    #[serde(default, skip_serializing_if = "Behaviour::is_honest")]
    pub behaviour: Behaviour,
    /// Host that it is placed on: a position in [`Plan::hosts`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<u32>,
    /// Whether it keeps every block, whatever the others do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archive: bool,
    /// Where the lab reaches its control interface in place of its own address: known once its host was reached, and only
    /// where that goes through SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<SocketAddr>,
}

impl PlannedNode {
    /// Whether it votes in some instance.
    #[must_use]
    pub fn is_validator(&self) -> bool {
        self.weight > 0
    }
}

/// What the graph looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraphFacts {
    /// Longest shortest path in hops.
    pub diameter: u32,
    /// Mean shortest path over all pairs in hops.
    pub mean_path: f64,
    /// Fewest links of a node.
    pub degree_min: u32,
    /// Most links of a node.
    pub degree_max: u32,
    /// Mean links of a node.
    pub degree_mean: f64,
    /// Nodes whose loss alone cuts the graph.
    pub cut_vertices: Vec<u32>,
}

/// One consensus instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedInstance {
    /// Its name.
    pub id: String,
    /// Voters: node index and weight, ascending by index.
    pub validators: Vec<(u32, u64)>,
    /// Nodes that run it and do not vote, ascending.
    pub followers: Vec<u32>,
    /// Least time between two blocks in milliseconds.
    pub block_interval_ms: u64,
    /// Whether blocks follow one another also while nothing waits to be ordered.
    pub empty_blocks: bool,
    /// Base of the round timeout in milliseconds.
    pub round_timeout_ms: u64,
    /// How votes travel.
    pub vote_topology: VoteTopology,
    /// Heights of silence after which a leader's turn is given up at once; none where nodes have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_heights: Option<u64>,
}

impl PlannedInstance {
    /// Sum of all weights; no plan has weights that overflow.
    #[must_use]
    pub fn total_weight(&self) -> u64 {
        self.validators
            .iter()
            .fold(0, |sum, (_, weight)| sum.saturating_add(*weight))
    }

    /// Whether `node` votes in it.
    #[must_use]
    pub fn votes(&self, node: u32) -> bool {
        self.validators.binary_search_by_key(&node, |(node, _)| *node).is_ok()
    }

    /// Whether `node` votes in it or follows it.
    #[must_use]
    pub fn runs(&self, node: u32) -> bool {
        self.votes(node) || self.followers.binary_search(&node).is_ok()
    }

    /// Whether `weight` is a quorum: more than two thirds.
    #[must_use]
    pub fn is_quorum(&self, weight: u64) -> bool {
        3 * u128::from(weight) > 2 * u128::from(self.total_weight())
    }
}

/// Lengths of the phases in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPhases {
    /// Load before the measuring window.
    pub warmup_ms: u64,
    /// The measuring window.
    pub measure_ms: u64,
    /// Load after it.
    pub cooldown_ms: u64,
    /// Longest wait for the last transactions.
    pub drain_ms: u64,
}

impl PlannedPhases {
    /// How long the load runs.
    #[must_use]
    pub fn load_ms(&self) -> u64 {
        self.warmup_ms + self.measure_ms + self.cooldown_ms
    }

    /// The measuring window as milliseconds after the start of the load.
    #[must_use]
    pub fn window_ms(&self) -> (u64, u64) {
        (self.warmup_ms, self.warmup_ms + self.measure_ms)
    }
}

/// One load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedLoad {
    /// Position in [`Plan::loads`].
    pub index: u32,
    /// Instance that it goes to.
    pub instance: String,
    /// When transactions leave.
    pub arrivals: ArrivalKind,
    /// Transactions per second.
    pub rate: Rate,
    /// Kinds with their shares; the shares sum to 1.
    pub mix: Vec<(TransactionKind, f64)>,
    /// Payload of a transaction in bytes.
    pub size: u32,
    /// Nodes that get it, in turn.
    pub targets: Vec<u32>,
    /// Accounts that sign.
    pub senders: u32,
    /// Age in milliseconds at which a transaction counts as timed out.
    pub timeout_ms: u64,
    /// How long it runs in milliseconds, from the start of the warm-up.
    pub duration_ms: u64,
    /// Expected number of transactions, rounded.
    pub expected: u64,
    /// Host that generates it: a position in [`Plan::hosts`]; without it, the lab does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<u32>,
}

/// Limits of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBudget {
    /// Longest run in milliseconds.
    pub wall_ms: u64,
    /// Longest life of a cluster that stays, in milliseconds.
    pub lease_ms: u64,
    /// Most bytes in the run's folder.
    pub disk_bytes: u64,
    /// Most bytes of memory of all nodes together.
    pub memory_bytes: Option<u64>,
    /// How many bytes of memory are to stay; without it, what is usual for the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_floor_bytes: Option<u64>,
    /// Most hosts, spare ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<u32>,
    /// Most bytes that networks between hosts carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_bytes: Option<u64>,
    /// How long nodes on hosts go on while no lab looks after them, in milliseconds; `lease_ms` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unattended_ms: Option<u64>,
}
