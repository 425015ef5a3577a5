//! Who a fault is done to: names, shares, cuts of the graph, and leaders that are not known yet.

use super::super::{Draft, processes};
use crate::{
    diagnostic::{Code, Problem},
    scenario::{Fault, FaultKind},
    topology::{edge_cut, vertex_cut},
    units::Ratio,
};
use rand::seq::SliceRandom;
use regatta_base::seed;
use std::collections::BTreeSet;

const CUT: &str = "minimal_cut";
const LEADER: &str = "next_leader";
const REST: &str = "rest";

/// The nodes of a fault, or the instance whose next leader it is done to.
pub(super) fn nodes(
    draft: &mut Draft<'_>,
    path: &str,
    label: &str,
    fault: &Fault,
    sets: &[Vec<u32>],
) -> (Vec<u32>, Option<String>) {
    let mut chosen: BTreeSet<u32> = sets.iter().flatten().copied().collect();
    for (index, name) in fault.nodes.iter().enumerate() {
        let path = format!("{path}.nodes.{index}");
        if let Some(instance) = name.strip_prefix(LEADER) {
            if fault.nodes.len() > 1 {
                let message = "the next leader is not known before the fault begins, and stands alone";
                draft.error(
                    Code::BadSelection,
                    &path,
                    message,
                    "give the other nodes a [[fault]] of their own",
                );
            }
            return (Vec::new(), leader_of(draft, &path, instance));
        }
        if name == CUT {
            chosen.extend(cut(draft, &path, vertex_cut, "nodes"));
        } else {
            chosen.extend(named(draft, &path, label, name, fault));
        }
    }
    (chosen.into_iter().collect(), None)
}

/// The instance of `next_leader` or `next_leader:ID`.
fn leader_of(draft: &mut Draft<'_>, path: &str, rest: &str) -> Option<String> {
    let known: Vec<String> = draft.instances.iter().map(|instance| instance.id.clone()).collect();
    match rest.strip_prefix(':') {
        None if rest.is_empty() => known.into_iter().next(),
        Some(id) if known.iter().any(|known| known == id) => Some(id.to_owned()),
        _ => {
            let id = rest.trim_start_matches(':');
            let problem = Problem::error(Code::UnknownInstance, path, format!("there is no instance `{id}`"));
            draft.unknown(problem, id, known.iter().map(String::as_str));
            None
        }
    }
}

/// The sides of a partition or of changed links; elsewhere `sets` has no effect and is a problem of its own.
pub(super) fn sets(draft: &mut Draft<'_>, path: &str, label: &str, fault: &Fault) -> Vec<Vec<u32>> {
    if !fault.kind.is_on_links() || fault.sets.is_empty() {
        return Vec::new();
    }
    let mut bridge = BTreeSet::new();
    for (index, name) in fault.bridge.iter().enumerate() {
        bridge.extend(named(draft, &format!("{path}.bridge.{index}"), label, name, fault));
    }
    let mut sides: Vec<BTreeSet<u32>> = Vec::new();
    for (side, names) in fault.sets.iter().enumerate() {
        let mut chosen = BTreeSet::new();
        for (index, name) in names.iter().enumerate().filter(|(_, name)| *name != REST) {
            let path = format!("{path}.sets.{side}.{index}");
            if name == CUT {
                chosen.extend(cut(draft, &path, edge_cut, "links"));
            } else {
                chosen.extend(named(draft, &path, label, name, fault));
            }
        }
        chosen.retain(|node| !bridge.contains(node));
        sides.push(chosen);
    }
    let taken: BTreeSet<u32> = sides.iter().flatten().chain(&bridge).copied().collect();
    let others = if processes::suffers(draft, fault) {
        draft.processes.len()
    } else {
        0
    };
    let count = (draft.nodes.len() + others) as u32;
    for (side, names) in sides.iter_mut().zip(&fault.sets) {
        if names.iter().any(|name| name == REST) {
            side.extend((0..count).filter(|node| !taken.contains(node)));
        }
    }
    let sides: Vec<Vec<u32>> = sides.into_iter().map(|side| side.into_iter().collect()).collect();
    check_sides(draft, path, fault.kind, &sides);
    sides
}

/// There are at least two sides with somebody on each, and nobody stands on two of them.
fn check_sides(draft: &mut Draft<'_>, path: &str, kind: FaultKind, sides: &[Vec<u32>]) {
    let path = format!("{path}.sets");
    if sides.len() == 1 {
        let message = format!("a {kind} with one side parts nobody");
        draft.error(
            Code::NoEffect,
            &path,
            message,
            "list the other side as a second set, or write [\"rest\"]",
        );
    }
    let mut seen = BTreeSet::new();
    let twice = sides.iter().flatten().find(|node| !seen.insert(**node));
    if let Some(&node) = twice {
        let message = format!("`{}` is on two sides", draft.name_at(node));
        draft.error(Code::DuplicateName, &path, message, "list each node in one set");
    }
}

/// A random share, or what any name stands for.
fn named(draft: &mut Draft<'_>, path: &str, label: &str, name: &str, fault: &Fault) -> Vec<u32> {
    let Some(share) = name.strip_prefix("share:") else {
        let mut chosen = processes::select(draft, name, path, fault);
        let region = name.strip_prefix("region:");
        let has_nodes = draft.nodes.iter().any(|node| node.region.as_deref() == region);
        // Names of processes and regions with processes alone are no mistakes.
        if chosen.is_empty() || name == "all" || (region.is_some() && has_nodes) {
            chosen.extend(draft.select(name, path));
        }
        return chosen;
    };
    let (share, of) = share.split_once(':').unwrap_or((share, "all"));
    let Some(share) = share.parse::<Ratio>().ok().filter(|share| share.0 > 0.0) else {
        let message = format!("`{name}` is no share of the nodes");
        draft.error(
            Code::BadSelection,
            path,
            message,
            "write it as \"share:20%\" or \"share:20%:GROUP\"",
        );
        return Vec::new();
    };
    let mut nodes = draft.select(of, path);
    nodes.shuffle(&mut seed::rng(draft.scenario.seed, &format!("{label}/{name}")));
    let count = (nodes.len() as f64 * share.0).ceil() as usize;
    nodes.truncate(count);
    nodes
}

/// The smallest cut between all validators.
fn cut(
    draft: &mut Draft<'_>,
    path: &str,
    find: impl Fn(&crate::topology::Graph, &[u32]) -> Option<Vec<u32>>,
    what: &str,
) -> Vec<u32> {
    let voters = draft.instances.iter().flat_map(|instance| &instance.validators);
    let voters: BTreeSet<u32> = voters.map(|(node, _)| *node).collect();
    let voters: Vec<u32> = voters.into_iter().collect();
    find(&draft.graph, &voters).unwrap_or_else(|| {
        let message = format!("no {what} part the validators: they are all linked directly, or there is only one");
        draft.error(
            Code::BadSelection,
            path,
            message,
            "name the nodes, or use a sparser [peering]",
        );
        Vec::new()
    })
}
