//! Rounds: entering, leading, giving up.

use crate::{
    core::Core,
    height::reaches,
    io::{Draft, Effect, WalRecord},
    mutants::mutant,
    tally::Counted,
    types::{Evidence, HEADER_BYTES_MAX, Justification, Signed, TimeoutCertificate, TimeoutVote, header_digest},
};
use regatta_base::Round;

impl Core {
    /// Payload is pending: the round starts to count, and a leader may build.
    pub(crate) fn work(&mut self, out: &mut Vec<Effect>) {
        if self.state.decided.is_some() {
            return;
        }
        self.state.work = true;
        self.activate(out);
        self.lead(out);
    }

    /// The first sign of life at this height starts the round timer; an idle network stays silent.
    pub(crate) fn activate(&mut self, out: &mut Vec<Effect>) {
        if !self.state.active {
            self.state.active = true;
            self.arm_timer(out);
            self.skip_silent(out);
        }
    }

    /// Δ_r = base * (3 + 2r), capped.
    pub(crate) fn arm_timer(&mut self, out: &mut Vec<Effect>) {
        if self.voter().is_none() || reaches(self.state.own.timeout.as_ref(), self.state.round) {
            return;
        }
        self.timers += 1;
        self.state.timer = Some(self.timers);
        let factor = 3 + 2 * u64::from(self.state.round);
        let after = self.config.timeout_base_ms.saturating_mul(factor);
        out.push(Effect::SetTimer {
            id: self.timers,
            after_ms: after.min(self.config.timeout_cap_ms),
        });
    }

    pub(crate) fn timer(&mut self, id: u64, out: &mut Vec<Effect>) {
        if self.state.timer == Some(id) {
            self.give_up(out);
        }
    }

    /// Rule "enter (h, r)": forward only. What was decided about earlier rounds stays in `own`.
    pub(crate) fn enter(&mut self, round: Round, entry: Option<Justification>, out: &mut Vec<Effect>) {
        // A QC1 of this very round is logged with the vote for it.
        if let Some(entry) = entry.as_ref().filter(|entry| entry.round() < round)
            && self.voter().is_some()
        {
            out.push(Effect::Persist(WalRecord::Entry(entry.clone())));
        }
        self.state.round = round;
        self.state.entry = entry;
        self.state.proposal = None;
        self.state.building = false;
        self.state.active = true;
        self.state.tally.prune(round);
        self.arm_timer(out);
        self.lead(out);
        self.skip_silent(out);
    }

    /// Rule "leader(h, r)": a new value in round 0 and wherever nobody in the TC was locked, otherwise
    /// the value of the QC1 that entered this round, or of the TC's high one.
    pub(crate) fn lead(&mut self, out: &mut Vec<Effect>) {
        let (height, round) = (self.height, self.state.round);
        if !self.may_propose() {
            return;
        }
        let locked = match &self.state.entry {
            Some(Justification::Timeout(certificate)) => certificate.high.as_ref().map(|high| high.digest),
            Some(Justification::Quorum(certificate)) if certificate.round < round => Some(certificate.digest),
            None if round == 0 => None,
            // Entered without a certificate of the round before: there is nothing to justify a proposal with.
            _ => return,
        };
        match locked {
            Some(digest) => match self.state.headers.get(&digest).cloned() {
                Some(header) => self.propose(header, out),
                None => self.want(digest, out),
            },
            None if self.state.work && !self.state.building => {
                self.state.building = true;
                self.forget_ahead();
                out.push(Effect::Build {
                    height,
                    round,
                    parent: None,
                });
            }
            None => {}
        }
    }

    pub(crate) fn built(&mut self, header: Vec<u8>, out: &mut Vec<Effect>) {
        if self.state.building && self.may_propose() && header.len() <= HEADER_BYTES_MAX {
            let digest = header_digest(&header);
            self.learn((digest, header.clone()), true);
            self.propose(header, out);
        }
    }

    fn may_propose(&self) -> bool {
        let round = self.state.round;
        let own = &self.state.own;
        let done = reaches(own.propose.as_ref(), round) || reaches(own.timeout.as_ref(), round);
        !done && self.voter() == Some(self.leader())
    }

    fn propose(&mut self, header: Vec<u8>, out: &mut Vec<Effect>) {
        let Some(signer) = self.voter() else { return };
        let (height, round) = (self.height, self.state.round);
        let justification = self.state.entry.clone();
        let record = WalRecord::Propose {
            height,
            round,
            header: header.clone(),
            justification: justification.clone(),
        };
        let draft = Draft::proposal((signer, height, round), header, justification);
        self.say(record, &draft, out);
        self.state.own.propose = Some(draft);
    }

    /// Rule "timer | invalid proposal | leader equivocated": persist, then `Timeout(h, r, high)`, once.
    pub(crate) fn give_up(&mut self, out: &mut Vec<Effect>) {
        let (height, round) = (self.height, self.state.round);
        let Some(signer) = self.voter() else { return };
        if reaches(self.state.own.timeout.as_ref(), round) {
            return;
        }
        self.state.timer = None;
        self.note_missed();
        let mut high = self.state.high.clone();
        if mutant!(self, timeout_without_high) {
            high = None;
        }
        let record = WalRecord::Timeout {
            height,
            round,
            high: high.clone(),
        };
        let draft = Draft::timeout((signer, height, round), high);
        self.say(record, &draft, out);
        self.state.own.timeout = Some(draft);
    }

    /// Rules "quorum -> TC -> r' + 1" and "weak quorum of Timeout(r' >= r) -> join at r'".
    pub(crate) fn timeout_vote(&mut self, timeout: TimeoutVote, out: &mut Vec<Effect>) {
        if self.state.is_over() {
            return;
        }
        self.activate(out);
        if let Some(high) = &timeout.high {
            self.quorum(high.clone(), out);
        }
        if self.state.is_over() {
            return;
        }
        let vote = timeout.vote;
        self.accuse_contradiction(&vote, out);
        let weight = self.config.scope.validators().weight(vote.signer);
        match self.state.tally.add_timeout(timeout, weight, self.state.round) {
            Counted::New { before, after } => {
                if self.crosses_quorum(before, after) {
                    let size = self.config.scope.validators().len();
                    let certificate = self.state.tally.timeout_certificate(&vote, size);
                    self.timeout_quorum(certificate, out);
                }
                self.join(out);
            }
            Counted::Conflict(first) => self.accuse(first, vote, out),
            Counted::Again | Counted::OutOfWindow => {}
        }
    }

    fn join(&mut self, out: &mut Vec<Effect>) {
        let Some(round) = self.state.tally.weak_round(self.config.scope.validators()) else {
            return;
        };
        if round > self.state.round {
            self.enter(round, None, out);
        }
        if round == self.state.round {
            self.give_up(out);
        }
    }

    /// Rule "enter (h, r) on TC(h, r - 1)".
    pub(crate) fn timeout_quorum(&mut self, certificate: TimeoutCertificate, out: &mut Vec<Effect>) {
        if certificate.round >= self.state.round && !self.state.is_over() {
            self.enter(certificate.round + 1, Some(Justification::Timeout(certificate)), out);
        }
    }

    /// Reports two conflicting statements, once for each signer and height.
    pub(crate) fn accuse(&mut self, first: Signed, second: Signed, out: &mut Vec<Effect>) {
        if self.state.accused.insert(second.signer) {
            out.push(Effect::Evidence(Evidence { first, second }));
        }
    }

    /// Reports `vote` if it conflicts with an earlier statement of another kind.
    pub(crate) fn accuse_contradiction(&mut self, vote: &Signed, out: &mut Vec<Effect>) {
        if let Some(earlier) = self.state.tally.contradiction(vote) {
            self.accuse(earlier, *vote, out);
        }
    }

    /// Whether the weight became a quorum just now.
    pub(crate) fn crosses_quorum(&self, before: u64, after: u64) -> bool {
        let validators = self.config.scope.validators();
        if mutant!(self, loose_quorum) {
            let two_thirds = |weight: u64| 3 * weight >= 2 * validators.total();
            return two_thirds(after) && !two_thirds(before);
        }
        validators.is_quorum(after) && !validators.is_quorum(before)
    }
}
