//! Addresses and links between network namespaces.

use super::{Draft, processes};
use crate::{
    PlannedDirection, PlannedLinks,
    diagnostic::Code,
    scenario::{Link, LinkDirection, Network, ProviderKind},
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
        directions: draft.directions.clone(),
    })
}

/// Most directions with conditions of their own: each costs the switch time with every packet.
const DIRECTIONS_MAX: usize = 64;

/// Finds who the directions with conditions of their own are about.
pub(super) fn directions(draft: &mut Draft<'_>) {
    let Some(link) = &draft.scenario.link else { return };
    if link.direction.len() > DIRECTIONS_MAX {
        let count = link.direction.len();
        let message = format!("{count} directions have conditions of their own, and at most {DIRECTIONS_MAX} may");
        let help = "name groups and regions in place of nodes";
        return draft.error(Code::BadSelection, "link.direction", message, help);
    }
    for (index, direction) in link.direction.iter().enumerate() {
        let path = format!("link.direction.{index}");
        let from = ends(draft, &direction.from, &format!("{path}.from"));
        let to = ends(draft, &direction.to, &format!("{path}.to"));
        check_direction(draft, &path, direction, (&from, &to));
        draft.directions.push(PlannedDirection {
            from,
            to,
            delay_ns: direction.delay.map(|delay| delay.0),
            jitter_ppm: direction.jitter.map(|jitter| ppm(Some(jitter))),
            loss_ppm: direction.loss.map(|loss| ppm(Some(loss))),
            rate_bits: direction.rate.map(|rate| rate.0),
        });
    }
}

/// A direction says something about somebody.
fn check_direction(draft: &mut Draft<'_>, path: &str, direction: &LinkDirection, (from, to): (&[u32], &[u32])) {
    let shares = [direction.jitter, direction.loss];
    if direction.delay.is_none() && direction.rate.is_none() && shares == [None; 2] {
        let help = "give it `delay`, `jitter`, `loss` or `rate`, or remove it";
        draft.error(Code::NoEffect, path, "a direction that changes nothing", help);
    }
    if direction.rate.is_some_and(|rate| rate.0 == 0) {
        let help = "give a rate, or part the network with a [[fault]] of kind = \"partition\"";
        draft.error(
            Code::BadQuantity,
            &format!("{path}.rate"),
            "a rate of 0 passes nothing",
            help,
        );
    }
    // Names of nobody are problems of their own.
    if from.len() == 1 && from == to {
        let message = format!("`{}` sends nothing to itself", draft.name_at(from[0]));
        draft.error(Code::NoEffect, path, message, "name two sides that send to each other");
    }
}

/// The places that a name at an end of a direction stands for, ascending.
fn ends(draft: &mut Draft<'_>, name: &str, path: &str) -> Vec<u32> {
    let mut places: BTreeSet<u32> = BTreeSet::new();
    if draft.scenario.provider.kind == ProviderKind::Netns {
        places.extend(processes::named(draft, name));
    }
    let region = name.strip_prefix("region:");
    let has_nodes = draft.nodes.iter().any(|node| node.region.as_deref() == region);
    // Names of processes and regions with processes alone are no mistakes.
    if places.is_empty() || name == "all" || (region.is_some() && has_nodes) {
        places.extend(draft.select(name, path));
    }
    places.into_iter().collect()
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
