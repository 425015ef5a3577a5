//! A load whose generator is another program, on another host: the same verbs, over a pair of streams.
//!
//! ```text
//! lab                                       generator (`serve`)
//!  Clock, a few times              <->  when it was received and answered, on its own clock
//!  Prepare(spec, on its clock)      ->  builds and signs; Built..., Prepared
//!  Connect                          ->  subscribes; Connected
//!  Start(at)                        ->  sends by the schedule; Progress..., Scheduled
//!  Stop                             ->  ends the schedule
//!  Drain(limit)                     ->  the books, in pieces
//! ```
//! A generator stamps with its own monotonic clock, so that a latency never compares two clocks. The lab measures how far
//! that clock may be from its own and hands it the run's origin on it: counts by second and times of blocks then stand on
//! the run's time line, exact to the bound that the outcome discloses. Histograms travel as counts and are merged exactly.
//!
//! When the streams end, the generator ends the load; when the lab's side does, it loses the load and says so.

mod clock;
mod handle;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

pub use clock::ClockBound;
pub use handle::{Remote, RemoteConnected, RemoteHandle, RemotePrepared};
pub use serve::serve;

/// Why a generator elsewhere is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The stream broke, or ended before the load did.
    #[error("the connection broke: {0}\n  help: look at the host and at its SSH server; the load's counts are lost")]
    Broken(std::io::Error),
    /// What came is not what the protocol says.
    #[error("it does not speak this lab's protocol: {0}\n  help: deploy the agent of this version")]
    Protocol(String),
    /// The generator says that it failed.
    #[error("{0}")]
    Failed(String),
}
