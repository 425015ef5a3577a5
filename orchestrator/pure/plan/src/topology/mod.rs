//! Graphs: generators, and what a graph looks like.

mod generate;
mod graph;
mod regular;

pub(crate) use generate::{Members, generate, ordered};
pub(crate) use graph::Graph;

#[cfg(test)]
mod tests;
