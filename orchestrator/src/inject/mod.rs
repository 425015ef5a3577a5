//! Faults: what each kind does to its nodes, and how it is undone.

mod leader;
mod limits;
mod links;
mod upgrade;

pub(crate) use leader::leader;
pub(crate) use upgrade::{Standing, program, standing};

use crate::cluster::{Cluster, ClusterError, Look, Patience, takes_orders};
use futures::future::{join_all, try_join_all};
use regatta_api::testing::NodeFaults;
use regatta_client::ClientError;
use regatta_plan::{
    FaultExtent, Plan, PlannedFault,
    scenario::{FaultKind, ProviderKind},
};
use regatta_process::cgroup::{CgroupError, Limited};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long a crashed node may take until it listens, and a network until it is upgraded.
const REJOIN_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks at a node that comes back.
const BACK_PAUSE: Duration = Duration::from_millis(50);

/// Why a fault cannot be done or undone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InjectError {
    /// This provider cannot do it. Plans are checked for that, so this is a plan from elsewhere.
    #[error("fault `{0}` is not supported by this provider yet")]
    Unsupported(FaultKind),
    /// A node does not take the order to make a fault.
    #[error("fault {fault}: {error}")]
    Refused {
        /// Position of the fault in the plan.
        fault: u32,
        /// What it answered.
        error: Box<ClientError>,
    },
    /// No node says how far it is, so that nobody knows who leads next.
    #[error("fault {fault}: no node says how far it is, so that the next leader is not known")]
    NoLeader {
        /// Position of the fault in the plan.
        fault: u32,
    },
    /// What a crashed node had on its disk cannot be removed.
    #[error("fault {fault}: {error}")]
    Disk {
        /// Position of the fault in the plan.
        fault: u32,
        /// What the system said.
        error: ClusterError,
    },
    /// The network was not upgraded.
    #[error("fault {fault}: {error}")]
    Upgrade {
        /// Position of the fault in the plan.
        fault: u32,
        /// What went wrong.
        error: upgrade::UpgradeError,
    },
    /// A process cannot be limited, or its limit not be lifted.
    #[error("fault {fault}: {error}")]
    Limit {
        /// Position of the fault in the plan.
        fault: u32,
        /// What the system said.
        error: CgroupError,
    },
    /// A host does not limit a node, or does not lift the limit.
    #[error("fault {fault}: {error}")]
    Host {
        /// Position of the fault in the plan.
        fault: u32,
        /// What the host said.
        error: ClusterError,
    },
    /// A node did not come back.
    #[error("after fault {fault}: {error}")]
    NotHealed {
        /// Position of the fault in the plan.
        fault: u32,
        /// What went wrong.
        error: ClusterError,
    },
}

/// Makes the faults of a run on its nodes, and undoes them.
#[derive(Debug)]
pub(crate) struct Injector {
    cluster: Arc<Cluster>,
    /// The faults that are on. Whoever holds it orders links, so that no node gets an older order after a newer one.
    on: Mutex<Vec<PlannedFault>>,
    /// Processes of this machine with less time on the processor, by their fault and node.
    limited: Mutex<Vec<(u32, u32, Limited)>>,
    /// What was seen of faults that are undone, in words.
    seen: StdMutex<BTreeMap<u32, String>>,
}

impl Injector {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            on: Mutex::default(),
            limited: Mutex::default(),
            seen: StdMutex::default(),
        }
    }

    /// Finds out whom `fault` is done to, where the plan does not know yet.
    ///
    /// # Errors
    /// [`InjectError::NoLeader`]
    pub(crate) async fn resolved(&self, fault: &PlannedFault) -> Result<PlannedFault, InjectError> {
        leader::resolved(&self.cluster, fault).await
    }

    /// Does `fault` to its nodes.
    ///
    /// # Errors
    /// [`InjectError`] says what cannot be done.
    pub(crate) async fn inject(&self, fault: &PlannedFault) -> Result<(), InjectError> {
        let mut on = self.on.lock().await;
        on.push(fault.clone());
        let cluster = &self.cluster;
        match fault.kind {
            FaultKind::Crash => {
                let kills: Vec<_> = fault.nodes.iter().map(|&node| cluster.kill(node)).collect();
                join_all(kills).await;
                if fault.extent == FaultExtent::DiskLost {
                    for &node in &fault.nodes {
                        let (lost, fault) = (cluster.lose_disk(node).await, fault.index);
                        lost.map_err(|error| InjectError::Disk { fault, error })?;
                    }
                }
            }
            FaultKind::Pause => fault.nodes.iter().for_each(|&node| cluster.pause(node, true)),
            FaultKind::Partition | FaultKind::Link if cluster.switch().is_some() => {
                let switch = cluster.switch().into_iter();
                switch.for_each(|switch| links::order_switch(switch, cluster.plan(), fault));
            }
            FaultKind::Partition | FaultKind::Link => {
                let touched = links::touched(cluster.plan(), fault);
                self.order_links(&on, &touched, fault.index).await?;
            }
            FaultKind::Skew | FaultKind::DiskFull | FaultKind::DiskSlow => self.order_nodes(&on, fault).await?,
            FaultKind::Upgrade => upgrade::release(cluster, fault).await?,
            FaultKind::Cpu | FaultKind::Memory => self.limit(fault).await?,
        }
        Ok(())
    }

    /// What was seen of a fault that is undone, in words, where there is anything to see.
    pub(crate) fn take_seen(&self, fault: u32) -> Option<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(&fault)
    }

    /// Starts nodes again, from verified programs with the data that they have, and waits until they listen.
    async fn start_again(&self, fault: &PlannedFault, nodes: &[u32]) -> Result<(), InjectError> {
        let not_healed = |error| InjectError::NotHealed {
            fault: fault.index,
            error,
        };
        let mut lives = Vec::new();
        for &node in nodes {
            lives.push(self.cluster.life(node).await);
        }
        let (nodes, others) = self.cluster.sorted(nodes);
        self.cluster.start_foreign(&others).await.map_err(not_healed)?;
        self.cluster.spawn(&nodes).await.map_err(not_healed)?;
        let listening = self.cluster.wait_listening(&nodes, REJOIN_DEADLINE).await;
        listening.map_err(not_healed)
    }

    /// Undoes `fault`: links are whole, and processes run again, from verified programs with the data that they have. Nodes
    /// may still be behind.
    ///
    /// # Errors
    /// [`InjectError::NotHealed`] when a node does not start.
    pub(crate) async fn heal(&self, fault: &PlannedFault) -> Result<(), InjectError> {
        let cluster = &self.cluster;
        match fault.kind {
            FaultKind::Crash => self.start_again(fault, &fault.nodes).await?,
            FaultKind::Pause => fault.nodes.iter().for_each(|&node| cluster.pause(node, false)),
            FaultKind::Partition | FaultKind::Link => {
                cluster.switch().into_iter().for_each(|switch| switch.heal(fault.index));
            }
            FaultKind::Skew | FaultKind::DiskFull | FaultKind::DiskSlow => {}
            FaultKind::Upgrade => upgrade::wait(cluster, fault, REJOIN_DEADLINE).await?,
            FaultKind::Cpu => self.lift(fault).await?,
            FaultKind::Memory => {
                self.lift(fault).await?;
                let ended = fault.nodes.iter().filter(|&&node| !cluster.is_running(node));
                let ended: Vec<u32> = ended.copied().collect();
                self.start_again(fault, &ended).await?;
            }
        }
        let mut on = self.on.lock().await;
        on.retain(|other| other.index != fault.index);
        if fault.kind.is_made_by_node() {
            return self.order_nodes(&on, fault).await;
        }
        let touched = if fault.kind.is_on_links() {
            links::touched(cluster.plan(), fault)
        } else {
            // What was ordered while they were away.
            fault.nodes.iter().copied().collect()
        };
        self.order_links(&on, &touched, fault.index).await
    }

    /// Waits until the nodes of a fault that is undone take part again.
    ///
    /// # Errors
    /// [`InjectError::NotHealed`] when one does not in time.
    pub(crate) async fn wait_back(&self, fault: &PlannedFault) -> Result<(), InjectError> {
        if !matches!(fault.kind, FaultKind::Crash | FaultKind::Memory) {
            return Ok(());
        }
        let began = Instant::now();
        let (nodes, _) = self.cluster.sorted(&fault.nodes);
        let waits = nodes.iter().map(|&node| self.wait_back_of(fault, node));
        // All of them, so that the error names each that is not back.
        let waiting: Vec<(String, String)> = join_all(waits).await.into_iter().flatten().collect();
        let back = self.cluster.all_back(nodes.len(), began, waiting);
        back.map_err(|error| InjectError::NotHealed {
            fault: fault.index,
            error,
        })
    }

    /// Waits until one node takes part again; returns its name and why it does not, if so. Faults that others make
    /// meanwhile, of the node or between it and its neighbours, are no fault of its own.
    async fn wait_back_of(&self, fault: &PlannedFault, node: u32) -> Option<(String, String)> {
        let plan = self.cluster.plan();
        debug_assert!(fault.nodes.contains(&node));
        let named = |why| Some((plan.nodes[node as usize].name.clone(), why));
        let mut patience = Patience::new(Instant::now());
        loop {
            match self.cluster.look(node).await {
                Look::Ready => return None,
                Look::Gone(exit) => return named(exit),
                Look::Waits { blocks, why } => {
                    let now = Instant::now();
                    patience.saw(now, blocks);
                    if self.on.lock().await.iter().any(|other| troubles(plan, other, node)) {
                        patience.excuse(now);
                    }
                    if let Some(over) = patience.over(now) {
                        return named(format!("{why} ({over})"));
                    }
                }
            }
            tokio::time::sleep(BACK_PAUSE).await;
        }
    }

    /// Tells these nodes what the faults that are on make of their links. Whoever is away is told when it is back.
    async fn order_links(&self, on: &[PlannedFault], nodes: &BTreeSet<u32>, fault: u32) -> Result<(), InjectError> {
        let cluster = &self.cluster;
        if cluster.switch().is_some() || !takes_orders(cluster.plan()) {
            return Ok(());
        }
        let away = on
            .iter()
            .filter(|fault| matches!(fault.kind, FaultKind::Crash | FaultKind::Pause));
        let away: BTreeSet<u32> = away.flat_map(|fault| fault.nodes.iter().copied()).collect();
        let nodes = nodes.difference(&away).filter(|&&node| cluster.plan().is_node(node));
        let orders = nodes.map(|&node| {
            let faults = links::faults_of(cluster.plan(), on, node);
            async move {
                let ordered = cluster.client(node).set_link_faults(&faults).await;
                ordered.map(drop).map_err(|error| InjectError::Refused {
                    fault,
                    error: Box::new(error),
                })
            }
        });
        try_join_all(orders).await.map(drop)
    }

    /// Tells the nodes of a fault what the faults that are on make of themselves.
    async fn order_nodes(&self, on: &[PlannedFault], fault: &PlannedFault) -> Result<(), InjectError> {
        let orders = fault.nodes.iter().map(|&node| {
            let faults = node_faults(on, node);
            async move {
                let ordered = self.cluster.client(node).set_node_faults(&faults).await;
                ordered.map(drop).map_err(|error| InjectError::Refused {
                    fault: fault.index,
                    error: Box::new(error),
                })
            }
        });
        try_join_all(orders).await.map(drop)
    }
}

/// What a node makes of its clock and its disk while the faults of `on` are on.
pub(crate) fn node_faults(on: &[PlannedFault], node: u32) -> NodeFaults {
    let mut faults = NodeFaults::default();
    for fault in on.iter().filter(|fault| fault.nodes.contains(&node)) {
        match (fault.kind, fault.extent) {
            (FaultKind::DiskFull, _) => faults.disk_full = true,
            (_, FaultExtent::Ahead(ms)) => faults.clock_ahead_ms = ms,
            (_, FaultExtent::FlushDelay(nanos)) => faults.flush_delay_us = nanos.div_ceil(1000),
            _ => {}
        }
    }
    faults
}

/// Whether a fault that is on keeps `node` from taking part.
fn troubles(plan: &Plan, fault: &PlannedFault, node: u32) -> bool {
    let on_a_link = |peer: u32| fault.covers(node, peer) || fault.covers(peer, node);
    fault.nodes.contains(&node) || plan.peers(node).into_iter().any(on_a_link)
}

/// How real nodes come to suffer it, where that is not plain.
pub(crate) fn means(provider: ProviderKind, fault: &PlannedFault) -> &'static str {
    if fault.kind.is_on_links() && provider == ProviderKind::Netns {
        ", made by the switch between namespaces"
    } else if fault.kind.is_on_links() {
        ", made inside the nodes' transport"
    } else if fault.kind.is_made_by_node() {
        ", made inside the node"
    } else if fault.kind == FaultKind::Upgrade {
        ", over the air"
    } else if matches!(fault.kind, FaultKind::Cpu | FaultKind::Memory) {
        ", made by control groups"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fault;

    #[test]
    fn a_node_makes_what_is_on_and_nothing_after_it() {
        let skew = PlannedFault {
            extent: FaultExtent::Ahead(700),
            ..fault(FaultKind::Skew, &[1, 2])
        };
        let slow = PlannedFault {
            extent: FaultExtent::FlushDelay(1500),
            ..fault(FaultKind::DiskSlow, &[3])
        };
        let on = [skew, slow, fault(FaultKind::DiskFull, &[4])];
        let made = |node| {
            let faults = node_faults(&on, node);
            (faults.clock_ahead_ms, faults.flush_delay_us, faults.disk_full)
        };
        assert_eq!(
            [made(0), made(1), made(3), made(4)],
            [(0, 0, false), (700, 0, false), (0, 2, false), (0, 0, true)]
        );
        assert_eq!(node_faults(&[], 1), NodeFaults::default());
    }
}
