//! Graphs: generators, and what a graph looks like.

mod cut;
mod generate;
mod graph;
mod regular;

pub(crate) use cut::{edge_cut, vertex_cut};
pub(crate) use generate::{Members, generate, ordered};
pub(crate) use graph::Graph;

#[cfg(test)]
mod tests;
