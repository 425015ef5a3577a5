//! Resource samples of every process and of the host, once a second, written out as they are taken.
//!
//! ```text
//! Sampler::start(SamplerConfig)      own thread; files under runs/<id>/samples/
//!   .watch(Watched)                  a process was started, or started again
//!   .ended(name, exit)               it is gone
//!   .latest()                        for the heartbeat
//!   .finish() -> SampleOutcome       processes for the report, pressure of the host
//! ```

mod outcome;

pub use outcome::{HostSample, SampleError, SampleOutcome, SamplerConfig, Watched};
