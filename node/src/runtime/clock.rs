//! The node's clock: milliseconds since it started, on the monotonic clock of the system.
//!
//! Nothing in a node asks for the time of day, so that a host whose calendar is wrong or jumps changes nothing.
//! What is left to go wrong is the speed, and the value at the start means nothing; tests set both.

use crate::trouble::Trouble;
use regatta_api::testing::ClockConfig;
use regatta_core::Time;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Reads the time, and says when a time will have come.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    config: ClockConfig,
    trouble: Arc<Trouble>,
    /// The highest time that was read: a clock that is set back stands still until then.
    read: AtomicU64,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start(config: ClockConfig, trouble: Arc<Trouble>) -> Self {
        Self {
            started: Instant::now(),
            config,
            trouble,
            read: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Time {
        let now = self.at(self.started.elapsed());
        self.read.fetch_max(now, Ordering::Relaxed).max(now)
    }

    fn at(&self, elapsed: Duration) -> Time {
        let own = elapsed.as_millis() * u128::from(self.config.rate_permille) / 1000;
        self.offset_ms().saturating_add(own as Time)
    }

    fn offset_ms(&self) -> u64 {
        self.config.offset_ms.saturating_add(self.trouble.ahead_ms())
    }

    /// The first moment at which [`Clock::now`] is `at` or more.
    pub(super) fn moment(&self, at: Time) -> Instant {
        let own = u128::from(at.saturating_sub(self.offset_ms()));
        let right = (own * 1000).div_ceil(u128::from(self.config.rate_permille));
        self.started + Duration::from_millis(right as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_api::testing::NodeFaults;

    proptest! {
        #[test]
        fn a_moment_is_when_the_time_has_come_and_not_later(
            offset_ms in 0u64..1 << 40,
            rate_permille in ClockConfig::RATE_PERMILLE,
            after in 0u64..1 << 32,
        ) {
            let clock = Clock::start(ClockConfig { offset_ms, rate_permille }, Arc::default());
            let at = offset_ms + after;
            let waited = clock.moment(at) - clock.started;
            prop_assert!(clock.at(waited) >= at);
            let before = waited.saturating_sub(Duration::from_millis(1));
            prop_assert!(after == 0 || clock.at(before) < at);
        }
    }

    #[test]
    fn an_offset_and_a_rate_show_in_the_reading() {
        let hour = 3_600_000;
        let config = ClockConfig {
            offset_ms: hour,
            rate_permille: 1500,
        };
        let clock = Clock::start(config, Arc::default());
        assert_eq!(clock.at(Duration::from_secs(2)), hour + 3000);
        assert!(clock.now() >= hour);
    }

    #[test]
    fn a_clock_that_is_set_back_stands_still_until_the_time_has_come() {
        let trouble = Arc::new(Trouble::default());
        let clock = Clock::start(ClockConfig::default(), Arc::clone(&trouble));
        trouble.set(&NodeFaults {
            clock_ahead_ms: 1 << 40,
            ..NodeFaults::default()
        });
        let ahead = clock.now();
        assert!(ahead >= 1 << 40);
        assert!(clock.moment(1 << 40) <= Instant::now(), "what was due later is due now");
        trouble.set(&NodeFaults::default());
        assert_eq!(clock.now(), ahead);
        assert!(clock.moment(ahead + 1) > Instant::now());
    }
}
