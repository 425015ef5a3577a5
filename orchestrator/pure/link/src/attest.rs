//! What a measurement of a direction must show, and how far one is from it.

use crate::{MILLION, Model, Nanos, Path, chance};
use std::fmt;

/// Errors of delays are shares of the delay, or of this much where the delay is less: no program is woken up exactly.
const DELAY_NS_MIN: Nanos = 10_000_000;
/// Errors of losses are shares of the loss, or of this share where it is less.
const LOSS_MIN: f64 = 0.01;
/// Packets of a count that a machine with other things to do may lose or not, on top of what chance explains.
const SLACK: u64 = 2;
/// Packets are enough when a loss that is greater than the asked one by this much, or by as much again where that is
/// more, would be noticed but for this chance.
const NOTICED: (f64, f64) = (0.10, 0.01);
/// A rate is known when its bounds are no farther apart than this share of what was wanted.
const BOUNDS_MAX: f64 = 0.25;

/// What a direction between two nodes is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The direction.
    pub path: Path,
    /// One-way delay of the other direction of the two, in nanoseconds.
    pub back_ns: Nanos,
    /// Bits per second that cards and direction carry together.
    pub rate_bits: Option<u64>,
    /// The other direction has a rate as well.
    pub is_back_limited: bool,
}

impl Wanted {
    /// What `model` says about what `from` sends to `to`.
    #[must_use]
    pub fn of(model: &Model, from: u32, to: u32) -> Self {
        Self {
            path: model.path(from, to),
            back_ns: model.path(to, from).delay_ns,
            rate_bits: model.rate(from, to),
            is_back_limited: model.rate(to, from).is_some(),
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
    /// Packets of these that the full queue of a card dropped: not by chance, but since others had filled it.
    pub queued_out: u64,
    /// What a burst showed of the rate.
    pub rate: Rate,
}

/// What is known of the rate at which a link carries packets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Rate {
    /// Nothing was sent to find out.
    #[default]
    Unasked,
    /// Nothing was sent faster than the link carries it.
    Unreached,
    /// Bursts were sent, but fewer than it takes to be sure.
    Few,
    /// The bits per second that the link carried at least and at most: others' packets passed it meanwhile, or may have.
    Between(f64, f64),
}

/// What a measurement says about a direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The greatest relative error of delay, round trip, loss and rate, beyond what chance explains.
    pub error: f64,
    /// What it does not answer.
    pub open: Vec<Open>,
}

/// Why something is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// The loss: so few packets may be lost, or not, by chance.
    FewPackets,
    /// The loss: full queues dropped packets meanwhile.
    FullQueues,
    /// The rate: no burst was faster than the link.
    Unreached,
    /// The rate: too few bursts.
    FewBursts,
    /// The rate: others used the link meanwhile, or its delay varies too much.
    Vague,
    /// The round trip: no answer came back.
    Unanswered,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FewPackets => "loss: too few packets were sent",
            Self::FullQueues => "loss: the nodes' own packets filled a queue",
            Self::Unreached => "rate: nothing was sent faster than the link",
            Self::FewBursts => "rate: too few bursts were sent",
            Self::Vague => "rate: the nodes' own packets shared the link, or its delay varies too much",
            Self::Unanswered => "round trip: no answer came back",
        })
    }
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

    /// How far this is from what was wanted; nothing measured is an error of 1.
    #[must_use]
    pub fn judge(&self, wanted: &Wanted) -> Judgement {
        let off = |observed: Option<Nanos>, wanted: Nanos, least: Nanos| {
            observed.map(|observed| observed.abs_diff(wanted) as f64 / wanted.max(least) as f64)
        };
        let delay = off(self.delay_ns(), wanted.path.delay_ns, DELAY_NS_MIN);
        // Both ways may be late on their own. Where no answer came back, the other direction's loss says it.
        let round_trip = off(self.round_trip_ns(), wanted.round_trip_ns(), 2 * DELAY_NS_MIN);
        let unanswered = (!self.delays_ns.is_empty() && round_trip.is_none()).then_some(Open::Unanswered);
        let nothing = if self.sent == 0 { 1.0 } else { 0.0 };
        let (loss, open_loss) = self.judge_loss(f64::from(wanted.path.loss_ppm) / f64::from(MILLION));
        let (rate, open_rate) = self.rate.judge(wanted.rate_bits);
        // Where packets were sent and none arrived, the loss says it.
        let errors = [delay.unwrap_or(nothing), round_trip.unwrap_or_default(), loss, rate];
        Judgement {
            error: errors.into_iter().fold(0.0, f64::max),
            open: unanswered.into_iter().chain(open_loss).chain(open_rate).collect(),
        }
    }

    /// The error of the loss, and what keeps it from being known. A count within the region of chance is no error.
    fn judge_loss(&self, share: f64) -> (f64, Option<Open>) {
        let (low, high) = chance::region(self.sent, share);
        let (low, high) = (low.saturating_sub(SLACK), high.saturating_add(SLACK));
        let lost = self.sent.saturating_sub(self.received);
        let by_chance = lost.saturating_sub(self.queued_out);
        // Those that a queue dropped might have been lost anyway.
        let beyond = by_chance.saturating_sub(high).max(low.saturating_sub(lost));
        let error = beyond as f64 / self.sent.max(1) as f64 / share.max(LOSS_MIN);
        let (more, missed_max) = NOTICED;
        let greater = (share + share.max(more)).min(1.0);
        let open = if self.sent == 0 || beyond > 0 {
            None
        } else if self.queued_out > 0 && by_chance < low {
            Some(Open::FullQueues)
        } else {
            let missed = chance::within((low, high), self.sent, greater);
            (missed > missed_max).then_some(Open::FewPackets)
        };
        (error, open)
    }
}

impl Rate {
    /// The error of the rate, and what keeps it from being known.
    fn judge(self, wanted: Option<u64>) -> (f64, Option<Open>) {
        let Some(wanted) = wanted.map(|wanted| (wanted as f64).max(1.0)) else {
            return (0.0, None);
        };
        match self {
            Self::Unasked => (0.0, None),
            Self::Unreached => (0.0, Some(Open::Unreached)),
            Self::Few => (0.0, Some(Open::FewBursts)),
            Self::Between(least, most) => {
                let beyond = (least - wanted).max(wanted - most).max(0.0);
                let is_open = beyond == 0.0 && most - least > BOUNDS_MAX * wanted;
                (beyond / wanted, is_open.then_some(Open::Vague))
            }
        }
    }

    /// The middle one of the last `count` that have bounds, each bound by itself; those without any decide nothing.
    #[must_use]
    pub fn middle(rates: &[Self], count: usize) -> Self {
        let bounds = |rate: &Self| match rate {
            Self::Between(least, most) => Some((*least, *most)),
            _ => None,
        };
        let known: Vec<(f64, f64)> = rates.iter().rev().filter_map(bounds).take(count).collect();
        let (mut least, mut most): (Vec<f64>, Vec<f64>) = known.into_iter().unzip();
        least.sort_unstable_by(f64::total_cmp);
        most.sort_unstable_by(f64::total_cmp);
        let middle = count / 2;
        match (least.get(middle), most.get(middle)) {
            _ if least.is_empty() => rates.last().copied().unwrap_or_default(),
            (Some(&least_middle), Some(&most_middle)) if least.len() == count => {
                Self::Between(least_middle, most_middle)
            }
            _ => Self::Few,
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
        assert_eq!(measure(&model(40, 0), 1, 500).judge(&wanted).error, 0.0);
        assert_eq!(measure(&model(20, 0), 1, 500).judge(&wanted).error, 0.5);
        assert_eq!(measure(&model(80, 0), 1, 500).judge(&wanted).error, 1.0);
    }

    #[test]
    fn a_wrong_loss_is_caught() {
        let wanted = asked(40, 0);
        assert!(measure(&model(40, 50_000), 1, 500).judge(&wanted).error > 1.0);
        let wanted = asked(40, 100_000);
        assert!(measure(&model(40, 0), 1, 500).judge(&wanted).error > 0.2);
        let nothing = Observed {
            sent: 500,
            ..Observed::default()
        };
        assert!(nothing.judge(&wanted).error >= 1.0);
        assert_eq!(Observed::default().judge(&wanted).error, 1.0);
    }

    #[test]
    fn a_wrong_rate_is_caught_where_the_link_was_the_limit() {
        let wanted = Wanted {
            rate_bits: Some(10_000_000),
            ..asked(1, 0)
        };
        let mut observed = measure(&model(1, 0), 1, 200);
        observed.rate = Rate::Unreached;
        let judged = observed.judge(&wanted);
        assert_eq!((judged.error, judged.open.contains(&Open::Unreached)), (0.0, true));
        observed.rate = Rate::Between(20_000_000.0, 20_000_000.0);
        assert_eq!(observed.judge(&wanted).error, 1.0);
    }

    #[test]
    fn a_wrong_way_back_shows_in_the_round_trip() {
        let wanted = asked(40, 0);
        let mut observed = measure(&model(40, 0), 1, 10);
        observed.round_trips_ns = vec![80 * MILLISECOND; 3];
        assert_eq!(observed.judge(&wanted).error, 0.0);
        observed.round_trips_ns = vec![120 * MILLISECOND; 3];
        assert_eq!(observed.judge(&wanted).error, 0.5);
        // Ten milliseconds each way are the least that shares are counted of.
        observed = measure(&model(0, 0), 1, 10);
        observed.round_trips_ns = vec![5 * MILLISECOND];
        assert_eq!(observed.judge(&Wanted::of(&model(0, 0), 0, 1)).error, 0.25);
    }

    #[test]
    fn a_rate_that_others_share_is_judged_by_its_bounds() {
        let judge = |least, most| Rate::Between(least, most).judge(Some(10));
        assert_eq!(judge(9.0, 11.0), (0.0, None));
        assert_eq!(judge(6.0, 12.0), (0.0, Some(Open::Vague)));
        // Whatever others sent: it carried more, or it cannot have carried as much.
        assert_eq!(judge(20.0, 40.0), (1.0, None));
        assert_eq!(judge(1.0, 5.0), (0.5, None));
        assert_eq!(Rate::Between(1.0, 5.0).judge(None), (0.0, None));
    }

    #[test]
    fn one_burst_that_was_disturbed_decides_nothing() {
        let known = |rate| Rate::Between(rate, rate + 1.0);
        assert_eq!(Rate::middle(&[], 3), Rate::Unasked);
        assert_eq!(Rate::middle(&[Rate::Unreached], 3), Rate::Unreached);
        assert_eq!(Rate::middle(&[known(9.0), known(1.0)], 3), Rate::Few);
        let four = [known(1.0), known(9.0), known(1.0), Rate::Unreached, known(10.0)];
        assert_eq!(Rate::middle(&four, 3), known(9.0), "the last three");
        assert_eq!(Rate::middle(&[known(2.0)], 1), known(2.0));
    }

    #[test]
    fn packets_that_a_queue_dropped_are_no_loss_by_chance() {
        let wanted = Wanted {
            rate_bits: Some(1),
            ..asked(1, 0)
        };
        let of = |received, queued_out| Observed {
            sent: 110,
            received,
            queued_out,
            ..Observed::default()
        };
        assert!(of(80, 0).judge(&wanted).error > 1.0);
        assert_eq!(of(80, 30).judge(&wanted).error, 0.0);
        assert!(of(60, 30).judge(&wanted).error > 1.0);
        // 30 % are asked for and a queue dropped so many that nobody can tell.
        let lossy = asked(1, 300_000);
        let judged = of(70, 40).judge(&lossy);
        assert_eq!((judged.error, judged.open), (0.0, vec![Open::FullQueues]));
    }

    #[test]
    fn few_packets_are_said_to_be_few() {
        let of = |sent: u64, share: f64, loss_ppm| {
            let observed = Observed {
                sent,
                received: sent - (sent as f64 * share) as u64,
                ..Observed::default()
            };
            observed.judge(&asked(1, loss_ppm))
        };
        assert_eq!(of(50, 0.0, 0).open, [Open::FewPackets]);
        assert_eq!(of(110, 0.0, 0).open, []);
        assert_eq!(of(110, 0.05, 50_000).open, [Open::FewPackets]);
        assert_eq!(of(510, 0.05, 50_000).open, []);
        // A gross error shows in a few as well.
        assert!(of(50, 0.3, 0).error > 1.0);
        // That something should be lost and is not takes many.
        assert_eq!(of(110, 0.0, 50_000).error, 0.0);
        assert!(of(800, 0.0, 50_000).error > 0.25);
    }

    proptest! {
        #[test]
        fn what_follows_the_model_is_not_accused(seed: u64, loss_ppm in 0_u32..300_000, delay_ms in 0_u64..200) {
            let model = model(delay_ms, loss_ppm);
            prop_assert!(measure(&model, seed, 500).judge(&Wanted::of(&model, 0, 1)).error < 0.25);
        }
    }
}
