//! Nodes that come and go by themselves.

use crate::units::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Nodes that leave and return by themselves: drawn from distributions, or as a trace says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Churn {
    /// Group whose nodes come and go by `session` and `rejoin`.
    pub group: Option<String>,
    /// How long a node stays.
    pub session: Option<Distribution>,
    /// How long it is away.
    pub rejoin: Option<Distribution>,
    /// File of absences, relative to the scenario's folder: lines of `node,leave,return` with times such as `5s`; an
    /// empty `return` means that the node stays away.
    pub trace: Option<String>,
    /// Absences, one by one.
    pub row: Vec<Absence>,
    /// How a node leaves.
    pub leave: Leave,
    /// Declares that departures may take a quorum away; otherwise one that would is put off.
    pub breaks_quorum: bool,
}

/// One absence of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// The node.
    pub node: String,
    /// When it leaves, from the start of the warm-up; at 0 it is not started with the others.
    pub at: Duration,
    /// When it returns; without it, it stays away.
    #[serde(default)]
    pub until: Option<Duration>,
}

/// How a node leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Leave {
    /// SIGKILL: without a word.
    #[default]
    Kill,
    /// SIGTERM: it ends by itself.
    Stop,
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "killed",
            Self::Stop => "stopped",
        })
    }
}

/// A distribution of times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Weibull with shape and scale.
    Weibull(f64, Duration),
    /// Exponential with mean.
    Exp(Duration),
    /// Always the same.
    Fixed(Duration),
}
