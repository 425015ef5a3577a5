//! Hosts of a fleet: connections to them through OpenSSH, and the agents that do the work there.
//!
//! ```text
//! Target (from the plan) -> Connections: client config, pinned keys, gates -> Session -> bootstrap of the agent
//!   -> Link: orders and answers in frames -> HostClient: the same over lost connections, lease, events by number
//! ```
//! Everything that goes to a host goes through one SSH session; nothing listens there. What the lab's SSH client may do is
//! written into a configuration of its own: the operator's configuration and known hosts do not count.

mod bootstrap;
mod client;
mod config;
mod connect;
mod crew;
mod doors;
mod error;
mod gate;
mod left;
mod link;
mod pin;
mod probe;
mod reach;
mod scan;
mod spread;
mod target;

pub(crate) use bootstrap::{Agent, AgentProgram};
pub(crate) use client::{HostClient, HostNews, RunTerms};
pub(crate) use connect::{Connections, sweep_temporary};
pub(crate) use crew::{Crew, HostFailure, News};
pub(crate) use doors::Doors;
pub(crate) use error::{FleetError, HostError};
pub(crate) use left::{end, look};
pub(crate) use pin::{Pin, pin};
pub(crate) use probe::{Probed, probe};
pub(crate) use reach::in_words as reach_in_words;
pub(crate) use scan::{ScannedKey, fingerprint, scan};
pub(crate) use spread::{Spread, Tree};
pub(crate) use target::Target;
