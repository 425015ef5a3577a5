//! Reads the ledgers of all nodes over their control interfaces.

use crate::{
    check::{
        ids::IdIndex,
        ledger::{Absence, Accusation, BlockRow, Found, Head, Inclusion, Ledger, NodeLedger, Proof, Rules},
        transactions::absent,
    },
    load::{Endpoint, Submitted},
};
use futures::{StreamExt, stream};
use regatta_api::view::{BlockSummary, BlockView, InstanceLatest, Outcome, SnapshotView, TransactionStatus};
use regatta_base::{Digest, Height, TransactionId};
use regatta_client::Client;
use std::{cmp::Reverse, collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// Nodes that are read at once.
const NODES_AT_ONCE: usize = 8;
/// Blocks that are read at once from one node.
const BLOCKS_AT_ONCE: usize = 8;
/// Short forms asked for in one request.
const RANGE: usize = 1000;
/// Blocks in full that are read from each node but those that are read whole.
const SAMPLE_BLOCKS: u64 = 24;
/// How long blocks that were missed are asked for again without any of them being read.
const READ_AGAIN_MAX: Duration = Duration::from_secs(5);
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
        .map(|client| latest(rules, client))
        .buffered(NODES_AT_ONCE);
    let target = heights
        .fold(0, |best, row| async move { row.map_or(0, |row| row.height).max(best) })
        .await;
    // A node that began with a snapshot of a later height has nothing to compare before it.
    let begins = stream::iter(&clients)
        .map(|client| wait(rules, client, target, deadline))
        .buffered(NODES_AT_ONCE);
    let target = begins
        .fold(target, |best, row| async move {
            row.map_or(0, |row| row.first_height.saturating_sub(1)).max(best)
        })
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
    look_again(rules, &clients, &mut ledger).await;
    read_what_was_missed(rules, &clients, &mut ledger).await;
    ledger.accusations = read_accusations(&clients).await;
    ledger.absent = ask_absent(endpoints, &clients, submitted, &ledger).await;
    ledger
}

/// The first of those with the most blocks, and of them of those that have most of their blocks in full.
pub(super) fn highest(nodes: &[NodeLedger]) -> usize {
    let best = nodes.iter().enumerate();
    let best = best.min_by_key(|(_, node)| (Reverse(node.height()), node.forgotten()));
    best.map_or(0, |(position, _)| position)
}

/// How far a node is.
async fn latest(rules: &Rules, client: &Client) -> Result<InstanceLatest, String> {
    let latest = client.latest().await.map_err(|error| error.to_string())?;
    let mut rows = latest.instances.into_iter();
    let own = rows.find(|row| row.instance == rules.instance);
    own.ok_or_else(|| format!("it does not run instance `{}`", rules.instance))
}

/// Waits until a node has every block up to `target`: returns how far it is then, or why that is not known.
async fn wait(rules: &Rules, client: &Client, target: Height, deadline: Instant) -> Result<InstanceLatest, String> {
    let mut heard = Instant::now();
    loop {
        let answer = latest(rules, client).await;
        if answer.as_ref().is_ok_and(|row| row.height >= target) {
            return answer;
        }
        if answer.is_ok() {
            heard = Instant::now();
        }
        if Instant::now() >= deadline || heard.elapsed() > SILENCE_MAX {
            return answer;
        }
        sleep(PAUSE).await;
    }
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
    match wait(rules, client, target, deadline).await {
        Ok(row) => note(&mut node, &row),
        Err(error) => node.error = Some(error),
    }
    while node.error.is_none() && node.height() < target {
        let left = usize::try_from(target - node.height()).unwrap_or(RANGE);
        match client.blocks(node.height() + 1, left.min(RANGE)).await {
            Ok(range) if range.blocks.is_empty() => break,
            Ok(range) => node.blocks.extend(range.blocks.iter().take(left).map(row)),
            Err(error) => node.error = Some(error.to_string()),
        }
    }
    if rules.snapshots {
        match client.snapshots().await {
            Ok(list) => {
                let own = list.snapshots.iter().filter(|view| view.instance == rules.instance);
                node.snapshots = own.map(snapshot).collect();
            }
            Err(error) => node.error = node.error.or_else(|| Some(error.to_string())),
        }
    }
    node
}

/// Where a node's blocks begin, and what it says of its last one.
pub(super) fn note(node: &mut NodeLedger, row: &InstanceLatest) {
    node.skipped = row.first_height.saturating_sub(1);
    node.let_go = row.first_block.saturating_sub(1);
    node.head = Some(Head {
        height: row.height,
        hash: row.hash,
        state_root: row.state_root,
    });
}

pub(super) fn snapshot(view: &SnapshotView) -> Head {
    Head {
        height: view.height,
        hash: view.hash,
        state_root: view.state_root,
    }
}

/// Nodes that go on let go of blocks meanwhile: what they have by now is what had to be read.
async fn look_again(rules: &Rules, clients: &[Client], ledger: &mut Ledger) {
    let answers: Vec<_> = stream::iter(clients)
        .map(|client| latest(rules, client))
        .buffered(NODES_AT_ONCE)
        .collect()
        .await;
    ledger.top = ledger.target;
    for (node, row) in ledger.nodes.iter_mut().zip(answers) {
        // One that does not answer any more is found by what could not be read.
        let Ok(row) = row else { continue };
        ledger.top = ledger.top.max(row.height);
        node.let_go = node.let_go.max(row.first_block.saturating_sub(1));
    }
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

/// Every block that any node still has in full, each from one of them, and a sample of what the others have.
async fn read_proofs(clients: &[Client], ledger: &mut Ledger) {
    for (position, first, last, step) in readings(ledger, SAMPLE_BLOCKS) {
        let mut blocks = stream::iter(heights(first, last, step))
            .map(|height| clients[position].block(height))
            .buffered(BLOCKS_AT_ONCE);
        while let Some(block) = blocks.next().await {
            // A block that is missing here is missed by the check of certificates.
            let Ok(block) = block else { continue };
            ledger.proofs.push(proof(position as u32, &block));
            if step == 1 {
                ledger.included.extend(inclusions(&block));
            }
        }
    }
}

/// Nodes and heights that are to be read in full and were not: who was asked let go of the block meanwhile.
pub(super) fn missed(ledger: &Ledger) -> Vec<(usize, Height)> {
    let read: BTreeSet<(usize, Height)> = ledger
        .proofs
        .iter()
        .map(|proof| (proof.node as usize, proof.height))
        .collect();
    let all = ledger.stretches().into_iter().flat_map(|stretch| {
        (stretch.first..=stretch.last.min(ledger.target)).map(move |height| (stretch.node, height))
    });
    all.filter(|place| !read.contains(place)).collect()
}

/// Reads what a node let go of from others, and waits for what a node with a busy disk cannot show yet, as long as anything
/// changes. That has an end: what is there to be read up to the target only becomes less.
async fn read_what_was_missed(rules: &Rules, clients: &[Client], ledger: &mut Ledger) {
    let (mut left, mut since) = (missed(ledger), Instant::now());
    while !left.is_empty() && since.elapsed() < READ_AGAIN_MAX {
        read_missed(clients, ledger, left.clone()).await;
        look_again(rules, clients, ledger).await;
        let now = missed(ledger);
        if now == left {
            sleep(PAUSE).await;
        } else {
            (left, since) = (now, Instant::now());
        }
    }
}

async fn read_missed(clients: &[Client], ledger: &mut Ledger, missed: Vec<(usize, Height)>) {
    let mut blocks = stream::iter(missed)
        .map(|(position, height)| async move { (position, clients[position].block(height).await) })
        .buffered(BLOCKS_AT_ONCE);
    let known: BTreeSet<Height> = ledger.included.iter().map(|inclusion| inclusion.height).collect();
    while let Some((position, block)) = blocks.next().await {
        let Ok(block) = block else { continue };
        ledger.proofs.push(proof(position as u32, &block));
        if !known.contains(&block.summary.height) {
            ledger.included.extend(inclusions(&block));
        }
    }
    // In the order of execution; those of one block are in it.
    ledger.included.sort_by_key(|inclusion| inclusion.height);
}

/// What is read in full: node, first and last height, and every how many-th one: 1 for stretches, in ascending order, and
/// then up to `sample` blocks of each node that none of them is from.
pub(super) fn readings(ledger: &Ledger, sample: u64) -> Vec<(usize, Height, Height, usize)> {
    let stretches = ledger.stretches();
    let whole = stretches
        .iter()
        .map(|stretch| (stretch.node, stretch.first, stretch.last, 1));
    let others = ledger.nodes.iter().enumerate();
    let others = others.filter(|(position, node)| {
        let is_read = stretches.iter().any(|stretch| stretch.node == *position);
        !is_read && node.forgotten() < node.height()
    });
    let sampled = others.map(|(position, node)| {
        let (first, last) = (node.forgotten() + 1, node.height());
        // Of two or more, so that a sample is never taken for the whole.
        let step = (last - node.forgotten()).div_ceil(sample).max(2);
        (position, first, last, step as usize)
    });
    whole.chain(sampled).collect()
}

/// Heights from `first` to `last`, downwards from the top in steps, so that the last block is always among them.
pub(super) fn heights(first: Height, last: Height, step: usize) -> Vec<Height> {
    let mut heights: Vec<Height> = (first..=last).rev().step_by(step).collect();
    heights.reverse();
    heights
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

/// What nodes say about promised transactions that no block that was read whole holds.
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
            let found = ask(endpoints, clients, &id, target, ledger).await;
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

/// Asks the node that acknowledged it first, then the others: until one knows, or all who know of a block that nobody can
/// show any more.
async fn ask(endpoints: &[Endpoint], clients: &[Client], id: &TransactionId, target: &str, ledger: &Ledger) -> Found {
    let mut order: Vec<usize> = (0..clients.len()).collect();
    order.sort_by_key(|&position| endpoints[position].name != target);
    let (gone, mut told) = (ledger.gone(), Told::default());
    for position in order {
        let status = clients[position].status(id).await.ok();
        if told.hear(position, status, gone) {
            break;
        }
    }
    told.found(|position| endpoints[position].name.clone())
}

/// What nodes say of one transaction.
#[derive(Debug, Default)]
pub(super) struct Told {
    executed: Option<(Height, Vec<usize>)>,
    pending: Option<usize>,
}

impl Told {
    /// Hears what a node says; whether that is enough.
    pub(super) fn hear(&mut self, position: usize, status: Option<TransactionStatus>, gone: Height) -> bool {
        match status {
            Some(TransactionStatus::Executed { height, .. }) => {
                let (place, nodes) = self.executed.get_or_insert((height, Vec::new()));
                // Who tells of another place does not confirm this one.
                nodes.extend((*place == height).then_some(position));
                *place > gone
            }
            Some(TransactionStatus::Pending) => {
                self.pending.get_or_insert(position);
                gone == 0
            }
            Some(TransactionStatus::Unknown) | None => false,
        }
    }

    pub(super) fn found(self, name: impl Fn(usize) -> String) -> Found {
        match (self.executed, self.pending) {
            (Some((height, nodes)), _) => Found::Executed(height, nodes),
            (None, Some(position)) => Found::Pending(name(position)),
            (None, None) => Found::Nowhere,
        }
    }
}
