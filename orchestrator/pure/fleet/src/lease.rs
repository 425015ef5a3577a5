//! The lease of a run: how long its nodes may go on without word from the lab.

use crate::limits::{LEASE_MS_MAX, LEASE_MS_MIN};

/// A lease by the agent's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    until_us: u64,
}

impl Lease {
    /// A lease of `lease_ms` from `now_us` on, within the limits.
    #[must_use]
    pub fn new(now_us: u64, lease_ms: u64) -> Self {
        let lease_us = lease_ms.clamp(LEASE_MS_MIN, LEASE_MS_MAX) * 1000;
        Self {
            until_us: now_us.saturating_add(lease_us),
        }
    }

    /// Lets it last `lease_ms` from `now_us` on, which may also be shorter than before. One that has ended stays so, and
    /// the answer is false: its nodes are being stopped.
    #[must_use]
    pub fn renew(&mut self, now_us: u64, lease_ms: u64) -> bool {
        let lives = !self.has_ended(now_us);
        if lives {
            *self = Self::new(now_us, lease_ms);
        }
        lives
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(self, now_us: u64) -> bool {
        now_us >= self.until_us
    }

    /// Microseconds until it ends; 0 when it has.
    #[must_use]
    pub fn left_us(self, now_us: u64) -> u64 {
        self.until_us.saturating_sub(now_us)
    }

    /// How often the lab should renew a lease of `lease_ms`, in milliseconds: three attempts may fail.
    #[must_use]
    pub fn renewal_ms(lease_ms: u64) -> u64 {
        lease_ms.clamp(LEASE_MS_MIN, LEASE_MS_MAX) / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lease_that_has_ended_is_not_renewed() {
        let mut lease = Lease::new(0, 5000);
        assert!(lease.renew(4_999_999, 5000));
        assert_eq!(lease.left_us(4_999_999), 5_000_000);
        assert!(!lease.has_ended(9_999_998) && lease.has_ended(9_999_999));
        assert!(!lease.renew(9_999_999, 5000) && lease.has_ended(9_999_999));
    }

    #[test]
    fn a_lease_has_limits() {
        assert_eq!(Lease::new(0, 0).left_us(0), LEASE_MS_MIN * 1000);
        assert_eq!(Lease::new(0, u64::MAX).left_us(0), LEASE_MS_MAX * 1000);
    }

    proptest! {
        #[test]
        fn it_has_ended_exactly_when_nothing_is_left(start in any::<u64>(), ms in any::<u64>(), now in any::<u64>()) {
            let lease = Lease::new(start, ms);
            prop_assert_eq!(lease.has_ended(now), lease.left_us(now) == 0);
        }

        #[test]
        fn renewed_in_time_it_never_ends(ms in LEASE_MS_MIN..LEASE_MS_MAX, rounds in 1_u64..50) {
            let mut lease = Lease::new(0, ms);
            let step = Lease::renewal_ms(ms) * 1000;
            for round in 1..=rounds {
                prop_assert!(lease.renew(round * step, ms));
            }
        }
    }
}
