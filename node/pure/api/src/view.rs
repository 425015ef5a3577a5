//! What a node shows of itself and what a client sends: the bodies of the control interface.

use crate::Reject;
use regatta_base::{ChainId, Digest, Height, HexBytes, InstanceId, PublicKey, Round, Signature, TransactionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/transactions`: one or many transactions for one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// The instance; the node's first one when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceId>,
    /// The exact bytes of each transaction.
    #[schema(value_type = Vec<String>)]
    pub transactions: Vec<HexBytes>,
}

/// Answer to [`SubmitRequest`], in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubmitResponse {
    /// One result for each transaction.
    pub results: Vec<SubmitResult>,
}

/// What became of one submitted transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubmitResult {
    /// Its id: the digest by which its status is queried; absent when the bytes are no transaction.
    #[schema(value_type = Option<String>)]
    pub id: Option<TransactionId>,
    /// Why it was refused; absent when it was accepted. Accepted means: on the disk of a validator.
    pub rejected: Option<Reject>,
}

/// A snapshot of the state that a node keeps on its disk and serves to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotView {
    /// The instance.
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// The height whose state it is.
    pub height: Height,
    /// Digest of the header of that height.
    #[schema(value_type = String)]
    pub hash: Digest,
    /// Merkle root of the state.
    #[schema(value_type = String)]
    pub state_root: Digest,
    /// Its chunks.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Answer to `GET /v1/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    /// Oldest first within each instance.
    pub snapshots: Vec<SnapshotView>,
}

/// What a node does about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStage {
    /// Pieces of its program are missing.
    Fetching,
    /// The program is here and waits for its height and the node's turn.
    Ready,
    /// The node ends in order and goes on as the new program.
    Switching,
    /// Nothing is left to do: the program runs, or was tried in vain.
    Settled,
}

/// A release that a node follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    /// Its number.
    pub number: u64,
    /// Digest of what was signed.
    #[schema(value_type = String)]
    pub id: Digest,
    /// Digest of its program.
    #[schema(value_type = String)]
    pub artifact: Digest,
    /// The instance whose heights count.
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// No node switches before this height.
    pub activate_at: Height,
    /// Heights between two batches of nodes.
    pub batch_blocks: u64,
    /// The batch of this node, from 0; absent when it does not run the instance.
    pub batch: Option<u64>,
    /// How many batches there are.
    pub batches: Option<u64>,
    /// Pieces of the program.
    pub chunks: u64,
    /// Those that are on this node's disk.
    pub chunks_held: u64,
    /// What the node does about it.
    pub stage: ReleaseStage,
}

/// Answer to `GET /v1/release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeView {
    /// How many keys are trusted to release programs; with none nothing is ever installed.
    pub trusted_keys: u64,
    /// Digest of the running program.
    #[schema(value_type = String)]
    pub running: Digest,
    /// Number of the last release that was accepted; 0 before the first one.
    pub number: u64,
    /// The least sequence of a build that is accepted.
    pub sequence_min: u64,
    /// Why the last release that was tried in vain was.
    pub failure: Option<ReleaseFailure>,
    /// The newest release.
    pub release: Option<ReleaseView>,
}

/// A release that was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseFailure {
    /// Its number.
    pub number: u64,
    /// Why the node went back.
    pub reason: String,
}

/// `POST /v1/release`: a release for the whole network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseOffer {
    /// The document: release, build manifest and the signatures under both.
    #[schema(value_type = String)]
    pub document: HexBytes,
}

/// `POST /v1/release/chunk`: a piece of a released program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseChunk {
    /// Digest of the program.
    #[schema(value_type = String)]
    pub artifact: Digest,
    /// Position of the piece.
    pub chunk: u32,
    /// Its bytes.
    #[schema(value_type = String)]
    pub bytes: HexBytes,
}

/// Answer to `POST /v1/release/chunk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseChunkTaken {
    /// Position of the piece that is on the disk now.
    pub chunk: u32,
}

/// Answer to `POST /v1/release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseTaken {
    /// Digest of the program, by which its pieces are brought.
    #[schema(value_type = String)]
    pub artifact: Digest,
    /// Bytes of each piece but the last one.
    pub chunk_bytes: u32,
    /// Positions of the pieces that the node lacks.
    pub missing: Vec<u32>,
}

/// Why an ordered transaction changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The sender used the sequence number before.
    SequenceUsed,
    /// The sequence number lies too far behind the sender's highest one to tell.
    SequenceTooOld,
    /// The state has reached its size limit.
    StateFull,
    /// A change of the validator set that was made for another version of it.
    ValidatorsVersion,
    /// A change of the validator set that members of more than two thirds of the weight did not sign.
    ValidatorsUnsigned,
    /// A change of the validator set that leaves no valid one, or changes a third of the weight or more at once.
    ValidatorsUnfit,
}

/// What execution made of an ordered transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect (or, for a blob, it is ordered: blobs are not executed).
    Ok,
    /// It changed nothing.
    Failed(Failure),
}

/// `GET /v1/transactions/{id}`: where a transaction stands, as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransactionStatus {
    /// Never seen here, or so long ago that this node's index dropped it.
    Unknown,
    /// In this node's mempool, or on its way to a validator.
    Pending,
    /// Decided and executed. Final.
    Executed {
        /// Height of its block.
        height: Height,
        /// Position in the block, from 0.
        index: u32,
        /// What execution made of it.
        outcome: Outcome,
    },
}

/// One event of `GET /v1/statuses/stream`: what one block did to the transactions that were submitted
/// through this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusEvent {
    /// The instance.
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// Height of the block.
    pub height: Height,
    /// Ids and outcomes, in the order of execution.
    #[schema(value_type = Vec<Vec<String>>)]
    pub items: Vec<(TransactionId, Outcome)>,
}

/// One event of `GET /v1/blocks/stream` and the short form of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockSummary {
    /// The instance.
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// Its height.
    pub height: Height,
    /// Digest of its header.
    #[schema(value_type = String)]
    pub hash: Digest,
    /// Digest of its parent's header.
    #[schema(value_type = String)]
    pub parent: Digest,
    /// Root of the state after it.
    #[schema(value_type = String)]
    pub state_root: Digest,
    /// The round that decided it.
    pub round: Round,
    /// Index of its proposer in the validator set.
    pub proposer: u16,
    /// Number of its transactions.
    pub transactions: u32,
    /// How many of them failed.
    pub failed: u32,
    /// Bytes of its transactions.
    pub bytes: u64,
}

/// One vote inside a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignerView {
    /// Index in the validator set.
    pub index: u16,
    /// The signer.
    #[schema(value_type = String)]
    pub key: PublicKey,
    /// Its weight.
    pub weight: u64,
    /// Over [`BlockView::certificate_message`].
    #[schema(value_type = String)]
    pub signature: Signature,
}

/// A validator and its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValidatorView {
    /// Its key.
    #[schema(value_type = String)]
    pub key: PublicKey,
    /// Its weight.
    pub weight: u64,
}

/// `GET /v1/blocks/{height}`: a block with the proof that it was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockView {
    /// The short form.
    pub summary: BlockSummary,
    /// Digests of its batches, in order.
    #[schema(value_type = Vec<String>)]
    pub batches: Vec<Digest>,
    /// Every transaction and what became of it, in order.
    #[schema(value_type = Vec<Vec<String>>)]
    pub items: Vec<(TransactionId, Outcome)>,
    /// The exact bytes that each certificate signature signs.
    #[schema(value_type = String)]
    pub certificate_message: HexBytes,
    /// The quorum.
    pub signers: Vec<SignerView>,
    /// Weight of the whole validator set.
    pub weight_total: u64,
    /// The encoded header: `hash` is its digest, and its last field names the validators of the next height.
    #[schema(value_type = String)]
    pub header: HexBytes,
    /// The validators of the next height in the order of their indices, where they are not those of this one.
    pub next_validators: Option<Vec<ValidatorView>>,
}

/// `GET /v1/blocks?from=H&count=N`: consecutive short forms, for checks over a whole ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockRange {
    /// In order of height, starting at the height asked for; shorter than asked at the ledger's end.
    pub blocks: Vec<BlockSummary>,
}

/// `GET /v1/blocks/times?from=H&count=N`: when the node told of blocks, to compare nodes of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockTimes {
    /// Height and nanoseconds of the host's monotonic clock, in order of height; only of blocks since the node's start.
    pub times: Vec<(Height, u64)>,
}

/// `GET /v1/validators`: who decides a height, and what the next change of the set has to name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValidatorsView {
    /// The instance.
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// The height that they decide.
    pub height: Height,
    /// In the order of their indices.
    pub validators: Vec<ValidatorView>,
    /// Weight of all together; a quorum has more than two thirds of it.
    pub weight_total: u64,
    /// How often executed blocks have changed the set; a change names this version.
    pub version: u64,
    /// The validators that executed blocks leave, where they are not those above: they decide two heights after the
    /// block that changed the set.
    pub changed: Option<Vec<ValidatorView>>,
}

/// `GET /v1/evidence`: proofs that validators contradicted themselves, as far as this node has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceList {
    /// One for each signer, height and kind, in that order.
    pub evidence: Vec<EvidenceView>,
}

/// In which way two statements of one validator contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// Two proposals in one round.
    Propose,
    /// Two first votes in one round.
    Vote1,
    /// Two second votes in one round.
    Vote2,
    /// Two timeouts of one round that differ.
    Timeout,
    /// A second vote and a timeout of the same round or a later one that denies it.
    VoteDenied,
}

impl std::fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Propose => "two proposals",
            Self::Vote1 => "two first votes",
            Self::Vote2 => "two second votes",
            Self::Timeout => "two timeouts",
            Self::VoteDenied => "a timeout that denies a vote",
        })
    }
}

/// Two signed statements of one validator that no correct validator signs both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceView {
    /// Index of the signer in the validator set.
    pub signer: u16,
    /// The signer.
    #[schema(value_type = String)]
    pub key: PublicKey,
    /// The height that both are about.
    pub height: Height,
    /// In which way they contradict each other.
    pub kind: EvidenceKind,
    /// The one that was seen first.
    pub first: StatementView,
    /// The other one.
    pub second: StatementView,
}

/// One signed statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementView {
    /// The round that it is about.
    pub round: Round,
    /// The exact bytes that were signed.
    #[schema(value_type = String)]
    pub message: HexBytes,
    /// Over [`StatementView::message`].
    #[schema(value_type = String)]
    pub signature: Signature,
}

/// `GET /v1/latest`: how far this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Latest {
    /// One row an instance.
    pub instances: Vec<InstanceLatest>,
}

/// How far this node is in one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceLatest {
    /// The instance.
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// Height of the last executed block; 0 before the first.
    pub height: Height,
    /// Digest of that block's header.
    #[schema(value_type = String)]
    pub hash: Digest,
    /// Root of the state after it.
    #[schema(value_type = String)]
    pub state_root: Digest,
    /// The round it is in for the next height.
    pub round: Round,
    /// Transactions pending here.
    pub pending: u64,
    /// The highest height that a peer has told of.
    pub known_height: Height,
    /// The first of the consecutive blocks up to `height` that this node lists; the next height when it lists none.
    pub first_height: Height,
    /// The first of those that it has in full; earlier ones were let go of, or never executed here.
    pub first_block: Height,
    /// Height of the last snapshot that it fetched from peers since it started; 0: none.
    pub snapshot_height: Height,
    /// Bytes of that snapshot.
    pub snapshot_bytes: u64,
}

/// `GET /v1/state/{key}`: one value of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateView {
    /// The key.
    #[schema(value_type = String)]
    pub key: HexBytes,
    /// Its value; absent when nothing was put there.
    #[schema(value_type = Option<String>)]
    pub value: Option<HexBytes>,
    /// The height after which it was read.
    pub height: Height,
    /// Root of the state at that height.
    #[schema(value_type = String)]
    pub state_root: Digest,
}

/// `GET /v1/accounts/{key}`: what a sender needs to know before it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// The sender.
    #[schema(value_type = String)]
    pub key: PublicKey,
    /// The next sequence number that is certainly unused, pending transactions here included.
    pub next_sequence: u64,
    /// The height after which it was read.
    pub height: Height,
}

/// One row of `GET /v1/peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerView {
    /// Its name in the configuration.
    pub name: String,
    /// Its identity.
    #[schema(value_type = String)]
    pub key: PublicKey,
    /// Its configured address.
    pub address: String,
    /// Whether the link is up.
    pub connected: bool,
    /// Times the link came up.
    pub connects: u64,
    /// Why the last dial or link failed, if it did.
    pub last_error: Option<String>,
}

/// `GET /v1/ready`: 200 when `ready`, otherwise 503, with the same body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether the node takes transactions: recovered, linked, and not catching up.
    pub ready: bool,
    /// Links that are up.
    pub peers_connected: u64,
    /// Links that are configured.
    pub peers_configured: u64,
    /// Whether it is fetching blocks that others have decided.
    pub catching_up: bool,
    /// What it waits for, for people; empty when ready.
    pub waiting_for: String,
}

/// `GET /v1/version`: what runs here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Version of the package.
    pub version: String,
    /// Source commit of the build, with `-dirty` when files were changed; `unknown` outside git.
    pub commit: String,
    /// Digest of the running executable's bytes (BLAKE3).
    #[schema(value_type = String)]
    pub binary: Digest,
    /// Target triple of the build.
    pub target: String,
    /// Build profile: `debug` or `release`.
    pub profile: String,
    /// Whether it was built for tests and may break the protocol on purpose.
    #[serde(default)]
    pub byzantine: bool,
    /// The network.
    #[schema(value_type = String)]
    pub chain: ChainId,
    /// This node's name.
    pub name: String,
    /// This node's identity.
    #[schema(value_type = String)]
    pub key: PublicKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_well_in_json() {
        let status = TransactionStatus::Executed {
            height: 3,
            index: 0,
            outcome: Outcome::Failed(Failure::SequenceUsed),
        };
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(
            json,
            r#"{"executed":{"height":3,"index":0,"outcome":{"failed":"sequence_used"}}}"#
        );
        assert_eq!(serde_json::from_str::<TransactionStatus>(&json).unwrap(), status);
        assert_eq!(
            serde_json::to_string(&TransactionStatus::Unknown).unwrap(),
            "\"unknown\""
        );
    }

    #[test]
    fn unknown_fields_of_a_request_are_refused() {
        let text = r#"{"transactions":["00"],"instanse":"main"}"#;
        assert!(serde_json::from_str::<SubmitRequest>(text).is_err());
    }
}
