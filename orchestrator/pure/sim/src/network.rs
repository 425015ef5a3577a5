//! Links: reliable ordered streams with delay, jitter, retransmissions, a rate for each host, and partitions.
//!
//! Nodes talk over TCP, so a lost packet is a late one: everything behind it on the same link waits for the
//! retransmission. A blocked direction keeps what is sent until it opens, as the sender's kernel does, and delivers it
//! with the first retransmission after that; a connection that stays unacknowledged for too long ends.

use crate::{HostIndex, MILLISECOND, Nanos};
use bytes::Bytes;
use rand::{RngExt, rngs::ChaCha8Rng};
use regatta_core::{Protocol, TrafficClass};
use std::collections::BTreeMap;

/// Bytes of a packet.
const PACKET_BYTES: usize = 1_448;
/// Least wait before something is sent again when no acknowledgement tells earlier (Linux: `TCP_RTO_MIN`).
const RETRANSMIT_NS: Nanos = 200 * MILLISECOND;
/// A million parts.
const MILLION: u64 = 1_000_000;
/// A connection that stays unacknowledged for this long is dead: the node's own setting.
pub(crate) const UNACKNOWLEDGED_NS: Nanos = 20_000 * MILLISECOND;
/// Most bytes of a class that wait in one host for its link's rate or for a blocked direction: the node's own queues.
pub(crate) const BULK_BACKLOG_BYTES: u64 = 32 * 1024 * 1024;
/// The same for control frames; beyond it the link is reset.
pub(crate) const CONTROL_BACKLOG_BYTES: u64 = 16 * 1024 * 1024;

/// The links of a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkModel {
    /// One-way delay from region to region in nanoseconds: `delay_ns[from][to]`, square.
    pub delay_ns: Vec<Vec<Nanos>>,
    /// Each delay varies uniformly by up to this share, in millionths.
    pub jitter_ppm: u32,
    /// Share of packets that are lost and sent again, in millionths.
    pub loss_ppm: u32,
    /// Rate of each host's network card in bits per second, each way.
    pub rate_bits: Option<u64>,
    /// One-way delay between a client and the host that it talks to, in nanoseconds.
    pub client_delay_ns: Nanos,
    /// Adversarial: share of frames that leave their place in the stream and arrive later, by up to the delay of their way.
    pub reorder_ppm: u32,
    /// By up to this much where the way takes less.
    pub reorder_ns: Nanos,
    /// Adversarial: share of frames that arrive twice.
    pub duplicate_ppm: u32,
    /// Directions between linked hosts with conditions of their own.
    pub directions: BTreeMap<(HostIndex, HostIndex), Direction>,
}

/// What a direction has of its own, in place of what the model gives it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Direction {
    /// One-way delay in nanoseconds.
    pub delay_ns: Option<Nanos>,
    /// Variation of the delay in millionths.
    pub jitter_ppm: Option<u32>,
    /// Lost packets in millionths.
    pub loss_ppm: Option<u32>,
    /// Bits per second of this direction alone, beside what the cards carry.
    pub rate_bits: Option<u64>,
}

/// What a fault makes of one direction of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkShift {
    /// Nanoseconds that it takes longer.
    pub delay_ns: Nanos,
    /// Variation of the whole delay in millionths, in place of what it was.
    pub jitter_ppm: Option<u32>,
    /// Lost packets in millionths, in place of what it was.
    pub loss_ppm: Option<u32>,
    /// Bits per second of this direction alone, beside what the cards carry.
    pub rate_bits: Option<u64>,
}

impl Default for NetworkModel {
    /// One computer: tens of microseconds from write to wake-up, no loss, no limit.
    fn default() -> Self {
        Self {
            delay_ns: vec![vec![60_000]],
            jitter_ppm: 200_000,
            loss_ppm: 0,
            rate_bits: None,
            client_delay_ns: 60_000,
            reorder_ppm: 0,
            reorder_ns: MILLISECOND,
            duplicate_ppm: 0,
            directions: BTreeMap::new(),
        }
    }
}

impl NetworkModel {
    /// Time that `bytes` occupy a card.
    pub(crate) fn wire_ns(&self, bytes: usize) -> Nanos {
        self.rate_bits.map_or(0, |rate| wire_ns(rate, bytes))
    }

    /// Bytes that pass a card in `time`.
    pub(crate) fn bytes_in(&self, time: Nanos) -> u64 {
        let bits = |rate: u64| u128::from(time) * u128::from(rate) / 1_000_000_000;
        self.rate_bits.map_or(0, |rate| (bits(rate) / 8) as u64)
    }

    /// One way over a lane from region to region, without and with this frame's jitter.
    fn one_way(&self, (from, to): (usize, usize), lane: &Lane, rng: &mut ChaCha8Rng) -> (Nanos, Nanos) {
        let (own, shift) = (&lane.own, &lane.shift);
        let planned = own.delay_ns.unwrap_or(self.delay_ns[from][to]);
        let base = planned.saturating_add(shift.delay_ns);
        let jitter_ppm = shift.jitter_ppm.or(own.jitter_ppm).unwrap_or(self.jitter_ppm);
        if jitter_ppm == 0 {
            return (base, base);
        }
        let spread = base.saturating_mul(u64::from(jitter_ppm)) / MILLION;
        let jitter = rng.random_range(0..=2 * spread);
        (base, (base + jitter).saturating_sub(spread))
    }

    /// How much later a frame is because packets of it are lost: each time the sender learns of it after a round trip
    /// when more packets follow, otherwise after a timeout that doubles. `loss` is the share of them in millionths.
    fn retransmissions(bytes: usize, loss: u32, round_trip: Nanos, rng: &mut ChaCha8Rng) -> Nanos {
        /// A connection that loses nearly everything ends before this many attempts.
        const ATTEMPTS_MAX: u32 = 12;
        if loss == 0 {
            return 0;
        }
        let (mut packets, mut late, mut timeout) = (bytes.div_ceil(PACKET_BYTES).max(1), 0, RETRANSMIT_NS + round_trip);
        for _ in 0..ATTEMPTS_MAX {
            let lost = (0..packets)
                .filter(|_| rng.random_range(0..MILLION) < u64::from(loss))
                .count();
            if lost == 0 {
                return late;
            }
            // Three packets behind the lost one make the receiver's repeated acknowledgements count.
            if packets > 3 {
                late += round_trip;
            } else {
                late += timeout;
                timeout *= 2;
            }
            packets = lost;
        }
        late
    }
}

/// Time that `bytes` take at a rate in bits per second.
fn wire_ns(rate: u64, bytes: usize) -> Nanos {
    let bits = bytes as u64 * 8;
    bits.saturating_mul(1_000_000_000) / rate.max(1)
}

/// One host's card: control frames go before payload that waits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Card {
    control_free: Nanos,
    all_free: Nanos,
}

impl Card {
    /// When a frame that is handed over at `now` has left (or arrived), its time on the wire being `wire`.
    pub(crate) fn pass(&mut self, now: Nanos, wire: Nanos, class: TrafficClass) -> Nanos {
        if wire == 0 {
            return now;
        }
        let all = self.all_free.max(now);
        self.all_free = all + wire;
        match class {
            TrafficClass::Control => {
                self.control_free = self.control_free.max(now) + wire;
                self.control_free
            }
            TrafficClass::Bulk => self.all_free,
        }
    }

    /// Time until everything handed over so far has left.
    pub(crate) fn backlog(&self, now: Nanos) -> Nanos {
        self.all_free.saturating_sub(now)
    }
}

/// A frame on its way.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) protocol: Protocol,
    pub(crate) class: TrafficClass,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// When the last frame of each class arrives: a stream keeps its order.
    control_last: Nanos,
    bulk_last: Nanos,
    /// Since when nothing gets through, if so.
    pub(crate) blocked_since: Option<Nanos>,
    /// What was sent since then, with the time of the first.
    pub(crate) held: Vec<Frame>,
    pub(crate) held_bytes: u64,
    pub(crate) held_since: Nanos,
    /// What the scenario gives it alone.
    pub(crate) own: Direction,
    /// What a fault makes of it.
    pub(crate) shift: LinkShift,
    /// What leaves at the rate that it has of its own or that a fault leaves.
    slow: Card,
}

impl Lane {
    /// A direction that nothing was sent over, with what it has of its own.
    pub(crate) fn with(own: Direction) -> Self {
        Self { own, ..Self::default() }
    }

    /// When the frame arrives that leaves the sender's card at `left`; twice when it is duplicated.
    pub(crate) fn arrivals(
        &mut self,
        model: &NetworkModel,
        (from, to): (usize, usize),
        left: Nanos,
        frame: &Frame,
        rng: &mut ChaCha8Rng,
    ) -> (Nanos, Option<Nanos>) {
        let rate = self.shift.rate_bits.into_iter().chain(self.own.rate_bits).min();
        let wire = rate.map_or(0, |rate| wire_ns(rate, frame.bytes.len()));
        let left = self.slow.pass(left, wire, frame.class);
        let (base, delay) = model.one_way((from, to), self, rng);
        let loss = self.shift.loss_ppm.or(self.own.loss_ppm).unwrap_or(model.loss_ppm);
        let wish = left + delay + NetworkModel::retransmissions(frame.bytes.len(), loss, 2 * base, rng);
        if model.reorder_ppm > 0 && rng.random_range(0..MILLION) < u64::from(model.reorder_ppm) {
            return (wish + rng.random_range(0..=base.max(model.reorder_ns)), None);
        }
        let last = match frame.class {
            TrafficClass::Control => &mut self.control_last,
            TrafficClass::Bulk => &mut self.bulk_last,
        };
        *last = wish.max(*last);
        let twice = model.duplicate_ppm > 0 && rng.random_range(0..MILLION) < u64::from(model.duplicate_ppm);
        (*last, twice.then_some(*last))
    }

    /// Keeps a frame of a blocked direction; `false` when there is no room for it.
    pub(crate) fn hold(&mut self, now: Nanos, frame: Frame) -> bool {
        let most = match frame.class {
            TrafficClass::Control => CONTROL_BACKLOG_BYTES,
            TrafficClass::Bulk => BULK_BACKLOG_BYTES,
        };
        let bytes = frame.bytes.len() as u64;
        if self.held_bytes + bytes > most {
            return false;
        }
        if self.held.is_empty() {
            self.held_since = now;
        }
        self.held_bytes += bytes;
        self.held.push(frame);
        true
    }

    /// The direction is open again. What was held, and what is sent meanwhile, goes when the sender tries next: at the time
    /// that is returned, if anything was held.
    pub(crate) fn open(&mut self, now: Nanos) -> Option<Nanos> {
        self.blocked_since = None;
        (!self.held.is_empty()).then(|| retry_at(self.held_since, now))
    }

    /// Whether a frame that is sent now waits behind others that were not acknowledged, or cannot get through.
    pub(crate) fn holds(&self) -> bool {
        self.blocked_since.is_some() || !self.held.is_empty()
    }

    /// The sender tries again: gives back what was held, unless the direction is blocked once more.
    pub(crate) fn retransmit(&mut self) -> Vec<Frame> {
        if self.blocked_since.is_some() {
            return Vec::new();
        }
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// Whether what was sent first has been unacknowledged for so long.
    pub(crate) fn is_silent(&self, now: Nanos, most: Nanos) -> bool {
        !self.held.is_empty() && now >= self.held_since + most
    }

    /// The connection is gone, and with it whatever was under way; what the direction has of its own and what faults make
    /// of it stays.
    pub(crate) fn reset(&mut self) {
        let (blocked_since, own, shift) = (self.blocked_since, self.own, self.shift);
        *self = Self {
            blocked_since,
            own,
            shift,
            ..Self::default()
        };
    }
}

/// The first retransmission at `now` or later of what was first sent at `since`: the waits double.
fn retry_at(since: Nanos, now: Nanos) -> Nanos {
    let (mut at, mut wait) = (since + RETRANSMIT_NS, RETRANSMIT_NS);
    while at < now {
        wait *= 2;
        at += wait;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_base::seed;

    fn frame(bytes: usize, class: TrafficClass) -> Frame {
        Frame {
            bytes: vec![0; bytes].into(),
            protocol: Protocol::Consensus,
            class,
        }
    }

    fn model(delay_ms: u64) -> NetworkModel {
        NetworkModel {
            delay_ns: vec![vec![delay_ms * MILLISECOND]],
            jitter_ppm: 0,
            ..NetworkModel::default()
        }
    }

    /// Arrivals of `count` control frames of `bytes` that all leave at 0.
    fn arrivals(model: &NetworkModel, count: usize, bytes: usize) -> Vec<Nanos> {
        let (mut lane, mut rng) = (Lane::default(), seed::rng(1, "test"));
        let frame = frame(bytes, TrafficClass::Control);
        (0..count)
            .map(|_| lane.arrivals(model, (0, 0), 0, &frame, &mut rng).0)
            .collect()
    }

    #[test]
    fn without_loss_and_jitter_a_frame_takes_just_the_delay() {
        assert_eq!(arrivals(&model(40), 3, 100), [40 * MILLISECOND; 3]);
    }

    #[test]
    fn a_fault_of_a_direction_adds_its_delay_loses_and_sends_at_its_rate() {
        let frame = frame(1000, TrafficClass::Control);
        let arrivals = |shift: LinkShift| -> Vec<Nanos> {
            let (mut lane, mut rng) = (
                Lane {
                    shift,
                    ..Lane::default()
                },
                seed::rng(6, "test"),
            );
            let arrive = |_| lane.arrivals(&model(40), (0, 0), 0, &frame, &mut rng).0;
            (0..50).map(arrive).collect()
        };
        let slower = LinkShift {
            delay_ns: 5 * MILLISECOND,
            rate_bits: Some(8_000_000),
            ..LinkShift::default()
        };
        let expected: Vec<Nanos> = (1..=50).map(|sent| (45 + sent) * MILLISECOND).collect();
        assert_eq!(arrivals(slower), expected);
        let lossy = LinkShift {
            loss_ppm: Some(500_000),
            ..LinkShift::default()
        };
        assert!(arrivals(lossy)[49] > 240 * MILLISECOND);
        let all = LinkShift {
            loss_ppm: Some(1_000_000),
            ..LinkShift::default()
        };
        assert!(
            arrivals(all)[0] > UNACKNOWLEDGED_NS,
            "nothing arrives while the connection lives"
        );
        let varied = LinkShift {
            jitter_ppm: Some(100_000),
            ..LinkShift::default()
        };
        assert!(arrivals(varied).iter().any(|at| *at != 40 * MILLISECOND));
    }

    #[test]
    fn a_direction_has_its_own_conditions_and_faults_come_on_top() {
        let (mut lane, mut rng) = (Lane::default(), seed::rng(6, "test"));
        lane.own = Direction {
            delay_ns: Some(3 * MILLISECOND),
            rate_bits: Some(8_000_000),
            ..Direction::default()
        };
        let frame = frame(1000, TrafficClass::Control);
        let mut arrive = |lane: &mut Lane| lane.arrivals(&model(40), (0, 0), 0, &frame, &mut rng).0;
        assert_eq!(arrive(&mut lane), 4 * MILLISECOND);
        lane.shift.delay_ns = 10 * MILLISECOND;
        assert_eq!(arrive(&mut lane), 15 * MILLISECOND);
        lane.reset();
        assert_eq!(
            arrive(&mut lane),
            14 * MILLISECOND,
            "a new connection is the same direction"
        );
        lane.own.loss_ppm = Some(1_000_000);
        assert!(arrive(&mut lane) > UNACKNOWLEDGED_NS);
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_keeps_the_order() {
        let model = NetworkModel {
            jitter_ppm: 100_000,
            ..model(100)
        };
        let arrivals = arrivals(&model, 1000, 100);
        assert!(arrivals.is_sorted());
        let (low, high) = (90 * MILLISECOND, 110 * MILLISECOND);
        assert!(arrivals.iter().all(|at| (low..=high).contains(at)));
        assert!(arrivals[0] != arrivals[999], "it varies");
    }

    #[test]
    fn about_the_given_share_of_single_packets_is_late_by_a_retransmission() {
        let mut rng = seed::rng(2, "test");
        let late = |rng: &mut ChaCha8Rng| NetworkModel::retransmissions(100, 100_000, 20 * MILLISECOND, rng);
        let delays: Vec<Nanos> = (0..10_000).map(|_| late(&mut rng)).collect();
        let share = delays.iter().filter(|&&delay| delay > 0).count();
        assert!((900..1100).contains(&share), "{share} of 10,000");
        assert!(delays.iter().all(|&delay| delay == 0 || delay >= RETRANSMIT_NS));
        assert!(delays.iter().any(|&delay| delay > 2 * RETRANSMIT_NS), "lost twice");
    }

    #[test]
    fn a_long_frame_repairs_its_losses_in_round_trips() {
        let mut rng = seed::rng(3, "test");
        let round_trip = 20 * MILLISECOND;
        let delays: Vec<Nanos> = (0..100)
            .map(|_| NetworkModel::retransmissions(1 << 20, 10_000, round_trip, &mut rng))
            .collect();
        assert!(
            delays.iter().all(|&delay| delay >= round_trip),
            "some of 725 packets are lost"
        );
        assert!(delays.iter().any(|&delay| delay < RETRANSMIT_NS));
    }

    #[test]
    fn a_card_sends_at_its_rate_and_control_frames_first() {
        let model = NetworkModel {
            rate_bits: Some(8_000_000),
            ..model(0)
        };
        assert_eq!(model.wire_ns(1000), MILLISECOND);
        let mut card = Card::default();
        let wire = model.wire_ns(1000);
        assert_eq!(card.pass(0, wire, TrafficClass::Bulk), MILLISECOND);
        assert_eq!(card.pass(0, wire, TrafficClass::Bulk), 2 * MILLISECOND);
        assert_eq!(card.pass(0, wire, TrafficClass::Control), MILLISECOND);
        assert_eq!(
            card.pass(0, wire, TrafficClass::Bulk),
            4 * MILLISECOND,
            "nothing is for free"
        );
        assert_eq!(card.backlog(MILLISECOND), 3 * MILLISECOND);
        assert_eq!(card.pass(9 * MILLISECOND, wire, TrafficClass::Bulk), 10 * MILLISECOND);
    }

    #[test]
    fn a_blocked_direction_keeps_its_frames_for_the_next_retransmission() {
        let mut lane = Lane {
            blocked_since: Some(5),
            ..Lane::default()
        };
        assert!(lane.hold(10, frame(100, TrafficClass::Control)));
        assert!(lane.hold(20, frame(200, TrafficClass::Bulk)));
        assert!(!lane.hold(30, frame(BULK_BACKLOG_BYTES as usize, TrafficClass::Bulk)));
        // 200 ms, then 400 ms, then 800 ms after that.
        assert_eq!(lane.open(10 + 700 * MILLISECOND), Some(10 + 1400 * MILLISECOND));
        assert!(
            lane.blocked_since.is_none() && lane.holds(),
            "what is sent now comes behind it"
        );
        lane.blocked_since = Some(20);
        assert_eq!(lane.retransmit().len(), 0, "it is blocked again");
        lane.open(10 + 800 * MILLISECOND);
        assert!(!lane.is_silent(9 + UNACKNOWLEDGED_NS, UNACKNOWLEDGED_NS));
        assert!(lane.is_silent(10 + UNACKNOWLEDGED_NS, UNACKNOWLEDGED_NS));
        assert_eq!(lane.retransmit().len(), 2);
        assert_eq!((lane.holds(), lane.held_bytes), (false, 0));
    }

    #[test]
    fn adversarial_links_reorder_and_duplicate() {
        let model = NetworkModel {
            reorder_ppm: 300_000,
            reorder_ns: 50 * MILLISECOND,
            duplicate_ppm: 300_000,
            ..model(10)
        };
        let (mut lane, mut rng) = (Lane::default(), seed::rng(4, "test"));
        let frame = frame(100, TrafficClass::Control);
        let all: Vec<_> = (0..200u64)
            .map(|at| lane.arrivals(&model, (0, 0), at * MILLISECOND, &frame, &mut rng))
            .collect();
        assert!(!all.is_sorted_by_key(|(first, _)| *first));
        assert!(all.iter().any(|(_, second)| second.is_some()));
    }

    #[test]
    fn what_leaves_its_place_is_late_by_as_much_as_its_way_takes() {
        let model = NetworkModel {
            reorder_ppm: 250_000,
            ..model(40)
        };
        let (mut lane, mut rng) = (Lane::default(), seed::rng(5, "test"));
        let frame = frame(100, TrafficClass::Control);
        let all: Vec<_> = (0..200u64)
            .map(|at| lane.arrivals(&model, (0, 0), at * MILLISECOND, &frame, &mut rng).0 - at * MILLISECOND)
            .collect();
        assert!(all.iter().any(|late| *late > 70 * MILLISECOND));
        assert!(
            all.iter()
                .all(|late| (40 * MILLISECOND..=80 * MILLISECOND).contains(late))
        );
    }

    proptest! {
        #[test]
        fn frames_of_a_class_never_overtake_each_other(
            sizes in proptest::collection::vec((1usize..100_000, 0u64..3), 1..40), loss in 0u32..200_000
        ) {
            let model = NetworkModel { loss_ppm: loss, jitter_ppm: 500_000, ..model(5) };
            let (mut lane, mut rng, mut now, mut last) = (Lane::default(), seed::rng(5, "test"), 0, 0);
            for (bytes, gap) in sizes {
                now += gap * MILLISECOND;
                let (at, _) = lane.arrivals(&model, (0, 0), now, &frame(bytes, TrafficClass::Bulk), &mut rng);
                prop_assert!(at >= last && at >= now);
                last = at;
            }
        }
    }
}
