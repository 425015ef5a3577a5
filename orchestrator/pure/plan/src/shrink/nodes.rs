//! A scenario with some of its nodes: groups become smaller, the nodes that stay get new names, and whatever spoke of
//! those that went no longer does.

use crate::{
    scenario::{Fault, FaultKind, Generator, Scenario, Validators},
    units::Ratio,
};
use std::collections::{BTreeMap, BTreeSet};

/// All nodes as group and position in it, in the order of the plan.
pub(super) fn nodes(scenario: &Scenario) -> Vec<(usize, u32)> {
    let groups = scenario.group.iter().enumerate();
    groups
        .flat_map(|(index, group)| (0..group.count).map(move |offset| (index, offset)))
        .collect()
}

/// The scenario with the nodes of `kept` alone.
pub(super) fn with(scenario: &Scenario, kept: &[(usize, u32)]) -> Scenario {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut smaller = scenario.clone();
    for (index, group) in smaller.group.iter_mut().enumerate() {
        let stay = kept.iter().filter(|(of, _)| *of == index).zip(0_u32..);
        for ((_, offset), place) in stay {
            names.insert(format!("{}-{offset}", group.name), format!("{}-{place}", group.name));
        }
        group.count = kept.iter().filter(|(of, _)| *of == index).count() as u32;
    }
    let gone: BTreeSet<String> = smaller
        .group
        .iter()
        .filter(|group| group.count == 0)
        .map(|group| group.name.clone())
        .collect();
    let old: BTreeSet<String> = nodes(scenario)
        .into_iter()
        .map(|(index, offset)| format!("{}-{offset}", scenario.group[index].name))
        .collect();
    smaller.group.retain(|group| group.count > 0);
    Renaming { names, old, gone }.apply(&mut smaller);
    smaller
}

/// What nodes are called now, and which names no longer mean anything.
struct Renaming {
    names: BTreeMap<String, String>,
    old: BTreeSet<String>,
    gone: BTreeSet<String>,
}

impl Renaming {
    /// The new name of a node; groups, regions and other words stay, and those of nobody are none.
    fn rename(&self, name: &str) -> Option<String> {
        if let Some(new) = self.names.get(name) {
            return Some(new.clone());
        }
        let is_gone = self.old.contains(name) || self.gone.contains(name);
        (!is_gone).then(|| name.to_owned())
    }

    fn list(&self, names: &mut Vec<String>) {
        *names = names.iter().filter_map(|name| self.rename(name)).collect();
    }

    fn apply(&self, scenario: &mut Scenario) {
        for fault in &mut scenario.fault {
            self.list(&mut fault.nodes);
            fault.sets.iter_mut().for_each(|side| self.list(side));
            fault.sets.retain(|side| !side.is_empty());
        }
        scenario.fault.retain(has_nodes);
        for churn in &mut scenario.churn {
            churn.row = churn
                .row
                .iter()
                .filter_map(|row| {
                    let mut row = row.clone();
                    row.node = self.rename(&row.node)?;
                    Some(row)
                })
                .collect();
        }
        scenario
            .churn
            .retain(|churn| churn.group.is_some() || !churn.row.is_empty());
        for instance in &mut scenario.consensus {
            match &mut instance.validators {
                Some(Validators::List(names)) => self.list(names),
                Some(Validators::Weights(weights)) => {
                    let kept = std::mem::take(weights).into_iter();
                    *weights = kept
                        .filter_map(|(name, weight)| Some((self.rename(&name)?, weight)))
                        .collect();
                }
                None => {}
            }
            if let Some(followers) = &mut instance.followers {
                self.list(followers);
            }
        }
        for load in &mut scenario.load {
            load.target = load.target.take().and_then(|target| self.target(&target));
        }
        self.peering(scenario);
    }

    /// A node that went is stood for by another of its group.
    fn target(&self, target: &str) -> Option<String> {
        self.rename(target).or_else(|| {
            let (group, _) = target.rsplit_once('-')?;
            (!self.gone.contains(group)).then(|| group.to_owned())
        })
    }

    fn peering(&self, scenario: &mut Scenario) {
        let edges = scenario.peering.edges.iter();
        scenario.peering.edges = edges
            .filter_map(|(a, b)| Some((self.rename(a)?, self.rename(b)?)))
            .collect();
        let all = scenario.group.iter().map(|group| group.count).sum();
        let sizes: BTreeMap<&str, u32> = scenario
            .group
            .iter()
            .map(|group| (group.name.as_str(), group.count))
            .chain([("all", all)])
            .collect();
        let size = |name: &str| sizes.get(name).copied().unwrap_or(0);
        let rules = std::mem::take(&mut scenario.peering.rules).into_iter();
        scenario.peering.rules = rules
            .filter_map(|(name, rule)| Some((name, fitting(rule, size)?)))
            .collect();
    }
}

fn has_nodes(fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::Partition => fault.sets.len() > 1,
        _ => !fault.nodes.is_empty(),
    }
}

/// A rule that fits the sizes that groups have now; none when it links nobody.
fn fitting(rule: Generator, size: impl Fn(&str) -> u32) -> Option<Generator> {
    let among = |of: &String| size(of) > 0;
    match rule {
        Generator::KRegular { of, k } => among(&of).then(|| regular(of.clone(), k, size(&of))),
        Generator::SmallWorld { of, k, rewire } => among(&of).then(|| small_world(of.clone(), k, rewire, size(&of))),
        Generator::ScaleFree { of, m } => among(&of).then(|| {
            if m < size(&of) {
                Generator::ScaleFree { of, m }
            } else {
                Generator::FullMesh { of }
            }
        }),
        Generator::Bipartite { from, to, degree } => (among(&from) && among(&to)).then(|| Generator::Bipartite {
            degree: degree.min(size(&to)),
            from,
            to,
        }),
        Generator::FullMesh { of } => among(&of).then_some(Generator::FullMesh { of }),
        Generator::Ring { of } => among(&of).then_some(Generator::Ring { of }),
        Generator::Star { of } => among(&of).then_some(Generator::Star { of }),
        Generator::Tree { of, arity } => among(&of).then_some(Generator::Tree { of, arity }),
        Generator::File { path } => Some(Generator::File { path }),
    }
}

/// `k` links each, as far as so many nodes can have them.
fn regular(of: String, k: u32, count: u32) -> Generator {
    if k + 1 >= count {
        return Generator::FullMesh { of };
    }
    let odd = k % 2 == 1 && count % 2 == 1;
    Generator::KRegular {
        of,
        k: if odd { k + 1 } else { k },
    }
}

fn small_world(of: String, k: u32, rewire: Ratio, count: u32) -> Generator {
    if k + 1 >= count {
        Generator::FullMesh { of }
    } else {
        Generator::SmallWorld { of, k, rewire }
    }
}
