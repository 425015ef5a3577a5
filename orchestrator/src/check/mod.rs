//! Correctness after the load: the ledgers of all nodes as witness against what was submitted.
//!
//! ```text
//! collect(rules, endpoints, submitted).await -> Ledger      over the control interface, before nodes stop
//! check(rules, ledger, submitted, exclusive, rng) -> Vec<Invariant>   pure, linear in the ledger's size
//! ```

mod ledger;

pub use ledger::{Absence, BlockRow, Inclusion, Ledger, NodeLedger, Proof, Rules};
