//! Facts about the host, measured by the lab and given to the checks.

use crate::scenario::{Network, ProviderKind};
use serde::{Deserialize, Serialize};

/// What the host offers; the lab fills it in, the checks read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The provider that these facts are about.
    pub provider: ProviderKind,
    /// Memory that the nodes may use, in bytes.
    pub memory_bytes: u64,
    /// What of it is to stay, unless the scenario says otherwise, in bytes.
    pub memory_floor_bytes: u64,
    /// Logical processors.
    pub cores: u32,
    /// Most open descriptors that one process may raise its limit to: the hard limit, when the lab raises the soft one.
    pub descriptors_per_process: u64,
    /// Most open descriptors of all processes together.
    pub descriptors_total: u64,
    /// Most processes and threads together.
    pub processes: u64,
    /// Free bytes where runs are kept.
    pub disk_bytes: u64,
    /// Address ranges that the host already uses.
    pub taken_networks: Vec<TakenNetwork>,
    /// Why this user cannot make network namespaces, where they are asked for and that is so.
    pub namespaces_refused: Option<String>,
    /// Why this user cannot make control groups that limit processors, where that is so.
    pub cgroups_refused: Option<String>,
    /// Why this user cannot make control groups that limit memory, where that is so.
    pub memory_limits_refused: Option<String>,
    /// Whether the lab was built for tests, so that simulated nodes can break the protocol.
    pub simulates_misconduct: bool,
}

/// An address range that the host already uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenNetwork {
    /// The range.
    pub network: Network,
    /// What uses it, e.g. `"run quickstart-1"` or `"interface lo:1"`.
    pub by: String,
}

impl Capabilities {
    /// Machines of somebody else, who has enough of them: nothing is limited but by the plan itself.
    #[must_use]
    pub fn elsewhere(provider: ProviderKind) -> Self {
        Self {
            provider,
            memory_bytes: u64::MAX,
            memory_floor_bytes: 0,
            cores: u32::MAX,
            descriptors_per_process: u64::MAX,
            descriptors_total: u64::MAX,
            processes: u64::MAX,
            disk_bytes: u64::MAX,
            taken_networks: Vec::new(),
            namespaces_refused: None,
            cgroups_refused: None,
            memory_limits_refused: None,
            simulates_misconduct: false,
        }
    }
}

impl Default for Capabilities {
    /// A small laptop: for tests, documentation and `plan` without a host.
    fn default() -> Self {
        Self {
            provider: ProviderKind::Local,
            memory_bytes: 8 << 30,
            memory_floor_bytes: 256 << 20,
            cores: 2,
            descriptors_per_process: 1024,
            descriptors_total: 1 << 20,
            processes: 30_000,
            disk_bytes: 32 << 30,
            taken_networks: Vec::new(),
            namespaces_refused: None,
            cgroups_refused: None,
            memory_limits_refused: None,
            simulates_misconduct: false,
        }
    }
}
