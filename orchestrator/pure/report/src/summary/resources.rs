//! What the processes used: CPU per transaction and a row for each node.

use crate::{
    model::{Block, Node, Process, ProcessKind, RunRecord, Sample},
    result::{CpuCost, NodeSummary, Window},
};

/// CPU per successful transaction inside the window, nodes and lab apart.
pub(super) fn cost(record: &RunRecord, window: &Window, blocks: &[&Block]) -> Option<CpuCost> {
    let ok: u64 = blocks.iter().map(|block| block.ok).sum();
    let used = |kind| -> f64 {
        let processes = record.processes.iter().filter(|process| process.kind == kind);
        processes.map(|process| cpu_inside(process, window)).sum()
    };
    let nodes = used(ProcessKind::Node);
    (ok > 0 && nodes > 0.0).then(|| CpuCost {
        nodes_us_per_tx: nodes * 1e6 / ok as f64,
        lab_us_per_tx: used(ProcessKind::Lab) * 1e6 / ok as f64,
    })
}

/// CPU seconds that a process used inside the window, between samples by straight lines.
fn cpu_inside(process: &Process, window: &Window) -> f64 {
    let at = |at_ms| cpu_at(&process.samples, at_ms);
    (at(window.end_ms) - at(window.start_ms)).max(0.0)
}

fn cpu_at(samples: &[Sample], at_ms: u64) -> f64 {
    let next = samples.partition_point(|sample| sample.at_ms < at_ms);
    match (
        next.checked_sub(1).and_then(|index| samples.get(index)),
        samples.get(next),
    ) {
        (Some(before), Some(after)) => {
            let share = (at_ms - before.at_ms) as f64 / (after.at_ms - before.at_ms) as f64;
            before.cpu_s + (after.cpu_s - before.cpu_s) * share
        }
        (Some(only), None) | (None, Some(only)) => only.cpu_s,
        (None, None) => 0.0,
    }
}

pub(super) fn nodes(record: &RunRecord, window: &Window) -> Vec<NodeSummary> {
    record.nodes.iter().map(|node| row(node, record, window)).collect()
}

fn row(node: &Node, record: &RunRecord, window: &Window) -> NodeSummary {
    let is_its = |process: &&Process| process.kind == ProcessKind::Node && process.name == node.name;
    let Some(process) = record.processes.iter().find(is_its) else {
        return NodeSummary {
            name: node.name.clone(),
            ..NodeSummary::default()
        };
    };
    let samples = &process.samples;
    let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or(0);
    let last = samples.last().copied().unwrap_or_default();
    let seconds = window.seconds();
    NodeSummary {
        name: node.name.clone(),
        height: most(|sample| sample.height),
        transactions: most(|sample| sample.transactions),
        cpu_percent: if seconds > 0.0 {
            cpu_inside(process, window) / seconds * 100.0
        } else {
            0.0
        },
        cpu_total_s: process.cpu_total_s,
        rss_max_bytes: most(|sample| sample.rss_bytes),
        private_max_bytes: most(|sample| sample.private_bytes),
        descriptors_max: most(|sample| sample.descriptors),
        disk_bytes: last.disk_bytes,
        peers: last.peers,
        messages_in: most(|sample| sample.messages_in),
        messages_out: most(|sample| sample.messages_out),
        bytes_in: most(|sample| sample.bytes_in),
        bytes_out: most(|sample| sample.bytes_out),
        restarts: process.restarts,
        sampled: !samples.is_empty(),
    }
}
