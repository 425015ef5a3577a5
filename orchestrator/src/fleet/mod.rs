//! Hosts of a fleet: connections to them through OpenSSH.
//!
//! What the lab's SSH client may do is written into a configuration of its own: the operator's configuration and known
//! hosts do not count.

mod config;
mod connect;
mod error;
mod gate;
mod pin;
mod probe;
mod scan;
mod target;

pub(crate) use connect::Connections;
pub(crate) use error::HostError;
pub(crate) use pin::{Pin, pin};
pub(crate) use probe::{Probed, probe};
pub(crate) use scan::{ScannedKey, fingerprint, scan};
pub(crate) use target::Target;
