//! Nodes against each other: the same blocks, linked, up to the same height.

use crate::check::{
    evidence::Evidence,
    ledger::{BlockRow, Ledger, NodeLedger},
};
use regatta_report::model::Invariant;
use std::collections::BTreeMap;

/// Same hash, state root and contents at each height on every node that has it.
pub(crate) fn agreement(ledger: &Ledger) -> Invariant {
    let mut evidence = Evidence::new("agreement");
    let mut compared = 0u64;
    if let Some(reference) = ledger.nodes.get(ledger.reference) {
        for node in &ledger.nodes {
            for (ours, theirs) in reference.blocks.iter().zip(&node.blocks) {
                compared += 1;
                compare(&mut evidence, reference, ours, node, theirs);
            }
        }
    }
    contents(&mut evidence, ledger);
    evidence.number("nodes", ledger.nodes.len() as u64);
    evidence.number("blocks compared", compared);
    evidence.finish(format!(
        "equal hashes and state roots on {} nodes up to height {}",
        ledger.nodes.len(),
        ledger.target
    ))
}

fn compare(evidence: &mut Evidence, reference: &NodeLedger, ours: &BlockRow, node: &NodeLedger, theirs: &BlockRow) {
    let height = ours.height;
    let differs = |what: &str, ours: String, theirs: String| {
        let (a, b) = (&reference.node, &node.node);
        format!("height {height}: {a} has {what} {ours}, {b} has {theirs}")
    };
    if ours.hash != theirs.hash {
        evidence.violation(|| differs("block", ours.hash.short(), theirs.hash.short()));
    } else if ours.state_root != theirs.state_root {
        evidence.violation(|| differs("state root", ours.state_root.short(), theirs.state_root.short()));
    } else if (ours.transactions, ours.failed) != (theirs.transactions, theirs.failed) {
        let counts = |row: &BlockRow| format!("{} with {} failed", row.transactions, row.failed);
        evidence.violation(|| differs("transactions", counts(ours), counts(theirs)));
    }
}

/// Blocks that were read in full from several nodes hold the same transactions with the same outcomes.
fn contents(evidence: &mut Evidence, ledger: &Ledger) {
    let mut first = BTreeMap::new();
    for proof in &ledger.proofs {
        let seen = first.entry(proof.height).or_insert(proof);
        if seen.hash == proof.hash && seen.contents != proof.contents {
            evidence.violation(|| {
                let name = |node: u32| ledger.nodes.get(node as usize).map_or("?", |node| node.node.as_str());
                let (a, b) = (name(seen.node), name(proof.node));
                format!(
                    "height {}: {a} and {b} give different contents of one block",
                    proof.height
                )
            });
        }
    }
}

/// Heights are consecutive from 1, and each block names the one before it.
pub(crate) fn continuity(ledger: &Ledger) -> Invariant {
    let mut evidence = Evidence::new("continuity");
    let mut links = 0u64;
    for node in &ledger.nodes {
        for (index, block) in node.blocks.iter().enumerate() {
            let height = index as u64 + 1;
            links += 1;
            if block.height != height {
                evidence.violation(|| format!("{} gives height {} in place of {height}", node.node, block.height));
            }
            let before = index.checked_sub(1).map(|before| &node.blocks[before]);
            if before.is_some_and(|before| before.hash != block.parent) {
                evidence.violation(|| format!("{}: block {height} does not name block {} as parent", node.node, index));
            }
        }
        let genesis = |node: &NodeLedger| node.blocks.first().map(|block| block.parent);
        let reference = ledger.nodes.get(ledger.reference).and_then(genesis);
        if genesis(node).is_some_and(|parent| Some(parent) != reference) {
            evidence.violation(|| format!("{} has another parent of block 1", node.node));
        }
    }
    evidence.number("links", links);
    evidence.finish(format!("{links} blocks name the one before them"))
}

/// Every node has every block up to the target.
pub(crate) fn convergence(ledger: &Ledger) -> Invariant {
    let mut evidence = Evidence::new("convergence");
    for node in &ledger.nodes {
        if node.height() < ledger.target || node.error.is_some() {
            evidence.violation(|| {
                let why = node
                    .error
                    .as_deref()
                    .map_or(String::new(), |error| format!(" ({error})"));
                format!(
                    "{} reached height {} of {}{why}",
                    node.node,
                    node.height(),
                    ledger.target
                )
            });
        }
    }
    if ledger.nodes.is_empty() {
        evidence.violation(|| "no node was looked at".to_owned());
    }
    evidence.number("nodes", ledger.nodes.len() as u64);
    evidence.number("height", ledger.target);
    evidence.finish(format!("{} nodes reached height {}", ledger.nodes.len(), ledger.target))
}
