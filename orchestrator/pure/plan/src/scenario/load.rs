//! What is offered to the network.

use crate::{
    defaults,
    units::{Duration, Size},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Transactions offered to the network from the start of the warm-up to the end of the cool-down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Consensus instance; without it, the only one.
    pub consensus: Option<String>,
    /// Whether transactions leave by schedule or wait for answers.
    pub mode: LoadMode,
    /// When transactions leave.
    pub arrivals: ArrivalKind,
    /// Transactions per second: a number, or `{ ramp = [100, 2000], over = "3m" }`.
    pub rate: Rate,
    /// Kinds of transaction and their shares, e.g. `{ opaque = 0.7, put = 0.3 }`; shares are normalised.
    pub mix: BTreeMap<String, f64>,
    /// Payload of each transaction in bytes, before signature and header.
    pub size: Size,
    /// Group or node that gets the load, in turn; without it the full nodes, or the validators when there are none.
    pub target: Option<String>,
    /// Accounts that sign the transactions.
    pub senders: u32,
    /// Clients that wait for their answers, in closed loop.
    pub clients: Option<u32>,
    /// Hosts of a fleet that generate it, each an equal share to all targets; without it, the lab generates.
    pub generators: Option<u32>,
    /// Age at which a transaction that is not final counts as timed out.
    pub timeout: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            consensus: None,
            mode: LoadMode::default(),
            arrivals: ArrivalKind::default(),
            rate: Rate::Constant(defaults::RATE),
            mix: BTreeMap::from([("opaque".to_owned(), 1.0)]),
            size: defaults::PAYLOAD,
            target: None,
            senders: defaults::SENDERS,
            clients: None,
            generators: None,
            timeout: defaults::TIMEOUT,
        }
    }
}

/// Whether the network's speed influences the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadMode {
    /// A schedule made before the run: a slow network gets no mercy.
    #[default]
    Open,
    /// Clients that wait for each answer; not a latency test.
    Closed,
    /// Search for the highest rate that the objectives allow.
    Saturate,
}

/// When transactions leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalKind {
    /// At equal distances.
    Constant,
    /// Independently of each other: exponential gaps.
    #[default]
    Poisson,
    /// From a recorded file.
    Replay,
}

/// Offered transactions per second over all clients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Rate {
    /// The same all the time.
    Constant(f64),
    /// From the first rate to the second in a straight line, then constant.
    Ramp {
        /// First and last rate.
        ramp: (f64, f64),
        /// Time from the first to the last, from the start of the warm-up.
        over: Duration,
    },
}

/// Kinds of transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransactionKind {
    /// Signed bytes, checked by every validator.
    Opaque,
    /// A signed write of a key.
    Put,
    /// Unsigned bytes, ordered and not executed: only for comparison with benchmarks that do the same.
    Blob,
    /// The kudos application.
    Kudos,
    /// The chat application.
    Multichat,
}

impl TransactionKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Opaque, Self::Put, Self::Blob, Self::Kudos, Self::Multichat];

    /// The kind's name in a scenario.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Put => "put",
            Self::Blob => "blob",
            Self::Kudos => "kudos",
            Self::Multichat => "multichat",
        }
    }
}

impl fmt::Display for TransactionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
