//! Reads the ledgers of simulated nodes: the same checks look at them.

use super::{
    collect::{highest, inclusions, proof, row},
    ids::IdIndex,
    ledger::{Absence, Accusation, Found, Ledger, NodeLedger, Rules},
    transactions::absent,
};
use crate::load::Submitted;
use regatta_api::view::TransactionStatus;
use regatta_base::{Height, TransactionId};
use regatta_sim::World;

/// Blocks in full that are read from all nodes but the reference together, and most from one of them: a node has the
/// same blocks as the others, or their hashes differ already.
const SAMPLE_BLOCKS: (usize, usize) = (2400, 24);

/// The highest height of any node: what every node has to reach.
#[must_use]
pub fn simulated_target(rules: &Rules, world: &World) -> Height {
    let heights = (0..world.len()).map(|host| world.height(host, &rules.instance));
    heights.max().unwrap_or(0)
}

/// Reads the ledgers of one instance up to `target`; `names` are the hosts that run it with their names.
#[must_use]
pub fn read_simulated(
    rules: &Rules,
    world: &World,
    names: &[(usize, String)],
    target: Height,
    submitted: &[&Submitted],
) -> Ledger {
    let read = |(host, name): &(usize, String)| {
        let host = *host;
        let count = usize::try_from(target).unwrap_or(usize::MAX);
        let mut blocks = Vec::new();
        while blocks.len() < count {
            let more = world.summaries(host, &rules.instance, blocks.len() as Height + 1, count - blocks.len());
            if more.is_empty() {
                break;
            }
            blocks.extend(more.iter().map(row));
        }
        let down = (!world.is_up(host)).then(|| "the node does not run".to_owned());
        NodeLedger {
            node: name.clone(),
            blocks,
            error: world.failure(host).or(down),
        }
    };
    let nodes: Vec<NodeLedger> = names.iter().map(read).collect();
    let mut ledger = Ledger {
        target,
        reference: highest(&nodes),
        nodes,
        ..Ledger::default()
    };
    read_proofs(rules, world, names, &mut ledger);
    ledger.accusations = (0u32..)
        .zip(names)
        .flat_map(|(node, (host, _))| {
            let told = world.evidence(*host, &rules.instance).into_iter();
            told.map(move |view| Accusation { node, view })
        })
        .collect();
    let included = IdIndex::new(ledger.included.iter().map(|inclusion| &inclusion.id));
    let ask = |id: &TransactionId| Absence {
        id: *id,
        found: ask(rules, world, names, id),
    };
    ledger.absent = absent(submitted, &included).map(|(row, _)| ask(&row.id)).collect();
    ledger
}

fn read_proofs(rules: &Rules, world: &World, names: &[(usize, String)], ledger: &mut Ledger) {
    let most = (SAMPLE_BLOCKS.0 / ledger.nodes.len().max(1)).clamp(1, SAMPLE_BLOCKS.1) as u64;
    for (node, (host, _)) in names.iter().enumerate() {
        let is_reference = node == ledger.reference;
        let height = ledger.nodes[node].height();
        let step = if is_reference { 1 } else { height.div_ceil(most).max(1) };
        // Downwards from the top, so that the last block of every node is among those read.
        let mut heights: Vec<Height> = (0..height).step_by(step as usize).map(|below| height - below).collect();
        heights.reverse();
        for height in heights {
            // A block that is missing here is missed by the check of certificates.
            let Some(block) = world.block(*host, &rules.instance, height) else {
                continue;
            };
            ledger.proofs.push(proof(node as u32, &block));
            if is_reference {
                ledger.included.extend(inclusions(&block));
            }
        }
    }
}

fn ask(rules: &Rules, world: &World, names: &[(usize, String)], id: &TransactionId) -> Found {
    for (host, name) in names {
        match world.status(*host, &rules.instance, id) {
            Some(TransactionStatus::Executed { height, .. }) => return Found::Later(height),
            Some(TransactionStatus::Pending) => return Found::Pending(name.clone()),
            Some(TransactionStatus::Unknown) | None => {}
        }
    }
    Found::Nowhere
}
