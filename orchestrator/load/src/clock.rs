//! The one clock of a run: monotonic nanoseconds since its origin.

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep},
};
use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_MONOTONIC` since the run's origin. Copies share the origin.
///
/// Every stamp of a process comes from this one clock of its machine; generators elsewhere get the run's origin on theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunClock {
    origin_ns: u64,
}

impl RunClock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin_ns: Self::monotonic_ns(),
        }
    }

    /// A clock whose origin is when this host's `CLOCK_MONOTONIC` showed, or would have shown, `origin_ns`.
    #[must_use]
    pub fn with_origin(origin_ns: u64) -> Self {
        Self { origin_ns }
    }

    /// Nanoseconds of this host's `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn monotonic_ns() -> u64 {
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux kernel has CLOCK_MONOTONIC");
        // Positive since boot and below 2^63 ns for 292 years.
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub fn now_ns(self) -> u64 {
        Self::monotonic_ns().saturating_sub(self.origin_ns)
    }

    /// What this host's `CLOCK_MONOTONIC` shows, in nanoseconds, `at_ms` milliseconds after the origin.
    #[must_use]
    pub fn monotonic_at(self, at_ms: u64) -> u64 {
        self.origin_ns.saturating_add(at_ms.saturating_mul(1_000_000))
    }

    /// Whole milliseconds since the origin.
    #[must_use]
    pub fn now_ms(self) -> u64 {
        self.now_ns() / 1_000_000
    }

    /// Blocks this thread until `at_ns` after the origin; returns at once when that has passed.
    ///
    /// Sleeps to an absolute time, so that neither preemption before the call nor a signal during it adds up.
    pub fn sleep_until(self, at_ns: u64) {
        let absolute = self.origin_ns.saturating_add(at_ns);
        let time = TimeSpec::new((absolute / 1_000_000_000) as i64, (absolute % 1_000_000_000) as i64);
        while self.now_ns() < at_ns {
            // An error is a signal: sleep on to the same instant.
            let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_ends_after_the_instant_and_never_before() {
        let clock = RunClock::start();
        let until = clock.now_ns() + 2_000_000;
        clock.sleep_until(until);
        let woke = clock.now_ns();
        assert!(woke >= until);
        clock.sleep_until(0);
        assert!(clock.now_ms() >= 2);
    }
}
