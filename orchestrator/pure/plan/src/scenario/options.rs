//! Phases, limits and tuning.

use crate::{
    defaults,
    units::{Duration, Size},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The run's timeline; the load runs through warm-up, measure and cool-down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Phases {
    /// Load before the measuring window.
    pub warmup: Duration,
    /// The measuring window.
    pub measure: Duration,
    /// Load after the measuring window.
    pub cooldown: Duration,
    /// Longest wait for the last transactions once the load has ended.
    pub drain: Duration,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            warmup: defaults::WARMUP,
            measure: defaults::MEASURE,
            cooldown: defaults::COOLDOWN,
            drain: defaults::DRAIN,
        }
    }
}

/// Limits of a run; reaching one ends it with a partial report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Longest run from the first step to the report.
    pub wall: Duration,
    /// Longest life of a cluster that stays up.
    pub lease: Duration,
    /// For `ssh`: how long nodes on hosts go on while no lab is there to look after them; `lease` unless given.
    pub unattended: Option<Duration>,
    /// Most bytes in the run's folder, the nodes' data included; for `ssh`, in that of each host.
    pub disk: Size,
    /// Most memory of all nodes together; without it, what the host has.
    pub memory: Option<Size>,
    /// How much memory is to stay: a run ends when the machine, or a control group that the lab is in, has less left. Without
    /// it, 3 % of all and at least 256 MiB, but never more than an eighth. For `ssh`,
    /// each host keeps as much, by what its agent samples.
    pub memory_floor: Option<Size>,
    /// Most hosts of a fleet, spare ones and those that are only jumped over included.
    pub hosts: Option<u32>,
    /// Most bytes between the lab, hosts and nodes of a fleet, as estimated before the run: programs, configurations, load
    /// and logs.
    pub transfer: Option<Size>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            wall: defaults::WALL,
            lease: defaults::LEASE,
            unattended: None,
            disk: defaults::DISK,
            memory: None,
            memory_floor: None,
            hosts: None,
            transfer: None,
        }
    }
}

/// Tuning that every node gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeOptions {
    /// A batch of transactions leaves when it has this many bytes.
    pub batch_bytes: Size,
    /// A batch leaves when its first transaction has waited this long.
    pub batch_delay: Duration,
    /// Most transactions that wait at one node.
    pub mempool_transactions: u32,
    /// Most bytes that wait at one node.
    pub mempool_bytes: Size,
    /// Most transactions of one sender that wait at one node.
    pub mempool_per_sender: u32,
    /// Whether the log of votes reaches the disk before a vote leaves; `false` is for experiments only.
    pub durable: bool,
    /// A snapshot of the state is written at heights that are multiples of this; 0: none is, and every node has every
    /// block.
    pub snapshot_interval: u32,
    /// A node that is more blocks behind its neighbours fetches a snapshot from them instead of the blocks.
    pub snapshot_lag: u32,
    /// How many of the newest snapshots are kept.
    pub keep_snapshots: u32,
    /// How many of the last blocks are kept although snapshots make up for them; without it, all. Whole files of the
    /// journal go, so that some more are there. The checks say which blocks nobody has any more.
    pub keep_blocks: Option<u32>,
    /// A file of the journal takes no more records from this many bytes on.
    pub journal_file: Size,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            batch_bytes: defaults::BATCH_BYTES,
            batch_delay: defaults::BATCH_DELAY,
            mempool_transactions: defaults::MEMPOOL_TRANSACTIONS,
            mempool_bytes: defaults::MEMPOOL_BYTES,
            mempool_per_sender: defaults::MEMPOOL_PER_SENDER,
            durable: true,
            snapshot_interval: 0,
            snapshot_lag: defaults::SNAPSHOT_LAG,
            keep_snapshots: defaults::KEEP_SNAPSHOTS,
            keep_blocks: None,
            journal_file: defaults::JOURNAL_FILE,
        }
    }
}
