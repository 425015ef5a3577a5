//! The links of a plan whose nodes live in network namespaces.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What the switch between namespaces does to packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedLinks {
    /// The lab's own address, from the range of the nodes' addresses.
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
    /// Whether nothing happens to packets.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let shares = [self.loss_ppm, self.reorder_ppm, self.duplicate_ppm];
        shares == [0; 3] && self.rate_bits.is_none() && self.delay_ns.iter().flatten().all(|&delay| delay == 0)
    }
}
