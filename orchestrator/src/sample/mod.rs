//! Resource samples of every process and of the host, once a second, written out as they are taken.
//!
//! ```text
//! Sampler::start(SamplerConfig)      own thread; files under runs/<id>/samples/
//!   .watch(Watched)                  a process was started, or started again
//!   .ended(name, exit)               it is gone
//!   .begin()                         nodes are up: from now on they are looked at too
//!   .round().await                   sample now: before a process is stopped or killed on purpose
//!   .latest()                        for the heartbeat
//!   .finish().await                  a last round -> SampleOutcome; call it before the nodes are stopped
//! ```

mod metrics;
mod outcome;
mod registry;
mod sampler;
mod writer;

pub(crate) use metrics::Counters;
pub use outcome::{Elsewhere, SampleError, SampleOutcome, SamplerConfig, Watched};
pub use regatta_process::HostSample;
pub use sampler::Sampler;
