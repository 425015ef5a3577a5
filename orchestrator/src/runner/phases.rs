//! When each phase of a run began and ended.

use regatta_report::model::{Phase, PhaseKind};

/// Phases in order, each ending where the next begins.
#[derive(Debug, Default)]
pub(super) struct Phases(Vec<Phase>);

impl Phases {
    pub(super) fn begin(&mut self, kind: PhaseKind, at_ms: u64) {
        self.end(at_ms);
        debug_assert!(self.0.last().is_none_or(|last| last.end_ms >= last.start_ms));
        self.0.push(Phase {
            kind,
            start_ms: at_ms,
            end_ms: at_ms,
        });
    }

    pub(super) fn end(&mut self, at_ms: u64) {
        if let Some(last) = self.0.last_mut() {
            // An interrupted phase may end before its planned beginning.
            last.end_ms = at_ms.max(last.start_ms);
        }
    }

    /// When the last phase ended, or began when it has not ended.
    pub(super) fn end_ms(&self) -> u64 {
        self.0.last().map_or(0, |last| last.end_ms)
    }

    pub(super) fn to_vec(&self) -> Vec<Phase> {
        self.0.clone()
    }
}
