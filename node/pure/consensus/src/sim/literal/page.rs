//! One height of the translation: which statement became which message.

use super::paper::{self, Ballot, Body, Id, Kind};
use crate::{Certificate, Content, Justification, Message, Scope, Statement, TimeoutCertificate};
use regatta_base::{Digest, Height};
use std::collections::{BTreeMap, BTreeSet};

/// A statement with its signer.
pub(super) type Said = (u16, Statement);

/// One height.
pub(super) struct Page {
    height: Height,
    scope: Scope,
    pub(super) paper: paper::Height,
    ids: BTreeMap<Said, Id>,
    /// The last message that each honest signer remembers having said.
    last: BTreeMap<u16, Id>,
    /// What left its signer, or could have.
    pub(super) sent: BTreeSet<Id>,
    /// What hosts heard, in any life: a record may outlive a crash whose statement is said only later.
    heard: BTreeMap<u16, BTreeSet<Said>>,
    /// What dishonest signers said before the paper has a message for it.
    early: BTreeSet<Said>,
    /// What justified the proposals that a host heard, by round and value.
    reasons: BTreeMap<(u16, Ballot, Digest), Vec<Option<Justification>>>,
}

impl Page {
    pub(super) fn new(height: Height, scope: &Scope) -> Self {
        Self {
            height,
            scope: scope.clone(),
            paper: paper::Height::new(scope.validators().clone()),
            ids: BTreeMap::new(),
            last: BTreeMap::new(),
            sent: BTreeSet::new(),
            heard: BTreeMap::new(),
            early: BTreeSet::new(),
            reasons: BTreeMap::new(),
        }
    }

    /// A host hears a message.
    pub(super) fn hear(&mut self, host: u16, message: &Message, dishonest: impl Fn(u16) -> bool) {
        for (signer, statement) in statements(message) {
            if dishonest(signer) {
                self.early.insert((signer, statement));
            }
            self.heard.entry(host).or_default().insert((signer, statement));
        }
        if let Message::Proposal(proposal) = message {
            let place = (host, proposal.vote.statement.round, proposal.digest());
            self.reasons
                .entry(place)
                .or_default()
                .push(proposal.justification.clone());
        }
    }

    /// Writes down what dishonest signers said and could have said by now.
    pub(super) fn catch_up(&mut self) {
        for (signer, statement) in self.early.clone() {
            if self.invent(signer, statement) {
                self.early.remove(&(signer, statement));
            }
        }
    }

    /// A message of a signer who refers to nothing more than it must; whether the paper has such a message.
    fn invent(&mut self, signer: u16, statement: Statement) -> bool {
        if self.ids.contains_key(&(signer, statement)) {
            return true;
        }
        let round = statement.round;
        let (body, refs) = match statement.content {
            Content::Propose(value) => (Body::Offer(round, value), Some(BTreeSet::new())),
            Content::Vote1(value) => (
                Body::Answer,
                self.offer(round, value).map(|offer| BTreeSet::from([offer])),
            ),
            Content::Vote2(value) => {
                let answers = self.answers(round, value);
                let sealed = self.paper.sealed(&answers, Some(round)).is_some();
                (Body::Answer, Some(answers).filter(|_| sealed))
            }
            Content::Timeout(high) => (Body::Leave(round, high), Some(BTreeSet::new())),
        };
        let Some(refs) = refs else { return false };
        let id = self.paper.add(signer, body, &refs);
        self.ids.insert((signer, statement), id);
        self.sent.insert(id);
        true
    }

    /// An honest node says something for the first time.
    ///
    /// # Errors
    /// Why the paper would not let it.
    pub(super) fn say(&mut self, host: u16, (signer, statement): Said) -> Result<Kind, String> {
        if let Some(id) = self.ids.get(&(signer, statement)) {
            return Ok(self.paper.kind(*id));
        }
        let round = statement.round;
        let own: BTreeSet<Id> = self.last.get(&signer).copied().into_iter().collect();
        let (body, choices) = match statement.content {
            Content::Propose(value) => (Body::Offer(round, value), vec![BTreeSet::new()]),
            Content::Vote1(value) => (Body::Answer, self.grounds(host, (round, value), &own)),
            Content::Vote2(value) => (Body::Answer, vec![&own | &self.heard_answers(host, (round, value))]),
            Content::Timeout(high) => (Body::Leave(round, high), vec![own]),
        };
        let mut verdict = Err("it rests on nothing".to_owned());
        for refs in choices {
            let id = self.paper.add(signer, body, &refs);
            verdict = self.judge(id, statement);
            if verdict.is_ok() {
                self.ids.insert((signer, statement), id);
                if !matches!(body, Body::Offer(..)) {
                    self.last.insert(signer, id);
                }
                break;
            }
        }
        verdict
    }

    /// Whether the paper allows an honest node this message.
    fn judge(&self, id: Id, statement: Statement) -> Result<Kind, String> {
        let round = statement.round;
        let kind = self.paper.kind(id);
        let place = (self.paper.ballot(id), self.paper.value(id));
        let before = |kind: Kind, ballots: fn(Option<Ballot>, Ballot) -> bool| {
            let mut own = self
                .paper
                .own(id)
                .filter(|own| *own != id && self.paper.kind(*own) == kind);
            own.any(|own| ballots(self.paper.ballot(own), round))
        };
        let same = |ballot: Option<Ballot>, round| ballot == Some(round);
        let left = before(Kind::Leave, |ballot, round| ballot >= Some(round));
        let wrong = match statement.content {
            Content::Propose(value) => self
                .other_offer(id, round, value)
                .then_some("a second 1a in one ballot"),
            Content::Vote1(value) if kind != Kind::OneB || place != (Some(round), Some(value)) => Some("no such 1b"),
            Content::Vote2(value) if kind != Kind::TwoA || place != (Some(round), Some(value)) => Some("no such 2a"),
            Content::Vote1(_) | Content::Vote2(_) if left => Some("an answer after leaving"),
            Content::Vote1(_) if before(Kind::OneB, same) => Some("a second 1b in one ballot"),
            Content::Vote1(_) if !self.paper.fresh(id) => Some("a 1b that is not fresh"),
            Content::Vote2(_) if before(Kind::TwoA, same) => Some("a second 2a in one ballot"),
            Content::Timeout(_) if before(Kind::Leave, same) => Some("a second leave of one ballot"),
            Content::Timeout(high) if self.paper.greatest_2a(id) != high => Some("not its greatest 2a"),
            _ => None,
        };
        wrong.map_or(Ok(kind), |wrong| Err(wrong.to_owned()))
    }

    /// Whether a 1b is fresh without what quorums of leaves free.
    pub(super) fn is_fresh_on_paper(&self, said: Said) -> bool {
        self.ids.get(&said).is_some_and(|id| self.paper.fresh_on_paper(*id))
    }

    fn other_offer(&self, id: Id, round: Ballot, value: Digest) -> bool {
        let own = self.ids.iter().filter(|(_, other)| **other != id);
        let mut offers = own.filter(|((_, statement), _)| statement.round == round);
        let leader = self.scope.validators().leader(self.height, round);
        offers.any(|((signer, statement), _)| {
            matches!(statement.content, Content::Propose(other) if other != value) && *signer == leader
        })
    }

    /// The sets of references that may justify a `Vote1`: one for each proposal of the value that was heard.
    fn grounds(&self, host: u16, (round, value): (Ballot, Digest), own: &BTreeSet<Id>) -> Vec<BTreeSet<Id>> {
        let Some(offer) = self.offer(round, value) else {
            return Vec::new();
        };
        let heard = self.reasons.get(&(host, round, value)).into_iter().flatten();
        let parts = heard.map(|reason| match reason {
            None => Vec::new(),
            Some(Justification::Quorum(certificate)) => parts_of(certificate),
            Some(Justification::Timeout(certificate)) => parts_of_timeouts(certificate),
        });
        let found = |parts: Vec<Said>| parts.iter().filter_map(|said| self.ids.get(said).copied()).collect();
        let ids = parts.map(|parts| -> BTreeSet<Id> { found(parts) });
        ids.map(|ids| &(own | &ids) | &BTreeSet::from([offer])).collect()
    }

    fn heard_answers(&self, host: u16, (round, value): (Ballot, Digest)) -> BTreeSet<Id> {
        let answers = self.answers(round, value);
        let heard = self.heard.get(&host).into_iter().flatten();
        let ids = heard.filter_map(|said| self.ids.get(said).copied());
        ids.filter(|id| answers.contains(id)).collect()
    }

    fn offer(&self, round: Ballot, value: Digest) -> Option<Id> {
        let content = Content::Propose(value);
        let leader = self.scope.validators().leader(self.height, round);
        self.ids.get(&(leader, self.statement(round, content))).copied()
    }

    /// Every 1b for that value in that ballot.
    fn answers(&self, round: Ballot, value: Digest) -> BTreeSet<Id> {
        self.all(self.statement(round, Content::Vote1(value)))
    }

    fn all(&self, statement: Statement) -> BTreeSet<Id> {
        let all = self.ids.iter().filter(|((_, other), _)| *other == statement);
        all.map(|(_, id)| *id).collect()
    }

    fn statement(&self, round: Ballot, content: Content) -> Statement {
        let height = self.height;
        Statement { height, round, content }
    }

    /// An own statement leaves.
    pub(super) fn send(&mut self, said: Said) {
        self.sent.extend(self.ids.get(&said));
    }

    /// A signer died and remembers what `logged` says. What it never sent never was.
    pub(super) fn forget(&mut self, signer: u16, logged: &BTreeSet<Statement>) {
        let sent = &self.sent;
        self.ids
            .retain(|(other, statement), id| *other != signer || sent.contains(id) || logged.contains(statement));
        let known = self.ids.iter().filter(|((other, statement), _)| {
            *other == signer && logged.contains(statement) && !matches!(statement.content, Content::Propose(_))
        });
        match known.map(|(_, id)| *id).max() {
            Some(last) => self.last.insert(signer, last),
            None => self.last.remove(&signer),
        };
    }

    /// Whether the 2as behind a QC2 are a decision on paper too.
    pub(super) fn decides(&self, certificate: &Certificate) -> bool {
        let parts = parts_of(certificate);
        let ids = parts.iter().filter_map(|said| self.ids.get(said).copied()).collect();
        self.paper
            .decisions(&ids)
            .contains(&(certificate.round, certificate.digest))
    }
}

/// Everything that somebody signed in a message.
fn statements(message: &Message) -> Vec<Said> {
    let mut said: Vec<Said> = message
        .signed()
        .map(|signed| (signed.signer, signed.statement))
        .into_iter()
        .collect();
    match message {
        Message::Proposal(proposal) => match &proposal.justification {
            Some(Justification::Quorum(certificate)) => said.extend(parts_of(certificate)),
            Some(Justification::Timeout(certificate)) => said.extend(parts_of_timeouts(certificate)),
            None => {}
        },
        Message::Timeout(timeout) => said.extend(timeout.high.iter().flat_map(parts_of)),
        Message::Quorum(certificate) => said.extend(parts_of(certificate)),
        Message::TimeoutQuorum(certificate) => said.extend(parts_of_timeouts(certificate)),
        Message::Commit(commit) => said.extend(parts_of(&commit.certificate)),
        Message::Vote(_) | Message::Status { .. } => {}
    }
    // Offers and first votes first: the others may rest on them.
    said.sort_by_key(|(_, statement)| statement.content);
    said
}

fn parts_of(certificate: &Certificate) -> Vec<Said> {
    let statement = certificate.statement();
    certificate.signers.iter().map(|signer| (signer, statement)).collect()
}

fn parts_of_timeouts(certificate: &TimeoutCertificate) -> Vec<Said> {
    let stated = certificate.signers.iter().zip(&certificate.highs);
    let leaves = stated.map(|(signer, high)| {
        let statement = Statement {
            height: certificate.height,
            round: certificate.round,
            content: Content::Timeout(*high),
        };
        (signer, statement)
    });
    leaves.chain(certificate.high.iter().flat_map(parts_of)).collect()
}
