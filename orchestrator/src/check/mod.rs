//! Correctness after the load: the ledgers of all nodes as witness against what was submitted.
//!
//! ```text
//! collect(rules, endpoints, submitted, limit).await -> Ledger   over the control interface, before nodes stop
//! read_simulated(rules, world, ..) -> Ledger              the same of simulated nodes
//! check(rules, ledger, submitted, rng) -> Vec<Invariant>        pure, linear in the ledger's size
//! ```
//! Invariants: `agreement`, `continuity`, `certificates`, `accusations`, `no_loss`, `no_duplicates`, `integrity` (when the
//! cluster is ours alone) and `convergence`; of several instances `isolation` too, and where nodes come and go `returns`. Each says what was looked at, or the
//! first violations found.

mod accusations;
mod collect;
mod evidence;
mod ids;
mod isolation;
mod ledger;
mod nodes;
mod proofs;
mod returns;
mod simulated;
#[cfg(test)]
mod tests;
mod transactions;

pub use collect::collect;
pub use isolation::{Part, isolation, join};
pub use ledger::{Absence, Accusation, BlockRow, Found, Head, Inclusion, Ledger, NodeLedger, Proof, Rules, Stretch};

pub use returns::returns;
pub use simulated::{read_simulated, simulated_target};

use crate::load::Submitted;
use rand::CryptoRng;
use regatta_report::model::Invariant;

/// Checks one instance's ledgers against its rules and everything that was submitted to it.
///
/// `rng` must be unpredictable to whoever made the signatures: it weighs their batch verification.
#[must_use]
pub fn check(rules: &Rules, ledger: &Ledger, submitted: &[&Submitted], rng: &mut impl CryptoRng) -> Vec<Invariant> {
    let included = ids::IdIndex::new(ledger.included.iter().map(|inclusion| &inclusion.id));
    let mut invariants = vec![
        nodes::agreement(ledger),
        nodes::continuity(rules, ledger),
        proofs::certificates(rules, ledger, rng),
        accusations::accusations(rules, ledger, rng),
        transactions::no_loss(rules, ledger, submitted, &included),
        transactions::no_duplicates(ledger, &included),
    ];
    if rules.exclusive {
        invariants.push(transactions::integrity(ledger, submitted));
    }
    invariants.push(nodes::convergence(ledger));
    invariants
}
