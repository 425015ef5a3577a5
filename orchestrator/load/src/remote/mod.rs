//! A load whose generator is another program, on another host: the same verbs, over a pair of streams.
//!
//! ```text
//! lab                                       generator ([`crate::serve`])
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
pub(crate) mod wire;

pub use clock::ClockBound;
pub use handle::{Remote, RemoteConnected, RemoteHandle, RemotePrepared};
