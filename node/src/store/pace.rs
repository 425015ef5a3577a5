//! How long the device takes for what is written: counted, told, and the reason to leave the node's own thread.

use crate::meter::Meter;
use regatta_api::metrics::Metric;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// A write that takes so long is a device that stalls. A copy into the page cache takes microseconds, and whoever held the
/// node up for so long can be felt by its neighbours and clients.
pub(super) const SLOW_WRITE: Duration = Duration::from_millis(50);
/// Between two lines about slow writes.
const WARNING_PAUSE: Duration = Duration::from_secs(10);

/// What was seen of the device.
#[derive(Debug)]
pub(super) struct Pace {
    meter: Arc<Meter>,
    longest: Duration,
    warned: Option<Instant>,
}

impl Pace {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        Self {
            meter,
            longest: Duration::ZERO,
            warned: None,
        }
    }

    /// Whether the device has stalled since the start.
    pub(super) fn has_stalled(&self) -> bool {
        self.longest >= SLOW_WRITE
    }

    /// A write took so long.
    pub(super) fn note(&mut self, took: Duration, dir: &Path) {
        if took > self.longest {
            self.longest = took;
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.meter.set(Metric::JournalWriteLongest, micros);
        }
        if took < SLOW_WRITE {
            return;
        }
        self.meter.add(Metric::JournalWritesSlow, 1);
        if self.warned.is_none_or(|at| at.elapsed() >= WARNING_PAUSE) {
            self.warned = Some(Instant::now());
            let (dir, ms) = (dir.display().to_string(), took.as_millis() as u64);
            tracing::warn!(
                dir,
                ms,
                "a slow write of the journal; help: see what else keeps its device busy"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_write_is_kept_and_slow_ones_are_counted() {
        let meter = Arc::new(Meter::default());
        let mut pace = Pace::new(Arc::clone(&meter));
        pace.note(Duration::from_micros(300), Path::new("data"));
        assert!(!pace.has_stalled());
        pace.note(SLOW_WRITE, Path::new("data"));
        pace.note(Duration::from_micros(20), Path::new("data"));
        assert!(pace.has_stalled());
        assert_eq!(meter.get(Metric::JournalWriteLongest), 50_000);
        assert_eq!(meter.get(Metric::JournalWritesSlow), 1);
    }
}
