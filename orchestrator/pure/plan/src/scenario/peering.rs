//! The static graph: generators by name, and explicit edges.

use crate::{defaults, units::Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Generators by name, and explicit edges; their union is the graph.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peering {
    /// Explicit edges between nodes, e.g. `[["full-0", "val-3"]]`.
    #[serde(default)]
    pub edges: Vec<(String, String)>,
    /// Generators by name.
    #[serde(flatten)]
    pub rules: BTreeMap<String, Generator>,
}

/// A rule that makes edges; `of` is a group or `"all"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Generator {
    /// Every node with every other.
    FullMesh {
        /// Group whose nodes are connected, or `"all"`.
        of: String,
    },
    /// Each node with the next, the last with the first.
    Ring {
        /// Group whose nodes are connected, or `"all"`.
        of: String,
    },
    /// The first node with every other.
    Star {
        /// Group whose nodes are connected, or `"all"`.
        of: String,
    },
    /// A complete tree, filled level by level.
    Tree {
        /// Group whose nodes are connected, or `"all"`.
        of: String,
        /// Children of each node.
        #[serde(default = "default_arity")]
        arity: u32,
    },
    /// A random connected graph in which every node has exactly `k` links.
    KRegular {
        /// Group whose nodes are connected, or `"all"`.
        of: String,
        /// Links of each node.
        k: u32,
    },
    /// A ring lattice with rewired links (Watts and Strogatz).
    SmallWorld {
        /// Group whose nodes are connected, or `"all"`.
        of: String,
        /// Links of each node before rewiring, even.
        k: u32,
        /// Probability that a link is rewired.
        #[serde(default = "default_rewire")]
        rewire: Ratio,
    },
    /// Growth with preferential attachment (Barabási and Albert).
    ScaleFree {
        /// Group whose nodes are connected, or `"all"`.
        of: String,
        /// Links that each new node brings along.
        #[serde(default = "default_links")]
        m: u32,
    },
    /// Each node of `from` with `degree` nodes of `to`, spread evenly.
    Bipartite {
        /// Group whose nodes attach.
        from: String,
        /// Group that they attach to.
        to: String,
        /// Links of each node of `from`.
        degree: u32,
    },
    /// Edges from a file.
    File {
        /// Path of a file with two node names per line.
        path: String,
    },
}

fn default_arity() -> u32 {
    defaults::ARITY
}

fn default_rewire() -> Ratio {
    defaults::REWIRE
}

fn default_links() -> u32 {
    defaults::SCALE_FREE_LINKS
}
