//! What a measurement of a direction must show, and how far one is from it.

use crate::{MILLION, Model, Nanos, Path};

/// Errors of delays are shares of the delay, or of this much where the delay is less: no program is woken up exactly.
const DELAY_NS_MIN: Nanos = 10_000_000;
/// Errors of losses are shares of the loss, or of this share where it is less.
const LOSS_MIN: f64 = 0.01;
/// Deviations of a count by chance that are no error, in standard deviations and in packets on top.
const CHANCE: (f64, f64) = (4.0, 2.0);

/// What a direction between two nodes is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The direction.
    pub path: Path,
    /// One-way delay of the other direction of the two, in nanoseconds.
    pub back_ns: Nanos,
    /// Bits per second that cards and direction carry together.
    pub rate_bits: Option<u64>,
}

impl Wanted {
    /// What `model` says about what `from` sends to `to`.
    #[must_use]
    pub fn of(model: &Model, from: u32, to: u32) -> Self {
        Self {
            path: model.path(from, to),
            back_ns: model.path(to, from).delay_ns,
            rate_bits: model.rate(from, to),
        }
    }

    /// There and back, in nanoseconds.
    #[must_use]
    pub fn round_trip_ns(&self) -> Nanos {
        self.path.delay_ns.saturating_add(self.back_ns)
    }
}

/// What was measured from one node to another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// One-way delays of packets that nothing else was under way with, in nanoseconds.
    pub delays_ns: Vec<Nanos>,
    /// Times until the answers of the same packets were back, in nanoseconds.
    pub round_trips_ns: Vec<Nanos>,
    /// Packets sent.
    pub sent: u64,
    /// Packets of these that arrived.
    pub received: u64,
    /// Bits per second at which a burst arrived; none when nothing was sent faster than the link.
    pub rate: Option<f64>,
}

impl Observed {
    /// The median of the delays.
    #[must_use]
    pub fn delay_ns(&self) -> Option<Nanos> {
        median(&self.delays_ns)
    }

    /// The median of the round trips.
    #[must_use]
    pub fn round_trip_ns(&self) -> Option<Nanos> {
        median(&self.round_trips_ns)
    }

    /// Share of packets that did not arrive.
    #[must_use]
    pub fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent.max(1) as f64
    }

    /// The greatest relative error of delay, round trip, loss and rate against what was wanted; nothing measured is an
    /// error of 1.
    #[must_use]
    pub fn error(&self, wanted: &Wanted) -> f64 {
        let off = |observed: Option<Nanos>, wanted: Nanos, least: Nanos| {
            observed.map(|observed| observed.abs_diff(wanted) as f64 / wanted.max(least) as f64)
        };
        let delay = off(self.delay_ns(), wanted.path.delay_ns, DELAY_NS_MIN);
        // Both ways may be late on their own. Where no answer came back, the other direction's loss says it.
        let round_trip = off(self.round_trip_ns(), wanted.round_trip_ns(), 2 * DELAY_NS_MIN);
        let nothing = if self.sent == 0 { 1.0 } else { 0.0 };
        // Where packets were sent and none arrived, the loss says it.
        let errors = [
            delay.unwrap_or(nothing),
            round_trip.unwrap_or_default(),
            self.loss_error(&wanted.path),
            self.rate_error(wanted.rate_bits),
        ];
        errors.into_iter().fold(0.0, f64::max)
    }

    fn loss_error(&self, wanted: &Path) -> f64 {
        let (sent, share) = (self.sent as f64, f64::from(wanted.loss_ppm) / f64::from(MILLION));
        let lost = self.sent.saturating_sub(self.received) as f64;
        let (deviations, packets) = CHANCE;
        let by_chance = deviations * (sent * share * (1.0 - share)).sqrt() + packets;
        let beyond = ((lost - sent * share).abs() - by_chance).max(0.0);
        beyond / sent.max(1.0) / share.max(LOSS_MIN)
    }

    fn rate_error(&self, rate_bits: Option<u64>) -> f64 {
        match (self.rate, rate_bits) {
            (Some(observed), Some(wanted)) => (observed - wanted as f64).abs() / (wanted as f64).max(1.0),
            _ => 0.0,
        }
    }
}

fn median(times: &[Nanos]) -> Option<Nanos> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fabric, Fate, Model};
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    const MILLISECOND: Nanos = 1_000_000;

    fn model(delay_ms: u64, loss_ppm: u32) -> Model {
        Model {
            delay_ns: vec![vec![delay_ms * MILLISECOND]],
            loss_ppm,
            ..Model::plain(2)
        }
    }

    fn asked(delay_ms: u64, loss_ppm: u32) -> Wanted {
        Wanted::of(&model(delay_ms, loss_ppm), 0, 1)
    }

    /// A perfect measurement of what a fabric does, one packet each millisecond.
    fn measure(model: &Model, seed: u64, packets: u64) -> Observed {
        let mut fabric = Fabric::new(model.clone(), StdRng::seed_from_u64(seed));
        let mut observed = Observed {
            sent: packets,
            ..Observed::default()
        };
        for number in 0..packets {
            let now = number * MILLISECOND;
            if let Fate::Arrives { at, .. } = fabric.send(now, 0, 1, 100) {
                observed.received += 1;
                observed.delays_ns.push(at - now);
            }
        }
        observed
    }

    #[test]
    fn a_wrong_matrix_is_caught() {
        let wanted = asked(40, 0);
        assert_eq!(measure(&model(40, 0), 1, 500).error(&wanted), 0.0);
        assert_eq!(measure(&model(20, 0), 1, 500).error(&wanted), 0.5);
        assert_eq!(measure(&model(80, 0), 1, 500).error(&wanted), 1.0);
    }

    #[test]
    fn a_wrong_loss_is_caught() {
        let wanted = asked(40, 0);
        assert!(measure(&model(40, 50_000), 1, 500).error(&wanted) > 1.0);
        let wanted = asked(40, 100_000);
        assert!(measure(&model(40, 0), 1, 500).error(&wanted) > 0.2);
        let nothing = Observed {
            sent: 500,
            ..Observed::default()
        };
        assert!(nothing.error(&wanted) >= 1.0);
        assert_eq!(Observed::default().error(&wanted), 1.0);
    }

    #[test]
    fn a_wrong_rate_is_caught_where_the_link_was_the_limit() {
        let wanted = Wanted {
            rate_bits: Some(10_000_000),
            ..asked(1, 0)
        };
        let mut observed = measure(&model(1, 0), 1, 10);
        assert_eq!(observed.error(&wanted), 0.0, "nothing was faster than the link");
        observed.rate = Some(20_000_000.0);
        assert_eq!(observed.error(&wanted), 1.0);
    }

    #[test]
    fn a_wrong_way_back_shows_in_the_round_trip() {
        let wanted = asked(40, 0);
        let mut observed = measure(&model(40, 0), 1, 10);
        observed.round_trips_ns = vec![80 * MILLISECOND; 3];
        assert_eq!(observed.error(&wanted), 0.0);
        observed.round_trips_ns = vec![120 * MILLISECOND; 3];
        assert_eq!(observed.error(&wanted), 0.5);
        // Ten milliseconds each way are the least that shares are counted of.
        observed = measure(&model(0, 0), 1, 10);
        observed.round_trips_ns = vec![5 * MILLISECOND];
        assert_eq!(observed.error(&Wanted::of(&model(0, 0), 0, 1)), 0.25);
    }

    proptest! {
        #[test]
        fn what_follows_the_model_is_not_accused(seed: u64, loss_ppm in 0_u32..300_000, delay_ms in 0_u64..200) {
            let model = model(delay_ms, loss_ppm);
            prop_assert!(measure(&model, seed, 500).error(&Wanted::of(&model, 0, 1)) < 0.25);
        }
    }
}
