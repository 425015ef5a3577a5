//! What chance does to a count: exact binomial probabilities, from which losses are judged.

/// Chance of a count outside of its region although everything is as it should be. A run makes hundreds of judgements, and
/// none of them may be wrong.
const OUTSIDE: f64 = 1e-6;

/// The counts, both included, between which the number of lost packets of `sent` stays when each is lost with `share`.
pub(crate) fn region(sent: u64, share: f64) -> (u64, u64) {
    if share >= 1.0 {
        return (sent, sent);
    }
    let tail = OUTSIDE / 2.0;
    let (mut low, mut below) = (0, 0.0);
    for (count, mass) in masses(sent, share) {
        below += mass;
        if below <= tail {
            low = count + 1;
        }
        if below >= 1.0 - tail {
            return (low.min(sent), count);
        }
    }
    (low.min(sent), sent)
}

/// The chance of a count within `region` when each of `sent` packets is lost with `share`.
pub(crate) fn within(region: (u64, u64), sent: u64, share: f64) -> f64 {
    if share >= 1.0 {
        return if region.1 >= sent { 1.0 } else { 0.0 };
    }
    let counts = masses(sent, share).take_while(|(count, _)| *count <= region.1);
    counts
        .filter(|(count, _)| *count >= region.0)
        .map(|(_, mass)| mass)
        .sum()
}

/// The chance of each count from none to all; `share` is below one.
fn masses(sent: u64, share: f64) -> impl Iterator<Item = (u64, f64)> {
    debug_assert!((0.0..1.0).contains(&share));
    let odds = (share / (1.0 - share)).ln();
    // Logarithms, since the chance of no loss among many packets is smaller than any number.
    let mut log = sent as f64 * (1.0 - share).ln();
    (0..=sent).map(move |count| {
        let mass = log.exp();
        log += ((sent - count) as f64 / (count + 1) as f64).ln() + odds;
        (count, mass)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn regions_are_those_of_the_tables() {
        assert_eq!(region(510, 0.0), (0, 0));
        assert_eq!(region(10, 1.0), (10, 10));
        assert_eq!(region(0, 0.3), (0, 0));
        // Of 20 fair coins all or none is a matter of two in a million; 19 or 1 of 42.
        assert_eq!(region(20, 0.5), (0, 20));
        assert_eq!(region(24, 0.5), (1, 23));
        assert!((within((0, 1), 3, 0.5) - 0.5).abs() < 1e-12);
        assert!((within((0, 0), 100, 0.05) - 0.95_f64.powi(100)).abs() < 1e-12);
        assert_eq!((within((0, 5), 5, 1.0), within((0, 4), 5, 1.0)), (1.0, 0.0));
    }

    proptest! {
        #[test]
        fn a_region_holds_nearly_everything_and_no_more_than_it_must(sent in 0_u64..3000, share in 0.0_f64..1.0) {
            let (low, high) = region(sent, share);
            prop_assert!(low <= high && high <= sent);
            prop_assert!(within((low, high), sent, share) >= 1.0 - 2.0 * OUTSIDE);
            prop_assert!(low <= (sent as f64 * share) as u64 + 1 && high + 1 >= (sent as f64 * share) as u64);
            if low < high {
                // Without the count at an end more than a tail is outside.
                prop_assert!(within((0, low), sent, share) > OUTSIDE / 2.0 * 0.999);
                prop_assert!(within((0, high - 1), sent, share) < 1.0 - OUTSIDE / 2.0 * 0.999);
            }
        }
    }
}
