//! Packets on their way, by the time at which each is due, within a limit of memory.

use crate::Nanos;
use std::{cmp::Reverse, collections::BinaryHeap};

/// Memory that a packet takes beside its bytes.
const ENTRY_BYTES: usize = 64;

/// What is due at one time comes out in the order in which it came in.
#[derive(Debug)]
pub struct Schedule<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    next: u64,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Entry<T> {
    at: Nanos,
    number: u64,
    bytes: usize,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Schedule<T> {
    /// Nothing on its way, and room for `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            next: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes an item of `bytes` bytes that is due at `at`.
    ///
    /// # Errors
    /// The item itself when there is no room.
    pub fn push(&mut self, at: Nanos, bytes: usize, item: T) -> Result<(), T> {
        let bytes = bytes + ENTRY_BYTES;
        if self.bytes + bytes > self.bytes_max {
            return Err(item);
        }
        self.bytes += bytes;
        let number = self.next;
        self.next += 1;
        self.heap.push(Reverse(Entry {
            at,
            number,
            bytes,
            item,
        }));
        Ok(())
    }

    /// The next item that is due at `now`, with its time.
    pub fn pop(&mut self, now: Nanos) -> Option<(Nanos, T)> {
        if self.next_at()? > now {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        debug_assert!(self.bytes >= entry.bytes, "what came in was counted");
        self.bytes -= entry.bytes;
        Some((entry.at, entry.item))
    }

    /// When the next item is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Items on their way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Memory that is taken, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_schedule_gives_the_item_back() {
        let mut schedule = Schedule::new(2 * (ENTRY_BYTES + 100));
        assert_eq!(schedule.push(5, 100, "a"), Ok(()));
        assert_eq!(schedule.push(5, 101, "b"), Err("b"));
        assert_eq!(schedule.push(4, 100, "c"), Ok(()));
        assert_eq!(schedule.pop(4), Some((4, "c")));
        assert_eq!(schedule.pop(4), None);
        assert_eq!(schedule.next_at(), Some(5));
        assert_eq!(schedule.push(5, 100, "d"), Ok(()));
    }

    proptest! {
        #[test]
        fn items_come_out_by_time_and_then_by_their_order(times in proptest::collection::vec(0_u64..50, 0..100)) {
            let mut schedule = Schedule::new(1 << 20);
            for (number, &at) in times.iter().enumerate() {
                schedule.push(at, 10, number).unwrap();
            }
            let mut expected: Vec<(u64, usize)> = times.iter().copied().zip(0..).collect();
            expected.sort_unstable();
            let out: Vec<(u64, usize)> = std::iter::from_fn(|| schedule.pop(100)).collect();
            prop_assert_eq!(out, expected);
            prop_assert_eq!((schedule.bytes(), schedule.len()), (0, 0));
        }
    }
}
