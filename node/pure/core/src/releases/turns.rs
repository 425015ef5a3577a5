//! Whose turn it is to switch: batches of nodes that never take a quorum away.
//!
//! Validators are divided in the order of their set, so that twice a batch may be missing and the rest still decides; where
//! that cannot be, a batch is one validator. Other nodes join the batches by their keys. The heights from the release's
//! height on belong to the batches in turn, again and again, so that a node that is late waits for its next turn and does
//! not leave together with others. A node whose turn it is also waits until the validators that it is linked to are there.

use super::{Air, ReleaseOrder, Releases};
use crate::{
    event::{LogLevel, Time},
    links::Links,
    wire::prefix,
};
use regatta_api::view::ReleaseStage;
use regatta_base::{Height, PublicKey, ValidatorSet};

/// How long neighbours that are missing, or an unfinished snapshot, hold a node up, in milliseconds.
const MISSED_MS: Time = 30_000;

/// The place of a node among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Which batch it is in, from 0.
    pub(crate) batch: u64,
    /// How many there are.
    pub(crate) batches: u64,
}

impl Turn {
    /// The turn of the node with this key, by the validators that decide now.
    pub(crate) fn of(set: &ValidatorSet, key: &PublicKey) -> Self {
        let (mut batch, mut weight, mut own) = (0, 0_u64, None);
        for member in set.members() {
            let grown = weight.saturating_add(member.weight);
            let left = set.total().saturating_sub(grown.saturating_mul(2));
            if weight > 0 && !set.is_quorum(left) {
                (batch, weight) = (batch + 1, 0);
            }
            weight = weight.saturating_add(member.weight);
            if member.key == *key {
                own = Some(batch);
            }
        }
        let batches = batch + 1;
        Self {
            batch: own.unwrap_or(prefix(&key.0) % batches),
            batches,
        }
    }

    /// Whether `height` belongs to the node's batch.
    fn has_come(self, height: Height, activate_at: Height, batch_blocks: u64) -> bool {
        let span = batch_blocks.max(1);
        // The first batch waits as long as every other one: the state is written down meanwhile.
        let first = activate_at.checked_add(span);
        let Some(since) = first.and_then(|first| height.checked_sub(first)) else {
            return false;
        };
        (since / span) % self.batches == self.batch
    }
}

/// How the instance whose heights count stands.
pub(crate) struct Moment<'a> {
    /// The last executed height.
    pub(crate) height: Height,
    /// The turn of this node.
    pub(crate) turn: Turn,
    /// The links of the instance.
    pub(crate) links: &'a Links,
    /// The validators that decide now.
    pub(crate) validators: &'a ValidatorSet,
    /// A snapshot is being written.
    pub(crate) is_writing: bool,
    /// The node is behind its neighbours.
    pub(crate) is_behind: bool,
}

impl Moment<'_> {
    /// Whether a neighbour that votes is away.
    fn misses_anybody(&self) -> bool {
        let votes = |key: &PublicKey| self.validators.index_of(key).is_some();
        self.links.all().any(|link| !link.up && votes(&link.key))
    }
}

impl Releases {
    /// Orders the switch when the node's turn has come and nothing holds it up.
    pub(crate) fn take_turn(&mut self, air: &mut Air<'_>, moment: &Moment<'_>) {
        let Some(current) = self
            .current
            .as_mut()
            .filter(|current| current.stage == ReleaseStage::Ready)
        else {
            return;
        };
        let (facts, height) = (&current.facts, moment.height);
        if moment.is_behind || !moment.turn.has_come(height, facts.activate_at, facts.batch_blocks) {
            return;
        }
        if moment.is_writing || moment.misses_anybody() {
            let since = *current.missed_since.get_or_insert(air.now);
            if air.now < since.saturating_add(MISSED_MS) {
                return;
            }
        }
        current.stage = ReleaseStage::Switching;
        let number = facts.number;
        let Turn { batch, batches } = moment.turn;
        let line = format!(
            "release {number}: switching at height {height}, in batch {} of {batches}",
            batch + 1
        );
        air.log(LogLevel::Info, line);
        air.order(ReleaseOrder::Switch { number, height });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_base::Validator;

    fn set(weights: &[u64]) -> ValidatorSet {
        let member = |(index, &weight): (usize, &u64)| Validator {
            key: PublicKey([index as u8; 32]),
            weight,
        };
        ValidatorSet::new(weights.iter().enumerate().map(member).collect()).unwrap()
    }

    fn batches_of(weights: &[u64]) -> Vec<u64> {
        let set = set(weights);
        let batch = |index: usize| Turn::of(&set, &PublicKey([index as u8; 32])).batch;
        (0..weights.len()).map(batch).collect()
    }

    #[test]
    fn small_sets_leave_one_by_one_and_large_ones_in_sixths() {
        assert_eq!(batches_of(&[1; 4]), [0, 1, 2, 3]);
        assert_eq!(batches_of(&[5, 1, 1]), [0, 1, 2]);
        let hundred = batches_of(&[1; 100]);
        assert_eq!(hundred.iter().filter(|batch| **batch == 0).count(), 16);
        assert_eq!(hundred.last(), Some(&6));
    }

    #[test]
    fn turns_come_again_and_never_two_at_a_height() {
        let turn = |batch| Turn { batch, batches: 3 };
        for height in 0..400 {
            let come: Vec<u64> = (0..3).filter(|&batch| turn(batch).has_come(height, 100, 10)).collect();
            let expected = if height < 110 {
                vec![]
            } else {
                vec![(height - 110) / 10 % 3]
            };
            assert_eq!(come, expected, "{height}");
        }
        assert!(!turn(0).has_come(Height::MAX, Height::MAX, u64::MAX));
        assert!(!turn(1).has_come(5, 5, 0) && turn(1).has_come(7, 5, 0));
    }

    proptest! {
        #[test]
        fn no_batch_of_several_takes_a_quorum_away(weights in proptest::collection::vec(1_u64..100, 1..60)) {
            let (set, batches) = (set(&weights), batches_of(&weights));
            for batch in 0..=*batches.last().unwrap() {
                let members: Vec<u64> = (0..weights.len()).filter(|&n| batches[n] == batch).map(|n| weights[n]).collect();
                prop_assert!(!members.is_empty());
                let gone: u64 = members.iter().sum();
                prop_assert!(members.len() == 1 || set.is_quorum(set.total() - 2 * gone.min(set.total() / 2)));
            }
        }
    }
}
