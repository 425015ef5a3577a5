//! What tests make of a running node's own clock and disk: switches that the clock and the journal's thread look at.

use regatta_api::testing::NodeFaults;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// The faults of a node that are on; none unless tests order them.
#[derive(Debug, Default)]
pub struct Trouble {
    ahead_ms: AtomicU64,
    disk_full: AtomicBool,
    flush_delay_us: AtomicU64,
}

impl Trouble {
    /// Makes exactly these faults.
    pub(crate) fn set(&self, faults: &NodeFaults) {
        self.ahead_ms.store(faults.clock_ahead_ms, Ordering::Relaxed);
        self.disk_full.store(faults.disk_full, Ordering::Relaxed);
        self.flush_delay_us.store(faults.flush_delay_us, Ordering::Relaxed);
    }

    /// How far the clock is ahead, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> u64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Whether a write finds no room.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    /// How much longer each flush takes.
    pub(crate) fn flush_delay(&self) -> Duration {
        Duration::from_micros(self.flush_delay_us.load(Ordering::Relaxed))
    }
}
