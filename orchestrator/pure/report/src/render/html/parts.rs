//! What the page shows besides figures, as texts.

mod first;
mod method;
mod tables;

use crate::{model::Disclosure, result::ChipState};

pub(super) use first::{cards, chips, digests};
pub(super) use method::method;
pub(super) use tables::{
    accusations, accusations_more, environment, events, files, invariants, nodes, objectives, quantiles,
};

/// An aspect of the verdict.
pub(super) struct Chip<'a> {
    pub(super) class: &'static str,
    pub(super) icon: &'static str,
    pub(super) aspect: &'a str,
    pub(super) text: &'a str,
}

/// One of the numbers of the first screen.
pub(super) struct Card {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) unit: String,
    pub(super) interval: String,
    pub(super) note: String,
}

/// A row of the table of nodes; cells are trusted HTML made of numbers and drawings.
pub(super) struct NodeRow<'a> {
    pub(super) name: &'a str,
    pub(super) role: &'static str,
    pub(super) symbol: &'static str,
    pub(super) address: &'a str,
    pub(super) cells: Vec<String>,
    pub(super) program: String,
}

/// An event.
pub(super) struct EventRow<'a> {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) kind: &'static str,
    pub(super) node: &'a str,
    pub(super) text: &'a str,
}

/// An invariant or objective.
pub(super) struct Check<'a> {
    pub(super) class: &'static str,
    pub(super) icon: &'static str,
    pub(super) word: &'static str,
    pub(super) name: &'a str,
    pub(super) evidence: &'a str,
    pub(super) numbers: String,
}

/// A quantile of the three latencies.
pub(super) struct QuantileRow {
    pub(super) name: String,
    pub(super) response: String,
    pub(super) service: String,
    pub(super) lag: String,
}

/// A heading with its disclosures.
pub(super) struct Section<'a> {
    pub(super) title: &'a str,
    pub(super) lines: Vec<&'a Disclosure>,
}

/// A raw file.
pub(super) struct FileRow<'a> {
    pub(super) path: &'a str,
    pub(super) description: &'a str,
    pub(super) size: String,
}

/// Class and sign of a state: the sign says it without colour.
pub(super) fn mark(state: ChipState) -> (&'static str, &'static str) {
    match state {
        ChipState::Good => ("good", "✓"),
        ChipState::Doubtful => ("doubtful", "?"),
        ChipState::Bad => ("bad", "✕"),
    }
}

#[cfg(test)]
mod tests;
