//! What will happen, in the order of time and, at one time, in the order in which it was decided.

use crate::Nanos;
use std::{cmp::Ordering, collections::BinaryHeap};

/// One entry; compared by its time and serial number alone, the earliest being the greatest.
#[derive(Debug)]
struct Entry<T> {
    at: Nanos,
    serial: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

/// A queue of events in virtual time.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    serial: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            serial: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Lets `what` happen at `at`, after everything that was put there before.
    pub(crate) fn push(&mut self, at: Nanos, what: T) {
        self.serial += 1;
        let serial = self.serial;
        self.heap.push(Entry { at, serial, what });
    }

    /// Takes the next event that happens at `until` or before.
    pub(crate) fn pop_until(&mut self, until: Nanos) -> Option<(Nanos, T)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_come_by_time_and_then_in_the_order_of_pushing(times in proptest::collection::vec(0u64..20, 0..100)) {
            let mut queue = Queue::default();
            for (index, &at) in times.iter().enumerate() {
                queue.push(at, index);
            }
            let mut expected: Vec<(Nanos, usize)> = times.iter().copied().zip(0..).collect();
            expected.sort_unstable();
            let mut found = Vec::new();
            while let Some(next) = queue.pop_until(9) {
                found.push(next);
            }
            prop_assert!(found.iter().all(|(at, _)| *at <= 9));
            while let Some(next) = queue.pop_until(u64::MAX) {
                found.push(next);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
