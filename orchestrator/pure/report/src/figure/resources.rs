//! CPU, memory and traffic of the processes over time: a line each for few, a band by role for many.

use super::{
    Figure, Table, WIDE,
    axis::{Frame, Scale},
    scene::{Ink, Mark, Point, Scene},
    seconds_label, time,
};
use crate::{
    format,
    model::{Process, ProcessKind, Role, RunRecord, Sample},
    result::RunResult,
    stats::median,
};

/// Most processes that get a line each.
const LINES_MAX: usize = 16;
/// Least time between two samples that make a point.
const GAP_MS_MIN: u64 = 250;
/// Points of one line.
const POINTS_MAX: usize = 120;

/// A kind of process: its name, ink, and one line for each process.
struct Group {
    name: &'static str,
    ink: Ink,
    lines: Vec<Vec<Point>>,
}

/// Value between two samples, the earlier first.
type Between = fn(&Sample, &Sample) -> f64;

/// CPU of each process in percent of one core.
pub(super) fn cpu(result: &RunResult) -> Option<Figure> {
    let value: Between = |a, b| (b.cpu_s - a.cpu_s).max(0.0) / seconds_between(a, b) * 100.0;
    chart(
        result,
        "cpu",
        "CPU",
        "% of a core",
        value,
        format::number,
        "CPU of each process in percent of one core",
    )
}

/// Resident memory of each process.
pub(super) fn memory(result: &RunResult) -> Option<Figure> {
    let value: Between = |_, b| b.rss_bytes as f64;
    chart(
        result,
        "memory",
        "Memory",
        "resident",
        value,
        format::bytes,
        "Resident memory of each process",
    )
}

/// Bytes sent and received for each second.
pub(super) fn traffic(result: &RunResult) -> Option<Figure> {
    let value: Between = |a, b| {
        let both = |sample: &Sample| (sample.bytes_in + sample.bytes_out) as f64;
        (both(b) - both(a)).max(0.0) / seconds_between(a, b)
    };
    let words = "Bytes sent and received by each process for each second";
    chart(
        result,
        "traffic",
        "Network traffic",
        "per second",
        value,
        format::bytes,
        words,
    )
}

/// Time between two samples, never zero.
fn seconds_between(a: &Sample, b: &Sample) -> f64 {
    (b.at_ms.saturating_sub(a.at_ms) as f64 / 1000.0).max(1e-3)
}

/// A figure of one value of every process over time.
fn chart(
    result: &RunResult,
    id: &str,
    title: &str,
    unit: &str,
    value: Between,
    show: fn(f64) -> String,
    words: &str,
) -> Option<Figure> {
    let groups = groups(&result.record, value);
    let values = || {
        groups
            .iter()
            .flat_map(|group| group.lines.iter().flatten().map(|point| point.1))
    };
    if values().all(|value| value <= 0.0) {
        return None;
    }
    let x = time::scale(&result.record);
    let frame = Frame::wide(44.0, 146.0, 14.0, x, Scale::linear(values(), true));
    let mut scene = Scene::new(WIDE, 246.0);
    time::shade(&mut scene, &frame, result, true);
    frame.y_axis(&mut scene, unit, show);
    frame.x_axis(&mut scene, "seconds since the start", seconds_label);
    let many = groups.iter().map(|group| group.lines.len()).sum::<usize>() > LINES_MAX;
    for group in &groups {
        if many && group.lines.len() > 2 {
            band(&mut scene, &frame, group);
        } else {
            group
                .lines
                .iter()
                .for_each(|line| frame.series(&mut scene, line, group.ink, 1.4));
        }
    }
    let entries: Vec<(&str, Ink)> = groups.iter().map(|group| (group.name, group.ink)).collect();
    scene.legend((62.0, 236.0), &entries);
    let how = if many {
        "the median of each role, with a band from least to most"
    } else {
        "one line for each process"
    };
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        description: format!("{words}: {how}."),
        context: time::shading_text(result),
        table: table(&groups, show),
        scene,
    })
}

/// The processes by role, with the values that they have; kinds without any are left out.
fn groups(record: &RunRecord, value: Between) -> Vec<Group> {
    let role_of = |name: &str| record.nodes.iter().find(|node| node.name == name).map(|node| node.role);
    let lines = |wanted: Option<Role>| -> Vec<Vec<Point>> {
        let kind = if wanted.is_some() {
            ProcessKind::Node
        } else {
            ProcessKind::Lab
        };
        let its = |process: &&Process| process.kind == kind && (wanted.is_none() || role_of(&process.name) == wanted);
        let all = record
            .processes
            .iter()
            .filter(its)
            .map(|process| line(&process.samples, value));
        all.filter(|line: &Vec<Point>| line.len() > 1).collect()
    };
    let groups = [
        Group {
            name: "validators",
            ink: Ink::Series(0),
            lines: lines(Some(Role::Validator)),
        },
        Group {
            name: "full nodes",
            ink: Ink::Series(2),
            lines: lines(Some(Role::Full)),
        },
        Group {
            name: "observers",
            ink: Ink::Series(3),
            lines: lines(Some(Role::Observer)),
        },
        Group {
            name: "lab",
            ink: Ink::Series(1),
            lines: lines(None),
        },
    ];
    groups
        .into_iter()
        .filter(|group| group.lines.iter().flatten().any(|point| point.1 > 0.0))
        .collect()
}

/// The values between consecutive samples at the time of the later one.
fn line(samples: &[Sample], value: Between) -> Vec<Point> {
    let step = samples.len().div_ceil(POINTS_MAX).max(1);
    let mut thinned: Vec<&Sample> = Vec::with_capacity(samples.len() / step + 1);
    for sample in samples.iter().step_by(step) {
        // Rates over a moment, as between the last two samples before a stop, are noise.
        if thinned
            .last()
            .is_none_or(|last| sample.at_ms.saturating_sub(last.at_ms) >= GAP_MS_MIN)
        {
            thinned.push(sample);
        }
    }
    thinned
        .windows(2)
        .map(|pair| (pair[1].at_ms as f64 / 1000.0, value(pair[0], pair[1])))
        .collect()
}

/// The values of all lines of a group at each moment of the longest line; a process that was away has none.
fn columns(group: &Group) -> Vec<(f64, Vec<f64>)> {
    let longest = group
        .lines
        .iter()
        .max_by_key(|line| line.len())
        .map_or(&[][..], Vec::as_slice);
    let span = longest
        .first()
        .zip(longest.last())
        .map_or(0.0, |(first, last)| last.0 - first.0);
    let reach = 1.5 * span / (longest.len() as f64 - 1.0).max(1.0);
    let nearest = |line: &[Point], at: f64| {
        let next = line.partition_point(|point| point.0 < at);
        let around = line[next.saturating_sub(1)..].iter().take(2);
        let distance = |point: &Point| (point.0 - at).abs();
        let closest = around.min_by(|a, b| distance(a).total_cmp(&distance(b)));
        closest.filter(|point| distance(point) <= reach).map(|point| point.1)
    };
    let values = |at: f64| group.lines.iter().filter_map(|line| nearest(line, at)).collect();
    longest.iter().map(|point| (point.0, values(point.0))).collect()
}

/// The range of a group as a band and its median as a line.
fn band(scene: &mut Scene, frame: &Frame, group: &Group) {
    let columns = columns(group);
    let least = |values: &Vec<f64>| values.iter().copied().fold(f64::MAX, f64::min);
    let most = |values: &Vec<f64>| values.iter().copied().fold(0.0, f64::max);
    let upper = columns.iter().map(|(x, values)| frame.at(*x, most(values)));
    let lower = columns.iter().rev().map(|(x, values)| frame.at(*x, least(values)));
    scene.add(
        Mark::Area {
            points: upper.chain(lower).collect(),
        },
        group.ink,
        0.2,
    );
    let middle: Vec<Point> = columns
        .iter()
        .filter_map(|(x, values)| Some((*x, median(values.clone())?)))
        .collect();
    frame.series(scene, &middle, group.ink, 1.8);
}

/// Least, median and most of each group at some moments.
fn table(groups: &[Group], show: fn(f64) -> String) -> Table {
    let mut table = Table::new(&["at", "processes", "least", "median", "most"]);
    for group in groups {
        let columns = columns(group);
        for (x, values) in columns.iter().step_by(columns.len().div_ceil(16).max(1)) {
            let bound = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap_or(0.0);
            let [least, most] = [f64::min as fn(f64, f64) -> f64, f64::max].map(bound);
            let middle = median(values.clone()).unwrap_or(0.0);
            let cells = [least, middle, most].map(show);
            table.row(
                [format!("{} s", seconds_label(*x)), group.name.to_owned()]
                    .into_iter()
                    .chain(cells),
            );
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(lines: Vec<Vec<Point>>) -> Group {
        Group {
            name: "made up",
            ink: Ink::Series(0),
            lines,
        }
    }

    #[test]
    fn moments_are_matched_by_time_and_not_by_number() {
        let steady: Vec<Point> = (0..10).map(|s| (f64::from(s), 1.0)).collect();
        // Away from second 3 to 7, and sampled a little later than the other.
        let away: Vec<Point> = [0, 1, 2, 8, 9].map(|s| (f64::from(s) + 0.1, 5.0)).to_vec();
        let columns = columns(&group(vec![steady, away]));
        let counts: Vec<usize> = columns.iter().map(|(_, values)| values.len()).collect();
        assert_eq!(counts, [2, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
        assert_eq!(columns[9].1, [1.0, 5.0]);
    }

    #[test]
    fn rates_over_a_moment_are_left_out() {
        let sample = |at_ms, cpu_s| Sample {
            at_ms,
            cpu_s,
            ..Sample::default()
        };
        let samples = [sample(0, 0.0), sample(1000, 0.1), sample(1010, 0.11), sample(2000, 0.2)];
        let points = line(&samples, |a, b| (b.cpu_s - a.cpu_s) / seconds_between(a, b));
        assert_eq!(points.len(), 2);
        assert!(points.iter().all(|point| (point.1 - 0.1).abs() < 1e-9), "{points:?}");
    }

    #[test]
    fn nothing_sampled_draws_nothing() {
        assert!(columns(&group(Vec::new())).is_empty());
        assert!(line(&[], |_, _| 1.0).is_empty());
    }
}
