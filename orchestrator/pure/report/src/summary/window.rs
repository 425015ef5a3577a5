//! The measured time: the measure phase without the warm-up that MSER-5 finds in it.

use crate::{
    model::{Event, EventKind, PhaseKind, RunRecord, Second},
    result::Window,
    stats::{WarmUp, mser5},
};

/// The measure phase less its warm-up; empty when the run never got there.
pub(super) fn find(record: &RunRecord) -> Window {
    let measured = record.phases.iter().find(|phase| phase.kind == PhaseKind::Measure);
    let (start_ms, end_ms) = measured.map_or((0, 0), |phase| (phase.start_ms, phase.end_ms.max(phase.start_ms)));
    let mut window = Window {
        start_ms,
        end_ms,
        ..Window::default()
    };
    // A fault is not a warm-up: only what comes before the first one is looked at, so that no cut can hide it.
    let fault_ms = first_fault(record, &window);
    let settling_end_ms = fault_ms.unwrap_or(end_ms);
    let settling: Vec<(u64, f64)> = record
        .blocks
        .iter()
        .filter(|block| window.contains(block.at_ms) && block.at_ms < settling_end_ms)
        .filter_map(|block| Some((block.at_ms, block.latency.mean()?)))
        .collect();
    let means: Vec<f64> = settling.iter().map(|&(_, mean)| mean).collect();
    match mser5(&means) {
        // The time before a fault is too short to say that a run never settles.
        WarmUp::Refused => window.cut_refused = fault_ms.is_none(),
        WarmUp::Cut(0) => {}
        // The window opens just after the last block that was cut.
        WarmUp::Cut(blocks) => window.start_ms = settling[blocks - 1].0 + 1,
    }
    debug_assert!(window.start_ms >= start_ms, "a cut only takes from the front");
    window.cut_ms = window.start_ms - start_ms;
    let inside = || record.blocks.iter().filter(|block| window.contains(block.at_ms));
    let blocks = inside().count() as u64;
    let loaded_blocks = inside().filter(|block| !block.latency.is_empty()).count() as u64;
    Window {
        blocks,
        loaded_blocks,
        ..window
    }
}

/// When the first fault inside the window begins to act, or the first node comes or goes in it.
pub(super) fn first_fault(record: &RunRecord, window: &Window) -> Option<u64> {
    let inside = |event: &&Event| event.start_ms < window.end_ms && event.end_ms >= window.start_ms;
    let acting = |event: &&Event| matches!(event.kind, EventKind::Fault | EventKind::Crash);
    let faults = record.events.iter().filter(acting).filter(inside);
    let absences = record.churn.iter().flat_map(|churn| &churn.absences);
    let moves = absences.flat_map(|absence| [Some(absence.left_ms), absence.returned_ms]);
    let moves = moves
        .flatten()
        .filter(|at_ms| (window.start_ms..window.end_ms).contains(at_ms));
    faults.map(|event| event.start_ms).chain(moves).min()
}

/// The seconds that lie wholly inside the window.
pub(super) fn full_seconds<'a>(record: &'a RunRecord, window: &Window) -> impl Iterator<Item = &'a Second> {
    let (first, last) = (window.start_ms.div_ceil(1000), window.end_ms / 1000);
    record
        .seconds
        .iter()
        .filter(move |second| (first..last).contains(&u64::from(second.second)))
}
