//! Turn what a run recorded into a summary, a verdict and every form of its report.
//!
//! Pure: a [`RunRecord`] goes in, a [`RunResult`] and texts or bytes come out.
//!
//! ```text
//! RunRecord -> evaluate -> RunResult -> render::artefacts -> report.html, report.md, result.json, figures, ...
//!                             |
//!                             +-> compare(base, head, margin) -> Comparison -> text, Markdown, JSON, exit code
//!                             +-> parity(real, simulated) -> Parity -> page, text, Markdown, JSON, figures
//! ```
//!
//! Invariants:
//! - A number that the run cannot answer for is never printed: [`result::QuantileValue`] has no other way to say it.
//! - Everything random (resampling) is drawn from the record's seed, so that a record has one result.
//! - Text from outside reaches no document without that document's own escaping.
//! - A correctness failure hides every figure of speed from the first screen, in every form of the report.
//!
//! Bitmaps are set in Ubuntu Light, under the Ubuntu Font Licence 1.0, which the crate `epaint_default_fonts` carries.

pub mod compare;
pub mod figure;
#[cfg(test)]
mod fixture;
pub mod format;
pub mod histogram;
pub mod live;
pub mod model;
pub mod objective;
pub mod parity;
pub mod render;
pub mod result;
mod stats;
pub mod summary;
pub mod verdict;

pub use compare::{Comparison, compare};
pub use histogram::Counts;
pub use model::RunRecord;
pub use parity::{Parity, parity};
pub use result::{RESULT_VERSION, RunResult};
pub use summary::summarise;
pub use verdict::evaluate;
