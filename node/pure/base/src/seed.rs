//! One seed, many independent streams: every random choice names what it is for.

use crate::Digest;
use rand::{SeedableRng, rngs::ChaCha8Rng};

/// A reproducible generator for `label` under `seed`; equal inputs give equal streams on every machine.
#[must_use]
pub fn rng(seed: u64, label: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(bytes(seed, label))
}

/// 32 reproducible bytes for `label` under `seed`, e.g. for a development key.
#[must_use]
pub fn bytes(seed: u64, label: &str) -> [u8; 32] {
    Digest::of("regatta seed v1", &[&seed.to_be_bytes(), label.as_bytes()]).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_are_reproducible_and_independent() {
        assert_eq!(rng(1, "graph").random::<u64>(), rng(1, "graph").random::<u64>());
        assert_ne!(rng(1, "graph").random::<u64>(), rng(1, "arrivals").random::<u64>());
        assert_ne!(rng(1, "graph").random::<u64>(), rng(2, "graph").random::<u64>());
    }
}
