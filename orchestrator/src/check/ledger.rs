//! What the checks look at: ledgers as nodes show them, in a compact form.

use regatta_api::view::EvidenceView;
use regatta_base::{ChainId, Digest, Height, InstanceId, PublicKey, Round, Signature, TransactionId};
use std::collections::BTreeSet;

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
}

/// The ledgers of one instance on all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The height that every node has to reach: the highest one that any had when the collection began.
    pub target: Height,
    /// Every node that should have one.
    pub nodes: Vec<NodeLedger>,
    /// Position in `nodes` of the node that `included` was read from: one with the highest ledger.
    pub reference: usize,
    /// Every included transaction of the reference node, in the order of execution.
    pub included: Vec<Inclusion>,
    /// Certificates and contents of blocks: every height of the reference node, a sample of the others.
    pub proofs: Vec<Proof>,
    /// What nodes say about acknowledged transactions that no block of the reference node holds.
    pub absent: Vec<Absence>,
    /// Proofs of misconduct that nodes tell of.
    pub accusations: Vec<Accusation>,
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
    /// Blocks from height 1 on.
    pub blocks: Vec<BlockRow>,
    /// Why the ledger could not be read to its end, if so.
    pub error: Option<String>,
}

impl NodeLedger {
    /// Height of the last block that was read.
    #[must_use]
    pub fn height(&self) -> Height {
        self.blocks.len() as Height
    }
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

/// An acknowledged or final transaction that no block of the reference node up to the target holds.
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
    /// Executed in a block above the target.
    Later(Height),
    /// Pending at this node.
    Pending(String),
    /// No node knows it.
    Nowhere,
    /// Too many are absent to ask for each.
    NotAsked,
}
