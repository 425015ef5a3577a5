//! Effects in words, for traces.

use super::archive::{header_name, label};
use crate::{Certificate, Content, Effect, Statement, WalRecord, header_digest};
use regatta_base::Digest;
use std::collections::BTreeMap;

type Headers = BTreeMap<Digest, Vec<u8>>;

/// What `who` does.
pub(super) fn words(who: u16, effect: &Effect, headers: &Headers) -> String {
    match effect {
        Effect::Persist(record) => format!("logs {}", of_record(record, headers)),
        Effect::SignSend(draft) => format!("says {}", of_statement(&draft.statement, headers)),
        Effect::Broadcast(message) => format!("tells {}", label(who, message, headers)),
        Effect::SetTimer { after_ms, .. } => format!("waits {after_ms} ms"),
        Effect::Build {
            height,
            round,
            parent: None,
        } => format!("builds {height}/{round}"),
        Effect::Build { height, round, .. } => format!("builds {height}/{round} ahead"),
        Effect::Prefetch(_) => "prefetches".to_owned(),
        Effect::Validate(proposal) => format!("validates {}", of_statement(&proposal.vote.statement, headers)),
        Effect::Decide(commit) => format!("decides {}", of_certificate(&commit.certificate, headers)),
        Effect::Evidence(evidence) => {
            let both = [evidence.first, evidence.second].map(|said| of_statement(&said.statement, headers));
            format!("accuses {}: {}", evidence.first.signer, both.join(", "))
        }
        Effect::NeedSync { height } => format!("needs blocks to {height}"),
        Effect::NeedHeader { height, digest } => format!("needs {} at {height}", header_name(digest, headers)),
        Effect::Behind { height } => format!("helps from {height}"),
    }
}

fn of_statement(statement: &Statement, headers: &Headers) -> String {
    let (kind, what) = match &statement.content {
        Content::Propose(digest) => ("propose", header_name(digest, headers)),
        Content::Vote1(digest) => ("vote1", header_name(digest, headers)),
        Content::Vote2(digest) => ("vote2", header_name(digest, headers)),
        Content::Timeout(None) => ("timeout", "-".to_owned()),
        Content::Timeout(Some(high)) => ("timeout", format!("high:{high}")),
    };
    format!("{kind} {}/{} {what}", statement.height, statement.round)
}

fn of_certificate(certificate: &Certificate, headers: &Headers) -> String {
    let signers: Vec<String> = certificate.signers.iter().map(|signer| signer.to_string()).collect();
    let said = of_statement(&certificate.statement(), headers);
    format!("{said} by {}", signers.join(" "))
}

fn of_record(record: &WalRecord, headers: &Headers) -> String {
    let at = |round: u32, content| {
        let height = record.height();
        of_statement(&Statement { height, round, content }, headers)
    };
    match record {
        WalRecord::Propose { round, header, .. } => at(*round, Content::Propose(header_digest(header))),
        WalRecord::Vote1 { round, digest, .. } => at(*round, Content::Vote1(*digest)),
        WalRecord::FirstVote { round, header, .. } => at(*round, Content::Vote1(header_digest(header))),
        WalRecord::Vote2 { quorum } => format!("vote2 on {}", of_certificate(quorum, headers)),
        WalRecord::Timeout { round, high, .. } => at(*round, Content::Timeout(high.as_ref().map(|high| high.round))),
        WalRecord::Entry(certificate) => format!("entry {}/{}", certificate.height(), certificate.round() + 1),
        WalRecord::Decide(commit) => format!("decision {}", of_certificate(&commit.certificate, headers)),
    }
}
