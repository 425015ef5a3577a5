//! The node's counters and gauges: one atomic word for each row of the common metric table.

use regatta_api::metrics::{Metric, MetricKind};
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

/// Values of all metrics of one node, shared by its threads.
#[derive(Debug)]
pub struct Meter {
    values: Vec<AtomicU64>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            values: Metric::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Meter {
    /// Adds `amount` to a counter.
    pub fn add(&self, metric: Metric, amount: u64) {
        // Relaxed: each value stands alone, and a scrape needs no order between them.
        self.values[metric as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, value: u64) {
        self.values[metric as usize].store(value, Ordering::Relaxed);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self, metric: Metric) -> u64 {
        self.values[metric as usize].load(Ordering::Relaxed)
    }

    /// All metrics in the text format of Prometheus (version 0.0.4).
    #[must_use]
    pub fn render_prometheus(&self) -> String {
        let mut text = String::with_capacity(Metric::ALL.len() * 160);
        for metric in Metric::ALL {
            let row = metric.row();
            let kind = match row.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            let (name, help, value) = (row.name, row.help, self.get(*metric));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_own_value() {
        let meter = Meter::default();
        for (position, metric) in Metric::ALL.iter().enumerate() {
            meter.set(*metric, position as u64);
        }
        for (position, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(meter.get(*metric), position as u64, "{metric:?}");
        }
    }

    #[test]
    fn the_exposition_names_kind_help_and_value() {
        let meter = Meter::default();
        meter.set(Metric::Height, 7);
        meter.add(Metric::FramesSent, 2);
        meter.add(Metric::FramesSent, 3);
        let text = meter.render_prometheus();
        assert!(text.contains("# TYPE regatta_height_blocks gauge\nregatta_height_blocks 7\n"));
        assert!(text.contains("# TYPE regatta_frames_sent_total counter\nregatta_frames_sent_total 5\n"));
        assert_eq!(text.lines().count(), 3 * Metric::ALL.len());
        assert!(
            text.lines()
                .all(|line| line.starts_with("# ") || line.split(' ').count() == 2)
        );
    }
}
