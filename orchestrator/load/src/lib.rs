//! The open-loop load generator: sends by a schedule made beforehand and accounts for every transaction.
//!
//! ```text
//! prepare(spec, progress).await    builds and signs, ahead of the run, within LoadLimits::prepared_bytes
//!   -> Prepared::connect().await   subscribes to every target
//!   -> Connected::start(start_ns)  paces from the given instant of the run's clock
//!   -> LoadHandle                  progress() for the heartbeat, scheduled().await, stop()
//!   -> drain(limit).await          waits for the last transactions, resolves lost answers -> LoadOutcome
//! ```
//! Three kinds of thread: builders (bounded look-ahead, only busy before the run when the schedule fits in
//! memory), one pacer that does nothing but sleep to absolute times and publish how much is due, and one
//! that owns the sockets and all accounting. The pacer never waits for an answer, and what cannot be sent
//! is counted with its reason.

mod builders;
mod clock;
mod driver;
mod engine;
mod error;
mod generator;
mod lane;
mod listen;
mod outcome;
mod pacer;
mod priority;
mod recipe;
pub mod remote;
mod schedule;
mod series;
mod serve;
mod spec;
mod steps;
#[cfg(any(test, feature = "double"))]
#[allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "scaffolding of tests, of this crate and of others"
)]
pub mod tests;
mod tracker;

pub use clock::RunClock;
pub use driver::PrepareProgress;
pub use error::{LoadError, RemoteError};
pub use generator::{Connected, LoadHandle, Prepared, prepare};
pub use outcome::{LoadOutcome, LoadProgress, PhaseTally, Submission, Submitted, Tally};
pub use priority::settle;
pub use recipe::{Chunk, Recipe};
pub use schedule::Schedule;
pub use serve::serve;
pub use spec::{Endpoint, LoadLimits, LoadSpec};
pub use tracker::{Answer, Opening, Tracker};
