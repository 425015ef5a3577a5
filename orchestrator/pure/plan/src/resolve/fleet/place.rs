//! Nodes to hosts: by region and slots, spread as evenly as slots allow, drawn from the seed.

use super::Draft;
use crate::{PlannedHost, PlannedNode, diagnostic::Code};
use rand::seq::SliceRandom;
use regatta_base::seed;
use std::collections::BTreeMap;

/// Ports of one node: that between nodes and that of its control interface.
pub(super) const PORTS_PER_SLOT: u32 = 2;

/// Gives every node a host with its address and ports; false, with problems, when they do not fit.
pub(super) fn place(draft: &mut Draft<'_>) -> bool {
    let hosts: Vec<PlannedHost> = draft.hosts.iter().filter(|host| !host.spare).cloned().collect();
    if !fits(draft, &hosts) {
        return false;
    }
    let order = order(draft.scenario.seed, &hosts);
    let mut used = vec![0_u32; draft.hosts.len()];
    // Nodes of a region come first: nodes of none take what they leave.
    let (with, without): (Vec<usize>, Vec<usize>) =
        (0..draft.nodes.len()).partition(|&node| draft.nodes[node].region.is_some());
    for node in with.into_iter().chain(without) {
        let Some(host) = choose(&order, &used, draft.nodes[node].region.as_deref()) else {
            debug_assert!(false, "slots were counted before");
            return false;
        };
        let (slot, host) = (&mut used[host.index as usize], host.clone());
        settle(
            &mut draft.nodes[node],
            &host,
            *slot,
            draft.scenario.net.p2p_port,
            draft.scenario.net.http_port,
        );
        *slot += 1;
    }
    true
}

/// Hosts in an order that the seed decides: it breaks ties, so that no host is always first.
fn order(seed: u64, hosts: &[PlannedHost]) -> Vec<PlannedHost> {
    let mut order = hosts.to_vec();
    order.shuffle(&mut seed::rng(seed, "placement"));
    order
}

/// The host of the node's region whose slots are taken least, or one that takes any node once those are full.
fn choose<'a>(order: &'a [PlannedHost], used: &[u32], region: Option<&str>) -> Option<&'a PlannedHost> {
    let taken = |host: &PlannedHost| used[host.index as usize];
    let free = |host: &&PlannedHost| taken(host) < host.slots;
    let least = |among: &mut dyn Iterator<Item = &'a PlannedHost>| {
        // Shares after one more node, compared without fractions; `min_by` keeps the first of equals.
        among.min_by(|a, b| {
            let share = |one: &PlannedHost, other: &PlannedHost| u64::from(taken(one) + 1) * u64::from(other.slots);
            share(a, b).cmp(&share(b, a))
        })
    };
    let Some(region) = region else {
        return least(&mut order.iter().filter(free));
    };
    let own = |host: &&PlannedHost| host.region.as_deref() == Some(region);
    let any = |host: &&PlannedHost| host.region.is_none();
    least(&mut order.iter().filter(free).filter(own)).or_else(|| least(&mut order.iter().filter(free).filter(any)))
}

fn settle(node: &mut PlannedNode, host: &PlannedHost, slot: u32, p2p_port: u16, http_port: u16) {
    // Ports that there are not are a problem of their own.
    let port = |base: u16| u16::try_from(u32::from(base) + PORTS_PER_SLOT * slot).unwrap_or(u16::MAX);
    node.host = Some(host.index);
    node.address = host.ip;
    (node.p2p_port, node.http_port) = (port(p2p_port), port(http_port));
}

/// Counts slots by region: hosts without a region take what their regions have no room for.
fn fits(draft: &mut Draft<'_>, hosts: &[PlannedHost]) -> bool {
    let mut nodes: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for node in &draft.nodes {
        *nodes.entry(node.region.clone()).or_default() += 1;
    }
    let slots = |region: Option<&str>| -> u64 {
        let of = hosts.iter().filter(|host| host.region.as_deref() == region);
        of.map(|host| u64::from(host.slots)).sum()
    };
    let total: u64 = hosts.iter().map(|host| u64::from(host.slots)).sum();
    let count = draft.nodes.len() as u64;
    if total < count {
        let beside = if draft.hosts.len() == hosts.len() {
            ""
        } else {
            ", those of spare hosts left out"
        };
        let message = format!("the hosts have {total} slots for {count} nodes{beside}");
        draft.error(
            Code::TooFewSlots,
            "provider.host",
            message,
            "raise `slots`, add hosts, or use fewer nodes",
        );
    }
    let (anywhere, before) = (slots(None), draft.problems.len());
    let mut over = 0;
    let mut short = Vec::new();
    for (region, needed) in nodes
        .iter()
        .filter_map(|(region, needed)| Some((region.as_deref()?, *needed)))
    {
        let own = slots(Some(region));
        if own == 0 && anywhere == 0 {
            let message = format!("no host is in region `{region}`, where {needed} nodes are to be");
            let help = format!("give a host region = \"{region}\", or one host no region");
            draft.error(Code::UnknownRegion, "provider.host", message, help);
            continue;
        }
        over += needed.saturating_sub(own);
        if needed > own {
            short.push(format!("`{region}` {own} slots for {needed} nodes"));
        }
    }
    if over > anywhere {
        let beside = if anywhere == 0 {
            String::new()
        } else {
            format!(" and hosts of no region have {anywhere}")
        };
        let message = format!("regions lack slots: {}{beside}", short.join(", "));
        draft.error(
            Code::TooFewSlots,
            "provider.host",
            message,
            "raise `slots` or add hosts of those regions",
        );
    }
    total >= count && draft.problems.len() == before
}
