//! Scenario files, topology generators, checks and the typed plan: pure from text to steps.
//!
//! [`Source::read`] reads a file with overrides, [`resolve()`] checks a scenario against a host's
//! [`Capabilities`] and makes the [`Plan`], and [`arrivals()`] makes the schedule of each load.

pub mod arrivals;
pub mod capabilities;
mod defaults;
pub mod diagnostic;
pub mod objective;
pub mod plan;
pub mod reference;
mod resolve;
pub mod scenario;
pub mod shrink;
pub mod source;
mod suggest;
#[cfg(test)]
mod topologies;
mod topology;
pub mod units;

pub use arrivals::arrivals;
pub use capabilities::{Capabilities, TakenNetwork};
pub use diagnostic::{Code, Diagnostic, Diagnostics, Place, Severity};
pub use objective::{Comparison, Metric, Objective, Scope, Unit};
pub use plan::{
    BuildSource, Estimate, FaultExtent, GraphFacts, LOG_BYTES_MAX, LinkChange, LinkConditions, Plan, PlannedAbsence,
    PlannedBudget, PlannedChurn, PlannedDirection, PlannedFault, PlannedHost, PlannedInstance, PlannedLinks,
    PlannedLoad, PlannedNode, PlannedPhases, PlannedProcess, PlannedStep, PlannedWorld, ReadyWhen, Step,
};
pub use resolve::{Resolved, hosts, resolve};
pub use scenario::Scenario;
pub use source::Source;
