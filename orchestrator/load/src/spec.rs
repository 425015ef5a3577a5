//! What a load needs to know, and its limits.

use crate::RunClock;
use regatta_base::{ChainId, InstanceId, limits};
use regatta_plan::{PlannedLoad, PlannedPhases};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The control interface of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Index of the node in the plan.
    pub node: u32,
    /// Its name, for messages.
    pub name: String,
    /// Where its control interface listens.
    pub http: SocketAddr,
}

/// One load of a plan, with everything that the plan does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadSpec {
    /// The load as planned.
    pub load: PlannedLoad,
    /// Phases of the run; only the measure phase enters the headline histograms.
    pub phases: PlannedPhases,
    /// Network that the transactions are signed for.
    pub chain: ChainId,
    /// Instance that they are signed for.
    pub instance: InstanceId,
    /// Seed of arrivals, accounts and payloads.
    pub seed: u64,
    /// Distinguishes several loads on one cluster: accounts and payloads differ when it does.
    pub salt: String,
    /// Who gets the transactions, in the order of [`PlannedLoad::targets`].
    pub targets: Vec<Endpoint>,
    /// Nodes that are asked about transactions whose answer was lost, in this order.
    pub resolvers: Vec<Endpoint>,
    /// Clock of the run.
    pub clock: RunClock,
    /// Bounds of the generator.
    pub limits: LoadLimits,
}

/// Bounds of the generator: what exceeds one is counted as not sent, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadLimits {
    /// Most bytes of transactions that are built and not sent. 1 GiB.
    pub prepared_bytes: usize,
    /// Most bytes of transactions in one request. 256 KiB.
    pub request_bytes: usize,
    /// Most requests in flight to one target, each on a connection of its own. 640.
    pub requests_in_flight: usize,
    /// Most bytes of due transactions that wait for a free request to one target. 32 MiB.
    pub backlog_bytes: usize,
    /// Whether pacer and sender ask for real-time priority. They do; where it is refused the run says so.
    pub real_time: bool,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self {
            prepared_bytes: 1 << 30,
            request_bytes: 256 << 10,
            requests_in_flight: 640,
            backlog_bytes: 32 << 20,
            real_time: true,
        }
    }
}

/// Most transactions of one load: their ids and fates stay in memory for the checks, about 48 bytes each.
pub(crate) const TRANSACTIONS_MAX: usize = 100_000_000;
/// Largest value of a `put` leaves its transaction well below the limit of the protocol.
pub(crate) const TRANSACTION_BYTES_MAX: usize = limits::TRANSACTION_BYTES_MAX;
