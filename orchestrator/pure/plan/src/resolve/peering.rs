//! Generators and explicit edges become one simple connected graph.

use super::Draft;
use crate::{
    diagnostic::{Code, Problem, Severity},
    scenario::Generator,
    topology::{Graph, Members, generate, ordered},
};
use regatta_base::{limits::PEERS_MAX, seed};
use std::collections::BTreeSet;

/// Names in a message; more would hide it.
const NAMED_MAX: usize = 5;

/// Makes the edges and the graph.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    let before = draft.problems.len();
    for (name, rule) in &draft.scenario.peering.rules {
        apply(draft, name, rule);
    }
    explicit(draft);
    draft.graph = Graph::new(draft.nodes.len() as u32, &draft.edges);
    check_degrees(draft);
    // A rule that failed has left its edges out: what is missing then is no second problem.
    draft.graph_complete = draft
        .problems
        .iter()
        .skip(before)
        .all(|problem| problem.severity == Severity::Warning);
    if draft.graph_complete {
        check_connected(draft);
    }
    draft.facts = draft.graph.facts();
    if draft.graph_complete {
        check_cuts(draft);
    }
}

fn apply(draft: &mut Draft<'_>, name: &str, rule: &Generator) {
    let path = format!("peering.{name}");
    let (of, to) = match rule {
        Generator::Bipartite { from, to, .. } => (Some(("from", from)), Some(("to", to))),
        Generator::File { .. } => (None, None),
        Generator::FullMesh { of }
        | Generator::Ring { of }
        | Generator::Star { of }
        | Generator::Tree { of, .. }
        | Generator::KRegular { of, .. }
        | Generator::SmallWorld { of, .. }
        | Generator::ScaleFree { of, .. } => (Some(("of", of)), None),
    };
    let mut members = |end: Option<(&str, &String)>| {
        end.map(|(key, group)| draft.select(group, &format!("{path}.{key}")))
            .unwrap_or_default()
    };
    let members = Members {
        of: members(of),
        to: members(to),
    };
    if members.of.is_empty() || (to.is_some() && members.to.is_empty()) {
        return;
    }
    if to.is_some() && members.of.iter().any(|node| members.to.contains(node)) {
        let message = format!("`{name}` links nodes with themselves: `from` and `to` share nodes");
        return draft.error(
            Code::SelfEdge,
            &format!("{path}.to"),
            message,
            "use two groups, or a generator with `of`",
        );
    }
    let (key, most) = highest_degree(rule, &members);
    if most > PEERS_MAX as u64 {
        let message = format!("`{name}` gives a node {most} links and a node may have {PEERS_MAX}");
        return draft.error(
            Code::TooManyPeers,
            &format!("{path}.{key}"),
            message,
            "use k_regular or a smaller group",
        );
    }
    let mut rng = seed::rng(draft.scenario.seed, &format!("graph/{name}"));
    match generate(rule, &members, &mut rng) {
        Ok(edges) => draft.edges.extend(edges),
        Err(error) => {
            let message = format!("`{name}` {}", error.reason);
            draft.error(error.code, &format!("{path}.{}", error.key), message, error.help);
        }
    }
}

/// The most links that the rule is bound to give a node, and the key that says so.
fn highest_degree(rule: &Generator, members: &Members) -> (&'static str, u64) {
    let others = members.of.len().saturating_sub(1) as u64;
    match rule {
        Generator::FullMesh { .. } | Generator::Star { .. } => ("of", others),
        Generator::Tree { arity, .. } => ("arity", u64::from(*arity).min(others)),
        Generator::KRegular { k, .. } => ("k", u64::from(*k).min(others)),
        Generator::SmallWorld { k, .. } => ("k", u64::from(*k).min(others)),
        Generator::ScaleFree { m, .. } => ("m", u64::from(*m).min(others)),
        Generator::Bipartite { degree, .. } => {
            let degree = u64::from(*degree).min(members.to.len() as u64);
            let received = (members.of.len() as u64 * degree).div_ceil(members.to.len().max(1) as u64);
            ("degree", degree.max(received))
        }
        Generator::Ring { .. } | Generator::File { .. } => ("kind", 0),
    }
}

fn explicit(draft: &mut Draft<'_>) {
    let mut seen = BTreeSet::new();
    for (index, (a, b)) in draft.scenario.peering.edges.iter().enumerate() {
        let path = format!("peering.edges.{index}");
        let ends = [
            node_called(draft, a, &format!("{path}.0")),
            node_called(draft, b, &format!("{path}.1")),
        ];
        let [Some(first), Some(second)] = ends else { continue };
        let edge = ordered(first, second);
        if first == second {
            draft.error(
                Code::SelfEdge,
                &path,
                format!("`{a}` cannot be linked with itself"),
                "remove the edge",
            );
        } else if !seen.insert(edge) {
            draft.error(
                Code::DuplicateEdge,
                &path,
                format!("`{a}` and `{b}` are linked twice"),
                "remove one of the edges",
            );
        } else if !draft.edges.insert(edge) {
            let message = format!("`{a}` and `{b}` are already linked by a generator");
            draft.warning(Code::DuplicateEdge, &path, message, "remove the edge");
        }
    }
}

/// The node called `name`: an edge has nodes at its ends and no groups.
fn node_called(draft: &mut Draft<'_>, name: &str, path: &str) -> Option<u32> {
    let found = draft.nodes.iter().find(|node| node.name == name).map(|node| node.index);
    if found.is_none() {
        let problem = Problem::error(Code::UnknownNode, path, format!("there is no node `{name}`"));
        let help = match draft.groups.contains_key(name) {
            true => Some(format!(
                "`{name}` is a group: name a node such as `{name}-0`, or use a generator"
            )),
            false => draft.similar(name),
        };
        draft.problems.push(Problem { help, ..problem });
    }
    found
}

fn check_degrees(draft: &mut Draft<'_>) {
    let crowded = draft
        .nodes
        .iter()
        .filter(|node| draft.graph.degree(node.index) as usize > PEERS_MAX);
    let crowded: Vec<&str> = crowded.map(|node| node.name.as_str()).collect();
    if !crowded.is_empty() {
        let message = format!("{} would have more than {PEERS_MAX} links", listed(&crowded));
        draft.error(Code::TooManyPeers, "peering", message, "use generators of lower degree");
    }
}

fn check_connected(draft: &mut Draft<'_>) {
    let components = draft.graph.components();
    let pieces = components.iter().max().map_or(0, |last| last + 1);
    if pieces < 2 {
        return;
    }
    let leader = |piece: u32| components.iter().position(|&component| component == piece).unwrap_or(0);
    let describe = |piece: u32| {
        let size = components.iter().filter(|&&component| component == piece).count();
        let name = &draft.nodes[leader(piece)].name;
        if size == 1 {
            format!("`{name}` alone")
        } else {
            format!("{size} around `{name}`")
        }
    };
    let some: Vec<String> = (0..pieces).take(NAMED_MAX).map(describe).collect();
    let more = if pieces as usize > NAMED_MAX { ", ..." } else { "" };
    let message = format!("the graph is in {pieces} pieces: {}{more}", some.join(", "));
    let (a, b) = (&draft.nodes[leader(0)].name, &draft.nodes[leader(1)].name);
    let help = format!("link them, e.g. edges = [[\"{a}\", \"{b}\"]], or use a generator of = \"all\"");
    draft.error(Code::Disconnected, "peering", message, help);
}

fn check_cuts(draft: &mut Draft<'_>) {
    let cuts: Vec<&str> = draft
        .facts
        .cut_vertices
        .iter()
        .map(|&node| draft.nodes[node as usize].name.as_str())
        .collect();
    if !cuts.is_empty() {
        let message = format!("the loss of {} alone cuts the graph", one_of(&cuts));
        draft.warning(
            Code::CutVertex,
            "peering",
            message,
            "give the nodes behind it a second link",
        );
    }
}

fn one_of(names: &[&str]) -> String {
    if names.len() == 1 {
        listed(names)
    } else {
        format!("one of {}", listed(names))
    }
}

/// Some names, and how many more there are.
pub(super) fn listed(names: &[&str]) -> String {
    let some: Vec<String> = names.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    if more == 0 {
        some.join(", ")
    } else {
        format!("{} and {more} more", some.join(", "))
    }
}
