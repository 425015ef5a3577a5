//! Programs of others with every choice made.

use super::Plan;
use crate::scenario::ProcessStart;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// One process of a program that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedProcess {
    /// Its place among all that have an address: processes come after the nodes. Faults name it by this number.
    pub place: u32,
    /// `GROUP-N`.
    pub name: String,
    /// Group that it belongs to.
    pub group: String,
    /// Region that it is placed in.
    pub region: Option<String>,
    /// Its own address.
    pub address: Ipv4Addr,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables of its environment beside those of the lab.
    pub env: BTreeMap<String, String>,
    /// When it starts.
    pub start: ProcessStart,
    /// When it counts as ready.
    pub ready: ReadyWhen,
    /// Longest wait until then, in milliseconds.
    pub ready_within_ms: u64,
}

/// When a process counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyWhen {
    /// As soon as it runs.
    Runs,
    /// When this TCP port of its address accepts connections.
    Accepts(u16),
    /// When a line of its output contains this text.
    Says(String),
}

impl Plan {
    /// How many nodes and processes there are: each has a place.
    #[must_use]
    pub fn places(&self) -> usize {
        self.nodes.len() + self.processes.len()
    }

    /// Whether a place is that of a node.
    #[must_use]
    pub fn is_node(&self, place: u32) -> bool {
        (place as usize) < self.nodes.len()
    }

    /// The process at a place, where it is that of one.
    #[must_use]
    pub fn process(&self, place: u32) -> Option<&PlannedProcess> {
        self.processes.get((place as usize).checked_sub(self.nodes.len())?)
    }

    /// The name of whoever is at a place; empty where nobody is.
    #[must_use]
    pub fn name_at(&self, place: u32) -> &str {
        let node = self.nodes.get(place as usize).map(|node| node.name.as_str());
        node.or_else(|| Some(self.process(place)?.name.as_str()))
            .unwrap_or_default()
    }

    /// The addresses of all places.
    #[must_use]
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let nodes = self.nodes.iter().map(|node| node.address);
        nodes
            .chain(self.processes.iter().map(|process| process.address))
            .collect()
    }

    /// The region of each place.
    pub fn regions(&self) -> impl Iterator<Item = Option<&str>> {
        let nodes = self.nodes.iter().map(|node| node.region.as_deref());
        nodes.chain(self.processes.iter().map(|process| process.region.as_deref()))
    }
}
