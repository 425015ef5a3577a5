//! How soon after each fault everything was as before: the first block, and then the latency.

use crate::{
    histogram::Counts,
    model::{Block, EventKind, PhaseKind, RunRecord},
    result::Recovery,
};

/// A block is as fast as before while its median response is at most this many times the median before.
const SLOWER_THAN_BEFORE_MAX: f64 = 2.0;

/// One entry for each fault that ended before the load did, in the order of the record.
///
/// Before is everything between the warm-up and the first fault of the run. Transactions that waited for the fault to end
/// count with their whole wait, so that a median comes down only when what piled up is worked off.
pub(super) fn recoveries(record: &RunRecord) -> Vec<Recovery> {
    let phase = |kind: PhaseKind| record.phases.iter().find(|phase| phase.kind == kind);
    let Some(measure) = phase(PhaseKind::Measure) else {
        return Vec::new();
    };
    let loaded_until = phase(PhaseKind::Cooldown).map_or(measure.end_ms, |phase| phase.end_ms);
    let faults = || record.events.iter().filter(|event| event.kind == EventKind::Fault);
    let first_fault = faults().map(|fault| fault.start_ms).min().unwrap_or(0);
    let before = record
        .blocks
        .iter()
        .filter(|block| (measure.start_ms..first_fault).contains(&block.at_ms));
    let before = Counts::merged(before.map(|block| &block.latency)).quantile(0.5);
    faults()
        .filter(|fault| fault.end_ms > fault.start_ms && fault.end_ms < loaded_until)
        .map(|fault| {
            // The next fault has an end of its own.
            let next = faults()
                .map(|other| other.start_ms)
                .filter(|&start| start > fault.end_ms);
            let until = next.min().unwrap_or(loaded_until);
            let after: Vec<&Block> = record
                .blocks
                .iter()
                .filter(|block| (fault.end_ms..until).contains(&block.at_ms))
                .collect();
            Recovery {
                fault: fault.described(),
                ended_ms: fault.end_ms,
                watched_ms: until - fault.end_ms,
                first_block_ms: after.first().map(|block| block.at_ms - fault.end_ms),
                before_p50_us: before,
                steady_ms: before.and_then(|before| steady_after(&after, fault.end_ms, before)),
            }
        })
        .collect()
}

/// The end of the last block that was slow, counted from `ended_ms`; `None` if no block after it was fast again.
fn steady_after(after: &[&Block], ended_ms: u64, before_us: u64) -> Option<u64> {
    let is_slow = |block: &&Block| {
        let median = block.latency.quantile(0.5);
        median.is_some_and(|median| median as f64 > SLOWER_THAN_BEFORE_MAX * before_us as f64)
    };
    let loaded: Vec<&Block> = after
        .iter()
        .copied()
        .filter(|block| !block.latency.is_empty())
        .collect();
    let last_slow = loaded.iter().rposition(is_slow);
    match last_slow {
        None => loaded.first().map(|block| block.at_ms - ended_ms),
        Some(place) if place + 1 < loaded.len() => Some(loaded[place].at_ms - ended_ms),
        Some(_) => None,
    }
}
