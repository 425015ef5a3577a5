//! Turn what a run recorded into a summary, a verdict and every form of its report.
//!
//! Pure: a [`RunRecord`] goes in, a [`RunResult`] and texts or bytes come out.

pub mod histogram;
pub mod model;
pub mod result;

pub use histogram::Counts;
pub use model::RunRecord;
pub use result::{RESULT_VERSION, RunResult};
