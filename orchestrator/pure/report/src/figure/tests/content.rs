//! What the figures show: that bars, lines, shades and words agree with the record.

use super::super::{
    Figure, figures,
    scene::{Anchor, Ink, Mark, text_width},
};
use crate::{
    evaluate,
    fixture::{self, EIGHT, HUNDRED, SMALL},
    model::{Edge, Event, EventKind, Node, Role, RunRecord, Traffic},
};

fn figure(record: RunRecord, id: &str) -> Figure {
    let all = figures(&evaluate(record, false));
    all.into_iter()
        .find(|figure| figure.id == id)
        .unwrap_or_else(|| panic!("{id}"))
}

fn ids(record: RunRecord) -> Vec<String> {
    figures(&evaluate(record, false))
        .into_iter()
        .map(|figure| figure.id)
        .collect()
}

fn texts(figure: &Figure) -> Vec<String> {
    let text = |mark: &Mark| match mark {
        Mark::Text { text, .. } => Some(text.clone()),
        _ => None,
    };
    figure.scene.marks.iter().filter_map(|(mark, ..)| text(mark)).collect()
}

/// Widths of the rectangles of an ink, in drawing order.
fn widths(figure: &Figure, wanted: Ink) -> Vec<f64> {
    let width = |(mark, ink, _): &(Mark, Ink, f64)| match mark {
        Mark::Rect { size, .. } if *ink == wanted => Some(size.0),
        _ => None,
    };
    figure.scene.marks.iter().filter_map(width).collect()
}

#[test]
fn the_bars_of_the_waterfall_are_to_scale() {
    let mut record = fixture::record(SMALL);
    record.accounting.finalised_ok = 600;
    record.accounting.finalised_failed = 100;
    record.accounting.timed_out = 200;
    record.accounting.unknown = 0;
    record.accounting.not_sent = 0;
    record.accounting.rejected[0].count = 100;
    record.accounting.intended = 1000;
    let figure = figure(record, "accounting");
    let [whole] = widths(&figure, Ink::Muted)[..] else {
        panic!()
    };
    let [good] = widths(&figure, Ink::Good)[..] else {
        panic!()
    };
    let [timed_out] = widths(&figure, Ink::Bad)[..] else {
        panic!()
    };
    assert!((good / whole - 0.6).abs() < 1e-9 && (timed_out / whole - 0.2).abs() < 1e-9);
    assert_eq!(widths(&figure, Ink::Series(1)).len(), 2, "rejected and failed");
    let rows: Vec<&str> = figure.table.rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(
        rows,
        [
            "intended",
            "rejected: mempool_full",
            "timed out",
            "final, failed",
            "final, succeeded"
        ]
    );
    assert_eq!(figure.table.rows[2][1..], ["200", "20.0 %"]);
    assert!(
        figure.description.contains("The identity closes"),
        "{}",
        figure.description
    );
}

#[test]
fn losses_hang_where_they_were_taken_off() {
    let mut record = fixture::record(SMALL);
    record.accounting = crate::model::Accounting {
        intended: 1000,
        timed_out: 300,
        unknown: 200,
        finalised_ok: 500,
        ..Default::default()
    };
    let figure = figure(record, "accounting");
    let bars: Vec<(f64, f64)> = figure
        .scene
        .marks
        .iter()
        .filter_map(|(mark, ..)| match mark {
            Mark::Rect { at, size } => Some((at.0, at.0 + size.0)),
            _ => None,
        })
        .collect();
    let [whole, timed_out, unknown, good] = bars[..] else {
        panic!("{bars:?}")
    };
    let meets = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{bars:?}");
    meets(timed_out.1, whole.1);
    meets(unknown.1, timed_out.0);
    meets(good.1, unknown.0);
    meets(good.0, whole.0);
}

#[test]
fn an_open_identity_is_said_in_the_waterfall() {
    let mut record = fixture::record(SMALL);
    record.accounting.intended += 7;
    let figure = figure(record, "accounting");
    assert!(figure.description.contains("off by 7"), "{}", figure.description);
}

#[test]
fn faults_are_shaded_where_they_acted() {
    let record = fixture::record(EIGHT);
    let fault = record.events[1].clone();
    let with = figure(record.clone(), "throughput");
    assert!(texts(&with).iter().any(|text| text == "crash val-3"));
    assert!(with.context.contains("Fault from 19.0 s to 23.0 s"), "{}", with.context);
    let mut without = record;
    without.events.clear();
    let shades = |figure: &Figure| widths(figure, Ink::Bad).len();
    assert_eq!(
        shades(&with),
        shades(&figure(without, "throughput")) + 2,
        "a shade and its bar"
    );
    assert!(fault.end_ms > fault.start_ms);
}

#[test]
fn a_momentary_crash_is_wide_enough_to_see() {
    let mut record = fixture::record(SMALL);
    record.events = vec![Event {
        start_ms: 9_000,
        end_ms: 9_000,
        kind: EventKind::Crash,
        ..Event::default()
    }];
    let figure = figure(record, "throughput");
    assert!(widths(&figure, Ink::Bad).iter().all(|&width| width >= 2.0));
    assert!(texts(&figure).iter().any(|text| text == "crash"));
}

/// Where each text begins and ends, with its height.
fn spans(figure: &Figure) -> Vec<(f64, f64, f64)> {
    let span = |mark: &Mark| match mark {
        Mark::Text {
            at, text, size, anchor, ..
        } => {
            let width = text_width(text, *size);
            let from = match anchor {
                Anchor::Start => at.0,
                Anchor::Middle => at.0 - width / 2.0,
                Anchor::End => at.0 - width,
            };
            Some((from, at.1, from + width))
        }
        _ => None,
    };
    figure.scene.marks.iter().filter_map(|(mark, ..)| span(mark)).collect()
}

#[test]
fn names_of_faults_and_labels_of_axes_never_lie_on_each_other() {
    let mut record = fixture::record(SMALL);
    let fault = |index: u64| Event {
        start_ms: 4_000 + 300 * index,
        end_ms: 4_100 + 300 * index,
        kind: EventKind::Fault,
        node: format!("val-{index}"),
        text: format!("pause val-{index}"),
    };
    record.events = (0..30).map(fault).collect();
    for block in &mut record.blocks {
        block.latency.0.insert(0, (20, 1));
        block.latency.0.push((30_000_000, 1));
    }
    for id in ["throughput", "latency-over-time", "backlog"] {
        let figure = figure(record.clone(), id);
        let labels: Vec<(f64, f64, f64)> = spans(&figure);
        for (place, a) in labels.iter().enumerate() {
            let meet = |b: &&(f64, f64, f64)| (a.1 - b.1).abs() < 8.0 && a.0 < b.2 && b.0 < a.2;
            let clash = labels[..place].iter().find(meet);
            assert!(clash.is_none(), "{id}: {a:?} on {clash:?}");
        }
        assert!(
            figure.context.is_empty() || figure.context.contains("And 18 more faults."),
            "{}",
            figure.context
        );
    }
}

#[test]
fn the_hero_names_objectives_and_what_was_offered() {
    let figure = figure(fixture::record(EIGHT), "latency-throughput");
    let texts = texts(&figure);
    assert!(texts.iter().any(|text| text == "objective p50 < 100ms"), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("offered 1,000")), "{texts:?}");
    for name in ["p50  ", "p90  ", "p99  "] {
        assert!(texts.iter().any(|text| text.starts_with(name)), "{name} in {texts:?}");
    }
    assert!(
        !texts.iter().any(|text| text.starts_with("p99.9  ")),
        "too few blocks for that"
    );
}

#[test]
fn labels_of_near_quantiles_do_not_overlap() {
    let mut record = fixture::record(EIGHT);
    record.events.clear();
    for block in &mut record.blocks {
        block.latency = crate::Counts(vec![(30_000, 25), (30_100, 2)]);
    }
    let figure = figure(record, "latency-throughput");
    let heights: Vec<f64> = figure
        .scene
        .marks
        .iter()
        .filter_map(|(mark, ..)| match mark {
            Mark::Text {
                at,
                text,
                anchor: Anchor::Start,
                bold: true,
                ..
            } if text.starts_with('p') => Some(at.1),
            _ => None,
        })
        .collect();
    assert_eq!(heights.len(), 3);
    assert!(heights.windows(2).all(|pair| pair[0] - pair[1] >= 15.9), "{heights:?}");
}

#[test]
fn stages_without_stamps_are_left_out() {
    let record = fixture::record(SMALL);
    let rows = |record: RunRecord| figure(record, "stages").table.rows.len();
    assert_eq!(rows(record.clone()), 3);
    let mut executed = record.clone();
    executed.latency.executed = executed.latency.included.clone();
    assert_eq!(rows(executed), 4);
    let mut one = record;
    one.latency.accepted = crate::Counts::default();
    one.latency.included = crate::Counts::default();
    assert!(!ids(one).contains(&"stages".to_owned()), "one stage is no sequence");
}

#[test]
fn the_spectrum_marks_what_is_too_rare() {
    let small = figure(fixture::record(SMALL), "percentiles");
    assert!(
        texts(&small)
            .iter()
            .any(|text| text.starts_with("too rare for an interval from 1"))
    );
    assert_eq!(small.table.rows[0][0], "smallest");
    assert_eq!(small.table.rows.last().unwrap()[0], "largest");
}

#[test]
fn roles_differ_by_shape_and_colour() {
    let node = |name: &str, role| Node {
        name: name.to_owned(),
        role,
        ..Node::default()
    };
    let edge = |a: &str, b: &str| Edge {
        a: a.to_owned(),
        b: b.to_owned(),
        rule: String::new(),
    };
    let byzantine = Node {
        byzantine: Some("silent".to_owned()),
        ..node("v", Role::Validator)
    };
    let record = RunRecord {
        nodes: vec![byzantine, node("f", Role::Full), node("o", Role::Observer)],
        edges: vec![
            edge("v", "f"),
            edge("f", "v"),
            edge("f", "o"),
            edge("o", "o"),
            edge("o", "nobody"),
        ],
        ..RunRecord::default()
    };
    let figure = figure(record, "topology");
    let corners = |ink| -> Vec<usize> {
        let marks = figure.scene.marks.iter().filter(|mark| mark.1 == ink);
        marks
            .filter_map(|(mark, ..)| {
                if let Mark::Area { points } = mark {
                    Some(points.len())
                } else {
                    None
                }
            })
            .collect()
    };
    assert_eq!(corners(Ink::Series(0)), [4, 4], "diamonds on the map and in the key");
    assert_eq!(corners(Ink::Series(3)), [3, 3], "triangles");
    let ring = figure
        .scene
        .marks
        .iter()
        .filter(|(mark, ink, _)| *ink == Ink::Bad && matches!(mark, Mark::Circle { filled: false, .. }));
    assert_eq!(ring.count(), 1, "the dishonest node is ringed");
    assert!(
        figure
            .description
            .contains("3 nodes, of which 1 validator, over 2 links"),
        "{}",
        figure.description
    );
    assert_eq!(figure.table.rows[1][4], "v o");
}

#[test]
fn names_stay_readable_up_to_a_limit() {
    let hundred = figure(fixture::record(HUNDRED), "topology");
    assert!(texts(&hundred).contains(&"full-79".to_owned()));
    let mut many = fixture::record(SMALL);
    many.nodes = (0..300)
        .map(|i| Node {
            name: format!("n{i}"),
            ..Node::default()
        })
        .collect();
    let figure = figure(many, "topology");
    assert!(!texts(&figure).contains(&"n7".to_owned()));
    assert_eq!(figure.table.rows.len(), 300, "the table has every name");
}

#[test]
fn protocols_are_summed_over_all_nodes() {
    let mut record = fixture::record(SMALL);
    for (process, bytes_out) in record.processes.iter_mut().zip([100, 200, 0]) {
        let traffic = |protocol: &str, bytes_out| Traffic {
            protocol: protocol.to_owned(),
            bytes_out,
            messages_out: 2,
            ..Traffic::default()
        };
        process.traffic = vec![traffic("vote", bytes_out), traffic("batch", bytes_out * 3)];
    }
    let figure = figure(record, "protocols");
    assert_eq!(figure.table.rows[0][..3], ["batch", "900 B", "6"]);
    assert_eq!(figure.table.rows[1][..3], ["vote", "300 B", "6"]);
    let widths = widths(&figure, Ink::Series(0));
    assert!((widths[0] / widths[1] - 3.0).abs() < 1e-9);
}

#[test]
fn few_processes_get_lines_and_many_get_bands() {
    let areas = |figure: &Figure| {
        figure
            .scene
            .marks
            .iter()
            .filter(|(mark, ..)| matches!(mark, Mark::Area { .. }))
            .count()
    };
    assert_eq!(areas(&figure(fixture::record(EIGHT), "cpu")), 0);
    let hundred = figure(fixture::record(HUNDRED), "cpu");
    assert_eq!(areas(&hundred), 2, "validators and full nodes");
    assert!(
        hundred.description.contains("a band from least to most"),
        "{}",
        hundred.description
    );
    let groups: Vec<&str> = hundred.table.rows.iter().map(|row| row[1].as_str()).collect();
    for group in ["validators", "full nodes", "lab"] {
        assert!(groups.contains(&group), "{groups:?}");
    }
}

#[test]
fn what_was_not_observed_is_left_out() {
    let mut record = fixture::record(SMALL);
    record.processes.clear();
    record.edges.clear();
    let ids = ids(record);
    for id in ["cpu", "memory", "traffic", "protocols"] {
        assert!(!ids.contains(&id.to_owned()), "{id}");
    }
    assert!(
        ids.contains(&"topology".to_owned()),
        "nodes without links are still a map"
    );
}

#[test]
fn a_counter_that_falls_back_shows_no_negative_rate() {
    let mut record = fixture::record(SMALL);
    let samples = &mut record.processes[0].samples;
    let last = samples.len() - 1;
    samples[last].cpu_s = 0.0;
    samples[last].bytes_in = 0;
    samples[last].bytes_out = 0;
    for id in ["cpu", "traffic"] {
        let figure = figure(record.clone(), id);
        let bottom = figure.scene.height;
        let points = figure.scene.marks.iter().filter_map(|(mark, ..)| {
            if let Mark::Line { points, .. } = mark {
                Some(points)
            } else {
                None
            }
        });
        assert!(points.flatten().all(|point| point.1 <= bottom), "{id}");
    }
}
