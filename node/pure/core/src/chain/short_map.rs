//! A map by transaction that costs a few nanoseconds an access, with hundreds of thousands of entries.
//!
//! Iteration follows insertion, as in any `IndexMap`, so that hash order never shows.

use indexmap::IndexMap;
use regatta_base::{Digest, TransactionId};
use std::hash::{BuildHasher, Hasher};

/// Half an id: enough to tell transactions apart, cheaper to compare.
pub(crate) type ShortId = u128;

pub(crate) fn short(id: &TransactionId) -> ShortId {
    id.0.first_chunk::<16>().map_or(0, |half| u128::from_be_bytes(*half))
}

/// A map by half ids.
pub(crate) type ShortMap<V> = IndexMap<ShortId, V, Salt>;

/// Ids are digests, so they need little hashing; the salt keeps a client that grinds ids from filling
/// one bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Salt(u64);

impl Salt {
    /// A salt that only the holder of `secret` can know.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(crate::wire::prefix(
            &Digest::of("regatta short map salt v1", &[secret]).0,
        ))
    }
}

impl BuildHasher for Salt {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold(self.0)
    }
}

/// Folds what is written into 64 bits by one wide multiplication.
#[derive(Debug)]
pub(crate) struct Fold(u64);

/// The odd fraction of the golden ratio, as in Fibonacci hashing (Knuth, TAOCP 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u128(u128::from(byte));
        }
    }

    fn write_u128(&mut self, value: u128) {
        let mixed = (value as u64) ^ ((value >> 64) as u64) ^ self.0;
        let product = u128::from(mixed) * u128::from(GOLDEN);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_low_bits_do_not_meet_in_one_bucket() {
        let salt = Salt::new(&[7; 32]);
        let bucket = |n: u128| salt.hash_one(n << 64) & 0xfff;
        let buckets: std::collections::BTreeSet<u64> = (0..2000).map(bucket).collect();
        assert!(
            buckets.len() > 1300,
            "{} of about 1,580 that chance would use",
            buckets.len()
        );
    }

    #[test]
    fn the_salt_decides_where_ids_go() {
        let (a, b) = (Salt::new(&[1; 32]), Salt::new(&[2; 32]));
        assert_eq!(a.hash_one(5_u128), a.hash_one(5_u128));
        assert_ne!(a.hash_one(5_u128), b.hash_one(5_u128));
    }
}
