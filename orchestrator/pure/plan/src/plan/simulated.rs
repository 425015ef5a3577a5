//! The simulated world of a plan: machines and links in virtual time.

use super::PlannedDirection;
use serde::{Deserialize, Serialize};

/// What the `sim` provider plays nodes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedWorld {
    /// Names of the regions, sorted; `""` stands for nodes without one.
    pub regions: Vec<String>,
    /// One-way delay in nanoseconds from region to region, by their positions.
    pub delay_ns: Vec<Vec<u64>>,
    /// Each delay varies by up to this share, in millionths.
    pub jitter_ppm: u32,
    /// Share of packets that are lost and sent again, in millionths.
    pub loss_ppm: u32,
    /// Share of frames that leave their place in the stream, in millionths.
    pub reorder_ppm: u32,
    /// Share of frames that arrive twice, in millionths.
    pub duplicate_ppm: u32,
    /// Rate of each node's link in bits per second.
    pub rate_bits: Option<u64>,
    /// Cores of a machine.
    pub cores: u32,
    /// All nodes share one machine; otherwise each has one.
    pub shared: bool,
    /// Time from writing records until they are durable, in nanoseconds.
    pub flush_ns: u64,
    /// Directions between nodes with conditions of their own; of several that say the same, the last one counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<PlannedDirection>,
}
