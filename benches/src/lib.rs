//! What the benchmarks time and the budgets count: transactions, a committee of consensus cores, a network of nodes, a
//! simulation of one.
//!
//! Everything is seeded and runs in one thread in virtual time, so that counts are equal on every machine.

pub mod committee;
pub mod network;
pub mod samples;
pub mod simulation;
