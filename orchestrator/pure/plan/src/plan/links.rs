//! Conditions of the links between real nodes: the scenario's matrix, whoever carries it out.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What becomes of what one node sends to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConditions {
    /// One-way delay in nanoseconds.
    pub delay_ns: u64,
    /// The delay varies by up to this share, in millionths.
    pub jitter_ppm: u32,
    /// Share of packets that are lost, in millionths.
    pub loss_ppm: u32,
    /// Bits per second of this link alone.
    pub rate_bits: Option<u64>,
}

/// The conditions of all links: what the switch between namespaces does to packets, or what nodes of the `local` provider
/// do to what they send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedLinks {
    /// The lab's own address where it lives among the nodes, from the range of their addresses.
    pub lab: Ipv4Addr,
    /// Leading bits that all addresses share.
    pub prefix: u8,
    /// Names of the regions, sorted; `""` stands for nodes without one.
    pub regions: Vec<String>,
    /// One-way delay in nanoseconds from region to region, by their positions.
    pub delay_ns: Vec<Vec<u64>>,
    /// Each delay varies by up to this share, in millionths.
    pub jitter_ppm: u32,
    /// Share of packets that are lost, in millionths.
    pub loss_ppm: u32,
    /// Share of packets that leave their place and arrive later, in millionths.
    pub reorder_ppm: u32,
    /// Share of packets that arrive twice, in millionths.
    pub duplicate_ppm: u32,
    /// Rate of each node's card in bits per second, each way.
    pub rate_bits: Option<u64>,
}

impl PlannedLinks {
    /// What becomes of what a node in region `from` sends to one in region `to`.
    #[must_use]
    pub fn conditions(&self, from: Option<&str>, to: Option<&str>) -> LinkConditions {
        let position = |region: Option<&str>| {
            let region = region.unwrap_or_default();
            self.regions.iter().position(|name| name == region).unwrap_or(0)
        };
        let row = self.delay_ns.get(position(from));
        LinkConditions {
            delay_ns: row.and_then(|row| row.get(position(to))).copied().unwrap_or(0),
            jitter_ppm: self.jitter_ppm,
            loss_ppm: self.loss_ppm,
            rate_bits: None,
        }
    }

    /// Whether nothing happens to packets.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let shares = [self.loss_ppm, self.reorder_ppm, self.duplicate_ppm];
        shares == [0; 3] && self.rate_bits.is_none() && self.delay_ns.iter().flatten().all(|&delay| delay == 0)
    }
}
