//! The open-loop load generator: sends by a schedule made beforehand and accounts for every transaction.
//!
//! ```text
//! prepare(spec, progress)  builds and signs, ahead of the run, within LoadLimits::prepared_bytes
//!   -> Prepared::start     subscribes to every target, then paces from the given instant
//!   -> LoadHandle          progress() for the heartbeat, scheduled() when all is handed over
//!   -> LoadHandle::drain   waits for the last transactions, resolves lost answers -> LoadOutcome
//! ```
//! Three kinds of thread: builders (bounded look-ahead, only busy before the run when the schedule fits in
//! memory), one pacer that does nothing but sleep to absolute times and publish how much is due, and one
//! that owns the sockets and all accounting. The pacer never waits for an answer, and what cannot be sent
//! is counted with its reason.

mod clock;
mod outcome;
mod spec;

pub use clock::RunClock;
pub use outcome::{LoadOutcome, LoadProgress, PhaseTally, Submission, Submitted, Tally};
pub use spec::{Endpoint, LoadError, LoadLimits, LoadSpec};
