//! `regatta plan`: what would run, without touching anything.

use super::{
    Global, Outcome,
    output::{print, print_json},
    scenario::ScenarioArgs,
};
use clap::Args;

/// Check a scenario and show the plan: nodes, addresses, links, steps, digest
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta plan topologies/quickstart.toml
  regatta plan topologies/hundred.toml --set group.1.count=40 --json")]
pub(super) struct Plan {
    #[command(flatten)]
    scenario: ScenarioArgs,
}

impl Plan {
    pub(super) fn execute(&self, global: &Global) -> Outcome {
        let loaded = self.scenario.load(global, "plan")?;
        if global.json {
            print_json(&loaded.plan.to_json())?;
        } else {
            print(&loaded.plan.render())?;
        }
        Ok(0)
    }
}
