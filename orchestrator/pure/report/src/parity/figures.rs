//! A real run and a simulated one in the same frame: their ratios, their latencies and their blocks.

use super::{Parity, Row};
use crate::{
    Counts,
    figure::{Anchor, Figure, Frame, Ink, Scale, Scene, Table, WIDE, curve, nines, nines_label},
    format,
    result::RunResult,
};

/// Inks of the real and the simulated run.
const INKS: [(&str, Ink); 2] = [("real", Ink::Series(0)), ("simulated", Ink::Series(1))];
/// Quantiles of the data tables.
const TABLE: [f64; 6] = [0.1, 0.5, 0.75, 0.9, 0.99, 0.999];
/// End of the axis of nines.
const NINES_MAX: f64 = 5.0;

/// The figures of a parity, in the order of its page.
pub(super) fn figures(parity: &Parity, real: &RunResult, simulated: &RunResult) -> Vec<Figure> {
    let both = [real, simulated];
    let responses = both.map(|result| result.record.latency.response.overall.clone());
    let gaps = both.map(gaps_us);
    let all = [
        ratios(parity),
        spectrum(
            ("parity-response", "Response latency"),
            "Response latency of every transaction of the measure phase by percentile, real and simulated, on \
             logarithmic scales: the further right, the rarer. Where the curves lie on each other the two agree.",
            &responses,
        ),
        spectrum(
            ("parity-blocks", "Time between blocks"),
            "Time between two blocks inside the measured window by percentile, real and simulated, on logarithmic \
             scales. Blocks are stamped in whole milliseconds: several at once are 0 apart and lie on the lower edge.",
            &gaps,
        ),
    ];
    all.into_iter().flatten().collect()
}

/// Microseconds between consecutive blocks of the window, of each instance by itself.
fn gaps_us(result: &RunResult) -> Counts {
    let window = &result.summary.window;
    let blocks = &result.record.blocks;
    let mut gaps = Vec::new();
    let mut last = std::collections::BTreeMap::new();
    for block in blocks.iter().filter(|block| window.contains(block.at_ms)) {
        if let Some(before) = last.insert(block.instance.as_str(), block.at_ms) {
            gaps.push(block.at_ms.saturating_sub(before) * 1000);
        }
    }
    Counts::of_values(gaps, 3)
}

/// Simulated by real of each figure, on a logarithmic scale around 1.
fn ratios(parity: &Parity) -> Option<Figure> {
    const ROW: f64 = 26.0;
    let rows: Vec<(&Row, crate::result::Estimate)> = parity
        .rows
        .iter()
        .filter_map(|row| Some((row, row.ratio.filter(|ratio| ratio.value > 0.0 && ratio.low > 0.0)?)))
        .collect();
    let ends = rows.iter().flat_map(|(_, ratio)| [ratio.low, ratio.high]);
    let bottom = 14.0 + rows.len() as f64 * ROW;
    let frame = Frame {
        left: 220.0,
        top: 14.0,
        right: WIDE - 60.0,
        bottom,
        x: Scale::log(ends.chain([0.5, 2.0])),
        y: Scale::linear([], true),
    };
    let mut scene = Scene::new(WIDE, bottom + 40.0);
    for tick in frame.x.ticks() {
        let x = frame.x_at(tick);
        scene.line(vec![(x, frame.top), (x, frame.bottom)], Ink::Grid, 1.0);
    }
    let one = frame.x_at(1.0);
    scene.dashed((one, frame.top), (one, frame.bottom), Ink::Text);
    frame.x_axis(&mut scene, "simulated / real", |value| format!("{value}"));
    let mut table = Table::new(&["figure", "simulated / real", "from", "to"]);
    for (index, (row, ratio)) in rows.iter().enumerate() {
        let y = frame.top + (index as f64 + 0.5) * ROW;
        let centre = (frame.x_at(ratio.value), y);
        scene.label((frame.left - 12.0, y), row.figure.clone(), Ink::Text, Anchor::End);
        scene.cross(
            centre,
            (frame.x_at(ratio.low), frame.x_at(ratio.high)),
            (y, y),
            Ink::Series(1),
        );
        let cells = [ratio.value, ratio.low, ratio.high].map(|value| format!("{value:.2}"));
        table.row(std::iter::once(row.figure.clone()).chain(cells));
    }
    (!rows.is_empty()).then(|| Figure {
        id: "parity-ratios".to_owned(),
        title: "Simulated against real".to_owned(),
        description:
            "Each figure of the simulated run divided by that of the real one, with its 95 % interval where it \
                      has one. On the dashed line the two agree; right of it the simulated one is greater."
                .to_owned(),
        context: String::new(),
        table,
        scene,
    })
}

/// Two distributions by percentile.
fn spectrum((id, title): (&str, &str), description: &str, both: &[Counts; 2]) -> Option<Figure> {
    if both.iter().any(Counts::is_empty) {
        return None;
    }
    let curves = [0, 1].map(|side: usize| curve(&both[side]));
    let places = || curves.iter().flatten();
    let most = places().map(|point| point.0).fold(1.0, f64::max);
    let x = Scale::Linear {
        from: 0.0,
        to: most.ceil().min(NINES_MAX),
    };
    let frame = Frame::wide(34.0, 266.0, 14.0, x, Scale::log(places().map(|point| point.1)));
    let mut scene = Scene::new(WIDE, 368.0);
    frame.y_axis(&mut scene, "time", format::duration_us);
    frame.x_axis(
        &mut scene,
        "percentile, each step leaves out ten times less",
        nines_label,
    );
    for (points, (_, ink)) in curves.iter().zip(INKS) {
        frame.series(&mut scene, points, ink, 2.2);
    }
    for (counts, (_, ink)) in both.iter().zip(INKS) {
        let median = counts.quantile(0.5).unwrap_or(0).max(1) as f64;
        scene.dot(frame.at(nines(0.5), median), 4.0, ink, 1.0);
    }
    scene.legend((62.0, 354.0), &INKS);
    let mut table = Table::new(&["percentile", "real", "simulated", "simulated / real"]);
    for q in TABLE {
        let [real, simulated] = [0, 1].map(|side: usize| both[side].quantile(q).unwrap_or(0) as f64);
        let ratio = if real > 0.0 {
            format!("{:.2}", simulated / real)
        } else {
            "–".to_owned()
        };
        let cells = [real, simulated].map(format::duration_us);
        table.row(std::iter::once(format::quantile_name(q)).chain(cells).chain([ratio]));
    }
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        description: description.to_owned(),
        context: String::new(),
        table,
        scene,
    })
}
