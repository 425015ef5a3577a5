//! The weight table: who may vote, how much it counts, and who leads.

use crate::{Digest, Height, PublicKey, Round, codec::encode, limits::VALIDATORS_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One validator: its key and its voting weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validator {
    /// The key that signs its statements.
    pub key: PublicKey,
    /// Voting weight, at least 1.
    pub weight: u64,
}

/// A non-empty, ordered table of validators; a validator's place in it is its signer index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Validator>", into = "Vec<Validator>")]
pub struct ValidatorSet {
    members: Vec<Validator>,
    index: BTreeMap<PublicKey, u16>,
    total: u64,
    hash: Digest,
    rotation: Rotation,
}

/// Why a list of validators is not a validator set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// Nobody could ever decide anything.
    #[error("a validator set needs at least one validator")]
    Empty,
    /// Above [`VALIDATORS_MAX`].
    #[error("{got} validators exceed the limit of {VALIDATORS_MAX}")]
    TooMany {
        /// How many were given.
        got: usize,
    },
    /// A validator without weight.
    #[error("validator {index} has weight 0; leave it out instead")]
    ZeroWeight {
        /// Its place in the list.
        index: usize,
    },
    /// One key twice would count twice.
    #[error("validator {index} has the same key as an earlier one: {key}")]
    Duplicate {
        /// The place of the second occurrence.
        index: usize,
        /// The key.
        key: PublicKey,
    },
    /// The weights do not add up within 64 bits.
    #[error("the sum of the weights exceeds 64 bits")]
    Overflow,
    /// Too different from the set before it, see [`ValidatorSet::may_follow`].
    #[error("{lost} of {before} taken away and {gained} of {after} added: each must stay below a third")]
    TooMuchChange {
        /// Weight that validators lose against the set before.
        lost: u64,
        /// The total weight before.
        before: u64,
        /// Weight that validators gain.
        gained: u64,
        /// The total weight after.
        after: u64,
    },
}

impl ValidatorSet {
    /// Checks and indexes `members`; their order is part of the set's identity.
    ///
    /// # Errors
    /// [`ValidatorSetError`] names the first member that is wrong.
    pub fn new(members: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        if members.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        if members.len() > VALIDATORS_MAX {
            return Err(ValidatorSetError::TooMany { got: members.len() });
        }
        let (mut index, mut total) = (BTreeMap::new(), 0u64);
        for (place, member) in members.iter().enumerate() {
            if member.weight == 0 {
                return Err(ValidatorSetError::ZeroWeight { index: place });
            }
            if index.insert(member.key, place as u16).is_some() {
                return Err(ValidatorSetError::Duplicate {
                    index: place,
                    key: member.key,
                });
            }
            total = total.checked_add(member.weight).ok_or(ValidatorSetError::Overflow)?;
        }
        let hash = Digest::of("regatta validator set v1", &[&encode(&members)]);
        let rotation = Rotation::new(&members);
        Ok(Self {
            members,
            index,
            total,
            hash,
            rotation,
        })
    }

    /// The validators in signer order.
    #[must_use]
    pub fn members(&self) -> &[Validator] {
        &self.members
    }

    /// How many validators there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The sum of all weights.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Digest of keys, weights and order: part of every signed statement.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The signer index of `key`, if it is a validator.
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<u16> {
        self.index.get(key).copied()
    }

    /// The validator with signer index `signer`, if there is one.
    #[must_use]
    pub fn get(&self, signer: u16) -> Option<&Validator> {
        self.members.get(usize::from(signer))
    }

    /// Weight of signer `signer`; 0 for an unknown one, so that it never counts.
    #[must_use]
    pub fn weight(&self, signer: u16) -> u64 {
        self.get(signer).map_or(0, |member| member.weight)
    }

    /// More than two thirds: two such sets share a correct validator.
    #[must_use]
    pub fn is_quorum(&self, weight: u64) -> bool {
        3 * u128::from(weight) > 2 * u128::from(self.total)
    }

    /// At least one third: too much to be faulty throughout.
    #[must_use]
    pub fn is_weak(&self, weight: u64) -> bool {
        3 * u128::from(weight) >= u128::from(self.total)
    }

    /// Whether this set may decide the height after one that `before` decides.
    ///
    /// What validators lose must stay below a third of the old total, and what they gain below a third of the
    /// new one. Then a quorum of either set shares a validator with each quorum of the other: with `l` lost of
    /// `W` and `g` gained to `V`, the weight that both sets agree on is `M = W - l = V - g`, of which the two
    /// quorums hold more than `2W/3 - l` and `2V/3 - g`, together more than `M` while `l + g < (W + V) / 3`.
    /// Whoever trusts one set can therefore go on to the next, and a third that is faulty before the change
    /// does not become two thirds by it.
    ///
    /// # Errors
    /// [`ValidatorSetError::TooMuchChange`].
    pub fn may_follow(&self, before: &Self) -> Result<(), ValidatorSetError> {
        let weight_in = |set: &Self, key: &PublicKey| set.index_of(key).map_or(0, |signer| set.weight(signer));
        let more = |set: &Self, other: &Self| -> u64 {
            let members = set.members.iter();
            // Parts of a total that fits.
            members
                .map(|member| member.weight.saturating_sub(weight_in(other, &member.key)))
                .sum()
        };
        let (lost, gained) = (more(before, self), more(self, before));
        if before.is_weak(lost) || self.is_weak(gained) {
            return Err(ValidatorSetError::TooMuchChange {
                lost,
                before: before.total,
                gained,
                after: self.total,
            });
        }
        Ok(())
    }

    /// The signer who proposes at (`height`, `round`).
    ///
    /// Weighted round robin without state. Divide all weights by their greatest common divisor and lay
    /// them end to end on a circle of length `W`; slot `height + round` points at position
    /// `(height + round) * stride mod W`. `stride` is coprime to `W`, so any `W` successive slots visit
    /// each position once: everybody leads exactly in proportion to its weight, without drift. Equal
    /// weights use stride 1, which is plain round robin; otherwise the stride is the one nearest to
    /// `W` divided by the golden ratio, which spreads the turns of a heavy validator (Knuth, TAOCP 3,
    /// 6.4, multiplicative hashing).
    #[must_use]
    pub fn leader(&self, height: Height, round: Round) -> u16 {
        self.rotation.leader(u128::from(height) + u128::from(round))
    }
}

impl TryFrom<Vec<Validator>> for ValidatorSet {
    type Error = ValidatorSetError;

    fn try_from(members: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        Self::new(members)
    }
}

impl From<ValidatorSet> for Vec<Validator> {
    fn from(set: ValidatorSet) -> Self {
        set.members
    }
}

/// The circle of leaders: where each validator's arc ends, and how far a slot steps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rotation {
    ends: Vec<u64>,
    stride: u64,
}

impl Rotation {
    fn new(members: &[Validator]) -> Self {
        let divisor = members.iter().fold(0, |divisor, member| gcd(divisor, member.weight));
        let mut length = 0;
        let ends: Vec<u64> = members
            .iter()
            .map(|member| {
                length += member.weight / divisor;
                length
            })
            .collect();
        let equal = length == members.len() as u64;
        let stride = if equal { 1 } else { golden_stride(length) };
        Self { ends, stride }
    }

    fn leader(&self, slot: u128) -> u16 {
        let length = self.ends.last().copied().map_or(1, u128::from);
        // Both factors are below 2^64, so the product fits.
        let position = (slot % length) * u128::from(self.stride) % length;
        self.ends.partition_point(|&end| u128::from(end) <= position) as u16
    }
}

/// The number nearest to `length / 1.618…` that is coprime to `length`.
fn golden_stride(length: u64) -> u64 {
    let start = (u128::from(length) * 618_033_988_749_895 / 1_000_000_000_000_000) as u64;
    let coprime = |stride: &u64| gcd(*stride, length) == 1;
    (0..=length)
        .flat_map(|step| [start.saturating_add(step), start.saturating_sub(step)])
        .find(coprime)
        .unwrap_or(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(weights: &[u64]) -> Result<ValidatorSet, ValidatorSetError> {
        let members = weights.iter().enumerate().map(|(i, &weight)| Validator {
            key: PublicKey([i as u8; 32]),
            weight,
        });
        ValidatorSet::new(members.collect())
    }

    #[test]
    fn bad_sets_are_refused() {
        assert_eq!(set(&[]), Err(ValidatorSetError::Empty));
        assert_eq!(set(&[1, 0]), Err(ValidatorSetError::ZeroWeight { index: 1 }));
        assert_eq!(set(&[u64::MAX, 1]), Err(ValidatorSetError::Overflow));
        let one = Validator {
            key: PublicKey([7; 32]),
            weight: 1,
        };
        let twice = ValidatorSet::new(vec![one, one]);
        assert!(matches!(twice, Err(ValidatorSetError::Duplicate { index: 1, .. })));
        let many = (0..=VALIDATORS_MAX).map(|i| Validator {
            key: PublicKey(Digest::of_bytes(&i.to_be_bytes()).0),
            weight: 1,
        });
        let many = ValidatorSet::new(many.collect());
        assert_eq!(many, Err(ValidatorSetError::TooMany { got: 1025 }));
    }

    #[test]
    fn thresholds_are_exact_and_do_not_overflow() {
        let three = set(&[1, 1, 1]).unwrap();
        assert!(!three.is_quorum(2) && three.is_quorum(3));
        assert!(three.is_weak(1) && !three.is_weak(0));
        let four = set(&[1, 1, 1, 1]).unwrap();
        assert!(!four.is_quorum(2) && four.is_quorum(3));
        assert!(!four.is_weak(1) && four.is_weak(2));
        let huge = set(&[u64::MAX]).unwrap();
        assert!(huge.is_quorum(u64::MAX) && !huge.is_quorum(u64::MAX / 3 * 2));
    }

    #[test]
    fn equal_weights_take_turns_in_order() {
        let set = set(&[5, 5, 5]).unwrap();
        let leaders: Vec<u16> = (1..8).map(|height| set.leader(height, 0)).collect();
        assert_eq!(leaders, [1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(set.leader(1, 1), set.leader(2, 0));
        assert!(set.leader(u64::MAX, u32::MAX) < 3);
    }

    #[test]
    fn a_heavy_validator_does_not_lead_in_one_long_run() {
        let set = set(&[10, 5, 5]).unwrap();
        let leaders: Vec<u16> = (0..40).map(|height| set.leader(height, 0)).collect();
        assert!(!leaders.windows(3).any(|run| run == [0, 0, 0]), "{leaders:?}");
    }

    #[test]
    fn the_hash_covers_order_and_weights() {
        assert_ne!(set(&[1, 2]).unwrap().hash(), set(&[2, 1]).unwrap().hash());
        let pair = set(&[1, 2]).unwrap();
        let swapped = ValidatorSet::new(pair.members().iter().rev().copied().collect()).unwrap();
        assert_ne!(pair.hash(), swapped.hash());
        assert_eq!(pair.index_of(&PublicKey([1; 32])), Some(1));
        assert_eq!(swapped.index_of(&PublicKey([1; 32])), Some(0));
    }

    #[test]
    fn the_wire_form_is_checked_again() {
        let good = set(&[1, 2]).unwrap();
        assert_eq!(crate::decode(&encode(&good), 1000), Ok(good.clone()));
        let mut members = good.members().to_vec();
        members[0].weight = 0;
        assert!(crate::decode::<ValidatorSet>(&encode(&members), 1000).is_err());
    }

    #[test]
    fn less_than_a_third_may_change_at_once() {
        let four = set(&[1, 1, 1, 1]).unwrap();
        let may = |after: &[u64]| set(after).unwrap().may_follow(&four).is_ok();
        assert!(may(&[1, 1, 1, 1]), "nothing changes");
        assert!(may(&[1, 1, 1]), "one leaves");
        assert!(may(&[1, 1, 1, 1, 1]), "one joins");
        assert!(!may(&[1, 1]), "two leave");
        assert!(!may(&[1, 1, 1, 1, 1, 1]), "two join: a third of six");
        assert!(!may(&[1, 1, 1, 4]), "three of seven gained");
        let one = Validator {
            key: PublicKey([9; 32]),
            weight: 1,
        };
        let mut replaced = four.members().to_vec();
        replaced[0] = one;
        assert_eq!(ValidatorSet::new(replaced).unwrap().may_follow(&four), Ok(()));
        let lost = set(&[1, 1]).unwrap().may_follow(&four);
        let expected = ValidatorSetError::TooMuchChange {
            lost: 2,
            before: 4,
            gained: 0,
            after: 2,
        };
        assert_eq!(lost, Err(expected));
    }

    proptest! {
        /// Any quorum before an allowed change shares a validator with any quorum after it.
        #[test]
        fn quorums_of_successive_sets_intersect(
            weights in proptest::collection::vec((0u64..40, 0u64..40), 1..8),
            before_mask: u8,
            after_mask: u8,
        ) {
            let members = |pick: fn(&(u64, u64)) -> u64| {
                let weighted = weights.iter().enumerate().map(|(i, pair)| Validator { key: PublicKey([i as u8; 32]), weight: pick(pair) });
                ValidatorSet::new(weighted.filter(|member| member.weight > 0).collect())
            };
            let (Ok(before), Ok(after)) = (members(|pair| pair.0), members(|pair| pair.1)) else { return Ok(()) };
            if after.may_follow(&before).is_err() {
                return Ok(());
            }
            let weight = |set: &ValidatorSet, mask: u8| -> u64 {
                let chosen = set.members().iter().filter(|member| mask >> member.key.0[0] & 1 == 1);
                chosen.map(|member| member.weight).sum()
            };
            let quorums = before.is_quorum(weight(&before, before_mask)) && after.is_quorum(weight(&after, after_mask));
            prop_assert!(!quorums || before_mask & after_mask != 0);
        }

        /// Over one turn of the circle everybody leads exactly as often as its weight says.
        #[test]
        fn leadership_is_exactly_proportional(weights in proptest::collection::vec(1u64..40, 1..12), start in any::<u32>()) {
            let set = set(&weights).unwrap();
            let mut turns = vec![0u64; weights.len()];
            for height in 0..set.total() {
                turns[usize::from(set.leader(u64::from(start) + height, 0))] += 1;
            }
            prop_assert_eq!(turns, weights);
        }

        /// Two quorums overlap in more than a third; a quorum is always weak.
        #[test]
        fn quorums_intersect(weights in proptest::collection::vec(1u64..1000, 1..10), mask: u16) {
            let set = set(&weights).unwrap();
            let weight: u64 = weights.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, w)| w).sum();
            let rest = set.total() - weight;
            prop_assert!(!(set.is_quorum(weight) && set.is_weak(rest)));
            prop_assert!(set.is_quorum(weight) || set.is_weak(rest));
        }
    }
}
