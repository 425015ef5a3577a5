//! When a node writes snapshots, how many it keeps, and when it fetches one.

use serde::{Deserialize, Serialize};

/// Snapshots of one instance's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// A snapshot is written at heights that are multiples of this; 0: never. Nodes with one value serve the same
    /// snapshots, which a late one can fetch from several of them at once.
    pub interval: u64,
    /// A node that is more blocks behind fetches a snapshot instead of the blocks.
    pub lag: u64,
    /// How many of the newest snapshots are kept, 2 to 16. Blocks since the oldest of them are kept too, so that each
    /// makes up for a newer one that is damaged.
    pub keep: u64,
}

impl SnapshotConfig {
    /// How many snapshots a node may keep: with one alone, damage to it would leave no way to start.
    pub const KEEP: std::ops::RangeInclusive<u64> = 2..=16;

    /// None is written, and none is fetched however far behind the node is.
    pub const OFF: Self = Self {
        interval: 0,
        // The greatest integer that TOML knows.
        lag: i64::MAX as u64,
        keep: *Self::KEEP.start(),
    };

    /// What is wrong with it, and what to do about that.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let (least, most) = (Self::KEEP.start(), Self::KEEP.end());
        let is_fit = Self::KEEP.contains(&self.keep);
        (!is_fit).then(|| format!("snapshots.keep = {}; help: use {least} to {most}", self.keep))
    }
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            interval: 10_000,
            lag: 1000,
            keep: *Self::KEEP.start(),
        }
    }
}
