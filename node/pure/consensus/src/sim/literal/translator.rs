//! From what hosts say, send, hear, forget and decide to the pages of the literal model.

use super::{page::Page, paper::Kind};
use crate::{Commit, Message, Statement, sim::Sets};
use regatta_base::{Digest, Height};
use std::collections::{BTreeMap, BTreeSet};

/// The literal model beside a running world.
pub(in crate::sim) struct Translator {
    sets: Sets,
    dishonest: BTreeSet<u16>,
    pages: BTreeMap<Height, Page>,
    /// What the paper does not allow, in words.
    disputes: Vec<String>,
    /// Honest messages by kind.
    pub(in crate::sim) said: BTreeMap<&'static str, u64>,
}

impl Translator {
    pub(in crate::sim) fn new(sets: &Sets, dishonest: impl Iterator<Item = u16>) -> Self {
        Self {
            sets: sets.clone(),
            dishonest: dishonest.collect(),
            pages: BTreeMap::new(),
            disputes: Vec::new(),
            said: BTreeMap::new(),
        }
    }

    fn page(&mut self, height: Height) -> &mut Page {
        let sets = &self.sets;
        self.pages
            .entry(height)
            .or_insert_with(|| Page::new(height, sets.at(height)))
    }

    /// `host` hears `message`, or says it itself.
    pub(in crate::sim) fn heard(&mut self, host: u16, message: &Message) {
        if matches!(message, Message::Status { .. }) {
            return;
        }
        let height = message.height();
        let (sets, dishonest) = (self.sets.clone(), self.dishonest.clone());
        let is_dishonest = |signer| sets.who(height, signer).is_none_or(|who| dishonest.contains(&who));
        self.page(height).hear(host, message, is_dishonest);
    }

    /// `host` says `message`, though it may not have left yet.
    pub(in crate::sim) fn says(&mut self, host: u16, message: &Message) {
        self.heard(host, message);
        let Some(signed) = message.signed() else { return };
        let said = (signed.signer, signed.statement);
        let page = self.page(signed.statement.height);
        page.catch_up();
        match page.say(host, said) {
            Ok(kind) => {
                let name = match kind {
                    Kind::OneA => "1a",
                    Kind::OneB if !page.is_fresh_on_paper(said) => "1b that a quorum of leaves frees",
                    Kind::OneB => "1b",
                    Kind::TwoA => "2a",
                    Kind::Leave => "leave",
                };
                *self.said.entry(name).or_default() += 1;
            }
            Err(reason) => self
                .disputes
                .push(format!("literal: {host} says {:?}: {reason}", signed.statement)),
        }
    }

    /// An honest message leaves.
    pub(in crate::sim) fn sent(&mut self, message: &Message) {
        if let Some(signed) = message.signed() {
            let said = (signed.signer, signed.statement);
            self.page(signed.statement.height).send(said);
        }
    }

    /// `host` dies and remembers the statements in its log.
    pub(in crate::sim) fn crashed(&mut self, host: u16, logged: &BTreeSet<Statement>) {
        for (height, page) in &mut self.pages {
            if let Some(signer) = self.sets.signer(*height, host) {
                page.forget(signer, logged);
            }
        }
    }

    /// `host` decides by a QC2.
    pub(in crate::sim) fn decided(&mut self, host: u16, commit: &Commit) {
        let height = commit.height();
        self.heard(host, &Message::Commit(commit.clone()));
        self.page(height).catch_up();
        if !self.page(height).decides(&commit.certificate) {
            let digest = commit.digest();
            self.disputes.push(format!(
                "literal: {host} decides {digest:?} at {height}, and the paper does not"
            ));
        }
    }

    /// Disputes so far.
    pub(in crate::sim) fn take_disputes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.disputes)
    }

    /// What the paper decides in the end, against what was decided, and whom it caught.
    pub(in crate::sim) fn finish(&mut self, decided: &BTreeMap<Height, Digest>) {
        for (height, page) in &self.pages {
            let values: BTreeSet<Digest> = page
                .paper
                .decisions(&page.sent)
                .into_iter()
                .map(|(_, value)| value)
                .collect();
            let first = decided.get(height);
            if values.iter().any(|value| first.is_some_and(|first| first != value)) || values.len() > 1 {
                let dispute = format!("literal: the paper decides {values:?} at {height}, not {first:?}");
                self.disputes.push(dispute);
            }
            for signer in page.paper.caught(&page.sent) {
                let who = self.sets.who(*height, signer);
                if who.is_none_or(|who| !self.dishonest.contains(&who)) {
                    self.disputes
                        .push(format!("literal: the paper catches {signer} at {height}"));
                }
            }
        }
    }
}
