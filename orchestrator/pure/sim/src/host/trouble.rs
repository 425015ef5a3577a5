//! What tests make of a host's clock and disk.

use super::Host;
use crate::{MILLISECOND, Nanos};
use regatta_core::Time;

/// What is wrong with a host, as long as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Its clock is ahead by so many milliseconds. One that is set back stands still until the time has come again.
    pub ahead_ms: u64,
    /// Each flush takes so many nanoseconds more.
    pub flush_ns: Nanos,
    /// There is no room for the journal: what is to be durable waits until there is.
    pub disk_full: bool,
}

impl Host {
    /// The time on the host's own clock.
    pub(crate) fn time(&mut self, now: Nanos) -> Time {
        self.clock_read = self.clock_read.max(now / MILLISECOND + self.trouble.ahead_ms);
        self.clock_read
    }

    /// When the host's clock shows `at`, if nothing is done to it until then.
    pub(crate) fn moment(&self, at: Time) -> Nanos {
        at.saturating_sub(self.trouble.ahead_ms) * MILLISECOND
    }
}
