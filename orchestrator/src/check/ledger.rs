//! What the checks look at: ledgers as nodes show them, in a compact form.

use regatta_api::view::EvidenceView;
use regatta_base::{ChainId, Digest, Height, InstanceId, PublicKey, Round, Signature, TransactionId};
use std::collections::{BTreeMap, BTreeSet};

/// What the scenario says about one instance: the checks trust this and never a node's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The network.
    pub chain: ChainId,
    /// The instance.
    pub instance: InstanceId,
    /// Keys and weights in the order of the nodes' configuration, which is the order of signer indices until a block
    /// changes the set.
    pub validators: Vec<(PublicKey, u64)>,
    /// Signer indices of the validators that the scenario lets misbehave: nobody else may be convicted.
    pub byzantine: BTreeSet<u16>,
    /// The cluster is ours alone: every included transaction must be one that we submitted.
    pub exclusive: bool,
    /// Whether a ledger may begin with a snapshot.
    pub snapshots: bool,
    /// How many of the last blocks each node keeps; `None`: all that it has executed.
    pub kept: Option<u64>,
    /// Nodes, by name, that keep all blocks whatever the others do.
    pub archives: BTreeSet<String>,
    /// Keys of the validators, by their nodes' names.
    pub keys: BTreeMap<String, PublicKey>,
}

impl Rules {
    /// Whether `node` may lack the blocks that it lacks.
    pub(crate) fn may_lack(&self, node: &NodeLedger) -> bool {
        let may_let_go = self.kept.is_some() && !self.archives.contains(&node.node);
        (self.snapshots || node.skipped == 0) && (may_let_go || node.let_go <= node.skipped)
    }
}

/// The ledgers of one instance on all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The height that every node has to reach: the highest one that any had when the collection began.
    pub target: Height,
    /// Every node that should have one.
    pub nodes: Vec<NodeLedger>,
    /// The highest height that any node had when everything had been read.
    pub top: Height,
    /// Position in `nodes` of one with the highest ledger.
    pub reference: usize,
    /// Every included transaction of the blocks that were read whole ([`Ledger::stretches`]), in the order of execution.
    pub included: Vec<Inclusion>,
    /// Certificates and contents of blocks: every height of the stretches, a sample of the rest.
    pub proofs: Vec<Proof>,
    /// What nodes say about acknowledged transactions that no block that was read whole holds.
    pub absent: Vec<Absence>,
    /// Proofs of misconduct that nodes tell of.
    pub accusations: Vec<Accusation>,
}

/// Consecutive heights that are read whole from one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Position of the node in [`Ledger::nodes`].
    pub node: usize,
    /// The first height.
    pub first: Height,
    /// The last height.
    pub last: Height,
}

impl Ledger {
    /// Where blocks are read whole, in ascending order: from the reference node as far down as it has them, and what it
    /// let go of from others, those that have most of it.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut last = self.nodes.get(self.reference).map_or(0, NodeLedger::height);
        let mut from = Some(self.reference).filter(|_| last > 0);
        while let Some(node) = from {
            let first = self.nodes[node].forgotten() + 1;
            stretches.push(Stretch { node, first, last });
            last = first.saturating_sub(1).min(last);
            let has_it = |node: &&(usize, &NodeLedger)| node.1.forgotten() < last && node.1.height() >= last;
            let nodes: Vec<(usize, &NodeLedger)> = self.nodes.iter().enumerate().collect();
            let best = nodes.iter().filter(has_it).min_by_key(|(_, node)| node.forgotten());
            from = best.map(|(position, _)| *position);
        }
        stretches.retain(|stretch| stretch.first <= stretch.last);
        stretches.reverse();
        stretches
    }

    /// The highest height whose block no node has in full any more; 0 when all blocks are there.
    #[must_use]
    pub fn gone(&self) -> Height {
        let first = self.stretches().first().map(|stretch| stretch.first);
        first.map_or(self.target, |first| first - 1).min(self.target)
    }

    /// For each height from 1 to the target the first node that lists a block there, the reference node before others.
    pub(crate) fn witnesses(&self) -> Vec<Option<(usize, &BlockRow)>> {
        let mut witnesses = vec![None; usize::try_from(self.target).unwrap_or(0)];
        let reference = self.nodes.get(self.reference).map(|node| (self.reference, node));
        for (position, node) in reference.into_iter().chain(self.nodes.iter().enumerate()) {
            let slots = witnesses.iter_mut().skip(node.skipped as usize);
            for (slot, row) in slots.zip(&node.blocks) {
                slot.get_or_insert((position, row));
            }
        }
        witnesses
    }

    /// Whether blocks of this height were read whole from this node.
    pub(crate) fn is_whole(stretches: &[Stretch], proof: &Proof) -> bool {
        let holds = |stretch: &Stretch| (stretch.first..=stretch.last).contains(&proof.height);
        let stretch = stretches.iter().find(|stretch| holds(stretch));
        stretch.is_some_and(|stretch| stretch.node == proof.node as usize)
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("?", |node| node.node.as_str())
    }
}

/// A proof of misconduct, as one node tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accusation {
    /// Position of the node in [`Ledger::nodes`].
    pub node: u32,
    /// What it tells.
    pub view: EvidenceView,
}

/// The ledger of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeLedger {
    /// Name of the node.
    pub node: String,
    /// Heights before the first block that it lists: it began with a snapshot, or started again from one.
    pub skipped: Height,
    /// Blocks after those, one a height.
    pub blocks: Vec<BlockRow>,
    /// The highest height whose block it does not have in full any more; 0 when it has all.
    pub let_go: Height,
    /// Its last block as it says itself, which may be one after the target.
    pub head: Option<Head>,
    /// Snapshots that it keeps.
    pub snapshots: Vec<Head>,
    /// Why the ledger could not be read to its end, if so.
    pub error: Option<String>,
}

impl NodeLedger {
    /// Height of the last block that was read.
    #[must_use]
    pub fn height(&self) -> Height {
        self.skipped + self.blocks.len() as Height
    }

    /// The highest height whose block it cannot show in full.
    #[must_use]
    pub fn forgotten(&self) -> Height {
        self.skipped.max(self.let_go)
    }

    /// The block that it lists at `height`.
    #[must_use]
    pub fn block(&self, height: Height) -> Option<&BlockRow> {
        let position = height.checked_sub(self.skipped)?.checked_sub(1)?;
        self.blocks.get(usize::try_from(position).ok()?)
    }
}

/// A block and the state after it, as a node says that it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The height.
    pub height: Height,
    /// Digest of its header.
    pub hash: Digest,
    /// Root of the state after it.
    pub state_root: Digest,
}

/// One block of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockRow {
    /// The height that the node gives for it.
    pub height: Height,
    /// Digest of its header.
    pub hash: Digest,
    /// Digest of its parent's header.
    pub parent: Digest,
    /// Root of the state after it.
    pub state_root: Digest,
    /// Number of its transactions.
    pub transactions: u32,
    /// How many of them failed.
    pub failed: u32,
}

/// One transaction in a block of the reference node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inclusion {
    /// Its id.
    pub id: TransactionId,
    /// Height of its block.
    pub height: Height,
    /// Whether it took effect.
    pub ok: bool,
}

/// A block in full, as one node proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Position of the node in [`Ledger::nodes`].
    pub node: u32,
    /// The height.
    pub height: Height,
    /// The round that decided it.
    pub round: Round,
    /// Digest of its header, as this answer gives it.
    pub hash: Digest,
    /// Digest over ids and outcomes, to compare nodes.
    pub contents: Digest,
    /// The bytes that the signers are said to have signed.
    pub message: Vec<u8>,
    /// Signer index, claimed key and signature.
    pub signers: Vec<(u16, PublicKey, Signature)>,
    /// The encoded header.
    pub header: Vec<u8>,
    /// The validators of the next height as this answer gives them, if they change.
    pub next_validators: Option<Vec<(PublicKey, u64)>>,
}

/// An acknowledged or final transaction that no block that was read whole holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// Its id.
    pub id: TransactionId,
    /// What became of it.
    pub found: Found,
}

/// What nodes say about an absent transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Executed in a block of this height, as the nodes at these positions say.
    Executed(Height, Vec<usize>),
    /// Pending at this node.
    Pending(String),
    /// No node knows it.
    Nowhere,
    /// Too many are absent to ask for each.
    NotAsked,
}
