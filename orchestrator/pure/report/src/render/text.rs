//! The result for a terminal: the verdict, a row for each node, where the report is.

use super::{churn, instances, links, programs, recovery, rest, spread};
use crate::{
    format,
    model::Node,
    result::{NodeSummary, RunResult},
};

/// Column headings; the first two columns and the address are left-aligned.
const HEAD: [&str; 13] = [
    "node", "role", "address", "height", "tx", "cpu", "memory", "msgs in", "msgs out", "in", "out", "peers", "restarts",
];
const LEFT_ALIGNED: usize = 3;
/// The same of the instances.
const INSTANCES_LEFT_ALIGNED: usize = 2;
/// With more nodes than this only the unusual ones get a row of their own.
const ROWS_MAX: usize = 40;

/// The verdict line, its problems, a table of the nodes and the path of the report; no colour codes.
#[must_use]
pub fn text(result: &RunResult, report_path: &str) -> String {
    let mut text = result.verdict.sentence.clone() + "\n";
    // The first problem is part of the sentence already.
    for problem in result.verdict.problems.iter().skip(1) {
        text += &format!("  also: {problem}\n");
    }
    if let Some(cost) = result.summary.block_cost.as_ref().filter(|_| result.speed_counts()) {
        text += &format!("  blocks: {}\n", format::block_cost(cost));
    }
    let sentences = links::sentences(result)
        .into_iter()
        .chain(spread::sentence(result))
        .chain(rest::sentence(result))
        .chain(churn::sentence(result));
    for sentence in sentences.chain(recovery::sentences(result)) {
        text += &format!("  {sentence}\n");
    }
    text += "\n";
    text += &table(result);
    text += &instances_table(result);
    text += &programs_table(result);
    text += &format!("\nreport: {report_path}\n");
    text
}

/// The rows in columns as wide as their widest cell.
fn table(result: &RunResult) -> String {
    let (shown, hidden) = choose(result);
    let mut rows: Vec<Vec<String>> = vec![HEAD.iter().map(|&head| head.to_owned()).collect()];
    rows.extend(shown.iter().map(|(node, summary)| row(node, summary)));
    let mut text = aligned(&rows, LEFT_ALIGNED);
    if hidden > 0 {
        text += &format!("... and {} like them\n", format::plural(hidden as u64, "node"));
    }
    text
}

/// A row for each consensus instance, if there are several.
fn instances_table(result: &RunResult) -> String {
    let rows = instances::rows(result);
    if rows.is_empty() {
        return String::new();
    }
    let head = instances::HEAD.iter().map(|&head| head.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    format!("\n{}", aligned(&rows, INSTANCES_LEFT_ALIGNED))
}

/// A row for each program of others, if there are any.
fn programs_table(result: &RunResult) -> String {
    let rows = programs::rows(result, programs::ROWS_MAX);
    if rows.is_empty() {
        return String::new();
    }
    let head = programs::HEAD.map(str::to_owned);
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows)
        .map(|cells| cells.map(|cell| clean(&cell)).to_vec())
        .collect();
    format!("\n{}", aligned(&rows, 1))
}

/// Control characters of a name must not reach a terminal.
fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// Rows in columns as wide as their widest cell; the first `left` columns are left-aligned.
fn aligned(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column < left {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        text += cells.collect::<Vec<String>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// The rows to show: all of a small network; of a large one the first, and all that restarted or lag behind.
fn choose(result: &RunResult) -> (Vec<(&Node, &NodeSummary)>, usize) {
    let all: Vec<(&Node, &NodeSummary)> = result.record.nodes.iter().zip(&result.summary.nodes).collect();
    if all.len() <= ROWS_MAX {
        return (all, 0);
    }
    let top = all.iter().map(|(_, summary)| summary.height).max().unwrap_or(0);
    let unusual = |summary: &NodeSummary| summary.restarts > 0 || !summary.sampled || summary.height + 10 < top;
    let total = all.len();
    let first = ROWS_MAX / 2;
    let kept = all
        .into_iter()
        .enumerate()
        .filter(|(index, (_, summary))| *index < first || unusual(summary));
    let shown: Vec<(&Node, &NodeSummary)> = kept.map(|(_, row)| row).take(ROWS_MAX).collect();
    debug_assert!(shown.len() <= ROWS_MAX.min(total));
    let hidden = total - shown.len();
    (shown, hidden)
}

/// The cells of one node.
fn row(node: &Node, summary: &NodeSummary) -> Vec<String> {
    let names = [node.name.clone(), node.role.as_str().to_owned(), node.address.clone()];
    if !summary.sampled {
        let missing = std::iter::repeat_n("–".to_owned(), HEAD.len() - LEFT_ALIGNED);
        return names.into_iter().chain(missing).collect();
    }
    let cells = [
        format::integer(summary.height),
        format::integer(summary.transactions),
        format!("{:.1} %", summary.cpu_percent),
        format::bytes(summary.rss_max_bytes as f64),
        format::count(summary.messages_in as f64),
        format::count(summary.messages_out as f64),
        format::bytes(summary.bytes_in as f64),
        format::bytes(summary.bytes_out as f64),
        summary.peers.to_string(),
        summary.restarts.to_string(),
    ];
    names.iter().map(|name| clean(name)).chain(cells).collect()
}
