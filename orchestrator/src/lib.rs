//! The lab: from a scenario file to signed programs, real processes, load, checks and a report.
//!
//! Library code returns values; only [`cli`] and the progress lines print. The lab runs signed programs and
//! never links one.

mod build;
mod cgroup;
pub mod check;
pub mod cli;
mod cluster;
mod export;
mod fleet;
pub mod hlog;
mod inject;
mod inventory;
mod memory;
mod progress;
mod provider;
pub mod record;
mod rundir;
mod runner;
pub mod sample;
mod shrink;
mod supervisor;
#[cfg(test)]
mod testing;
mod view;

use regatta_load as load;
use regatta_seal as seal;
