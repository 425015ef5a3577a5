//! Puts together what a run left behind: the record of the report and the disclosure list.
//!
//! ```text
//! assemble(RecordParts) -> RunRecord          from plan, loads, samples, ledgers, checks, events
//! host_disclosure(folder) -> Vec<Disclosure>  machine, kernel, clock, limits, pressure, file system
//! ```
//! Objectives are judged here, on the summary of the record, so that the report only renders them.

mod accused;
mod assemble;
mod findings;
mod host;
mod instances;
mod links;
mod merge;
mod objectives;
mod parts;
#[cfg(test)]
mod tests;

pub use assemble::assemble;
pub use host::host_disclosure;
#[cfg(test)]
pub(crate) use links::findings as link_findings;
pub(crate) use links::{disclosure as links_disclosure, links};
pub use parts::{Ran, RecordParts};
