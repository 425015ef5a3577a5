//! Processes that the lab and the agents on hosts start, and what they use.
//!
//! ```text
//! Keeper::start()                 own thread; what it starts ends with it
//!   .spawn(ProcessSpec, place)    -> Process: announced, ended, stop, kill, pause
//! usage(pid, private)             what one process uses
//! HostSampler::new().sample(at)   what the host is busy with
//! memory::Rooms::find().read()    what there is left of memory
//! ```

pub mod cgroup;
mod foreign;
mod held;
mod host;
mod keeper;
mod log;
pub mod memory;
mod place;
mod process;
#[cfg(test)]
mod tests;
mod usage;

pub use foreign::{Foreign, HOLD, LAUNCH, hold, launch};
pub use held::HeldFile;
pub use host::HostSampler;
pub use keeper::Keeper;
pub use log::NodeLog;
pub use place::Place;
pub use process::{Order, Process, ProcessSpec, StartError, State};
pub use regatta_fleet::{Exit, HostSample, Usage};
pub use usage::{disk_bytes, own_bytes, start_ticks, usage};
