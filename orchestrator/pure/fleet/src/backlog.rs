//! The events of a run that an agent keeps until the lab has seen them: numbered from 1, of bounded size.

use crate::message::{Event, NodeEvent};
use std::collections::VecDeque;

/// Kept events, oldest first.
#[derive(Debug, Clone)]
pub struct Backlog {
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    bytes_max: usize,
    last: u64,
}

impl Backlog {
    /// An empty one that keeps at most about `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            bytes_max,
            last: 0,
        }
    }

    /// Numbers an event of time `at_us` and keeps it. Where there is no room, the oldest samples go first, and only then
    /// the oldest of anything.
    pub fn push(&mut self, at_us: u64, body: NodeEvent) -> &Event {
        self.last += 1;
        let weight = body.weight();
        self.bytes += weight;
        while self.bytes > self.bytes_max && !self.events.is_empty() {
            let samples = self.events.iter().position(|(event, _)| event.body.is_sample());
            let Some((_, freed)) = self.events.remove(samples.unwrap_or(0)) else {
                break;
            };
            self.bytes -= freed;
        }
        let sequence = self.last;
        self.events.push_back((Event { sequence, at_us, body }, weight));
        debug_assert_eq!(self.bytes, self.events.iter().map(|(_, weight)| weight).sum::<usize>());
        &self.events[self.events.len() - 1].0
    }

    /// Number of the last event; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The kept events after number `seen`, oldest first.
    pub fn after(&self, seen: u64) -> impl ExactSizeIterator<Item = &Event> {
        let first = self.events.partition_point(|(event, _)| event.sequence <= seen);
        self.events.range(first..).map(|(event, _)| event)
    }

    /// How many events after number `seen` are no longer kept.
    #[must_use]
    pub fn missed(&self, seen: u64) -> u64 {
        self.last.saturating_sub(seen) - self.after(seen).len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::HostSample;
    use proptest::prelude::*;

    fn announced(bytes: usize) -> NodeEvent {
        NodeEvent::Announced {
            node: "val-0".parse().unwrap(),
            line: "x".repeat(bytes),
        }
    }

    fn sampled() -> NodeEvent {
        NodeEvent::Sampled {
            host: HostSample::default(),
            nodes: Vec::new(),
        }
    }

    #[test]
    fn samples_make_room_for_what_matters() {
        let mut backlog = Backlog::new(2000);
        backlog.push(1, announced(100));
        for at in 0..100 {
            backlog.push(at, sampled());
        }
        backlog.push(2, announced(100));
        let kept: Vec<u64> = backlog
            .after(0)
            .filter(|event| !event.body.is_sample())
            .map(|event| event.sequence)
            .collect();
        assert_eq!(kept, [1, 102]);
        assert_eq!(backlog.missed(0), 102 - backlog.after(0).len() as u64);
        assert_eq!((backlog.after(102).len(), backlog.missed(102)), (0, 0));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_bounded_ordered_and_counted(sizes in proptest::collection::vec(0_usize..500, 0..200), seen in 0_u64..250) {
            let mut backlog = Backlog::new(4000);
            for (at, &size) in sizes.iter().enumerate() {
                backlog.push(at as u64, if size % 3 == 0 { sampled() } else { announced(size) });
            }
            let kept: Vec<u64> = backlog.after(seen).map(|event| event.sequence).collect();
            prop_assert!(kept.is_sorted());
            prop_assert_eq!(kept.len() as u64 + backlog.missed(seen), backlog.last().saturating_sub(seen));
            prop_assert!(backlog.bytes <= 4000);
        }
    }
}
