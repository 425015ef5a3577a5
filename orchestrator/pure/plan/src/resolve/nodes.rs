//! Groups become nodes with names, addresses, regions and builds.

use super::{Draft, NODES_MAX};
use crate::{
    PlannedNode,
    diagnostic::{Code, Problem},
    scenario::Group,
    suggest::did_you_mean,
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
    check_range(draft, total);
    for (index, group) in scenario.group.iter().enumerate() {
        add_group(draft, index, group);
    }
    check_clashes(draft);
    !draft.nodes.is_empty()
}

fn add_group(draft: &mut Draft<'_>, index: usize, group: &Group) {
    let path = format!("group.{index}");
    let scenario = draft.scenario;
    if let Err(error) = check_name(&group.name) {
        draft.error(
            Code::BadName,
            &format!("{path}.name"),
            error.to_string(),
            "the name becomes part of host names",
        );
    }
    if group.count == 0 {
        let message = format!("group `{}` has no nodes", group.name);
        draft.error(
            Code::EmptyGroup,
            &format!("{path}.count"),
            message,
            "use count = 1 or more, or remove the group",
        );
    }
    if !scenario.build.contains_key(&group.build) {
        let problem = Problem::error(
            Code::UnknownBuild,
            format!("{path}.build"),
            format!("there is no build `{}`", group.build),
        );
        let help = did_you_mean(&group.build, scenario.build.keys().map(String::as_str));
        draft.problems.push(Problem { help, ..problem });
    }
    let start = draft.nodes.len() as u32;
    let regions = regions(draft, &format!("{path}.regions"), group);
    for (offset, region) in (0..group.count).zip(regions) {
        let index = start + offset;
        draft.nodes.push(PlannedNode {
            index,
            name: format!("{}-{offset}", group.name),
            group: group.name.clone(),
            role: group.role,
            region,
            address: scenario.net.ipv4.node_address(index).unwrap_or(Ipv4Addr::UNSPECIFIED),
            p2p_port: scenario.net.p2p_port,
            http_port: scenario.net.http_port,
            build: group.build.clone(),
            weight: 0,
        });
    }
    if draft
        .groups
        .insert(group.name.clone(), start..start + group.count)
        .is_some()
    {
        let message = format!("there are two groups `{}`", group.name);
        draft.error(
            Code::DuplicateName,
            &format!("{path}.name"),
            message,
            "give each group a name of its own",
        );
    }
}

/// The region of each node of `group`: dealt so that every prefix of the nodes keeps the shares as well as it can.
fn regions(draft: &mut Draft<'_>, path: &str, group: &Group) -> Vec<Option<String>> {
    if group.regions.is_empty() {
        return vec![None; group.count as usize];
    }
    let total: u64 = group.regions.values().map(|share| u64::from(*share)).sum();
    if total == 0 {
        draft.error(
            Code::BadWeight,
            path,
            "all regions have share 0",
            "give at least one region a share",
        );
        return vec![None; group.count as usize];
    }
    let mut given: BTreeMap<&String, i64> = BTreeMap::new();
    let deal = (1..=i64::from(group.count)).map(|nodes| {
        let lack = |region: &String, share: u32| {
            i64::from(share) * nodes - given.get(region).copied().unwrap_or(0) * total as i64
        };
        let region = group
            .regions
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
    let range = draft.scenario.net.ipv4;
    if range.capacity() < total {
        // The smallest range whose addresses, less the first and last, suffice.
        let prefix = 32 - (total + 2).next_power_of_two().trailing_zeros();
        let message = format!("{range} has room for {} nodes and there are {total}", range.capacity());
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
