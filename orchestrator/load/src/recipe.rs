//! How transaction number i of a load is made: a function of the seed alone, so that any thread can make it.

use crate::{LoadError, LoadSpec, spec::TRANSACTION_BYTES_MAX};
use bytes::Bytes;
use rand::RngExt;
use regatta_apps::{
    Domain,
    transaction::{SIGNED_BYTES_MIN, blob, opaque, put},
    transaction_ids,
};
use regatta_base::{HexBytes, SecretKey, TransactionId, limits, seed};
use regatta_plan::scenario::TransactionKind;
use std::ops::Range;

/// Bytes at the front of a payload that make it unique: the load's salt and the transaction's number.
const UNIQUE_BYTES: usize = 16;
/// Keys that `put` transactions write to in turn: bounds the state that a long load leaves behind.
const PUT_KEYS: u64 = 65_536;
/// Length of such a key in bytes, and of the length field before it.
const PUT_KEY_BYTES: usize = 8;
const PUT_LENGTH_BYTES: usize = 2;
/// Most transactions of a chunk, and about how many bytes it has at most.
const CHUNK: (usize, usize) = (256, 1 << 20);

/// A transaction ready to send.
pub type Built = (TransactionId, HexBytes);
/// Consecutive transactions of the schedule.
pub type Chunk = Vec<Built>;

/// How the transactions of one load are made.
pub struct Recipe {
    domain: Domain,
    seed: u64,
    label: String,
    /// Kinds with the upper end of their share of [0, 1).
    mix: Vec<(TransactionKind, f64)>,
    size: usize,
    accounts: Vec<SecretKey>,
    filler: Vec<u8>,
    count: usize,
    run: usize,
    targets: usize,
}

impl Recipe {
    /// The recipe for `count` transactions of `spec`, in runs of `run` to one target.
    ///
    /// # Errors
    /// [`LoadError`] when a kind cannot be built at that size, or there is no target.
    pub fn new(spec: &LoadSpec, count: usize, run: usize) -> Result<Self, LoadError> {
        let load = spec.load.index;
        if spec.targets.is_empty() {
            return Err(LoadError::NoTarget { load });
        }
        let mut upper = 0.0;
        let mut mix = Vec::new();
        for &(kind, share) in &spec.load.mix {
            check_size(load, kind, spec.load.size as usize)?;
            upper += share;
            mix.push((kind, upper));
        }
        let label = format!("load/{load}/{}", spec.salt);
        let key = |i| SecretKey::from_seed(seed::bytes(spec.seed, &format!("{label}/account/{i}")));
        let mut filler = vec![0; spec.load.size as usize];
        seed::rng(spec.seed, &format!("{label}/payload")).fill(&mut filler[..]);
        Ok(Self {
            domain: Domain::new(&spec.chain, &spec.instance),
            seed: spec.seed,
            mix,
            size: spec.load.size as usize,
            accounts: (0..spec.load.senders.max(1)).map(key).collect(),
            filler,
            label,
            count,
            run,
            targets: spec.targets.len(),
        })
    }

    /// Number of transactions.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Transactions of a chunk.
    pub fn chunk_len(&self) -> usize {
        (CHUNK.1 / self.size.max(1)).clamp(1, CHUNK.0)
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.count.div_ceil(self.chunk_len())
    }

    /// Bytes of memory that a chunk takes, about.
    pub fn chunk_bytes(&self) -> usize {
        // Id, handle and allocation beside the bytes themselves.
        self.chunk_len() * (self.size + 128)
    }

    /// Which target gets transaction `index`: whole runs go round the targets.
    pub fn target(&self, index: usize) -> usize {
        index / self.run % self.targets
    }

    /// Account and sequence number of transaction `index`.
    ///
    /// An account belongs to one target where there are enough accounts, so that its transactions take one way
    /// and stay close to the order of their sequence numbers.
    fn sender(&self, index: usize) -> (usize, u64) {
        let (target, senders, targets) = (self.target(index), self.accounts.len(), self.targets);
        let turn = index / (self.run * targets) * self.run + index % self.run;
        if senders >= targets {
            let own = (senders - target).div_ceil(targets);
            (target + targets * (turn % own), (turn / own) as u64 + 1)
        } else {
            let account = target % senders;
            let sharers = (targets - account).div_ceil(senders);
            (account, (turn * sharers + target / senders) as u64 + 1)
        }
    }

    /// Chunk number `number`, from 0.
    pub fn chunk(&self, number: usize) -> Chunk {
        let start = number * self.chunk_len();
        let indices: Range<usize> = start..(start + self.chunk_len()).min(self.count);
        let mut rng = seed::rng(self.seed, &format!("{}/mix/{number}", self.label));
        let mut payload = self.filler.clone();
        let built: Vec<Bytes> = indices
            .map(|index| {
                let kind = match self.mix.as_slice() {
                    [(kind, _)] => *kind,
                    mix => pick(mix, rng.random()),
                };
                self.build(index, kind, &mut payload)
            })
            .collect();
        let slices: Vec<&[u8]> = built.iter().map(|bytes| &bytes[..]).collect();
        let ids = transaction_ids(&self.domain, &slices);
        // In one piece of memory: the sender's thread then frees one allocation of this thread and not hundreds.
        let mut rest = Bytes::from(slices.concat());
        let with_id = |(id, bytes): (Result<TransactionId, _>, &Bytes)| {
            let id = id.expect("what the recipe builds has the right layout");
            (id, HexBytes(rest.split_to(bytes.len())))
        };
        ids.into_iter().zip(&built).map(with_id).collect()
    }

    /// The bytes of transaction `index`, `self.size` of them. `payload` is scratch space with the filler in it.
    fn build(&self, index: usize, kind: TransactionKind, payload: &mut [u8]) -> Bytes {
        let number = (index as u64).to_be_bytes();
        if kind == TransactionKind::Blob {
            // The filler's first bytes stay: they are the salt that tells two loads on one cluster apart.
            payload[8..UNIQUE_BYTES].copy_from_slice(&number);
            return blob(&payload[..self.size - 1]);
        }
        let (account, sequence) = self.sender(index);
        let (secret, length) = (&self.accounts[account], self.size - SIGNED_BYTES_MIN);
        if kind == TransactionKind::Put {
            // An odd factor permutes the keys, so that neighbours in time are not neighbours in the state.
            let key = (index as u64 % PUT_KEYS)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_be_bytes();
            let value = &payload[..length - PUT_LENGTH_BYTES - PUT_KEY_BYTES];
            put(&self.domain, secret, sequence, &key, value)
        } else {
            opaque(&self.domain, secret, sequence, &payload[..length])
        }
    }
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipe({} transactions of {} bytes)", self.count, self.size)
    }
}

fn pick(mix: &[(TransactionKind, f64)], draw: f64) -> TransactionKind {
    let found = mix.iter().find(|(_, upper)| draw < *upper).or(mix.last());
    found.map_or(TransactionKind::Opaque, |(kind, _)| *kind)
}

fn check_size(load: u32, kind: TransactionKind, size: usize) -> Result<(), LoadError> {
    let put_overhead = SIGNED_BYTES_MIN + PUT_LENGTH_BYTES + PUT_KEY_BYTES;
    let (min, max) = match kind {
        TransactionKind::Blob => (1 + UNIQUE_BYTES, TRANSACTION_BYTES_MAX),
        TransactionKind::Opaque => (SIGNED_BYTES_MIN, TRANSACTION_BYTES_MAX),
        TransactionKind::Put => (put_overhead, put_overhead + limits::STATE_VALUE_BYTES_MAX),
        TransactionKind::Kudos | TransactionKind::Multichat => return Err(LoadError::Kind { load, kind }),
    };
    if (min..=max).contains(&size) {
        Ok(())
    } else {
        Err(LoadError::Size {
            load,
            kind,
            size,
            min,
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{endpoint, spec};
    use proptest::prelude::*;
    use regatta_apps::check_transactions;
    use regatta_base::Keyring;
    use std::collections::BTreeSet;

    fn recipe(senders: u32, targets: usize, run: usize, mix: &[(TransactionKind, f64)]) -> Recipe {
        let mut spec = spec(1.0, 1);
        spec.load.senders = senders;
        spec.load.mix = mix.to_vec();
        spec.targets = (0..targets as u32).map(endpoint).collect();
        Recipe::new(&spec, 1000, run).unwrap()
    }

    const ALL: &[(TransactionKind, f64)] = &[
        (TransactionKind::Opaque, 0.4),
        (TransactionKind::Put, 0.3),
        (TransactionKind::Blob, 0.3),
    ];

    #[test]
    fn every_transaction_is_valid_unique_and_of_the_size_asked_for() {
        let recipe = recipe(7, 3, 4, ALL);
        let mut ids = BTreeSet::new();
        let mut kinds = BTreeSet::new();
        for number in 0..recipe.chunks() {
            let chunk = recipe.chunk(number);
            let bytes: Vec<Bytes> = chunk.iter().map(|(_, bytes)| bytes.0.clone()).collect();
            assert!(bytes.iter().all(|bytes| bytes.len() == 512));
            kinds.extend(bytes.iter().map(|bytes| bytes[0]));
            let checked = check_transactions(
                &recipe.domain,
                bytes,
                &mut Keyring::default(),
                &mut seed::rng(1, "test"),
            );
            for (result, (id, _)) in checked.into_iter().zip(&chunk) {
                assert_eq!(result.map(|checked| checked.id), Ok(*id));
                assert!(ids.insert(*id));
            }
        }
        assert_eq!((ids.len(), kinds.len()), (1000, 3));
    }

    #[test]
    fn equal_seeds_give_equal_bytes_and_another_salt_gives_others() {
        let again = recipe(7, 3, 4, ALL).chunk(1);
        assert_eq!(recipe(7, 3, 4, ALL).chunk(1), again);
        let mut spec = spec(1.0, 1);
        spec.salt = "second".to_owned();
        spec.load.mix = ALL.to_vec();
        let other = Recipe::new(&spec, 1000, 4).unwrap().chunk(1);
        let ids: BTreeSet<_> = again.iter().map(|(id, _)| id).collect();
        assert!(other.iter().all(|(id, _)| !ids.contains(id)));
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_the_range() {
        for (kind, size) in [
            (TransactionKind::Opaque, 104),
            (TransactionKind::Put, 114),
            (TransactionKind::Put, 70_000),
            (TransactionKind::Blob, 16),
            (TransactionKind::Blob, 300_000),
        ] {
            let error = check_size(0, kind, size).unwrap_err();
            assert!(matches!(error, LoadError::Size { .. }), "{error}");
        }
        assert!(matches!(
            check_size(0, TransactionKind::Kudos, 512),
            Err(LoadError::Kind { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_account_uses_a_sequence_number_twice(senders in 1u32..20, targets in 1usize..20, run in 1usize..9) {
            let recipe = recipe(senders, targets, run, &[(TransactionKind::Blob, 1.0)]);
            let mut used = BTreeSet::new();
            for index in 0..1000 {
                prop_assert!(used.insert(recipe.sender(index)));
            }
            // Close to order: no account's numbers run ahead of what it has used by more than two runs of all.
            for account in 0..senders as usize {
                let highest = used.iter().filter(|(a, _)| *a == account).map(|(_, s)| *s).max().unwrap_or(0);
                let count = used.iter().filter(|(a, _)| *a == account).count() as u64;
                prop_assert!(highest <= count + 2 * (run * targets) as u64);
            }
        }
    }
}
