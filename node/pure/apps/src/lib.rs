//! Transactions and what they do to the state.
//!
//! | kind | signed | executed | meaning |
//! |---|---|---|---|
//! | `blob` | no | no | bytes that are ordered, for comparison with systems that do no more |
//! | `opaque` | yes | sequence number | bytes of a sender, each at most once |
//! | `put` | yes | sequence number, write | sets a key of the state to a value |
//! | `validators` | by more than two thirds of the weight | set version, change of the set | lets validators join, leave, or change their weight |
//!
//! Signed transactions carry a sequence number that each sender uses once, in any order within a
//! window: an open-loop client never blocks behind a transaction that got lost.

pub mod batch;
pub mod change;
mod check;
mod domain;
mod scan;
pub mod state;
pub mod transaction;
pub mod trie;

pub use batch::{BatchError, CheckedBatch, CheckedItem, NamedBatch};
pub use check::{CheckedTransaction, check_transactions, transaction_id, transaction_ids};
pub use domain::{Domain, TransactionError, change_digest};
pub use state::{LoadError, PIECE_BYTES_MAX, State, StateLoader};
pub use transaction::{Kind, View};
