//! Whether somebody sets a host's clock while a load runs: its wall clock compared with its monotonic one.
//!
//! Latencies are taken by the monotonic clock, which nobody can set. A wall clock that steps is told all the same: it says
//! that the host slept, or that somebody works on it, and stamps in its logs no longer compare with those of others.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Less than this is no step: how far stamps that are taken one after the other lie apart on a busy machine.
const TOLERANCE_NS: u64 = 10_000_000;
/// A wall clock that is slewed runs at most so much faster or slower, in parts of a million.
const SLEW_PPM: u64 = 1_000;
/// Stamps between which the thread was away for longer than this prove nothing.
const BETWEEN_NS_MAX: u64 = 2_000_000;
/// Steps that are told one by one.
const STEPS_MAX: usize = 8;

/// What both clocks of a host showed, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// The monotonic clock.
    pub(crate) before_ns: u64,
    /// The wall clock, right after.
    pub(crate) wall_ns: u64,
    /// The monotonic clock again.
    pub(crate) after_ns: u64,
}

impl Stamps {
    /// As they are now.
    pub(crate) fn now() -> Self {
        Self {
            before_ns: nanos(ClockId::CLOCK_MONOTONIC),
            wall_ns: nanos(ClockId::CLOCK_REALTIME),
            after_ns: nanos(ClockId::CLOCK_MONOTONIC),
        }
    }
}

fn nanos(clock: ClockId) -> u64 {
    // Cannot fail: every Linux has these clocks.
    let now = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// A wall clock that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockStep {
    /// By how much, in nanoseconds; forward is positive.
    pub(crate) by_ns: i128,
    /// When it was noticed, on the monotonic clock.
    pub(crate) at_ns: u64,
}

/// Looks at the clocks of a host from time to time.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    /// First look.
    began_ns: Option<u64>,
    /// The wall clock beyond the monotonic one at the last look, and when that was.
    last: Option<(i128, u64)>,
    steps: Vec<ClockStep>,
    /// Steps beyond those that are kept.
    more: u64,
}

impl ClockWatch {
    /// Takes a look.
    pub(crate) fn look(&mut self, stamps: Stamps) {
        debug_assert!(stamps.before_ns <= stamps.after_ns, "{stamps:?}");
        let between = stamps.after_ns.saturating_sub(stamps.before_ns);
        if between > BETWEEN_NS_MAX {
            return;
        }
        let at_ns = stamps.before_ns + between / 2;
        let beyond = i128::from(stamps.wall_ns) - i128::from(at_ns);
        self.began_ns.get_or_insert(at_ns);
        if let Some((before, then_ns)) = self.last.replace((beyond, at_ns)) {
            let slewed = at_ns.saturating_sub(then_ns).saturating_mul(SLEW_PPM) / 1_000_000;
            let by_ns = beyond - before;
            if by_ns.unsigned_abs() > u128::from(TOLERANCE_NS.saturating_add(slewed)) {
                self.stepped(ClockStep { by_ns, at_ns });
            }
        }
    }

    fn stepped(&mut self, step: ClockStep) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(step);
        } else {
            self.more += 1;
        }
    }

    /// The steps in words; none when the clock was left alone.
    pub(crate) fn told(&self) -> Option<String> {
        let began_ns = self.began_ns.unwrap_or_default();
        let text = |step: &ClockStep| {
            let after_s = step.at_ns.saturating_sub(began_ns) as f64 / 1e9;
            format!("by {:+.3} s after {after_s:.1} s of the load", step.by_ns as f64 / 1e9)
        };
        let mut all: Vec<String> = self.steps.iter().map(text).collect();
        if self.more > 0 {
            all.push(format!("and {} times more", self.more));
        }
        (!all.is_empty()).then(|| all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// A clock that shows `wall_ns` when the monotonic one shows `at_ns`, read within `between_ns`.
    fn stamps(at_ns: u64, wall_ns: u64, between_ns: u64) -> Stamps {
        Stamps {
            before_ns: at_ns - between_ns / 2,
            wall_ns,
            after_ns: at_ns - between_ns / 2 + between_ns,
        }
    }

    #[test]
    fn a_clock_that_is_set_in_mid_run_is_told_with_time_and_size() {
        let mut watch = ClockWatch::default();
        let ahead = 1_700_000_000 * SECOND;
        for second in 1..=4 {
            watch.look(stamps(second * SECOND, ahead + second * SECOND, 200));
        }
        assert_eq!(watch.told(), None);
        // Three seconds back, and one and a half forward later.
        for second in 5..=9 {
            watch.look(stamps(second * SECOND, ahead + (second - 3) * SECOND, 200));
        }
        watch.look(stamps(10 * SECOND, ahead + 8 * SECOND + SECOND / 2, 200));
        assert_eq!(
            watch.told().as_deref(),
            Some("by -3.000 s after 4.0 s of the load, by +1.500 s after 9.0 s of the load")
        );
    }

    #[test]
    fn what_was_read_while_the_thread_was_away_proves_nothing() {
        let mut watch = ClockWatch::default();
        watch.look(stamps(SECOND, SECOND, 200));
        watch.look(stamps(2 * SECOND, 2 * SECOND + SECOND / 5, SECOND / 2));
        watch.look(stamps(3 * SECOND, 3 * SECOND, 200));
        assert_eq!(watch.told(), None);
    }

    #[test]
    fn steps_without_end_take_no_memory_without_end() {
        let mut watch = ClockWatch::default();
        for look in 1..=1000 {
            watch.look(stamps(look * SECOND, look * 2 * SECOND, 200));
        }
        assert_eq!(watch.steps.len(), STEPS_MAX);
        assert!(watch.told().unwrap().ends_with("and 991 times more"));
    }

    #[test]
    fn the_clocks_of_this_machine_can_be_read() {
        let (first, second) = (Stamps::now(), Stamps::now());
        assert!(first.before_ns > 0 && first.wall_ns > 0 && first.after_ns <= second.before_ns);
    }

    proptest! {
        #[test]
        fn a_clock_that_is_only_slewed_is_left_alone(
            gaps in proptest::collection::vec((1_u64..10_000, -500_i64..500, 0_u64..1000), 1..50),
        ) {
            let (mut watch, mut at, mut wall) = (ClockWatch::default(), SECOND, 1_i128 << 60);
            for (ms, ppm, between) in gaps {
                let gap = ms * 1_000_000;
                at += gap;
                wall += i128::from(gap) + i128::from(gap) * i128::from(ppm) / 1_000_000;
                watch.look(stamps(at, u64::try_from(wall).unwrap(), between * 2));
            }
            prop_assert_eq!(watch.told(), None);
        }
    }
}
