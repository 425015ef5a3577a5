//! What is known of links while nodes run: measurements, what they took, and faults that are over.

use regatta_plan::PlannedFault;
use regatta_report::model::{Beside, LinkProbe};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared between the runner and the task that measures.
#[derive(Debug, Default)]
pub(super) struct LinkBook(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    probes: Vec<LinkProbe>,
    /// What was measured beside the load, once that begins.
    beside: Option<Beside>,
    /// Faults of links that are over, and when they ended in milliseconds.
    mended: Vec<(u64, PlannedFault)>,
}

impl LinkBook {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a measurement.
    pub(super) fn measured(&self, probe: LinkProbe) {
        self.entries().probes.push(probe);
    }

    /// The measurements that are like this.
    pub(super) fn like(&self, is_like: impl Fn(&LinkProbe) -> bool) -> Vec<LinkProbe> {
        let entries = self.entries();
        entries.probes.iter().filter(|probe| is_like(probe)).cloned().collect()
    }

    /// Takes note of what measurements beside the load are and take.
    pub(super) fn beside_load(&self, note: impl FnOnce(&mut Beside)) {
        note(self.entries().beside.get_or_insert_default());
    }

    /// A fault is over; only those of links count.
    pub(super) fn fault_ended(&self, end_ms: u64, fault: &PlannedFault) {
        if fault.kind.is_on_links() {
            self.entries().mended.push((end_ms, fault.clone()));
        }
    }

    /// Whether a fault that is over changed what `from` sends to `to` after `since_ms`; a packet that it delayed may have
    /// been on its way for as long as that.
    pub(super) fn was_faulty(&self, (from, to): (u32, u32), since_ms: u64) -> bool {
        let reaches = |(end_ms, fault): &(u64, PlannedFault)| {
            let delay_ns = fault.link().map_or(0, |change| change.delay_ns);
            end_ms.saturating_add(delay_ns / 1_000_000) >= since_ms && fault.covers(from, to)
        };
        self.entries().mended.iter().any(reaches)
    }

    /// Everything that was measured.
    pub(super) fn take(&self) -> (Vec<LinkProbe>, Option<Beside>) {
        let mut entries = self.entries();
        (std::mem::take(&mut entries.probes), entries.beside.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fault;
    use regatta_plan::{FaultExtent, LinkChange, scenario::FaultKind};

    #[test]
    fn a_fault_is_felt_until_what_it_delayed_has_arrived() {
        let book = LinkBook::default();
        let slow = PlannedFault {
            extent: FaultExtent::Link(LinkChange {
                delay_ns: 500_000_000,
                ..LinkChange::default()
            }),
            ..fault(FaultKind::Link, &[1])
        };
        book.fault_ended(10_000, &slow);
        book.fault_ended(10_000, &fault(FaultKind::Crash, &[2]));
        let felt = |ends, since_ms| book.was_faulty(ends, since_ms);
        assert!(felt((0, 1), 10_000) && felt((1, 0), 10_500));
        assert!(!felt((0, 1), 10_501), "all of it has arrived");
        assert!(!felt((0, 2), 10_000), "a crash changes no link");
    }
}
