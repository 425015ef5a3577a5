//! Who was convicted of what, and by how many nodes.

use crate::check::Ledger;
use regatta_api::view::EvidenceView;
use regatta_plan::Plan;
use regatta_report::model;
use std::collections::{BTreeMap, BTreeSet};

/// One row for each validator, height and kind of contradiction that any node tells of.
pub(super) fn accused(plan: &Plan, ledgers: &[Ledger]) -> Vec<model::Accusation> {
    let mut rows = Vec::new();
    for (instance, ledger) in plan.instances.iter().zip(ledgers) {
        let mut told: BTreeMap<_, (&EvidenceView, BTreeSet<u32>)> = BTreeMap::new();
        for accusation in &ledger.accusations {
            let view = &accusation.view;
            let key = (view.height, view.signer, view.kind);
            told.entry(key)
                .or_insert_with(|| (view, BTreeSet::new()))
                .1
                .insert(accusation.node);
        }
        let name = |signer: u16| {
            let validator = instance.validators.get(usize::from(signer));
            let node = validator.and_then(|(node, _)| plan.nodes.get(*node as usize));
            node.map_or_else(|| format!("signer {signer}"), |node| node.name.clone())
        };
        rows.extend(told.into_values().map(|(view, nodes)| model::Accusation {
            instance: instance.id.clone(),
            validator: name(view.signer),
            height: view.height,
            round: view.first.round,
            kind: view.kind.to_string(),
            told_by: nodes.len() as u64,
            asked: ledger.nodes.len() as u64,
        }));
    }
    rows
}
