//! Bounds between the clocks of two machines, from messages between them and nothing else.
//!
//! A message takes no negative time. So from an exchange `sent -> received, answered -> returned` the difference of the
//! clocks lies in `[answered - returned, received - sent]`, whichever way the time was spent. Every exchange can only
//! narrow it; when nothing is left, a clock has stepped. The bounds are hard, and are never clamped.

/// The bounds contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clocks differ by at least {low_us} µs and at most {high_us} µs: one of them has stepped")]
pub struct ClockStepped {
    /// Lower bound in microseconds.
    pub low_us: i64,
    /// Upper bound in microseconds.
    pub high_us: i64,
}

/// By how much a host's clock is ahead of the lab's, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockBounds {
    /// At least.
    pub low_us: i64,
    /// At most.
    pub high_us: i64,
}

/// `a - b`, at the ends of what fits.
fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

impl ClockBounds {
    /// What is known before the first exchange: nothing.
    pub const UNKNOWN: Self = Self {
        low_us: i64::MIN,
        high_us: i64::MAX,
    };

    /// Narrows the bounds by one exchange: sent and returned by the lab's clock, received and answered by the host's.
    ///
    /// # Errors
    /// [`ClockStepped`] when it contradicts what was known.
    pub fn observe(
        self,
        sent_us: u64,
        received_us: u64,
        answered_us: u64,
        returned_us: u64,
    ) -> Result<Self, ClockStepped> {
        let low_us = self.low_us.max(difference(answered_us, returned_us));
        let high_us = self.high_us.min(difference(received_us, sent_us));
        if low_us <= high_us {
            Ok(Self { low_us, high_us })
        } else {
            Err(ClockStepped { low_us, high_us })
        }
    }

    /// Half the distance between the bounds, in microseconds.
    #[must_use]
    pub fn half_width_us(self) -> u64 {
        self.high_us.abs_diff(self.low_us) / 2
    }

    /// The middle of the bounds, in microseconds.
    #[must_use]
    pub fn middle_us(self) -> i64 {
        let middle = i128::midpoint(i128::from(self.low_us), i128::from(self.high_us));
        i64::try_from(middle).unwrap_or_default()
    }

    /// The host's time that most likely is the lab's time `lab_us`, in microseconds.
    #[must_use]
    pub fn to_host(self, lab_us: u64) -> u64 {
        lab_us.saturating_add_signed(self.middle_us())
    }

    /// The lab's time that most likely is the host's time `host_us`, in microseconds.
    #[must_use]
    pub fn to_lab(self, host_us: u64) -> u64 {
        host_us.saturating_add_signed(self.middle_us().saturating_neg())
    }

    /// By how much the clock of `other` is ahead of this one's, from what the lab knows of both.
    #[must_use]
    pub fn between(self, other: Self) -> Self {
        Self {
            low_us: other.low_us.saturating_sub(self.high_us),
            high_us: other.high_us.saturating_sub(self.low_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_step_of_a_clock_is_noticed() {
        let bounds = ClockBounds::UNKNOWN.observe(1000, 5040, 5050, 1100).unwrap();
        assert_eq!((bounds.low_us, bounds.high_us), (3950, 4040));
        assert_eq!((bounds.middle_us(), bounds.half_width_us()), (3995, 45));
        assert!(bounds.observe(2000, 9000, 9010, 2100).is_err());
    }

    #[test]
    fn two_hosts_are_compared_through_the_lab() {
        let a = ClockBounds {
            low_us: 10,
            high_us: 20,
        };
        let b = ClockBounds {
            low_us: 100,
            high_us: 130,
        };
        assert_eq!(
            a.between(b),
            ClockBounds {
                low_us: 80,
                high_us: 120
            }
        );
    }

    proptest! {
        #[test]
        fn the_truth_lies_within(
            ahead in -1_000_000_i64..1_000_000,
            exchanges in proptest::collection::vec((0_u64..5000, 0_u64..5000, 0_u64..5000), 1..30),
        ) {
            let mut bounds = ClockBounds::UNKNOWN;
            let mut now = 10_000_000_u64;
            for (there, work, back) in exchanges {
                let host = |lab: u64| lab.saturating_add_signed(ahead);
                bounds = bounds.observe(now, host(now + there), host(now + there + work), now + there + work + back).unwrap();
                now += there + work + back;
            }
            prop_assert!(bounds.low_us <= ahead && ahead <= bounds.high_us);
            prop_assert!(bounds.to_lab(bounds.to_host(now)) == now);
        }

        #[test]
        fn any_stamps_are_taken(stamps in any::<(u64, u64, u64, u64)>()) {
            if let Ok(bounds) = ClockBounds::UNKNOWN.observe(stamps.0, stamps.1, stamps.2, stamps.3) {
                let _ = (bounds.half_width_us(), bounds.middle_us(), bounds.to_host(stamps.0), bounds.between(bounds));
            }
        }
    }
}
