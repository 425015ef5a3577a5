//! What was observed of the links between nodes, where the lab makes them.

use super::NamedNumber;
use crate::histogram::Counts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The network between the nodes: what it carried, how punctual it was, and whether it was what the scenario asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Links {
    /// Packets between nodes.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets between the lab and nodes, which no link delays or loses.
    pub lab_packets: u64,
    /// Packets that did not arrive, by reason.
    pub lost: Vec<NamedNumber>,
    /// How much later than planned packets between nodes were handed over, in microseconds.
    pub release_us: Counts,
    /// CPU for each packet, in microseconds.
    pub cpu_us_per_packet: f64,
    /// Measurements between sampled nodes, through the same path as theirs.
    pub probes: Vec<LinkProbe>,
    /// What was measured beside the load, and what that took; none where no load was measured.
    #[serde(default)]
    pub beside: Option<Beside>,
}

/// Measurements beside the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Beside {
    /// Directions that take turns, drawn from the scenario's seed.
    pub directions: u64,
    /// Of how many that could be measured.
    pub of_directions: u64,
    /// Measurements that were made.
    pub measurements: u64,
    /// Measurements that were left out since a fault of links was on, or had just been.
    pub left_out: u64,
    /// Packets that the lab sent for them, answers included.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One measurement from one node to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkProbe {
    /// When it was made.
    pub at_ms: u64,
    /// `before`, `during` or `after` the load; `throughout` it are the packets of all measurements of a direction beside
    /// the load together.
    pub moment: String,
    /// The node that sent.
    pub from: String,
    /// The node that received.
    pub to: String,
    /// One-way delay that the scenario asks for, in microseconds.
    pub wanted_delay_us: f64,
    /// Median of the measured ones, without what packets waited behind others for a card whose rate the scenario limits.
    pub delay_us: Option<f64>,
    /// Delay there and back that the scenario asks for, in microseconds.
    #[serde(default)]
    pub wanted_round_trip_us: f64,
    /// Median of the measured ones, of the same packets and their answers; none where no answer came back.
    #[serde(default)]
    pub round_trip_us: Option<f64>,
    /// Share of packets that the scenario wants lost.
    pub wanted_loss: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets of these that arrived.
    pub received: u64,
    /// Packets of these that a full queue of a card dropped, behind those of others.
    #[serde(default)]
    pub queued_out: u64,
    /// Rate of a node's card that the scenario asks for, in bits per second.
    pub wanted_rate_bits: Option<u64>,
    /// What the link carried at least; none where nothing was sent faster than that. Beside the load the median of the
    /// last three bursts.
    pub rate_bits: Option<f64>,
    /// What it carried at most: others' packets passed it meanwhile, or may have.
    #[serde(default)]
    pub rate_bits_max: Option<f64>,
    /// The greatest relative error of these, beyond what chance explains.
    pub error: f64,
    /// What this measurement does not answer, and why.
    #[serde(default)]
    pub not_judged: Vec<String>,
}

impl Links {
    /// The greatest error of all measurements; none when there was none.
    #[must_use]
    pub fn error(&self) -> Option<f64> {
        self.probes.iter().map(|probe| probe.error).reduce(f64::max)
    }
}
