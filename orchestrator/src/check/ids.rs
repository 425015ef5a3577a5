//! A sorted index of ids: 32 bytes a transaction, built and searched without hashing.

use regatta_base::TransactionId;

/// The first 16 bytes of an id; two different ids that share them would take 2^64 attempts to find.
pub(crate) type Prefix = u128;

pub(crate) fn prefix(id: &TransactionId) -> Prefix {
    let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = id.0;
    u128::from_be_bytes(first)
}

/// Ids with their positions, sorted.
#[derive(Debug)]
pub(crate) struct IdIndex {
    sorted: Vec<(Prefix, u32)>,
}

impl IdIndex {
    pub(crate) fn new<'a>(ids: impl Iterator<Item = &'a TransactionId>) -> Self {
        let mut sorted: Vec<(Prefix, u32)> = ids.map(prefix).zip(0..).collect();
        sorted.sort_unstable();
        Self { sorted }
    }

    /// Whether `id` is among them.
    pub(crate) fn contains(&self, id: &TransactionId) -> bool {
        let wanted = prefix(id);
        self.sorted.binary_search_by_key(&wanted, |&(prefix, _)| prefix).is_ok()
    }

    /// Groups of positions that share an id, of two or more.
    pub(crate) fn repeated(&self) -> impl Iterator<Item = &[(Prefix, u32)]> {
        self.sorted.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_base::Digest;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_knows_exactly_its_ids_and_their_repetitions(numbers in proptest::collection::vec(0u8..30, 0..60)) {
            let id = |number: u8| Digest::of("test", &[&[number]]);
            let ids: Vec<Digest> = numbers.iter().map(|&number| id(number)).collect();
            let index = IdIndex::new(ids.iter());
            let known: BTreeSet<u8> = numbers.iter().copied().collect();
            for number in 0..40 {
                prop_assert_eq!(index.contains(&id(number)), known.contains(&number));
            }
            let extra: usize = index.repeated().map(|group| group.len() - 1).sum();
            prop_assert_eq!(extra, numbers.len() - known.len());
        }
    }
}
