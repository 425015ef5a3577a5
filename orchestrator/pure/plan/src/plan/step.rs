//! The steps of a run as data: the lab interprets and journals them one by one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One step with the time that it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Position in the plan.
    pub id: u32,
    /// What to do.
    pub step: Step,
    /// For steps on the timeline: milliseconds after the start of the load.
    pub at_ms: Option<u64>,
    /// Milliseconds that the step may take before the run fails.
    pub deadline_ms: u64,
}

/// What to do. Steps without a place on the timeline run one after the other; the others at their time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Build or fetch a program.
    Build {
        /// Key of the plan's builds.
        build: String,
    },
    /// Write and sign the manifest of a program built here.
    Seal {
        /// Key of the plan's builds.
        build: String,
    },
    /// Check signature and digests of a program.
    VerifySeal {
        /// Key of the plan's builds.
        build: String,
    },
    /// Connect to the hosts of a fleet and bring programs and files there.
    Deploy {
        /// Number of hosts with nodes.
        hosts: u32,
    },
    /// Start nodes.
    Spawn {
        /// Node indices.
        nodes: Vec<u32>,
    },
    /// Wait until nodes say that they listen.
    WaitReady {
        /// Node indices.
        nodes: Vec<u32>,
    },
    /// Wait until every link of the graph is up.
    WaitLinks {
        /// Number of links.
        edges: u32,
    },
    /// Start a load; it runs in the background until the cool-down ends.
    Load {
        /// Position in the plan's loads.
        load: u32,
    },
    /// The warm-up begins.
    Warmup {
        /// Its length in milliseconds.
        length_ms: u64,
    },
    /// The measuring window begins.
    Measure {
        /// Its length in milliseconds.
        length_ms: u64,
    },
    /// The cool-down begins.
    Cooldown {
        /// Its length in milliseconds.
        length_ms: u64,
    },
    /// A fault begins.
    Inject {
        /// Position in the plan's faults.
        fault: u32,
    },
    /// A fault ends.
    Heal {
        /// Position in the plan's faults.
        fault: u32,
    },
    /// Start programs of others and wait until they are ready.
    Processes {
        /// Their places.
        places: Vec<u32>,
    },
    /// A node leaves by itself.
    Leave {
        /// Position in the plan's absences.
        absence: u32,
    },
    /// A node returns, or starts late.
    Return {
        /// Position in the plan's absences.
        absence: u32,
    },
    /// The load has ended: wait for its last transactions.
    Drain {
        /// Longest wait in milliseconds.
        up_to_ms: u64,
    },
    /// Fetch ledgers, samples and logs.
    Collect,
    /// Stop all nodes.
    Stop,
    /// Check the invariants.
    Check,
    /// Write the report.
    Report,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: &u64| *ms as f64 / 1000.0;
        match self {
            Self::Build { build } => write!(f, "build {build}"),
            Self::Seal { build } => write!(f, "seal {build}"),
            Self::VerifySeal { build } => write!(f, "verify seal of {build}"),
            Self::Deploy { hosts } => write!(f, "deploy to {hosts} hosts"),
            Self::Spawn { nodes } => write!(f, "spawn {} nodes", nodes.len()),
            Self::WaitReady { nodes } => write!(f, "wait until {} nodes are ready", nodes.len()),
            Self::WaitLinks { edges } => write!(f, "wait until {edges} links are up"),
            Self::Load { load } => write!(f, "load {load}"),
            Self::Warmup { length_ms } => write!(f, "warm up {} s", seconds(length_ms)),
            Self::Measure { length_ms } => write!(f, "measure {} s", seconds(length_ms)),
            Self::Cooldown { length_ms } => write!(f, "cool down {} s", seconds(length_ms)),
            Self::Inject { fault } => write!(f, "inject fault {fault}"),
            Self::Heal { fault } => write!(f, "heal fault {fault}"),
            Self::Processes { places } => write!(f, "start {} programs of others", places.len()),
            Self::Leave { absence } => write!(f, "leave {absence}"),
            Self::Return { absence } => write!(f, "return {absence}"),
            Self::Drain { up_to_ms } => write!(f, "drain, at most {} s", seconds(up_to_ms)),
            Self::Collect => f.write_str("collect"),
            Self::Stop => f.write_str("stop"),
            Self::Check => f.write_str("check"),
            Self::Report => f.write_str("report"),
        }
    }
}
