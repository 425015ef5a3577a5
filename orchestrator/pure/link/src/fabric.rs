//! The network in motion: decides what becomes of each packet and remembers what that takes.

use crate::{Change, MILLION, Model, Nanos, Partition, Path, card::Card};
use rand::{Rng, RngExt};
use std::collections::BTreeMap;

/// A packet that leaves its place arrives up to this much later, or up to the delay of its link when that is more.
const REORDER_NS_MIN: Nanos = 1_000_000;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It reaches the card of its receiver at this time, and perhaps once more.
    Arrives {
        /// When.
        at: Nanos,
        /// When its duplicate arrives.
        again: Option<Nanos>,
    },
    /// It never arrives.
    Lost(Loss),
}

/// Why a packet does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// A partition lies between sender and receiver.
    Cut,
    /// The queue of a card is full.
    Queue,
    /// By chance, as the model says.
    Chance,
}

/// A network whose packets are decided one by one.
#[derive(Debug)]
pub struct Fabric<R> {
    model: Model,
    rng: R,
    sending: Vec<Card>,
    receiving: Vec<Card>,
    /// When the last packet arrives that kept its place, by sender and receiver.
    last: Vec<BTreeMap<u32, Nanos>>,
    partitions: BTreeMap<u32, Partition>,
    changes: BTreeMap<u32, Change>,
    /// Directions that the model or a change gives a rate of their own.
    narrow: BTreeMap<(u32, u32), Card>,
}

impl<R: Rng> Fabric<R> {
    /// A network that nothing has passed yet.
    #[must_use]
    pub fn new(model: Model, rng: R) -> Self {
        let nodes = model.nodes();
        debug_assert!(model.delay_ns.iter().all(|row| row.len() == model.delay_ns.len()));
        Self {
            model,
            rng,
            sending: vec![Card::default(); nodes],
            receiving: vec![Card::default(); nodes],
            last: vec![BTreeMap::new(); nodes],
            partitions: BTreeMap::new(),
            changes: BTreeMap::new(),
            narrow: BTreeMap::new(),
        }
    }

    /// What becomes of a packet of `bytes` bytes that `from` sends to `to` at `now`.
    pub fn send(&mut self, now: Nanos, from: u32, to: u32, bytes: usize) -> Fate {
        if self.partitions.values().any(|partition| partition.cuts(from, to)) {
            return Fate::Lost(Loss::Cut);
        }
        let left = match (self.model.rate_bits, self.sending.get_mut(from as usize)) {
            (Some(rate), Some(card)) => card.pass(now, bytes, rate),
            _ => Some(now),
        };
        let path = self.path(from, to);
        let left = left.and_then(|left| match path.rate_bits {
            Some(rate) => self.narrow.entry((from, to)).or_default().pass(left, bytes, rate),
            None => Some(left),
        });
        let Some(left) = left else {
            return Fate::Lost(Loss::Queue);
        };
        if self.happens(path.loss_ppm) {
            return Fate::Lost(Loss::Chance);
        }
        let wish = left.saturating_add(self.delay(&path));
        if self.happens(path.reorder_ppm) {
            let late = self.rng.random_range(0..=path.delay_ns.max(REORDER_NS_MIN));
            let at = wish.saturating_add(late);
            return Fate::Arrives { at, again: None };
        }
        let at = self.in_order(from, to, wish);
        let again = self.happens(path.duplicate_ppm).then_some(at);
        Fate::Arrives { at, again }
    }

    /// When a packet that reaches the card of `to` at `at` has passed it; none when that card's queue is full.
    pub fn receive(&mut self, at: Nanos, to: u32, bytes: usize) -> Option<Nanos> {
        match (self.model.rate_bits, self.receiving.get_mut(to as usize)) {
            (Some(rate), Some(card)) => card.pass(at, bytes, rate),
            _ => Some(at),
        }
    }

    /// How long a packet that `from` sends to `to` at `now` will wait behind others before it leaves.
    #[must_use]
    pub fn waits_to_leave(&self, now: Nanos, from: u32, to: u32) -> Nanos {
        let card = self
            .sending
            .get(from as usize)
            .filter(|_| self.model.rate_bits.is_some());
        let begins = card.map_or(now, |card| card.begins(now));
        let narrow = self.narrow.get(&(from, to));
        narrow.map_or(begins, |card| card.begins(begins)).saturating_sub(now)
    }

    /// How long a packet that reaches the card of `to` at `at` will wait there behind others.
    #[must_use]
    pub fn waits_to_arrive(&self, at: Nanos, to: u32) -> Nanos {
        let card = self
            .receiving
            .get(to as usize)
            .filter(|_| self.model.rate_bits.is_some());
        card.map_or(0, |card| card.begins(at).saturating_sub(at))
    }

    /// Whether cards take any time at the moment.
    #[must_use]
    pub fn has_rates(&self) -> bool {
        self.model.rate_bits.is_some()
    }

    /// Parts the network; `key` names the partition until it is healed.
    pub fn part(&mut self, key: u32, partition: Partition) {
        self.partitions.insert(key, partition);
    }

    /// Makes links worse; `key` names the change until it is healed.
    pub fn change(&mut self, key: u32, change: Change) {
        self.changes.insert(key, change);
    }

    /// Ends the partition and the change called `key`.
    pub fn heal(&mut self, key: u32) {
        self.partitions.remove(&key);
        self.changes.remove(&key);
        if self.changes.is_empty() {
            let model = &self.model;
            self.narrow
                .retain(|&(from, to), _| model.path(from, to).rate_bits.is_some());
        }
    }

    /// The direction from one node to another as it is now.
    #[must_use]
    pub fn path(&self, from: u32, to: u32) -> Path {
        let mut path = self.model.path(from, to);
        for change in self.changed(from, to) {
            path.delay_ns = path.delay_ns.saturating_add(change.delay_ns);
            path.jitter_ppm = change.jitter_ppm.unwrap_or(path.jitter_ppm);
            path.loss_ppm = change.loss_ppm.unwrap_or(path.loss_ppm).min(MILLION);
            path.rate_bits = change.rate_bits.into_iter().chain(path.rate_bits).min();
        }
        path
    }

    /// Changes of one direction, in the order of their keys.
    fn changed(&self, from: u32, to: u32) -> impl Iterator<Item = &Change> {
        self.changes
            .values()
            .filter(move |change| change.links.contain(from, to))
    }

    /// Draws whether something of a share of `ppm` millionths happens; no draw where it never does.
    fn happens(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.rng.random_range(0..MILLION) < ppm
    }

    fn delay(&mut self, path: &Path) -> Nanos {
        let spread = path.spread_ns();
        if spread == 0 {
            return path.delay_ns;
        }
        let drawn = self.rng.random_range(0..=2 * spread.min(path.delay_ns));
        path.delay_ns - spread.min(path.delay_ns) + drawn
    }

    /// A packet with little delay does not overtake those before it, as on one route of the internet.
    fn in_order(&mut self, from: u32, to: u32, wish: Nanos) -> Nanos {
        let Some(lasts) = self.last.get_mut(from as usize) else {
            return wish;
        };
        let last = lasts.entry(to).or_default();
        *last = wish.max(*last);
        *last
    }
}

#[cfg(test)]
mod tests;
