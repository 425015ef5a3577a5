//! Faults that take time on processors and memory away: by control groups of this machine, or of each node's host.

use super::{InjectError, Injector};
use crate::cluster::ClusterError;
use futures::future::try_join_all;
use regatta_fleet::{Limit, Resource, Seen};
use regatta_plan::{FaultExtent, PlannedFault};
use regatta_process::cgroup::{Begun, CgroupError, Controller, Limited, Place};
use std::{sync::PoisonError, time::Duration};

/// How long the end of a node that its host's kernel has killed may take to be heard of.
const NEWS_DEADLINE: Duration = Duration::from_secs(10);

impl Injector {
    /// Leaves each node of `fault` its share of a processor, or so much memory. One that holds more and cannot give it back
    /// ends at once.
    pub(super) async fn limit(&self, fault: &PlannedFault) -> Result<(), InjectError> {
        let limit = match fault.extent {
            FaultExtent::Cpu(share_ppm) => Limit::Cpu { share_ppm },
            FaultExtent::Memory(bytes) => Limit::Memory { bytes },
            _ => return Err(InjectError::Unsupported(fault.kind)),
        };
        if self.cluster.has_hosts() {
            return self.limit_elsewhere(fault, limit).await;
        }
        match limit {
            Limit::Cpu { share_ppm } => self.limit_time(fault, share_ppm).await,
            Limit::Memory { bytes } => self.limit_memory(fault, bytes).await,
        }
    }

    /// Gives the nodes of `fault` back what it took, and notes what they made of it.
    pub(super) async fn lift(&self, fault: &PlannedFault) -> Result<(), InjectError> {
        let of = match fault.extent {
            FaultExtent::Cpu(_) => Resource::Cpu,
            FaultExtent::Memory(_) => Resource::Memory,
            _ => return Err(InjectError::Unsupported(fault.kind)),
        };
        let seen = match of {
            of if self.cluster.has_hosts() => self.lift_elsewhere(fault, of).await?,
            Resource::Cpu => self.lift_time(fault).await?,
            Resource::Memory => self.lift_memory(fault)?,
        };
        let name = |(node, seen): (u32, Seen)| format!("{} {seen}", self.cluster.plan().name_at(node));
        let words: Vec<String> = seen.into_iter().map(name).collect();
        if !words.is_empty() {
            let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(fault.index, words.join("; "));
        }
        Ok(())
    }

    async fn limit_elsewhere(&self, fault: &PlannedFault, limit: Limit) -> Result<(), InjectError> {
        let limits = fault.nodes.iter().map(|&node| async move {
            if self.cluster.limit_elsewhere(node, limit).await? {
                self.cluster.kill(node).await;
            }
            Ok(())
        });
        let limited = try_join_all(limits).await;
        limited.map(drop).map_err(|error| by_host(fault, error))
    }

    async fn lift_elsewhere(&self, fault: &PlannedFault, of: Resource) -> Result<Vec<(u32, Seen)>, InjectError> {
        let lifts = fault.nodes.iter().map(|&node| async move {
            let seen = self.cluster.lift_elsewhere(node, of).await?;
            if matches!(seen, Seen::Memory(starved) if starved.killed) {
                // Whether it has to be started again shows once its end is known here. It may be running again by now.
                let _ = tokio::time::timeout(NEWS_DEADLINE, self.cluster.ended(node)).await;
            }
            Ok((node, seen))
        });
        try_join_all(lifts).await.map_err(|error| by_host(fault, error))
    }

    async fn limit_time(&self, fault: &PlannedFault, share_ppm: u32) -> Result<(), InjectError> {
        let place = Place::find(Controller::Cpu).map_err(|error| refused(fault, error))?;
        let mut limited = self.limited.lock().await;
        for &node in &fault.nodes {
            // One that is away has no time to lose.
            if let Some(pid) = self.cluster.pid(node) {
                let one = place.limit(node, pid, share_ppm);
                limited.push((fault.index, node, one.map_err(|error| refused(fault, error))?));
            }
        }
        Ok(())
    }

    async fn lift_time(&self, fault: &PlannedFault) -> Result<Vec<(u32, Seen)>, InjectError> {
        let mut limited = self.limited.lock().await;
        let (ours, others) = std::mem::take(&mut *limited)
            .into_iter()
            .partition(|(of, _, _)| *of == fault.index);
        *limited = others;
        let ours: Vec<(u32, u32, Limited)> = ours;
        let lifts = ours.into_iter().map(|(_, node, one)| {
            let lifted = one.lift().map_err(|error| refused(fault, error));
            lifted.map(|throttled| (node, Seen::Cpu(throttled)))
        });
        lifts.collect()
    }

    async fn limit_memory(&self, fault: &PlannedFault, bytes: u64) -> Result<(), InjectError> {
        for &node in &fault.nodes {
            let begun = self.cluster.memory().limit(node, bytes);
            if begun.map_err(|error| refused(fault, error))? == Begun::HeldMore {
                self.cluster.kill(node).await;
            }
        }
        Ok(())
    }

    fn lift_memory(&self, fault: &PlannedFault) -> Result<Vec<(u32, Seen)>, InjectError> {
        let lifts = fault.nodes.iter().map(|&node| {
            let lifted = self.cluster.memory().lift(node);
            lifted
                .map(|starved| (node, Seen::Memory(starved)))
                .map_err(|error| refused(fault, error))
        });
        lifts.collect()
    }
}

fn refused(fault: &PlannedFault, error: CgroupError) -> InjectError {
    InjectError::Limit {
        fault: fault.index,
        error,
    }
}

fn by_host(fault: &PlannedFault, error: ClusterError) -> InjectError {
    InjectError::Host {
        fault: fault.index,
        error,
    }
}
