//! Which validator set decides which height.
//!
//! The set of height h comes from the state after h - 2, so that two heights beyond the last executed one are
//! known: the one being decided, and the next one, whose first messages arrive before.

use regatta_base::{Height, ValidatorSet};
use regatta_consensus::Scope;
use std::collections::BTreeMap;

/// How many heights after the block that changed it a set takes effect.
pub(crate) const SET_LAG: Height = 2;
/// Sets that are remembered; certificates of heights before the oldest can no longer be read back.
const SETS_MAX: usize = 1024;

/// Sets by the first height that each decides.
#[derive(Debug)]
pub(crate) struct Sets {
    from: BTreeMap<Height, Scope>,
    newest: Scope,
    /// The last height whose set is known.
    known: Height,
}

impl Sets {
    /// Before the first block: `genesis` decides until a block changes it.
    pub(crate) fn new(genesis: Scope) -> Self {
        Self {
            from: BTreeMap::from([(0, genesis.clone())]),
            newest: genesis,
            known: SET_LAG,
        }
    }

    /// After block `height`, which a snapshot makes up for: `changes` are the sets after the one of `genesis`, by the
    /// first height that each decides, up to two heights after the block.
    pub(crate) fn restored(
        genesis: Scope,
        height: Height,
        changes: impl Iterator<Item = (Height, ValidatorSet)>,
    ) -> Self {
        let mut sets = Self::new(genesis);
        for (first, set) in changes {
            // As the block did that changed it.
            sets.executed(first.saturating_sub(SET_LAG), Some(set));
        }
        sets.known = height + SET_LAG;
        sets
    }

    /// The validators that decide `height`, as the frame of their signatures; `None` if they are not known yet, or no
    /// longer.
    pub(crate) fn at(&self, height: Height) -> Option<&Scope> {
        let (_, scope) = self.from.range(..=height).next_back()?;
        (height <= self.known).then_some(scope)
    }

    /// The validators of the last height that is known.
    pub(crate) fn newest(&self) -> &Scope {
        &self.newest
    }

    /// The first heights that a set of its own decided, with that set; the genesis set counts from 0.
    #[cfg(test)]
    pub(crate) fn changes(&self) -> impl Iterator<Item = (Height, &Scope)> {
        self.from.iter().map(|(height, scope)| (*height, scope))
    }

    /// Block `height` was executed and left `change` behind, if it changed the set.
    pub(crate) fn executed(&mut self, height: Height, change: Option<ValidatorSet>) {
        self.known = height + SET_LAG;
        if let Some(validators) = change {
            self.newest = self.newest.of(validators);
            self.from.insert(self.known, self.newest.clone());
            if self.from.len() > SETS_MAX {
                self.from.pop_first();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::{PublicKey, Validator};

    fn set(weights: &[u64]) -> ValidatorSet {
        let member = |(index, &weight): (usize, &u64)| Validator {
            key: PublicKey([index as u8; 32]),
            weight,
        };
        ValidatorSet::new(weights.iter().enumerate().map(member).collect()).unwrap()
    }

    fn genesis() -> Scope {
        Scope::new(&"test".parse().unwrap(), &"main".parse().unwrap(), set(&[1; 4]))
    }

    #[test]
    fn a_change_takes_effect_two_heights_later_and_earlier_sets_stay() {
        let mut sets = Sets::new(genesis());
        assert_eq!(
            (sets.at(1), sets.at(2), sets.at(3)),
            (Some(&genesis()), Some(&genesis()), None)
        );
        sets.executed(1, Some(set(&[1; 5])));
        assert_eq!(sets.at(2), Some(&genesis()));
        assert_eq!(sets.at(3).map(|scope| scope.validators().len()), Some(5));
        assert_eq!((sets.at(4), sets.newest().validators().len()), (None, 5));
        sets.executed(2, None);
        assert_eq!(sets.at(4).map(|scope| scope.validators().len()), Some(5));
        assert_eq!(sets.changes().map(|(height, _)| height).collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn a_snapshot_restores_what_its_changes_say() {
        let mut sets = Sets::new(genesis());
        sets.executed(1, Some(set(&[1; 5])));
        (2..=8).for_each(|height| sets.executed(height, None));
        sets.executed(9, Some(set(&[1; 6])));
        let changes = [(3, set(&[1; 5])), (11, set(&[1; 6]))];
        let restored = Sets::restored(genesis(), 9, changes.into_iter());
        for height in 0..=12 {
            assert_eq!(restored.at(height), sets.at(height), "{height}");
        }
        assert_eq!(restored.newest(), sets.newest());
    }

    #[test]
    fn the_oldest_sets_are_forgotten() {
        let mut sets = Sets::new(genesis());
        for height in 1..=SETS_MAX as Height {
            sets.executed(height, Some(set(&[height, 1])));
        }
        assert_eq!(sets.changes().count(), SETS_MAX);
        assert_eq!(sets.at(1), None);
        assert!(sets.at(3).is_some());
    }
}
