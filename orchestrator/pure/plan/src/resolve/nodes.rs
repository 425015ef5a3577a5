//! Groups become nodes with names, addresses, regions and builds.

use super::{Draft, NODES_MAX, links, processes};
use crate::{
    PlannedNode,
    diagnostic::Code,
    scenario::{Group, ProviderKind},
};
use regatta_base::ids::check_name;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Makes the nodes; false when there are none to go on with.
pub(super) fn resolve(draft: &mut Draft<'_>) -> bool {
    let scenario = draft.scenario;
    if let Err(error) = check_name(&scenario.name) {
        draft.error(
            Code::BadName,
            "name",
            error.to_string(),
            "the name becomes part of a folder's name",
        );
    }
    if scenario.group.is_empty() {
        let help = "add [[group]] with name = \"val\", count = 4, role = \"validator\"";
        draft.error(Code::NothingToRun, "", "the scenario has no [[group]]", help);
        return false;
    }
    let total: u64 = scenario.group.iter().map(|group| u64::from(group.count)).sum();
    if total > NODES_MAX {
        let largest = (0..scenario.group.len())
            .max_by_key(|&index| scenario.group[index].count)
            .unwrap_or(0);
        let message = format!("{total} nodes exceed the limit of {NODES_MAX}");
        draft.error(
            Code::TooManyNodes,
            &format!("group.{largest}.count"),
            message,
            "make the groups smaller",
        );
        return false;
    }
    check_range(draft, total + processes::count(draft));
    for (index, group) in scenario.group.iter().enumerate() {
        add_group(draft, index, group);
    }
    check_clashes(draft);
    !draft.nodes.is_empty()
}

fn add_group(draft: &mut Draft<'_>, index: usize, group: &Group) {
    let path = format!("group.{index}");
    check_group(draft, &path, group);
    let (net, network) = (&draft.scenario.net, links::network(draft));
    let start = draft.nodes.len() as u32;
    let regions = regions(draft, &format!("{path}.regions"), group.count, &group.regions);
    for (offset, region) in (0..group.count).zip(regions) {
        let index = start + offset;
        draft.nodes.push(PlannedNode {
            index,
            name: format!("{}-{offset}", group.name),
            group: group.name.clone(),
            role: group.role,
            region,
            address: network.node_address(index).unwrap_or(Ipv4Addr::UNSPECIFIED),
            p2p_port: net.p2p_port,
            http_port: net.http_port,
            build: build_of(group),
            weight: 0,
            behaviour: group.behaviour,
            host: None,
            archive: group.archive,
            control: None,
        });
    }
    draft.groups.insert(group.name.clone(), start..start + group.count);
}

/// The build of a group's nodes: that made for tests when they are to misbehave.
pub(super) fn build_of(group: &Group) -> String {
    if group.behaviour.is_honest() {
        group.build.clone()
    } else {
        format!("{}-byzantine", group.build)
    }
}

fn check_group(draft: &mut Draft<'_>, path: &str, group: &Group) {
    let name = format!("{path}.name");
    if let Err(error) = check_name(&group.name) {
        let help = "the name becomes part of host names";
        draft.error(Code::BadName, &name, error.to_string(), help);
    }
    if draft.groups.contains_key(&group.name) {
        let message = format!("there are two groups `{}`", group.name);
        draft.error(Code::DuplicateName, &name, message, "give each a name of its own");
    }
    if group.count == 0 {
        let message = format!("group `{}` has no nodes", group.name);
        let help = "use count = 1 or more, or remove the group";
        draft.error(Code::EmptyGroup, &format!("{path}.count"), message, help);
    }
    draft.check_build(&group.build, &format!("{path}.build"));
}

/// The region of each of `count` nodes: dealt so that every prefix of the nodes keeps the shares as well as it can.
pub(super) fn regions(
    draft: &mut Draft<'_>,
    path: &str,
    count: u32,
    shares: &BTreeMap<String, u32>,
) -> Vec<Option<String>> {
    if shares.is_empty() {
        return vec![None; count as usize];
    }
    let total: u64 = shares.values().map(|share| u64::from(*share)).sum();
    if total == 0 {
        draft.error(
            Code::BadWeight,
            path,
            "all regions have share 0",
            "give at least one region a share",
        );
        return vec![None; count as usize];
    }
    let mut given: BTreeMap<&String, i64> = BTreeMap::new();
    let deal = (1..=i64::from(count)).map(|nodes| {
        let lack = |region: &String, share: u32| {
            i64::from(share) * nodes - given.get(region).copied().unwrap_or(0) * total as i64
        };
        let region = shares
            .iter()
            .rev()
            .max_by_key(|(region, share)| lack(region, **share))
            .map(|(region, _)| region);
        region.map(|region| {
            *given.entry(region).or_default() += 1;
            region.clone()
        })
    });
    deal.collect()
}

fn check_range(draft: &mut Draft<'_>, total: u64) {
    if draft.scenario.provider.kind == ProviderKind::Ssh {
        return;
    }
    let range = links::network(draft);
    // The lab takes an address where it lives among the nodes.
    let room = range.capacity().saturating_sub(links::others(draft));
    if room < total {
        // The smallest range whose addresses, less the first and last, suffice.
        let prefix = 32 - (total + links::others(draft) + 2).next_power_of_two().trailing_zeros();
        let message = format!("{range} has room for {room} nodes and there are {total}");
        let help = format!("use a prefix of /{prefix} or less");
        draft.error(Code::AddressRangeTooSmall, "net.ipv4", message, help);
    }
}

/// A group called like a node of another group would make the name mean two things.
fn check_clashes(draft: &mut Draft<'_>) {
    for index in 0..draft.scenario.group.len() {
        let name = &draft.scenario.group[index].name;
        let path = format!("group.{index}.name");
        if name == "all" || name == "edges" {
            let message = format!("`{name}` has a meaning of its own and cannot name a group");
            draft.error(Code::DuplicateName, &path, message, "choose another name");
        } else if draft.nodes.iter().any(|node| node.name == *name) {
            let message = format!("`{name}` is both a group and a node of another group");
            draft.error(
                Code::DuplicateName,
                &path,
                message,
                "choose a name that does not end in a number",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capabilities, Source};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn nodes(count: u32, regions: &BTreeMap<String, u32>) -> Vec<Option<String>> {
        let regions: Vec<String> = regions
            .iter()
            .map(|(name, share)| format!("{name} = {share}"))
            .collect();
        let regions = regions.join(", ");
        let text = format!("group = [{{ name = \"a\", count = {count}, role = \"full\", regions = {{ {regions} }} }}]");
        let source = Source::read("s.toml", &text, &[]);
        let host = Capabilities::default();
        let mut draft = Draft::new(source.scenario().unwrap(), &host);
        resolve(&mut draft);
        draft.nodes.into_iter().map(|node| node.region).collect()
    }

    proptest! {
        #[test]
        fn every_prefix_keeps_the_shares(count in 1_u32..60, shares in proptest::collection::btree_map("[a-e]", 1_u32..6, 1..5)) {
            let total: u32 = shares.values().sum();
            let placed = nodes(count, &shares);
            for (region, share) in &shares {
                let mut given = 0.0;
                for (node, place) in placed.iter().enumerate() {
                    given += f64::from(u8::from(place.as_ref() == Some(region)));
                    let due = (node + 1) as f64 * f64::from(*share) / f64::from(total);
                    // Largest-deficit dealing stays within one node for each other region.
                    prop_assert!((given - due).abs() < shares.len() as f64, "{region} {given} {due}");
                }
            }
        }

        #[test]
        fn whole_rounds_are_exact(rounds in 1_u32..6, shares in proptest::collection::btree_map("[a-e]", 0_u32..6, 1..5)) {
            let total: u32 = shares.values().sum();
            prop_assume!(total > 0);
            let placed = nodes(rounds * total, &shares);
            for (region, share) in &shares {
                let given = placed.iter().filter(|place| place.as_ref() == Some(region)).count();
                prop_assert_eq!(given as u32, rounds * share);
            }
        }
    }
}
