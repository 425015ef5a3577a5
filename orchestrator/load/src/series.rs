//! Latency histograms: one for the measure phase, one for each second, three significant digits.

use hdrhistogram::Histogram;
use regatta_report::{
    Counts,
    model::{HistogramSet, Interval},
};

/// Significant decimal digits of every histogram.
const DIGITS: u8 = 3;
/// Largest recorded value in microseconds (one hour); what is above counts as this.
const MICROS_MAX: u64 = 3_600_000_000;

/// An empty histogram of microseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("1 us to 1 h with 3 digits are valid bounds")
}

/// A histogram of the measure phase and one of every second.
#[derive(Debug)]
pub(crate) struct Series {
    overall: Histogram<u64>,
    current: Histogram<u64>,
    second: u32,
    intervals: Vec<Interval>,
    /// Median and 99th percentile of the newest whole second with values.
    recent: (u64, u64),
}

impl Series {
    pub(crate) fn new() -> Self {
        Self {
            overall: histogram(),
            current: histogram(),
            second: 0,
            intervals: Vec::new(),
            recent: (0, 0),
        }
    }

    /// Records `micros` under `second`; `measured` values enter the overall histogram too.
    pub(crate) fn record(&mut self, second: u32, micros: u64, measured: bool) {
        if second != self.second {
            self.close();
            self.second = second;
        }
        self.current.saturating_record(micros);
        if measured {
            self.overall.saturating_record(micros);
        }
    }

    /// The quantile so far in microseconds: of the measured values when there are any, else of this second.
    pub(crate) fn quantile(&self, quantile: f64) -> u64 {
        let best = if self.overall.is_empty() {
            &self.current
        } else {
            &self.overall
        };
        best.value_at_quantile(quantile)
    }

    /// Median and 99th percentile in microseconds of the newest whole second with values; 0 before the first.
    pub(crate) fn recent(&self) -> (u64, u64) {
        self.recent
    }

    fn close(&mut self) {
        if !self.current.is_empty() {
            self.recent = (
                self.current.value_at_quantile(0.5),
                self.current.value_at_quantile(0.99),
            );
            self.intervals.push(Interval {
                second: self.second,
                counts: Counts::from_histogram(&self.current),
            });
            self.current.reset();
        }
    }

    /// Everything recorded, one interval a second.
    pub(crate) fn finish(mut self) -> HistogramSet {
        self.close();
        // A second may have been closed and reopened by a stamp taken just before another thread's.
        self.intervals.sort_by_key(|interval| interval.second);
        self.intervals.dedup_by(|later, first| {
            let same = later.second == first.second;
            if same {
                first.counts = Counts::merged([&first.counts, &later.counts]);
            }
            same
        });
        HistogramSet {
            overall: Counts::from_histogram(&self.overall),
            intervals: self.intervals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Each case fills histograms of many thousand buckets.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_value_is_lost_in_whatever_order_seconds_come(
            values in proptest::collection::vec((0u32..5, 0u64..10_000_000, any::<bool>()), 0..100)
        ) {
            let mut series = Series::new();
            for &(second, micros, measured) in &values {
                series.record(second, micros, measured);
            }
            let set = series.finish();
            let measured = values.iter().filter(|(.., measured)| *measured).count() as u64;
            prop_assert_eq!(set.overall.total(), measured);
            for second in 0..5 {
                let expected = values.iter().filter(|(at, ..)| *at == second).count() as u64;
                let found: Vec<u64> =
                    set.intervals.iter().filter(|i| i.second == second).map(|i| i.counts.total()).collect();
                let wanted = if expected > 0 { vec![expected] } else { Vec::new() };
                prop_assert_eq!(found, wanted);
            }
        }
    }

    #[test]
    fn only_measured_values_enter_the_headline_and_all_enter_their_second() {
        let mut series = Series::new();
        series.record(3, 100, false);
        assert_eq!((series.quantile(0.5), series.recent()), (100, (0, 0)));
        series.record(4, 200, true);
        series.record(3, 150, true);
        series.record(9, u64::MAX, true);
        assert_eq!(series.recent(), (150, 150), "of the second that was closed last");
        assert_eq!(series.quantile(0.0), 150);
        let set = series.finish();
        assert_eq!(set.overall.total(), 3);
        let seconds: Vec<(u32, u64)> = set.intervals.iter().map(|i| (i.second, i.counts.total())).collect();
        assert_eq!(seconds, [(3, 2), (4, 1), (9, 1)]);
    }
}
