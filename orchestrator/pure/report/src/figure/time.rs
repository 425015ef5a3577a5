//! Throughput, latency, backlog and blocks over time, with phases and faults shaded.

use super::{
    Bin, Figure, Table, WIDE,
    axis::{Frame, Scale},
    bins,
    scene::{Anchor, Ink, LABEL, Point, Scene, text_width},
    seconds_label,
};
use crate::{
    format,
    model::{Event, EventKind, PhaseKind, RunRecord},
    result::RunResult,
};

/// Steps of a line over the whole width.
const STEPS_MAX: usize = 240;
/// Rows of a data table over time; the CSV has them all.
const ROWS_MAX: usize = 40;
/// Faults that a figure's text lists; the list of events has them all.
const FAULTS_TOLD_MAX: usize = 12;
/// Characters of a fault's name above a chart.
const NAME_MAX: usize = 28;
/// Space between two names above a chart.
const LABEL_GAP: f64 = 10.0;
/// Space for the word that names the measured time.
const MEASURED_WIDTH: f64 = 60.0;

/// A count of a step.
type CountOf = fn(&Bin) -> u64;

/// The time scale of a run in seconds: from the origin to the end of draining.
pub(super) fn scale(record: &RunRecord) -> Scale {
    let load = record
        .phases
        .iter()
        .filter(|phase| phase.kind != PhaseKind::Stop)
        .map(|phase| phase.end_ms);
    let last_ms = load
        .chain(record.blocks.last().map(|block| block.at_ms))
        .max()
        .unwrap_or(0);
    Scale::Linear {
        from: 0.0,
        to: (last_ms as f64 / 1000.0).max(1.0),
    }
}

/// Shades what is not measured and what was disturbed; `labels` writes names above the frame.
pub(super) fn shade(scene: &mut Scene, frame: &Frame, result: &RunResult, labels: bool) {
    let window = &result.summary.window;
    let x = |ms: u64| frame.x_at(ms as f64 / 1000.0);
    let height = frame.bottom - frame.top;
    for (from, to) in [(frame.left, x(window.start_ms)), (x(window.end_ms), frame.right)] {
        if to - from > 0.5 {
            scene.rect((from, frame.top), (to - from, height), Ink::Muted, 0.07);
        }
    }
    if labels && window.seconds() > 0.0 {
        let [from, to] = [window.start_ms, window.end_ms].map(x);
        scene.line(vec![(from, frame.top), (to, frame.top)], Ink::Axis, 1.0);
        scene.label((to, frame.top - 9.0), "measured", Ink::Muted, Anchor::End);
    }
    let faults = result
        .record
        .events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Fault | EventKind::Crash));
    let mut free_from = frame.left;
    for fault in faults {
        let (from, to) = (x(fault.start_ms), x(fault.end_ms).max(x(fault.start_ms) + 2.0));
        scene.rect((from, frame.top), (to - from, height), Ink::Bad, 0.11);
        scene.rect((from, frame.top), (to - from, 2.5), Ink::Bad, 1.0);
        let name = short_name(fault);
        let end = from + text_width(&name, LABEL);
        // Names that would lie on each other are left out; the text below has them all.
        let word = x(window.end_ms);
        let clear = end < word - MEASURED_WIDTH || (from > word && end < frame.right);
        if labels && from >= free_from && clear {
            scene.label((from, frame.top - 9.0), name, Ink::Bad, Anchor::Start);
            free_from = end + LABEL_GAP;
        }
    }
}

/// A fault in a few words, for the space above a chart: its kind and the first that it is done to.
fn short_name(fault: &Event) -> String {
    let told = fault.described();
    if told.is_empty() {
        return fault.kind.as_str().to_owned();
    }
    let words: Vec<&str> = told.split_whitespace().take(2).collect();
    words.join(" ").trim_end_matches(',').chars().take(NAME_MAX).collect()
}

/// The phases and faults in words.
pub(super) fn shading_text(result: &RunResult) -> String {
    let window = &result.summary.window;
    let mut text = format!(
        "Measured from {} to {}.",
        format::moment(window.start_ms),
        format::moment(window.end_ms)
    );
    let faults = result
        .record
        .events
        .iter()
        .filter(|event| event.kind == EventKind::Fault);
    for event in faults.clone().take(FAULTS_TOLD_MAX) {
        let [from, to] = [event.start_ms, event.end_ms].map(format::moment);
        text += &format!(" Fault from {from} to {to}: {}.", event.described());
    }
    let more = faults.count().saturating_sub(FAULTS_TOLD_MAX);
    if more > 0 {
        text += &format!(" And {}.", format::plural(more as u64, "more fault"));
    }
    text
}

/// Lines of values over the steps, `None` where a step has none.
pub(super) fn points(bins: &[Bin], value: impl Fn(&Bin) -> Option<f64>) -> Vec<Point> {
    bins.iter()
        .filter_map(|bin| Some((bin.middle(), value(bin)?)))
        .collect()
}

/// A latency quantile over the steps, in microseconds.
pub(super) fn quantile_points(bins: &[Bin], q: f64) -> Vec<Point> {
    points(bins, |bin| bin.latency.quantile(q).map(|us| us as f64))
}

/// Offered, final and refused transactions for each second.
pub(super) fn throughput(result: &RunResult) -> Option<Figure> {
    let record = &result.record;
    let bins = bins(record, STEPS_MAX);
    let lines: [(&str, Ink, CountOf); 3] = [
        ("offered", Ink::Muted, |bin| bin.intended),
        ("final", Ink::Series(0), |bin| bin.finalised),
        ("rejected or failed", Ink::Bad, |bin| bin.refused),
    ];
    let most = bins
        .iter()
        .flat_map(|bin| lines.iter().map(|line| bin.rate(line.2(bin))));
    let frame = Frame::wide(44.0, 190.0, 14.0, scale(record), Scale::linear(most, true));
    let mut scene = Scene::new(WIDE, 280.0);
    shade(&mut scene, &frame, result, true);
    frame.y_axis(&mut scene, "tx/s", format::count);
    frame.x_axis(&mut scene, "seconds since the start", seconds_label);
    for (index, (_, ink, of)) in lines.into_iter().enumerate() {
        let line = points(&bins, |bin| Some(bin.rate(of(bin))));
        if index == 1 {
            frame.area(&mut scene, &line, ink);
        }
        frame.series(&mut scene, &line, ink, 1.8);
    }
    scene.legend((62.0, 270.0), &lines.map(|(name, ink, _)| (name, ink)));
    (!bins.is_empty()).then(|| Figure {
        id: "throughput".to_owned(),
        title: "Throughput over time".to_owned(),
        description: "Transactions per second that were offered, became final, or were rejected or failed.".to_owned(),
        context: shading_text(result),
        table: rates_table(record),
        scene,
    })
}

/// The rates and latencies of at most [`ROWS_MAX`] steps.
pub(super) fn rates_table(record: &RunRecord) -> Table {
    let mut table = Table::new(&[
        "from",
        "offered tx/s",
        "sent tx/s",
        "final tx/s",
        "rejected or failed tx/s",
    ]);
    for bin in bins(record, ROWS_MAX) {
        let counts = [bin.intended, bin.sent, bin.finalised, bin.refused];
        let rates = counts.map(|count| format::number(bin.rate(count)));
        table.row(std::iter::once(format!("{} s", seconds_label(bin.start_s))).chain(rates));
    }
    table
}

/// Quantiles of the response latency over time.
pub(super) fn latency(result: &RunResult) -> Option<Figure> {
    const LINES: [(&str, f64, Ink, f64); 3] = [
        ("p50", 0.5, Ink::Series(0), 2.0),
        ("p90", 0.9, Ink::Series(2), 1.6),
        ("p99", 0.99, Ink::Series(1), 1.6),
    ];
    let record = &result.record;
    let bins = bins(record, STEPS_MAX);
    let lines = LINES.map(|(_, q, ..)| quantile_points(&bins, q));
    let values = lines.iter().flatten().map(|point| point.1);
    let frame = Frame::wide(44.0, 190.0, 14.0, scale(record), Scale::log(values));
    let mut scene = Scene::new(WIDE, 280.0);
    shade(&mut scene, &frame, result, true);
    frame.y_axis(&mut scene, "response", format::duration_us);
    frame.x_axis(&mut scene, "seconds since the start", seconds_label);
    for (line, (.., ink, width)) in lines.iter().zip(LINES) {
        frame.series(&mut scene, line, ink, width);
    }
    scene.legend((62.0, 270.0), &LINES.map(|(name, _, ink, _)| (name, ink)));
    let mut table = Table::new(&["from", "p50", "p90", "p99", "largest", "transactions"]);
    for bin in self::bins(record, ROWS_MAX)
        .iter()
        .filter(|bin| !bin.latency.is_empty())
    {
        let quantiles = [0.5, 0.9, 0.99, 1.0].map(|q| bin.latency.quantile(q).unwrap_or(0) as f64);
        let cells = quantiles
            .map(format::duration_us)
            .into_iter()
            .chain([format::integer(bin.latency.total())]);
        table.row(std::iter::once(format!("{} s", seconds_label(bin.start_s))).chain(cells));
    }
    (lines.iter().any(|line| line.len() > 1)).then(|| Figure {
        id: "latency-over-time".to_owned(),
        title: "Response latency over time".to_owned(),
        description:
            "Median, 90th and 99th percentile of the response latency of the transactions that became final in each \
             step, on a logarithmic scale."
                .to_owned(),
        context: shading_text(result),
        table,
        scene,
    })
}

/// Transactions sent and not yet answered.
pub(super) fn backlog(result: &RunResult) -> Option<Figure> {
    let record = &result.record;
    let mut waiting = 0.0;
    let line: Vec<Point> = bins(record, STEPS_MAX)
        .iter()
        .map(|bin| {
            waiting += bin.sent as f64 - (bin.finalised + bin.refused) as f64;
            (bin.start_s + bin.width_s, f64::max(waiting, 0.0))
        })
        .collect();
    let frame = Frame::wide(
        44.0,
        100.0,
        14.0,
        scale(record),
        Scale::linear(line.iter().map(|point| point.1), true),
    );
    let mut scene = Scene::new(WIDE, 182.0);
    shade(&mut scene, &frame, result, true);
    frame.y_axis(&mut scene, "transactions", format::count);
    frame.x_axis(&mut scene, "seconds since the start", seconds_label);
    frame.area(&mut scene, &line, Ink::Series(3));
    frame.series(&mut scene, &line, Ink::Series(3), 1.8);
    let mut table = Table::new(&["at", "backlog"]);
    for point in line.iter().step_by(line.len().div_ceil(ROWS_MAX).max(1)) {
        table.row([format!("{} s", seconds_label(point.0)), format::count(point.1)]);
    }
    (line.iter().any(|point| point.1 > 0.0)).then(|| Figure {
        id: "backlog".to_owned(),
        title: "Backlog".to_owned(),
        description: "Transactions sent and neither final nor rejected at the end of each second; a steady run has a \
                      level line."
            .to_owned(),
        context: String::new(),
        table,
        scene,
    })
}

/// Time between blocks and their size.
pub(super) fn blocks(result: &RunResult) -> Option<Figure> {
    let record = &result.record;
    let step = record.blocks.len().div_ceil(STEPS_MAX).max(1);
    let groups: Vec<&[crate::model::Block]> = record.blocks.chunks(step + 1).filter(|group| group.len() > 1).collect();
    let gaps: Vec<Point> = groups.iter().map(|group| (at(group), longest_gap(group))).collect();
    let sizes: Vec<Point> = groups.iter().map(|group| (at(group), mean_size(group))).collect();
    let mut scene = Scene::new(WIDE, 314.0);
    let x = scale(record);
    let upper = Frame::wide(
        44.0,
        90.0,
        14.0,
        x,
        Scale::linear(gaps.iter().map(|point| point.1), true),
    );
    let lower = Frame::wide(
        182.0,
        90.0,
        14.0,
        x,
        Scale::linear(sizes.iter().map(|point| point.1), true),
    );
    for (index, (frame, title, line)) in [(upper, "longest gap", &gaps), (lower, "tx in a block", &sizes)]
        .into_iter()
        .enumerate()
    {
        shade(&mut scene, &frame, result, index == 0);
        frame.y_axis(
            &mut scene,
            title,
            if index == 0 {
                |ms| format::duration_us(ms * 1e3)
            } else {
                format::count
            },
        );
        frame.series(&mut scene, line, Ink::Series(index * 2), 1.6);
    }
    lower.x_axis(&mut scene, "seconds since the start", seconds_label);
    let mut table = Table::new(&["at", "longest gap", "mean transactions in a block"]);
    for group in record
        .blocks
        .chunks(record.blocks.len().div_ceil(ROWS_MAX) + 1)
        .filter(|group| group.len() > 1)
    {
        let gap = format::duration_us(longest_gap(group) * 1000.0);
        table.row([format!("{:.1} s", at(group)), gap, format::number(mean_size(group))]);
    }
    (gaps.len() > 1).then(|| Figure {
        id: "blocks".to_owned(),
        title: "Blocks over time".to_owned(),
        description:
            "The longest time between two finalised blocks and the mean number of transactions in a block, in \
             consecutive groups of blocks."
                .to_owned(),
        context: shading_text(result),
        table,
        scene,
    })
}

/// When a group's last block became final, in seconds.
fn at(group: &[crate::model::Block]) -> f64 {
    group.last().map_or(0.0, |block| block.at_ms as f64 / 1000.0)
}

/// The longest time between two blocks of a group, in milliseconds.
fn longest_gap(group: &[crate::model::Block]) -> f64 {
    group
        .windows(2)
        .map(|pair| pair[1].at_ms.saturating_sub(pair[0].at_ms))
        .max()
        .unwrap_or(0) as f64
}

/// Mean number of transactions in a block.
fn mean_size(group: &[crate::model::Block]) -> f64 {
    group.iter().map(|block| block.transactions).sum::<u64>() as f64 / group.len().max(1) as f64
}
