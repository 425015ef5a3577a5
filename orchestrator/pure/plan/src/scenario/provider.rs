//! Where the nodes run: kinds of providers, and the hosts of a fleet.

use crate::units::{Duration, Portion, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr};

/// Where the nodes run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// Kind of provider.
    pub kind: ProviderKind,
    /// Hosts of the `ssh` provider.
    pub host: Vec<Host>,
    /// File with more hosts as `[[host]]` tables, or the same as JSON; it lies beside the scenario.
    pub inventory: Option<String>,
    /// Program with arguments that prints more hosts in the form of `inventory`; it runs beside the scenario, without a
    /// shell.
    pub inventory_command: Option<Vec<String>>,
    /// Share of the hosts with nodes, or a number of them, that may fail while the run is set up, once no spare is left;
    /// their nodes stay away.
    pub tolerate: Option<Portion>,
    /// How programs come to hosts: from the lab alone, or also from hosts that have them by then; `"direct"` unless given.
    pub distribute: Option<Distribute>,
    /// Hosts that one with a program hands it on to at once with `distribute = "tree"`, 1 to 16; 4 unless given.
    pub fan_out: Option<u32>,
    /// How the lab reaches the control interfaces of nodes on hosts: at their ports, or through SSH; `"direct"` unless given.
    pub control: Option<Control>,
    /// Cores of a machine of the `sim` provider; 2 unless given.
    pub cores: Option<u32>,
    /// Whether all nodes of the `sim` provider share one machine, as processes of one computer do.
    pub shared: Option<bool>,
    /// Time that a disk of the `sim` provider takes to make records durable; 500us unless given.
    pub flush: Option<Duration>,
}

/// How programs come to the hosts of a fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distribute {
    /// The lab sends them to each host.
    #[default]
    Direct,
    /// The lab sends them to a few hosts, and each that has them hands them on.
    Tree,
}

/// How the lab reaches the control interfaces of nodes on hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// At the ports of the hosts.
    #[default]
    Direct,
    /// Through the SSH connection of each host, for hosts whose ports are not open to the lab.
    Ssh,
}

impl Control {
    /// Whether it needs no word.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        *self == Self::Direct
    }
}

/// Kinds of provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Processes on this machine, each with a loopback address of its own.
    #[default]
    Local,
    /// Processes on this machine, each in a network namespace of its own.
    Netns,
    /// Processes on other machines.
    Ssh,
    /// Nodes in virtual time inside the lab.
    Sim,
}

impl ProviderKind {
    /// Whether everything stays on this machine, so that programs made for tests may run.
    #[must_use]
    pub fn is_on_this_machine(self) -> bool {
        match self {
            Self::Local | Self::Netns | Self::Sim => true,
            Self::Ssh => false,
        }
    }

    /// Whether nodes themselves make the conditions of their links, inside their transport.
    #[must_use]
    pub fn has_links_made_by_nodes(self) -> bool {
        match self {
            Self::Local | Self::Ssh => true,
            Self::Netns | Self::Sim => false,
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Netns => "netns",
            Self::Ssh => "ssh",
            Self::Sim => "sim",
        })
    }
}

/// One host of the `ssh` provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Name in messages, reports and `jump`; `addr` unless given.
    #[serde(default)]
    pub name: Option<String>,
    /// IPv4 address or name of its SSH server.
    pub addr: String,
    /// IPv4 address of its nodes, where that is another than `addr`.
    #[serde(default)]
    pub ip: Option<Ipv4Addr>,
    /// Port of its SSH server; 22 unless given.
    #[serde(default)]
    pub port: Option<u16>,
    /// User to log in as; without it, whom the operator's SSH client would log in as.
    #[serde(default)]
    pub user: Option<String>,
    /// Region that the host stands for: its nodes are of that region or of none. A host without one takes any node.
    #[serde(default)]
    pub region: Option<String>,
    /// Most nodes on this host; 1 unless given, 0 for one that is only jumped over.
    #[serde(default)]
    pub slots: Option<u32>,
    /// Memory that its nodes may use together; without it only `slots` counts.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Pinned public key of its SSH server, e.g. `"ssh-ed25519 AAAA..."`.
    #[serde(default)]
    pub host_key: Option<String>,
    /// File with the private key to log in with, relative to the scenario or below `~/`; without it, what the operator's
    /// SSH agent offers.
    #[serde(default)]
    pub key: Option<String>,
    /// Host that it is reached over, by `name`.
    #[serde(default)]
    pub jump: Option<String>,
    /// Folder for programs, runs and logs on the host, relative to the user's home; `.regatta` unless given.
    #[serde(default)]
    pub dir: Option<String>,
    /// Whether it stays free until another host fails.
    #[serde(default)]
    pub spare: bool,
}
