//! The next height while this one is being decided: its leader proposes on the value that this height has
//! certified, and the others fetch the payload meanwhile.

use crate::{
    core::Core,
    io::{Draft, Effect, WalRecord},
    mutants::mutant,
    types::{Certificate, HEADER_BYTES_MAX, Message},
};
use regatta_base::{Digest, Height, Round};

/// What was done for round 0 of the next height.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ahead {
    /// The header that a proposal is being built on, and the round of its QC1.
    building: Option<(Digest, Round)>,
    /// The own proposal. It stands whatever this height decides: there is one for each round.
    pub(crate) propose: Option<Draft>,
}

impl Core {
    /// Rule "leader(h + 1, 0) on QC1(h, r, v)": propose with parent v, once.
    pub(crate) fn build_ahead(&mut self, certificate: &Certificate, out: &mut Vec<Effect>) {
        let place = (certificate.digest, certificate.round);
        let is_newer = self.ahead.building.is_none_or(|(_, round)| round < place.1);
        if self.state.is_over() || self.state.building || !is_newer || !self.leads_ahead() {
            return;
        }
        let Some(parent) = self.state.headers.get(&certificate.digest).cloned() else {
            return;
        };
        self.ahead.building = Some(place);
        out.push(Effect::Build {
            height: self.height + 1,
            round: 0,
            parent: Some(parent),
        });
    }

    /// Whether this node leads round 0 of the next height and has not proposed there, in this life or before.
    fn leads_ahead(&self) -> bool {
        let (height, scope) = (self.height + 1, &self.config.next_scope);
        let own = scope.index_of(self.config.key.as_ref());
        let logged = self.restored.iter().any(|record| record.height() == height) && !mutant!(self, forget_proposal);
        let leads = own == Some(scope.validators().leader(height, 0)) && own.is_some();
        leads && self.may_speak_at(height) && self.ahead.propose.is_none() && !logged
    }

    /// The header for the next height was built.
    pub(crate) fn built_ahead(&mut self, header: Vec<u8>, out: &mut Vec<Effect>) {
        let signer = self.config.next_scope.index_of(self.config.key.as_ref());
        let Some(signer) = signer.filter(|_| self.ahead.building.is_some() && self.leads_ahead()) else {
            return;
        };
        if header.len() > HEADER_BYTES_MAX {
            return;
        }
        let height = self.height + 1;
        let record = WalRecord::Propose {
            height,
            round: 0,
            header: header.clone(),
            justification: None,
        };
        let draft = Draft::proposal((signer, height, 0), header, None);
        self.say(record, &draft, out);
        self.ahead.propose = Some(draft);
    }

    /// A request to build for this height replaces the one for the next.
    pub(crate) fn forget_ahead(&mut self) {
        self.ahead.building = None;
    }

    /// A message about the next height: kept until then, and a proposal's payload fetched already.
    pub(crate) fn keep_ahead(&mut self, message: Message, out: &mut Vec<Effect>) {
        let votes = self.config.next_scope.index_of(self.config.key.as_ref()).is_some();
        let proposal = match &message {
            Message::Proposal(proposal) if votes => Some(proposal.clone()),
            _ => None,
        };
        if self.future.add(message) {
            out.extend(proposal.map(Effect::Prefetch));
        }
    }

    /// Enters `height` with what was said there ahead of time.
    pub(crate) fn take_ahead(&mut self, height: Height) {
        let ahead = std::mem::take(&mut self.ahead);
        let proposed = ahead.propose.filter(|draft| draft.statement.height == height);
        if !mutant!(self, forget_ahead) {
            self.state.own.propose = proposed;
        }
    }
}
