//! The node's clock: milliseconds since it started, on the monotonic clock of the system.
//!
//! Nothing in a node asks for the time of day, so that a host whose calendar is wrong or jumps changes nothing.
//! What is left to go wrong is the speed, and the value at the start means nothing; tests set both.

use regatta_api::testing::ClockConfig;
use regatta_core::Time;
use std::time::{Duration, Instant};

/// Reads the time, and says when a time will have come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
    config: ClockConfig,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start(config: ClockConfig) -> Self {
        Self {
            started: Instant::now(),
            config,
        }
    }

    pub(super) fn now(&self) -> Time {
        self.at(self.started.elapsed())
    }

    fn at(&self, elapsed: Duration) -> Time {
        let own = elapsed.as_millis() * u128::from(self.config.rate_permille) / 1000;
        self.config.offset_ms.saturating_add(own as Time)
    }

    /// The first moment at which [`Clock::now`] is `at` or more.
    pub(super) fn moment(&self, at: Time) -> Instant {
        let own = u128::from(at.saturating_sub(self.config.offset_ms));
        let right = (own * 1000).div_ceil(u128::from(self.config.rate_permille));
        self.started + Duration::from_millis(right as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_moment_is_when_the_time_has_come_and_not_later(
            offset_ms in 0u64..1 << 40,
            rate_permille in ClockConfig::RATE_PERMILLE,
            after in 0u64..1 << 32,
        ) {
            let clock = Clock::start(ClockConfig { offset_ms, rate_permille });
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
        let clock = Clock::start(ClockConfig {
            offset_ms: hour,
            rate_permille: 1500,
        });
        assert_eq!(clock.at(Duration::from_secs(2)), hour + 3000);
        assert!(clock.now() >= hour);
    }
}
