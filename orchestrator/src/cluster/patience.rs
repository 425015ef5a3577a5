//! How long a node that comes back is waited for: as long as it gets on, and never for ever.

use std::time::{Duration, Instant};

/// Longest time in which a node that comes back may get no further.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// Longest time in all: a node that executes fewer blocks than others decide gets on and never gets there.
const MOST: Duration = Duration::from_secs(10 * 60);

/// The patience that is left with one node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    began: Instant,
    quiet_since: Instant,
    best: u64,
}

impl Patience {
    /// It is waited for from `now` on.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            quiet_since: now,
            best: 0,
        }
    }

    /// It has so many blocks by now.
    pub(crate) fn saw(&mut self, now: Instant, blocks: u64) {
        if blocks > self.best {
            (self.best, self.quiet_since) = (blocks, now);
        }
    }

    /// Something else keeps it from getting on.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.quiet_since = now;
    }

    /// Why it is not waited for any longer, if so.
    pub(crate) fn over(&self, now: Instant) -> Option<String> {
        if now.duration_since(self.began) >= MOST {
            return Some(format!("not within {} s", MOST.as_secs()));
        }
        let quiet = now.duration_since(self.quiet_since) >= QUIET_MAX;
        quiet.then(|| format!("no further than height {} within {} s", self.best, QUIET_MAX.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gets_on_is_waited_for_and_nobody_for_ever() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut patience = Patience::new(began);
        assert_eq!(patience.over(at(59)), None);
        assert!(patience.over(at(60)).unwrap().contains("height 0 within 60 s"));
        patience.saw(at(50), 7);
        assert_eq!(patience.over(at(109)), None);
        // The same blocks again are no progress.
        patience.saw(at(100), 7);
        assert!(patience.over(at(110)).unwrap().contains("height 7"));
        patience.excuse(at(105));
        assert_eq!(patience.over(at(164)), None);
        (0..600).for_each(|second| patience.saw(at(second), 8 + second));
        assert_eq!(patience.over(at(599)), None);
        assert!(patience.over(at(600)).unwrap().contains("not within 600 s"));
    }
}
