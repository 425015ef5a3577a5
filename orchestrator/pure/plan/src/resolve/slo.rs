//! Objectives are parsed, and only allowed on what the run will emit.

use super::Draft;
use crate::{
    diagnostic::{Code, Problem},
    objective::{Metric, Need, Objective},
};

/// Makes the objectives.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    for (name, text) in &scenario.slo {
        let path = format!("slo.{name}");
        let Some(metric) = Metric::by_name(name) else {
            let problem =
                Problem::error(Code::UnknownMetric, path, format!("nothing emits a metric `{name}`")).at_key();
            draft.unknown(problem, name, Metric::ALL.iter().map(|metric| metric.name()));
            continue;
        };
        let missing = match metric.needs() {
            Need::Load if scenario.load.is_empty() => Some("[[load]]"),
            Need::Link if scenario.link.is_none() => Some("[link]"),
            // Delays inside the transport are not measured from outside.
            Need::Link if scenario.provider.kind.has_links_made_by_nodes() => Some("a provider that measures links"),
            Need::Fault if scenario.load.is_empty() => Some("[[load]]"),
            Need::Fault if scenario.fault.is_empty() && scenario.nemesis.is_none() => Some("[[fault]]"),
            Need::Nothing | Need::Load | Need::Link | Need::Fault => None,
        };
        if let Some(missing) = missing {
            let message = format!("nothing emits `{name}` without {missing}");
            let problem = Problem::error(Code::UnknownMetric, &path, message).at_key();
            draft
                .problems
                .push(problem.help(format!("add {missing} or remove the objective")));
        }
        match Objective::parse(metric, text) {
            Ok(objective) => draft.objectives.push(objective),
            Err(error) => draft.error(Code::BadObjective, &path, error.to_string(), error.help()),
        }
    }
}
