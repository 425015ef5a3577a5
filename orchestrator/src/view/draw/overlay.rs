//! What lies over the board: help, the choice of a fault, a node's log.

use super::{Leaving, Ui, dim, panel};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Stylize},
    text::{Line, Span},
    widgets::{Clear, Paragraph, Widget},
};
use regatta_report::live::Board;

/// A box in the middle of `area`, at most as large as it.
fn middle(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    }
}

fn show(title: &str, lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
    Clear.render(area, buffer);
    let block = panel(title).border_style(Color::Cyan);
    Paragraph::new(lines).block(block).render(area, buffer);
}

pub(super) fn help(ui: &Ui, area: Rect, buffer: &mut Buffer) {
    let stop = match ui.leaving {
        Leaving::EndsRun => "stop in order, with a report; twice: at once",
        Leaving::EndsStart => "stop; nothing is left running",
        Leaving::Nothing => "leave; the cluster goes on",
    };
    let mut keys = vec![("q, Ctrl-C", stop), ("↑ ↓ PgUp PgDn", "choose a node")];
    if ui.may_break {
        keys.extend([
            ("f", "crash or pause the chosen node for some seconds"),
            ("p", "pause the chosen node, or let it go on"),
        ]);
    }
    keys.extend([("l, Enter", "the log of the chosen node"), ("?, Esc", "close this")]);
    let line = |(key, what): (&str, &str)| {
        Line::from(vec![
            Span::from(format!(" {key:<14}")).fg(Color::Cyan).bold(),
            Span::from(what.to_owned()),
        ])
    };
    let mut lines: Vec<Line<'_>> = keys.into_iter().map(line).collect();
    lines.push(Line::default());
    lines.push(Line::from(" ● ready  ◌ starting  ◐ behind  ‖ paused  ✕ down  ! fault"));
    if ui.may_break {
        lines.push(Line::default());
        lines.push(Line::from(dim(
            " A fault by hand is kept in the journal and drawn in the report;",
        )));
        lines.push(Line::from(dim(" the verdict says that the run was interfered with.")));
    }
    show("keys", lines, middle(area, 68, 14), buffer);
}

pub(super) fn fault(board: &Board, ui: &Ui, area: Rect, buffer: &mut Buffer) {
    let name = board.setting.nodes.get(ui.node).map_or("?", |node| node.name.as_str());
    let key = |key: &str, what: String| {
        Line::from(vec![
            Span::from(format!(" {key:<5}")).fg(Color::Cyan).bold(),
            Span::from(what),
        ])
    };
    let seconds = ui.seconds;
    let lines = vec![
        key("c", format!("crash {name}, start it again after {seconds} s")),
        key("p", format!("pause {name} for {seconds} s")),
        key("← →", "shorter, longer".to_owned()),
        key("↑ ↓", "another node".to_owned()),
        key("Esc", "nothing".to_owned()),
    ];
    show(&format!("break {name}"), lines, middle(area, 56, 7), buffer);
}

pub(super) fn log(board: &Board, ui: &Ui, log: &[String], area: Rect, buffer: &mut Buffer) {
    let name = board.setting.nodes.get(ui.node).map_or("?", |node| node.name.as_str());
    let place = middle(area, area.width.saturating_sub(4), area.height.saturating_sub(4));
    let rows = usize::from(place.height.saturating_sub(2));
    let mut lines: Vec<Line<'_>> = log
        .iter()
        .skip(log.len().saturating_sub(rows))
        .map(|line| Line::from(line.as_str()))
        .collect();
    if lines.is_empty() {
        lines.push(Line::from(dim("It has written nothing yet.")));
    }
    show(&format!("log of {name}"), lines, place, buffer);
}
