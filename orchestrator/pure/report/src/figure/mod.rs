//! Every figure of a report: a drawing, its title, a description in words and the table of its data.

mod accounting;
mod axis;
mod bins;
mod churn;
mod headline;
mod latency;
pub(crate) mod layout;
mod network;
mod paint;
mod resources;
mod scene;
mod sparkline;
mod time;

use crate::{format, result::RunResult};

pub(crate) use axis::{Frame, Scale};
pub(crate) use bins::{Bin, bins};
pub(crate) use latency::{curve, nines, nines_label};
pub use paint::DrawError;
pub(crate) use paint::escape;
pub(crate) use scene::{Anchor, Ink, Scene};
pub(crate) use sparkline::sparkline;

/// Width of a figure over the whole page in logical pixels.
pub(crate) const WIDE: f64 = 1040.0;

/// A figure with the words and numbers that stand in for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Short stable name, also its file name.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// What there is to see, for who cannot see it.
    pub description: String,
    /// The numbers behind it.
    pub table: Table,
    /// Phases and faults, said to those who cannot see the shading.
    pub(crate) context: String,
    pub(crate) scene: Scene,
}

/// A table of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Column headings.
    pub head: Vec<String>,
    /// Rows, each as long as the headings.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|&text| text.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(row.len(), self.head.len(), "a cell under each heading");
        self.rows.push(row);
    }
}

/// The figures that this run has data for, in the order of the report.
#[must_use]
pub fn figures(result: &RunResult) -> Vec<Figure> {
    let all = [
        headline::latency_against_throughput(result),
        headline::time_strip(result),
        accounting::waterfall(result),
        latency::spectrum(result),
        latency::stages(result),
        time::throughput(result),
        time::latency(result),
        time::backlog(result),
        time::blocks(result),
        churn::strip(result),
        network::topology(result),
        network::protocols(result),
        resources::cpu(result),
        resources::memory(result),
        resources::traffic(result),
    ];
    all.into_iter().flatten().collect()
}

/// `12` for whole seconds, `0.5` otherwise.
fn seconds_label(seconds: f64) -> String {
    if seconds == 0.0 {
        "0".to_owned()
    } else if seconds.fract() == 0.0 {
        format::integer(seconds as u64)
    } else {
        seconds.to_string()
    }
}

#[cfg(test)]
mod tests;
