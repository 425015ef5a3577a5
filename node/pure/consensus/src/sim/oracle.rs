//! Oracles: what must never be seen from outside, whatever the network and the faulty do.

use super::{Sets, verifies};
use crate::{Commit, Content, Evidence, Message, Statement};
use regatta_base::{Digest, Height};
use std::collections::{BTreeMap, BTreeSet};

/// Watches everything that leaves the honest hosts.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// What was decided first at each height.
    pub(super) decided: BTreeMap<Height, Digest>,
    /// Broken promises, in words.
    pub(super) violations: Vec<String>,
    said: BTreeMap<u16, Vec<Statement>>,
    built: BTreeSet<Digest>,
    /// What headers that were built ahead of time were built on.
    parents: BTreeMap<Digest, Digest>,
    dishonest: BTreeSet<u16>,
}

impl Oracle {
    /// An oracle that knows which nodes are not honest.
    pub(super) fn new(dishonest: impl Iterator<Item = u16>) -> Self {
        Self {
            dishonest: dishonest.collect(),
            ..Self::default()
        }
    }

    /// Somebody made this header: decisions must be of such.
    pub(super) fn built(&mut self, digest: Digest) {
        self.built.insert(digest);
    }

    /// This header was built on another one, if it was built before that was decided.
    pub(super) fn built_on(&mut self, digest: Digest, parent: Option<Digest>) {
        self.parents.extend(parent.map(|parent| (digest, parent)));
    }

    /// What a header follows, as far as it says so.
    pub(super) fn parent(&self, digest: &Digest) -> Option<Digest> {
        self.parents.get(digest).copied()
    }

    /// Agreement, validity, certificates, and that each block follows the one before.
    pub(super) fn decision(&mut self, sets: &Sets, host: usize, commit: &Commit) {
        let (height, digest) = (commit.height(), commit.digest());
        let first = *self.decided.entry(height).or_insert(digest);
        if first != digest {
            self.blame(format!(
                "agreement: {host} decided {digest:?} at {height}, not {first:?}"
            ));
        }
        let before = height.checked_sub(1).and_then(|before| self.decided.get(&before));
        if let (Some(parent), Some(before)) = (self.parents.get(&digest), before)
            && parent != before
        {
            self.blame(format!("chain: {host} decided {digest:?} at {height} after {before:?}"));
        }
        if !self.built.contains(&digest) {
            self.blame(format!("validity: {host} decided {digest:?}, which nobody made"));
        }
        if !verifies(sets.at(height), &Message::Commit(commit.clone())) {
            self.blame(format!(
                "certificate: {host} decided {digest:?} at {height} without proof"
            ));
        }
    }

    /// Honest conduct, and that every message would pass verification.
    pub(super) fn sent(&mut self, sets: &Sets, message: &Message) {
        if !verifies(sets.at(message.height()), message) {
            self.blame(format!("an honest node sent what does not verify: {message:?}"));
        }
        let Some(signed) = message.signed() else { return };
        let who = sets.who(signed.statement.height, signed.signer);
        let Some(who) = who.filter(|who| !self.dishonest.contains(who)) else {
            return;
        };
        let said = self.said.entry(who).or_default();
        if said.contains(&signed.statement) {
            return;
        }
        let clash = said.iter().find(|earlier| forbids(earlier, &signed.statement)).copied();
        said.push(signed.statement);
        if let Some(earlier) = clash {
            self.blame(format!(
                "conduct: {} said {earlier:?}, then {:?}",
                who, signed.statement
            ));
        }
    }

    /// Evidence accuses only the faulty, and proves what it says.
    pub(super) fn evidence(&mut self, sets: &Sets, evidence: &Evidence) {
        let accused = sets.who(evidence.first.statement.height, evidence.first.signer);
        let rightly = accused.is_some_and(|accused| self.dishonest.contains(&accused));
        if !rightly || !evidence.is_proof() {
            self.blame(format!("evidence against an honest node: {evidence:?}"));
        }
    }

    pub(super) fn blame(&mut self, violation: String) {
        self.violations.push(violation);
    }
}

/// Whether an honest node that said `earlier` may not say `later`. Written apart from the protocol's
/// own rule of conflicts, and stricter: it knows the order.
fn forbids(earlier: &Statement, later: &Statement) -> bool {
    if earlier.height != later.height {
        return false;
    }
    let same_round = earlier.round == later.round;
    match (earlier.content, later.content) {
        (Content::Propose(_), Content::Propose(_))
        | (Content::Vote1(_), Content::Vote1(_))
        | (Content::Vote2(_), Content::Vote2(_))
        | (Content::Timeout(_), Content::Timeout(_)) => same_round,
        (Content::Timeout(_), _) => later.round <= earlier.round,
        (Content::Vote2(_), Content::Timeout(high)) => high < Some(earlier.round),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Content::{Propose, Timeout, Vote1, Vote2};

    fn say(round: u32, content: Content) -> Statement {
        Statement {
            height: 1,
            round,
            content,
        }
    }

    #[test]
    fn the_conduct_rule_is_about_order() {
        let (a, b) = (Digest([1; 32]), Digest([2; 32]));
        assert!(forbids(&say(0, Vote1(a)), &say(0, Vote1(b))));
        assert!(!forbids(&say(0, Vote1(a)), &say(1, Vote1(b))));
        assert!(forbids(&say(2, Timeout(None)), &say(1, Vote2(a))));
        assert!(forbids(&say(2, Timeout(None)), &say(2, Propose(a))));
        assert!(!forbids(&say(2, Timeout(None)), &say(3, Vote1(a))));
        assert!(forbids(&say(1, Vote2(a)), &say(1, Timeout(None))));
        assert!(!forbids(&say(1, Vote2(a)), &say(1, Timeout(Some(1)))));
    }
}
