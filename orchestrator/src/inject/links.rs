//! Faults of links as each node is told them: what all faults that are on make of its own links, at once.

use crate::{
    cluster::{node_key, shape},
    provider::Switch,
};
use regatta_api::testing::{Direction, LinkCut, LinkFaults, ShapedLink};
use regatta_base::PublicKey;
use regatta_link::{Change, Links, MILLION, Partition};
use regatta_plan::{LinkChange, Plan, PlannedFault, scenario::FaultKind};
use std::collections::BTreeSet;

/// What `node` makes of its links while the faults of `on` are on.
pub(super) fn faults_of(plan: &Plan, on: &[PlannedFault], node: u32) -> LinkFaults {
    let mut faults = LinkFaults::default();
    for peer in plan.peers(node) {
        let Some(key) = key(plan, peer) else { continue };
        let cut = |from, to| {
            on.iter()
                .any(|fault| fault.kind == FaultKind::Partition && fault.covers(from, to))
        };
        let direction = match (cut(node, peer), cut(peer, node)) {
            (true, true) => Some(Direction::Both),
            (true, false) => Some(Direction::Out),
            (false, true) => Some(Direction::In),
            (false, false) => None,
        };
        faults
            .cut
            .extend(direction.map(|direction| LinkCut { peer: key, direction }));
        let mut changes = on
            .iter()
            .filter(|fault| fault.covers(node, peer))
            .filter_map(PlannedFault::link)
            .peekable();
        if changes.peek().is_some() {
            let base = plan.conditions(node, peer).unwrap_or_default();
            let shape = shape(changes.fold(base, |conditions, change| change.on(conditions)));
            faults.shaped.push(ShapedLink { peer: key, shape });
        }
    }
    faults
}

/// The nodes whose links `fault` changes.
pub(super) fn touched(plan: &Plan, fault: &PlannedFault) -> BTreeSet<u32> {
    let ends = plan
        .edges
        .iter()
        .filter(|(a, b)| fault.covers(*a, *b) || fault.covers(*b, *a));
    ends.flat_map(|&(a, b)| [a, b]).collect()
}

/// Lets the switch between namespaces make `fault` of the packets that it carries.
pub(super) fn order_switch(switch: &Switch, plan: &Plan, fault: &PlannedFault) {
    let sides = || Partition::new(plan.places(), &fault.sets, fault.one_way);
    if fault.kind == FaultKind::Partition && !fault.sets.is_empty() {
        switch.part(fault.index, sides());
    } else {
        switch.change(fault.index, change_of(fault, sides));
    }
}

/// What becomes of the links of `fault`; a partition without sides loses every packet of its nodes.
fn change_of(fault: &PlannedFault, sides: impl Fn() -> Partition) -> Change {
    let change = fault.link().unwrap_or(LinkChange {
        loss_ppm: Some(MILLION),
        ..LinkChange::default()
    });
    let links = match fault.sets.is_empty() {
        true => Links::Of(fault.nodes.iter().copied().collect()),
        false => Links::Between(sides()),
    };
    Change {
        links,
        delay_ns: change.delay_ns,
        jitter_ppm: change.jitter_ppm,
        loss_ppm: change.loss_ppm,
        rate_bits: change.rate_bits,
    }
}

fn key(plan: &Plan, node: u32) -> Option<PublicKey> {
    let node = plan.nodes.get(node as usize)?;
    Some(node_key(plan, node).public())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fault, node, plan};
    use regatta_plan::{FaultExtent, LinkChange, scenario::Role};

    /// A ring of four validators and a full node at the first two.
    fn ring() -> Plan {
        let mut plan = plan(4);
        plan.nodes.push(node(4, "full", Role::Full));
        plan.edges = vec![(0, 1), (1, 2), (2, 3), (0, 3), (0, 4), (1, 4)];
        plan
    }

    fn partition(sets: &[&[u32]], one_way: bool) -> PlannedFault {
        PlannedFault {
            nodes: sets.concat(),
            sets: sets.iter().map(|side| side.to_vec()).collect(),
            one_way,
            ..fault(FaultKind::Partition, &[])
        }
    }

    fn slow(nodes: &[u32], delay_ns: u64) -> PlannedFault {
        PlannedFault {
            extent: FaultExtent::Link(LinkChange {
                delay_ns,
                ..LinkChange::default()
            }),
            ..fault(FaultKind::Link, nodes)
        }
    }

    fn index(plan: &Plan, peer: PublicKey) -> u32 {
        let key = |node: &&regatta_plan::PlannedNode| node_key(plan, node).public() == peer;
        plan.nodes.iter().find(key).unwrap().index
    }

    fn cut_of(on: &[PlannedFault], node: u32) -> Vec<(u32, Direction)> {
        let plan = ring();
        let cut = faults_of(&plan, on, node).cut;
        cut.iter().map(|cut| (index(&plan, cut.peer), cut.direction)).collect()
    }

    #[test]
    fn links_between_sides_are_cut_and_no_others() {
        let fault = [partition(&[&[0, 1], &[2, 3]], false)];
        assert_eq!(cut_of(&fault, 0), [(3, Direction::Both)]);
        assert_eq!(cut_of(&fault, 1), [(2, Direction::Both)]);
        assert_eq!(cut_of(&fault, 2), [(1, Direction::Both)]);
        assert_eq!(cut_of(&fault, 4), [], "a node of no side reaches everybody");
        assert_eq!(touched(&ring(), &fault[0]), BTreeSet::from([0, 1, 2, 3]));
    }

    #[test]
    fn one_way_loses_what_the_first_side_sends() {
        let fault = [partition(&[&[0], &[1, 3], &[2]], true)];
        assert_eq!(cut_of(&fault, 0), [(1, Direction::Out), (3, Direction::Out)]);
        assert_eq!(cut_of(&fault, 1), [(0, Direction::In)]);
        assert_eq!(cut_of(&fault, 2), [], "between other sides nothing is lost");
    }

    #[test]
    fn faults_that_are_on_together_add_up_and_end_one_by_one() {
        let both = [
            partition(&[&[0], &[1, 2, 3, 4]], false),
            partition(&[&[0, 1], &[2, 3]], true),
        ];
        assert_eq!(
            cut_of(&both, 0),
            [(1, Direction::Both), (3, Direction::Both), (4, Direction::Both)]
        );
        assert_eq!(cut_of(&both[1..], 0), [(3, Direction::Out)]);
    }

    #[test]
    fn changed_links_have_what_the_scenario_gives_them_and_more() {
        let mut plan = ring();
        plan.links = Some(regatta_plan::PlannedLinks {
            lab: std::net::Ipv4Addr::UNSPECIFIED,
            prefix: 24,
            regions: vec![String::new()],
            delay_ns: vec![vec![1_000_000]],
            jitter_ppm: 5,
            loss_ppm: 0,
            reorder_ppm: 0,
            duplicate_ppm: 0,
            rate_bits: None,
            directions: Vec::new(),
        });
        let on = [slow(&[0], 2_000_000), slow(&[0, 1], 500)];
        let shaped = faults_of(&plan, &on, 1).shaped;
        let found: Vec<(u32, u64)> = shaped
            .iter()
            .map(|link| (index(&plan, link.peer), link.shape.delay_us))
            .collect();
        assert_eq!(found, [(0, 3001), (2, 1001), (4, 1001)]);
        assert!(shaped.iter().all(|link| link.shape.jitter_ppm == 5));
        assert_eq!(touched(&plan, &on[0]), BTreeSet::from([0, 1, 3, 4]));
    }
}
