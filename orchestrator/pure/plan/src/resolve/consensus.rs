//! Instances become weight tables; who votes must be able to decide.

use super::{Draft, peering::listed};
use crate::{
    PlannedInstance,
    diagnostic::Code,
    scenario::{Consensus, Role, Validators, VoteTopology},
    units::Duration,
};
use regatta_base::{ids::check_name, limits::VALIDATORS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Most heights of silence that a node accepts.
const SILENT_HEIGHTS_MAX: u64 = 1_000_000;
/// One hop between two processes of this machine under load: what a round waits for when no delay is emulated.
const LOCAL_HOP: Duration = Duration::from_millis(1);

/// Makes the instances and gives nodes their weights.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    if scenario.consensus.is_empty() {
        let help = "add [[consensus]] with id = \"main\"";
        draft.error(Code::NothingToRun, "", "the scenario has no [[consensus]]", help);
    }
    let mut ids = BTreeSet::new();
    for (index, instance) in scenario.consensus.iter().enumerate() {
        let path = format!("consensus.{index}");
        if !ids.insert(&instance.id) {
            let message = format!("there are two instances `{}`", instance.id);
            draft.error(
                Code::DuplicateName,
                &format!("{path}.id"),
                message,
                "give each an id of its own",
            );
        }
        add_instance(draft, &path, instance);
    }
    check_unused(draft);
    check_idle(draft);
    check_behaviour_of_followers(draft);
}

fn add_instance(draft: &mut Draft<'_>, path: &str, instance: &Consensus) {
    if let Err(error) = check_name(&instance.id) {
        let help = "the name is part of signed statements";
        draft.error(Code::BadName, &format!("{path}.id"), error.to_string(), help);
    }
    let weights = weights(draft, path, instance);
    let followers = followers(draft, path, instance, &weights);
    check_weights(draft, path, &weights);
    check_byzantine(draft, path, instance, &weights);
    check_behaviour(draft, path, instance, &weights);
    if draft.graph_complete {
        check_links(draft, path, instance, &weights);
        check_reach(draft, path, instance, &weights, &followers);
    }
    check_timeout(draft, path, instance);
    check_silence(draft, path, instance);
    for (&node, &weight) in &weights {
        let node = &mut draft.nodes[node as usize];
        node.weight = node.weight.saturating_add(weight);
    }
    let vote_topology = instance.vote_topology.unwrap_or_else(|| topology_for(draft, &weights));
    draft.instances.push(PlannedInstance {
        vote_topology,
        id: instance.id.clone(),
        validators: weights.into_iter().collect(),
        followers: followers.into_iter().collect(),
        block_interval_ms: instance.block_interval.millis(),
        empty_blocks: instance.empty_blocks,
        round_timeout_ms: instance.round_timeout.millis(),
        silent_heights: instance.silent_heights,
    });
}

fn weights(draft: &mut Draft<'_>, path: &str, instance: &Consensus) -> BTreeMap<u32, u64> {
    let one = crate::defaults::WEIGHT;
    let entries: Vec<(String, String, u64)> = match &instance.validators {
        None => {
            let voters = draft.nodes.iter().filter(|node| node.role == Role::Validator);
            return voters.map(|node| (node.index, one)).collect();
        }
        Some(Validators::Weights(weights)) => {
            let entry = |(name, weight): (&String, &u64)| (name.clone(), format!("{path}.validators.{name}"), *weight);
            weights.iter().map(entry).collect()
        }
        Some(Validators::List(names)) => {
            let entry = |(index, name): (usize, &String)| (name.clone(), format!("{path}.validators.{index}"), one);
            names.iter().enumerate().map(entry).collect()
        }
    };
    let mut weights = BTreeMap::new();
    for (name, path, weight) in entries {
        let nodes = draft.select(&name, &path);
        let mute = nodes
            .iter()
            .map(|&node| &draft.nodes[node as usize])
            .filter(|node| node.role != Role::Validator);
        let mute: Vec<&str> = mute.map(|node| node.name.as_str()).collect();
        if !mute.is_empty() {
            let message = format!("{} cannot vote: the role is not `validator`", listed(&mute));
            draft.error(
                Code::BadWeight,
                &path,
                message,
                "change the group's role or leave it out",
            );
        }
        if nodes.into_iter().any(|node| weights.insert(node, weight).is_some()) {
            draft.error(
                Code::DuplicateName,
                &path,
                format!("nodes of `{name}` have two weights"),
                "list each node once",
            );
        }
    }
    weights
}

/// Who runs the instance without a vote.
fn followers(draft: &mut Draft<'_>, path: &str, instance: &Consensus, weights: &BTreeMap<u32, u64>) -> BTreeSet<u32> {
    let mut followers = BTreeSet::new();
    match &instance.followers {
        None => followers.extend(0..draft.nodes.len() as u32),
        Some(names) => {
            for (index, name) in names.iter().enumerate() {
                followers.extend(draft.select(name, &format!("{path}.followers.{index}")));
            }
        }
    }
    followers.retain(|node| !weights.contains_key(node));
    followers
}

fn check_weights(draft: &mut Draft<'_>, path: &str, weights: &BTreeMap<u32, u64>) {
    let path = format!("{path}.validators");
    if weights.is_empty() {
        let help = "give a group the role \"validator\"";
        draft.error(Code::NothingToRun, &path, "the instance has no validators", help);
    }
    if weights.len() > VALIDATORS_MAX {
        let message = format!("{} validators exceed the limit of {VALIDATORS_MAX}", weights.len());
        draft.error(
            Code::TooManyValidators,
            &path,
            message,
            "let some of the nodes be full nodes",
        );
    }
    if weights.values().any(|&weight| weight == 0) {
        draft.error(
            Code::BadWeight,
            &path,
            "a validator has weight 0",
            "use a weight of 1 or more, or leave it out",
        );
    }
    let total: u128 = weights.values().map(|&weight| u128::from(weight)).sum();
    if 3 * total > u128::from(u64::MAX) {
        draft.error(
            Code::BadWeight,
            &path,
            "three times the sum of the weights exceeds 64 bits",
            "use smaller weights",
        );
    }
}

fn check_byzantine(draft: &mut Draft<'_>, path: &str, instance: &Consensus, weights: &BTreeMap<u32, u64>) {
    let Some(byzantine) = instance.byzantine else { return };
    let (count, needed) = (weights.len() as u64, 3 * u64::from(byzantine) + 1);
    if count < needed {
        let message = format!("{count} validators cannot stand {byzantine} byzantine ones: that takes {needed}");
        let help = format!("use {needed} validators or byzantine = {}", count.saturating_sub(1) / 3);
        draft.error(Code::TooFewValidators, &format!("{path}.byzantine"), message, help);
    }
}

/// Those that are to misbehave must be fewer than a third by weight, and not more than the instance says it stands.
fn check_behaviour(draft: &mut Draft<'_>, path: &str, instance: &Consensus, weights: &BTreeMap<u32, u64>) {
    let misbehaving = |node: &u32| !draft.nodes[*node as usize].behaviour.is_honest();
    let count = weights.keys().filter(|node| misbehaving(node)).count() as u64;
    let bad: u128 = weights
        .iter()
        .filter(|(node, _)| misbehaving(node))
        .map(|(_, weight)| u128::from(*weight))
        .sum();
    let total: u128 = weights.values().map(|weight| u128::from(*weight)).sum();
    if bad > 0 && 3 * bad >= total {
        let message = format!("weight {bad} of {total} misbehaves: a third or more can break agreement");
        let help = "add honest validators, or use behaviour = \"honest\"";
        draft.error(Code::TooFewValidators, path, message, help);
    }
    let declared = instance.byzantine.map(u64::from);
    if let Some(declared) = declared.filter(|declared| count > *declared) {
        let message = format!("{count} validators misbehave and the instance is meant to stand {declared}");
        let help = format!("use byzantine = {count} and at least {} validators", 3 * count + 1);
        draft.error(Code::TooFewValidators, &format!("{path}.byzantine"), message, help);
    }
}

/// Only what a validator says can be wrong.
fn check_behaviour_of_followers(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    for (index, group) in scenario.group.iter().enumerate() {
        if !group.behaviour.is_honest() && group.role != Role::Validator {
            let message = format!("`{}` never votes, so that `behaviour` has no effect", group.name);
            let path = format!("group.{index}.behaviour");
            draft.error(Code::NoEffect, &path, message, "remove it, or use role = \"validator\"");
        }
    }
}

fn check_links(draft: &mut Draft<'_>, path: &str, instance: &Consensus, weights: &BTreeMap<u32, u64>) {
    if instance.vote_topology == Some(VoteTopology::AllToAll)
        && let Some((a, b)) = not_linked(draft, weights)
    {
        let (a, b) = (&draft.nodes[a as usize].name, &draft.nodes[b as usize].name);
        let message = format!("`{a}` and `{b}` vote all to all and are not linked directly");
        let help = "use vote_topology = \"relay\" or a full mesh";
        draft.error(Code::NotLinkedDirectly, &format!("{path}.vote_topology"), message, help);
    }
}

/// Whoever runs the instance must reach its validators over nodes that run it: others pass nothing of it on.
fn check_reach(
    draft: &mut Draft<'_>,
    path: &str,
    instance: &Consensus,
    weights: &BTreeMap<u32, u64>,
    followers: &BTreeSet<u32>,
) {
    let Some(&first) = weights.keys().next() else { return };
    let runs = |node: u32| weights.contains_key(&node) || followers.contains(&node);
    let reached = draft.graph.reached(first, runs);
    let apart = weights.keys().chain(followers).find(|node| !reached.contains(node));
    let Some(&apart) = apart else { return };
    let (a, b) = (&draft.nodes[first as usize].name, &draft.nodes[apart as usize].name);
    let id = &instance.id;
    if weights.contains_key(&apart) {
        let message = format!("validators `{a}` and `{b}` of instance `{id}` cannot reach each other");
        let help = "connect the validators, e.g. core = { kind = \"full_mesh\", of = \"val\" }";
        draft.error(Code::UnreachableValidators, path, message, help);
    } else if draft.graph.reached(first, |_| true).contains(&apart) {
        // A graph that is not connected is a problem of its own.
        let message = format!("`{b}` follows instance `{id}` and reaches its validators only over nodes that do not");
        let help = "let the nodes between follow it too, or link it with a node that runs it";
        draft.error(Code::UnreachableValidators, &format!("{path}.followers"), message, help);
    }
}

/// Two of the validators that are not linked directly.
fn not_linked(draft: &Draft<'_>, weights: &BTreeMap<u32, u64>) -> Option<(u32, u32)> {
    let mut pairs = weights.keys().flat_map(|a| weights.keys().map(move |b| (*a, *b)));
    pairs.find(|&(a, b)| a < b && !draft.edges.contains(&(a, b)))
}

/// How votes travel where the scenario does not say: over single hops while those are few, over a leader when they are
/// not, and along the graph where it has no edge for each pair.
fn topology_for(draft: &Draft<'_>, weights: &BTreeMap<u32, u64>) -> VoteTopology {
    if !draft.graph_complete || not_linked(draft, weights).is_some() {
        VoteTopology::Relay
    } else if weights.len() <= crate::defaults::ALL_TO_ALL_MAX {
        VoteTopology::AllToAll
    } else {
        VoteTopology::LeaderAggregate
    }
}

/// A round must outlast twice the quorum's worst one-way delay, and its leader's wait for the block interval.
fn check_timeout(draft: &mut Draft<'_>, path: &str, instance: &Consensus) {
    let path = format!("{path}.round_timeout");
    let base = instance.round_timeout;
    if base.0 == 0 {
        return draft.error(
            Code::RoundTimeoutShort,
            &path,
            "a round timeout of 0 ends every round",
            "use \"300ms\"",
        );
    }
    let emulated = draft
        .scenario
        .link
        .iter()
        .flat_map(|link| {
            let own = link.direction.iter().filter_map(|direction| direction.delay);
            link.matrix.values().copied().chain(own)
        })
        .max();
    let hops = u64::from(draft.facts.diameter.max(1));
    let worst = Duration(emulated.unwrap_or(LOCAL_HOP).0.saturating_mul(hops));
    let least = Duration(worst.0.saturating_mul(2));
    if base < least {
        let message = format!("a round timeout of {base} is less than twice the worst one-way delay of about {worst}");
        draft.warning(
            Code::RoundTimeoutShort,
            &path,
            message,
            format!("use \"{least}\" or more"),
        );
    }
    // Round 0 lasts base x 3.
    if base.0.saturating_mul(3) <= instance.block_interval.0 {
        let message = format!(
            "rounds of 3 × {base} end before a block interval of {}",
            instance.block_interval
        );
        let help = format!("use \"{}\" or more", instance.block_interval);
        draft.warning(Code::RoundTimeoutShort, &path, message, help);
    }
}

/// Nodes refuse more.
fn check_silence(draft: &mut Draft<'_>, path: &str, instance: &Consensus) {
    let Some(heights) = instance.silent_heights.filter(|heights| *heights > SILENT_HEIGHTS_MAX) else {
        return;
    };
    let message = format!("{heights} heights of silence are more than the {SILENT_HEIGHTS_MAX} that a node accepts");
    let help = "use fewer, or 0 to wait for a leader at every turn";
    draft.error(Code::BadQuantity, &format!("{path}.silent_heights"), message, help);
}

/// Nodes that have nothing to do.
fn check_unused(draft: &mut Draft<'_>) {
    let unused = |index: &u32| !draft.instances.iter().any(|instance| instance.runs(*index));
    let unused: Vec<u32> = (0..draft.nodes.len() as u32).filter(unused).collect();
    if draft.instances.is_empty() || unused.is_empty() {
        return;
    }
    let names: Vec<&str> = unused
        .iter()
        .map(|&node| draft.nodes[node as usize].name.as_str())
        .collect();
    let message = format!("{} would run no instance", listed(&names));
    let help = "add them to the `followers` of an instance, or remove them";
    draft.error(Code::NothingToRun, "consensus", message, help);
}

/// Nodes that are called validators and vote nowhere.
fn check_idle(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    for (index, group) in scenario.group.iter().enumerate() {
        let mut nodes = draft
            .nodes
            .iter()
            .filter(|node| node.group == group.name && node.role == Role::Validator);
        if !scenario.consensus.is_empty() && nodes.any(|node| node.weight == 0) {
            let message = format!("some nodes of `{}` are validators and vote in no instance", group.name);
            draft.warning(
                Code::NoEffect,
                &format!("group.{index}.role"),
                message,
                "list them, or use role = \"full\"",
            );
        }
    }
}
