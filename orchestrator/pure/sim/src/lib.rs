//! Whole networks of nodes in virtual time: the same [`regatta_core::Node`] over modelled links, processors and journals.
//!
//! ```text
//! Setup { hosts, network, machine, disk, costs, seed }
//!   -> World::new -> run_until(at) -> Vec<Observation>   what clients of the control interface would see
//!        submit, crash, start, pause, resume, cut, mend    between two calls of run_until
//!   -> summaries, block, counters, trace
//! ```
//! One thread, one queue of events ordered by (time, serial), one stream of randomness for each purpose: equal setups
//! and equal calls give equal events, and the trace hash over all of them says so.

mod costs;
mod disk;
mod host;
mod machine;
mod network;
mod queue;
mod setup;
mod snapshots;
#[cfg(test)]
mod tests;
mod trace;
mod work;
mod world;

pub use costs::{Costs, FREE, MEASURED};
pub use disk::DiskModel;
pub use host::Trouble;
pub use machine::MachineModel;
pub use network::{Direction, LinkShift, NetworkModel};
pub use setup::{HostSetup, Setup, SimError};
pub use world::{Handling, HostView, Observation, Probe, Statistics, World};

/// Nanoseconds of virtual time since the world began.
pub type Nanos = u64;
/// Position of a host in [`Setup::hosts`].
pub type HostIndex = usize;

/// Nanoseconds of a millisecond.
pub(crate) const MILLISECOND: Nanos = 1_000_000;
