//! The picture on the terminal, as a function of the board: any size, no state, nothing read.

mod figures;
mod nodes;
mod overlay;
mod programs;

use super::keys::{Leaving, Overlay, Ui};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, BorderType, Paragraph, Widget},
};
use regatta_report::{
    format,
    live::{Board, NodeState},
};

/// From this width on there is room for three columns.
const WIDE: u16 = 110;
/// Below this height the list of events makes room.
const LOW: u16 = 16;
/// Cells of the bar that shows how far a phase is.
const BAR_CELLS: usize = 16;

/// Draws `board` into `area` of `buffer`; `log` holds the last lines of the chosen node when they are shown.
pub(super) fn draw(board: &Board, ui: &Ui, log: &[String], area: Rect, buffer: &mut Buffer) {
    let events = match area.height {
        0..LOW => 0,
        LOW..30 => 7,
        _ => (area.height / 3).min(16),
    };
    let [head, body, bottom, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(0),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(area);
    header(board, head, buffer);
    let side = if area.width >= WIDE { 46 } else { area.width / 2 };
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(side)]).areas(body);
    let others = programs::rows(board, left.height);
    let [left, below] = Layout::vertical([Constraint::Min(0), Constraint::Length(others)]).areas(left);
    nodes::draw(board, ui, left, buffer);
    programs::draw(board, below, buffer);
    figures::draw(board, right, buffer);
    event_list(board, bottom, buffer);
    footer(ui, foot, buffer);
    match ui.overlay {
        Overlay::None => {}
        Overlay::Help => overlay::help(ui, area, buffer),
        Overlay::Fault => overlay::fault(board, ui, area, buffer),
        Overlay::Log => overlay::log(board, ui, log, area, buffer),
    }
}

/// A box with a title.
fn panel(title: &str) -> Block<'_> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(Span::from(format!(" {title} ")).bold())
}

/// How states look; a sign tells them apart where colours do not.
fn colour(state: NodeState) -> Color {
    match state {
        NodeState::Ready => Color::Green,
        NodeState::Starting => Color::Cyan,
        NodeState::Behind => Color::Yellow,
        NodeState::Paused => Color::Magenta,
        NodeState::Down => Color::Red,
    }
}

fn dim(text: impl Into<String>) -> Span<'static> {
    Span::from(text.into()).fg(Color::DarkGray)
}

fn header(board: &Board, area: Rect, buffer: &mut Buffer) {
    let setting = &board.setting;
    let mut first = vec![
        Span::from(" regatta ").bold().reversed(),
        Span::from(format!(" {} ", setting.scenario)).bold(),
        dim(setting.run.clone()),
    ];
    if board.by_hand {
        first.push(Span::from("  interfered with").fg(Color::Yellow).bold());
    }
    let second = match &board.ended {
        Some(sentence) => vec![Span::from(format!(" {sentence}")).bold()],
        None => phase(board),
    };
    Paragraph::new(vec![Line::from(first), Line::from(second)]).render(area, buffer);
}

/// The phase, how far it is, and what is left of it.
fn phase(board: &Board) -> Vec<Span<'static>> {
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
    let mut spans = vec![Span::from(format!(" {:<9}", board.phase_name)).bold().fg(Color::Cyan)];
    let planned = board.setting.phases.iter().find(|(kind, _)| *kind == board.phase);
    if let (Some(left_ms), Some(&(_, length_ms))) = (board.phase_left_ms, planned) {
        let done = 1.0 - left_ms as f64 / length_ms.max(1) as f64;
        let filled = (done.clamp(0.0, 1.0) * BAR_CELLS as f64).round() as usize;
        spans.push(Span::from("━".repeat(filled)).fg(Color::Cyan));
        spans.push(dim("━".repeat(BAR_CELLS - filled)));
        spans.push(Span::from(format!(" {} left", seconds(left_ms))));
        spans.push(dim(format!("   {} since the start", seconds(board.at_ms))));
    } else {
        spans.push(Span::from(board.step.clone()));
        if board.at_ms > 0 {
            spans.push(dim(format!("   {}", seconds(board.at_ms))));
        }
    }
    spans
}

fn event_list(board: &Board, area: Rect, buffer: &mut Buffer) {
    let rows = usize::from(area.height.saturating_sub(2));
    let newest = board.events.iter().rev().take(rows).rev();
    let line = |event: &regatta_report::live::Line| {
        let at = event
            .at_ms
            .map_or_else(String::new, |at_ms| format!("{:.1} s", at_ms as f64 / 1000.0));
        let style = match event.kind.as_str() {
            "fault" => Style::new().fg(Color::Yellow),
            "crash" | "failed" | "refused" | "ending" => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            "restart" => Style::new().fg(Color::Green),
            _ => Style::new().fg(Color::DarkGray),
        };
        let mut spans = vec![
            dim(format!("{at:>9} ")),
            Span::styled(format!("{:<8} ", event.kind), style),
        ];
        if !event.node.is_empty() && !event.text.contains(&event.node) {
            spans.push(Span::from(format!("{} ", event.node)).bold());
        }
        spans.push(Span::from(event.text.clone()));
        Line::from(spans)
    };
    let lines: Vec<Line<'_>> = newest.map(line).collect();
    Paragraph::new(lines).block(panel("events")).render(area, buffer);
}

fn footer(ui: &Ui, area: Rect, buffer: &mut Buffer) {
    let leave = match ui.leaving {
        Leaving::EndsRun | Leaving::EndsStart => "stop",
        Leaving::Nothing => "leave",
    };
    let mut keys = vec![("q", leave), ("↑↓", "node")];
    if ui.may_break {
        keys.extend([("f", "fault"), ("p", "pause/resume")]);
    }
    keys.extend([("l", "log"), ("?", "help")]);
    let spans = keys.into_iter().flat_map(|(key, what)| {
        [
            Span::from(format!(" {key} ")).reversed(),
            Span::from(format!(" {what}  ")).fg(Color::DarkGray),
        ]
    });
    Paragraph::new(Line::from_iter(spans)).render(area, buffer);
}

/// Thousands with a separator, or a dash for what is not known.
fn known(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), format::integer)
}
