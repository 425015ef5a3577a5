//! Scenario files, topology generators, checks and the typed plan: pure from text to steps.
//!
//! `Source::parse` reads a file with overrides, `resolve` checks a scenario against a host's
//! [`Capabilities`] and makes the [`Plan`], and `arrivals` makes the schedule of each load.

pub mod capabilities;
mod defaults;
pub mod objective;
pub mod plan;
pub mod scenario;
pub mod units;

pub use capabilities::Capabilities;
pub use objective::{Comparison, Metric, Objective, Unit};
pub use plan::{
    BuildSource, GraphFacts, Plan, PlannedBudget, PlannedFault, PlannedInstance, PlannedLoad, PlannedNode,
    PlannedPhases, PlannedStep, Step,
};
pub use scenario::Scenario;
