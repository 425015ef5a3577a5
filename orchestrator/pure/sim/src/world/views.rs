//! What can be seen of a world from outside: ledgers, counters, the trace.

use super::World;
use crate::HostIndex;
use regatta_api::{
    metrics::Metric,
    view::{BlockSummary, BlockView, EvidenceView, InstanceLatest, SnapshotView, TransactionStatus},
};
use regatta_base::{Digest, Height, InstanceId, TransactionId};
use regatta_core::Node;

/// One look at a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostView {
    /// Its node runs.
    pub up: bool,
    /// How often it was started.
    pub starts: u32,
    /// Virtual processor time over all its lives, in nanoseconds.
    pub cpu_ns: u64,
    /// Bytes in its journal and its snapshots.
    pub journal_bytes: u64,
    /// Links that are up.
    pub peers: usize,
    /// Height of the last executed block of any instance.
    pub height: Height,
    /// Transactions that wait.
    pub pending: u64,
}

/// What the simulation itself did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Events that nodes handled, and faults.
    pub events: u64,
    /// Signatures, batches and transactions that nodes asked to have checked.
    pub checks_asked: u64,
    /// Those that were really computed; the others had been answered before.
    pub checks_computed: u64,
}

impl World {
    /// Number of hosts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are no hosts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether the host's node runs.
    #[must_use]
    pub fn is_up(&self, host: HostIndex) -> bool {
        self.hosts.get(host).is_some_and(|host| host.node.is_some())
    }

    /// Whether every node runs, has all its links, and takes transactions; those that start late are not waited for.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let is_awaited = |host: HostIndex| !self.hosts[host].late;
        self.hosts.iter().filter(|host| !host.late).all(|host| {
            let ready = host.node.as_ref().is_some_and(|node| node.readiness().1.is_empty());
            ready && host.peers.iter().all(|peer| peer.up || !is_awaited(peer.host))
        })
    }

    /// One look at a host; all zeros for one that is not there.
    #[must_use]
    pub fn view(&self, host: HostIndex) -> HostView {
        let Some(host) = self.hosts.get(host) else {
            return HostView::default();
        };
        let gauges = host.node.as_ref().map(Node::gauges).unwrap_or_default();
        let gauge = |wanted: Metric| {
            let found = gauges.iter().find(|(metric, _)| *metric == wanted);
            found.map_or(0, |(_, value)| *value)
        };
        HostView {
            up: host.node.is_some(),
            starts: host.starts,
            cpu_ns: host.cpu_ns,
            journal_bytes: host.journal.bytes() + host.snapshots.bytes(),
            peers: host.peers_up(),
            height: gauge(Metric::Height),
            pending: gauge(Metric::TransactionsPending),
        }
    }

    /// A counter of a host over all its lives; 0 for a gauge.
    #[must_use]
    pub fn counter(&self, host: HostIndex, metric: Metric) -> u64 {
        self.hosts.get(host).map_or(0, |host| host.meter.get(metric))
    }

    /// Why a host's node does not work any more, if so: its journal does not replay, or it halted.
    #[must_use]
    pub fn failure(&self, host: HostIndex) -> Option<String> {
        let host = self.hosts.get(host)?;
        let halted = host.node.as_ref().map(|node| node.readiness().1);
        host.failure.clone().or(halted.filter(|text| text.contains("halt")))
    }

    /// The last executed height of an instance; 0 for a host that is down.
    #[must_use]
    pub fn height(&self, host: HostIndex, instance: &InstanceId) -> Height {
        let latest = self.node(host).map(Node::latest);
        let rows = latest.map(|latest| latest.instances).unwrap_or_default();
        rows.iter()
            .find(|row| row.instance == *instance)
            .map_or(0, |row| row.height)
    }

    /// Consecutive short forms of blocks from `from` on; none from a host that is down.
    #[must_use]
    pub fn summaries(&self, host: HostIndex, instance: &InstanceId, from: Height, count: usize) -> Vec<BlockSummary> {
        let blocks = self
            .node(host)
            .and_then(|node| node.summaries(Some(instance), from, count));
        blocks.unwrap_or_default()
    }

    /// How far a host is in one instance; `None` when it is down or does not run it.
    #[must_use]
    pub fn latest(&self, host: HostIndex, instance: &InstanceId) -> Option<InstanceLatest> {
        let rows = self.node(host)?.latest().instances;
        rows.into_iter().find(|row| row.instance == *instance)
    }

    /// Snapshots of one instance that a host keeps, oldest first; none from a host that is down.
    #[must_use]
    pub fn snapshots(&self, host: HostIndex, instance: &InstanceId) -> Vec<SnapshotView> {
        let all = self.node(host).map(Node::snapshots).unwrap_or_default();
        all.into_iter().filter(|view| view.instance == *instance).collect()
    }

    /// Proofs of misconduct that a host knows of; none from a host that is down.
    #[must_use]
    pub fn evidence(&self, host: HostIndex, instance: &InstanceId) -> Vec<EvidenceView> {
        let known = self.node(host).and_then(|node| node.evidence(Some(instance)));
        known.unwrap_or_default()
    }

    /// A whole block; `None` when the host does not have it.
    #[must_use]
    pub fn block(&self, host: HostIndex, instance: &InstanceId, height: Height) -> Option<BlockView> {
        let node = self.node(host)?;
        let position = node.instance_index(Some(instance))?;
        let stored = self.hosts[host].journal.load(position, height)?;
        node.block(Some(instance), height, &stored)
    }

    /// Where a transaction stands; `None` from a host that is down.
    #[must_use]
    pub fn status(&self, host: HostIndex, instance: &InstanceId, id: &TransactionId) -> Option<TransactionStatus> {
        self.node(host)?.status(Some(instance), id)
    }

    /// What the simulation itself did.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            events: self.shared.trace.events(),
            checks_asked: self.shared.work.asked,
            checks_computed: self.shared.work.computed,
        }
    }

    /// Digest over every event so far in its order, and over the ledger of every host: equal for equal runs.
    pub fn trace(&mut self) -> Digest {
        let mut ends = Vec::new();
        for host in &self.hosts {
            for row in host
                .node
                .as_ref()
                .map(Node::latest)
                .iter()
                .flat_map(|latest| &latest.instances)
            {
                ends.extend_from_slice(&row.height.to_le_bytes());
                ends.extend_from_slice(&row.hash.0);
                ends.extend_from_slice(&row.state_root.0);
            }
        }
        self.shared.trace.digest_with(&ends)
    }

    fn node(&self, host: HostIndex) -> Option<&Node> {
        self.hosts.get(host)?.node.as_ref()
    }
}
