//! The run in equal steps of time, coarse enough to draw.

use crate::{Counts, model::RunRecord};

/// What happened in one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bin {
    /// Its first second since the origin.
    pub(crate) start_s: f64,
    /// Its length in seconds.
    pub(crate) width_s: f64,
    /// Transactions intended.
    pub(crate) intended: u64,
    /// Transactions sent.
    pub(crate) sent: u64,
    /// Transactions final with success.
    pub(crate) finalised: u64,
    /// Transactions final with failure or refused.
    pub(crate) refused: u64,
    /// Response latency of the transactions that became final in it.
    pub(crate) latency: Counts,
}

impl Bin {
    /// The middle of the step in seconds.
    pub(crate) fn middle(&self) -> f64 {
        self.start_s + self.width_s / 2.0
    }

    /// A count as a rate per second.
    pub(crate) fn rate(&self, count: u64) -> f64 {
        count as f64 / self.width_s
    }
}

/// The run in at most `most` steps of whole seconds.
pub(crate) fn bins(record: &RunRecord, most: usize) -> Vec<Bin> {
    let width = record.seconds.len().div_ceil(most.max(1)).max(1);
    let by_second = latencies(record);
    let bin = |seconds: &[crate::model::Second]| {
        let sum = |of: fn(&crate::model::Second) -> u64| seconds.iter().map(of).sum();
        let (first, last) = (seconds[0].second, seconds[seconds.len() - 1].second);
        let inside = by_second.iter().filter(|(second, _)| (first..=last).contains(second));
        Bin {
            start_s: f64::from(first),
            width_s: seconds.len() as f64,
            intended: sum(|second| second.intended),
            sent: sum(|second| second.sent),
            finalised: sum(|second| second.finalised),
            refused: sum(|second| second.failed + second.rejected),
            latency: Counts::merged(inside.map(|(_, counts)| *counts)),
        }
    };
    debug_assert!(width > 0, "every step has a length");
    record.seconds.chunks(width).map(bin).collect()
}

/// Latencies by second: the recorded intervals, or the blocks where there are none.
fn latencies(record: &RunRecord) -> Vec<(u32, &Counts)> {
    let intervals = &record.latency.response.intervals;
    if intervals.is_empty() {
        return record
            .blocks
            .iter()
            .map(|block| ((block.at_ms / 1000) as u32, &block.latency))
            .collect();
    }
    intervals
        .iter()
        .map(|interval| (interval.second, &interval.counts))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, SMALL};

    #[test]
    fn bins_keep_every_count() {
        let mut record = fixture::record(SMALL);
        let total: u64 = record.seconds.iter().map(|second| second.finalised).sum();
        for most in [1, 7, 500] {
            let bins = bins(&record, most);
            assert!(bins.len() <= most);
            assert_eq!(bins.iter().map(|bin| bin.finalised).sum::<u64>(), total);
        }
        let measured: u64 = bins(&record, 7).iter().map(|bin| bin.latency.total()).sum();
        assert_eq!(measured, record.latency.response.overall.total());
        record.latency.response.intervals.clear();
        assert_eq!(
            bins(&record, 7).iter().map(|bin| bin.latency.total()).sum::<u64>(),
            total
        );
    }
}
