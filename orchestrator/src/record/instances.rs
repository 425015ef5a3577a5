//! The consensus instances of a plan, and what became of the transactions meant for each.

use crate::{
    check::Ledger,
    load::{LoadOutcome, Tally},
};
use regatta_plan::Plan;
use regatta_report::model::Instance;

/// A row for each instance; `ledgers` are theirs, as far as they were read.
pub(super) fn of_plan(plan: &Plan, loads: &[LoadOutcome], ledgers: &[Ledger]) -> Vec<Instance> {
    let rows = plan.instances.iter().enumerate().map(|(index, instance)| {
        let mut tally = Tally::default();
        for outcome in loads {
            let load = plan.loads.get(outcome.load as usize);
            if load.is_some_and(|load| load.instance == instance.id) {
                tally.add(&outcome.tally.total());
            }
        }
        Instance {
            id: instance.id.clone(),
            votes: instance.vote_topology.name().to_owned(),
            validators: instance.validators.len() as u64,
            followers: instance.followers.len() as u64,
            weight: instance.total_weight(),
            height: ledgers.get(index).map_or(0, |ledger| ledger.target),
            accounting: tally.to_accounting(),
        }
    });
    rows.collect()
}
