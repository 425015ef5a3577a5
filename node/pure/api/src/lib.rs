//! The contract between a node and everything that talks to it: requests, responses, metric names,
//! node configuration.
//!
//! Nothing here knows how messages travel. Bodies are JSON or MessagePack by content type; digests,
//! keys and bytes are hexadecimal in the former and raw in the latter. MessagePack bodies keep field
//! names, so that clients in any language can read them.

pub mod config;
pub mod metrics;
pub mod reject;
mod snapshots;
pub mod testing;
pub mod view;

pub use config::{NodeConfig, PeerConfig};
pub use reject::{ApiError, Reject};
