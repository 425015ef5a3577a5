//! The state of one instance: accounts, a key-value map and the validator set, under one Merkle root.

mod dump;

pub use dump::{AccountEntry, LoadError, PIECE_BYTES_MAX, StateLoader, StatePiece, ValueEntry};

use crate::{
    change::ChangeView,
    transaction::View,
    trie::{Trie, TrieKey},
};
use dump::Dump;
use regatta_api::view::{Failure, Outcome};
use regatta_base::{Digest, PublicKey, ValidatorSet, limits};
use std::collections::{BTreeMap, BTreeSet};

const WINDOW_WORDS: usize = (limits::SEQUENCE_WINDOW / 64) as usize;
/// What an account takes of the state's size limit, in bytes.
const ACCOUNT_BYTES: usize = 32 + 8 + WINDOW_WORDS * 8;

/// Which sequence numbers a sender used: the highest, and one bit for each of the window below it.
///
/// The anti-replay window of RFC 4303, section 3.4.3, over transactions instead of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    highest: u64,
    /// Bit i is set when `highest - i` is used.
    used: [u64; WINDOW_WORDS],
}

impl Default for Account {
    fn default() -> Self {
        Self {
            highest: 0,
            used: [0; WINDOW_WORDS],
        }
    }
}

impl Account {
    fn check(&self, sequence: u64) -> Result<(), Failure> {
        match self.highest.checked_sub(sequence) {
            None => Ok(()),
            Some(age) if age >= limits::SEQUENCE_WINDOW => Err(Failure::SequenceTooOld),
            Some(age) if self.bit(age) => Err(Failure::SequenceUsed),
            Some(_) => Ok(()),
        }
    }

    fn bit(&self, age: u64) -> bool {
        self.used[(age / 64) as usize] & (1 << (age % 64)) != 0
    }

    /// Marks a number that [`Account::check`] allowed.
    fn mark(&mut self, sequence: u64) {
        if sequence > self.highest {
            self.shift(sequence - self.highest);
            self.highest = sequence;
        }
        let age = self.highest - sequence;
        self.used[(age / 64) as usize] |= 1 << (age % 64);
    }

    /// Makes every used number `by` older.
    fn shift(&mut self, by: u64) {
        let (words, bits) = ((by / 64) as usize, (by % 64) as u32);
        for i in (0..WINDOW_WORDS).rev() {
            let at = |index: Option<usize>| index.map_or(0, |index| self.used[index]);
            let low = at(i.checked_sub(words));
            let carry = if bits == 0 {
                0
            } else {
                at(i.checked_sub(words + 1)) >> (64 - bits)
            };
            self.used[i] = (low << bits) | carry;
        }
    }

    fn digest(&self) -> Digest {
        let mut bytes = [0; 8 + WINDOW_WORDS * 8];
        bytes[..8].copy_from_slice(&self.highest.to_be_bytes());
        for (i, word) in self.used.iter().enumerate() {
            bytes[8 + i * 8..16 + i * 8].copy_from_slice(&word.to_be_bytes());
        }
        Digest::of("regatta account v1", &[&bytes])
    }
}

/// The validators as the state knows them: each change makes the next version.
#[derive(Debug, Clone)]
struct Committee {
    version: u64,
    set: ValidatorSet,
    /// The set before the current block, while that block has changed it.
    before: Option<ValidatorSet>,
    dirty: bool,
}

impl Committee {
    /// Replaces the set as its members agreed to, if they have.
    fn change(&mut self, change: &ChangeView<'_>) -> Result<(), Failure> {
        if change.version != self.version {
            return Err(Failure::ValidatorsVersion);
        }
        if !self.set.is_quorum(change.weight_in(&self.set)) {
            return Err(Failure::ValidatorsUnsigned);
        }
        let next = change.applied_to(&self.set).map_err(|_| Failure::ValidatorsUnfit)?;
        let before = self.before.as_ref().unwrap_or(&self.set);
        // However many changes a block has, together they must not be too much.
        next.may_follow(before).map_err(|_| Failure::ValidatorsUnfit)?;
        let before = std::mem::replace(&mut self.set, next);
        self.before.get_or_insert(before);
        self.version += 1;
        self.dirty = true;
        Ok(())
    }
}

/// Accounts, values and validators of one instance.
#[derive(Debug, Clone, Default)]
pub struct State {
    committee: Option<Committee>,
    accounts: BTreeMap<PublicKey, Account>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
    trie: Trie,
    dirty_accounts: BTreeSet<PublicKey>,
    dirty_values: BTreeSet<Vec<u8>>,
    dump: Option<Dump>,
}

impl State {
    /// The state before the first block of an instance that these validators begin.
    #[must_use]
    pub fn new(genesis: ValidatorSet) -> Self {
        let committee = Committee {
            version: 0,
            set: genesis,
            before: None,
            dirty: true,
        };
        Self {
            committee: Some(committee),
            ..Self::default()
        }
    }

    /// Version of the validator set and the set itself, as the last executed transaction left it.
    #[must_use]
    pub fn validators(&self) -> Option<(u64, &ValidatorSet)> {
        let committee = self.committee.as_ref()?;
        Some((committee.version, &committee.set))
    }

    /// Ends a block: gives the validator set if the block changed it.
    pub fn take_validators_change(&mut self) -> Option<ValidatorSet> {
        let committee = self.committee.as_mut()?;
        let before = committee.before.take()?;
        (before != committee.set).then(|| committee.set.clone())
    }

    /// Executes one transaction whose signature was checked before.
    pub fn execute(&mut self, view: &View<'_>) -> Outcome {
        match *view {
            View::Blob { .. } => Outcome::Ok,
            View::Opaque { sender, sequence, .. } => self
                .use_sequence(sender, sequence, 0)
                .map_or_else(Outcome::Failed, |()| Outcome::Ok),
            View::Put {
                sender,
                sequence,
                key,
                value,
            } => self
                .put(sender, sequence, key, value)
                .map_or_else(Outcome::Failed, |()| Outcome::Ok),
            View::Validators(change) => {
                let committee = self.committee.as_mut().ok_or(Failure::ValidatorsVersion);
                let changed = committee.and_then(|committee| committee.change(&change));
                changed.map_or_else(Outcome::Failed, |()| Outcome::Ok)
            }
        }
    }

    fn use_sequence(&mut self, sender: PublicKey, sequence: u64, more_bytes: usize) -> Result<(), Failure> {
        let account_bytes = match self.accounts.get(&sender) {
            Some(account) => account.check(sequence).map(|()| 0)?,
            None => ACCOUNT_BYTES,
        };
        if self.bytes + account_bytes + more_bytes > limits::STATE_BYTES_MAX {
            return Err(Failure::StateFull);
        }
        self.bytes += account_bytes + more_bytes;
        self.keep_account(&sender);
        self.accounts.entry(sender).or_default().mark(sequence);
        self.dirty_accounts.insert(sender);
        Ok(())
    }

    fn put(&mut self, sender: PublicKey, sequence: u64, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let before = self.values.get(key).map_or(0, |old| key.len() + old.len());
        self.use_sequence(sender, sequence, key.len() + value.len())?;
        self.bytes -= before;
        self.keep_value(key);
        self.values.insert(key.to_vec(), value.to_vec());
        self.dirty_values.insert(key.to_vec());
        Ok(())
    }

    /// Whether `sequence` could still take effect for `sender`, as of now.
    ///
    /// # Errors
    /// Why it could not.
    pub fn check_sequence(&self, sender: &PublicKey, sequence: u64) -> Result<(), Failure> {
        self.accounts
            .get(sender)
            .map_or(Ok(()), |account| account.check(sequence))
    }

    /// The sender's highest used sequence number; 0 before the first.
    #[must_use]
    pub fn highest_sequence(&self, sender: &PublicKey) -> u64 {
        self.accounts.get(sender).map_or(0, |account| account.highest)
    }

    /// The value at `key`.
    #[must_use]
    pub fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// What it takes of its size limit, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The Merkle root over everything, brought up to date.
    pub fn root(&mut self) -> Digest {
        for sender in std::mem::take(&mut self.dirty_accounts) {
            if let Some(account) = self.accounts.get(&sender) {
                self.trie
                    .insert(trie_key("regatta account key v1", &sender.0), &account.digest());
            }
        }
        for key in std::mem::take(&mut self.dirty_values) {
            if let Some(value) = self.values.get(&key) {
                self.trie.insert(
                    trie_key("regatta value key v1", &key),
                    &Digest::of("regatta value v1", &[value]),
                );
            }
        }
        if let Some(committee) = self.committee.as_mut().filter(|committee| committee.dirty) {
            committee.dirty = false;
            let parts: [&[u8]; 2] = [&committee.version.to_be_bytes(), &committee.set.hash().0];
            self.trie.insert(
                trie_key("regatta validators key v1", &[]),
                &Digest::of("regatta validators v1", &parts),
            );
        }
        self.trie.root()
    }
}

fn trie_key(domain: &str, bytes: &[u8]) -> TrieKey {
    Digest::of(domain, &[bytes]).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, change};
    use proptest::prelude::*;
    use regatta_base::{SecretKey, Validator};

    const SENDER: PublicKey = PublicKey([1; 32]);
    const OTHER: PublicKey = PublicKey([2; 32]);

    fn opaque(sequence: u64) -> View<'static> {
        View::Opaque {
            sender: SENDER,
            sequence,
            payload: b"",
        }
    }

    fn put<'a>(sequence: u64, key: &'a [u8], value: &'a [u8]) -> View<'a> {
        View::Put {
            sender: OTHER,
            sequence,
            key,
            value,
        }
    }

    #[test]
    fn a_sequence_number_works_once_and_in_any_order() {
        let mut state = State::default();
        for sequence in [5, 3, 900, 4] {
            assert_eq!(state.execute(&opaque(sequence)), Outcome::Ok, "{sequence}");
        }
        for sequence in [5, 3, 900, 4] {
            assert_eq!(
                state.execute(&opaque(sequence)),
                Outcome::Failed(Failure::SequenceUsed),
                "{sequence}"
            );
        }
        assert_eq!(state.execute(&opaque(5000)), Outcome::Ok);
        assert_eq!(state.execute(&opaque(1)), Outcome::Failed(Failure::SequenceTooOld));
        assert_eq!(state.highest_sequence(&SENDER), 5000);
    }

    #[test]
    fn a_failed_transaction_leaves_the_root_alone() {
        let mut state = State::default();
        state.execute(&put(1, b"k", b"v"));
        let root = state.root();
        assert_eq!(
            state.execute(&put(1, b"k", b"w")),
            Outcome::Failed(Failure::SequenceUsed)
        );
        assert_eq!((state.root(), state.value(b"k")), (root, Some(b"v".as_slice())));
        assert_eq!(state.execute(&View::Blob { payload: b"x" }), Outcome::Ok);
        assert_eq!(state.root(), root);
        assert_eq!(state.execute(&put(2, b"k", b"w")), Outcome::Ok);
        assert_ne!(state.root(), root);
    }

    #[test]
    fn overwriting_does_not_grow_the_state() {
        let mut state = State::default();
        state.execute(&put(1, b"k", b"0123456789"));
        let bytes = state.bytes;
        for sequence in 2..50 {
            state.execute(&put(sequence, b"k", b"9876543210"));
        }
        assert_eq!(state.bytes, bytes);
        state.execute(&put(50, b"k", b""));
        assert_eq!(state.bytes, bytes - 10);
    }

    #[test]
    fn a_full_state_refuses_writes_without_using_the_number() {
        let mut state = State {
            bytes: limits::STATE_BYTES_MAX - ACCOUNT_BYTES,
            ..State::default()
        };
        assert_eq!(state.execute(&put(1, b"k", b"v")), Outcome::Failed(Failure::StateFull));
        assert_eq!(state.check_sequence(&OTHER, 1), Ok(()));
        assert_eq!(state.highest_sequence(&OTHER), 0);
    }

    fn secret(index: u8) -> SecretKey {
        SecretKey::from_seed([index; 32])
    }

    /// Four validators of weight 3.
    fn four() -> State {
        let member = |index| Validator {
            key: secret(index).public(),
            weight: 3,
        };
        State::new(ValidatorSet::new((0..4).map(member).collect()).unwrap())
    }

    fn change(state: &mut State, version: u64, changes: &[(u8, u64)], signers: &[u8]) -> Outcome {
        let domain = Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap());
        let changes: Vec<_> = changes
            .iter()
            .map(|(index, weight)| (secret(*index).public(), *weight))
            .collect();
        let secrets: Vec<_> = signers.iter().map(|index| secret(*index)).collect();
        let bytes = change::sign(&domain, &change::propose(version, &changes), &secrets);
        state.execute(&View::parse(&bytes).unwrap())
    }

    #[test]
    fn a_change_needs_more_than_two_thirds_of_the_current_weight_and_works_once() {
        let mut state = four();
        let root = state.root();
        let failed = |failure| Outcome::Failed(failure);
        let join = [(7, 3)];
        assert_eq!(
            change(&mut state, 0, &join, &[0, 1]),
            failed(Failure::ValidatorsUnsigned)
        );
        assert_eq!(
            change(&mut state, 0, &join, &[0, 1, 7, 8, 9]),
            failed(Failure::ValidatorsUnsigned)
        );
        assert_eq!(
            change(&mut state, 1, &join, &[0, 1, 2]),
            failed(Failure::ValidatorsVersion)
        );
        assert_eq!((state.root(), state.take_validators_change()), (root, None));
        assert_eq!(change(&mut state, 0, &join, &[0, 1, 2]), Outcome::Ok);
        assert_eq!(
            change(&mut state, 0, &join, &[0, 1, 2]),
            failed(Failure::ValidatorsVersion)
        );
        assert_ne!(state.root(), root);
        let set = state.take_validators_change().unwrap();
        assert_eq!((set.len(), state.validators()), (5, Some((1, &set))));
        assert_eq!(state.take_validators_change(), None, "told once");
        assert_eq!(
            change(&mut state, 1, &[(0, 0)], &[0, 1, 2]),
            failed(Failure::ValidatorsUnsigned)
        );
        assert_eq!(change(&mut state, 1, &[(0, 0)], &[0, 1, 2, 7]), Outcome::Ok);
        assert_eq!(state.take_validators_change().map(|set| set.len()), Some(4));
    }

    #[test]
    fn a_block_changes_less_than_a_third_however_many_changes_it_has() {
        let mut state = four();
        let all = [0, 1, 2, 3];
        let unfit = Outcome::Failed(Failure::ValidatorsUnfit);
        assert_eq!(change(&mut state, 0, &[(0, 0), (1, 0)], &all), unfit);
        assert_eq!(
            change(&mut state, 0, &[(0, 0), (1, 0), (2, 0), (3, 0)], &all),
            unfit,
            "nobody is left"
        );
        assert_eq!(change(&mut state, 0, &[(0, u64::MAX)], &all), unfit, "no sum");
        assert_eq!(change(&mut state, 0, &[(0, 0)], &all), Outcome::Ok);
        assert_eq!(
            change(&mut state, 1, &[(1, 0)], &all),
            unfit,
            "two of four in one block"
        );
        assert!(state.take_validators_change().is_some());
        assert_eq!(change(&mut state, 1, &[(1, 2)], &all), Outcome::Ok, "in the next block");
        assert_eq!(change(&mut state, 2, &[(1, 3)], &all), Outcome::Ok, "and back");
        assert_eq!(state.take_validators_change(), None, "as it was before the block");
        assert_eq!(state.validators().map(|(version, _)| version), Some(3));
    }

    #[test]
    fn without_validators_nothing_changes_them() {
        let mut state = State::default();
        assert_eq!(
            change(&mut state, 0, &[(7, 1)], &[0]),
            Outcome::Failed(Failure::ValidatorsVersion)
        );
        assert_eq!(
            (state.validators().is_none(), state.take_validators_change()),
            (true, None)
        );
    }

    proptest! {
        /// The window against the obvious model: a set of all used numbers.
        #[test]
        fn the_window_agrees_with_a_set(numbers in proptest::collection::vec(1u64..3000, 1..400)) {
            let (mut state, mut used) = (State::default(), BTreeSet::new());
            for number in numbers {
                let highest = used.last().copied().unwrap_or(0);
                let expected = if number + limits::SEQUENCE_WINDOW <= highest {
                    Outcome::Failed(Failure::SequenceTooOld)
                } else if used.insert(number) {
                    Outcome::Ok
                } else {
                    Outcome::Failed(Failure::SequenceUsed)
                };
                prop_assert_eq!(state.execute(&opaque(number)), expected);
            }
        }
    }
}
