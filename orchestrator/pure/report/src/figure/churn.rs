//! A strip of the nodes that are up over time, with departures and returns.

use super::{
    Figure, Table, WIDE,
    axis::{Frame, Scale},
    scene::{Ink, Point, Scene},
    seconds_label, time,
};
use crate::{format, model::Fetched, result::RunResult, summary::steps};

/// Rows of the data table; `result.json` has them all.
const ROWS_MAX: usize = 200;
/// Most departures that get a mark of their own.
const MARKS_MAX: usize = 400;
/// Size of a mark in logical pixels: a stroke for a departure, a dot for a return.
const MARK: f64 = 5.0;

/// Nodes up over time; none where all were there all the time.
pub(super) fn strip(result: &RunResult) -> Option<Figure> {
    let record = &result.record;
    let churn = record.churn.as_ref().filter(|churn| !churn.absences.is_empty())?;
    let steps = steps(record);
    let x = time::scale(record);
    let end_s = match x {
        Scale::Linear { to, .. } => to,
        _ => 0.0,
    };
    let frame = Frame::wide(
        44.0,
        100.0,
        14.0,
        x,
        Scale::linear([0.0, record.nodes.len() as f64], true),
    );
    let mut scene = Scene::new(WIDE, 190.0);
    time::shade(&mut scene, &frame, result, true);
    frame.y_axis(&mut scene, "nodes up", format::count);
    frame.x_axis(&mut scene, "seconds since the start", seconds_label);
    let line = staircase(&steps, end_s);
    frame.area(&mut scene, &line, Ink::Series(2));
    frame.series(&mut scene, &line, Ink::Series(2), 1.8);
    let up_at = |ms: u64| steps.iter().rfind(|(at, _)| *at <= ms).map_or(0, |(_, up)| *up);
    for absence in churn.absences.iter().take(MARKS_MAX) {
        let at = |ms: u64| (frame.x_at(ms as f64 / 1000.0), frame.y_at(up_at(ms) as f64));
        if absence.left_ms > 0 {
            let (x, y) = at(absence.left_ms);
            scene.line(vec![(x, y - MARK / 2.0), (x, y + MARK)], Ink::Bad, 1.6);
        }
        if let Some(returned) = absence.returned_ms {
            scene.dot(at(returned), MARK / 2.0, Ink::Good, 1.0);
        }
    }
    scene.legend(
        (62.0, 180.0),
        &[("up", Ink::Series(2)), ("left", Ink::Bad), ("returned", Ink::Good)],
    );
    let mut table = Table::new(&[
        "node",
        "left",
        "how",
        "returned",
        "caught up after",
        "blocks behind",
        "by",
    ]);
    for absence in churn.absences.iter().take(ROWS_MAX) {
        let moment = |ms: Option<u64>| ms.map_or("–".to_owned(), format::moment);
        let took = absence.caught_up_ms.zip(absence.returned_ms);
        let took = took.map(|(caught_up, returned)| caught_up.saturating_sub(returned) as f64 * 1000.0);
        table.row([
            absence.node.clone(),
            format::moment(absence.left_ms),
            absence.how.clone(),
            moment(absence.returned_ms),
            took.map_or("–".to_owned(), format::duration_us),
            absence.blocks_behind.map_or("–".to_owned(), format::integer),
            absence.fetched.as_ref().map_or("–".to_owned(), by),
        ]);
    }
    Some(Figure {
        id: "churn".to_owned(),
        title: "Nodes that are up".to_owned(),
        description: "How many nodes are up over time, with each departure and return.".to_owned(),
        context: time::shading_text(result),
        table,
        scene,
    })
}

/// What a node caught up by, in words.
fn by(fetched: &Fetched) -> String {
    let blocks = format!(
        "{} ({})",
        format::plural(fetched.blocks, "block"),
        format::bytes(fetched.block_bytes as f64)
    );
    match fetched.snapshot_height {
        None => blocks,
        Some(height) => {
            let bytes = format::bytes(fetched.snapshot_bytes as f64);
            format!(
                "snapshot of height {} ({bytes}), then {blocks}",
                format::integer(height)
            )
        }
    }
}

/// The corners of a line that stays level between two changes, in seconds.
fn staircase(steps: &[(u64, u64)], end_s: f64) -> Vec<Point> {
    let mut line: Vec<Point> = Vec::with_capacity(2 * steps.len() + 1);
    for &(at_ms, up) in steps {
        let at_s = at_ms as f64 / 1000.0;
        if let Some(&(_, before)) = line.last() {
            line.push((at_s, before));
        }
        line.push((at_s, up as f64));
    }
    if let Some(&(_, last)) = line.last() {
        line.push((end_s, last));
    }
    line
}
