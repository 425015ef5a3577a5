//! What is told of a host and of the processes on it.

use crate::limit::Resource;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a host is, for checks before a run and for the report. What the system does not tell is empty or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Its own name.
    pub hostname: String,
    /// Architecture, as in target triples.
    pub arch: String,
    /// Name and release of the kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu_model: String,
    /// Cores that this user may use.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Memory that processes may still take, in bytes.
    pub memory_available_bytes: u64,
    /// Free bytes of the file system that the agent's folder is on.
    pub disk_free_bytes: u64,
    /// Most descriptors of a process.
    pub descriptors: u64,
    /// Most processes of this user.
    pub processes: u64,
    /// Source of the monotonic clock.
    pub clock_source: String,
    /// Whether systemd is process 1.
    pub systemd: bool,
    /// The control groups that nodes get, or why they get none, in words.
    #[serde(default)]
    pub groups: String,
    /// What these groups can limit.
    #[serde(default)]
    pub limits: Vec<Resource>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, when it ended by itself.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// Whether it had been ordered to end.
    pub ordered: bool,
    /// Whether it had to be killed after the grace period of a stop.
    pub forced: bool,
    /// Whether the kernel killed it since it needed more memory than a fault left it.
    #[serde(default)]
    pub starved: bool,
    /// The last lines of its output.
    pub tail: Vec<String>,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None) => f.write_str("ended for an unknown reason"),
        }
    }
}

/// One sample of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HostSample {
    /// When it was taken, milliseconds since the origin.
    pub at_ms: u64,
    /// Load average over one minute.
    pub load1: f64,
    /// Share of all cores' time since the last sample that was not idle, 0 to 1.
    pub cpu_share: f64,
    /// Share of all cores' time since the last sample that the hypervisor took, 0 to 1.
    pub steal_share: f64,
    /// Share of the last 10 s in which some task waited for a core, 0 to 1; 0 where the kernel does not tell.
    pub pressure_cpu: f64,
    /// The same for memory.
    pub pressure_memory: f64,
    /// The same for disks.
    pub pressure_io: f64,
    /// Memory that processes may still take, in bytes.
    pub memory_available_bytes: u64,
}

/// One look at a process; what could not be read is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time in seconds since the process began.
    pub cpu_s: f64,
    /// Resident set in bytes.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Private memory in bytes, when it was asked for.
    pub private_bytes: u64,
}

/// One sample of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSample {
    /// The node.
    pub node: crate::Name,
    /// Its process.
    pub pid: u32,
    /// What the process uses.
    pub usage: Usage,
    /// Bytes of its data folder on the disk.
    pub disk_bytes: u64,
}
