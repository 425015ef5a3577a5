//! What happened during a run, and when it was observed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A fault of the scenario, from injection to healing.
    Fault,
    /// A process was started again.
    Restart,
    /// A process ended without being told to.
    Crash,
    /// Anything else worth knowing.
    #[default]
    Note,
}

impl EventKind {
    /// The kind in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Restart => "restart",
            Self::Crash => "crash",
            Self::Note => "note",
        }
    }
}

/// Something that happened during the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When it began.
    pub start_ms: u64,
    /// When it ended; the same as its start for a moment.
    pub end_ms: u64,
    /// What kind.
    pub kind: EventKind,
    /// The node concerned, or empty.
    pub node: String,
    /// What happened.
    pub text: String,
}

impl Event {
    /// What happened, with the node's name where the text does not have it.
    #[must_use]
    pub fn described(&self) -> String {
        if self.text.contains(&self.node) {
            self.text.clone()
        } else {
            format!("{} {}", self.node, self.text)
        }
    }
}
