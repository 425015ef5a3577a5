//! From a plan to its world, and from the world to samples.

use crate::{
    cluster::{ClusterError, node_configs, node_key},
    sample::{Counters, SampleOutcome},
};
use regatta_api::metrics::Metric;
use regatta_plan::{Plan, PlannedWorld};
use regatta_report::model::{Process, ProcessKind, Sample};
use regatta_sim::{Direction, DiskModel, HostSetup, MEASURED, MachineModel, NetworkModel, Setup, SimError, World};
use std::collections::BTreeMap;

/// Most nodes whose samples are kept by the second; of more, fewer samples are.
const SECONDS_OF_NODES: u64 = 100;

/// The world that a plan describes.
///
/// # Errors
/// [`ClusterError`] for nodes without a configuration, [`SimError`] for nodes that do not fit together.
pub(super) fn build(plan: &Plan, planned: &PlannedWorld) -> Result<Result<World, SimError>, ClusterError> {
    let configs = node_configs(plan)?;
    let late = plan.churn.late();
    let host = |(node, config): (&regatta_plan::PlannedNode, _)| {
        let region = node.region.clone().unwrap_or_default();
        HostSetup {
            config,
            secret: node_key(plan, node),
            region: planned.regions.iter().position(|name| *name == region).unwrap_or(0),
            late: late.binary_search(&node.index).is_ok(),
        }
    };
    let network = NetworkModel {
        delay_ns: planned.delay_ns.clone(),
        jitter_ppm: planned.jitter_ppm,
        loss_ppm: planned.loss_ppm,
        rate_bits: planned.rate_bits,
        reorder_ppm: planned.reorder_ppm,
        duplicate_ppm: planned.duplicate_ppm,
        directions: directions(plan, planned),
        ..NetworkModel::default()
    };
    Ok(World::new(Setup {
        hosts: plan.nodes.iter().zip(configs).map(host).collect(),
        network,
        machine: MachineModel {
            cores: planned.cores as usize,
            shared: planned.shared,
        },
        disk: DiskModel {
            flush_ns: planned.flush_ns,
            ..DiskModel::default()
        },
        costs: MEASURED,
        seed: plan.seed,
    }))
}

/// The directions of links that have conditions of their own.
fn directions(plan: &Plan, planned: &PlannedWorld) -> BTreeMap<(usize, usize), Direction> {
    let ways = plan.edges.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
    let own = |(from, to): (u32, u32)| {
        let mut covering = planned.directions.iter().filter(|one| one.covers(from, to)).peekable();
        covering.peek()?;
        let own = covering.fold(Direction::default(), |own, one| Direction {
            delay_ns: one.delay_ns.or(own.delay_ns),
            jitter_ppm: one.jitter_ppm.or(own.jitter_ppm),
            loss_ppm: one.loss_ppm.or(own.loss_ppm),
            rate_bits: one.rate_bits.or(own.rate_bits),
        });
        Some(((from as usize, to as usize), own))
    };
    ways.filter_map(own).collect()
}

/// Samples of all nodes over virtual time.
pub(super) struct Samples {
    processes: Vec<Process>,
    /// Milliseconds between two samples of a node.
    pub(super) interval_ms: u64,
}

impl Samples {
    pub(super) fn new(plan: &Plan) -> Self {
        let process = |node: &regatta_plan::PlannedNode| Process {
            name: node.name.clone(),
            kind: ProcessKind::Node,
            ..Process::default()
        };
        Self {
            processes: plan.nodes.iter().map(process).collect(),
            interval_ms: 1000 * (plan.nodes.len() as u64).div_ceil(SECONDS_OF_NODES).max(1),
        }
    }

    /// Looks at every node.
    pub(super) fn take(&mut self, world: &World) {
        let at_ms = world.now() / super::MILLISECOND;
        for (host, process) in self.processes.iter_mut().enumerate() {
            let (view, counters) = (world.view(host), counters(world, host));
            process.cpu_total_s = view.cpu_ns as f64 / 1e9;
            process.restarts = view.starts.saturating_sub(1);
            process.traffic = counters.traffic();
            process.samples.push(Sample {
                at_ms,
                cpu_s: process.cpu_total_s,
                disk_bytes: view.journal_bytes,
                height: view.height,
                peers: view.peers as u64,
                mempool: view.pending,
                transactions: counters.transactions,
                messages_in: counters.messages_in,
                messages_out: counters.messages_out,
                bytes_in: counters.bytes_in,
                bytes_out: counters.bytes_out,
                ..Sample::default()
            });
        }
    }

    /// Everything for the report; there is no host to sample.
    pub(super) fn finish(&mut self) -> SampleOutcome {
        SampleOutcome {
            processes: std::mem::take(&mut self.processes),
            ..SampleOutcome::default()
        }
    }
}

fn counters(world: &World, host: usize) -> Counters {
    Counters::read(|metric: Metric| world.counter(host, metric))
}
