//! Maps by transaction that cost few cache misses an access, with hundreds of thousands of entries.
//!
//! Neither can be iterated, so that hash order never shows.

use hashbrown::HashMap;
use regatta_base::{Digest, TransactionId};
use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher},
};

/// Half an id: enough to tell transactions apart, cheaper to compare.
pub(crate) type ShortId = u128;

pub(crate) fn short(id: &TransactionId) -> ShortId {
    id.0.first_chunk::<16>().map_or(0, |half| u128::from_be_bytes(*half))
}

/// A map by half ids.
#[derive(Debug, Default)]
pub(crate) struct ShortMap<V>(HashMap<ShortId, V, Salt>);

impl<V> ShortMap<V> {
    pub(crate) fn new(salt: Salt) -> Self {
        Self(HashMap::with_hasher(salt))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, id: ShortId) -> bool {
        self.0.contains_key(&id)
    }

    /// Adds `value` unless there is one already; says whether there was none.
    pub(crate) fn add(&mut self, id: ShortId, value: V) -> bool {
        self.0.try_insert(id, value).is_ok()
    }

    pub(crate) fn remove(&mut self, id: ShortId) -> Option<V> {
        self.0.remove(&id)
    }
}

/// Slots of a bucket: together they fill a cache line.
const BUCKET: usize = 16;
/// Lower bits of a slot: an entry's number. The bits above are a mark of its id, never 0 in a slot that was used.
const NUMBER_BITS: u32 = 20;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;
/// Most buckets: with 16 slots for each entry a bucket overflows for nobody who does not know the salt.
const BUCKETS_MAX: usize = 1 << NUMBER_BITS;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([u32; BUCKET]);

/// A map by half ids that keeps the newest `most` entries, at about one cache miss for each access.
///
/// Entries lie in a ring in the order of their arrival. A bucket of the table holds numbers of entries, each with a
/// mark of 12 bits, so that the ring is looked at for hardly anything but the right entry. To forget the oldest entry
/// only moves the ring's front: what lies before it counts as free.
#[derive(Debug)]
pub(crate) struct NewestMap<V> {
    salt: Salt,
    buckets: Vec<Bucket>,
    ring: VecDeque<(ShortId, V)>,
    /// Number of the ring's front; numbers wrap.
    first: u32,
    most: usize,
}

impl<V> NewestMap<V> {
    /// An empty map of at most `most` entries, fewer than 2^20.
    pub(crate) fn new(salt: Salt, most: usize) -> Self {
        Self {
            salt,
            buckets: vec![Bucket::default()],
            ring: VecDeque::new(),
            first: 0,
            most: most.min(NUMBER_MASK as usize),
        }
    }

    /// The bucket of an id, and its mark.
    fn place(&self, id: ShortId) -> (usize, u32) {
        let hash = self.salt.hash_one(id);
        let mark = ((hash >> (64 - 32 + NUMBER_BITS)) as u32).max(1);
        (hash as usize % self.buckets.len(), mark << NUMBER_BITS)
    }

    /// How far behind the ring's front the entry of a slot lies.
    fn offset(&self, slot: u32) -> usize {
        (slot.wrapping_sub(self.first) & NUMBER_MASK) as usize
    }

    fn find(&self, id: ShortId) -> Option<usize> {
        let (bucket, mark) = self.place(id);
        let marked = self.buckets[bucket]
            .0
            .iter()
            .filter(|slot| *slot & !NUMBER_MASK == mark);
        marked
            .map(|slot| self.offset(*slot))
            .find(|offset| self.ring.get(*offset).is_some_and(|(found, _)| *found == id))
    }

    pub(crate) fn get(&self, id: ShortId) -> Option<&V> {
        self.ring.get(self.find(id)?).map(|(_, value)| value)
    }

    /// Adds an entry and forgets the oldest one beyond the limit. An entry that is there already keeps its age, and
    /// gets the new value where `replace` says so.
    pub(crate) fn add(&mut self, id: ShortId, value: V, replace: bool) {
        if let Some(offset) = self.find(id) {
            if let Some(entry) = self.ring.get_mut(offset).filter(|_| replace) {
                entry.1 = value;
            }
            return;
        }
        if self.ring.len() >= self.most {
            self.ring.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        self.ring.push_back((id, value));
        while !self.enter(self.ring.len() - 1) && self.grow() {}
    }

    /// Enters the ring's entry at `offset` into the table; `false` when its bucket is full.
    fn enter(&mut self, offset: usize) -> bool {
        let (bucket, mark) = self.place(self.ring[offset].0);
        let number = self.first.wrapping_add(offset as u32) & NUMBER_MASK;
        let is_free = |slot: &u32| *slot == 0 || self.offset(*slot) >= offset;
        let free = self.buckets[bucket].0.iter().position(is_free);
        if let Some(free) = free {
            self.buckets[bucket].0[free] = mark | number;
        }
        free.is_some()
    }

    /// Makes the table larger until every entry but the last one fits; `false` when it may not grow.
    fn grow(&mut self) -> bool {
        let mut count = self.buckets.len() * 2;
        while count <= BUCKETS_MAX {
            self.buckets = vec![Bucket::default(); count];
            if (0..self.ring.len() - 1).all(|offset| self.enter(offset)) {
                return true;
            }
            count *= 2;
        }
        false
    }
}

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
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What a map of the newest three entries is, without any cleverness.
    #[derive(Default)]
    struct Plain {
        order: Vec<ShortId>,
        values: BTreeMap<ShortId, u32>,
    }

    impl Plain {
        fn add(&mut self, id: ShortId, value: u32, replace: bool) {
            if let Some(old) = self.values.get_mut(&id) {
                if replace {
                    *old = value;
                }
                return;
            }
            if self.order.len() == 3 {
                self.values.remove(&self.order.remove(0));
            }
            self.order.push(id);
            self.values.insert(id, value);
        }
    }

    proptest! {
        #[test]
        fn the_newest_entries_are_kept_across_the_wrap_of_their_numbers(
            steps in proptest::collection::vec((0..6u128, any::<bool>()), 0..60),
            before_wrap in 0..8u32,
        ) {
            let (mut map, mut plain) = (NewestMap::new(Salt::new(&[3; 32]), 3), Plain::default());
            map.first = u32::MAX - before_wrap;
            for (value, (id, replace)) in steps.into_iter().enumerate() {
                map.add(id, value as u32, replace);
                plain.add(id, value as u32, replace);
                for id in 0..6 {
                    prop_assert_eq!(map.get(id), plain.values.get(&id));
                }
                prop_assert_eq!(map.ring.len(), plain.order.len());
            }
        }
    }

    #[test]
    fn a_large_map_knows_its_newest_entries_and_no_others() {
        let mut map = NewestMap::new(Salt::new(&[3; 32]), 5_000);
        let id = |n: u64| short(&Digest::of_bytes(&n.to_le_bytes()));
        for n in 0..20_000 {
            map.add(id(n), n, true);
        }
        assert!((0..15_000).all(|n| map.get(id(n)).is_none()));
        assert!((15_000..20_000).all(|n| map.get(id(n)) == Some(&n)));
        assert!(map.buckets.len() <= 2_048, "{}", map.buckets.len());
    }

    #[test]
    fn what_is_added_first_stays_until_it_is_removed() {
        let mut map = ShortMap::new(Salt::default());
        assert!(map.is_empty() && map.add(1, 'a') && !map.add(1, 'b'));
        assert!(map.contains(1) && !map.contains(2));
        assert_eq!((map.len(), map.remove(1), map.remove(1)), (1, Some('a'), None));
    }

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
