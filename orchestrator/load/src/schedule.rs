//! The arrival schedule, its phases, and how it is cut into runs that share a target and a request.

use crate::{LoadError, LoadSpec, spec::TRANSACTIONS_MAX};
use regatta_plan::scenario::Rate;
use std::sync::Arc;

/// Peak rate above which requests are paced coarser, in transactions per second.
const COARSE_ABOVE: f64 = 10_000.0;
/// Longest wait of a due transaction for others of its run, up to [`COARSE_ABOVE`] and beyond it, in nanoseconds.
///
/// A request costs both sides tens of microseconds and several wake-ups, a transaction in it about one: at most 2,000
/// requests a second are made, above 10,000 transactions a second 500. The lag that this adds stays well below the
/// 5 ms that a valid run may have.
const TICK_NS: (u64, u64) = (500_000, 2_000_000);

/// In which phase a transaction was intended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadPhase {
    /// Before the window.
    Warmup,
    /// In the window.
    Measure,
    /// After it.
    Cooldown,
}

/// Intended times of all transactions. Clones share them.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Nanoseconds after the start of the load, ascending.
    pub intended: Arc<[u64]>,
    /// Consecutive transactions that go to one target, at least 1.
    pub run: usize,
    /// Longest wait of a due transaction for the rest of its run, in nanoseconds.
    pub tick_ns: u64,
    window_ns: (u64, u64),
}

impl Schedule {
    /// Makes the schedule of `spec`.
    ///
    /// # Errors
    /// [`LoadError::TooMany`]
    pub fn new(spec: &LoadSpec) -> Result<Self, LoadError> {
        let intended: Vec<u64> = regatta_plan::arrivals(&spec.load, spec.seed)
            .take(TRANSACTIONS_MAX + 1)
            .collect();
        if intended.len() > TRANSACTIONS_MAX {
            return Err(LoadError::TooMany {
                load: spec.load.index,
                count: intended.len(),
                max: TRANSACTIONS_MAX,
            });
        }
        let peak = match spec.load.rate {
            Rate::Constant(rate) => rate,
            Rate::Ramp { ramp: (from, to), .. } => from.max(to),
        };
        let tick_ns = if peak > COARSE_ABOVE { TICK_NS.1 } else { TICK_NS.0 };
        let (start, end) = spec.phases.window_ms();
        Ok(Self {
            intended: intended.into(),
            run: ((peak * tick_ns as f64 / 1e9) as usize).max(1),
            tick_ns,
            window_ns: (start * 1_000_000, end * 1_000_000),
        })
    }

    /// Number of transactions.
    pub fn count(&self) -> usize {
        self.intended.len()
    }

    /// In which phase transaction `index` was intended.
    pub fn phase(&self, index: usize) -> LoadPhase {
        let at = self.intended[index];
        if at < self.window_ns.0 {
            LoadPhase::Warmup
        } else if at < self.window_ns.1 {
            LoadPhase::Measure
        } else {
            LoadPhase::Cooldown
        }
    }

    /// When to wake for transaction `next`: when the run that begins with it is due, or after one tick.
    pub fn wake_ns(&self, next: usize) -> u64 {
        let last = (next + self.run).min(self.intended.len()) - 1;
        self.intended[last].min(self.intended[next] + self.tick_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::spec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waking_by_the_schedule_reaches_its_end(rate in 1.0f64..50_000.0, length in 1u64..300) {
            let schedule = Schedule::new(&spec(rate, length)).unwrap();
            let (mut next, mut wakes) = (0, 0usize);
            while next < schedule.count() {
                let now = schedule.wake_ns(next);
                let due = schedule.intended[next..].partition_point(|&at| at <= now);
                prop_assert!(due >= 1);
                next += due;
                wakes += 1;
            }
            // Never more often than once a tick and once a run.
            prop_assert!(wakes <= schedule.count().div_ceil(schedule.run) + (length * 1_000_000 / schedule.tick_ns) as usize + 1);
        }
    }

    #[test]
    fn more_transactions_than_can_be_accounted_for_are_refused() {
        let error = Schedule::new(&spec(1e9, 200)).unwrap_err();
        assert!(
            matches!(
                error,
                LoadError::TooMany {
                    max: TRANSACTIONS_MAX,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn phases_follow_the_intended_time() {
        let mut spec = spec(1000.0, 3000);
        spec.phases.warmup_ms = 1000;
        spec.phases.measure_ms = 1000;
        let schedule = Schedule::new(&spec).unwrap();
        assert_eq!(schedule.count(), 3000);
        let count = |phase| (0..3000).filter(|&i| schedule.phase(i) == phase).count();
        assert_eq!(count(LoadPhase::Warmup), 1000);
        assert_eq!(count(LoadPhase::Measure), 1000);
        assert_eq!(count(LoadPhase::Cooldown), 1000);
    }

    #[test]
    fn nobody_waits_longer_than_a_tick_for_the_rest_of_a_run() {
        for rate in [100.0, 5_000.0, 80_000.0] {
            let schedule = Schedule::new(&spec(rate, 200)).unwrap();
            assert!(schedule.run as f64 <= (rate / 500.0).max(1.0), "{rate}");
            for next in 0..schedule.count() {
                let wait = schedule.wake_ns(next) - schedule.intended[next];
                assert!(wait <= schedule.tick_ns, "{wait} at {rate}");
            }
        }
    }
}
