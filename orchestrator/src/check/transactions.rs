//! What was submitted against what is in the ledger.

use crate::{
    check::{
        evidence::Evidence,
        ids::IdIndex,
        ledger::{Found, Ledger, Rules},
    },
    load::{Submission, Submitted},
};
use regatta_base::{Height, PublicKey, TransactionId};
use regatta_report::model::Invariant;
use std::collections::{BTreeMap, BTreeSet};

/// Acknowledged or final, and in no block that was read whole.
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

/// What became of a transaction that no block that was read whole holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Pending,
    Later,
    Unasked,
    /// In a block that no node has any more, as validators of more than a third of the weight say.
    Attested,
}

impl Fate {
    /// Each in words, in the order in which they are told.
    const ALL: [(Self, &str); 4] = [
        (
            Self::Attested,
            "in blocks that no node has any more, by the word of validators",
        ),
        (Self::Later, "in later blocks"),
        (Self::Pending, "still pending"),
        (Self::Unasked, "beyond the number that was asked for"),
    ];
}

/// Judges what nodes say about absent transactions.
struct Witnesses<'a> {
    rules: &'a Rules,
    ledger: &'a Ledger,
    gone: Height,
}

impl Witnesses<'_> {
    /// What became of a transaction, or why it counts as lost.
    fn judge(&self, row: &Submission, found: Option<&Found>) -> Result<Fate, String> {
        match found {
            Some(Found::Executed(height, nodes)) => self.place(*height, nodes),
            Some(Found::Pending(_)) if !row.finalised => Ok(Fate::Pending),
            Some(Found::NotAsked) if !row.finalised => Ok(Fate::Unasked),
            Some(Found::NotAsked) => Err(format!(
                "is in no block that any node still has, and too many are like it to ask for; blocks 1 to {} are gone \
                 (let a group keep them: archive = true)",
                self.gone
            )),
            _ if self.gone > 0 => Err(format!(
                "is in no block that any node still has, and no node knows it; blocks 1 to {} are gone",
                self.gone
            )),
            _ => Err("is in no block".to_owned()),
        }
    }

    /// Nodes say that it is in the block of `height`: that has to be one that was not read.
    fn place(&self, height: Height, nodes: &[usize]) -> Result<Fate, String> {
        if height > self.ledger.target {
            return Ok(Fate::Later);
        }
        let first = nodes.first().map_or("?", |node| self.ledger.name(*node));
        if height > self.gone {
            return Err(format!("is not in block {height}, where {first} says that it is"));
        }
        let named: BTreeSet<PublicKey> = nodes.iter().filter_map(|node| self.key(*node)).collect();
        let weight = |only: &BTreeSet<PublicKey>| -> u128 {
            let members = self.rules.validators.iter().filter(|(key, _)| only.contains(key));
            members.map(|(_, weight)| u128::from(*weight)).sum()
        };
        let total: u128 = self
            .rules
            .validators
            .iter()
            .map(|(_, weight)| u128::from(*weight))
            .sum();
        let said = weight(&named);
        // So much weight has a correct validator in it, which executed the block.
        if 3 * said > total {
            return Ok(Fate::Attested);
        }
        Err(format!(
            "is in block {height} by the word of {first}, which no node has any more, and validators of weight {said} \
             of {total} alone know of it: that proves nothing"
        ))
    }

    fn key(&self, node: usize) -> Option<PublicKey> {
        self.rules.keys.get(self.ledger.name(node)).copied()
    }
}

/// Every acknowledged transaction is in the ledger or still on its way, and every final one is in the ledger. What is in
/// blocks that no node has any more needs validators that still know of it, of more than a third of the weight.
pub(crate) fn no_loss(rules: &Rules, ledger: &Ledger, submitted: &[&Submitted], included: &IdIndex) -> Invariant {
    let mut evidence = Evidence::new("no_loss");
    let said: BTreeMap<&TransactionId, &Found> = ledger
        .absent
        .iter()
        .map(|absence| (&absence.id, &absence.found))
        .collect();
    let gone = ledger.gone();
    let witnesses = Witnesses { rules, ledger, gone };
    let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
    for (row, target) in absent(submitted, included) {
        match witnesses.judge(row, said.get(&row.id).copied()) {
            Ok(fate) => *fates.entry(fate).or_default() += 1,
            Err(why) => evidence.violation(|| {
                let what = if row.finalised {
                    "reported final"
                } else {
                    "acknowledged"
                };
                format!("{} was {what} by {target} and {why}", row.id.short())
            }),
        }
    }
    let promised = |row: &&Submission| row.acknowledged || row.finalised;
    let count: usize = submitted
        .iter()
        .map(|load| load.rows.iter().filter(promised).count())
        .sum();
    evidence.number("acknowledged or final", count as u64);
    let mut looked_at = format!("{count} acknowledged or final transactions accounted for");
    for (fate, words) in Fate::ALL {
        let number = fates.get(&fate).copied().unwrap_or(0);
        evidence.number(words, number);
        if number > 0 {
            looked_at.push_str(&format!(", {number} of them {words}"));
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
    evidence.finish(format!(
        "{} included transactions, each once{}",
        ledger.included.len(),
        unread(ledger)
    ))
}

/// Every included transaction is one that was submitted.
pub(crate) fn integrity(ledger: &Ledger, submitted: &[&Submitted]) -> Invariant {
    let mut evidence = Evidence::new("integrity");
    let ours = IdIndex::new(submitted.iter().flat_map(|load| load.rows.iter().map(|row| &row.id)));
    for row in ledger.included.iter().filter(|row| !ours.contains(&row.id)) {
        evidence.violation(|| format!("{} in block {} was never submitted", row.id.short(), row.height));
    }
    let stretches = ledger.stretches().into_iter();
    let rows = stretches.flat_map(|stretch| {
        let node = ledger.nodes.get(stretch.node);
        (stretch.first..=stretch.last).filter_map(move |height| node?.block(height))
    });
    let listed: u64 = rows.map(|row| u64::from(row.transactions)).sum();
    // What was read before the last node let go of it is in no stretch any more.
    let gone = ledger.gone();
    let read = ledger.included.iter().filter(|row| row.height > gone).count();
    if listed != read as u64 {
        evidence.violation(|| format!("blocks list {listed} transactions and hold {read}"));
    }
    evidence.number("included", ledger.included.len() as u64);
    evidence.finish(format!(
        "all {} included transactions were submitted by this run{}",
        ledger.included.len(),
        unread(ledger)
    ))
}

/// Which blocks could not be looked at, in words.
fn unread(ledger: &Ledger) -> String {
    match ledger.gone() {
        0 => String::new(),
        gone => format!("; blocks 1 to {gone}, which no node has any more, were not looked at"),
    }
}
