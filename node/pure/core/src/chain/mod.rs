//! One consensus instance on one node: mempool, payload, agreement, ledger, catch-up.
//!
//! A chain handles one event at a time and leaves what is to be done in the [`Context`]. Its parts:
//! `intake` takes transactions in, `payload` spreads them as batches, `agree` runs the consensus core
//! and executes what it decides, `catchup` follows neighbours that are ahead, `reads` answers clients.

mod agree;
mod batches;
mod catchup;
mod checks;
mod evidence;
mod gossip;
mod history;
mod intake;
mod ledger;
mod mempool;
mod outbox;
mod payload;
mod reads;
mod recall;
mod role;
mod routes;
mod sets;
mod short_map;
mod snapshot;
mod submissions;

use crate::{
    context::{Context, Purpose},
    event::{PeerIndex, Time},
    job::JobResult,
    node::NodeError,
    record::{Record, RecordNumber},
    wire::{Body, InstanceTag, prefix},
};
use agree::Agreement;
use batches::Batches;
use catchup::Catchup;
use checks::BatchChecks;
use evidence::Dossier;
#[cfg(test)]
pub(crate) use evidence::{EVIDENCE_PER_FRAME_MAX, EVIDENCE_PER_SIGNER_MAX};
use ledger::Ledger;
use mempool::Mempool;
use outbox::Outbox;
use recall::Memory;
use regatta_api::{NodeConfig, config::InstanceConfig};
use regatta_apps::{CheckedBatch, Domain};
use regatta_base::{ChainId, Digest, Height, InstanceId, SecretKey, encode, limits};
use regatta_consensus::{Input, Scope, Validator, ValidatorSet};
use role::Role;
use routes::Routes;
use short_map::Salt;
use snapshot::Snapshots;
use std::collections::BTreeSet;
pub(crate) use submissions::Origin;
use submissions::Submissions;

/// How often due retries of any kind are looked for, in milliseconds.
const SWEEP_INTERVAL_MS: Time = 250;

/// One instance.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) id: InstanceId,
    pub(crate) tag: InstanceTag,
    index: u16,
    config: InstanceConfig,
    chain_id: ChainId,
    domain: Domain,
    /// The validators that decide the first height.
    genesis: Scope,
    role: Role,
    agreement: Agreement,
    batches: Batches,
    mempool: Mempool,
    submissions: Submissions,
    ledger: Ledger,
    outbox: Outbox,
    routes: Routes,
    catchup: Catchup,
    dossier: Dossier,
    memory: Memory,
    #[cfg(any(test, feature = "byzantine"))]
    misconduct: agree::Misconduct,
    snapshots: Snapshots,
    batch_checks: BatchChecks,
    /// Batches that are being checked or wait for that, and their bytes.
    checking: BTreeSet<Digest>,
    checking_bytes: usize,
    sweep_at: Option<Time>,
}

impl Chain {
    pub(crate) fn new(node: &NodeConfig, index: usize, secret: &SecretKey) -> Result<Self, NodeError> {
        let config = node.instances[index].clone();
        let members = config
            .validators
            .iter()
            .map(|v| Validator {
                key: v.key,
                weight: v.weight,
            })
            .collect();
        let validators = ValidatorSet::new(members)
            .map_err(|error| NodeError::Config(format!("instance `{}`: {error}", config.id)))?;
        let votes = validators.index_of(&secret.public()).is_some();
        let salt = Salt::new(&secret.to_seed());
        let tag = tag(&node.chain, &config.id, &validators.hash());
        let scope = Scope::new(&node.chain, &config.id, validators);
        Ok(Self {
            id: config.id.clone(),
            tag,
            index: index as u16,
            chain_id: node.chain.clone(),
            domain: Domain::new(&node.chain, &config.id),
            genesis: scope.clone(),
            agreement: Agreement::new(&scope, secret.public(), &config),
            routes: Routes::new(config.vote_topology, scope.validators()),
            role: Role::new(secret.public(), votes, node.relay_votes),
            batches: Batches::default(),
            mempool: Mempool::new(node.mempool.clone(), salt),
            submissions: Submissions::new(salt),
            ledger: Ledger::new(salt, scope),
            outbox: Outbox::new(config.block_interval_ms),
            catchup: Catchup::new(node.peers.len()),
            dossier: Dossier::default(),
            memory: Memory::default(),
            #[cfg(any(test, feature = "byzantine"))]
            misconduct: agree::Misconduct::new(node.testing.behaviour),
            snapshots: Snapshots::new(node, config.snapshots.clone()),
            config,
            batch_checks: BatchChecks::default(),
            checking: BTreeSet::new(),
            checking_bytes: 0,
            sweep_at: None,
        })
    }

    pub(crate) fn is_validator(&self) -> bool {
        self.role.votes
    }

    /// Whether this node wants single votes, not only decisions.
    pub(crate) fn wants_votes(&self) -> bool {
        self.role.relays
    }

    pub(crate) fn height(&self) -> Height {
        self.ledger.height()
    }

    /// Takes one record of an earlier run back in.
    pub(crate) fn replay(&mut self, record: Record) -> Result<(), NodeError> {
        match record {
            Record::Consensus { bytes, .. } => self.replay_consensus(&bytes.0),
            Record::Batch { bytes, .. } => self.replay_batch(bytes.0),
            Record::Block {
                height,
                header,
                certificate,
                result,
                ..
            } => {
                self.snapshots.note_replayed(height);
                self.replay_block(height, &header.0, &certificate.0, result)
            }
            Record::Evidence { bytes, .. } => self.replay_evidence(&bytes.0),
            Record::Memory { speaks_from, .. } => {
                self.memory.replay(speaks_from);
                Ok(())
            }
            Record::Installed { height, .. } if height <= self.ledger.height() => {
                self.snapshots.note_installed(height);
                Ok(())
            }
            Record::Installed { height, .. } => Err(NodeError::Journal(format!(
                "it continues from a snapshot of height {height}, which is missing or damaged; help: load one with \
                 `regatta-node snapshot load`, or move the folder away and start without --new: the node fetches \
                 everything from its peers, and a validator votes again when they have said where they stand"
            ))),
        }
    }

    /// Begins, after the last replayed record and [`Chain::remember`]; `nonce` is random unless the node is new.
    pub(crate) fn start(&mut self, ctx: &mut Context<'_>, nonce: u64) {
        self.start_recall(ctx, nonce);
        self.mark_installed(ctx);
        self.settle_batches();
        self.start_agreement(ctx);
        self.signal_work(ctx);
        self.finish_step(ctx);
    }

    pub(crate) fn peer_up(&mut self, ctx: &mut Context<'_>, peer: PeerIndex, height: Height) {
        self.catchup.note_height(peer, height);
        self.offer_messages(ctx, peer);
        if height < self.ledger.height() {
            // Our greeting may be older than our last block, and votes for that one are gone.
            self.tell_height(peer);
        }
        self.announce_waiting(peer);
        self.offer_evidence(ctx, peer);
        self.offer_recalls(ctx, peer);
        self.resume_fetch(ctx, peer);
        self.sweep_soon(ctx.now);
        self.finish_step(ctx);
    }

    /// A linked neighbour wants votes from now on.
    pub(crate) fn votes_wanted(&mut self, ctx: &mut Context<'_>, peer: PeerIndex) {
        self.offer_messages(ctx, peer);
        self.finish_step(ctx);
    }

    /// Another neighbour lost its links to `peers`: what it was thought to have sent them may be missing.
    pub(crate) fn cover_again(&mut self, ctx: &mut Context<'_>, peers: &[PeerIndex]) {
        for &peer in peers {
            self.offer_messages(ctx, peer);
            self.tell_height(peer);
            self.announce_waiting(peer);
        }
        self.finish_step(ctx);
    }

    /// Sends a neighbour every message of the current heights that it is not known to have.
    pub(super) fn offer_messages(&mut self, ctx: &Context<'_>, peer: PeerIndex) {
        if self.routes.gets_votes(ctx.links, peer) {
            for message in self.agreement.gossip.catch_up(peer) {
                self.outbox.push(peer, message, true);
            }
        }
    }

    /// Sends every neighbour what it is not known to have.
    fn offer_to_all(&mut self, ctx: &Context<'_>) {
        for peer in ctx.links.up() {
            self.offer_messages(ctx, peer);
        }
    }

    pub(crate) fn peer_down(&mut self, ctx: &mut Context<'_>, peer: PeerIndex) {
        self.agreement.gossip.peer_down(peer);
        self.batches.peer_down(peer);
        self.outbox.forget(peer);
        self.catchup.peer_down(peer);
        self.dossier.peer_down(peer);
        self.memory.peer_down(peer);
        self.fetch_peer_down(peer);
        self.resend_forwards(ctx, Some(peer));
        self.finish_step(ctx);
    }

    pub(crate) fn frame(&mut self, ctx: &mut Context<'_>, from: PeerIndex, body: Body) {
        match body {
            Body::Consensus(messages) => self.on_consensus(ctx, from, messages),
            Body::Announce(digests) => self.on_announce(ctx, from, &digests),
            Body::Want(digests) => self.on_want(ctx, from, &digests),
            Body::Forward { id, transactions } => self.on_forward(ctx, from, id, transactions),
            Body::ForwardResult { id, results } => self.on_forward_result(ctx, from, id, &results),
            Body::BlockRequest { from: height, count } => self.on_block_request(ctx, from, height, count),
            Body::Block { header, certificate } => self.on_block(ctx, from, &header.0, &certificate.0),
            Body::HeaderRequest { height, digest } => self.on_header_request(ctx, from, height, digest),
            Body::Evidence(list) => self.on_evidence(ctx, from, list),
            Body::Recall(list) => self.on_recalls(ctx, from, list),
            Body::Header(header) => self.drive(ctx, Input::Header(header.0.to_vec())),
            Body::Pruned { first } => self.catchup.note_first(from, first),
            Body::ManifestRequest { above } => self.on_manifest_request(ctx, from, above),
            Body::Manifest(bytes) => self.on_manifest(ctx, from, &bytes.0),
            Body::ChunkRequest { height, chunk } => self.on_chunk_request(ctx, from, height, chunk),
            Body::Chunk { height, chunk, bytes } => {
                self.on_chunk(ctx, from, (height, chunk), bytes.map(|bytes| bytes.0));
            }
        }
        self.finish_step(ctx);
    }

    pub(crate) fn after_submit(&mut self, ctx: &mut Context<'_>) {
        self.finish_step(ctx);
    }

    pub(crate) fn job_done(&mut self, ctx: &mut Context<'_>, purpose: &Purpose, result: JobResult) {
        match (purpose, result) {
            (
                Purpose::Batch {
                    from,
                    digest,
                    bytes,
                    votable,
                },
                JobResult::Batch(result),
            ) => {
                self.checking.remove(digest);
                self.checking_bytes = self.checking_bytes.saturating_sub(*bytes);
                self.batch_check_done(ctx);
                match from {
                    Some(from) => self.on_batch_checked(ctx, *from, (*digest, *votable), result),
                    None => self.on_held_checked(ctx, digest, result.is_ok()),
                }
            }
            (Purpose::Evidence { from, evidence }, JobResult::Claims(valid)) => {
                self.on_evidence_checked(ctx, *from, evidence, &valid);
            }
            (Purpose::Recalls { from, recalls }, JobResult::Claims(valid)) => {
                self.on_recalls_checked(ctx, *from, recalls, &valid);
            }
            (Purpose::Transactions, JobResult::Transactions(results)) => self.on_transactions(ctx, results),
            (Purpose::Snapshot, JobResult::SnapshotChunk(installer, result)) => {
                self.on_chunk_taken(ctx, installer, result);
            }
            (Purpose::Snapshot, JobResult::SnapshotEnd(result)) => self.on_snapshot_checked(ctx, result),
            // The node hands every job's own kind of result back.
            _ => {}
        }
        self.finish_step(ctx);
    }

    /// The claims that [`Chain::take_claims`] gave were checked.
    pub(crate) fn verified(&mut self, ctx: &mut Context<'_>, valid: &[bool]) {
        self.on_claims(ctx, valid);
        self.finish_step(ctx);
    }

    /// Does what the time has come for.
    pub(crate) fn tick(&mut self, ctx: &mut Context<'_>) {
        self.tick_agreement(ctx);
        self.tick_recall(ctx);
        self.write_snapshot(ctx);
        if self.sweep_at.is_some_and(|at| at <= ctx.now) {
            self.sweep_at = None;
            self.sweep(ctx);
        }
        self.finish_step(ctx);
    }

    /// The earliest time at which [`Chain::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let batch = self.batch_due_at();
        let agreement = self
            .agreement
            .next_deadline()
            .into_iter()
            .chain(self.build_deadline())
            .min();
        let outbox = self.outbox.due_at();
        let rare = [self.snapshots.next_deadline(), self.memory.next_deadline()];
        let rare = rare.into_iter().flatten().min();
        let times = [agreement, outbox, self.sweep_at, batch, self.check_due_at(), rare];
        #[cfg(any(test, feature = "byzantine"))]
        let times = [times.into_iter().flatten().min(), self.misconduct.next_deadline()];
        times.into_iter().flatten().min()
    }

    /// Everything that one event may have made possible, in one place and in a fixed order.
    fn finish_step(&mut self, ctx: &mut Context<'_>) {
        self.release_when_known(ctx);
        self.check_transactions(ctx);
        self.check_unchecked(ctx);
        self.cut_batches(ctx);
        self.answer_echoes(ctx);
        self.flush(ctx);
        let is_behind = self.catchup.is_behind(self.ledger.height()) || self.snapshots.is_waiting();
        if self.batches.has_wants() || self.submissions.has_forwards() || is_behind {
            self.sweep_soon(ctx.now);
        }
    }

    fn sweep_soon(&mut self, now: Time) {
        self.sweep_at.get_or_insert(now + SWEEP_INTERVAL_MS);
    }

    fn sweep(&mut self, ctx: &mut Context<'_>) {
        let height = self.ledger.height();
        let ledger = &self.ledger;
        let needed = self.agreement.needed_batches();
        self.batches
            .forget_wants(|digest| !ledger.is_included(digest) && needed.contains(digest));
        self.request_batches(ctx);
        self.resend_forwards(ctx, None);
        self.catch_up_far(ctx);
        if !self.snapshots.is_fetching() {
            self.request_blocks(ctx, height);
        }
    }

    /// Takes batches that expired out of the payload; own ones go back into the mempool.
    fn expire_batches(&mut self, now: Time) {
        let next = self.ledger.height() + 1;
        for batch in self.batches.take_expired(next) {
            if batch.author == self.role.key {
                for transaction in payload::transactions_of(&batch) {
                    if self.ledger.place(&transaction.id).is_none() {
                        self.mempool.requeue(now, transaction);
                    }
                }
            }
        }
    }

    fn append_batch(&self, ctx: &mut Context<'_>, batch: &CheckedBatch) -> RecordNumber {
        ctx.append(Record::Batch {
            instance: self.index,
            digest: batch.digest,
            bytes: regatta_base::HexBytes(batch.bytes.clone()),
        })
    }
}

/// The tag of an instance: nodes that disagree about its validators do not hear each other.
fn tag(chain: &ChainId, instance: &InstanceId, validators: &Digest) -> InstanceTag {
    let parts: [&[u8]; 3] = [chain.as_str().as_bytes(), instance.as_str().as_bytes(), &validators.0];
    prefix(&Digest::of("regatta instance tag v1", &parts).0)
}

/// Encodes a list so that no frame exceeds the limit: splits it into chunks of at most this many bytes.
const CONSENSUS_FRAME_BYTES_MAX: usize = limits::FRAME_BYTES_MAX / 2;

/// Bytes that MessagePack needs beside a byte string, at most.
const BYTES_OVERHEAD: usize = 5;

fn encoded<T: serde::Serialize>(value: &T) -> regatta_base::HexBytes {
    encode(value).into()
}
