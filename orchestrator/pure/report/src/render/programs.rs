//! Programs of others beside the nodes, the same in every form of the report.

use crate::{
    format,
    model::{Process, ProcessKind},
    result::RunResult,
};

/// What the columns are called; the first one is the name.
pub(super) const HEAD: [&str; 5] = ["program", "cpu", "memory", "restarts", "ended"];
/// Programs that pages and terminals list; the result file has all of them.
pub(super) const ROWS_MAX: usize = 40;

/// The rows of at most `most` programs, and how many more there are; none where nothing but nodes ran.
pub(super) fn rows(result: &RunResult, most: usize) -> Vec<[String; HEAD.len()]> {
    let programs = result.record.processes.iter();
    let programs: Vec<&Process> = programs
        .filter(|process| process.kind == ProcessKind::Program)
        .collect();
    let mut rows: Vec<_> = programs.iter().take(most).map(|program| row(program)).collect();
    let more = programs.len().saturating_sub(most);
    if more > 0 {
        let text = format!("and {more} more, in result.json");
        rows.push([text, String::new(), String::new(), String::new(), String::new()]);
    }
    rows
}

fn row(program: &Process) -> [String; HEAD.len()] {
    let memory = program.samples.iter().map(|sample| sample.rss_bytes).max().unwrap_or(0);
    [
        program.name.clone(),
        format!("{} s", format::number(program.cpu_total_s)),
        format!("≤ {}", format::bytes(memory as f64)),
        program.restarts.to_string(),
        program.exit.clone().unwrap_or_else(|| "by the lab".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate, fixture, model::Sample, render};

    #[test]
    fn programs_are_in_every_form_and_absent_where_there_are_none() {
        let mut record = fixture::record(fixture::SMALL);
        let without = evaluate(record.clone(), false);
        assert!(rows(&without, ROWS_MAX).is_empty());
        assert!(!render::html(&without).unwrap().contains("id=\"programs\""));
        record.processes.extend((0..42).map(|index| Process {
            name: format!("web-{index}"),
            kind: ProcessKind::Program,
            cpu_total_s: 1.5,
            restarts: 2,
            exit: (index == 1).then(|| "exited with <9>".to_owned()),
            samples: vec![Sample {
                rss_bytes: 3 << 20,
                ..Sample::default()
            }],
            ..Process::default()
        }));
        let result = evaluate(record, false);
        assert_eq!(rows(&result, ROWS_MAX).len(), ROWS_MAX + 1);
        let text = render::text(&result, "report.html");
        assert!(
            text.contains("web-1") && text.contains("exited with <9>") && text.contains("and 2 more"),
            "{text}"
        );
        let page = render::html(&result).unwrap();
        assert!(page.contains("id=\"programs\"") && page.contains(">web-1<"), "no table");
        assert!(!page.contains("<9>"), "what others wrote is escaped");
        let markdown = render::markdown(&result);
        assert!(
            markdown.contains("| program web-1 | 1.5") && !markdown.contains("<9>"),
            "{markdown}"
        );
    }
}
