//! Addresses and links between network namespaces.

use super::Draft;
use crate::{
    PlannedLinks,
    scenario::{Link, Network, ProviderKind},
    units::Ratio,
};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// First octet of loopback addresses, and of the private ones that stand for them in namespaces.
const OCTETS: (u8, u8) = (127, 10);

/// The range that addresses are taken from. Namespaces cannot use a loopback range among each other: for them it means
/// the same range in 10.0.0.0/8, so that a scenario needs no change.
pub(super) fn network(draft: &Draft<'_>) -> Network {
    let range = draft.scenario.net.ipv4;
    let [first, rest @ ..] = range.base.octets();
    if draft.scenario.provider.kind != ProviderKind::Netns || first != OCTETS.0 || range.prefix < 8 {
        return range;
    }
    let [second, third, fourth] = rest;
    Network {
        base: Ipv4Addr::new(OCTETS.1, second, third, fourth),
        ..range
    }
}

/// Addresses that are neither a node's nor usable: the lab takes one where it lives among the nodes.
pub(super) fn others(draft: &Draft<'_>) -> u64 {
    u64::from(draft.scenario.provider.kind == ProviderKind::Netns)
}

/// The conditions of links between real nodes: always where a switch makes them, elsewhere where the scenario asks for any.
pub(super) fn links(draft: &Draft<'_>) -> Option<PlannedLinks> {
    let scenario = draft.scenario;
    match scenario.provider.kind {
        ProviderKind::Netns => {}
        ProviderKind::Local | ProviderKind::Ssh if scenario.link.is_some() => {}
        ProviderKind::Local | ProviderKind::Ssh | ProviderKind::Sim => return None,
    }
    let range = network(draft);
    let last = u32::try_from(range.capacity().saturating_sub(1)).unwrap_or(u32::MAX);
    let link = scenario.link.clone().unwrap_or_default();
    let regions = regions(draft);
    let row = |from: &String| {
        regions
            .iter()
            .map(|to| delay_ns(&link, from, to).unwrap_or(0))
            .collect()
    };
    Some(PlannedLinks {
        lab: range.node_address(last).unwrap_or(Ipv4Addr::UNSPECIFIED),
        prefix: range.prefix,
        delay_ns: regions.iter().map(row).collect(),
        jitter_ppm: ppm(link.jitter),
        loss_ppm: ppm(link.loss),
        reorder_ppm: ppm(link.reorder),
        duplicate_ppm: ppm(link.duplicate),
        rate_bits: link.rate.map(|rate| rate.0),
        regions: regions.into_iter().collect(),
    })
}

/// Regions of the nodes; `""` for nodes without one.
pub(super) fn regions(draft: &Draft<'_>) -> BTreeSet<String> {
    let region = |node: &crate::PlannedNode| node.region.clone().unwrap_or_default();
    let processes = draft.processes.iter();
    let others = processes.map(|process| process.region.clone().unwrap_or_default());
    draft.nodes.iter().map(region).chain(others).collect()
}

/// One-way delay from a region to another as the scenario says it.
pub(super) fn delay_ns(link: &Link, from: &str, to: &str) -> Option<u64> {
    let (there, back) = (format!("{from}-{to}"), format!("{to}-{from}"));
    let between = link.matrix.get(&there).or_else(|| link.matrix.get(&back));
    let found = if from == to { None } else { between };
    found.or_else(|| link.matrix.get("self")).map(|delay| delay.0)
}

/// A share in millionths.
pub(super) fn ppm(ratio: Option<Ratio>) -> u32 {
    (ratio.map_or(0.0, |ratio| ratio.0) * 1e6).round().clamp(0.0, 1e6) as u32
}
