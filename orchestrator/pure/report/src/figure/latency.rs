//! The latency distribution in full, and the stages that it is made of.

use super::{
    Figure, Table, WIDE,
    axis::{Frame, Scale},
    scene::{Anchor, Ink, Mark, Point, Scene},
};
use crate::{
    Counts, format,
    model::Latency,
    result::{QuantileValue, RunResult},
};

/// End of the axis of nines: seven nines are one in ten million.
const NINES_MAX: f64 = 7.0;
/// Most points of one curve.
const CURVE_MAX: usize = 160;
/// Quantiles of the data table.
const TABLE: [f64; 8] = [0.0, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// Position of a quantile on the axis of nines: each step leaves out ten times less.
pub(crate) fn nines(q: f64) -> f64 {
    -(1.0 - q).max(1e-9).log10()
}

/// Response, service and lag by percentile.
pub(super) fn spectrum(result: &RunResult) -> Option<Figure> {
    let latency = &result.record.latency;
    // The thick line first: where both agree the thin one lies inside it.
    let curves = [
        (
            "response (final - intended)",
            &latency.response.overall,
            Ink::Series(0),
            4.0,
        ),
        ("service (final - sent)", &latency.service.overall, Ink::Series(1), 1.3),
    ];
    let drawn: Vec<(Vec<Point>, Ink, f64)> = curves
        .iter()
        .map(|(_, counts, ink, width)| (curve(counts), *ink, *width))
        .filter(|(points, ..)| points.len() > 1)
        .collect();
    if latency.response.overall.is_empty() || drawn.is_empty() {
        return None;
    }
    let places = || drawn.iter().flat_map(|(points, ..)| points.iter());
    let most = places().map(|point| point.0).fold(2.0, f64::max);
    let (from, to) = (0.0, most.ceil().min(NINES_MAX));
    let y = Scale::log(places().map(|point| point.1));
    let frame = Frame::wide(34.0, 266.0, 14.0, Scale::Linear { from, to }, y);
    let mut scene = Scene::new(WIDE, 368.0);
    shade_unsupported(&mut scene, &frame, result);
    frame.y_axis(&mut scene, "latency", format::duration_us);
    frame.x_axis(
        &mut scene,
        "percentile, each step leaves out ten times less",
        nines_label,
    );
    for (points, ink, width) in &drawn {
        frame.series(&mut scene, points, *ink, *width);
    }
    draw_quantiles(&mut scene, &frame, result);
    scene.legend((62.0, 354.0), &curves.map(|(name, _, ink, _)| (name, ink)));
    Some(Figure {
        id: "percentiles".to_owned(),
        title: "Percentile spectrum".to_owned(),
        description: "Latency of every transaction of the measure phase by percentile, on logarithmic scales: the \
                      further right, the rarer. Dots with bars are quantiles with their 95 % intervals; the grey part \
                      has too few blocks for an interval. The table adds how late the generator was."
            .to_owned(),
        context: String::new(),
        table: spectrum_table(latency),
        scene,
    })
}

/// The measured quantiles as dots with bars.
fn draw_quantiles(scene: &mut Scene, frame: &Frame, result: &RunResult) {
    for quantile in &result.summary.response {
        if let QuantileValue::Measured(us) = quantile.value {
            let centre = frame.at(nines(quantile.q), us.value);
            let bounds = (frame.y_at(us.low), frame.y_at(us.high));
            scene.cross(centre, (centre.0, centre.0), bounds, Ink::Text);
        }
    }
}

/// The part of the axis that the number of blocks cannot answer for.
fn shade_unsupported(scene: &mut Scene, frame: &Frame, result: &RunResult) {
    let blocks = result.summary.window.loaded_blocks.max(1) as f64;
    let from = frame.x_at((blocks / 10.0).log10().max(0.0));
    if frame.right - from > 1.0 {
        scene.rect(
            (from, frame.top),
            (frame.right - from, frame.bottom - frame.top),
            Ink::Muted,
            0.07,
        );
        let text = format!(
            "too rare for an interval from {} blocks",
            format::integer(blocks as u64)
        );
        scene.label((frame.right, frame.top - 9.0), text, Ink::Muted, Anchor::End);
    }
}

/// The percentile at a place on the axis of nines.
pub(crate) fn nines_label(nines: f64) -> String {
    if nines == 0.0 {
        return "0".to_owned();
    }
    format::quantile_name(1.0 - 10_f64.powf(-nines))
}

/// (nines, microseconds) at every recorded value, thinned evenly along the axis.
pub(crate) fn curve(counts: &Counts) -> Vec<Point> {
    let total = counts.total() as f64;
    let mut seen = 0;
    let mut points: Vec<Point> = Vec::new();
    for &(value, count) in &counts.0 {
        let before = nines(seen as f64 / total);
        seen += count;
        let place = before.min(nines(1.0 - 1.0 / total));
        let is_apart = points
            .last()
            .is_none_or(|last| place - last.0 > nines(1.0 - 1.0 / total) / CURVE_MAX as f64);
        if is_apart {
            points.push((place, value.max(1) as f64));
        }
    }
    // The largest value ends the curve, whatever was thinned out before it.
    let max = counts.max().map(|max| max as f64);
    if let Some(max) = max.filter(|&max| points.last().is_some_and(|last| max > last.1)) {
        points.push((nines(1.0 - 1.0 / total), max));
    }
    points
}

/// The quantiles of all three latencies, as recorded.
fn spectrum_table(latency: &Latency) -> Table {
    let mut table = Table::new(&["percentile", "response", "service", "generator lag"]);
    for q in TABLE {
        let name = match q {
            0.0 => "smallest".to_owned(),
            1.0 => "largest".to_owned(),
            _ => format::quantile_name(q),
        };
        let sets = [
            &latency.response.overall,
            &latency.service.overall,
            &latency.lag.overall,
        ];
        let cells = sets.map(|counts| {
            counts
                .quantile(q)
                .map_or("–".to_owned(), |us| format::duration_us(us as f64))
        });
        table.row(std::iter::once(name).chain(cells));
    }
    table
}

/// A stage: its name, its ink and its histogram since sending.
type Stage<'a> = (&'a str, Ink, &'a Counts);

/// The stages that were stamped, in their order.
fn stages_of(latency: &Latency) -> Vec<Stage<'_>> {
    let all: [Stage<'_>; 4] = [
        ("accepted by a node", Ink::Series(3), &latency.accepted),
        ("included in a block", Ink::Series(2), &latency.included),
        ("executed", Ink::Series(1), &latency.executed),
        ("final at the client", Ink::Series(0), &latency.service.overall),
    ];
    all.into_iter().filter(|(_, _, counts)| !counts.is_empty()).collect()
}

/// The median time at which each stage is reached, from sending, with a whisker to the 90th percentile.
pub(super) fn stages(result: &RunResult) -> Option<Figure> {
    const ROW: f64 = 34.0;
    let stages = stages_of(&result.record.latency);
    let at = |counts: &Counts, q| counts.quantile(q).unwrap_or(0) as f64;
    let far = stages.iter().map(|(_, _, counts)| at(counts, 0.9));
    let bottom = 20.0 + stages.len() as f64 * ROW;
    let frame = Frame {
        left: 190.0,
        top: 14.0,
        right: WIDE - 120.0,
        bottom,
        x: Scale::linear(far, true),
        y: Scale::linear([], true),
    };
    let mut scene = Scene::new(WIDE, bottom + 40.0);
    for tick in frame.x.ticks() {
        let x = frame.x_at(tick);
        scene.line(vec![(x, frame.top), (x, frame.bottom)], Ink::Grid, 1.0);
    }
    frame.x_axis(&mut scene, "since the client sent it", format::duration_us);
    let mut table = Table::new(&["stage", "p50", "p90", "p99"]);
    let mut from = 0.0;
    for (index, (name, ink, counts)) in stages.iter().enumerate() {
        let y = frame.top + (index as f64 + 0.5) * ROW;
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| at(counts, q));
        let (left, right) = (frame.x_at(f64::min(from, p50)), frame.x_at(p50));
        scene.label((frame.left - 12.0, y), *name, Ink::Text, Anchor::End);
        scene.rect((left, y - 9.0), ((right - left).max(1.5), 18.0), *ink, 0.88);
        scene.line(vec![(right, y), (frame.x_at(p90), y)], Ink::Text, 1.2);
        scene.line(
            vec![(frame.x_at(p90), y - 5.0), (frame.x_at(p90), y + 5.0)],
            Ink::Text,
            1.2,
        );
        scene.label(
            (frame.x_at(p90) + 8.0, y),
            format::duration_us(p50),
            Ink::Text,
            Anchor::Start,
        );
        table.row(std::iter::once((*name).to_owned()).chain([p50, p90, p99].map(format::duration_us)));
        from = p50;
    }
    scene.add(
        Mark::Line {
            points: vec![(frame.left, frame.top), (frame.left, frame.bottom)],
            width: 1.0,
        },
        Ink::Axis,
        1.0,
    );
    (stages.len() > 1).then(|| Figure {
        id: "stages".to_owned(),
        title: "Stages of a transaction".to_owned(),
        description: "Median time from sending to each stage, seen by the client; a bar begins where the stage before \
                      it ends, its whisker reaches to the 90th percentile."
            .to_owned(),
        context: String::new(),
        table,
        scene,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_even_steps() {
        for (q, place) in [(0.0, 0.0), (0.9, 1.0), (0.99, 2.0), (0.999, 3.0)] {
            assert!((nines(q) - place).abs() < 1e-9);
            assert_eq!(
                nines_label(place),
                if q == 0.0 {
                    "0".to_owned()
                } else {
                    format::quantile_name(q)
                }
            );
        }
    }

    #[test]
    fn a_curve_rises_and_ends_at_the_largest_value() {
        let counts = Counts::of_values((1..5000).map(|i| i * 13), 3);
        let points = curve(&counts);
        assert!(points.len() <= CURVE_MAX + 2);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
        assert_eq!(points.last().unwrap().1, counts.max().unwrap() as f64);
    }
}
