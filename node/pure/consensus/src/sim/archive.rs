//! Everything that was ever sent, by what it says, so that a script can name a message.

use super::{moves::Parcel, script::kind_of};
use crate::{Certificate, Message};
use regatta_base::{Digest, Round};
use std::{collections::BTreeMap, rc::Rc};

/// Messages by label; those with one label differ in what is attached.
#[derive(Debug, Default)]
pub(super) struct Archive {
    sent: BTreeMap<String, Vec<Rc<Message>>>,
}

impl Archive {
    /// Keeps `message`, unless its like is there, and returns its name.
    pub(super) fn add(&mut self, label: String, message: &Rc<Message>) -> Parcel {
        let alike = self.sent.entry(label.clone()).or_default();
        let known = alike.iter().position(|other| other == message);
        let copy = known.unwrap_or_else(|| {
            alike.push(Rc::clone(message));
            alike.len() - 1
        });
        Parcel { label, copy }
    }

    /// The message of that name, or the last one that says the same.
    pub(super) fn find(&self, parcel: &Parcel) -> Option<Rc<Message>> {
        let alike = self.sent.get(&parcel.label)?;
        alike.get(parcel.copy).or(alike.last()).cloned()
    }
}

/// `KIND SENDER H/R WHAT`.
pub(super) fn label(from: u16, message: &Message, headers: &BTreeMap<Digest, Vec<u8>>) -> String {
    let place = match message {
        Message::Proposal(proposal) => proposal.vote.statement.round,
        Message::Vote(vote) => vote.statement.round,
        Message::Timeout(timeout) => timeout.vote.statement.round,
        Message::Quorum(certificate) => certificate.round,
        Message::TimeoutQuorum(certificate) => certificate.round,
        Message::Commit(commit) => commit.certificate.round,
        Message::Status { .. } => 0,
    };
    let what = match message {
        Message::Proposal(proposal) => header_name(&proposal.digest(), headers),
        Message::Vote(vote) => header_name(&vote.statement.digest().unwrap_or(Digest::ZERO), headers),
        Message::Timeout(timeout) => high_name(timeout.high.as_ref()),
        Message::Quorum(certificate) => {
            format!("{:?}:{}", certificate.phase, header_name(&certificate.digest, headers))
        }
        Message::TimeoutQuorum(certificate) => high_name(certificate.high.as_ref()),
        Message::Commit(commit) => header_name(&commit.digest(), headers),
        Message::Status { .. } => "-".to_owned(),
    };
    format!("{} {from} {}/{place} {what}", kind_of(message), message.height())
}

/// The text of the header with this digest, or the start of the digest.
pub(super) fn header_name(digest: &Digest, headers: &BTreeMap<Digest, Vec<u8>>) -> String {
    match headers.get(digest) {
        Some(header) => String::from_utf8_lossy(header).into_owned(),
        None => digest.to_string().chars().take(8).collect(),
    }
}

fn high_name(high: Option<&Certificate>) -> String {
    let round: Option<Round> = high.map(|high| high.round);
    round.map_or("-".to_owned(), |round| format!("high:{round}"))
}
