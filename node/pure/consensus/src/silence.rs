//! Leaders that let a turn pass and were not heard since: their next turn is given up at once.

use crate::{core::Core, io::Effect, signers::Signers};
use regatta_base::{Height, PublicKey, limits::VALIDATORS_MAX};
use std::collections::BTreeMap;

/// Who let a turn pass, since which height; cleared by whatever it signs later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silence(BTreeMap<PublicKey, Height>);

impl Core {
    /// Whether a statement of `key` about `height` would show that it is alive although its turn passed without it.
    #[must_use]
    pub fn lacks_sign_of(&self, key: &PublicKey, height: Height) -> bool {
        self.silence.0.get(key).is_some_and(|missed| *missed <= height)
    }

    /// `key` signed a statement about `height`.
    pub(crate) fn heard(&mut self, key: &PublicKey, height: Height) {
        if self.lacks_sign_of(key, height) {
            self.silence.0.remove(key);
        }
    }

    /// These signers of `height` did.
    pub(crate) fn heard_all(&mut self, signers: &Signers, height: Height) {
        let Some(scope) = self.scope_at(height).filter(|_| !self.silence.0.is_empty()) else {
            return;
        };
        let members = signers.iter().filter_map(|signer| scope.validators().get(signer));
        let keys: Vec<PublicKey> = members.map(|member| member.key).collect();
        keys.iter().for_each(|key| self.heard(key, height));
    }

    /// The current round ends without a proposal: its leader is not heard again until it signs something.
    pub(crate) fn note_missed(&mut self) {
        let leader = self
            .config
            .scope
            .validators()
            .get(self.leader())
            .map(|leader| leader.key);
        let Some(key) = leader.filter(|key| Some(key) != self.config.key.as_ref()) else {
            return;
        };
        if self.state.proposal.is_none() && self.silence.0.len() < VALIDATORS_MAX {
            self.silence.0.entry(key).or_insert(self.height);
        }
    }

    /// Rule "leader silent for K heights -> Timeout(h, r, high)", at the start of its round.
    pub(crate) fn skip_silent(&mut self, out: &mut Vec<Effect>) {
        let leader = self.config.scope.validators().get(self.leader());
        let missed = leader.and_then(|leader| self.silence.0.get(&leader.key).copied());
        let is_silent = |missed: Height| missed.saturating_add(self.config.silent_heights) <= self.height;
        if self.config.silent_heights > 0 && self.state.proposal.is_none() && missed.is_some_and(is_silent) {
            self.give_up(out);
        }
    }
}
