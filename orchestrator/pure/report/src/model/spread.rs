//! How decisions spread among the nodes of one host.

use crate::histogram::Counts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long after the first node others told of the same block, for the blocks of the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Blocks that were looked at.
    pub blocks: u64,
    /// Nodes that told of every one of them.
    pub nodes: u64,
    /// Microseconds from the first node to each other one, over all blocks.
    pub each: Counts,
    /// Microseconds from the first node to the last one, by block.
    pub last: Counts,
}
