//! A Merkle tree over 32-byte keys whose shape depends on its contents only, not on their history.
//!
//! A crit-bit (PATRICIA) tree: an inner node names the first bit in which its two sides differ. Every
//! node caches its hash, so that a root after k changes among n entries costs about k·log n hashes.
//! Source: Morrison, "PATRICIA", J. ACM 15 (1968); hashing as in any binary Merkle tree, with leaf and
//! inner nodes in separate domains.

use regatta_base::Digest;

/// A key of the tree: uniformly distributed, because it is itself a digest.
pub type TrieKey = [u8; 32];

/// Authenticated map from digests to digests.
#[derive(Debug, Clone, Default)]
pub struct Trie {
    root: Option<Box<Node>>,
    length: usize,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf {
        key: TrieKey,
        hash: Digest,
    },
    Inner {
        bit: u16,
        zero: Box<Node>,
        one: Box<Node>,
        hash: Option<Digest>,
    },
}

/// The `bit`-th bit of `key`, most significant first.
fn bit_of(key: &TrieKey, bit: u16) -> bool {
    key[usize::from(bit / 8)] & (0x80 >> (bit % 8)) != 0
}

/// The first bit in which two keys differ.
fn first_difference(a: &TrieKey, b: &TrieKey) -> Option<u16> {
    let byte = (0..32).find(|&i| a[i] != b[i])?;
    Some(byte as u16 * 8 + (a[byte] ^ b[byte]).leading_zeros() as u16)
}

fn leaf_hash(key: &TrieKey, value: &Digest) -> Digest {
    Digest::of("regatta state leaf v1", &[key, &value.0])
}

impl Trie {
    /// Sets `key` to `value`.
    pub fn insert(&mut self, key: TrieKey, value: &Digest) {
        let leaf = Node::Leaf {
            key,
            hash: leaf_hash(&key, value),
        };
        let Some(root) = &mut self.root else {
            self.root = Some(Box::new(leaf));
            self.length = 1;
            return;
        };
        let difference = first_difference(root.nearest(&key), &key);
        self.length += usize::from(difference.is_some());
        root.insert(key, leaf, difference);
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The digest of everything it holds; [`Digest::ZERO`] when empty.
    pub fn root(&mut self) -> Digest {
        self.root.as_mut().map_or(Digest::ZERO, |root| root.hash())
    }
}

impl Node {
    /// The key of a leaf that agrees with `key` on every bit that the path tests.
    fn nearest(&self, key: &TrieKey) -> &TrieKey {
        let mut node = self;
        loop {
            match node {
                Self::Leaf { key, .. } => return key,
                Self::Inner { bit, zero, one, .. } => node = if bit_of(key, *bit) { one } else { zero },
            }
        }
    }

    /// Puts `leaf` where its key belongs; `difference` is the bit that sets it apart from all others on
    /// its path, or `None` when its key is already there.
    fn insert(&mut self, key: TrieKey, leaf: Self, difference: Option<u16>) {
        let mut node = self;
        while let Self::Inner { bit, .. } = node
            && difference.is_none_or(|difference| *bit < difference)
        {
            let Self::Inner { bit, zero, one, hash } = node else {
                return;
            };
            *hash = None;
            node = if bit_of(&key, *bit) { one } else { zero };
        }
        let Some(bit) = difference else {
            *node = leaf;
            return;
        };
        let other = Box::new(std::mem::replace(
            node,
            Self::Leaf {
                key,
                hash: Digest::ZERO,
            },
        ));
        let leaf = Box::new(leaf);
        let (zero, one) = if bit_of(&key, bit) {
            (other, leaf)
        } else {
            (leaf, other)
        };
        *node = Self::Inner {
            bit,
            zero,
            one,
            hash: None,
        };
    }

    /// Depth of the recursion is at most 256, the number of bits of a key.
    fn hash(&mut self) -> Digest {
        match self {
            Self::Leaf { hash, .. } | Self::Inner { hash: Some(hash), .. } => *hash,
            Self::Inner { bit, zero, one, hash } => {
                let parts: [&[u8]; 3] = [&bit.to_be_bytes(), &zero.hash().0, &one.hash().0];
                *hash.insert(Digest::of("regatta state node v1", &parts))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(n: u64) -> TrieKey {
        Digest::of("key", &[&n.to_be_bytes()]).0
    }

    #[test]
    fn every_change_changes_the_root_and_undoing_it_restores_it() {
        let mut trie = Trie::default();
        assert_eq!(trie.root(), Digest::ZERO);
        trie.insert(key(1), &Digest([1; 32]));
        let one = trie.root();
        trie.insert(key(2), &Digest([2; 32]));
        let two = trie.root();
        trie.insert(key(1), &Digest([9; 32]));
        assert!(one != two && two != trie.root() && trie.len() == 2);
        trie.insert(key(1), &Digest([1; 32]));
        assert_eq!(trie.root(), two);
    }

    #[test]
    fn keys_that_differ_in_the_last_bit_only_are_told_apart() {
        let (mut a, mut b) = ([7; 32], [7; 32]);
        (a[31], b[31]) = (6, 7);
        let mut trie = Trie::default();
        trie.insert(a, &Digest([1; 32]));
        trie.insert(b, &Digest([1; 32]));
        assert_eq!(trie.len(), 2);
    }

    proptest! {
        #[test]
        fn the_root_depends_on_contents_and_not_on_history(entries in proptest::collection::vec((0u64..40, any::<u8>()), 1..120)) {
            let mut forward = Trie::default();
            for (n, value) in &entries {
                forward.insert(key(*n), &Digest([*value; 32]));
                // Asking in between must not disturb later roots.
                forward.root();
            }
            let last: BTreeMap<u64, u8> = entries.iter().copied().collect();
            let mut sorted = Trie::default();
            for (n, value) in last.iter().rev() {
                sorted.insert(key(*n), &Digest([*value; 32]));
            }
            prop_assert_eq!(forward.root(), sorted.root());
            prop_assert_eq!(forward.len(), last.len());
        }
    }
}
