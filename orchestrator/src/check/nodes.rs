//! Nodes against each other: the same blocks, linked, up to the same height.

use crate::check::{
    evidence::Evidence,
    ledger::{BlockRow, Head, Ledger, NodeLedger, Rules},
};
use regatta_report::model::Invariant;
use std::collections::BTreeMap;

/// Same hash, state root and contents at each height on all nodes that have it, and the same state in snapshots.
pub(crate) fn agreement(ledger: &Ledger) -> Invariant {
    let mut evidence = Evidence::new("agreement");
    let witnesses = ledger.witnesses();
    let mut compared = 0u64;
    for (position, node) in ledger.nodes.iter().enumerate() {
        let listed = witnesses.iter().skip(node.skipped as usize).zip(&node.blocks);
        for (witness, row) in listed {
            let Some((other, ours)) = witness.filter(|(other, _)| *other != position) else {
                continue;
            };
            compared += 1;
            compare(&mut evidence, &ledger.nodes[other], ours, node, row);
        }
        head(&mut evidence, ledger, &witnesses, node);
    }
    let snapshots = snapshots(&mut evidence, ledger, &witnesses);
    contents(&mut evidence, ledger);
    evidence.number("nodes", ledger.nodes.len() as u64);
    evidence.number("blocks compared", compared);
    evidence.number("snapshots compared", snapshots);
    let states = if snapshots == 0 {
        String::new()
    } else {
        format!(", and {snapshots} snapshots of those states")
    };
    evidence.finish(format!(
        "equal hashes and state roots on {} nodes up to height {}{states}",
        ledger.nodes.len(),
        ledger.target
    ))
}

/// A node that lists no block up to the target has to have the state of one that others list.
fn head(evidence: &mut Evidence, ledger: &Ledger, witnesses: &[Option<(usize, &BlockRow)>], node: &NodeLedger) {
    if !node.blocks.is_empty() || node.skipped == 0 {
        return;
    }
    let Some(head) = node.head else { return };
    match witness(witnesses, head.height) {
        Some((other, row)) => claim(evidence, ledger.name(other), row, node, &head, "its last block"),
        None => evidence.violation(|| {
            let (name, height) = (&node.node, head.height);
            format!("{name} begins after height {height}, which no other node lists: nothing of it can be compared")
        }),
    }
}

fn witness<'a>(witnesses: &[Option<(usize, &'a BlockRow)>], height: u64) -> Option<(usize, &'a BlockRow)> {
    *witnesses.get(usize::try_from(height.checked_sub(1)?).ok()?)?
}

/// Every snapshot is of the block that nodes list at its height and of the state after it. Returns how many could be
/// compared, with a block or with the snapshot of another node.
fn snapshots(evidence: &mut Evidence, ledger: &Ledger, witnesses: &[Option<(usize, &BlockRow)>]) -> u64 {
    let mut first: BTreeMap<u64, (&NodeLedger, &Head)> = BTreeMap::new();
    let mut compared = 0;
    let nodes = ledger.nodes.iter();
    for (node, snapshot) in nodes.flat_map(|node| node.snapshots.iter().map(move |snapshot| (node, snapshot))) {
        let height = snapshot.height;
        let (other, same) = *first.entry(height).or_insert((node, snapshot));
        if (same.hash, same.state_root) != (snapshot.hash, snapshot.state_root) {
            evidence.violation(|| {
                let (a, b) = (&other.node, &node.node);
                format!("height {height}: {a} and {b} have snapshots of different states")
            });
        }
        let known = witness(witnesses, height);
        compared += u64::from(known.is_some() || other.node != node.node);
        if let Some((other, row)) = known {
            claim(evidence, ledger.name(other), row, node, snapshot, "a snapshot");
        }
    }
    compared
}

/// What `node` claims to have is what another node lists at that height.
fn claim(evidence: &mut Evidence, other: &str, row: &BlockRow, node: &NodeLedger, claimed: &Head, what: &str) {
    let (height, name) = (claimed.height, &node.node);
    if row.hash != claimed.hash {
        evidence.violation(|| {
            let (a, b) = (row.hash.short(), claimed.hash.short());
            format!("height {height}: {other} has block {a}, {what} of {name} is {b}")
        });
    } else if row.state_root != claimed.state_root {
        evidence.violation(|| {
            let (a, b) = (row.state_root.short(), claimed.state_root.short());
            format!("height {height}: {other} has state root {a}, {what} of {name} has {b}")
        });
    }
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
                let (a, b) = (ledger.name(seen.node as usize), ledger.name(proof.node as usize));
                format!(
                    "height {}: {a} and {b} give different contents of one block",
                    proof.height
                )
            });
        }
    }
}

/// Heights are consecutive, and each block names the one before it: from the first block on, or from where the rules let
/// a ledger begin, and then the first block names one that another node has.
pub(crate) fn continuity(rules: &Rules, ledger: &Ledger) -> Invariant {
    let mut evidence = Evidence::new("continuity");
    let witnesses = ledger.witnesses();
    let is_first = |node: &&NodeLedger| node.skipped == 0 && !node.blocks.is_empty();
    let reference = ledger.nodes.get(ledger.reference).filter(is_first);
    let begins = reference.or_else(|| ledger.nodes.iter().find(is_first));
    let (mut links, mut later) = (0u64, 0u64);
    for node in &ledger.nodes {
        later += u64::from(node.skipped > 0);
        if !rules.may_lack(node) {
            evidence.violation(|| {
                let (name, first) = (&node.node, node.forgotten() + 1);
                format!("{name} has blocks from height {first} on, and the scenario has it keep all of them")
            });
        }
        let before = witness(&witnesses, node.skipped);
        let mut parent = match (node.skipped, before) {
            (0, _) => begins.and_then(|node| Some((node.node.as_str(), node.blocks.first()?.parent))),
            (_, before) => before.map(|(other, row)| (ledger.name(other), row.hash)),
        };
        for (block, height) in node.blocks.iter().zip(node.skipped + 1..) {
            links += 1;
            if block.height != height {
                evidence.violation(|| format!("{} gives height {} in place of {height}", node.node, block.height));
            }
            if let Some((other, _)) = parent.filter(|(_, hash)| *hash != block.parent) {
                evidence.violation(|| broken(node, other, height));
            }
            parent = Some((&node.node, block.hash));
        }
    }
    let gone = ledger.gone();
    let kept = rules.kept.unwrap_or(u64::MAX);
    if gone > 0 && gone.saturating_add(kept) > ledger.top {
        evidence.violation(|| match rules.kept {
            Some(kept) => format!(
                "no node has blocks up to height {gone} of {}, and the last {kept} have to be kept",
                ledger.top
            ),
            None => format!("no node has blocks up to height {gone}, and all of them have to be kept"),
        });
    }
    evidence.number("links", links);
    evidence.number("ledgers that begin later", later);
    evidence.number("blocks that no node has in full", gone);
    let mut looked_at = format!("{links} blocks name the one before them");
    if later > 0 {
        looked_at.push_str(&format!(
            "; ledgers that begin with a snapshot, on blocks that others have: {later}"
        ));
    }
    if gone > 0 {
        looked_at.push_str(&format!("; no node has blocks 1 to {gone} in full any more"));
    }
    evidence.finish(looked_at)
}

fn broken(node: &NodeLedger, other: &str, height: u64) -> String {
    let (name, before) = (&node.node, height - 1);
    match before {
        0 => format!("{name} has another parent of block 1"),
        before if before == node.skipped => {
            format!("{name} begins with block {height}, which does not name block {before} of {other} as parent")
        }
        before => format!("{name}: block {height} does not name block {before} as parent"),
    }
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
