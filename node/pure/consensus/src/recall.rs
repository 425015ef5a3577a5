//! What a validator asks and hears that lost what it said, and when it may speak again.
//!
//! A validator without its log might contradict itself. It asks the others where they stand ([`Recall`]), follows
//! them meanwhile, and speaks again where it cannot have spoken before ([`Amnesia::release`]).

use crate::check::Scope;
use regatta_base::{Height, PublicKey, SecretKey, Signature, ValidatorSet, encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Separates these signatures from those of statements.
const DOMAIN: &[u8] = b"regatta recall v1";
/// Answers that are kept: four times the largest validator set, since sets change while answers come.
const ANSWERS_MAX: usize = 4096;

/// What is said about lost memory. No statement of consensus: nobody decides anything by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recall {
    /// "I do not know any more what I said: where do you stand?"
    Ask {
        /// Who asks and signs.
        key: PublicKey,
        /// Not used before, so that no older answer counts.
        nonce: u64,
    },
    /// "When you asked, this is the height that I was deciding." Only of one who knows all that it said.
    Standing {
        /// Who answers and signs.
        key: PublicKey,
        /// Who asked.
        to: PublicKey,
        /// With which nonce.
        nonce: u64,
        /// The height that is being decided at the signer.
        height: Height,
    },
}

impl Recall {
    /// Who signs it.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        match self {
            Self::Ask { key, .. } | Self::Standing { key, .. } => *key,
        }
    }

    /// Who lost its memory.
    #[must_use]
    pub fn subject(&self) -> PublicKey {
        match self {
            Self::Ask { key, .. } => *key,
            Self::Standing { to, .. } => *to,
        }
    }

    /// The nonce of the question.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        match self {
            Self::Ask { nonce, .. } | Self::Standing { nonce, .. } => *nonce,
        }
    }

    /// The bytes under the signature: they name chain and instance, and no validator set, which the asker may not know.
    #[must_use]
    pub fn signing_bytes(&self, scope: &Scope) -> Vec<u8> {
        [DOMAIN, scope.names(), &encode(self)].concat()
    }

    /// Signs it; `secret` has to be that of [`Recall::key`].
    #[must_use]
    pub fn sign(self, scope: &Scope, secret: &SecretKey) -> SignedRecall {
        let signature = secret.sign(&self.signing_bytes(scope));
        SignedRecall {
            recall: self,
            signature,
        }
    }
}

/// A question or an answer with its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecall {
    /// What is said.
    pub recall: Recall,
    /// Of [`Recall::key`].
    pub signature: Signature,
}

/// What a validator that lost its memory has heard since.
#[derive(Debug, Clone)]
pub struct Amnesia {
    key: PublicKey,
    /// The first nonce of this life and the next one.
    nonces: std::ops::Range<u64>,
    /// The least height that each of the others has answered with.
    answers: BTreeMap<PublicKey, Height>,
}

impl Amnesia {
    /// Of the validator `key`; `nonce` must be random, so that it differs from those of earlier lives.
    #[must_use]
    pub fn new(key: PublicKey, nonce: u64) -> Self {
        // So that counting on never comes to an end.
        let nonce = nonce >> 1;
        Self {
            key,
            nonces: nonce..nonce,
            answers: BTreeMap::new(),
        }
    }

    /// The next question.
    pub fn ask(&mut self) -> Recall {
        let nonce = self.nonces.end;
        self.nonces.end += 1;
        Recall::Ask { key: self.key, nonce }
    }

    /// Takes an answer to any question of this life; its signature was checked.
    pub fn hear(&mut self, recall: &Recall) {
        let Recall::Standing { key, to, nonce, height } = *recall else {
            return;
        };
        if to != self.key || key == self.key || !self.nonces.contains(&nonce) {
            return;
        }
        if let Some(answer) = self.answers.get_mut(&key) {
            *answer = height.min(*answer);
        } else if self.answers.len() < ANSWERS_MAX {
            self.answers.insert(key, height);
        }
    }

    /// From which height on this node may speak, if the others' answers show it, while it decides `height`, whose
    /// validators and those of the next height are `sets`.
    ///
    /// They do when in both sets a quorum of others was not beyond `height` when it was asked. Then nothing was said
    /// beyond `height + 1` before the memory was lost. For a statement about h > `height` + 1, be it made ahead of
    /// time or after h - 1 was decided, takes a quorum that voted at `height + 1`, or later, in which case another one
    /// voted there before. That quorum shares a correct validator with the one that answered, which would have said
    /// that it is beyond `height`. A validator that says too much is passed over when there are enough others, and
    /// does no more harm than one that says nothing.
    #[must_use]
    pub fn release(&self, height: Height, sets: [&ValidatorSet; 2]) -> Option<Height> {
        let suffices = |set: &ValidatorSet| {
            let answered = |key: &PublicKey| self.answers.get(key).is_some_and(|stated| *stated <= height);
            let weights = set.members().iter().filter(|member| answered(&member.key));
            set.is_quorum(weights.map(|member| member.weight).sum())
        };
        sets.into_iter().all(suffices).then_some(height + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_base::{Validator, decode};

    fn key(index: u16) -> PublicKey {
        PublicKey([index as u8; 32])
    }

    fn set(weights: &[u64]) -> ValidatorSet {
        let member = |(index, &weight): (usize, &u64)| Validator {
            key: key(index as u16),
            weight,
        };
        ValidatorSet::new(weights.iter().enumerate().map(member).collect()).unwrap()
    }

    fn standing(from: u16, nonce: u64, height: Height) -> Recall {
        Recall::Standing {
            key: key(from),
            to: key(0),
            nonce,
            height,
        }
    }

    #[test]
    fn a_quorum_of_others_that_was_not_beyond_releases_two_heights_later() {
        let four = set(&[1; 4]);
        let mut amnesia = Amnesia::new(key(0), 14);
        let nonce = amnesia.ask().nonce();
        for (from, height) in [(1, 5), (2, 6)] {
            amnesia.hear(&standing(from, nonce, height));
        }
        assert_eq!(amnesia.release(9, [&four, &four]), None, "two of four");
        amnesia.hear(&standing(3, nonce, 7));
        assert_eq!(amnesia.release(6, [&four, &four]), None, "one was beyond");
        assert_eq!(amnesia.release(7, [&four, &four]), Some(9));
        assert_eq!(amnesia.release(12, [&four, &four]), Some(14));
    }

    #[test]
    fn own_answers_foreign_ones_and_those_of_an_earlier_life_do_not_count() {
        let four = set(&[1; 4]);
        let mut amnesia = Amnesia::new(key(0), 14);
        let nonce = amnesia.ask().nonce();
        amnesia.hear(&standing(0, nonce, 1));
        amnesia.hear(&standing(1, nonce, 1));
        amnesia.hear(&standing(2, nonce, 1));
        amnesia.hear(&standing(3, nonce + 1, 1));
        amnesia.hear(&standing(3, nonce - 1, 1));
        amnesia.hear(&Recall::Standing {
            key: key(3),
            to: key(1),
            nonce,
            height: 1,
        });
        amnesia.hear(&standing(7, nonce, 1));
        assert_eq!(amnesia.release(1, [&four, &four]), None);
        // A second question does not make answers to the first one void.
        let second = amnesia.ask().nonce();
        amnesia.hear(&standing(3, second, 1));
        assert_eq!(amnesia.release(1, [&four, &four]), Some(3));
    }

    #[test]
    fn who_claims_too_much_is_passed_over_and_both_sets_have_to_agree() {
        let seven = set(&[1; 7]);
        let mut amnesia = Amnesia::new(key(0), 14);
        let nonce = amnesia.ask().nonce();
        amnesia.hear(&standing(6, nonce, Height::MAX));
        for from in 1..6 {
            amnesia.hear(&standing(from, nonce, 3));
        }
        assert_eq!(amnesia.release(3, [&seven, &seven]), Some(5));
        let other = set(&[1, 1, 1, 1, 1, 1, 4]);
        assert_eq!(amnesia.release(3, [&seven, &other]), None);
        assert_eq!(amnesia.release(3, [&other, &seven]), None);
    }

    #[test]
    fn the_greatest_nonce_has_a_next_one() {
        let mut amnesia = Amnesia::new(key(0), u64::MAX);
        assert_ne!(amnesia.ask(), amnesia.ask());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<SignedRecall>(&bytes, 300);
        }
    }
}
