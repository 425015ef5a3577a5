//! What the processes used: CPU per transaction and a row for each node.

use crate::{
    model::{Block, Node, Process, ProcessKind, RunRecord, Sample},
    result::{BlockCost, CpuCost, NodeSummary, Window},
    stats,
};
use regatta_base::seed;

/// CPU per successful transaction inside the window, nodes and lab apart; the interval is from resampling seconds.
pub(super) fn cost(record: &RunRecord, window: &Window, blocks: &[&Block]) -> Option<CpuCost> {
    let ok: u64 = blocks.iter().map(|block| block.ok).sum();
    let used = |kind, from_ms, to_ms| -> f64 {
        let processes = record.processes.iter().filter(|process| process.kind == kind);
        processes.map(|process| cpu_between(process, from_ms, to_ms)).sum()
    };
    let pieces: Vec<(f64, f64)> = pieces(window)
        .map(|(from_ms, to_ms)| {
            let inside = blocks.iter().filter(|block| (from_ms..to_ms).contains(&block.at_ms));
            let ok: u64 = inside.map(|block| block.ok).sum();
            (used(ProcessKind::Node, from_ms, to_ms) * 1e6, ok as f64)
        })
        .collect();
    let nodes_us_per_tx = stats::ratio(&pieces, &mut seed::rng(record.identity.seed, "report cpu"))?;
    let lab = used(ProcessKind::Lab, window.start_ms, window.end_ms);
    (nodes_us_per_tx.value > 0.0).then(|| CpuCost {
        nodes_us_per_tx,
        lab_us_per_tx: lab * 1e6 / ok as f64,
    })
}

/// The window in pieces of a second each; the last may be shorter.
fn pieces(window: &Window) -> impl Iterator<Item = (u64, u64)> {
    const PIECE_MS: u64 = 1000;
    let (start, end) = (window.start_ms, window.end_ms);
    let count = end.saturating_sub(start).div_ceil(PIECE_MS);
    (0..count).map(move |index| (start + index * PIECE_MS, (start + (index + 1) * PIECE_MS).min(end)))
}

/// What a block of the window costs the nodes.
pub(super) fn block_cost(record: &RunRecord, window: &Window) -> Option<BlockCost> {
    let nodes = || {
        record
            .processes
            .iter()
            .filter(|process| process.kind == ProcessKind::Node)
    };
    let blocks = window.blocks as f64;
    let sum = |of: fn(&Sample) -> f64| -> f64 {
        nodes()
            .map(|process| grown(process, window.start_ms, window.end_ms, of))
            .sum()
    };
    let (cpu_s, count) = (sum(|sample| sample.cpu_s), nodes().count() as f64);
    let messages = sum(|sample| sample.messages_out as f64);
    (window.blocks > 0 && cpu_s > 0.0).then(|| BlockCost {
        blocks_per_s: blocks / window.seconds(),
        nodes_us: cpu_s * 1e6 / blocks,
        message_us: if messages > 0.0 { cpu_s * 1e6 / messages } else { 0.0 },
        messages_per_node: messages / blocks / count,
        bytes_per_node: sum(|sample| sample.bytes_out as f64) / blocks / count,
    })
}

/// CPU seconds that a process used between two times.
fn cpu_between(process: &Process, from_ms: u64, to_ms: u64) -> f64 {
    grown(process, from_ms, to_ms, |sample| sample.cpu_s)
}

/// By how much a count of a process grew between two times, between samples by straight lines.
fn grown(process: &Process, from_ms: u64, to_ms: u64, of: fn(&Sample) -> f64) -> f64 {
    (value_at(&process.samples, to_ms, of) - value_at(&process.samples, from_ms, of)).max(0.0)
}

/// A count at a moment, by the samples around it.
fn value_at(samples: &[Sample], at_ms: u64, of: fn(&Sample) -> f64) -> f64 {
    let next = samples.partition_point(|sample| sample.at_ms < at_ms);
    match (
        next.checked_sub(1).and_then(|index| samples.get(index)),
        samples.get(next),
    ) {
        (Some(before), Some(after)) => {
            let share =
                at_ms.saturating_sub(before.at_ms) as f64 / after.at_ms.saturating_sub(before.at_ms).max(1) as f64;
            of(before) + (of(after) - of(before)) * share
        }
        (Some(only), None) | (None, Some(only)) => of(only),
        (None, None) => 0.0,
    }
}

/// One row for each node of the plan, also for those never sampled.
pub(super) fn nodes(record: &RunRecord, window: &Window) -> Vec<NodeSummary> {
    record.nodes.iter().map(|node| row(node, record, window)).collect()
}

/// One node, from its samples and the window.
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
            cpu_between(process, window.start_ms, window.end_ms) / seconds * 100.0
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
