//! Reads the ledgers of all nodes over their control interfaces.

use crate::{
    check::{
        ids::IdIndex,
        ledger::{Absence, Accusation, BlockRow, Found, Inclusion, Ledger, NodeLedger, Proof, Rules},
        transactions::absent,
    },
    load::{Endpoint, Submitted},
};
use futures::{StreamExt, stream};
use regatta_api::view::{BlockSummary, BlockView, Outcome, TransactionStatus};
use regatta_base::{Digest, Height, TransactionId};
use regatta_client::{Client, ClientError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Nodes that are read at once.
const NODES_AT_ONCE: usize = 8;
/// Blocks that are read at once from one node.
const BLOCKS_AT_ONCE: usize = 8;
/// Short forms asked for in one request.
const RANGE: usize = 1000;
/// Blocks in full that are read from each node but the reference.
const SAMPLE_BLOCKS: u64 = 24;
/// Absent transactions that are asked for one by one.
const ASKED_MAX: usize = 20_000;
/// Statuses that are asked for at once.
const STATUSES_AT_ONCE: usize = 16;
/// Pause between two questions how far a node is.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a node that does not answer at all is waited for: its process has ended.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Reads the ledgers of one instance, waiting up to `limit` for nodes that are behind.
///
/// Never fails: what cannot be read is part of the ledger, and the checks say so.
pub async fn collect(rules: &Rules, endpoints: &[Endpoint], submitted: &[&Submitted], limit: Duration) -> Ledger {
    let clients: Vec<Client> = endpoints
        .iter()
        .map(|endpoint| Client::new(endpoint.http).with_instance(rules.instance.clone()))
        .collect();
    let deadline = Instant::now() + limit;
    let heights = stream::iter(&clients)
        .map(|client| height(rules, client))
        .buffered(NODES_AT_ONCE);
    let target = heights
        .fold(0, |best, height| async move { height.unwrap_or(0).max(best) })
        .await;
    let nodes = stream::iter(clients.iter().zip(endpoints))
        .map(|(client, endpoint)| read_node(rules, client, endpoint, target, deadline))
        .buffered(NODES_AT_ONCE)
        .collect::<Vec<NodeLedger>>()
        .await;
    let mut ledger = Ledger {
        target,
        reference: highest(&nodes),
        nodes,
        ..Ledger::default()
    };
    read_proofs(&clients, &mut ledger).await;
    ledger.accusations = read_accusations(&clients).await;
    ledger.absent = ask_absent(endpoints, &clients, submitted, &ledger).await;
    ledger
}

/// The first of those with the most blocks.
pub(super) fn highest(nodes: &[NodeLedger]) -> usize {
    let best = nodes.iter().map(NodeLedger::height).max().unwrap_or(0);
    nodes.iter().position(|node| node.height() == best).unwrap_or(0)
}

async fn height(rules: &Rules, client: &Client) -> Result<Height, ClientError> {
    let latest = client.latest().await?;
    let own = latest.instances.iter().find(|row| row.instance == rules.instance);
    Ok(own.map_or(0, |row| row.height))
}

async fn read_node(
    rules: &Rules,
    client: &Client,
    endpoint: &Endpoint,
    target: Height,
    deadline: Instant,
) -> NodeLedger {
    let mut node = NodeLedger {
        node: endpoint.name.clone(),
        ..NodeLedger::default()
    };
    let mut heard = Instant::now();
    loop {
        let answer = height(rules, client).await;
        if answer.as_ref().is_ok_and(|height| *height >= target) {
            break;
        }
        if answer.is_ok() {
            heard = Instant::now();
        }
        if Instant::now() >= deadline || heard.elapsed() > SILENCE_MAX {
            node.error = answer.err().map(|error| error.to_string());
            break;
        }
        sleep(PAUSE).await;
    }
    while node.height() < target {
        let left = usize::try_from(target - node.height()).unwrap_or(RANGE);
        match client.blocks(node.height() + 1, left.min(RANGE)).await {
            Ok(range) if range.blocks.is_empty() => break,
            Ok(range) => node.blocks.extend(range.blocks.iter().take(left).map(row)),
            Err(error) => {
                node.error = Some(error.to_string());
                break;
            }
        }
    }
    node
}

pub(super) fn row(summary: &BlockSummary) -> BlockRow {
    BlockRow {
        height: summary.height,
        hash: summary.hash,
        parent: summary.parent,
        state_root: summary.state_root,
        transactions: summary.transactions,
        failed: summary.failed,
    }
}

/// All blocks of the reference node in full, and a sample of the others'.
async fn read_proofs(clients: &[Client], ledger: &mut Ledger) {
    for (position, client) in clients.iter().enumerate() {
        let is_reference = position == ledger.reference;
        let height = ledger.nodes[position].height();
        let step = if is_reference {
            1
        } else {
            height.div_ceil(SAMPLE_BLOCKS).max(1)
        };
        // Downwards from the top, so that the last block of every node is among those read.
        let mut heights: Vec<Height> = (0..height).step_by(step as usize).map(|below| height - below).collect();
        heights.reverse();
        let mut blocks = stream::iter(heights)
            .map(|height| client.block(height))
            .buffered(BLOCKS_AT_ONCE);
        while let Some(block) = blocks.next().await {
            // A block that is missing here is missed by the check of certificates.
            let Ok(block) = block else { continue };
            ledger.proofs.push(proof(position as u32, &block));
            if is_reference {
                ledger.included.extend(inclusions(&block));
            }
        }
    }
}

/// What every node that answers tells of misconduct.
async fn read_accusations(clients: &[Client]) -> Vec<Accusation> {
    let answers = stream::iter(clients.iter().zip(0..))
        .map(|(client, node)| async move { (node, client.evidence().await) })
        .buffered(NODES_AT_ONCE);
    let told = answers.flat_map(|(node, answer)| {
        // A node that does not answer shows in the check of convergence.
        let list = answer.map(|list| list.evidence).unwrap_or_default();
        stream::iter(list.into_iter().map(move |view| Accusation { node, view }))
    });
    told.collect().await
}

pub(super) fn inclusions(block: &BlockView) -> impl Iterator<Item = Inclusion> {
    let height = block.summary.height;
    block.items.iter().map(move |(id, outcome)| Inclusion {
        id: *id,
        height,
        ok: *outcome == Outcome::Ok,
    })
}

pub(super) fn proof(node: u32, block: &BlockView) -> Proof {
    let mut contents = Vec::with_capacity(33 * block.items.len());
    for (id, outcome) in &block.items {
        contents.extend_from_slice(&id.0);
        contents.push(u8::from(*outcome == Outcome::Ok));
    }
    let signers = block.signers.iter();
    Proof {
        node,
        height: block.summary.height,
        round: block.summary.round,
        hash: block.summary.hash,
        contents: Digest::of("regatta block contents v1", &[&contents]),
        message: block.certificate_message.0.to_vec(),
        signers: signers
            .map(|signer| (signer.index, signer.key, signer.signature))
            .collect(),
        header: block.header.0.to_vec(),
        next_validators: block
            .next_validators
            .as_ref()
            .map(|members| members.iter().map(|member| (member.key, member.weight)).collect()),
    }
}

/// What nodes say about promised transactions that are in no block of the reference node.
async fn ask_absent(
    endpoints: &[Endpoint],
    clients: &[Client],
    submitted: &[&Submitted],
    ledger: &Ledger,
) -> Vec<Absence> {
    let included = IdIndex::new(ledger.included.iter().map(|inclusion| &inclusion.id));
    let rows: Vec<(TransactionId, &str)> = absent(submitted, &included)
        .map(|(row, target)| (row.id, target))
        .collect();
    let (asked, unasked) = rows.split_at(rows.len().min(ASKED_MAX));
    let mut absences: Vec<Absence> = stream::iter(asked)
        .map(|&(id, target)| async move {
            let found = ask(endpoints, clients, &id, target).await;
            Absence { id, found }
        })
        .buffered(STATUSES_AT_ONCE)
        .collect()
        .await;
    absences.extend(unasked.iter().map(|&(id, _)| Absence {
        id,
        found: Found::NotAsked,
    }));
    absences
}

/// Asks the node that acknowledged it first, then the others.
async fn ask(endpoints: &[Endpoint], clients: &[Client], id: &TransactionId, target: &str) -> Found {
    let mut order: Vec<usize> = (0..clients.len()).collect();
    order.sort_by_key(|&position| endpoints[position].name != target);
    for position in order {
        match clients[position].status(id).await {
            Ok(TransactionStatus::Executed { height, .. }) => return Found::Later(height),
            Ok(TransactionStatus::Pending) => return Found::Pending(endpoints[position].name.clone()),
            Ok(TransactionStatus::Unknown) | Err(_) => {}
        }
    }
    Found::Nowhere
}
