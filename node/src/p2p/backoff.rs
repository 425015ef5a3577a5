//! When to dial a peer: who goes first, and how long to wait after a failure.

use rand::{Rng, RngExt as _};
use std::time::Duration;

/// First wait after a failure; doubled with each further one.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// How long the side that should be dialled waits before it dials itself.
const GRACE: Duration = Duration::from_secs(1);
/// The same when the node has just started: whoever would dial it and was there before it was refused, and tries again
/// only later.
const GRACE_AT_START: Duration = Duration::from_millis(200);
/// A link that lives this long makes up for earlier failures.
const STABLE: Duration = Duration::from_secs(10);

/// Waits for one peer.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    dials_first: bool,
    failures: u32,
    /// Nothing was tried yet.
    is_new: bool,
}

impl Backoff {
    /// Of two peers the one with the lower key dials first, so that most pairs connect only once.
    pub(super) fn new(dials_first: bool) -> Self {
        Self {
            dials_first,
            failures: 0,
            is_new: true,
        }
    }

    /// How long to wait before the next dial. The random part keeps peers from dialling in step.
    pub(super) fn wait(&self, rng: &mut impl Rng) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.clamp(1, 10) >> 1).min(LONGEST);
        let wait = if self.failures == 0 {
            Duration::ZERO
        } else {
            doubled.mul_f64(rng.random_range(0.5..1.0))
        };
        if self.dials_first {
            return wait;
        }
        let grace = if self.is_new { GRACE_AT_START } else { GRACE };
        grace.mul_f64(rng.random_range(1.0..1.5)) + wait
    }

    /// A dial or a handshake failed.
    pub(super) fn failed(&mut self) {
        self.is_new = false;
        self.failures = self.failures.saturating_add(1);
    }

    /// A link ended after this long.
    pub(super) fn ended(&mut self, lived: Duration) {
        self.is_new = false;
        self.failures = if lived >= STABLE {
            1
        } else {
            self.failures.saturating_add(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::seed;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut rng = seed::rng(1, "backoff");
        let mut backoff = Backoff::new(true);
        assert_eq!(backoff.wait(&mut rng), Duration::ZERO);
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            backoff.failed();
            let wait = backoff.wait(&mut rng).as_millis();
            assert!((expected / 2..=expected).contains(&wait), "{wait} for {expected}");
        }
        (0..2000).for_each(|_| backoff.failed());
        assert!(backoff.wait(&mut rng) <= LONGEST);
    }

    #[test]
    fn a_stable_link_makes_up_for_failures_and_a_short_one_does_not() {
        let mut rng = seed::rng(2, "backoff");
        let mut backoff = Backoff::new(true);
        (0..6).for_each(|_| backoff.failed());
        backoff.ended(Duration::from_secs(1));
        assert!(backoff.wait(&mut rng) > Duration::from_secs(2));
        backoff.ended(Duration::from_secs(60));
        assert!(backoff.wait(&mut rng) <= FIRST);
    }

    #[test]
    fn the_dialled_side_leaves_time_to_the_other() {
        let mut rng = seed::rng(3, "backoff");
        let mut backoff = Backoff::new(false);
        let wait = backoff.wait(&mut rng);
        assert!((GRACE_AT_START..GRACE).contains(&wait), "{wait:?}");
        backoff.failed();
        assert!(backoff.wait(&mut rng) >= GRACE);
        let mut backoff = Backoff::new(false);
        backoff.ended(STABLE);
        assert!(backoff.wait(&mut rng) >= GRACE);
    }
}
