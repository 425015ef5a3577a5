//! Proposals, the two votes, and the decision.

use crate::{
    core::Core,
    height::reaches,
    io::{Draft, Effect, WalRecord},
    mutants::mutant,
    tally::{Counted, subject},
    types::{Certificate, Commit, Content, Justification, Message, Phase, Proposal, Signed, header_digest},
};
use regatta_base::Digest;

impl Core {
    /// Takes a leader's proposal: enter its round if it is justified, and see whether to vote.
    pub(crate) fn proposal(&mut self, proposal: Proposal, out: &mut Vec<Effect>) {
        let (round, digest) = (proposal.vote.statement.round, proposal.digest());
        if self.state.wanted == Some(digest) {
            self.learn((digest, proposal.header.clone()), false);
            self.found(digest, out);
        }
        if self.state.is_over() {
            return;
        }
        self.activate(out);
        self.enter_by(&proposal, out);
        if round != self.state.round {
            return;
        }
        let first = self.state.proposal.as_ref().map(|first| first.vote);
        match first {
            Some(first) if first.statement.conflicts_with(&proposal.vote.statement) => {
                self.accuse(first, proposal.vote, out);
                if mutant!(self, second_vote1) {
                    self.consider(proposal, out);
                } else {
                    self.give_up(out);
                }
            }
            Some(_) => {}
            None if self.is_safe(&proposal) => self.consider(proposal, out),
            // Ignored rather than blamed: the leader's signature does not cover the justification, so
            // that a relay may have swapped it, and the same proposal may still arrive well justified.
            None => {}
        }
    }

    /// Rule "enter (h, r) on a justified Propose(h, r)".
    fn enter_by(&mut self, proposal: &Proposal, out: &mut Vec<Effect>) {
        let round = proposal.vote.statement.round;
        match &proposal.justification {
            Some(Justification::Timeout(certificate)) => self.timeout_quorum(certificate.clone(), out),
            Some(entry @ Justification::Quorum(_)) if round > self.state.round && self.is_safe(proposal) => {
                self.enter(round, Some(entry.clone()), out);
            }
            _ => {}
        }
    }

    /// Rule `Safe(h, r, v, J)`: r = 0, or J = QC1(h, r-1, v), or J = TC(h, r-1) with no high or
    /// high.value = v. That J belongs to (h, r-1) was checked with the proposal's structure.
    fn is_safe(&self, proposal: &Proposal) -> bool {
        if mutant!(self, ignore_justification) {
            return true;
        }
        let digest = proposal.digest();
        match &proposal.justification {
            None => proposal.vote.statement.round == 0,
            Some(Justification::Quorum(certificate)) => certificate.digest == digest,
            Some(Justification::Timeout(certificate)) => {
                certificate.high.as_ref().is_none_or(|high| high.digest == digest)
            }
        }
    }

    fn consider(&mut self, proposal: Proposal, out: &mut Vec<Effect>) {
        let digest = proposal.digest();
        self.learn((digest, proposal.header.clone()), false);
        self.state.proposal = Some(proposal.clone());
        let trusted = self.height > 1 && proposal.vote.statement.round == 0 && mutant!(self, trust_ahead);
        if self.state.headers.is_valid(&digest) || trusted {
            self.vote1(out);
        } else if self.voter().is_some() {
            out.push(Effect::Validate(proposal));
        }
    }

    pub(crate) fn validated(&mut self, digest: Digest, ok: bool, out: &mut Vec<Effect>) {
        if self.state.proposal.as_ref().map(Proposal::digest) != Some(digest) {
            return;
        }
        if ok {
            self.state.headers.set_valid(&digest);
            self.vote1(out);
        } else {
            self.give_up(out);
        }
    }

    /// Rule "first Safe, valid, payload-held Propose at the current r, no Timeout(r) sent -> persist; Vote1".
    ///
    /// What is persisted includes the header, which the paper takes for granted: a value that may be locked must not be lost
    /// with its proposer.
    fn vote1(&mut self, out: &mut Vec<Effect>) {
        let (height, round) = (self.height, self.state.round);
        let own = &self.state.own;
        let voted = reaches(own.vote1.as_ref(), round) && !mutant!(self, second_vote1);
        // After Vote2 of this round a Vote1 could add nothing.
        if voted || self.gave_up() || reaches(own.vote2.as_ref(), round) {
            return;
        }
        let (Some(signer), Some(proposal)) = (self.voter(), &self.state.proposal) else {
            return;
        };
        let digest = proposal.digest();
        let draft = Draft::vote(signer, height, round, Content::Vote1(digest));
        let proposed = self.state.own.propose.as_ref().map(|own| own.statement.content);
        let logged = proposed == Some(Content::Propose(digest));
        let header = self.state.headers.log(&digest).filter(|_| !logged);
        let record = match header {
            Some(header) => WalRecord::FirstVote { height, round, header },
            None => WalRecord::Vote1 { height, round, digest },
        };
        self.say(record, &draft, out);
        self.state.own.vote1 = Some(draft);
    }

    fn gave_up(&self) -> bool {
        reaches(self.state.own.timeout.as_ref(), self.state.round) && !mutant!(self, vote_after_timeout)
    }

    /// Counts a `Vote1` or `Vote2`.
    pub(crate) fn vote(&mut self, vote: Signed, out: &mut Vec<Effect>) {
        let Some(subject) = subject(&vote).filter(|_| !self.state.is_over()) else {
            return;
        };
        self.activate(out);
        self.accuse_contradiction(&vote, out);
        let weight = self.config.scope.validators().weight(vote.signer);
        match self.state.tally.add_vote(subject, vote, weight, self.state.round) {
            Counted::New { before, after } if self.crosses_quorum(before, after) => {
                let size = self.config.scope.validators().len();
                let certificate = self.state.tally.certificate(subject, &vote, size);
                self.share(&certificate, out);
                self.quorum(certificate, out);
            }
            Counted::Conflict(first) => self.accuse(first, vote, out),
            _ => {}
        }
    }

    /// Tells everybody of a certificate that only the leader of its round may have heard all votes of.
    fn share(&self, certificate: &Certificate, out: &mut Vec<Effect>) {
        let leader = self.config.scope.validators().leader(self.height, certificate.round);
        if self.config.leader_aggregates && self.voter() == Some(leader) {
            out.push(Effect::Broadcast(Message::Quorum(certificate.clone())));
        }
    }

    /// Takes a QC1 or QC2, formed here or received.
    pub(crate) fn quorum(&mut self, certificate: Certificate, out: &mut Vec<Effect>) {
        if self.state.is_over() {
            return;
        }
        self.activate(out);
        match certificate.phase {
            Phase::One if mutant!(self, decide_on_qc1) => self.decided(certificate, out),
            Phase::One => {
                self.vote2(certificate.clone(), out);
                self.build_ahead(&certificate, out);
            }
            Phase::Two => self.decided(certificate, out),
        }
    }

    /// Rules "enter (h, r) on QC1(h, r), and (h, r + 1) if r was given up" and "QC1 at the current r, no Timeout(r), no Vote2(r) sent ->
    /// persist(QC1); Vote2; high := max".
    fn vote2(&mut self, certificate: Certificate, out: &mut Vec<Effect>) {
        if certificate.round > self.state.round {
            self.enter(certificate.round, Some(Justification::Quorum(certificate.clone())), out);
        }
        if certificate.round == self.state.round && self.gave_up() {
            // As a leader may have done who showed it only to some: who gave this round up follows them.
            self.enter(certificate.round + 1, Some(Justification::Quorum(certificate)), out);
            return;
        }
        let past = certificate.round < self.state.round && !mutant!(self, vote2_in_past_round);
        if past || self.gave_up() || reaches(self.state.own.vote2.as_ref(), certificate.round) {
            return;
        }
        let Some(signer) = self.voter() else { return };
        let content = Content::Vote2(certificate.digest);
        let draft = Draft::vote(signer, self.height, certificate.round, content);
        self.state.high = Some(certificate.clone());
        self.say(WalRecord::Vote2 { quorum: certificate }, &draft, out);
        self.state.own.vote2 = Some(draft);
    }

    /// Rule "QC2 at any r -> persist; Decide", once the header is here.
    fn decided(&mut self, certificate: Certificate, out: &mut Vec<Effect>) {
        match self.state.headers.get(&certificate.digest).cloned() {
            Some(header) => self.decide(Commit { certificate, header }, out),
            None => {
                self.want(certificate.digest, out);
                self.state.undelivered = Some(certificate);
            }
        }
    }

    pub(crate) fn decide(&mut self, commit: Commit, out: &mut Vec<Effect>) {
        self.state.timer = None;
        self.state.undelivered = None;
        self.state.wanted = None;
        self.state.decided = Some(commit.clone());
        out.push(Effect::Persist(WalRecord::Decide(commit.clone())));
        out.push(Effect::Decide(commit));
    }

    /// A header fetched by digest.
    pub(crate) fn header(&mut self, header: Vec<u8>, out: &mut Vec<Effect>) {
        let digest = header_digest(&header);
        if self.state.wanted == Some(digest) {
            self.learn((digest, header), false);
            self.found(digest, out);
        }
    }

    /// Goes on with what waited for the header `digest`.
    fn found(&mut self, digest: Digest, out: &mut Vec<Effect>) {
        self.state.wanted = None;
        match self
            .state
            .undelivered
            .take_if(|certificate| certificate.digest == digest)
        {
            Some(certificate) => self.decided(certificate, out),
            None => self.lead(out),
        }
    }

    pub(crate) fn want(&mut self, digest: Digest, out: &mut Vec<Effect>) {
        if self.state.wanted.replace(digest) != Some(digest) {
            let height = self.height;
            out.push(Effect::NeedHeader { height, digest });
        }
    }

    pub(crate) fn learn(&mut self, header: (regatta_base::Digest, Vec<u8>), valid: bool) {
        let locked = self.state.high.as_ref().map(|high| high.digest);
        self.state.headers.insert(header, valid, locked);
    }
}
