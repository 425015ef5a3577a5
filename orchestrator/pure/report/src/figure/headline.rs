//! The two figures of the first screen: latency against throughput, and the run in one strip.

use super::{
    Bin, Figure, Table, WIDE,
    axis::{Frame, Scale},
    bins,
    scene::{Anchor, Ink, Scene},
    seconds_label, time,
};
use crate::{
    format,
    result::{Estimate, QuantileValue, RunResult},
};

/// Steps that become dots: more would be a blot.
const DOTS_MAX: usize = 120;
const STEPS_MAX: usize = 240;

/// A measured quantile with its name, e.g. `p99`.
type Measured = (String, Estimate);

/// The quantiles that the run can tell.
fn measured(result: &RunResult) -> Vec<Measured> {
    let known = result
        .summary
        .response
        .iter()
        .filter_map(|quantile| match quantile.value {
            QuantileValue::Measured(estimate) => Some((format::quantile_name(quantile.q), estimate)),
            _ => None,
        });
    known.collect()
}

/// The latency objectives of the scenario in microseconds.
fn limits(result: &RunResult) -> Vec<(String, f64)> {
    let latency = result.record.objectives.iter().filter_map(|objective| {
        let quantile = objective.metric.strip_prefix("latency_")?;
        Some((format!("objective {quantile} {}", objective.wanted), objective.limit?))
    });
    latency.filter(|(_, limit)| *limit > 0.0).collect()
}

/// One step of the window: final transactions per second, median and p99 in microseconds.
type Dot = (f64, f64, f64);

/// The steps that lie wholly inside the window and finalised something.
fn dots(result: &RunResult) -> Vec<Dot> {
    let window = &result.summary.window;
    let (from, to) = (window.start_ms as f64 / 1000.0, window.end_ms as f64 / 1000.0);
    let steps = bins(&result.record, DOTS_MAX).into_iter();
    let inside = steps.filter(|bin| bin.start_s >= from && bin.start_s + bin.width_s <= to);
    let dot = |bin: Bin| {
        let [p50, p99] = [0.5, 0.99].map(|q| bin.latency.quantile(q).map(|us| us as f64));
        Some((bin.rate(bin.finalised), p50?, p99?))
    };
    inside.filter_map(dot).collect()
}

/// Each step twice: its median and its p99.
fn draw_dots(scene: &mut Scene, frame: &Frame, dots: &[Dot]) {
    for &(rate, p50, p99) in dots {
        scene.dot(frame.at(rate, p50), 2.6, Ink::Series(0), 0.4);
        scene.dot(frame.at(rate, p99), 2.6, Ink::Series(1), 0.4);
    }
}

/// Dots for each second of the window, crosses for the whole of it.
pub(super) fn latency_against_throughput(result: &RunResult) -> Option<Figure> {
    let dots = dots(result);
    let goodput = result.summary.goodput_per_s?;
    let crosses = measured(result);
    if dots.is_empty() || crosses.is_empty() {
        return None;
    }
    let limits = limits(result);
    let offered = result.summary.offered_per_s;
    let rates = dots.iter().map(|dot| dot.0).chain([offered, goodput.low, goodput.high]);
    let bounds = crosses.iter().flat_map(|(_, us)| [us.low, us.high]);
    let values = dots
        .iter()
        .flat_map(|dot| [dot.1, dot.2])
        .chain(limits.iter().map(|limit| limit.1))
        .chain(bounds);
    let (x, y) = (Scale::linear(rates, false), Scale::log(values));
    let frame = Frame::wide(34.0, 266.0, 150.0, x, y);
    let mut scene = Scene::new(WIDE, 368.0);
    frame.y_axis(&mut scene, "response latency", format::duration_us);
    frame.x_axis(&mut scene, "final transactions per second", format::count);
    draw_limits(&mut scene, &frame, &limits, offered);
    draw_dots(&mut scene, &frame, &dots);
    draw_crosses(&mut scene, &frame, &crosses, &goodput);
    scene.legend(
        (62.0, 354.0),
        &[
            ("median of one step", Ink::Series(0)),
            ("p99 of one step", Ink::Series(1)),
            ("whole window, 95 % interval", Ink::Text),
        ],
    );
    Some(Figure {
        id: "latency-throughput".to_owned(),
        title: "Latency against throughput".to_owned(),
        description: hero_text(&crosses, &goodput, offered),
        context: String::new(),
        table: hero_table(&crosses, &goodput, &dots),
        scene,
    })
}

/// Objectives as level lines, the offered rate as an upright one.
fn draw_limits(scene: &mut Scene, frame: &Frame, limits: &[(String, f64)], offered: f64) {
    for (name, limit) in limits {
        let y = frame.y_at(*limit);
        scene.dashed((frame.left, y), (frame.right, y), Ink::Bad);
        scene.label((frame.left + 6.0, y - 9.0), name.as_str(), Ink::Bad, Anchor::Start);
    }
    if offered > 0.0 {
        let x = frame.x_at(offered);
        scene.dashed((x, frame.top), (x, frame.bottom), Ink::Muted);
        scene.label(
            (x, frame.top - 9.0),
            format!("offered {}", format::number(offered)),
            Ink::Muted,
            Anchor::Middle,
        );
    }
}

/// A cross for each quantile of the whole window, named at the right edge.
fn draw_crosses(scene: &mut Scene, frame: &Frame, crosses: &[Measured], goodput: &Estimate) {
    let mut label_y = f64::MAX;
    for (name, us) in crosses {
        let centre = frame.at(goodput.value, us.value);
        let bounds = |low, high, at: fn(&Frame, f64) -> f64| (at(frame, low), at(frame, high));
        let x = bounds(goodput.low, goodput.high, Frame::x_at);
        let y = bounds(us.low, us.high, Frame::y_at);
        scene.cross(centre, x, y, Ink::Text);
        // Labels climb from the lowest quantile upwards and never overlap.
        label_y = centre.1.min(label_y - 16.0);
        scene.heading(
            (frame.right + 12.0, label_y),
            format!("{name}  {}", format::duration_us(us.value)),
            Anchor::Start,
        );
    }
}

/// The crosses in words.
fn hero_text(crosses: &[Measured], goodput: &Estimate, offered: f64) -> String {
    let quantiles: Vec<String> = crosses
        .iter()
        .map(|(name, us)| format!("{name} {}", format::duration_estimate(us)))
        .collect();
    format!(
        "At {} of {} offered transactions per second the response latency was {}. Each dot is one step of the \
         measured time; a cross is the whole of it with its 95 % intervals.",
        format::estimate(goodput),
        format::number(offered),
        quantiles.join(", ")
    )
}

/// The numbers of the crosses, then of the dots.
fn hero_table(crosses: &[Measured], goodput: &Estimate, dots: &[Dot]) -> Table {
    let mut table = Table::new(&["what", "final tx/s", "p50", "p99"]);
    for (name, us) in crosses {
        let cell = |wanted: &str| {
            if name == wanted {
                format::duration_estimate(us)
            } else {
                String::new()
            }
        };
        if ["p50", "p99"].contains(&name.as_str()) {
            table.row(["window".to_owned(), format::estimate(goodput), cell("p50"), cell("p99")]);
        }
    }
    for (index, (rate, p50, p99)) in dots.iter().enumerate().step_by(dots.len().div_ceil(40).max(1)) {
        table.row([
            format!("step {}", index + 1),
            format::number(*rate),
            format::duration_us(*p50),
            format::duration_us(*p99),
        ]);
    }
    table
}

/// Throughput and latency over the whole run, small.
pub(super) fn time_strip(result: &RunResult) -> Option<Figure> {
    let record = &result.record;
    let steps = bins(record, STEPS_MAX);
    let x = time::scale(record);
    let offered = time::points(&steps, |bin| Some(bin.rate(bin.intended)));
    let done = time::points(&steps, |bin| Some(bin.rate(bin.finalised)));
    let [p50, p99] = [0.5, 0.99].map(|q| time::quantile_points(&steps, q));
    let rates = offered.iter().chain(&done).map(|point| point.1);
    let frame = |top: f64, y| Frame::wide(top, 78.0, 14.0, x, y);
    let upper = frame(36.0, Scale::linear(rates, true));
    let lower = frame(156.0, Scale::log(p50.iter().chain(&p99).map(|point| point.1)));
    let mut scene = Scene::new(WIDE, 292.0);
    time::shade(&mut scene, &upper, result, true);
    time::shade(&mut scene, &lower, result, false);
    upper.y_axis(&mut scene, "tx/s", format::count);
    lower.y_axis(&mut scene, "response", format::duration_us);
    upper.area(&mut scene, &done, Ink::Series(0));
    upper.series(&mut scene, &offered, Ink::Muted, 1.2);
    upper.series(&mut scene, &done, Ink::Series(0), 1.8);
    lower.series(&mut scene, &p99, Ink::Series(1), 1.6);
    lower.series(&mut scene, &p50, Ink::Series(2), 1.8);
    lower.x_axis(&mut scene, "seconds since the start", seconds_label);
    let legend = [
        ("offered", Ink::Muted),
        ("final", Ink::Series(0)),
        ("response p50", Ink::Series(2)),
        ("response p99", Ink::Series(1)),
    ];
    scene.legend((62.0, 282.0), &legend);
    (!steps.is_empty() && done.iter().any(|point| point.1 > 0.0)).then(|| Figure {
        id: "time-strip".to_owned(),
        title: "The run in time".to_owned(),
        description:
            "Offered and final transactions per second above, median and 99th percentile of the response latency \
             below, over the same time. Grey is not measured, red is a fault."
                .to_owned(),
        context: time::shading_text(result),
        table: time::rates_table(record),
        scene,
    })
}
