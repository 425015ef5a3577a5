//! Where nodes run: the verbs of a host, and what it can do.

mod limits;
mod local;
mod netns;
mod ports;
mod ssh;

pub(crate) use limits::{HostLimits, raise_descriptor_limit};
pub(crate) use local::LocalProvider;
pub(crate) use netns::{
    NetnsProvider, Probe, Switch, Tally as SwitchTally, model as attested_model, probe as probe_namespaces,
};
pub(crate) use ports::{AddressClaim, AddressError, check_free, free_network};
pub(crate) use regatta_process::{Exit, Place, Process, ProcessSpec, StartError};

pub(crate) use ssh::{Deployment, FleetReady, HeldHosts, Posting, SshError, SshProvider, deploy, reattach};

use netns::NetnsError;
use regatta_link::Observed;
use regatta_plan::{Capabilities, Plan, scenario::ProviderKind};
use regatta_process::{
    cgroup::{self, Controller},
    memory::floor_bytes,
};

/// A provider of hosts. A new one is a variant here, a file beside `local.rs` and the shared contract tests.
#[derive(Debug)]
pub(crate) enum Provider {
    /// Processes on this machine.
    Local(LocalProvider),
    /// Processes on this machine, each in a network namespace of its own.
    Netns(NetnsProvider),
    /// Processes on other machines.
    Ssh(SshProvider),
}

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// Its nodes are brought up another way.
    #[error("provider `{0}` keeps no cluster\n  help: `regatta run` runs a scenario on it; or use --provider local")]
    Unsupported(ProviderKind),
    /// The system refused what it needs.
    #[error("cannot start the local provider: {0}\n  help: `regatta doctor` shows this machine's limits")]
    Refused(#[from] std::io::Error),
    /// There are no namespaces.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

impl Provider {
    /// The provider that a plan names, with a place for each of its nodes. It is made by the thread that will talk to
    /// the nodes.
    ///
    /// # Errors
    /// [`ProviderError`] for one that this lab does not have, or that this machine refuses.
    pub(crate) fn of(plan: &Plan) -> Result<Self, ProviderError> {
        match plan.provider {
            ProviderKind::Local => Ok(Self::Local(LocalProvider::new()?)),
            ProviderKind::Netns => Ok(Self::Netns(NetnsProvider::new(plan)?)),
            other => Err(ProviderError::Unsupported(other)),
        }
    }

    /// Starts a process at the place of node `node` and returns when it runs (not when it is ready).
    ///
    /// # Errors
    /// [`StartError`] when the system refuses it, and for a provider whose processes are started elsewhere.
    pub(crate) async fn start(&self, node: u32, spec: ProcessSpec) -> Result<Process, StartError> {
        match self {
            Self::Local(local) => local.start(spec).await,
            Self::Netns(netns) => netns.start(node, spec).await,
            Self::Ssh(_) => Err(StartError::Stopping(spec.name)),
        }
    }

    /// The provider of other machines, when it is that.
    pub(crate) fn fleet(&self) -> Option<&SshProvider> {
        match self {
            Self::Ssh(ssh) => Some(ssh),
            Self::Local(_) | Self::Netns(_) => None,
        }
    }

    /// The switch between the nodes' namespaces, where they have any.
    pub(crate) fn switch(&self) -> Option<&Switch> {
        match self {
            Self::Local(_) | Self::Ssh(_) => None,
            Self::Netns(netns) => Some(netns.switch()),
        }
    }

    /// Measures links between nodes; blocks for as long as that takes. Empty where the lab does not make the links.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn attest(&self, probes: &[Probe]) -> std::io::Result<Vec<Observed>> {
        match self {
            Self::Local(_) | Self::Ssh(_) => Ok(Vec::new()),
            Self::Netns(netns) => netns.attest(probes),
        }
    }

    /// One line for the report.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Local(_) => "local, loopback addresses",
            Self::Netns(netns) => netns.describe(),
            Self::Ssh(_) => "hosts over SSH",
        }
    }
}

/// What the host of `kind` offers to runs kept in `runs`; for the checks of a plan.
pub(crate) fn capabilities(kind: ProviderKind, runs: &std::path::Path) -> Capabilities {
    let limits = HostLimits::read(runs);
    Capabilities {
        provider: kind,
        memory_bytes: limits.memory_available_bytes,
        memory_floor_bytes: floor_bytes(limits.memory_total_bytes),
        cores: limits.cores,
        descriptors_per_process: limits.descriptors_hard,
        descriptors_total: limits.descriptors_total,
        processes: limits.processes,
        disk_bytes: limits.disk_free_bytes,
        taken_networks: Vec::new(),
        namespaces_refused: (kind == ProviderKind::Netns)
            .then(probe_namespaces)
            .and_then(Result::err)
            .map(|error| error.to_string()),
        cgroups_refused: matches!(kind, ProviderKind::Local | ProviderKind::Netns)
            .then(|| cgroup::Place::find(Controller::Cpu))
            .and_then(Result::err)
            .map(|error| error.to_string()),
        memory_limits_refused: matches!(kind, ProviderKind::Local | ProviderKind::Netns)
            .then(|| cgroup::Place::find(Controller::Memory))
            .and_then(Result::err)
            .map(|error| error.to_string()),
        simulates_misconduct: cfg!(feature = "byzantine"),
    }
}
