//! The figures beside the list: states, heights, throughput, latency, faults, what processes use.

use super::{colour, dim, known, panel};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Stylize},
    text::{Line, Span},
    widgets::{Paragraph, Sparkline, Widget},
};
use regatta_report::{
    format,
    live::{Board, NodeState, Point},
};

/// Cells of the words in front of the values.
const LABEL_CELLS: usize = 9;
/// From this height on, curves have a box of their own.
const TALL: u16 = 20;
/// Most lines of one kind (instances, regions, faults).
const LISTED_MAX: usize = 4;

pub(super) fn draw(board: &Board, area: Rect, buffer: &mut Buffer) {
    let curves = if area.height >= TALL { 6 } else { 0 };
    let [text, throughput, latency] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(curves),
        Constraint::Length(curves),
    ])
    .areas(area);
    let block = panel("now");
    let width = usize::from(block.inner(text).width);
    Paragraph::new(lines(board, width)).block(block).render(text, buffer);
    if curves > 0 {
        curve(
            board,
            "final tx/s",
            |point| point.final_per_s,
            Color::Green,
            throughput,
            buffer,
        );
        curve(board, "latency p99", |point| point.p99_us, Color::Blue, latency, buffer);
    }
}

fn lines(board: &Board, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![states(board, width)];
    lines.extend(heights(board));
    lines.extend(load(board, width));
    lines.push(labelled("nodes", &usage(board.total)));
    lines.push(labelled("lab", &usage(board.lab)));
    lines.extend(regions(board));
    for fault in board.faults.iter().take(LISTED_MAX) {
        let left = fault.until_ms.map(|until_ms| until_ms.saturating_sub(board.at_ms));
        let left = left.map_or_else(String::new, |left_ms| format!("{:.0} s ", left_ms as f64 / 1000.0));
        let label = Span::from(format!("{:<LABEL_CELLS$}", "FAULT")).fg(Color::Yellow);
        let text = Span::from(format!("{left}{}", fault.text)).fg(Color::Yellow).bold();
        lines.push(Line::from(vec![label, text]));
    }
    if board.faults.len() > LISTED_MAX {
        lines.push(labelled(
            "",
            &format!("and {} more faults", board.faults.len() - LISTED_MAX),
        ));
    }
    lines
}

fn labelled(label: &str, text: &str) -> Line<'static> {
    Line::from(vec![dim(format!("{label:<LABEL_CELLS$}")), Span::from(text.to_owned())])
}

/// How many nodes are in each state that occurs, in words where there is room for them.
fn states(board: &Board, width: usize) -> Line<'static> {
    let line = |worded: bool| {
        let mut spans = vec![dim(format!("{:<LABEL_CELLS$}", "states"))];
        for state in NodeState::ALL.into_iter().filter(|state| board.counts.get(*state) > 0) {
            let word = if worded {
                format!(" {}", state.as_str())
            } else {
                String::new()
            };
            let text = format!("{} {}{word}  ", state.sign(), board.counts.get(state));
            spans.push(Span::from(text).fg(colour(state)));
        }
        Line::from(spans)
    };
    Some(line(true))
        .filter(|line| line.width() <= width)
        .unwrap_or_else(|| line(false))
}

/// Lowest, median and highest height, a line an instance.
fn heights(board: &Board) -> impl Iterator<Item = Line<'static>> {
    let several = board.setting.instances.len() > 1;
    let instances = board.setting.instances.iter().zip(&board.spreads);
    instances.take(LISTED_MAX).map(move |(name, spread)| {
        let label: String = match several {
            true => name.chars().take(LABEL_CELLS - 1).collect(),
            false => "height".to_owned(),
        };
        let text = match spread {
            None => "-".to_owned(),
            Some(spread) if spread.min == spread.max => format::integer(spread.max),
            Some(spread) => {
                let [min, median, max] = [spread.min, spread.median, spread.max].map(format::integer);
                format!("{min} · {median} · {max}")
            }
        };
        labelled(&label, &text)
    })
}

fn load(board: &Board, width: usize) -> Vec<Line<'static>> {
    let Some(load) = &board.load else {
        return vec![labelled("load", "none yet")];
    };
    let rate = format!(
        "{} of {} tx/s",
        known(Some(load.final_per_s)),
        known(Some(load.offered_per_s))
    );
    let time = |us: u64| {
        if us == 0 {
            "-".to_owned()
        } else {
            format::duration_us(us as f64)
        }
    };
    let mut lines = vec![
        labelled("final", &rate),
        labelled(
            "latency",
            &format!("p50 {}  p99 {}", time(load.p50_us), time(load.p99_us)),
        ),
        labelled(
            "flight",
            &format!("{}, lag p99 {}", known(Some(load.in_flight)), time(load.lag_p99_us)),
        ),
    ];
    if load.troubled > 0 {
        let text = format!("{} refused, lost or failed", known(Some(load.troubled)));
        lines.push(labelled("trouble", &text));
    }
    if width > LABEL_CELLS {
        lines.push(small_curve(board, width - LABEL_CELLS));
    }
    lines
}

/// Throughput of the last looks as one line of blocks.
fn small_curve(board: &Board, cells: usize) -> Line<'static> {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points: Vec<&Point> = newest(board, cells).collect();
    let most = points.iter().map(|point| point.final_per_s).max().unwrap_or(0).max(1);
    let mut spans = vec![dim(format!("{:<LABEL_CELLS$}", "tx/s"))];
    for point in points {
        let step = (point.final_per_s * 7).div_ceil(most).min(7);
        let colour = if point.fault { Color::Yellow } else { Color::Green };
        spans.push(Span::from(BLOCKS[step as usize].to_string()).fg(colour));
    }
    Line::from(spans)
}

fn newest(board: &Board, count: usize) -> impl Iterator<Item = &Point> {
    board.history.iter().skip(board.history.len().saturating_sub(count))
}

fn usage(usage: regatta_report::live::Usage) -> String {
    format!(
        "{:.0} % cpu  {}",
        usage.cpu_percent,
        format::bytes(usage.rss_bytes as f64)
    )
}

/// Regions with their nodes, where the plan has several.
fn regions(board: &Board) -> Vec<Line<'static>> {
    let regions = board.regions();
    if regions.len() < 2 {
        return Vec::new();
    }
    let line = |(name, counts): &(String, regatta_report::live::Counts)| {
        let all: usize = NodeState::ALL.iter().map(|state| counts.get(*state)).sum();
        let label: String = name.chars().take(LABEL_CELLS - 1).collect();
        labelled(&label, &format!("{} of {all} ready", counts.ready))
    };
    regions.iter().take(LISTED_MAX).map(line).collect()
}

/// A curve in a box, with its largest value in the title.
fn curve(board: &Board, name: &str, value: fn(&Point) -> u64, colour: Color, area: Rect, buffer: &mut Buffer) {
    let cells = usize::from(area.width.saturating_sub(2));
    let values: Vec<u64> = newest(board, cells).map(value).collect();
    let most = values.iter().max().copied().unwrap_or(0);
    let most = match name.starts_with("latency") {
        true => format::duration_us(most as f64),
        false => format::integer(most),
    };
    let title = format!("{name}, at most {most}");
    Sparkline::default()
        .block(panel(&title))
        .fg(colour)
        .data(&values)
        .render(area, buffer);
}
