//! Hosts whose nodes a plan limits: that they can do so, and that nothing of an earlier lab stays on.

use crate::{
    cgroup::suffer,
    fleet::{Crew, HostError, HostFailure},
};
use regatta_fleet::{OrderBody, Resource};
use regatta_plan::{Plan, scenario::FaultKind};
use std::{collections::BTreeSet, time::Duration};

/// How long a host may take to lift limits.
const DEADLINE: Duration = Duration::from_secs(20);

/// What faults of these kinds take away.
const TAKEN: [(FaultKind, Resource); 2] = [(FaultKind::Cpu, Resource::Cpu), (FaultKind::Memory, Resource::Memory)];

/// Those of `hosts` that answered, and whose control groups cannot do what faults are to do to their nodes.
pub(super) fn unfit(crew: &Crew, plan: &Plan, hosts: &[u32]) -> Vec<HostFailure> {
    let taken = TAKEN.map(|(kind, of)| (suffer(plan, kind), of));
    let lacks = |host: u32| {
        let client = crew.client(host)?;
        let facts = client.hello().facts;
        let limited = |nodes: &BTreeSet<u32>| plan.nodes_on(host).any(|node| nodes.contains(&node.index));
        let lacks = |(nodes, of): &&(BTreeSet<u32>, Resource)| limited(nodes) && !facts.limits.contains(of);
        let (_, what) = taken.iter().find(lacks)?;
        Some(HostFailure {
            host,
            name: client.target().name.clone(),
            error: HostError::NoLimits {
                what: *what,
                groups: facts.groups.clone(),
            },
        })
    };
    hosts.iter().filter_map(|&host| lacks(host)).collect()
}

/// Lifts what faults of an earlier lab have left on; the hosts that did not.
pub(super) async fn lift_all(crew: &Crew, plan: &Plan) -> Vec<HostFailure> {
    let mut orders = Vec::new();
    for (kind, of) in TAKEN {
        let limited = suffer(plan, kind);
        let nodes = limited.iter().filter_map(|&node| plan.nodes.get(node as usize));
        for (host, name) in nodes.filter_map(|node| Some((node.host?, node.name.parse().ok()?))) {
            orders.push((host, OrderBody::Lift { node: name, of }));
        }
    }
    let answers = crew.order_each(orders, DEADLINE).await;
    answers.into_iter().filter_map(|(_, answer)| answer.err()).collect()
}
