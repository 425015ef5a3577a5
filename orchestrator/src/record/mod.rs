//! Puts together what a run left behind: the record of the report and the disclosure list.
//!
//! ```text
//! assemble(RecordParts) -> RunRecord          from plan, loads, samples, ledgers, checks, events
//! host_disclosure(folder) -> Vec<Disclosure>  machine, kernel, clock, limits, pressure, file system
//! hlog::write(path, outcome, ...)             interval log of the three histograms
//! ```

mod parts;

pub use parts::RecordParts;
