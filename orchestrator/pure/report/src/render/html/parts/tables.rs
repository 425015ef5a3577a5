//! The tables of the page: nodes, events, checks, machine, files, quantiles.

use super::{Check, EventRow, FileRow, NodeRow, QuantileRow, Section, mark};
use crate::{
    Counts,
    figure::{Ink, sparkline},
    format,
    model::{Accusation, Node, Process, ProcessKind, Role, Sample},
    result::{ChipState, NodeSummary, RunResult},
};

/// Proofs of misconduct that the page lists; the result file has all of them.
const ACCUSATIONS_MAX: usize = 64;

/// A row for each node of the plan.
pub(in crate::render::html) fn nodes(result: &RunResult) -> Vec<NodeRow<'_>> {
    let record = &result.record;
    let rows = record.nodes.iter().zip(&result.summary.nodes).map(|(node, summary)| {
        let is_its = |process: &&Process| process.kind == ProcessKind::Node && process.name == node.name;
        let samples = record
            .processes
            .iter()
            .find(is_its)
            .map_or(&[][..], |process| &process.samples);
        NodeRow {
            name: &node.name,
            role: node.role.as_str(),
            symbol: match node.role {
                Role::Validator => "◆",
                Role::Full => "●",
                Role::Observer => "▲",
            },
            address: &node.address,
            cells: cells(summary, samples),
            program: program(node),
        }
    });
    rows.collect()
}

/// What a node said that it runs, and what it had become by the end.
fn program(node: &Node) -> String {
    // As much of a digest as messages show.
    let short = |digest: &str| digest.chars().take(8).collect::<String>();
    match (short(&node.binary_digest), short(&node.binary_digest_end)) {
        (start, end) if start == end => start,
        (start, end) if end.is_empty() => format!("{start} → ?"),
        (start, end) => format!("{start} → {end}"),
    }
}

/// The numbers of a node with its two small lines.
fn cells(summary: &NodeSummary, samples: &[Sample]) -> Vec<String> {
    const COLUMNS: usize = 13;
    if !summary.sampled {
        return vec!["–".to_owned(); COLUMNS];
    }
    let busy: Vec<f64> = samples
        .windows(2)
        .map(|pair| (pair[1].cpu_s - pair[0].cpu_s).max(0.0))
        .collect();
    let memory: Vec<f64> = samples.iter().map(|sample| sample.rss_bytes as f64).collect();
    vec![
        format::integer(summary.height),
        format::integer(summary.transactions),
        sparkline(&busy, Ink::Series(0), "CPU over time"),
        format!("{:.1} %", summary.cpu_percent),
        sparkline(&memory, Ink::Series(2), "memory over time"),
        format::bytes(summary.rss_max_bytes as f64),
        format::count(summary.messages_in as f64),
        format::count(summary.messages_out as f64),
        format::bytes(summary.bytes_in as f64),
        format::bytes(summary.bytes_out as f64),
        summary.peers.to_string(),
        format::bytes(summary.disk_bytes as f64),
        summary.restarts.to_string(),
    ]
}

/// What happened, in time order.
pub(in crate::render::html) fn events(result: &RunResult) -> Vec<EventRow<'_>> {
    let row = |event: &'_ crate::model::Event| (format::moment(event.start_ms), event.kind.as_str());
    let events = result.record.events.iter();
    events
        .map(|event| {
            let (from, kind) = row(event);
            let to = if event.end_ms > event.start_ms {
                format::moment(event.end_ms)
            } else {
                String::new()
            };
            EventRow {
                from,
                to,
                kind,
                node: &event.node,
                text: &event.text,
            }
        })
        .collect()
}

/// The correctness checks with their evidence.
pub(in crate::render::html) fn invariants(result: &RunResult) -> Vec<Check<'_>> {
    let check = |invariant: &'_ crate::model::Invariant| {
        let numbers = invariant
            .numbers
            .iter()
            .map(|n| format!("{} {}", format::count(n.value), n.name));
        (
            mark(if invariant.holds {
                ChipState::Good
            } else {
                ChipState::Bad
            }),
            numbers.collect::<Vec<String>>().join(", "),
        )
    };
    let invariants = result.record.invariants.iter();
    invariants
        .map(|invariant| {
            let ((class, icon), numbers) = check(invariant);
            let word = if invariant.holds { "holds" } else { "violated" };
            Check {
                class,
                icon,
                word,
                name: &invariant.name,
                evidence: &invariant.evidence,
                numbers,
            }
        })
        .collect()
}

/// The first proofs of misconduct.
pub(in crate::render::html) fn accusations(result: &RunResult) -> &[Accusation] {
    let all = &result.record.accusations;
    &all[..all.len().min(ACCUSATIONS_MAX)]
}

/// How many more there are.
pub(in crate::render::html) fn accusations_more(result: &RunResult) -> usize {
    result.record.accusations.len().saturating_sub(ACCUSATIONS_MAX)
}

/// The objectives and how they went.
pub(in crate::render::html) fn objectives(result: &RunResult) -> Vec<Check<'_>> {
    let objectives = result.record.objectives.iter();
    objectives
        .map(|objective| {
            let (state, word) = match objective.met {
                Some(true) => (ChipState::Good, "met"),
                Some(false) => (ChipState::Bad, "missed"),
                None => (ChipState::Doubtful, "open"),
            };
            let (class, icon) = mark(state);
            let mut numbers = format!("wanted {}", objective.wanted);
            if !objective.evidence.is_empty() {
                numbers += &format!("; {}", objective.evidence);
            }
            Check {
                class,
                icon,
                word,
                name: &objective.metric,
                evidence: &objective.observed,
                numbers,
            }
        })
        .collect()
}

/// The disclosures under their headings, in the order of first mention.
pub(in crate::render::html) fn environment(result: &RunResult) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in &result.record.environment {
        match sections.iter_mut().find(|section| section.title == line.section) {
            Some(section) => section.lines.push(line),
            None => sections.push(Section {
                title: &line.section,
                lines: vec![line],
            }),
        }
    }
    sections
}

/// The raw files beside the report.
pub(in crate::render::html) fn files(result: &RunResult) -> Vec<FileRow<'_>> {
    let files = result.record.files.iter();
    files
        .map(|file| FileRow {
            path: &file.path,
            description: &file.description,
            size: format::bytes(file.size_bytes as f64),
        })
        .collect()
}

/// What may be said about each quantile of the three latencies.
pub(in crate::render::html) fn quantiles(result: &RunResult) -> Vec<QuantileRow> {
    let latency = &result.record.latency;
    if latency.response.overall.is_empty() && result.record.accounting.intended == 0 {
        return Vec::new();
    }
    let raw = |counts: &Counts, q| {
        counts
            .quantile(q)
            .map_or_else(|| "–".to_owned(), |us| format::duration_us(us as f64))
    };
    let rows = result.summary.response.iter().map(|quantile| QuantileRow {
        name: format::quantile_name(quantile.q),
        response: format::quantile(quantile),
        service: raw(&latency.service.overall, quantile.q),
        lag: raw(&latency.lag.overall, quantile.q),
    });
    rows.collect()
}
