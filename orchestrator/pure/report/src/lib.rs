//! Turn what a run recorded into a summary, a verdict and every form of its report.
//!
//! Pure: a [`RunRecord`] goes in, a [`RunResult`] and texts or bytes come out.

pub mod compare;
pub mod figure;
#[cfg(test)]
mod fixture;
pub mod format;
pub mod histogram;
pub mod model;
pub mod objective;
pub mod render;
pub mod result;
mod stats;
pub mod summary;
pub mod verdict;

pub use compare::{Comparison, compare};
pub use histogram::Counts;
pub use model::RunRecord;
pub use result::{RESULT_VERSION, RunResult};
pub use summary::summarise;
pub use verdict::evaluate;
