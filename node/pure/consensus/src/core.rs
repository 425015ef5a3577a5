//! The step function: inputs in, effects out, one height after the other.

use crate::{
    ahead::Ahead,
    check::Scope,
    future::FutureBuffer,
    height::HeightState,
    io::{Config, Draft, Effect, Input, WalRecord},
    mutants::mutant,
    silence::Silence,
    types::{Justification, Message},
};
use regatta_base::{Height, Round};
use std::cmp::Ordering;

/// One node's part in one consensus instance.
#[derive(Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) height: Height,
    /// Own signer index at this height.
    pub(crate) index: Option<u16>,
    pub(crate) state: HeightState,
    pub(crate) ahead: Ahead,
    pub(crate) silence: Silence,
    pub(crate) future: FutureBuffer,
    /// Records of heights not yet reached: the log may be ahead of the layer above.
    pub(crate) restored: Vec<WalRecord>,
    pub(crate) timers: u64,
    /// Where the last retry tick found the core.
    retry_mark: Option<(Height, Round)>,
    sync_asked: bool,
    #[cfg(test)]
    pub(crate) knobs: crate::mutants::Knobs,
}

impl Core {
    /// A core that has never voted.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            height: config.height,
            index: config.scope.index_of(config.key.as_ref()),
            config,
            state: HeightState::default(),
            ahead: Ahead::default(),
            silence: Silence::default(),
            future: FutureBuffer::default(),
            restored: Vec::new(),
            timers: 0,
            retry_mark: None,
            sync_asked: false,
            #[cfg(test)]
            knobs: crate::mutants::Knobs::default(),
        }
    }

    /// A core that stands by everything in `records`, the log of its earlier runs in order.
    ///
    /// Records below `config.height` are ignored. The first input must be [`Input::Start`].
    #[must_use]
    pub fn recover(config: Config, records: &[WalRecord]) -> Self {
        let mut core = Self::new(config);
        core.restored = records.to_vec();
        core.restore();
        core
    }

    /// [`Core::recover`] with defects.
    #[cfg(test)]
    pub(crate) fn recover_with(config: Config, records: &[WalRecord], knobs: crate::mutants::Knobs) -> Self {
        let mut core = Self::new(config);
        core.knobs = knobs;
        core.restored = records.to_vec();
        core.restore();
        core
    }

    /// The height being decided.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// The current round of that height.
    #[must_use]
    pub fn round(&self) -> Round {
        self.state.round
    }

    /// Whether something happens at this height: its round timer runs.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state.active
    }

    /// The signer who leads the current round.
    #[must_use]
    pub fn leader(&self) -> u16 {
        self.config.scope.validators().leader(self.height, self.state.round)
    }

    /// Takes one input and appends what is to be done, in order, to `effects`.
    ///
    /// Inputs that no longer fit (a stale timer, an answer for an earlier round) change nothing. A
    /// malformed message changes nothing either, but its signatures are taken as verified.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Start => self.start(effects),
            Input::Work => self.work(effects),
            Input::Recv(message) => self.receive(message, effects),
            Input::Timer(id) => self.timer(id, effects),
            Input::Built { height, round, header } => {
                if (height, round) == (self.height, self.state.round) {
                    self.built(header, effects);
                } else if (height, round) == (self.height + 1, 0) {
                    self.built_ahead(header, effects);
                }
            }
            Input::Validated {
                height,
                round,
                digest,
                ok,
            } => {
                if (height, round) == (self.height, self.state.round) {
                    self.validated(digest, ok, effects);
                }
            }
            Input::Header(header) => self.header(header, effects),
            Input::Applied { height, validators } => {
                if height == self.height {
                    let next =
                        validators.map_or_else(|| self.config.next_scope.clone(), |set| self.config.scope.of(set));
                    let scope = std::mem::replace(&mut self.config.next_scope, next);
                    self.advance(height, scope, effects);
                }
            }
            Input::Synced { height, validators } => {
                if height >= self.height {
                    let [scope, next] = validators.map(|set| self.config.scope.of(set));
                    self.config.next_scope = next;
                    self.advance(height, scope, effects);
                }
            }
            Input::Heard { key, height } => self.heard(&key, height),
            Input::Released { speaks_from } => {
                // What was said since must not be taken back, nor what is going on be joined half-way.
                if speaks_from > self.height + 1 {
                    self.config.speaks_from = speaks_from.min(self.config.speaks_from);
                }
            }
            Input::Retry => self.retry(effects),
        }
    }

    /// The frame of signatures at `height`: known for the height being decided and the next one.
    #[must_use]
    pub fn scope_at(&self, height: Height) -> Option<&Scope> {
        match height.checked_sub(self.height) {
            Some(0) => Some(&self.config.scope),
            Some(1) => Some(&self.config.next_scope),
            _ => None,
        }
    }

    /// Own signer index, while this node may still make statements at this height.
    pub(crate) fn voter(&self) -> Option<u16> {
        self.index
            .filter(|_| !self.state.is_over() && self.may_speak_at(self.height))
    }

    /// Whether what this node says at `height` cannot contradict what it said there and forgot.
    pub(crate) fn may_speak_at(&self, height: Height) -> bool {
        height >= self.config.speaks_from || mutant!(self, forget_amnesia)
    }

    /// Whether this node knows all that it ever said: then where it stands tells others something.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.height >= self.config.speaks_from
    }

    /// Puts a statement into the log and then on its way.
    pub(crate) fn say(&self, record: WalRecord, draft: &Draft, out: &mut Vec<Effect>) {
        let persist = Effect::Persist(record);
        let send = Effect::SignSend(draft.clone());
        if mutant!(self, persist_late) {
            out.extend([send, persist]);
        } else {
            out.extend([persist, send]);
        }
    }

    fn receive(&mut self, message: Message, out: &mut Vec<Effect>) {
        match self.scope_at(message.height()) {
            Some(scope) if message.check(scope).is_err() => return,
            _ => {}
        }
        self.note_signers(&message);
        match message.height().cmp(&self.height) {
            Ordering::Less => self.receive_late(&message, out),
            Ordering::Greater => self.receive_early(message, out),
            Ordering::Equal => self.receive_now(message, out),
        }
    }

    /// Whoever signed the message is alive.
    fn note_signers(&mut self, message: &Message) {
        let height = message.height();
        match message {
            Message::Quorum(certificate) => self.heard_all(&certificate.signers, height),
            Message::TimeoutQuorum(certificate) => self.heard_all(&certificate.signers, height),
            Message::Commit(commit) => self.heard_all(&commit.certificate.signers, height),
            _ => {}
        }
        let member = message
            .signed()
            .and_then(|signed| self.scope_at(height)?.validators().get(signed.signer));
        if let Some(key) = member.map(|member| member.key) {
            self.heard(&key, height);
        }
    }

    /// Of messages about decided heights only a status gets an answer: answering others is a storm.
    fn receive_late(&self, message: &Message, out: &mut Vec<Effect>) {
        if let Message::Status { height } = message {
            out.push(Effect::Behind { height: *height });
        }
    }

    fn receive_early(&mut self, message: Message, out: &mut Vec<Effect>) {
        let claimed = match &message {
            Message::Commit(commit) => Some(commit.height()),
            Message::Status { height } => Some(height - 1),
            // Votes for the next height overtake the last votes of this one all the time.
            other => Some(other.height() - 1).filter(|decided| *decided > self.height),
        };
        if let Some(height) = claimed.filter(|_| !self.sync_asked) {
            self.sync_asked = true;
            out.push(Effect::NeedSync { height });
        }
        // Beyond the next height the validators are not known yet, so that nothing was verified.
        if message.height() == self.height + 1 && message.signed().is_some() {
            self.activate(out);
            self.keep_ahead(message, out);
        }
    }

    fn receive_now(&mut self, message: Message, out: &mut Vec<Effect>) {
        if self.state.decided.is_some() {
            return;
        }
        match message {
            Message::Proposal(proposal) => self.proposal(proposal, out),
            Message::Vote(vote) => self.vote(vote, out),
            Message::Timeout(timeout) => self.timeout_vote(timeout, out),
            Message::Quorum(certificate) => self.quorum(certificate, out),
            Message::TimeoutQuorum(certificate) => self.timeout_quorum(certificate, out),
            Message::Commit(commit) => self.decide(commit, out),
            Message::Status { .. } => {}
        }
    }

    /// Enters the height after `done`, which the validators of `scope` decide.
    fn advance(&mut self, done: Height, scope: Scope, out: &mut Vec<Effect>) {
        self.index = scope.index_of(self.config.key.as_ref());
        self.config.scope = scope;
        self.height = done + 1;
        self.state = HeightState::default();
        self.take_ahead(self.height);
        self.sync_asked = false;
        self.restore();
        if self.state.active {
            self.resume(out);
        }
        for message in self.future.take(self.height) {
            self.receive(message, out);
        }
    }

    fn restore(&mut self) {
        let records = std::mem::take(&mut self.restored);
        let (due, later): (Vec<_>, Vec<_>) = records
            .into_iter()
            .filter(|record| record.height() >= self.height)
            .partition(|record| record.height() == self.height);
        self.restored = later;
        for record in &due {
            if !self.forgets(record) {
                self.state.restore(record, self.index);
            }
        }
        let entered_by = self.state.entry.as_ref().map(|entry| entry.round() + 1);
        self.state.entry.take_if(|_| entered_by != Some(self.state.round));
        if mutant!(self, forget_lock) {
            self.state.high = None;
        }
    }

    fn forgets(&self, record: &WalRecord) -> bool {
        match record {
            WalRecord::Vote1 { .. } | WalRecord::FirstVote { .. } | WalRecord::Timeout { .. } => {
                mutant!(self, forget_votes)
            }
            WalRecord::Propose { .. } => mutant!(self, forget_proposal),
            _ => false,
        }
    }

    fn start(&mut self, out: &mut Vec<Effect>) {
        if self.state.active {
            self.resume(out);
        } else {
            out.push(Effect::Broadcast(Message::Status { height: self.height }));
        }
    }

    /// Goes on with a height that the log knows about.
    fn resume(&mut self, out: &mut Vec<Effect>) {
        if let Some(commit) = &self.state.decided {
            out.push(Effect::Decide(commit.clone()));
            return;
        }
        self.arm_timer(out);
        self.send_again(out);
        self.lead(out);
        self.skip_silent(out);
    }

    fn retry(&mut self, out: &mut Vec<Effect>) {
        self.sync_asked = false;
        let here = (self.height, self.state.round);
        let stuck = self.retry_mark.replace(here) == Some(here);
        if stuck && self.state.active && self.state.decided.is_none() {
            self.send_again(out);
        }
    }

    /// Own statements of this round, how it was entered, and a status to learn of a decision.
    fn send_again(&self, out: &mut Vec<Effect>) {
        let height = self.height;
        out.push(Effect::Broadcast(Message::Status { height }));
        out.extend(self.state.wanted.map(|digest| Effect::NeedHeader { height, digest }));
        if let Some(certificate) = &self.state.undelivered {
            out.push(Effect::Broadcast(Message::Quorum(certificate.clone())));
            return;
        }
        out.extend(self.state.entry.clone().map(|entry| {
            Effect::Broadcast(match entry {
                Justification::Quorum(certificate) => Message::Quorum(certificate),
                Justification::Timeout(certificate) => Message::TimeoutQuorum(certificate),
            })
        }));
        let own = self.state.own.of_round(self.state.round);
        out.extend(own.cloned().map(Effect::SignSend));
    }
}

#[cfg(test)]
mod tests;
