//! Arrival schedules: when each transaction of an open-loop load leaves, made before the run.

use crate::{
    plan::{Plan, PlannedLoad},
    scenario::{ArrivalKind, Rate},
};
use rand::{RngExt, rngs::ChaCha8Rng};
use regatta_base::seed;

/// The schedule of `load` under the plan's `seed`: ascending nanoseconds after the start of the load.
///
/// Arrivals are the times t where the expected number of transactions up to t, the integral of the rate, meets
/// 0, 1, 2, ... (constant) or the points of a Poisson process of rate 1 (Poisson): exact for every rate that changes
/// in time (Çinlar, "Introduction to Stochastic Processes", 1975), without thinning.
#[must_use]
pub fn arrivals(load: &PlannedLoad, seed: u64) -> Arrivals {
    Arrivals {
        curve: Curve::new(&load.rate),
        poisson: load.arrivals == ArrivalKind::Poisson,
        rng: seed::rng(seed, &Plan::arrivals_label(load.index as usize)),
        expected: 0.0,
        first: true,
        end: load.duration_ms as f64 / 1e3,
    }
}

/// Expected number of transactions of `rate` in the first `seconds`.
#[must_use]
pub fn expected(rate: &Rate, seconds: f64) -> f64 {
    Curve::new(rate).count(seconds)
}

/// The times of one load's transactions; see [`arrivals`].
#[derive(Debug)]
pub struct Arrivals {
    curve: Curve,
    poisson: bool,
    rng: ChaCha8Rng,
    /// Expected count up to the last arrival.
    expected: f64,
    first: bool,
    /// Length of the load in seconds.
    end: f64,
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.poisson {
            // 1 - u lies in (0, 1], so that the logarithm is finite.
            self.expected -= (1.0 - self.rng.random::<f64>()).ln();
        } else if !self.first {
            self.expected += 1.0;
        }
        self.first = false;
        let seconds = self.curve.time(self.expected)?;
        (seconds < self.end).then_some((seconds * 1e9) as u64)
    }
}

/// A rate that goes from `from` to `to` in a straight line within `over` seconds and stays there.
#[derive(Debug, Clone, Copy)]
struct Curve {
    from: f64,
    to: f64,
    over: f64,
}

impl Curve {
    fn new(rate: &Rate) -> Self {
        match *rate {
            Rate::Constant(rate) => Self {
                from: rate,
                to: rate,
                over: 0.0,
            },
            Rate::Ramp { ramp: (from, to), over } => Self {
                from,
                to,
                over: over.seconds(),
            },
        }
    }

    /// The integral of the rate over the first `seconds`.
    fn count(&self, seconds: f64) -> f64 {
        let ramp = seconds.min(self.over);
        let slope = if self.over > 0.0 {
            (self.to - self.from) / self.over
        } else {
            0.0
        };
        self.from * ramp + slope * ramp * ramp / 2.0 + self.to * (seconds - ramp)
    }

    /// The time at which the integral reaches `count`; `None` when it never does.
    fn time(&self, count: f64) -> Option<f64> {
        let ramped = self.count(self.over);
        let seconds = if count < ramped {
            let slope = (self.to - self.from) / self.over;
            // The root of from t + slope t²/2 = count in the form that stays exact for small slopes.
            let root = (self.from * self.from + 2.0 * slope * count).max(0.0).sqrt();
            if count == 0.0 {
                0.0
            } else {
                2.0 * count / (self.from + root)
            }
        } else {
            self.over + (count - ramped) / self.to
        };
        seconds.is_finite().then_some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Duration;
    use proptest::prelude::*;

    fn load(arrivals: ArrivalKind, rate: Rate, duration_ms: u64) -> PlannedLoad {
        PlannedLoad {
            index: 0,
            instance: "main".into(),
            arrivals,
            rate,
            mix: Vec::new(),
            size: 512,
            targets: vec![0],
            senders: 64,
            timeout_ms: 1000,
            duration_ms,
            expected: 0,
            host: None,
        }
    }

    fn ramp(from: f64, to: f64, seconds: u64) -> Rate {
        Rate::Ramp {
            ramp: (from, to),
            over: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn constant_arrivals_are_equally_spaced() {
        let times: Vec<u64> = arrivals(&load(ArrivalKind::Constant, Rate::Constant(1000.0), 5), 1).collect();
        assert_eq!(times, [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]);
    }

    #[test]
    fn a_ramp_has_the_area_under_its_line() {
        let load = load(ArrivalKind::Constant, ramp(100.0, 300.0, 10), 20_000);
        let times: Vec<u64> = arrivals(&load, 1).collect();
        let until = |seconds: u64| times.iter().filter(|&&time| time < seconds * 1_000_000_000).count();
        assert_eq!((until(5), until(10), until(20)), (750, 2000, 5000));
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let times: Vec<u64> = arrivals(&load(ArrivalKind::Poisson, Rate::Constant(1000.0), 100_000), 7).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let above = gaps.iter().filter(|gap| **gap > 1.0).count() as f64 / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
        assert!((above - (-1.0_f64).exp()).abs() < 0.01, "{above}");
    }

    #[test]
    fn loads_and_seeds_have_streams_of_their_own() {
        let one = load(ArrivalKind::Poisson, Rate::Constant(100.0), 1000);
        let two = PlannedLoad {
            index: 1,
            ..one.clone()
        };
        let take = |load: &PlannedLoad, seed| arrivals(load, seed).collect::<Vec<_>>();
        assert_eq!(take(&one, 1), take(&one, 1));
        assert_ne!(take(&one, 1), take(&one, 2));
        assert_ne!(take(&one, 1), take(&two, 1));
    }

    #[test]
    fn a_rate_that_falls_to_zero_ends() {
        let load = load(ArrivalKind::Poisson, ramp(100.0, 0.0, 2), 60_000);
        assert!(arrivals(&load, 1).count() < 200);
    }

    proptest! {
        #[test]
        fn mean_rate_is_the_offered_rate(poisson: bool, from in 0.0..3000.0, to in 1.0..3000.0, over in 0_u64..8, seed: u64) {
            let kind = if poisson { ArrivalKind::Poisson } else { ArrivalKind::Constant };
            let load = load(kind, ramp(from, to, over), 5000);
            let times: Vec<u64> = arrivals(&load, seed).collect();
            let expected = expected(&load.rate, 5.0);
            // Six standard deviations of a Poisson count, and one for the rounding of a constant one.
            let tolerance = if poisson { 6.0 * expected.sqrt() + 6.0 } else { 1.0 };
            prop_assert!((times.len() as f64 - expected).abs() <= tolerance, "{} {}", times.len(), expected);
            prop_assert!(times.is_sorted() && times.iter().all(|&time| time < 5_000_000_000));
        }
    }
}
