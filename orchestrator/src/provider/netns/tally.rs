//! What a switch counts, and how late it was.

use hdrhistogram::Histogram;
use regatta_link::Loss;
use std::collections::BTreeMap;

/// Greatest lateness that is told apart, in microseconds; more counts as this.
const LATE_US_MAX: u64 = 60_000_000;

/// Packets by their fates.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Packets between nodes that were delivered.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets between nodes and the lab, which no link delays.
    pub lab_packets: u64,
    /// Packets that did not arrive as the model wills, by reason.
    pub lost: BTreeMap<Loss, u64>,
    /// Packets that there was no memory for.
    pub crowded_out: u64,
    /// IPv4 packets that are none of this network's: from or to a stranger.
    pub strays: u64,
    /// Packets that a device did not take.
    pub refused: u64,
    /// How late packets between nodes were handed over, in microseconds after the planned time.
    pub late_us: Histogram<u64>,
    /// Time on a processor in nanoseconds.
    pub cpu_ns: u64,
}

impl Tally {
    /// Nothing counted.
    pub(super) fn new() -> Self {
        let late_us = Histogram::new_with_bounds(1, LATE_US_MAX, 3);
        Self {
            packets: 0,
            bytes: 0,
            lab_packets: 0,
            lost: BTreeMap::new(),
            crowded_out: 0,
            strays: 0,
            refused: 0,
            late_us: late_us.expect("the bounds are constants"),
            cpu_ns: 0,
        }
    }

    pub(super) fn lost(&mut self, why: Loss) {
        *self.lost.entry(why).or_default() += 1;
    }

    pub(super) fn delivered(&mut self, bytes: usize, late_ns: u64) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.late_us.saturating_record(late_ns / 1000);
    }
}
