//! Hosts of a fleet, as the plan has them: no secret among them, only where secrets lie.

use super::{Plan, PlannedNode};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHost {
    /// Position in [`Plan::hosts`].
    pub index: u32,
    /// Its name; no other host has it.
    pub name: String,
    /// IPv4 address or name of its SSH server.
    pub addr: String,
    /// Port of its SSH server.
    pub port: u16,
    /// User to log in as; without it, whom the operator's SSH client would log in as.
    pub user: Option<String>,
    /// IPv4 address of its nodes.
    pub ip: Ipv4Addr,
    /// Region that it stands for.
    pub region: Option<String>,
    /// Most nodes on it.
    pub slots: u32,
    /// Bytes of memory that its nodes may use together.
    pub memory_bytes: Option<u64>,
    /// Public key of its SSH server, `TYPE BASE64`; every host of a plan has one.
    pub host_key: Option<String>,
    /// File with the private key to log in with, relative to the scenario or below `~/`.
    pub key: Option<String>,
    /// Position of the host that it is reached over.
    pub jump: Option<u32>,
    /// Folder for programs, runs and logs on it, where that is not the default.
    pub dir: Option<String>,
    /// Whether it stays free until another host fails.
    pub spare: bool,
}

/// A plan after hosts have failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Replaced {
    /// The plan with nodes of failed hosts on spare ones.
    pub plan: Plan,
    /// Failed hosts with the spare hosts that took their nodes.
    pub moved: Vec<(u32, u32)>,
    /// Failed hosts whose nodes no spare host takes.
    pub lost: Vec<u32>,
}

impl Plan {
    /// Nodes of `host`, by their slots.
    pub fn nodes_on(&self, host: u32) -> impl Iterator<Item = &PlannedNode> {
        self.nodes.iter().filter(move |node| node.host == Some(host))
    }

    /// Hosts that the run needs from the start: those with nodes and those that they are reached over, ascending.
    #[must_use]
    pub fn hosts_used(&self) -> Vec<u32> {
        let mut used: Vec<u32> = self.nodes.iter().filter_map(|node| node.host).collect();
        let mut next = 0;
        while let Some(&host) = used.get(next) {
            let jump = self.hosts.get(host as usize).and_then(|host| host.jump);
            used.extend(jump.filter(|jump| !used.contains(jump)));
            next += 1;
        }
        used.sort_unstable();
        used.dedup();
        used
    }

    /// Gives the nodes of `failed` hosts to spare ones, each host's nodes to one spare of its region with slots for all of
    /// them. The addresses of those nodes change, and so does the digest.
    #[must_use]
    pub fn replace_hosts(&self, failed: &[u32]) -> Replaced {
        let mut replaced = Replaced {
            plan: self.clone(),
            moved: Vec::new(),
            lost: Vec::new(),
        };
        let mut failed = failed.to_vec();
        failed.sort_unstable();
        failed.dedup();
        for &host in &failed {
            let nodes = replaced.plan.nodes_on(host).count();
            if nodes == 0 {
                continue;
            }
            match replaced.plan.spare_for(host, nodes, &failed) {
                Some(spare) => {
                    replaced.plan.move_nodes(host, spare);
                    replaced.moved.push((host, spare));
                }
                None => replaced.lost.push(host),
            }
        }
        replaced
    }

    /// A free spare host of the region of `host`, or else one that takes nodes of any region.
    fn spare_for(&self, host: u32, nodes: usize, failed: &[u32]) -> Option<u32> {
        let lost = self.hosts.get(host as usize)?;
        let memory = |spare: &PlannedHost| spare.memory_bytes.unwrap_or(u64::MAX) >= lost.memory_bytes.unwrap_or(0);
        let fits = |spare: &&PlannedHost| {
            let reachable = spare.jump.is_none_or(|jump| !failed.contains(&jump));
            let free = spare.spare && !failed.contains(&spare.index) && self.nodes_on(spare.index).next().is_none();
            free && reachable && spare.slots as usize >= nodes && memory(spare)
        };
        let mut spares = self.hosts.iter().filter(fits);
        let of_region = spares.clone().find(|spare| spare.region == lost.region);
        of_region
            .or_else(|| spares.find(|spare| spare.region.is_none()))
            .map(|spare| spare.index)
    }

    fn move_nodes(&mut self, from: u32, to: u32) {
        let Some(ip) = self.hosts.get(to as usize).map(|host| host.ip) else {
            return;
        };
        // Ports follow from the slot, which stays.
        for node in self.nodes.iter_mut().filter(|node| node.host == Some(from)) {
            (node.host, node.address) = (Some(to), ip);
        }
        for load in self.loads.iter_mut().filter(|load| load.host == Some(from)) {
            load.host = Some(to);
        }
    }
}
