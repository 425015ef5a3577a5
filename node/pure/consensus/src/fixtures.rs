//! Valid messages for unit tests, signed with the simulator's fake keys.

use crate::{
    Certificate, Commit, Config, Content, Justification, Message, Phase, Proposal, Scope, Signed, Signers, Statement,
    TimeoutCertificate, TimeoutVote, header_digest,
    sim::{scope, sign},
};
use regatta_base::{Height, PublicKey, Round};

/// The header that these fixtures propose and certify.
pub(crate) const HEADER: &[u8] = b"header";

/// A follower's or validator's configuration among four equal validators, from height 1.
pub(crate) fn config(index: Option<u16>) -> Config {
    Config {
        scope: scope(&[1; 4]),
        next_scope: scope(&[1; 4]),
        key: index.map(|index| PublicKey([index as u8; 32])),
        timeout_base_ms: 100,
        timeout_cap_ms: 1_000,
        silent_heights: 1,
        speaks_from: 0,
        leader_aggregates: false,
        height: 1,
    }
}

/// A signed statement.
pub(crate) fn signed(scope: &Scope, signer: u16, height: Height, round: Round, content: Content) -> Signed {
    let statement = Statement { height, round, content };
    Signed {
        statement,
        signer,
        signature: sign(scope, signer, &statement),
    }
}

/// A certificate of the fixture header by `signers`.
pub(crate) fn certificate(scope: &Scope, phase: Phase, height: Height, round: Round, signers: &[u16]) -> Certificate {
    let digest = header_digest(HEADER);
    let content = match phase {
        Phase::One => Content::Vote1(digest),
        Phase::Two => Content::Vote2(digest),
    };
    let vote = |signer: &u16| signed(scope, *signer, height, round, content).signature;
    Certificate {
        phase,
        height,
        round,
        digest,
        signers: Signers::of(scope.validators().len(), signers.iter().copied()),
        signatures: signers.iter().map(vote).collect(),
    }
}

/// A timeout, with the QC1 of `high` by signers 0, 1 and 2.
pub(crate) fn timeout(scope: &Scope, signer: u16, height: Height, round: Round, high: Option<Round>) -> TimeoutVote {
    TimeoutVote {
        vote: signed(scope, signer, height, round, Content::Timeout(high)),
        high: high.map(|high| certificate(scope, Phase::One, height, high, &[0, 1, 2])),
    }
}

/// A TC by signers 0, 1, … with these high rounds.
pub(crate) fn timeout_certificate(
    scope: &Scope,
    height: Height,
    round: Round,
    highs: &[Option<Round>],
) -> TimeoutCertificate {
    let stated = (0u16..).zip(highs);
    let vote = |(signer, high): (u16, &Option<Round>)| timeout(scope, signer, height, round, *high).vote.signature;
    let greatest = highs.iter().copied().max().flatten();
    TimeoutCertificate {
        height,
        round,
        signers: Signers::of(scope.validators().len(), 0..highs.len() as u16),
        highs: highs.to_vec(),
        signatures: stated.map(vote).collect(),
        high: greatest.map(|high| certificate(scope, Phase::One, height, high, &[0, 1, 2])),
    }
}

/// The leader's proposal of `header`.
pub(crate) fn proposal(
    scope: &Scope,
    height: Height,
    round: Round,
    header: &[u8],
    justification: Option<Justification>,
) -> Proposal {
    let leader = scope.validators().leader(height, round);
    Proposal {
        vote: signed(scope, leader, height, round, Content::Propose(header_digest(header))),
        header: header.to_vec(),
        justification,
    }
}

/// One valid message of each kind, about height 1.
pub(crate) fn one_of_each(scope: &Scope) -> Vec<Message> {
    let digest = header_digest(HEADER);
    let locked = timeout_certificate(scope, 1, 0, &[None, Some(0), None]);
    let quorum = certificate(scope, Phase::One, 1, 0, &[0, 1, 3]);
    let commit = Commit {
        certificate: certificate(scope, Phase::Two, 1, 2, &[1, 2, 3]),
        header: HEADER.to_vec(),
    };
    vec![
        Message::Proposal(proposal(scope, 1, 0, HEADER, None)),
        Message::Proposal(proposal(
            scope,
            1,
            1,
            HEADER,
            Some(Justification::Timeout(locked.clone())),
        )),
        Message::Proposal(proposal(
            scope,
            1,
            1,
            HEADER,
            Some(Justification::Quorum(quorum.clone())),
        )),
        Message::Vote(signed(scope, 0, 1, 0, Content::Vote1(digest))),
        Message::Vote(signed(scope, 0, 1, 0, Content::Vote2(digest))),
        Message::Timeout(timeout(scope, 2, 1, 1, None)),
        Message::Timeout(timeout(scope, 2, 1, 1, Some(0))),
        Message::Quorum(quorum),
        Message::TimeoutQuorum(locked),
        Message::Commit(commit),
        Message::Status { height: 1 },
    ]
}
