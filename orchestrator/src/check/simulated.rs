//! Reads the ledgers of simulated nodes: the same checks look at them.

use super::{
    collect::{Told, heights, highest, inclusions, note, proof, readings, row, snapshot},
    ids::IdIndex,
    ledger::{Absence, Accusation, Found, Ledger, NodeLedger, Rules},
    transactions::absent,
};
use crate::load::Submitted;
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
    let read = |(host, name): &(usize, String)| read_node(rules, world, *host, name, target);
    let nodes: Vec<NodeLedger> = names.iter().map(read).collect();
    let mut ledger = Ledger {
        target,
        top: simulated_target(rules, world),
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
    let gone = ledger.gone();
    let ask = |id: &TransactionId| Absence {
        id: *id,
        found: ask(rules, world, names, id, gone),
    };
    ledger.absent = absent(submitted, &included).map(|(row, _)| ask(&row.id)).collect();
    ledger
}

fn read_node(rules: &Rules, world: &World, host: usize, name: &str, target: Height) -> NodeLedger {
    let down = (!world.is_up(host)).then(|| "the node does not run".to_owned());
    let mut node = NodeLedger {
        node: name.to_owned(),
        error: world.failure(host).or(down),
        ..NodeLedger::default()
    };
    if let Some(row) = world.latest(host, &rules.instance) {
        note(&mut node, &row);
    }
    while node.height() < target {
        let left = usize::try_from(target - node.height()).unwrap_or(usize::MAX);
        let more = world.summaries(host, &rules.instance, node.height() + 1, left);
        if more.is_empty() {
            break;
        }
        node.blocks.extend(more.iter().map(row));
    }
    node.snapshots = world.snapshots(host, &rules.instance).iter().map(snapshot).collect();
    node
}

fn read_proofs(rules: &Rules, world: &World, names: &[(usize, String)], ledger: &mut Ledger) {
    let most = (SAMPLE_BLOCKS.0 / ledger.nodes.len().max(1)).clamp(1, SAMPLE_BLOCKS.1) as u64;
    for (node, first, last, step) in readings(ledger, most) {
        for height in heights(first, last, step) {
            // A block that is missing here is missed by the check of certificates.
            let Some(block) = world.block(names[node].0, &rules.instance, height) else {
                continue;
            };
            ledger.proofs.push(proof(node as u32, &block));
            if step == 1 {
                ledger.included.extend(inclusions(&block));
            }
        }
    }
}

fn ask(rules: &Rules, world: &World, names: &[(usize, String)], id: &TransactionId, gone: Height) -> Found {
    let mut told = Told::default();
    for (position, (host, _)) in names.iter().enumerate() {
        if told.hear(position, world.status(*host, &rules.instance, id), gone) {
            break;
        }
    }
    told.found(|position| names[position].1.clone())
}
