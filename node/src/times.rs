//! When this node told of each block: for those who compare how far decisions spread among nodes of one host.

use nix::time::{ClockId, clock_gettime};
use regatta_base::{Height, InstanceId};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Most blocks of one instance whose times are kept; the oldest go first. 8 bytes each.
const TIMES_MAX: usize = 8192;

/// Times by instance and height.
#[derive(Debug, Default)]
pub(crate) struct BlockTimes(Mutex<BTreeMap<InstanceId, Row>>);

/// Times of consecutive heights.
#[derive(Debug, Default)]
struct Row {
    /// Height of the newest.
    last: Height,
    at_ns: VecDeque<u64>,
}

impl BlockTimes {
    /// Notes that a block is told of now.
    pub(crate) fn note(&self, instance: &InstanceId, height: Height) {
        self.note_at(instance, height, monotonic_ns());
    }

    fn note_at(&self, instance: &InstanceId, height: Height, at_ns: u64) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !rows.contains_key(instance) {
            rows.insert(instance.clone(), Row::default());
        }
        let Some(row) = rows.get_mut(instance) else { return };
        if row.last + 1 != height {
            // After a snapshot there is a gap: what was before it is of no use to a comparison.
            row.at_ns.clear();
        }
        row.last = height;
        row.at_ns.push_back(at_ns);
        if row.at_ns.len() > TIMES_MAX {
            row.at_ns.pop_front();
        }
        debug_assert!(row.at_ns.len() as u64 <= row.last);
    }

    /// Times of at most `count` blocks from height `from` on, of those that are known.
    pub(crate) fn range(&self, instance: &InstanceId, from: Height, count: usize) -> Vec<(Height, u64)> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = rows.get(instance) else {
            return Vec::new();
        };
        let first = row.last + 1 - row.at_ns.len() as u64;
        let known = (first..).zip(row.at_ns.iter().copied());
        known.skip_while(|(height, _)| *height < from).take(count).collect()
    }
}

/// Nanoseconds of the monotonic clock of this host, which all its processes share.
fn monotonic_ns() -> u64 {
    // Every Linux kernel has this clock, and it is positive since boot.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str) -> InstanceId {
        name.parse().unwrap()
    }

    #[test]
    fn times_are_by_instance_and_bounded() {
        let (times, main) = (BlockTimes::default(), instance("main"));
        for height in 1..=TIMES_MAX as u64 + 5 {
            times.note_at(&main, height, height * 10);
        }
        times.note_at(&instance("side"), 1, 7);
        assert_eq!(times.range(&main, 1, 2), [(6, 60), (7, 70)], "the oldest are gone");
        assert_eq!(times.range(&main, TIMES_MAX as u64 + 5, 9), [(8197, 81_970)]);
        assert_eq!(times.range(&instance("side"), 0, 9), [(1, 7)]);
        assert_eq!(times.range(&instance("none"), 1, 9), []);
    }

    #[test]
    fn what_was_before_a_gap_is_forgotten() {
        let (times, main) = (BlockTimes::default(), instance("main"));
        times.note_at(&main, 1, 10);
        times.note_at(&main, 9, 90);
        times.note_at(&main, 10, 100);
        assert_eq!(times.range(&main, 1, 9), [(9, 90), (10, 100)]);
    }

    #[test]
    fn the_clock_goes_on() {
        let (times, main) = (BlockTimes::default(), instance("main"));
        times.note(&main, 1);
        times.note(&main, 2);
        let found = times.range(&main, 1, 2);
        assert!(found[0].1 > 0 && found[0].1 <= found[1].1, "{found:?}");
    }
}
