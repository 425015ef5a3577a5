//! The list of programs of others, below the nodes.

use super::{colour, dim, panel};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Stylize,
    text::{Line, Span},
    widgets::{Paragraph, Widget},
};
use regatta_report::{
    format,
    live::{Board, NodeState, Place, ProgramNow},
};

/// Most programs that are listed; of more, those that have ended come first.
const LISTED_MAX: usize = 5;
/// Below this height the nodes need all of it.
const LOW: u16 = 10;

/// How many lines of `height` the list takes; none where nothing but nodes runs.
pub(super) fn rows(board: &Board, height: u16) -> u16 {
    match board.programs.len() {
        0 => 0,
        _ if height < LOW => 0,
        count => count.min(LISTED_MAX) as u16 + 2,
    }
}

pub(super) fn draw(board: &Board, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let title = format!("programs of others {}", format::integer(board.programs.len() as u64));
    let mut listed: Vec<(&Place, &ProgramNow)> = board.setting.programs.iter().zip(&board.programs).collect();
    if listed.len() > LISTED_MAX {
        listed.sort_by_key(|(_, program)| program.state != NodeState::Down);
    }
    let names = listed.iter().map(|(place, _)| place.name.chars().count());
    let cells = names.max().unwrap_or(4).clamp(4, 20);
    let lines: Vec<Line<'_>> = listed
        .iter()
        .take(LISTED_MAX)
        .map(|(place, program)| row(place, program, cells))
        .collect();
    Paragraph::new(lines).block(panel(&title)).render(area, buffer);
}

fn row(place: &Place, program: &ProgramNow, cells: usize) -> Line<'static> {
    let state = program.state;
    // It is not known of a program whether it is ready, only that it runs.
    let word = match state {
        NodeState::Ready => "runs",
        state => state.as_str(),
    };
    let name: String = place.name.chars().take(cells).collect();
    Line::from(vec![
        Span::from(format!("{} ", state.sign())).fg(colour(state)),
        Span::from(format!("{name:<cells$} ")),
        Span::from(format!("{word:<9}")).fg(colour(state)),
        dim(format!(
            "{:>5.0}%{:>10}  {}",
            program.usage.cpu_percent,
            format::bytes(program.usage.rss_bytes as f64),
            place.region
        )),
    ])
}
