//! How far another host's clock may be from the run's, from questions and answers alone.

/// Bounds on what the other clock shows when the run's clock shows zero, in nanoseconds.
///
/// Each question that was asked at `a` and answered at `b` on the run's clock, received at `r` and answered at `s` on
/// the other one, proves `s - b <= offset <= r - a`: nothing arrives before it is sent. The bounds are intersected and
/// never averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockBound {
    low_ns: i128,
    high_ns: i128,
}

impl ClockBound {
    /// What one question proves.
    #[must_use]
    pub fn of(asked_ns: u64, received_ns: u64, sent_ns: u64, answered_ns: u64) -> Self {
        Self {
            low_ns: i128::from(sent_ns) - i128::from(answered_ns),
            high_ns: i128::from(received_ns) - i128::from(asked_ns),
        }
    }

    /// What both prove together; none when they contradict each other, which proves that a clock was set or runs at
    /// another speed.
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self {
            low_ns: self.low_ns.max(other.low_ns),
            high_ns: self.high_ns.min(other.high_ns),
        };
        (both.low_ns <= both.high_ns).then_some(both)
    }

    /// The middle of the bounds; none when the other host was not up yet at the run's origin.
    #[must_use]
    pub fn origin_ns(self) -> Option<u64> {
        u64::try_from(i128::midpoint(self.low_ns, self.high_ns)).ok()
    }

    /// Largest error of [`ClockBound::origin_ns`].
    #[must_use]
    pub fn half_width_ns(self) -> u64 {
        u64::try_from((self.high_ns - self.low_ns + 1) / 2).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_truth_is_always_inside(
            offset in 0u64..1 << 50,
            delays in proptest::collection::vec((0u64..1 << 50, 0u64..1 << 30, 0u64..1 << 20, 0u64..1 << 30), 1..20),
        ) {
            let bound = |&(asked, there, work, back): &(u64, u64, u64, u64)| {
                let received = offset + asked + there;
                ClockBound::of(asked, received, received + work, asked + there + work + back)
            };
            let all = delays.iter().map(bound).reduce(|a, b| a.and(b).expect("one offset explains all"));
            let all = all.expect("there is one question at least");
            let error = all.origin_ns().expect("the offset is positive").abs_diff(offset);
            prop_assert!(error <= all.half_width_ns(), "{error} > {}", all.half_width_ns());
        }
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_not_averaged() {
        let before = ClockBound::of(0, 1_000, 1_010, 20);
        let after = ClockBound::of(100, 51_100, 51_110, 120);
        assert_eq!(before.and(after), None);
        assert_eq!(before.and(before), Some(before));
    }

    #[test]
    fn a_host_that_booted_after_the_origin_has_no_time_for_it() {
        assert_eq!(ClockBound::of(5_000, 10, 20, 5_030).origin_ns(), None);
    }
}
