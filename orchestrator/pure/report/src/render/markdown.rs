//! The result for a comment: at most 60 lines of Markdown.

use super::{churn, instances, links, programs, recovery, rest, spread};
use crate::{
    format,
    model::{Process, ProcessKind, Role},
    result::{ChipState, RunResult, Summary},
    verdict::labels,
};

/// Most lines of the document.
pub(super) const LINES_MAX: usize = 60;
/// Programs of others that are listed.
const PROGRAMS_MAX: usize = 4;
const PROBLEMS_MAX: usize = 8;
const CHECKS_MAX: usize = 12;
const INSTANCES_MAX: usize = 6;
const RECOVERIES_MAX: usize = 3;
const LABELS_MAX: usize = 3;
const OBJECTIVES_MAX: usize = 8;

/// The verdict, the figures that count, checks, objectives, cost by role and how to run it again.
#[must_use]
pub fn markdown(result: &RunResult) -> String {
    let identity = &result.record.identity;
    let mut lines = vec![format!("### {}", escape(&result.verdict.sentence)), String::new()];
    lines.push(format!(
        "{} · scenario `{}`, seed {}",
        escape(&identity.question),
        code(&identity.scenario),
        identity.seed
    ));
    lines.push(String::new());
    let chips = result
        .verdict
        .chips
        .iter()
        .map(|chip| format!("{} **{}**: {}", mark(chip.state), chip.aspect, escape(&chip.text)));
    lines.extend([chips.collect::<Vec<String>>().join(" · "), String::new()]);
    if result.verdict.problems.len() > 1 {
        lines.extend(
            result
                .verdict
                .problems
                .iter()
                .take(PROBLEMS_MAX)
                .map(|problem| format!("- {}", escape(problem))),
        );
        lines.push(String::new());
    }
    if result.speed_counts() {
        lines.extend(speed(result));
    }
    lines.extend(instances_table(result));
    let recoveries = recovery::sentences(result).into_iter().take(RECOVERIES_MAX);
    lines.extend(
        links::sentences(result)
            .into_iter()
            .chain(spread::sentence(result))
            .chain(rest::sentence(result))
            .chain(churn::sentence(result))
            .chain(recoveries)
            .map(|sentence| format!("- {}", escape(&sentence))),
    );
    lines.extend(checks(result));
    lines.extend(cost(result));
    let dirty = if identity.dirty {
        " (with uncommitted changes)"
    } else {
        ""
    };
    lines.push(format!("Run again: `{}`", code(&identity.reproduce)));
    lines.push(format!(
        "Commit `{}`{dirty}, plan `{}`, {}, {}",
        code(&format::short(&identity.commit, 12)),
        code(&format::short(&identity.plan_digest, 16)),
        escape(&identity.provider),
        escape(&identity.started_at)
    ));
    debug_assert!(lines.len() <= LINES_MAX, "every part of the comment has a limit");
    lines.truncate(LINES_MAX);
    lines.join("\n") + "\n"
}

/// A sign for a state.
fn mark(state: ChipState) -> &'static str {
    match state {
        ChipState::Good => "✅",
        ChipState::Doubtful => "❔",
        ChipState::Bad => "❌",
    }
}

/// The table of goodput, latency and cost, with what must be said beside it.
fn speed(result: &RunResult) -> Vec<String> {
    let summary: &Summary = &result.summary;
    let mut lines = vec!["| | value | 95 % interval |".to_owned(), "|---|---:|---:|".to_owned()];
    if let Some(rate) = &summary.goodput_per_s {
        let (value, offered) = (format::number(rate.value), format::number(summary.offered_per_s));
        lines.push(format!(
            "| goodput, of {offered} tx/s offered | {value} tx/s | {} |",
            format::number_bounds(rate)
        ));
    }
    for quantile in &summary.response {
        let name = format::quantile_name(quantile.q);
        lines.push(match &quantile.value {
            crate::result::QuantileValue::Measured(us) => {
                format!(
                    "| response {name} | {} | {} |",
                    format::duration_us(us.value),
                    format::duration_bounds(us)
                )
            }
            _ => format!("| response {name} | {} | |", format::quantile(quantile)),
        });
    }
    if let Some(cpu) = &summary.cpu {
        let (nodes, lab) = (&cpu.nodes_us_per_tx, format::duration_us(cpu.lab_us_per_tx));
        let (value, bounds) = (format::duration_us(nodes.value), format::duration_bounds(nodes));
        lines.push(format!(
            "| CPU per transaction, all nodes (lab {lab} more) | {value} | {bounds} |"
        ));
    }
    if let Some(cost) = &summary.block_cost {
        lines.push(format!("| blocks | {} | |", format::block_cost(cost)));
    }
    lines.push(String::new());
    let labels = labels(&result.record);
    lines.extend(
        labels
            .iter()
            .take(LABELS_MAX)
            .map(|label| format!("> {}", escape(label))),
    );
    if !labels.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// A row for each consensus instance, if there are several.
fn instances_table(result: &RunResult) -> Vec<String> {
    let rows = instances::rows(result);
    if rows.is_empty() {
        return Vec::new();
    }
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head: Vec<String> = instances::HEAD.iter().map(|&head| head.to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    let shown = rows.iter().take(INSTANCES_MAX);
    let shown = shown.map(|row| line(&row.iter().map(|cell| escape(cell)).collect::<Vec<String>>()));
    let mut lines: Vec<String> = [line(&head), line(&rule)].into_iter().chain(shown).collect();
    lines.push(String::new());
    lines
}

/// Invariants and objectives as a list.
fn checks(result: &RunResult) -> Vec<String> {
    let record = &result.record;
    let check = |holds: bool| if holds { "✅" } else { "❌" };
    let invariants = record.invariants.iter().take(CHECKS_MAX);
    let mut lines: Vec<String> = invariants
        .map(|invariant| {
            format!(
                "- {} {}: {}",
                check(invariant.holds),
                escape(&invariant.name),
                escape(&invariant.evidence)
            )
        })
        .collect();
    let objectives = record.objectives.iter().take(OBJECTIVES_MAX);
    lines.extend(objectives.map(|o| {
        let mark = o.met.map_or("❔", check);
        format!(
            "- {mark} {} {}: {}",
            escape(&o.metric),
            escape(&o.wanted),
            escape(&o.told())
        )
    }));
    lines.push(String::new());
    lines
}

/// One row for each role: a hundred nodes do not fit a comment.
fn cost(result: &RunResult) -> Vec<String> {
    let record = &result.record;
    let mut lines = vec!["| role | nodes | height | cpu | memory | sent | restarts |".to_owned()];
    lines.push("|---|---:|---:|---:|---:|---:|---:|".to_owned());
    for role in [Role::Validator, Role::Full, Role::Observer] {
        let pairs = record.nodes.iter().zip(&result.summary.nodes);
        let nodes: Vec<_> = pairs
            .filter(|(node, _)| node.role == role)
            .map(|(_, summary)| summary)
            .collect();
        if nodes.is_empty() {
            continue;
        }
        let count = nodes.len() as f64;
        let heights = nodes.iter().map(|node| node.height);
        let (low, high) = (heights.clone().min().unwrap_or(0), heights.max().unwrap_or(0));
        let cpu = nodes.iter().map(|node| node.cpu_percent).sum::<f64>() / count;
        let memory = nodes.iter().map(|node| node.rss_max_bytes).max().unwrap_or(0);
        let sent: u64 = nodes.iter().map(|node| node.bytes_out).sum();
        let restarts: u32 = nodes.iter().map(|node| node.restarts).sum();
        lines.push(format!(
            "| {} | {count} | {low}–{high} | {cpu:.1} % each | ≤ {} | {} | {restarts} |",
            role.as_str(),
            format::bytes(memory as f64),
            format::bytes(sent as f64)
        ));
    }
    let lab: f64 = record
        .processes
        .iter()
        .filter(|p| p.kind == ProcessKind::Lab)
        .map(|p: &Process| p.cpu_total_s)
        .sum();
    if lab > 0.0 {
        lines.push(format!("| lab | | | {} s in all | | | |", format::number(lab)));
    }
    lines.extend(of_programs(result));
    lines.push(String::new());
    lines
}

/// A table of the programs of others, where there are any.
fn of_programs(result: &RunResult) -> Vec<String> {
    let rows: Vec<String> = programs::rows(result, PROGRAMS_MAX)
        .into_iter()
        .map(|cells| format!("| program {} |", cells.map(|cell| escape(&cell)).join(" | ")))
        .collect();
    if rows.is_empty() {
        return rows;
    }
    let head = [
        "",
        "| program | cpu | memory | restarts | ended |",
        "|---|---:|---:|---:|---|",
    ];
    head.map(str::to_owned).into_iter().chain(rows).collect()
}

/// Text that Markdown and HTML leave alone.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '*' | '_' | '`' | '[' | ']' | '|' | '\\' | '#' => safe.extend(['\\', character]),
            other if other.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

/// Text inside a code span.
fn code(text: &str) -> String {
    text.chars()
        .map(|c| if c == '`' || c.is_control() { '\'' } else { c })
        .collect()
}
