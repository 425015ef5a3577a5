//! Evidence: proofs that a validator signed what contradicts itself, kept, passed on and shown.
//!
//! One proof convicts, so that what is kept is bounded for each signer and in all: a faulty validator can
//! neither fill the journal nor push out what is known of others. A proof stands by itself: whoever gets one
//! from a neighbour checks both signatures before keeping it, and passes it on once.

use super::{Chain, encoded};
use crate::{
    context::{Context, Purpose},
    event::{LogLevel, PeerIndex, Protocol},
    job::Job,
    node::NodeError,
    peers::PeerSet,
    record::{Record, RecordNumber},
    wire::{Body, Plain},
};
use regatta_api::{
    metrics::Metric,
    view::{EvidenceKind, EvidenceView, StatementView},
};
use regatta_base::{Height, HexBytes, decode};
use regatta_consensus::{Content, Evidence, Scope, SignatureClaim, Signed};
use std::collections::BTreeMap;

/// Most proofs that one instance keeps.
const EVIDENCE_MAX: usize = 1024;
/// Most proofs against one signer: the first of them convicts already.
pub(crate) const EVIDENCE_PER_SIGNER_MAX: usize = 64;
/// Most proofs in one frame.
pub(crate) const EVIDENCE_PER_FRAME_MAX: usize = 128;
/// Frames of neighbours whose proofs may be checked at a time; more are dropped and come again with the next link.
const CHECKS_MAX: usize = 16;
/// Largest encoded proof in bytes: two statements of at most about 120 bytes.
const EVIDENCE_BYTES_MAX: usize = 512;

/// What makes two proofs the same: signer, height, and in which way it contradicts itself.
type Key = (u16, Height, EvidenceKind);

#[derive(Debug)]
struct Held {
    evidence: Evidence,
    /// Neighbours that have it.
    peers: PeerSet,
    record: RecordNumber,
}

/// The proofs of one instance.
#[derive(Debug, Default)]
pub(crate) struct Dossier {
    held: BTreeMap<Key, Held>,
    checking: usize,
}

impl Dossier {
    fn of_signer(&self, signer: u16) -> usize {
        let range = (signer, 0, EvidenceKind::Propose)..=(signer, Height::MAX, EvidenceKind::VoteDenied);
        self.held.range(range).count()
    }

    fn has_room(&self, signer: u16) -> bool {
        self.held.len() < EVIDENCE_MAX && self.of_signer(signer) < EVIDENCE_PER_SIGNER_MAX
    }

    pub(crate) fn peer_down(&mut self, peer: PeerIndex) {
        for held in self.held.values_mut() {
            held.peers.remove(peer);
        }
    }

    /// What a neighbour lacks; it is noted as having it from now on.
    fn lacking(&mut self, peer: PeerIndex) -> Vec<Evidence> {
        let lacking = self.held.values_mut().filter(|held| !held.peers.contains(peer));
        lacking
            .map(|held| {
                held.peers.insert(peer);
                held.evidence
            })
            .collect()
    }
}

fn kind_of(evidence: &Evidence) -> EvidenceKind {
    match (evidence.first.statement.content, evidence.second.statement.content) {
        (Content::Propose(_), _) => EvidenceKind::Propose,
        (Content::Vote1(_), _) => EvidenceKind::Vote1,
        (Content::Vote2(_), Content::Vote2(_)) => EvidenceKind::Vote2,
        (Content::Timeout(_), Content::Timeout(_)) => EvidenceKind::Timeout,
        (Content::Vote2(_) | Content::Timeout(_), _) => EvidenceKind::VoteDenied,
    }
}

fn key_of(evidence: &Evidence) -> Key {
    let signer = evidence.first.signer;
    (signer, evidence.first.statement.height, kind_of(evidence))
}

/// Both signatures of a proof; `None` when it proves nothing whatever they are.
fn claims(scope: &Scope, evidence: &Evidence) -> Option<[SignatureClaim; 2]> {
    if !evidence.is_proof() {
        return None;
    }
    let key = scope.validators().get(evidence.first.signer)?.key;
    let claim = |signed: &Signed| SignatureClaim {
        key,
        message: scope.signing_bytes(&signed.statement),
        signature: signed.signature,
    };
    Some([claim(&evidence.first), claim(&evidence.second)])
}

impl Chain {
    /// Keeps a proof whose signatures hold and passes it on, unless it is known or there is no room.
    pub(in crate::chain) fn keep_evidence(
        &mut self,
        ctx: &mut Context<'_>,
        evidence: Evidence,
        from: Option<PeerIndex>,
    ) {
        let key = key_of(&evidence);
        if let Some(held) = self.dossier.held.get_mut(&key) {
            from.iter().for_each(|&peer| held.peers.insert(peer));
            return;
        }
        if !self.dossier.has_room(key.0) {
            ctx.count(Metric::EvidenceDropped, 1);
            return;
        }
        let record = ctx.append(Record::Evidence {
            instance: self.index,
            bytes: encoded(&evidence),
        });
        ctx.count(Metric::Evidence, 1);
        let (signer, height, kind) = key;
        let line = format!(
            "instance {}: validator {signer} contradicts itself at height {height}: {kind}",
            self.id
        );
        ctx.log(LogLevel::Warn, line);
        let mut peers = PeerSet::default();
        from.iter().for_each(|&peer| peers.insert(peer));
        self.dossier.held.insert(
            key,
            Held {
                evidence,
                peers,
                record,
            },
        );
        let up: Vec<PeerIndex> = ctx.links.up().collect();
        for peer in up {
            self.offer_evidence(ctx, peer);
        }
    }

    /// Sends a neighbour every proof that it is not known to have.
    pub(in crate::chain) fn offer_evidence(&mut self, ctx: &mut Context<'_>, peer: PeerIndex) {
        let after = ctx.newest_record();
        for part in self.dossier.lacking(peer).chunks(EVIDENCE_PER_FRAME_MAX) {
            let frame = Plain::Instance(self.tag, Body::Evidence(part.to_vec())).encode();
            ctx.send(peer, frame, Protocol::Consensus, after);
        }
    }

    /// A neighbour's proofs: those that are new are checked.
    pub(in crate::chain) fn on_evidence(&mut self, ctx: &mut Context<'_>, from: PeerIndex, list: Vec<Evidence>) {
        if list.len() > EVIDENCE_PER_FRAME_MAX {
            ctx.fault(from, format!("{} proofs of misconduct in one frame", list.len()));
            return;
        }
        let (mut fresh, mut wanted) = (Vec::new(), Vec::new());
        for evidence in list {
            let Some(scope) = self.ledger.sets().at(evidence.first.statement.height) else {
                // Who the validators of that height are is not known here, or no longer.
                ctx.count(Metric::EvidenceDropped, 1);
                continue;
            };
            let Some(pair) = claims(scope, &evidence) else {
                ctx.fault(from, "evidence that proves nothing".to_owned());
                return;
            };
            let key = key_of(&evidence);
            if let Some(held) = self.dossier.held.get_mut(&key) {
                held.peers.insert(from);
            } else if self.dossier.has_room(key.0) {
                fresh.push(evidence);
                wanted.extend(pair);
            } else {
                ctx.count(Metric::EvidenceDropped, 1);
            }
        }
        if fresh.is_empty() {
            return;
        }
        if self.dossier.checking >= CHECKS_MAX {
            ctx.count(Metric::EvidenceDropped, fresh.len() as u64);
            return;
        }
        self.dossier.checking += 1;
        let purpose = Purpose::Evidence { from, evidence: fresh };
        ctx.work(purpose, Job::Claims(wanted));
    }

    pub(in crate::chain) fn on_evidence_checked(
        &mut self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        evidence: &[Evidence],
        valid: &[bool],
    ) {
        self.dossier.checking = self.dossier.checking.saturating_sub(1);
        for (evidence, pair) in evidence.iter().zip(valid.chunks(2)) {
            if pair == [true, true] {
                self.keep_evidence(ctx, *evidence, Some(from));
            } else {
                ctx.fault(from, "forged evidence: a signature in it does not hold".to_owned());
                return;
            }
        }
    }

    /// Takes back what an earlier run kept.
    pub(in crate::chain) fn replay_evidence(&mut self, bytes: &[u8]) -> Result<(), NodeError> {
        let evidence: Evidence = decode(bytes, EVIDENCE_BYTES_MAX)
            .map_err(|error| NodeError::Journal(format!("a record of evidence: {error}")))?;
        let Some(scope) = self.ledger.sets().at(evidence.first.statement.height) else {
            return Ok(());
        };
        if claims(scope, &evidence).is_none() {
            let reason = "a record of evidence against a validator that proves nothing";
            return Err(NodeError::Journal(reason.to_owned()));
        }
        let held = Held {
            evidence,
            peers: PeerSet::default(),
            record: 0,
        };
        self.dossier.held.insert(key_of(&evidence), held);
        Ok(())
    }

    /// Every proof that is as durable as the node promises.
    pub(crate) fn evidence(&self, durable: RecordNumber) -> Vec<EvidenceView> {
        let shown = self.dossier.held.iter().filter(|(_, held)| held.record <= durable);
        shown
            .filter_map(|(&(signer, height, kind), held)| {
                let scope = self.ledger.sets().at(height)?;
                let [first, second] = claims(scope, &held.evidence)?;
                let statement = |signed: &Signed, claim: SignatureClaim| StatementView {
                    round: signed.statement.round,
                    message: HexBytes::from(claim.message),
                    signature: claim.signature,
                };
                Some(EvidenceView {
                    signer,
                    key: first.key,
                    height,
                    kind,
                    first: statement(&held.evidence.first, first),
                    second: statement(&held.evidence.second, second),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::{Digest, Signature};
    use regatta_consensus::Statement;

    fn proof(signer: u16) -> Evidence {
        let signed = |mark| Signed {
            statement: Statement {
                height: 1,
                round: 0,
                content: Content::Vote1(Digest([mark; 32])),
            },
            signer,
            signature: Signature([0; 64]),
        };
        Evidence {
            first: signed(1),
            second: signed(2),
        }
    }

    #[test]
    fn all_together_are_bounded_too() {
        let mut dossier = Dossier::default();
        for signer in 0..EVIDENCE_MAX as u16 {
            assert!(dossier.has_room(signer), "{signer}");
            let evidence = proof(signer);
            let held = Held {
                evidence,
                peers: PeerSet::default(),
                record: 0,
            };
            dossier.held.insert(key_of(&evidence), held);
        }
        assert!(!dossier.has_room(EVIDENCE_MAX as u16));
        assert_eq!(dossier.lacking(3).len(), EVIDENCE_MAX);
        assert!(dossier.lacking(3).is_empty());
        dossier.peer_down(3);
        assert_eq!(dossier.lacking(3).len(), EVIDENCE_MAX);
    }

    #[test]
    fn the_largest_proof_is_within_the_limit_of_a_record() {
        let mut evidence = proof(u16::MAX);
        for signed in [&mut evidence.first, &mut evidence.second] {
            signed.statement.height = Height::MAX;
            signed.statement.round = u32::MAX;
            signed.signature = Signature([0xff; 64]);
        }
        assert!(encoded(&evidence).0.len() <= EVIDENCE_BYTES_MAX);
    }
}
