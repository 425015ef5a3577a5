//! A node's network card, one way: packets leave one after the other at a rate, and a bounded queue waits.

use crate::Nanos;

const SECOND_NS: u64 = 1_000_000_000;
/// Longest wait in a card's queue; what would wait longer is dropped, as a router's full queue does.
const QUEUE_NS_MAX: Nanos = 100_000_000;
/// A queue holds this many bytes whatever the rate: two of the largest packets.
const QUEUE_BYTES_MIN: u64 = 128 * 1024;

/// When the card is free again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Card {
    free_at: Nanos,
}

/// Time that `bytes` take at `rate` bits per second.
pub(crate) fn wire_ns(bytes: usize, rate: u64) -> Nanos {
    let nanos = u128::from(bytes as u64) * 8 * u128::from(SECOND_NS) / u128::from(rate.max(1));
    u64::try_from(nanos).unwrap_or(Nanos::MAX)
}

impl Card {
    /// When a packet that comes at `now` begins to pass, behind those that wait.
    pub(crate) fn begins(&self, now: Nanos) -> Nanos {
        self.free_at.max(now)
    }

    /// When the last bit of a packet that comes at `now` has passed; none when the queue is full.
    pub(crate) fn pass(&mut self, now: Nanos, bytes: usize, rate: u64) -> Option<Nanos> {
        let waits = self.free_at.saturating_sub(now);
        if waits > QUEUE_NS_MAX.max(wire_ns(QUEUE_BYTES_MIN as usize, rate)) {
            return None;
        }
        self.free_at = now.saturating_add(waits).saturating_add(wire_ns(bytes, rate));
        Some(self.free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_queue_drops_and_an_idle_one_starts_at_once() {
        let mut card = Card::default();
        // 1,500 bytes take 1.2 ms at 10 Mbit/s.
        assert_eq!(card.pass(5_000_000, 1500, 10_000_000), Some(6_200_000));
        assert_eq!(card.pass(5_000_000, 1500, 10_000_000), Some(7_400_000));
        assert_eq!(card.pass(50_000_000, 1500, 10_000_000), Some(51_200_000));
        let passed = (0..10_000)
            .map_while(|_| card.pass(50_000_000, 1500, 10_000_000))
            .count();
        let bytes = passed as u64 * 1500;
        assert!((120_000..=140_000).contains(&bytes), "{bytes} bytes waited");
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate(
            packets in proptest::collection::vec((0_u64..2_000_000, 1_usize..65_000), 1..200),
            rate in 1_000_000_u64..1_000_000_000,
        ) {
            let (mut card, mut now, mut sum, mut last) = (Card::default(), 0, 0, 0);
            for (wait, bytes) in packets {
                now += wait;
                if let Some(out) = card.pass(now, bytes, rate) {
                    sum += bytes;
                    prop_assert!(out >= last && out >= now + wire_ns(bytes, rate));
                    // Every bit took its time since the start; each packet may be rounded down by a nanosecond.
                    prop_assert!(out + 200 >= wire_ns(sum, rate));
                    last = out;
                }
            }
        }
    }
}
