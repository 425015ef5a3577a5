//! The list of nodes.

use super::{Ui, colour, dim, panel};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Stylize},
    text::{Line, Span},
    widgets::{Paragraph, Widget},
};
use regatta_report::{
    format,
    live::{Board, NodeNow, NodeState, Place},
};

/// Columns with their widths; the later ones are left out where there is no room.
const COLUMNS: [(&str, usize); 7] = [
    ("height", 8),
    ("cpu", 6),
    ("memory", 10),
    ("links", 6),
    ("lag", 5),
    ("pending", 8),
    ("region", 10),
];
/// Most instances whose heights are shown one by one; of more, the highest.
const INSTANCES_MAX: usize = 3;
/// Cells of the sign, the state and what lies around them.
const STATE_CELLS: usize = 11;

pub(super) fn draw(board: &Board, ui: &Ui, area: Rect, buffer: &mut Buffer) {
    let title = format!("nodes {}", format::integer(board.nodes.len() as u64));
    let block = panel(&title);
    let inner = block.inner(area);
    let rows = usize::from(inner.height.saturating_sub(1));
    let names = board.setting.nodes.iter().map(|place| place.name.chars().count());
    let name_cells = names.max().unwrap_or(4).clamp(4, 20);
    let columns = columns(
        usize::from(inner.width).saturating_sub(name_cells + STATE_CELLS + 2),
        board,
    );
    // The chosen node stays about in the middle of a list that is longer than the panel.
    let top = ui
        .node
        .saturating_sub(rows / 2)
        .min(board.nodes.len().saturating_sub(rows));
    let faulted = board.faulted();
    let mut lines = vec![head(name_cells, &columns, &board.setting.instances)];
    let listed = board.setting.nodes.iter().zip(&board.nodes).enumerate();
    for (index, (place, node)) in listed.skip(top).take(rows) {
        let line = row(place, node, name_cells, &columns, faulted.contains(&(index as u32)));
        lines.push(if index == ui.node { line.reversed() } else { line });
    }
    Paragraph::new(lines).block(block).render(area, buffer);
}

/// The columns that fit, by name and width.
fn columns(mut room: usize, board: &Board) -> Vec<(&'static str, usize)> {
    let has_regions = board.setting.nodes.iter().any(|place| !place.region.is_empty());
    let mut chosen = Vec::new();
    let instances = board.setting.instances.len();
    for (name, cells) in COLUMNS {
        let cells = match name {
            "height" if (2..=INSTANCES_MAX).contains(&instances) => cells * instances,
            _ => cells,
        };
        let is_wanted = name != "region" || has_regions;
        if is_wanted && cells <= room {
            room -= cells;
            chosen.push((name, cells));
        }
    }
    chosen
}

fn head(name_cells: usize, columns: &[(&'static str, usize)], instances: &[String]) -> Line<'static> {
    let mut text = format!("  {:<name_cells$} {:<8} ", "name", "state");
    for (name, cells) in columns {
        if *name == "height" && (2..=INSTANCES_MAX).contains(&instances.len()) {
            let short = |name: &String| name.chars().take(7).collect::<String>();
            text += &instances
                .iter()
                .map(|name| format!("{:>8}", short(name)))
                .collect::<String>();
        } else {
            text += &format!("{name:>cells$}");
        }
    }
    Line::from(dim(text))
}

fn row(
    place: &Place,
    node: &NodeNow,
    name_cells: usize,
    columns: &[(&'static str, usize)],
    faulted: bool,
) -> Line<'static> {
    let name: String = place.name.chars().take(name_cells).collect();
    let state = node.state;
    let mut spans = vec![
        Span::from(format!("{} ", state.sign())).fg(colour(state)),
        Span::from(format!("{name:<name_cells$} ")),
        Span::from(format!("{:<8}", state.as_str())).fg(colour(state)),
        // A node under a fault is marked whatever its state is.
        Span::from(if faulted { "!" } else { " " }).fg(Color::Yellow).bold(),
    ];
    for (column, cells) in columns {
        let text = cell(column, place, node);
        let span = Span::from(format!("{text:>cells$}"));
        spans.push(match *column {
            "lag" if node.lag > 0 => span.fg(Color::Yellow),
            "height" => span,
            _ => span.fg(Color::DarkGray),
        });
    }
    Line::from(spans)
}

fn cell(column: &str, place: &Place, node: &NodeNow) -> String {
    let runs = !matches!(node.state, NodeState::Down);
    let running = |text: String| if runs { text } else { "-".to_owned() };
    match column {
        "height" => heights(node),
        "cpu" => running(format!("{:.0}%", node.usage.cpu_percent)),
        "memory" => running(format::bytes(node.usage.rss_bytes as f64)),
        "links" => running(node.peers.to_string()),
        "lag" => node.lag.to_string(),
        "pending" => running(node.mempool.to_string()),
        _ => place.region.clone(),
    }
}

/// The heights of a node: each of a few instances, the highest of many.
fn heights(node: &NodeNow) -> String {
    let or_dash = |height: Option<u64>| height.map_or_else(|| "-".to_owned(), |height| height.to_string());
    match node.heights.len() {
        2..=INSTANCES_MAX => node
            .heights
            .iter()
            .map(|height| format!("{:>8}", or_dash(*height)))
            .collect(),
        _ => or_dash(node.heights.iter().flatten().max().copied()),
    }
}
