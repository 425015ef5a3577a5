//! A bitmap over the validator set: who signed.

use serde::{Deserialize, Serialize};

/// A set of signer indices; bit `i % 8` of byte `i / 8` stands for signer `i`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signers(#[serde(with = "serde_bytes")] Vec<u8>);

impl Signers {
    /// The signers `members` of a set of `size` validators; indices beyond it are left out.
    #[must_use]
    pub fn of(size: usize, members: impl IntoIterator<Item = u16>) -> Self {
        let mut bytes = vec![0; size.div_ceil(8)];
        for signer in members.into_iter().map(usize::from).filter(|&signer| signer < size) {
            bytes[signer / 8] |= 1 << (signer % 8);
        }
        Self(bytes)
    }

    /// How many signers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether `signer` is one of them.
    #[must_use]
    pub fn contains(&self, signer: u16) -> bool {
        let signer = usize::from(signer);
        self.0.get(signer / 8).is_some_and(|byte| byte >> (signer % 8) & 1 == 1)
    }

    /// The signers in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let indices = 0..u16::try_from(self.0.len() * 8).unwrap_or(u16::MAX);
        indices.filter(|&signer| self.contains(signer))
    }

    /// Whether this is the one bitmap form for a set of `size` validators: exact length, no bit beyond.
    pub(crate) fn fits(&self, size: usize) -> bool {
        let beyond = (size..size.next_multiple_of(8)).any(|signer| self.contains(signer as u16));
        self.0.len() == size.div_ceil(8) && !beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn only_one_form_fits_a_set() {
        assert!(Signers::of(9, [0, 8]).fits(9));
        assert!(!Signers::of(9, [0, 8]).fits(8), "too long");
        assert!(!Signers::of(8, [0]).fits(9), "too short");
        assert!(!Signers::of(16, [9]).fits(9), "a bit beyond the set");
        assert!(!Signers::default().fits(1));
    }

    proptest! {
        #[test]
        fn members_come_back_in_order(size in 1usize..300, members in proptest::collection::btree_set(0u16..400, 0..50)) {
            let inside: BTreeSet<u16> = members.iter().copied().filter(|&m| usize::from(m) < size).collect();
            let signers = Signers::of(size, members.iter().copied());
            prop_assert!(signers.fits(size));
            prop_assert_eq!(signers.count(), inside.len());
            prop_assert!(signers.iter().eq(inside.iter().copied()));
            prop_assert!(members.iter().all(|&m| signers.contains(m) == inside.contains(&m)));
        }
    }
}
