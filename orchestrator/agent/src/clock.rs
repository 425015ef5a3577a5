//! The host's monotonic clock.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Microseconds of the monotonic clock, which all processes of this host share and nobody sets.
pub(crate) fn now_us() -> u64 {
    // Cannot fail: every Linux has this clock.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Waits until the monotonic clock says `at_us`.
pub(crate) async fn sleep_until_us(at_us: u64) {
    tokio::time::sleep(Duration::from_micros(at_us.saturating_sub(now_us()))).await;
}
