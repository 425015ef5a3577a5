//! What was submitted against what is in the ledger.

use crate::{
    check::{
        evidence::Evidence,
        ids::IdIndex,
        ledger::{Found, Ledger},
    },
    load::{Submission, Submitted},
};
use regatta_base::TransactionId;
use regatta_report::model::Invariant;
use std::collections::BTreeMap;

/// Acknowledged or final, and in no block of the reference node.
pub(crate) fn absent<'a>(
    submitted: &'a [&'a Submitted],
    included: &'a IdIndex,
) -> impl Iterator<Item = (&'a Submission, &'a str)> {
    submitted.iter().flat_map(|load| {
        let promised = load.rows.iter().filter(|row| row.acknowledged || row.finalised);
        promised.filter(|row| !included.contains(&row.id)).map(|row| {
            let target = load.targets.get(row.target as usize).map_or("?", String::as_str);
            (row, target)
        })
    })
}

/// Every acknowledged transaction is in the ledger or still on its way, and every final one is in the ledger.
pub(crate) fn no_loss(ledger: &Ledger, submitted: &[&Submitted], included: &IdIndex) -> Invariant {
    let mut evidence = Evidence::new("no_loss");
    let said: BTreeMap<&TransactionId, &Found> = ledger
        .absent
        .iter()
        .map(|absence| (&absence.id, &absence.found))
        .collect();
    let (mut pending, mut later, mut unasked) = (0, 0, 0);
    for (row, target) in absent(submitted, included) {
        match said.get(&row.id) {
            Some(Found::Later(_)) => later += 1,
            Some(Found::Pending(_)) if !row.finalised => pending += 1,
            Some(Found::NotAsked) if !row.finalised => unasked += 1,
            _ => evidence.violation(|| {
                let what = if row.finalised {
                    "reported final"
                } else {
                    "acknowledged"
                };
                format!("{} was {what} by {target} and is in no block", row.id.short())
            }),
        }
    }
    let promised = |row: &&Submission| row.acknowledged || row.finalised;
    let count: usize = submitted
        .iter()
        .map(|load| load.rows.iter().filter(promised).count())
        .sum();
    evidence.number("acknowledged or final", count as u64);
    evidence.number("in later blocks", later);
    evidence.number("still pending", pending);
    evidence.number("not asked for", unasked);
    let mut looked_at = format!("{count} acknowledged or final transactions accounted for");
    for (number, what) in [
        (pending, "still pending"),
        (unasked, "beyond the number that was asked for"),
    ] {
        if number > 0 {
            looked_at.push_str(&format!(", {number} of them {what}"));
        }
    }
    evidence.finish(looked_at)
}

/// No id took effect twice.
pub(crate) fn no_duplicates(ledger: &Ledger, included: &IdIndex) -> Invariant {
    let mut evidence = Evidence::new("no_duplicates");
    let mut harmless = 0;
    for group in included.repeated() {
        let rows = group.iter().map(|&(_, position)| &ledger.included[position as usize]);
        let took_effect: Vec<_> = rows.filter(|row| row.ok).collect();
        match took_effect.as_slice() {
            [first, .., last] => evidence.violation(|| {
                let (id, a, b) = (first.id.short(), first.height, last.height);
                format!("{id} took effect {} times, in blocks {a} and {b}", took_effect.len())
            }),
            _ => harmless += 1,
        }
    }
    evidence.number("included", ledger.included.len() as u64);
    evidence.number("repeated without effect", harmless);
    evidence.finish(format!("{} included transactions, each once", ledger.included.len()))
}

/// Every included transaction is one that was submitted.
pub(crate) fn integrity(ledger: &Ledger, submitted: &[&Submitted]) -> Invariant {
    let mut evidence = Evidence::new("integrity");
    let ours = IdIndex::new(submitted.iter().flat_map(|load| load.rows.iter().map(|row| &row.id)));
    for row in ledger.included.iter().filter(|row| !ours.contains(&row.id)) {
        evidence.violation(|| format!("{} in block {} was never submitted", row.id.short(), row.height));
    }
    let listed = ledger.nodes.get(ledger.reference).map_or(0, |node| {
        node.blocks
            .iter()
            .map(|block| u64::from(block.transactions))
            .sum::<u64>()
    });
    if listed != ledger.included.len() as u64 {
        let read = ledger.included.len();
        evidence.violation(|| format!("blocks list {listed} transactions and hold {read}"));
    }
    evidence.number("included", ledger.included.len() as u64);
    evidence.finish(format!(
        "all {} included transactions were submitted by this run",
        ledger.included.len()
    ))
}
