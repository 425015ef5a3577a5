//! The scenario file as types; `docs/reference/scenario.md` and the JSON Schema are made from them.

mod churn;
mod fault;
mod load;
mod network;
mod options;
mod peering;
mod process;
mod provider;

pub use churn::{Absence, Churn, Distribution, Leave};
pub use fault::{DiskFate, Fault, FaultKind, Nemesis, Repeat};
pub use load::{ArrivalKind, Load, LoadMode, Rate, TransactionKind};
pub use network::{
    Behaviour, Build, Consensus, Group, Link, LinkDirection, Net, Network, Role, Validators, VoteTopology,
};
pub use options::{Budget, NodeOptions, Phases};
pub use peering::{Generator, Peering};
pub use process::{ProcessGroup, ProcessStart, Ready};
pub use provider::{Control, Distribute, Host, Provider, ProviderKind};

use crate::defaults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One experiment: a network, what is done to it, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Version of this format; 1 is the only one.
    pub schema: u32,
    /// Name of the experiment: a-z, 0-9, `-`, `_`, `.`; part of the run's id.
    pub name: String,
    /// The question that the experiment answers.
    pub question: String,
    /// Seed of the graph, placement, keys, payloads and arrivals: equal seeds give equal plans.
    pub seed: u64,
    /// Addresses and ports.
    pub net: Net,
    /// Where the nodes run.
    pub provider: Provider,
    /// Programs that the nodes run, by name.
    pub build: BTreeMap<String, Build>,
    /// Emulated network conditions; without it the links are what the provider has.
    pub link: Option<Link>,
    /// Nodes, by kind; a group's nodes are named `GROUP-0`, `GROUP-1`, ...
    pub group: Vec<Group>,
    /// Programs of others that run beside the nodes; a group's processes are named `GROUP-0`, `GROUP-1`, ...
    pub process: Vec<ProcessGroup>,
    /// Who is connected to whom: named generators and explicit edges, fixed for the whole run.
    pub peering: Peering,
    /// Consensus instances on this network.
    pub consensus: Vec<Consensus>,
    /// How long the load runs before, in and after the measuring window.
    pub phases: Phases,
    /// Load on the network; several run side by side.
    pub load: Vec<Load>,
    /// What is done to the network, and when.
    pub fault: Vec<Fault>,
    /// Random faults beside them.
    pub nemesis: Option<Nemesis>,
    /// Nodes that leave and return by themselves.
    pub churn: Vec<Churn>,
    /// Objectives by metric, e.g. `latency_p99 = "< 900ms"`; a missed one fails the run.
    pub slo: BTreeMap<String, String>,
    /// Limits of the run.
    pub budget: Budget,
    /// Tuning of every node.
    pub node: NodeOptions,
}

impl Default for Scenario {
    fn default() -> Self {
        let source = Build {
            source: Some(defaults::SOURCE.to_owned()),
            ..Build::default()
        };
        Self {
            schema: defaults::SCHEMA,
            name: "unnamed".to_owned(),
            question: String::new(),
            seed: defaults::SEED,
            net: Net::default(),
            provider: Provider::default(),
            build: BTreeMap::from([(defaults::BUILD.to_owned(), source)]),
            link: None,
            group: Vec::new(),
            process: Vec::new(),
            peering: Peering::default(),
            consensus: Vec::new(),
            phases: Phases::default(),
            load: Vec::new(),
            fault: Vec::new(),
            nemesis: None,
            churn: Vec::new(),
            slo: BTreeMap::new(),
            budget: Budget::default(),
            node: NodeOptions::default(),
        }
    }
}
