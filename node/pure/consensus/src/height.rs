//! Everything that one height needs; thrown away when the height is left.

use crate::{
    io::{Draft, WalRecord},
    tally::Tally,
    types::{Certificate, Commit, Content, Justification, Proposal},
};
use regatta_base::{Digest, Round};
use std::collections::BTreeSet;

/// Headers kept for one height; the oldest that nobody is locked on gives way.
const HEADERS_MAX: usize = 8;

/// The state of the height being decided.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeightState {
    /// The current round.
    pub(crate) round: Round,
    /// The layer above has payload for this height.
    pub(crate) work: bool,
    /// Something happens at this height: the round timer runs and messages are sent again.
    pub(crate) active: bool,
    /// The id of the running round timer.
    pub(crate) timer: Option<u64>,
    /// A header for the current round was asked for.
    pub(crate) building: bool,
    /// Own latest statements.
    pub(crate) own: Own,
    /// The QC1 of the own latest `Vote2`: the lock.
    pub(crate) high: Option<Certificate>,
    /// The certificate through which the current round was entered.
    pub(crate) entry: Option<Justification>,
    /// Votes and timeouts.
    pub(crate) tally: Tally,
    /// The first safe proposal of the current round.
    pub(crate) proposal: Option<Proposal>,
    /// Known headers.
    pub(crate) headers: Headers,
    /// The digest of a header that is needed and missing.
    pub(crate) wanted: Option<Digest>,
    /// A QC2 whose header is missing.
    pub(crate) undelivered: Option<Certificate>,
    /// The decision.
    pub(crate) decided: Option<Commit>,
    /// Signers already accused.
    pub(crate) accused: BTreeSet<u16>,
}

/// The latest own statement of each kind. Their rounds are what the voting rules compare with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    pub(crate) propose: Option<Draft>,
    pub(crate) vote1: Option<Draft>,
    pub(crate) vote2: Option<Draft>,
    pub(crate) timeout: Option<Draft>,
}

impl HeightState {
    /// No more voting: the decision is known.
    pub(crate) fn is_over(&self) -> bool {
        self.decided.is_some() || self.undelivered.is_some()
    }

    /// Restores what `record` (of this height) says; `signer` is the own index. Without one there are no
    /// statements to stand by: the log of a follower holds decisions only.
    pub(crate) fn restore(&mut self, record: &WalRecord, signer: Option<u16>) {
        self.active = true;
        let Some(signer) = signer else {
            if let WalRecord::Decide(commit) = record {
                self.decided = Some(commit.clone());
            }
            return;
        };
        match record.clone() {
            WalRecord::Propose {
                height,
                round,
                header,
                justification,
            } => {
                let digest = crate::types::header_digest(&header);
                self.headers.insert((digest, header.clone()), true, None);
                self.headers.log(&digest);
                let draft = Draft::proposal((signer, height, round), header, justification);
                self.own.propose = Some(draft);
                self.round = self.round.max(round);
            }
            WalRecord::Vote1 { height, round, digest } => {
                self.own.vote1 = Some(Draft::vote(signer, height, round, Content::Vote1(digest)));
                self.round = self.round.max(round);
            }
            WalRecord::FirstVote { height, round, header } => {
                let digest = crate::types::header_digest(&header);
                self.headers.insert((digest, header), false, None);
                self.headers.log(&digest);
                self.own.vote1 = Some(Draft::vote(signer, height, round, Content::Vote1(digest)));
                self.round = self.round.max(round);
            }
            WalRecord::Vote2 { quorum } => {
                let content = Content::Vote2(quorum.digest);
                self.own.vote2 = Some(Draft::vote(signer, quorum.height, quorum.round, content));
                self.round = self.round.max(quorum.round);
                self.high = Some(quorum);
            }
            WalRecord::Timeout { height, round, high } => {
                self.own.timeout = Some(Draft::timeout((signer, height, round), high));
                self.round = self.round.max(round);
            }
            WalRecord::Entry(entry) => {
                self.round = self.round.max(entry.round() + 1);
                self.entry = Some(entry);
            }
            WalRecord::Decide(commit) => self.decided = Some(commit),
        }
    }
}

impl Own {
    /// The own statements of `round`, in the order in which they were made.
    pub(crate) fn of_round(&self, round: Round) -> impl Iterator<Item = &Draft> {
        let all = [&self.propose, &self.vote1, &self.vote2, &self.timeout];
        all.into_iter().flatten().filter(move |draft| draft.round() == round)
    }
}

/// Whether `draft` is from `round` or a later one.
pub(crate) fn reaches(draft: Option<&Draft>, round: Round) -> bool {
    draft.is_some_and(|draft| draft.round() >= round)
}

/// Headers by digest, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(Vec<KnownHeader>);

#[derive(Debug, Clone)]
struct KnownHeader {
    digest: Digest,
    bytes: Vec<u8>,
    valid: bool,
    /// A record of this node holds it.
    logged: bool,
}

impl Headers {
    /// Adds a header unless it is known; `valid` if the layer above stands by it. At the limit the
    /// oldest goes, but never the one with digest `locked`.
    pub(crate) fn insert(&mut self, (digest, bytes): (Digest, Vec<u8>), valid: bool, locked: Option<Digest>) {
        if self.get(&digest).is_none() {
            self.0.push(KnownHeader {
                digest,
                bytes,
                valid,
                logged: false,
            });
        }
        if self.0.len() > HEADERS_MAX {
            let oldest = self.0.iter().position(|known| Some(known.digest) != locked);
            oldest.map(|place| self.0.remove(place));
        }
        if valid {
            self.set_valid(&digest);
        }
    }

    /// The bytes of the header with this digest.
    pub(crate) fn get(&self, digest: &Digest) -> Option<&Vec<u8>> {
        self.0
            .iter()
            .find(|known| known.digest == *digest)
            .map(|known| &known.bytes)
    }

    /// The bytes of a known header if no record held it so far; from now on one does.
    pub(crate) fn log(&mut self, digest: &Digest) -> Option<Vec<u8>> {
        let known = self.0.iter_mut().find(|known| known.digest == *digest)?;
        (!std::mem::replace(&mut known.logged, true)).then(|| known.bytes.clone())
    }

    /// Whether the layer above found it valid.
    pub(crate) fn is_valid(&self, digest: &Digest) -> bool {
        self.0.iter().any(|known| known.digest == *digest && known.valid)
    }

    /// Notes that the layer above found it valid.
    pub(crate) fn set_valid(&mut self, digest: &Digest) {
        for known in self.0.iter_mut().filter(|known| known.digest == *digest) {
            known.valid = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::header_digest;

    #[test]
    fn headers_are_few_and_the_locked_one_stays() {
        let mut headers = Headers::default();
        let header = |byte: u8| (header_digest(&[byte]), vec![byte]);
        let locked = Some(header(0).0);
        for byte in 0..20 {
            headers.insert(header(byte), false, locked);
        }
        assert_eq!(headers.0.len(), HEADERS_MAX);
        assert_eq!(headers.get(&header(0).0), Some(&vec![0]));
        assert_eq!(headers.get(&header(1).0), None);
        assert_eq!(headers.get(&header(19).0), Some(&vec![19]));
    }

    #[test]
    fn a_header_is_logged_once() {
        let mut headers = Headers::default();
        let (digest, bytes) = (header_digest(b"a"), b"a".to_vec());
        assert_eq!(headers.log(&digest), None, "it is not here");
        headers.insert((digest, bytes.clone()), false, None);
        assert_eq!(headers.log(&digest), Some(bytes));
        assert_eq!(headers.log(&digest), None);
    }

    #[test]
    fn validity_is_remembered_and_never_taken_back() {
        let mut headers = Headers::default();
        let (digest, bytes) = (header_digest(b"a"), b"a".to_vec());
        headers.insert((digest, bytes.clone()), false, None);
        assert!(!headers.is_valid(&digest));
        headers.insert((digest, bytes.clone()), true, None);
        headers.insert((digest, bytes), false, None);
        assert!(headers.is_valid(&digest));
        assert_eq!(headers.0.len(), 1);
    }
}
