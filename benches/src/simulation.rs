//! A small simulated network under load: what the table of costs is measured in, and whose trace is kept.

use crate::{network, samples};
use bytes::Bytes;
use regatta_api::config::VoteTopology;
use regatta_base::{Digest, Height};
use regatta_sim::{Costs, DiskModel, HostSetup, MachineModel, Nanos, NetworkModel, Probe, Setup, World};

/// Nanoseconds of a millisecond.
const MILLISECOND: Nanos = 1_000_000;
/// Time between two submissions.
const INTERVAL_NS: Nanos = 10 * MILLISECOND;
/// Time until all links are up.
const START_NS: Nanos = 500 * MILLISECOND;

/// How a simulation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Events that nodes handled.
    pub events: u64,
    /// Lowest height of a node.
    pub height: Height,
    /// Digest over all events and ledgers.
    pub trace: Digest,
}

/// `size` validators, all linked with each other, that get `transactions` in submissions of ten; `probe` looks on.
///
/// # Panics
/// When the nodes do not fit together, which is a bug of this function.
#[must_use]
pub fn simulate(size: usize, transactions: &[Bytes], costs: Costs, probe: Option<Box<dyn Probe>>) -> Outcome {
    let host = |index: usize| {
        let others: Vec<usize> = (0..size).filter(|other| *other != index).collect();
        HostSetup {
            config: network::config((index, size), &others, VoteTopology::Relay),
            secret: samples::key("validator", index),
            region: 0,
            late: false,
        }
    };
    let setup = Setup {
        hosts: (0..size).map(host).collect(),
        network: NetworkModel::default(),
        machine: MachineModel::default(),
        disk: DiskModel::default(),
        costs,
        seed: 1,
    };
    let mut world = World::new(setup).expect("every node knows every other");
    world.run_until(START_NS);
    if let Some(probe) = probe {
        world.probe(probe);
    }
    for (number, submission) in transactions.chunks(10).enumerate() {
        world.submit(number % size, number as u64, None, submission.to_vec());
        world.run_until(world.now() + INTERVAL_NS);
    }
    world.run_until(world.now() + START_NS);
    let instance = samples::instance();
    let heights = (0..size).map(|host| world.height(host, &instance));
    Outcome {
        height: heights.min().unwrap_or(0),
        events: world.statistics().events,
        trace: world.trace(),
    }
}
