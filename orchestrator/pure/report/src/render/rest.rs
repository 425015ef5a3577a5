//! A sentence about the memory of nodes that do nothing yet, the same in every form of the report.

use crate::{
    format,
    model::{PhaseKind, Process, ProcessKind, Role, Sample},
    result::RunResult,
};
use std::collections::BTreeMap;

/// Of the nodes that were looked at before the load; none where private memory is not known.
pub(super) fn sentence(result: &RunResult) -> Option<String> {
    let record = &result.record;
    let loaded_ms = record
        .phases
        .iter()
        .filter(|phase| phase.kind != PhaseKind::Start)
        .map(|phase| phase.start_ms)
        .min();
    let until_ms = loaded_ms? + FIRST_LOOK_MS;
    let processes: BTreeMap<&str, &Process> = record
        .processes
        .iter()
        .filter(|process| process.kind == ProcessKind::Node)
        .map(|process| (process.name.as_str(), process))
        .collect();
    let at_rest = |role: Role| -> Vec<Sample> {
        let nodes = record.nodes.iter().filter(|node| node.role == role);
        let firsts = nodes.filter_map(|node| processes.get(node.name.as_str())?.samples.first().copied());
        firsts
            .filter(|sample| sample.private_bytes > 0 && sample.at_ms <= until_ms)
            .collect()
    };
    let roles = [
        (Role::Validator, "validators"),
        (Role::Full, "full nodes"),
        (Role::Observer, "observers"),
    ];
    let parts: Vec<String> = roles
        .into_iter()
        .filter_map(|(role, many)| part(many, &at_rest(role)))
        .collect();
    (!parts.is_empty()).then(|| format!("memory at rest, with all links up and no load: {}", parts.join("; ")))
}

/// The first look at nodes begins when their links are up, and ends so much later at most.
const FIRST_LOOK_MS: u64 = 2_000;

/// What the nodes of one role take.
fn part(many: &str, samples: &[Sample]) -> Option<String> {
    let of = |value: fn(&Sample) -> u64| -> Option<(String, String)> {
        let mut values: Vec<u64> = samples.iter().map(value).collect();
        values.sort_unstable();
        let (median, most) = (values.get(values.len() / 2)?, values.last()?);
        Some((format::bytes(*median as f64), format::bytes(*most as f64)))
    };
    let (private, resident) = (of(|sample| sample.private_bytes)?, of(|sample| sample.rss_bytes)?);
    Some(format!(
        "{many} {} private and {} resident (median of {}), at most {} and {}",
        private.0,
        resident.0,
        format::integer(samples.len() as u64),
        private.1,
        resident.1,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate, fixture};

    #[test]
    fn each_role_has_its_part_in_every_form_and_late_looks_do_not_count() {
        let mut record = fixture::record(fixture::EIGHT);
        let start = |kind| {
            let phase = record.phases.iter().find(|phase| phase.kind == kind);
            phase.map(|phase| phase.start_ms)
        };
        let load = start(PhaseKind::Warmup).unwrap();
        let nodes = record
            .processes
            .iter_mut()
            .filter(|process| process.kind == ProcessKind::Node);
        for (number, process) in (0..).zip(nodes) {
            let first = Sample {
                at_ms: if number < 7 { load } else { load + FIRST_LOOK_MS + 1 },
                private_bytes: 3_000_000 + 1_000 * number,
                rss_bytes: 9_000_000,
                ..Sample::default()
            };
            process.samples.retain(|sample| sample.at_ms > first.at_ms);
            process.samples.insert(0, first);
        }
        let result = evaluate(record, false);
        let found = sentence(&result).unwrap();
        assert!(
            found.contains("validators 3.00 MB private and 9.00 MB resident (median of 4)"),
            "{found}"
        );
        assert!(
            found.contains("; full nodes") && found.contains("(median of 3)"),
            "{found}"
        );
        for text in [
            crate::render::text(&result, "report.html"),
            crate::render::markdown(&result),
            crate::render::html(&result).unwrap(),
        ] {
            assert!(text.contains("memory at rest"), "{text}");
        }
    }

    #[test]
    fn nothing_is_said_where_private_memory_is_not_known() {
        let mut record = fixture::record(fixture::SMALL);
        for process in &mut record.processes {
            process.samples.iter_mut().for_each(|sample| sample.private_bytes = 0);
        }
        assert_eq!(sentence(&evaluate(record, false)), None);
    }
}
