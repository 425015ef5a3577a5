//! Who comes and goes: absences with their times, decided before the run.

use crate::{
    scenario::{Absence, Leave},
    units::Duration,
};
use serde::{Deserialize, Serialize};

/// All absences of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChurn {
    /// By departure; `Step::Leave` and `Step::Return` name them by position.
    pub absences: Vec<PlannedAbsence>,
    /// Departures that wait for others to return, or do not take place, since they would have taken the quorum away or
    /// met a fault.
    pub put_off: u32,
}

impl PlannedChurn {
    /// Whether every node is there all the time.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.absences.is_empty() && self.put_off == 0
    }

    /// Nodes that are not started with the others, ascending.
    #[must_use]
    pub fn late(&self) -> Vec<u32> {
        let late = self.absences.iter().filter(|absence| absence.is_late_start());
        let mut nodes: Vec<u32> = late.map(|absence| absence.node).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Nodes that are never there, ascending.
    #[must_use]
    pub fn never(&self) -> Vec<u32> {
        let never = self.absences.iter().filter(|absence| absence.is_for_all_time());
        let mut nodes: Vec<u32> = never.map(|absence| absence.node).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Nodes that do not return, ascending.
    #[must_use]
    pub fn gone(&self) -> Vec<u32> {
        let gone = self.absences.iter().filter(|absence| absence.until_ms.is_none());
        let mut nodes: Vec<u32> = gone.map(|absence| absence.node).collect();
        nodes.sort_unstable();
        nodes
    }
}

/// One absence of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedAbsence {
    /// Position in [`PlannedChurn::absences`].
    pub index: u32,
    /// The node.
    pub node: u32,
    /// When it leaves, in milliseconds after the start of the load; at 0 it is not started with the others.
    pub at_ms: u64,
    /// When it returns, in milliseconds after the start of the load; none when it stays away.
    pub until_ms: Option<u64>,
    /// How it leaves.
    pub leave: Leave,
    /// Whether it may take the quorum away.
    pub breaks_quorum: bool,
}

impl PlannedAbsence {
    /// The row of a scenario that says the same; `name` gives the node's name.
    #[must_use]
    pub fn row(&self, name: impl Fn(u32) -> String) -> Absence {
        Absence {
            node: name(self.node),
            at: Duration::from_millis(self.at_ms),
            until: self.until_ms.map(Duration::from_millis),
        }
    }

    /// Whether the node is not started with the others.
    #[must_use]
    pub fn is_late_start(&self) -> bool {
        self.at_ms == 0
    }

    /// Whether the node is not there at any time.
    #[must_use]
    pub fn is_for_all_time(&self) -> bool {
        self.is_late_start() && self.until_ms.is_none()
    }

    /// Whether the node is away at `at_ms`, or was within `margin_ms` before.
    #[must_use]
    pub fn covers(&self, at_ms: u64, margin_ms: u64) -> bool {
        self.at_ms <= at_ms
            && self
                .until_ms
                .is_none_or(|until| at_ms < until.saturating_add(margin_ms))
    }
}
