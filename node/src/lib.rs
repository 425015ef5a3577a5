//! A full node: sockets, disk and clock around the pure core.
//!
//! The core decides; this crate carries out: it owns the links to peers, the journal, the timer and
//! the threads for heavy work, and offers [`NodeHandle`] to the control interface.

mod build_info;
pub mod cli;
pub mod handle;
pub mod host;
pub mod http;
pub mod meter;
pub mod p2p;
pub mod runtime;
pub mod snapshots;
pub mod store;
mod times;
pub mod trouble;
pub mod upgrade;

pub use handle::{Busy, NodeHandle, Stopped};
pub use meter::Meter;
pub use runtime::{RunError, Running, StartError};
