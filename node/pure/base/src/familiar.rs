//! Keys that come again all the time, while they are few, with the multiples of their points made beforehand.
//!
//! A small set of validators checks the same few keys two or three times a block. With the multiples at hand the term of a
//! key in the equation of a batch takes 28 additions of points and not 50, and that of the base point as well.

use crate::PublicKey;
use curve25519_dalek::{
    constants::ED25519_BASEPOINT_POINT,
    edwards::{EdwardsPoint, VartimeEdwardsPrecomputation},
    scalar::Scalar,
    traits::VartimePrecomputedMultiscalarMul,
};
use std::{collections::BTreeMap, iter};

/// Most keys that are familiar; 10 KiB each. With more the multiples leave the cache: of ten keys in each of ten nodes a
/// check costs an eighth less, and of fifty in each of fifty a quarter more than without.
const KEYS_MAX: usize = 16;
/// So many batches with other keys, and those of today take the place of those that were familiar.
const STRANGE_MAX: u32 = 256;

/// The familiar keys.
#[derive(Default)]
pub(crate) struct Familiar {
    /// Their places among the multiples; that of the base point is 0.
    places: BTreeMap<PublicKey, usize>,
    points: Vec<EdwardsPoint>,
    multiples: Option<VartimeEdwardsPrecomputation>,
    /// Batches with a key for which there was no room.
    strange: u32,
}

impl Familiar {
    /// Keys come together, with their points: they are familiar from now on, if there is room. Of more than there can ever be
    /// room for none is.
    pub(crate) fn meet(&mut self, keys: &[(PublicKey, EdwardsPoint)]) {
        let keys = if keys.len() > KEYS_MAX { &[] } else { keys };
        let is_new = |(key, _): &&(PublicKey, EdwardsPoint)| !self.places.contains_key(key);
        let new: Vec<_> = keys.iter().filter(is_new).copied().collect();
        if new.is_empty() && self.multiples.is_some() {
            return;
        }
        if self.places.len() + new.len() > KEYS_MAX {
            self.strange += 1;
            if self.strange > STRANGE_MAX {
                *self = Self::default();
            }
        }
        for (key, point) in new {
            if self.places.len() < KEYS_MAX && !self.places.contains_key(&key) {
                self.points.push(point);
                self.places.insert(key, self.points.len());
                self.multiples = None;
            }
        }
        if self.multiples.is_none() {
            let all = iter::once(&ED25519_BASEPOINT_POINT).chain(&self.points);
            self.multiples = Some(VartimeEdwardsPrecomputation::new(all));
        }
        debug_assert!(self.places.len() == self.points.len() && self.points.len() <= KEYS_MAX);
    }

    /// Where the factor of a familiar key stands.
    pub(crate) fn place(&self, key: &PublicKey) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Room for the factors of the base point, which is the first one, and of the familiar keys.
    pub(crate) fn factors(&self) -> Vec<Scalar> {
        vec![Scalar::ZERO; 1 + self.points.len()]
    }

    /// The sum of the base point and the familiar keys, each by its factor, and of other points by theirs.
    pub(crate) fn sum(&self, factors: &[Scalar], others: &[(Scalar, EdwardsPoint)]) -> Option<EdwardsPoint> {
        let (scalars, points) = (others.iter().map(|(by, _)| by), others.iter().map(|(_, point)| point));
        let multiples = self.multiples.as_ref()?;
        Some(multiples.vartime_mixed_multiscalar_mul(factors, scalars, points))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}
