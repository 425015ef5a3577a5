//! What validators sign and what travels: statements, certificates, messages, evidence.
//!
//! Everything here decodes through `regatta_base::decode(bytes, MESSAGE_BYTES_MAX)`. Decoding proves
//! nothing: call [`Message::claims`](crate::Message::claims), verify what it returns, and only then
//! give the message to the core.

use crate::signers::Signers;
use regatta_base::{Digest, Height, PublicKey, Round, Signature, keyring::Claim};
use serde::{Deserialize, Serialize};

/// Largest block header in bytes; the header is opaque to consensus.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Largest encoded [`Message`] in bytes: a header, a timeout certificate and a quorum certificate
/// of [`VALIDATORS_MAX`](regatta_base::limits::VALIDATORS_MAX) signatures each.
pub const MESSAGE_BYTES_MAX: usize = HEADER_BYTES_MAX + 160 * 1024;
/// Greatest round in a valid statement; leaves room for `round + 1`.
pub const ROUND_MAX: Round = Round::MAX - 1;

/// The digest by which proposals, votes and certificates name a header.
///
/// Defined here so that a header that travels unsigned (in a commit, or fetched) proves itself.
#[must_use]
pub fn header_digest(header: &[u8]) -> Digest {
    Digest::of("regatta block header v1", &[header])
}

/// What a statement says, apart from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Content {
    /// "I propose this header" (1a).
    Propose(Digest),
    /// "This is the first safe and valid proposal that I saw in this round" (fresh 1b).
    Vote1(Digest),
    /// "A quorum cast `Vote1` for it" (2a).
    Vote2(Digest),
    /// "I give this round up; my greatest `Vote2` was cast in that round" (non-fresh 1b).
    Timeout(Option<Round>),
}

/// One statement of one validator about one round of one height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Statement {
    /// The height.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// What is said.
    pub content: Content,
}

/// A statement with its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// What is signed.
    pub statement: Statement,
    /// Index of the signer in the validator set.
    pub signer: u16,
    /// Over [`Scope::signing_bytes`](crate::Scope::signing_bytes).
    pub signature: Signature,
}

/// Which of the two votes a certificate collects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// `Vote1`: the certificate is a QC1 and locks the digest.
    One,
    /// `Vote2`: the certificate is a QC2 and decides the digest.
    Two,
}

/// A quorum of equal votes: QC1 or QC2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// QC1 or QC2.
    pub phase: Phase,
    /// The height.
    pub height: Height,
    /// The round.
    pub round: Round,
    /// The header that was voted for.
    pub digest: Digest,
    /// Who signed.
    pub signers: Signers,
    /// One signature for each signer, in signer order.
    pub signatures: Vec<Signature>,
}

/// A quorum of timeouts of one round: TC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutCertificate {
    /// The height.
    pub height: Height,
    /// The round that was given up.
    pub round: Round,
    /// Who signed.
    pub signers: Signers,
    /// The high round that each signer stated, in signer order.
    pub highs: Vec<Option<Round>>,
    /// One signature for each signer, in signer order.
    pub signatures: Vec<Signature>,
    /// The QC1 of the greatest high round; none if no signer stated one.
    pub high: Option<Certificate>,
}

/// Why a round may be entered and what its leader is free to propose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Justification {
    /// A QC1 of the previous round.
    Quorum(Certificate),
    /// A quorum gave the previous round up.
    Timeout(TimeoutCertificate),
}

impl Justification {
    /// The height that it belongs to.
    pub(crate) fn height(&self) -> Height {
        match self {
            Self::Quorum(certificate) => certificate.height,
            Self::Timeout(certificate) => certificate.height,
        }
    }

    /// The round that it is of: it justifies the next one.
    pub(crate) fn round(&self) -> Round {
        match self {
            Self::Quorum(certificate) => certificate.round,
            Self::Timeout(certificate) => certificate.round,
        }
    }
}

/// A leader's proposal. The signature covers the header through its digest, not the justification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's [`Content::Propose`].
    pub vote: Signed,
    /// The header whose [`header_digest`] is proposed.
    #[serde(with = "serde_bytes")]
    pub header: Vec<u8>,
    /// None in round 0, required in every later round.
    pub justification: Option<Justification>,
}

/// A timeout with the certificate that proves its high round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutVote {
    /// The [`Content::Timeout`].
    pub vote: Signed,
    /// The QC1 of the stated high round, if one was stated.
    pub high: Option<Certificate>,
}

/// A decided header with its QC2: proof enough for whoever knows the validator set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The QC2.
    pub certificate: Certificate,
    /// The header whose digest the QC2 names.
    #[serde(with = "serde_bytes")]
    pub header: Vec<u8>,
}

/// Everything that consensus sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A leader's proposal.
    Proposal(Proposal),
    /// A [`Content::Vote1`] or [`Content::Vote2`].
    Vote(Signed),
    /// A timeout.
    Timeout(TimeoutVote),
    /// A QC1 or QC2 alone: sent again by who entered a round through it, or lacks the header.
    Quorum(Certificate),
    /// A TC alone: sent again by who entered the next round through it.
    TimeoutQuorum(TimeoutCertificate),
    /// A decision, in answer to [`Message::Status`].
    Commit(Commit),
    /// "I am deciding this height": unsigned, for neighbours only, and the only message that is answered.
    Status {
        /// The height that the sender has not decided.
        height: Height,
    },
}

impl Message {
    /// The height that the message is about.
    #[must_use]
    pub fn height(&self) -> Height {
        match self {
            Self::Proposal(proposal) => proposal.vote.statement.height,
            Self::Vote(vote) => vote.statement.height,
            Self::Timeout(timeout) => timeout.vote.statement.height,
            Self::Quorum(certificate) => certificate.height,
            Self::TimeoutQuorum(certificate) => certificate.height,
            Self::Commit(commit) => commit.certificate.height,
            Self::Status { height } => *height,
        }
    }

    /// The signed statement that the message carries, if it is one validator's.
    #[must_use]
    pub fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Proposal(proposal) => Some(&proposal.vote),
            Self::Vote(vote) => Some(vote),
            Self::Timeout(timeout) => Some(&timeout.vote),
            _ => None,
        }
    }
}

impl Proposal {
    /// The proposed header's digest (zero if the statement is no proposal, which a check refuses).
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.vote.statement.digest().unwrap_or(Digest::ZERO)
    }
}

impl Commit {
    /// The decided height.
    #[must_use]
    pub fn height(&self) -> Height {
        self.certificate.height
    }

    /// The decided header's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.certificate.digest
    }
}

impl Statement {
    /// The digest that the statement names; a timeout names none.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self.content {
            Content::Propose(digest) | Content::Vote1(digest) | Content::Vote2(digest) => Some(digest),
            Content::Timeout(_) => None,
        }
    }

    /// Whether no correct validator signs both.
    ///
    /// Two contents of one kind in one round, or a `Vote2` in round r beside a timeout of a round
    /// r' >= r that denies it: after the vote the high round is at least r, and after the timeout the
    /// vote is forbidden.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        use Content::{Propose, Timeout, Vote1, Vote2};
        if self.height != other.height {
            return false;
        }
        let same_round = self.round == other.round;
        match (self.content, other.content) {
            (Propose(a), Propose(b)) | (Vote1(a), Vote1(b)) | (Vote2(a), Vote2(b)) => same_round && a != b,
            (Timeout(a), Timeout(b)) => same_round && a != b,
            (Vote2(_), Timeout(high)) => other.round >= self.round && high < Some(self.round),
            (Timeout(high), Vote2(_)) => self.round >= other.round && high < Some(other.round),
            _ => false,
        }
    }
}

/// Two statements of one validator that no correct validator signs both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The statement that was seen first.
    pub first: Signed,
    /// The one that conflicts with it.
    pub second: Signed,
}

impl Evidence {
    /// Whether the two statements convict their signer, given that both signatures are valid.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        self.first.signer == self.second.signer && self.first.statement.conflicts_with(&self.second.statement)
    }
}

/// One signature to verify before a message may enter the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureClaim {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// The exact bytes.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

impl SignatureClaim {
    /// The same claim as `regatta_base::keyring::verify_all` takes it.
    #[must_use]
    pub fn as_claim(&self) -> Claim<'_> {
        Claim {
            key: self.key,
            message: &self.message,
            signature: self.signature,
        }
    }
}
