//! Sparse latency histograms: exact to the resolution that the recorder chose, small as JSON, mergeable.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Recorded values in microseconds with their counts, `[[value, count], ...]`, strictly ascending by value.
///
/// Build one from an hdrhistogram or from raw values; [`Counts::normalise`] restores the order after reading one from
/// outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Counts(pub Vec<(u64, u64)>);

impl Counts {
    /// The recorded buckets of an hdrhistogram, each as the highest value equivalent to it.
    #[must_use]
    pub fn from_histogram(histogram: &Histogram<u64>) -> Self {
        let buckets = histogram
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()));
        Self(buckets.collect())
    }

    /// Counts of raw values, each rounded to `digits` (1 to 3) significant decimal digits.
    #[must_use]
    pub fn of_values(values: impl IntoIterator<Item = u64>, digits: u32) -> Self {
        let mut rounded: Vec<u64> = values.into_iter().map(|value| round_to(value, digits)).collect();
        rounded.sort_unstable();
        let mut counts: Vec<(u64, u64)> = Vec::new();
        debug_assert!(rounded.is_sorted(), "equal values lie side by side");
        for value in rounded {
            match counts.last_mut() {
                Some(last) if last.0 == value => last.1 += 1,
                _ => counts.push((value, 1)),
            }
        }
        Self(counts)
    }

    /// The sum of several histograms.
    #[must_use]
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self(parts.into_iter().flat_map(|part| part.0.iter().copied()).collect());
        all.normalise();
        all
    }

    /// Sorts by value, adds up equal values and drops zero counts.
    pub fn normalise(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1 = first.1.saturating_add(later.1);
            }
            same
        });
        self.0.retain(|&(_, count)| count > 0);
        debug_assert!(
            self.0.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "ascending without repeats"
        );
    }

    /// How many values were recorded.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// Nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// The smallest recorded value such that at least the share `quantile` (0 to 1) of all values is not above it.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let target = rank(self.total(), quantile)?;
        let mut seen = 0;
        self.0.iter().find_map(|&(value, count)| {
            seen += count;
            (seen >= target).then_some(value)
        })
    }

    /// Mean of the recorded values in microseconds.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let total = self.total();
        let sum: f64 = self.0.iter().map(|&(value, count)| value as f64 * count as f64).sum();
        (total > 0).then(|| sum / total as f64)
    }

    /// Largest recorded value in microseconds.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.0.last().map(|&(value, _)| value)
    }
}

/// The 1-based rank of `quantile` among `total` values: the nearest-rank definition.
pub(crate) fn rank(total: u64, quantile: f64) -> Option<u64> {
    debug_assert!((0.0..=1.0).contains(&quantile), "a quantile is a share");
    // The small amount taken off keeps 0.9 * 10 = 9.000000000000002 from asking for the tenth value.
    let exact = (quantile * total as f64 - 1e-9).ceil();
    (total > 0).then(|| (exact as u64).clamp(1, total))
}

/// A value with all but its first `digits` decimal digits rounded to zero.
fn round_to(value: u64, digits: u32) -> u64 {
    let length = value.checked_ilog10().map_or(1, |log| log + 1);
    let step = 10_u64.pow(length.saturating_sub(digits.clamp(1, 3)));
    value.saturating_add(step / 2) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nearest_rank_on_known_values() {
        let counts = Counts::of_values(1..=100, 3);
        assert_eq!(counts.quantile(0.5), Some(50));
        assert_eq!(counts.quantile(0.99), Some(99));
        assert_eq!(counts.quantile(1.0), Some(100));
        assert_eq!(counts.quantile(0.0), Some(1));
        assert_eq!(counts.mean(), Some(50.5));
        assert_eq!(Counts::default().quantile(0.5), None);
    }

    #[test]
    fn rounding_keeps_the_leading_digits() {
        assert_eq!(round_to(0, 3), 0);
        assert_eq!(round_to(999, 3), 999);
        assert_eq!(round_to(12_345, 3), 12_300);
        assert_eq!(round_to(12_345, 2), 12_000);
        assert_eq!(round_to(99_950, 3), 100_000);
        assert!(round_to(u64::MAX, 3) > u64::MAX / 2);
    }

    #[test]
    fn from_histogram_keeps_every_count() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value in [1, 1, 70_000, 1_000_000] {
            histogram.record(value).unwrap();
        }
        let counts = Counts::from_histogram(&histogram);
        assert_eq!(counts.total(), 4);
        assert_eq!(counts.quantile(0.5), Some(1));
        assert_eq!(counts.quantile(1.0), Some(histogram.value_at_quantile(1.0)));
    }

    #[test]
    fn json_is_a_list_of_pairs() {
        let counts = Counts::of_values([5, 7, 5], 3);
        assert_eq!(serde_json::to_string(&counts).unwrap(), "[[5,2],[7,1]]");
    }

    proptest! {
        #[test]
        fn quantile_is_the_value_at_its_rank(mut values in prop::collection::vec(0_u64..999, 1..60), q in 0.0_f64..=1.0) {
            let counts = Counts::of_values(values.iter().copied(), 3);
            values.sort_unstable();
            let expected = values[rank(values.len() as u64, q).unwrap() as usize - 1];
            prop_assert_eq!(counts.quantile(q), Some(expected));
        }

        #[test]
        fn merging_loses_nothing(parts in prop::collection::vec(prop::collection::vec(0_u64..5_000_000, 0..20), 0..6)) {
            let counts: Vec<Counts> = parts.iter().map(|part| Counts::of_values(part.iter().copied(), 2)).collect();
            let merged = Counts::merged(&counts);
            prop_assert_eq!(merged.total(), parts.iter().map(|part| part.len() as u64).sum::<u64>());
            prop_assert!(merged.0.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
