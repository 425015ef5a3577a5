//! Conditions of the links between real nodes: the scenario's matrix, whoever carries it out.

use crate::units::{BitRate, Duration, Ratio};
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr};

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
    /// Directions with conditions of their own; of several that say the same, the last one counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<PlannedDirection>,
}

/// What some places send to others, where it has conditions of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDirection {
    /// Places of those that send, ascending.
    pub from: Vec<u32>,
    /// Places of those that receive, ascending.
    pub to: Vec<u32>,
    /// One-way delay in nanoseconds.
    pub delay_ns: Option<u64>,
    /// Variation of the delay, in millionths.
    pub jitter_ppm: Option<u32>,
    /// Share of packets that are lost, in millionths.
    pub loss_ppm: Option<u32>,
    /// Bits per second from each to each.
    pub rate_bits: Option<u64>,
}

impl PlannedDirection {
    /// Whether it says something about what `from` sends to `to`.
    #[must_use]
    pub fn covers(&self, from: u32, to: u32) -> bool {
        from != to && self.from.binary_search(&from).is_ok() && self.to.binary_search(&to).is_ok()
    }

    /// The conditions of a direction that it covers, in place of `base`.
    #[must_use]
    pub fn on(&self, base: LinkConditions) -> LinkConditions {
        LinkConditions {
            delay_ns: self.delay_ns.unwrap_or(base.delay_ns),
            jitter_ppm: self.jitter_ppm.unwrap_or(base.jitter_ppm),
            loss_ppm: self.loss_ppm.unwrap_or(base.loss_ppm),
            rate_bits: self.rate_bits.or(base.rate_bits),
        }
    }
}

/// What it makes of its links, in words.
impl fmt::Display for PlannedDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |ppm: u32| Ratio(f64::from(ppm) / 1e6);
        let words = [
            self.delay_ns.map(|delay| Duration(delay).to_string()),
            self.jitter_ppm.map(|ppm| format!("±{}", share(ppm))),
            self.loss_ppm.map(|ppm| format!("loss {}", share(ppm))),
            self.rate_bits.map(|rate| BitRate(rate).to_string()),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<String>>().join(" "))
    }
}

impl PlannedLinks {
    /// What becomes of what a node in region `from` sends to one in region `to`, where no direction says otherwise.
    #[must_use]
    pub fn between(&self, from: Option<&str>, to: Option<&str>) -> LinkConditions {
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
        let has_delays = self.delay_ns.iter().flatten().any(|&delay| delay > 0);
        shares == [0; 3] && self.rate_bits.is_none() && self.directions.is_empty() && !has_delays
    }
}
