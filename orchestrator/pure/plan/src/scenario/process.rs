//! Programs of others that run beside the nodes.

use crate::{defaults, units::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A program that is none of ours, run unmodified: each of the group's processes has an address of its own, and with the
/// `netns` provider a namespace and links as nodes have them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessGroup {
    /// Name of the group and prefix of its processes' names.
    pub name: String,
    /// Number of processes.
    #[serde(default = "one")]
    pub count: u32,
    /// Program and arguments. `{name}`, `{index}`, `{address}` and `{region}` stand for those of the process,
    /// `{address:NAME}` for the address of a node or process; `{{` and `}}` stand for braces. There is no shell.
    pub command: Vec<String>,
    /// Variables of its environment beside those of the lab; values as in `command`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Regions and their shares of the processes, e.g. `{ eu = 2, us = 1 }`.
    #[serde(default)]
    pub regions: BTreeMap<String, u32>,
    /// When its processes start.
    #[serde(default)]
    pub start: ProcessStart,
    /// When a process counts as ready; without it, as soon as it runs.
    #[serde(default)]
    pub ready: Option<Ready>,
}

fn one() -> u32 {
    1
}

/// When processes start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessStart {
    /// Before the nodes, which start when it is ready.
    #[default]
    BeforeNodes,
    /// When all nodes are ready; the load begins when it is ready.
    AfterNodes,
}

/// When a process counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// When this TCP port of its address accepts connections.
    #[serde(default)]
    pub port: Option<u16>,
    /// When a line of its output contains this text.
    #[serde(default)]
    pub line: Option<String>,
    /// Longest wait.
    #[serde(default = "within")]
    pub within: Duration,
}

fn within() -> Duration {
    defaults::PROCESS_READY
}

impl fmt::Display for ProcessStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BeforeNodes => "before the nodes",
            Self::AfterNodes => "after the nodes",
        })
    }
}
