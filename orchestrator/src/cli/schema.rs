//! `regatta schema`: the machine-readable form of what the lab reads and writes.

use super::{
    Outcome,
    output::{print, print_json},
};
use clap::{Args, ValueEnum};
use regatta_plan::reference;
use regatta_report::render;

/// Print a JSON Schema
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta schema scenario > scenario.schema.json
  regatta schema result")]
pub(super) struct Schema {
    /// What to describe
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// A scenario file
    Scenario,
    /// `result.json` of a run
    Result,
}

impl Schema {
    pub(super) fn execute(&self) -> Outcome {
        match self.of {
            Of::Scenario => print_json(&reference::json_schema())?,
            Of::Result => print(&render::schema()?)?,
        }
        Ok(0)
    }
}
