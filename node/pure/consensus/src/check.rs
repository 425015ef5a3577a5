//! What can be judged about a message without any state: its shape, its weights, and which
//! signatures it claims.

use crate::types::{
    Certificate, Commit, Content, HEADER_BYTES_MAX, Justification, Message, Phase, Proposal, ROUND_MAX, SignatureClaim,
    Signed, Statement, TimeoutCertificate, TimeoutVote, header_digest,
};
use regatta_base::{ChainId, Digest, InstanceId, PublicKey, Round, ValidatorSet};
use std::sync::Arc;

/// First bytes of everything that a validator signs.
const DOMAIN: &[u8] = b"regatta consensus v1";

/// The frame of every signature: which chain, which consensus instance, which validators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    validators: Arc<ValidatorSet>,
    prefix: Vec<u8>,
}

/// Why a message is malformed, whatever its signatures say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// A signer index outside the validator set.
    #[error("signer {signer} is not in the set of {validators}")]
    UnknownSigner {
        /// The index.
        signer: u16,
        /// How many validators there are.
        validators: usize,
    },
    /// A proposal of somebody whose turn it is not.
    #[error("signer {signer} does not lead; signer {leader} does")]
    NotLeader {
        /// Who signed.
        signer: u16,
        /// Who should have.
        leader: u16,
    },
    /// A statement of another kind than its envelope.
    #[error("the statement does not fit the message that carries it")]
    WrongKind,
    /// A round so great that there is no next one.
    #[error("round {0} is out of range")]
    Round(Round),
    /// Bitmap, signatures and high rounds do not match one another or the set.
    #[error("the signer bitmap, the signatures and the validator set do not fit together")]
    Shape,
    /// Not enough weight behind a certificate.
    #[error("weight {weight} of {total} is no quorum")]
    NoQuorum {
        /// The weight of the signers.
        weight: u64,
        /// The weight of all.
        total: u64,
    },
    /// Header bytes of another digest, or too many.
    #[error("the header does not have the stated digest, or is too large")]
    Header,
    /// The attached certificate is missing, superfluous, or of another height or round.
    #[error("the attached certificate does not belong there")]
    Attachment,
}

impl Scope {
    /// The scope of `validators` deciding `instance` of `chain`.
    #[must_use]
    pub fn new(chain: &ChainId, instance: &InstanceId, validators: ValidatorSet) -> Self {
        let mut prefix = DOMAIN.to_vec();
        for name in [chain.as_str(), instance.as_str()] {
            // A name has at most 64 bytes; the length keeps the pair unambiguous.
            prefix.push(name.len() as u8);
            prefix.extend_from_slice(name.as_bytes());
        }
        prefix.extend_from_slice(&validators.hash().0);
        let validators = Arc::new(validators);
        Self { validators, prefix }
    }

    /// The scope of other validators deciding the same instance of the same chain.
    #[must_use]
    pub fn of(&self, validators: ValidatorSet) -> Self {
        let names = self.prefix.len() - validators.hash().0.len();
        let mut prefix = self.prefix[..names].to_vec();
        prefix.extend_from_slice(&validators.hash().0);
        let validators = Arc::new(validators);
        Self { validators, prefix }
    }

    /// Chain and instance, each with its length before it.
    pub(crate) fn names(&self) -> &[u8] {
        &self.prefix[DOMAIN.len()..self.prefix.len() - self.validators.hash().0.len()]
    }

    /// The validators.
    #[must_use]
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// The bytes that are signed: domain ‖ chain ‖ instance ‖ set ‖ kind ‖ height ‖ round ‖ (digest | high).
    #[must_use]
    pub fn signing_bytes(&self, statement: &Statement) -> Vec<u8> {
        let (kind, digest, high) = match statement.content {
            Content::Propose(digest) => (1, Some(digest), None),
            Content::Vote1(digest) => (2, Some(digest), None),
            Content::Vote2(digest) => (3, Some(digest), None),
            Content::Timeout(None) => (4, None, None),
            Content::Timeout(Some(high)) => (5, None, Some(high)),
        };
        let mut bytes = Vec::with_capacity(self.prefix.len() + 45);
        bytes.extend_from_slice(&self.prefix);
        bytes.push(kind);
        bytes.extend_from_slice(&statement.height.to_be_bytes());
        bytes.extend_from_slice(&statement.round.to_be_bytes());
        bytes.extend(digest.iter().flat_map(|digest| digest.0));
        bytes.extend(high.iter().flat_map(|high| high.to_be_bytes()));
        bytes
    }

    /// Signer index of `key`, if it has a vote.
    pub(crate) fn index_of(&self, key: Option<&PublicKey>) -> Option<u16> {
        self.validators.index_of(key?)
    }

    fn claim(&self, signer: u16, message: Vec<u8>, signature: regatta_base::Signature) -> Option<SignatureClaim> {
        let key = self.validators.get(signer)?.key;
        Some(SignatureClaim {
            key,
            message,
            signature,
        })
    }

    fn quorum_of(&self, signers: impl Iterator<Item = u16>) -> Result<(), StructureError> {
        let weight = signers.map(|signer| self.validators.weight(signer)).sum();
        if self.validators.is_quorum(weight) {
            return Ok(());
        }
        Err(StructureError::NoQuorum {
            weight,
            total: self.validators.total(),
        })
    }
}

impl Message {
    /// Checks shape and weights; says nothing about signatures.
    ///
    /// # Errors
    /// [`StructureError`]: the sender is faulty, or speaks of another validator set.
    pub fn check(&self, scope: &Scope) -> Result<(), StructureError> {
        match self {
            Self::Proposal(proposal) => proposal.check(scope),
            Self::Vote(vote) => match vote.statement.content {
                Content::Vote1(_) | Content::Vote2(_) => vote.check(scope),
                Content::Propose(_) | Content::Timeout(_) => Err(StructureError::WrongKind),
            },
            Self::Timeout(timeout) => timeout.check(scope),
            Self::Quorum(certificate) => certificate.check(scope),
            Self::TimeoutQuorum(certificate) => certificate.check(scope),
            Self::Commit(commit) => commit.check(scope),
            Self::Status { .. } => Ok(()),
        }
    }

    /// Checks shape and weights, and lists every signature that must verify before the message may
    /// enter the core, those of attached certificates included.
    ///
    /// # Errors
    /// As [`Message::check`].
    pub fn claims(&self, scope: &Scope) -> Result<Vec<SignatureClaim>, StructureError> {
        self.check(scope)?;
        let mut claims = Vec::new();
        if let Some(signed) = self.signed() {
            claims.extend(signed.claim(scope));
        }
        match self {
            Self::Proposal(proposal) => match &proposal.justification {
                Some(Justification::Quorum(certificate)) => certificate.claims(scope, &mut claims),
                Some(Justification::Timeout(certificate)) => certificate.claims(scope, &mut claims),
                None => {}
            },
            Self::Timeout(TimeoutVote { high: Some(high), .. }) => high.claims(scope, &mut claims),
            Self::Quorum(certificate) => certificate.claims(scope, &mut claims),
            Self::TimeoutQuorum(certificate) => certificate.claims(scope, &mut claims),
            Self::Commit(commit) => commit.certificate.claims(scope, &mut claims),
            Self::Vote(_) | Self::Timeout(_) | Self::Status { .. } => {}
        }
        Ok(claims)
    }
}

impl Signed {
    fn check(&self, scope: &Scope) -> Result<(), StructureError> {
        if self.statement.round > ROUND_MAX {
            return Err(StructureError::Round(self.statement.round));
        }
        match scope.validators.get(self.signer) {
            Some(_) => Ok(()),
            None => Err(StructureError::UnknownSigner {
                signer: self.signer,
                validators: scope.validators.len(),
            }),
        }
    }

    fn claim(&self, scope: &Scope) -> Option<SignatureClaim> {
        scope.claim(self.signer, scope.signing_bytes(&self.statement), self.signature)
    }
}

impl Proposal {
    fn check(&self, scope: &Scope) -> Result<(), StructureError> {
        self.vote.check(scope)?;
        let Statement { height, round, content } = self.vote.statement;
        let Content::Propose(digest) = content else {
            return Err(StructureError::WrongKind);
        };
        let leader = scope.validators.leader(height, round);
        if self.vote.signer != leader {
            return Err(StructureError::NotLeader {
                signer: self.vote.signer,
                leader,
            });
        }
        check_header(&self.header, digest)?;
        let place = match &self.justification {
            None => None,
            Some(Justification::Quorum(quorum)) if quorum.phase == Phase::One => {
                quorum.check(scope)?;
                Some((quorum.height, quorum.round))
            }
            Some(Justification::Quorum(_)) => return Err(StructureError::Attachment),
            Some(Justification::Timeout(timeout)) => {
                timeout.check(scope)?;
                Some((timeout.height, timeout.round))
            }
        };
        if place == round.checked_sub(1).map(|previous| (height, previous)) {
            Ok(())
        } else {
            Err(StructureError::Attachment)
        }
    }
}

impl TimeoutVote {
    fn check(&self, scope: &Scope) -> Result<(), StructureError> {
        self.vote.check(scope)?;
        let Statement { height, round, content } = self.vote.statement;
        let Content::Timeout(stated) = content else {
            return Err(StructureError::WrongKind);
        };
        check_high(scope, self.high.as_ref(), stated, (height, round))
    }
}

impl Certificate {
    /// Checks the certificate's shape and weight; says nothing about signatures.
    ///
    /// # Errors
    /// [`StructureError`] as for a message.
    pub fn check(&self, scope: &Scope) -> Result<(), StructureError> {
        if self.round > ROUND_MAX {
            return Err(StructureError::Round(self.round));
        }
        if !self.signers.fits(scope.validators.len()) || self.signers.count() != self.signatures.len() {
            return Err(StructureError::Shape);
        }
        scope.quorum_of(self.signers.iter())
    }

    /// The statement that each of its signers signed.
    #[must_use]
    pub fn statement(&self) -> Statement {
        Statement {
            height: self.height,
            round: self.round,
            content: match self.phase {
                Phase::One => Content::Vote1(self.digest),
                Phase::Two => Content::Vote2(self.digest),
            },
        }
    }

    fn claims(&self, scope: &Scope, claims: &mut Vec<SignatureClaim>) {
        let message = scope.signing_bytes(&self.statement());
        for (signer, signature) in self.signers.iter().zip(&self.signatures) {
            claims.extend(scope.claim(signer, message.clone(), *signature));
        }
    }
}

impl TimeoutCertificate {
    fn check(&self, scope: &Scope) -> Result<(), StructureError> {
        if self.round > ROUND_MAX {
            return Err(StructureError::Round(self.round));
        }
        let count = self.signers.count();
        let fits = self.signers.fits(scope.validators.len());
        if !fits || count != self.signatures.len() || count != self.highs.len() {
            return Err(StructureError::Shape);
        }
        scope.quorum_of(self.signers.iter())?;
        let greatest = self.highs.iter().copied().max().flatten();
        check_high(scope, self.high.as_ref(), greatest, (self.height, self.round))
    }

    fn claims(&self, scope: &Scope, claims: &mut Vec<SignatureClaim>) {
        let signed = self.signers.iter().zip(&self.highs).zip(&self.signatures);
        for ((signer, high), signature) in signed {
            let statement = Statement {
                height: self.height,
                round: self.round,
                content: Content::Timeout(*high),
            };
            claims.extend(scope.claim(signer, scope.signing_bytes(&statement), *signature));
        }
        if let Some(high) = &self.high {
            high.claims(scope, claims);
        }
    }
}

impl Commit {
    fn check(&self, scope: &Scope) -> Result<(), StructureError> {
        if self.certificate.phase != Phase::Two {
            return Err(StructureError::WrongKind);
        }
        self.certificate.check(scope)?;
        check_header(&self.header, self.certificate.digest)
    }
}

/// The QC1 beside a timeout must be exactly the one whose round was stated, and not of a later round.
fn check_high(
    scope: &Scope,
    high: Option<&Certificate>,
    stated: Option<Round>,
    (height, round): (u64, Round),
) -> Result<(), StructureError> {
    match (high, stated) {
        (None, None) => Ok(()),
        (Some(quorum), Some(stated)) => {
            let belongs = quorum.phase == Phase::One && quorum.height == height && quorum.round == stated;
            if !belongs || stated > round {
                return Err(StructureError::Attachment);
            }
            quorum.check(scope)
        }
        _ => Err(StructureError::Attachment),
    }
}

fn check_header(header: &[u8], digest: Digest) -> Result<(), StructureError> {
    if header.len() <= HEADER_BYTES_MAX && header_digest(header) == digest {
        Ok(())
    } else {
        Err(StructureError::Header)
    }
}

#[cfg(test)]
mod tests;
