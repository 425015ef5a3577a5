//! The statistics behind a summary: block resampling, MSER-5 and the Theil-Sen slope.

use crate::{histogram::rank, result::Estimate};
use rand::{Rng, RngExt};

/// Resamples for each interval; the interval's own noise is then about 3 % of its width.
pub(crate) const RESAMPLES: usize = 400;
/// Share left out at each end of an interval: 95 % intervals.
const TAIL: f64 = 0.025;
/// Standard normal deviations on each side of a 95 % interval.
const NORMAL_95: f64 = 1.96;
/// Observations in one MSER batch.
const MSER_BATCH: usize = 5;
/// Batches that must remain: the error of a shorter tail is small by chance, which would refuse every third level run.
const MSER_TAIL_MIN: usize = 10;
/// Fewer batches than this cannot show a warm-up.
const MSER_BATCHES_MIN: usize = 2 * MSER_TAIL_MIN;
/// Theil-Sen compares all pairs; longer series are thinned to this many points.
const SLOPE_POINTS_MAX: usize = 600;

/// Blocks needed before quantile `q` may be printed: 10 / (1 - q).
#[must_use]
pub(crate) fn blocks_needed(q: f64) -> u64 {
    debug_assert!((0.0..1.0).contains(&q), "no number of blocks tells the largest value");
    // Rounded first: 1 - 0.99 is slightly more than 0.01 in binary and would ask for one block less.
    (10.0 / (1.0 - q)).round() as u64
}

/// Quantiles of pooled values with intervals from resampling whole blocks.
pub(crate) struct BlockSample {
    /// (value, block, count), ascending by value.
    values: Vec<(u64, usize, u64)>,
    totals: Vec<u64>,
}

impl BlockSample {
    /// Pools the `(value, count)` lists of the blocks.
    pub(crate) fn new<'a>(blocks: impl IntoIterator<Item = &'a [(u64, u64)]>) -> Self {
        let mut values = Vec::new();
        let mut totals = Vec::new();
        for counts in blocks {
            let block = totals.len();
            values.extend(counts.iter().map(|&(value, count)| (value, block, count)));
            totals.push(counts.iter().map(|&(_, count)| count).sum());
        }
        values.sort_unstable();
        Self { values, totals }
    }

    /// One estimate for each of the ascending `quantiles`; `None` when nothing was recorded.
    ///
    /// Transactions of one block share its fate, so that resampling transactions would make intervals far too narrow:
    /// whole blocks are drawn with replacement instead.
    pub(crate) fn quantiles(&self, quantiles: &[f64], rng: &mut impl Rng) -> Option<Vec<Estimate>> {
        let point = self.weighted(quantiles, &vec![1; self.totals.len()])?;
        let mut resampled: Vec<Vec<f64>> = vec![Vec::with_capacity(RESAMPLES); quantiles.len()];
        for _ in 0..RESAMPLES {
            let weights = draw_weights(self.totals.len(), rng);
            let drawn = self.weighted(quantiles, &weights);
            for (column, value) in resampled.iter_mut().zip(drawn.into_iter().flatten()) {
                column.push(value);
            }
        }
        Some(
            point
                .iter()
                .zip(resampled)
                .map(|(&value, column)| interval(value, column))
                .collect(),
        )
    }

    /// Quantiles when block `i` counts `weights[i]` times: one pass over the sorted values.
    fn weighted(&self, quantiles: &[f64], weights: &[u64]) -> Option<Vec<f64>> {
        debug_assert!(quantiles.is_sorted(), "one pass finds ascending quantiles only");
        debug_assert_eq!(weights.len(), self.totals.len(), "one weight for each block");
        let total = self
            .totals
            .iter()
            .zip(weights)
            .map(|(total, weight)| total * weight)
            .sum();
        let mut targets = quantiles
            .iter()
            .map(|&q| rank(total, q))
            .collect::<Option<Vec<u64>>>()?
            .into_iter();
        let mut found = Vec::with_capacity(quantiles.len());
        let mut target = targets.next()?;
        let mut seen = 0;
        for &(value, block, count) in &self.values {
            seen += count * weights[block];
            while seen >= target {
                found.push(value as f64);
                match targets.next() {
                    Some(next) => target = next,
                    None => return Some(found),
                }
            }
        }
        None
    }
}

/// Sum of numerators over sum of denominators, with an interval from resampling the pairs.
pub(crate) fn ratio(pairs: &[(f64, f64)], rng: &mut impl Rng) -> Option<Estimate> {
    let total: f64 = pairs.iter().map(|pair| pair.1).sum();
    if total <= 0.0 {
        return None;
    }
    let value = pairs.iter().map(|pair| pair.0).sum::<f64>() / total;
    let mut resampled = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let (mut numerator, mut denominator) = (0.0, 0.0);
        for _ in 0..pairs.len() {
            let drawn = pairs[rng.random_range(0..pairs.len())];
            numerator += drawn.0;
            denominator += drawn.1;
        }
        if denominator > 0.0 {
            resampled.push(numerator / denominator);
        }
    }
    Some(interval(value, resampled))
}

/// How often each block is drawn when as many are drawn with replacement as there are.
fn draw_weights(blocks: usize, rng: &mut impl Rng) -> Vec<u64> {
    let mut weights = vec![0; blocks];
    for _ in 0..blocks {
        weights[rng.random_range(0..blocks)] += 1;
    }
    weights
}

/// The point estimate with the middle 95 % of the resampled ones.
fn interval(value: f64, mut resampled: Vec<f64>) -> Estimate {
    debug_assert!(
        resampled.iter().all(|drawn| drawn.is_finite()),
        "ratios have a denominator above zero"
    );
    resampled.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let index = rank(resampled.len() as u64, share).map_or(0, |rank| rank as usize - 1);
        resampled.get(index).copied().unwrap_or(value)
    };
    Estimate {
        value,
        low: at(TAIL),
        high: at(1.0 - TAIL),
    }
}

/// What MSER-5 says about the start of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WarmUp {
    /// Drop so many observations from the front.
    Cut(usize),
    /// The best cut exceeds half of the series: it never settled.
    Refused,
}

/// MSER-5 (White 1997): the cut that minimises the standard error of the mean of what is left, in batches of five.
pub(crate) fn mser5(series: &[f64]) -> WarmUp {
    let batches: Vec<f64> = series
        .chunks_exact(MSER_BATCH)
        .map(|batch| batch.iter().sum::<f64>() / MSER_BATCH as f64)
        .collect();
    if batches.len() < MSER_BATCHES_MIN {
        return WarmUp::Cut(0);
    }
    let (mut best, mut best_error) = (0, f64::INFINITY);
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (index, value) in batches.iter().enumerate().rev() {
        count += 1.0;
        sum += value;
        squares += value * value;
        let error = (squares - sum * sum / count).max(0.0) / (count * count);
        if count >= MSER_TAIL_MIN as f64 && error <= best_error {
            (best, best_error) = (index, error);
        }
    }
    if best * 2 > batches.len() {
        WarmUp::Refused
    } else {
        WarmUp::Cut(best * MSER_BATCH)
    }
}

/// The Theil-Sen slope: the median of the slopes between all pairs of points, with Sen's 95 % interval from the
/// variance of Kendall's statistic (Sen 1968); `None` for fewer than two points.
pub(crate) fn theil_sen(points: &[(f64, f64)]) -> Option<Estimate> {
    let step = points.len().div_ceil(SLOPE_POINTS_MAX).max(1);
    let thinned: Vec<(f64, f64)> = points.iter().step_by(step).copied().collect();
    let mut slopes = Vec::with_capacity(thinned.len() * thinned.len() / 2);
    for (index, a) in thinned.iter().enumerate() {
        let later = thinned[index + 1..].iter().filter(|b| b.0 != a.0);
        slopes.extend(later.map(|b| (b.1 - a.1) / (b.0 - a.0)));
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let (count, pairs) = (thinned.len() as f64, slopes.len() as f64);
    let spread = NORMAL_95 * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    let at = |place: f64| slopes.get(place.max(0.0) as usize).or(slopes.last()).copied();
    let value = median(slopes.clone())?;
    Some(Estimate {
        value,
        low: at((pairs - spread) / 2.0)?,
        high: at((pairs + spread) / 2.0)?,
    })
}

/// The median; the mean of the two middle values of an even number.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        f64::midpoint(values[middle - 1], upper)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_base::seed;

    fn sample(blocks: &[Vec<(u64, u64)>]) -> BlockSample {
        BlockSample::new(blocks.iter().map(Vec::as_slice))
    }

    #[test]
    fn blocks_needed_follows_the_rule() {
        assert_eq!([0.5, 0.9, 0.99, 0.999].map(blocks_needed), [20, 100, 1000, 10_000]);
    }

    #[test]
    fn equal_blocks_leave_no_uncertainty() {
        let blocks = vec![vec![(10, 90), (50, 10)]; 30];
        let found = sample(&blocks).quantiles(&[0.5, 0.99], &mut seed::rng(1, "t")).unwrap();
        assert_eq!(
            found[0],
            Estimate {
                value: 10.0,
                low: 10.0,
                high: 10.0
            }
        );
        assert_eq!(
            found[1],
            Estimate {
                value: 50.0,
                low: 50.0,
                high: 50.0
            }
        );
    }

    #[test]
    fn the_interval_of_a_median_covers_the_binomial_one() {
        // 101 blocks of one value each: the classical 95 % interval of the median is the 41st to the 61st value.
        let blocks: Vec<Vec<(u64, u64)>> = (1..=101).map(|value| vec![(value, 1)]).collect();
        let found = sample(&blocks).quantiles(&[0.5], &mut seed::rng(7, "t")).unwrap()[0];
        assert_eq!(found.value, 51.0);
        assert!((38.0..=44.0).contains(&found.low), "{found:?}");
        assert!((58.0..=64.0).contains(&found.high), "{found:?}");
    }

    #[test]
    fn blocks_not_transactions_are_drawn() {
        // One slow block among four holds half of all transactions: the median must be uncertain, however many there are.
        let blocks = vec![vec![(10, 1000)], vec![(10, 1000)], vec![(10, 1000)], vec![(900, 3000)]];
        let found = sample(&blocks).quantiles(&[0.6], &mut seed::rng(2, "t")).unwrap()[0];
        assert_eq!((found.low, found.high), (10.0, 900.0));
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let blocks: Vec<Vec<(u64, u64)>> = (0..40).map(|i| vec![(i * i, 3)]).collect();
        let run = |seed| {
            sample(&blocks)
                .quantiles(&[0.5, 0.9], &mut seed::rng(seed, "t"))
                .unwrap()
        };
        assert_eq!(run(3), run(3));
    }

    #[test]
    fn nothing_recorded_gives_nothing() {
        assert!(sample(&[]).quantiles(&[0.5], &mut seed::rng(1, "t")).is_none());
        assert!(
            sample(&[vec![], vec![]])
                .quantiles(&[0.5], &mut seed::rng(1, "t"))
                .is_none()
        );
        assert!(ratio(&[], &mut seed::rng(1, "t")).is_none());
    }

    #[test]
    fn ratio_is_total_over_total() {
        let found = ratio(&[(10.0, 1.0), (30.0, 3.0)], &mut seed::rng(1, "t")).unwrap();
        assert_eq!(
            found,
            Estimate {
                value: 10.0,
                low: 10.0,
                high: 10.0
            }
        );
        let spread = ratio(&[(0.0, 1.0), (100.0, 1.0), (50.0, 1.0)], &mut seed::rng(1, "t")).unwrap();
        assert!(spread.low < 50.0 && spread.high > 50.0);
    }

    #[test]
    fn mser_cuts_a_transient_and_spares_a_flat_series() {
        let wobble = |i: usize| (i % 3) as f64 + (i * 7 % 5) as f64 * 0.1;
        let flat: Vec<f64> = (0..200).map(wobble).collect();
        let WarmUp::Cut(spared) = mser5(&flat) else {
            panic!("a flat series has settled")
        };
        assert!(spared <= 50, "{spared}");
        let transient: Vec<f64> = (0..200).map(|i| wobble(i) + if i < 40 { 500.0 } else { 0.0 }).collect();
        let WarmUp::Cut(cut) = mser5(&transient) else {
            panic!("the transient is short")
        };
        assert!((40..=90).contains(&cut), "{cut}");
        let late: Vec<f64> = (0..200)
            .map(|i| wobble(i) + if i < 120 { i as f64 * 9.0 } else { 0.0 })
            .collect();
        assert_eq!(mser5(&late), WarmUp::Refused);
        assert_eq!(mser5(&[1.0, 900.0]), WarmUp::Cut(0));
    }

    #[test]
    fn the_slope_of_noise_includes_zero() {
        let noise: Vec<(f64, f64)> = (0..30).map(|i| (f64::from(i), f64::from(i * 7919 % 31))).collect();
        let slope = theil_sen(&noise).unwrap();
        assert!(slope.low < 0.0 && slope.high > 0.0, "{slope:?}");
    }

    #[test]
    fn mser_rarely_refuses_level_noise() {
        let mut refused = 0;
        for seed in 0..200 {
            let mut rng = seed::rng(seed, "level noise");
            let series: Vec<f64> = (0..150).map(|_| rng.random_range(0.0..1.0)).collect();
            refused += u32::from(mser5(&series) == WarmUp::Refused);
        }
        assert!(refused <= 20, "{refused} of 200");
    }

    #[test]
    fn theil_sen_ignores_outliers() {
        let mut points: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i), 3.0 * f64::from(i) + 1.0)).collect();
        points[10].1 = 1e9;
        points[40].1 = -1e9;
        let slope = theil_sen(&points).unwrap();
        assert!((slope.value - 3.0).abs() < 1e-9 && slope.low > 0.0, "{slope:?}");
        assert_eq!(theil_sen(&points[..1]), None);
        assert_eq!(theil_sen(&[(1.0, 2.0), (1.0, 5.0)]), None);
    }

    proptest! {
        #[test]
        fn an_interval_stays_inside_the_values(values in prop::collection::vec(1_u64..10_000, 1..40), seed in any::<u64>()) {
            let blocks: Vec<Vec<(u64, u64)>> = values.iter().map(|&value| vec![(value, 1)]).collect();
            let found = sample(&blocks).quantiles(&[0.5, 0.9], &mut seed::rng(seed, "p")).unwrap();
            let (least, most) = (*values.iter().min().unwrap() as f64, *values.iter().max().unwrap() as f64);
            for estimate in &found {
                prop_assert!(least <= estimate.low && estimate.low <= estimate.high && estimate.high <= most);
            }
            prop_assert!(found[0].value <= found[1].value);
        }

        #[test]
        fn median_splits_the_values(values in prop::collection::vec(-1e6_f64..1e6, 1..50)) {
            let middle = median(values.clone()).unwrap();
            let below = values.iter().filter(|&&value| value < middle).count();
            let above = values.iter().filter(|&&value| value > middle).count();
            prop_assert!(below * 2 <= values.len() && above * 2 <= values.len());
        }
    }
}
