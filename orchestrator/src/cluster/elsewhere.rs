//! What a cluster does differently when its nodes are on other machines.

use super::{Cluster, ClusterError, LOG_BYTES_MAX};
use crate::{
    load::{RunClock, remote::Remote},
    provider::{Posting, SshError, SshProvider},
    sample::Elsewhere,
};
use futures::{StreamExt, stream};
use regatta_fleet::{Limit, Resource, Seen};
use regatta_plan::PlannedNode;
use regatta_process::memory::Room;
use regatta_report::model::Disclosure;

/// Nodes that hosts are asked to start at the same time.
const STARTED_AT_ONCE: usize = 64;

impl Cluster {
    /// Brings the files of all nodes to where they run, where that is elsewhere.
    ///
    /// # Errors
    /// [`ClusterError::Host`] names the host and what it said.
    pub(crate) async fn place(&self) -> Result<(), ClusterError> {
        match self.provider.fleet().filter(|fleet| !fleet.is_resumed()) {
            Some(fleet) => Ok(fleet.place(&self.run, &self.plan).await?),
            None => Ok(()),
        }
    }

    /// Begins the generator of a load on a host of the fleet.
    ///
    /// # Errors
    /// [`ClusterError`] names the host.
    pub(crate) async fn generator(&self, load: u32, host: u32, clock: RunClock) -> Result<Remote, ClusterError> {
        match self.provider.fleet() {
            Some(fleet) => Ok(fleet.generator(load, host, clock).await?),
            None => Err(SshError::NoGenerator(load).into()),
        }
    }

    /// Takes the nodes that hosts still run for an earlier lab; returns how many.
    ///
    /// # Errors
    /// [`ClusterError`] when the journal cannot be written.
    pub(crate) fn adopt(&self) -> Result<usize, ClusterError> {
        let found = self
            .provider
            .fleet()
            .map(|fleet| fleet.adopt(&self.plan))
            .unwrap_or_default();
        let count = found.len();
        for (index, process) in found {
            let node = &self.plan.nodes[index as usize];
            self.took(node, process, self.sealed(node)?.program_digest())?;
        }
        Ok(count)
    }

    /// Whether nodes are on other machines.
    pub(crate) fn has_hosts(&self) -> bool {
        self.provider.fleet().is_some()
    }

    /// Has the host of a node leave it less of something; whether it holds more than that and cannot give it back.
    ///
    /// # Errors
    /// [`ClusterError`] with what its host said, or that it has none.
    pub(crate) async fn limit_elsewhere(&self, node: u32, limit: Limit) -> Result<bool, ClusterError> {
        let (fleet, node) = self.on_host(node)?;
        Ok(fleet.limit(node, limit).await?)
    }

    /// Has the host of a node lift its limit, and say what that did.
    ///
    /// # Errors
    /// As [`Cluster::limit_elsewhere`].
    pub(crate) async fn lift_elsewhere(&self, node: u32, of: Resource) -> Result<Seen, ClusterError> {
        let (fleet, node) = self.on_host(node)?;
        Ok(fleet.lift(node, of).await?)
    }

    /// Waits until the newest process of a node has ended.
    pub(crate) async fn ended(&self, node: u32) {
        if let Some(process) = self.process(node) {
            process.ended().await;
        }
    }

    fn on_host(&self, node: u32) -> Result<(&SshProvider, &PlannedNode), ClusterError> {
        let node = &self.plan.nodes[node as usize];
        let fleet = self.provider.fleet();
        fleet
            .map(|fleet| (fleet, node))
            .ok_or_else(|| SshError::NoHost(node.name.clone()).into())
    }

    /// A piece of the log of a node that is elsewhere, from `offset` on, and how long the log is; none when it is here.
    ///
    /// # Errors
    /// [`ClusterError::Host`] with what its host said.
    pub(crate) async fn log(&self, node: u32, offset: u64) -> Result<Option<(Vec<u8>, u64)>, ClusterError> {
        match self.provider.fleet() {
            Some(fleet) => Ok(Some(fleet.log(&self.plan.nodes[node as usize], offset).await?)),
            None => Ok(None),
        }
    }

    /// Brings logs here and removes everything of the run from other machines; what went wrong, in words.
    pub(crate) async fn clear(&self) -> Vec<String> {
        match self.provider.fleet() {
            Some(fleet) => fleet.clear(&self.run, &self.plan, &self.journal).await,
            None => Vec::new(),
        }
    }

    /// What other machines have of memory, as far as they tell.
    pub(crate) fn rooms_elsewhere(&self) -> Vec<Room> {
        self.provider.fleet().map(SshProvider::rooms).unwrap_or_default()
    }

    /// What other machines tell of their processes.
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        self.provider.fleet().map(SshProvider::elsewhere).unwrap_or_default()
    }

    /// What the report says of other machines.
    pub(crate) fn disclosure(&self) -> Vec<Disclosure> {
        self.provider.fleet().map(SshProvider::disclosure).unwrap_or_default()
    }

    /// Starts nodes on their hosts, many at once: each host verifies the program itself. Those that have none stay away.
    pub(super) async fn spawn_elsewhere(&self, fleet: &SshProvider, nodes: &[u32]) -> Result<(), ClusterError> {
        let away = self.plan.churn.never();
        let here = nodes.iter().filter(|node| away.binary_search(node).is_err());
        let starts = here.map(|&index| async move {
            let node = &self.plan.nodes[index as usize];
            let sealed = self.sealed(node)?.program_digest();
            let posting = Posting {
                node,
                is_first: self.process(index).is_none(),
                log_bytes_max: LOG_BYTES_MAX,
                sealed,
            };
            let process = fleet.start(&posting).await?;
            self.took(node, process, sealed)
        });
        let starts: Vec<_> = starts.collect();
        let mut started = stream::iter(starts).buffer_unordered(STARTED_AT_ONCE);
        while let Some(result) = started.next().await {
            result?;
        }
        Ok(())
    }
}
