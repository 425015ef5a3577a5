//! Dumps of the state: the whole of it as a sequence of bounded pieces, and back.
//!
//! The pieces are a function of the contents only: the validators, accounts by key, values by key, each piece
//! filled up to [`PIECE_BYTES_MAX`]. A dump goes on while blocks change the state: what is about to
//! change ahead of the cursor is kept as it was when the dump began, so that the memory a dump takes
//! is bounded by what changes meanwhile, and the state is never copied (copy on write, as a database
//! does for a consistent read).

use super::{ACCOUNT_BYTES, Account, Committee, State, WINDOW_WORDS};
use regatta_base::{CodecError, PublicKey, ValidatorSet, decode, encode, limits};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Bound};

/// Most bytes of one encoded [`StatePiece`].
pub const PIECE_BYTES_MAX: usize = 256 * 1024;
/// What MessagePack needs around the entries of a piece, at most.
const ENVELOPE_BYTES: usize = 32;
/// Most bytes of one encoded account: key, highest number and window, with their lengths.
const ACCOUNT_WIRE_BYTES: usize = 2 + 32 + 9 + 3 + WINDOW_WORDS * 8 + 1;
/// What MessagePack needs around one key and its value, at most.
const VALUE_WIRE_BYTES: usize = 1 + 5 + 5;

/// A part of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatePiece {
    /// Version of the validator set, and the set.
    Validators(u64, ValidatorSet),
    /// Accounts in ascending order of their keys.
    Accounts(Vec<AccountEntry>),
    /// Values in ascending order of their keys.
    Values(Vec<ValueEntry>),
}

/// One account of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountEntry {
    key: PublicKey,
    highest: u64,
    /// The words of the window, big-endian.
    #[serde(with = "serde_bytes")]
    used: Vec<u8>,
}

/// One key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueEntry {
    #[serde(with = "serde_bytes")]
    key: Vec<u8>,
    #[serde(with = "serde_bytes")]
    value: Vec<u8>,
}

/// Why a sequence of pieces is not the dump of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no piece.
    #[error("a piece of the state: {0}")]
    Codec(#[from] CodecError),
    /// A key that is not above the one before it.
    #[error("a piece of the state is out of order")]
    Order,
    /// An entry that no state holds.
    #[error("an entry of the state has an impossible size")]
    Entry,
    /// More than a state may hold.
    #[error("the state exceeds {} bytes", limits::STATE_BYTES_MAX)]
    TooLarge,
}

/// Where a running dump is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cursor {
    /// This version of the validator set is still to be written, and everything else.
    Validators(u64, ValidatorSet),
    /// Accounts above this key are still to be written.
    Accounts(Option<PublicKey>),
    /// Values above this key are still to be written.
    Values(Option<Vec<u8>>),
}

/// A dump under way: where it is, and what changed ahead of it, as it was before.
#[derive(Debug, Clone)]
pub(super) struct Dump {
    cursor: Cursor,
    accounts: BTreeMap<PublicKey, Option<Account>>,
    values: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Dump {
    fn is_account_ahead(&self, key: &PublicKey) -> bool {
        match &self.cursor {
            Cursor::Validators(..) => true,
            Cursor::Accounts(last) => last.as_ref().is_none_or(|last| key > last),
            Cursor::Values(_) => false,
        }
    }

    fn is_value_ahead(&self, key: &[u8]) -> bool {
        match &self.cursor {
            Cursor::Validators(..) | Cursor::Accounts(_) => true,
            Cursor::Values(last) => last.as_ref().is_none_or(|last| key > last.as_slice()),
        }
    }
}

impl State {
    /// Begins a dump of the state as it is now; one that was under way is given up.
    pub fn begin_dump(&mut self) {
        let validators = self.committee.as_ref();
        self.dump = Some(Dump {
            cursor: validators.map_or(Cursor::Accounts(None), |committee| {
                Cursor::Validators(committee.version, committee.set.clone())
            }),
            accounts: BTreeMap::new(),
            values: BTreeMap::new(),
        });
    }

    /// Gives up the dump that is under way, if one is.
    pub fn end_dump(&mut self) {
        self.dump = None;
    }

    /// The next piece of the dump, encoded; `None` when it is complete or none is under way.
    pub fn next_piece(&mut self) -> Option<Vec<u8>> {
        let dump = self.dump.as_mut()?;
        if let Cursor::Validators(version, set) = dump.cursor.clone() {
            dump.cursor = Cursor::Accounts(None);
            return Some(encode(&StatePiece::Validators(version, set)));
        }
        if let Cursor::Accounts(last) = dump.cursor.clone() {
            let entries = next_accounts(&self.accounts, dump, last);
            if let Some(last) = entries.last() {
                dump.cursor = Cursor::Accounts(Some(last.key));
                return Some(encode(&StatePiece::Accounts(entries)));
            }
            dump.cursor = Cursor::Values(None);
        }
        if let Cursor::Values(last) = dump.cursor.clone() {
            let entries = next_values(&self.values, dump, last);
            if let Some(last) = entries.last() {
                dump.cursor = Cursor::Values(Some(last.key.clone()));
                return Some(encode(&StatePiece::Values(entries)));
            }
        }
        self.dump = None;
        None
    }

    /// Keeps an account for the dump that is under way, before it changes.
    pub(super) fn keep_account(&mut self, key: &PublicKey) {
        if let Some(dump) = &mut self.dump
            && dump.is_account_ahead(key)
        {
            dump.accounts
                .entry(*key)
                .or_insert_with(|| self.accounts.get(key).cloned());
        }
    }

    /// Keeps a value for the dump that is under way, before it changes.
    pub(super) fn keep_value(&mut self, key: &[u8]) {
        if let Some(dump) = &mut self.dump
            && dump.is_value_ahead(key)
            && !dump.values.contains_key(key)
        {
            dump.values.insert(key.to_vec(), self.values.get(key).cloned());
        }
    }
}

/// Accounts above `last` as they were when the dump began, as many as fit into a piece.
fn next_accounts(
    accounts: &BTreeMap<PublicKey, Account>,
    dump: &mut Dump,
    last: Option<PublicKey>,
) -> Vec<AccountEntry> {
    let from = last.map_or(Bound::Unbounded, Bound::Excluded);
    let most = (PIECE_BYTES_MAX - ENVELOPE_BYTES) / ACCOUNT_WIRE_BYTES;
    let mut entries = Vec::new();
    for (key, account) in accounts.range((from, Bound::Unbounded)) {
        if entries.len() == most {
            break;
        }
        match dump.accounts.get(key) {
            Some(None) => {}
            Some(Some(before)) => entries.push(AccountEntry::new(*key, before)),
            None => entries.push(AccountEntry::new(*key, account)),
        }
    }
    if let Some(last) = entries.last() {
        // What is behind the cursor is not needed any more.
        dump.accounts = dump.accounts.split_off(&last.key);
        dump.accounts.remove(&last.key);
    }
    entries
}

/// Values above `last` as they were when the dump began, as many as fit into a piece.
fn next_values(values: &BTreeMap<Vec<u8>, Vec<u8>>, dump: &mut Dump, last: Option<Vec<u8>>) -> Vec<ValueEntry> {
    let from = last.map_or(Bound::Unbounded, Bound::Excluded);
    let (mut entries, mut bytes) = (Vec::new(), ENVELOPE_BYTES);
    for (key, value) in values.range((from, Bound::Unbounded)) {
        let value = match dump.values.get(key) {
            Some(None) => continue,
            Some(Some(before)) => before,
            None => value,
        };
        bytes += VALUE_WIRE_BYTES + key.len() + value.len();
        if bytes > PIECE_BYTES_MAX {
            break;
        }
        entries.push(ValueEntry {
            key: key.clone(),
            value: value.clone(),
        });
    }
    if let Some(last) = entries.last() {
        // What is behind the cursor is not needed any more.
        dump.values = dump.values.split_off(&last.key);
        dump.values.remove(&last.key);
    }
    entries
}

impl AccountEntry {
    fn new(key: PublicKey, account: &Account) -> Self {
        Self {
            key,
            highest: account.highest,
            used: account.used.iter().flat_map(|word| word.to_be_bytes()).collect(),
        }
    }

    fn account(&self) -> Option<Account> {
        let mut used = [0; WINDOW_WORDS];
        let (words, rest) = self.used.as_chunks::<8>();
        if words.len() != WINDOW_WORDS || !rest.is_empty() {
            return None;
        }
        for (word, bytes) in used.iter_mut().zip(words) {
            *word = u64::from_be_bytes(*bytes);
        }
        Some(Account {
            highest: self.highest,
            used,
        })
    }
}

/// Rebuilds a state from the pieces of a dump, in their order.
#[derive(Debug, Default)]
pub struct StateLoader {
    state: State,
}

impl StateLoader {
    /// Takes the next piece and hashes what it brought.
    ///
    /// # Errors
    /// [`LoadError`]: this is not the next piece of any dump.
    pub fn absorb(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        match decode(bytes, PIECE_BYTES_MAX)? {
            StatePiece::Validators(version, set) => self.validators(version, set)?,
            StatePiece::Accounts(entries) => self.accounts(&entries)?,
            StatePiece::Values(entries) => self.values(entries)?,
        }
        self.state.root();
        Ok(())
    }

    fn validators(&mut self, version: u64, set: ValidatorSet) -> Result<(), LoadError> {
        let state = &mut self.state;
        if state.committee.is_some() || !state.accounts.is_empty() || !state.values.is_empty() {
            return Err(LoadError::Order);
        }
        state.committee = Some(Committee {
            version,
            set,
            before: None,
            dirty: true,
        });
        Ok(())
    }

    fn accounts(&mut self, entries: &[AccountEntry]) -> Result<(), LoadError> {
        for entry in entries {
            let last = self.state.accounts.last_key_value();
            if !self.state.values.is_empty() || last.is_some_and(|(last, _)| *last >= entry.key) {
                return Err(LoadError::Order);
            }
            let account = entry.account().ok_or(LoadError::Entry)?;
            self.grow(ACCOUNT_BYTES)?;
            self.state.accounts.insert(entry.key, account);
            self.state.dirty_accounts.insert(entry.key);
        }
        Ok(())
    }

    fn values(&mut self, entries: Vec<ValueEntry>) -> Result<(), LoadError> {
        for ValueEntry { key, value } in entries {
            let last = self.state.values.last_key_value();
            if last.is_some_and(|(last, _)| *last >= key) {
                return Err(LoadError::Order);
            }
            if key.len() > limits::STATE_KEY_BYTES_MAX || value.len() > limits::STATE_VALUE_BYTES_MAX {
                return Err(LoadError::Entry);
            }
            self.grow(key.len() + value.len())?;
            self.state.dirty_values.insert(key.clone());
            self.state.values.insert(key, value);
        }
        Ok(())
    }

    fn grow(&mut self, by: usize) -> Result<(), LoadError> {
        self.state.bytes += by;
        if self.state.bytes > limits::STATE_BYTES_MAX {
            return Err(LoadError::TooLarge);
        }
        Ok(())
    }

    /// The state. Whether it is the right one, only its root can tell.
    #[must_use]
    pub fn finish(self) -> State {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::View;
    use proptest::prelude::*;
    use regatta_base::Validator;

    fn put(state: &mut State, sender: u8, sequence: u64, key: &[u8], value: &[u8]) {
        state.execute(&View::Put {
            sender: PublicKey([sender; 32]),
            sequence,
            key,
            value,
        });
    }

    fn dump(state: &mut State) -> Vec<Vec<u8>> {
        state.begin_dump();
        std::iter::from_fn(|| state.next_piece()).collect()
    }

    fn load(pieces: &[Vec<u8>]) -> Result<State, LoadError> {
        let mut loader = StateLoader::default();
        pieces.iter().try_for_each(|piece| loader.absorb(piece))?;
        Ok(loader.finish())
    }

    /// Enough of everything for several pieces of both kinds.
    fn large() -> State {
        let member = |n: u8| Validator {
            key: PublicKey([n; 32]),
            weight: u64::from(n),
        };
        let mut state = State::new(ValidatorSet::new((1..=7).map(member).collect()).unwrap());
        for n in 0..4000u32 {
            let mut sender = [0; 32];
            sender[..4].copy_from_slice(&n.to_le_bytes());
            let view = View::Put {
                sender: PublicKey(sender),
                sequence: u64::from(n) + 1,
                key: &n.to_be_bytes(),
                value: &vec![n as u8; (n % 300) as usize],
            };
            state.execute(&view);
        }
        state
    }

    #[test]
    fn dump_load_dump_is_byte_equal_and_the_roots_are_equal() {
        let mut state = large();
        let pieces = dump(&mut state);
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
        let mut loaded = load(&pieces).unwrap();
        assert_eq!(
            (
                loaded.root(),
                loaded.bytes,
                loaded.highest_sequence(&PublicKey([0; 32]))
            ),
            (state.root(), state.bytes, 1)
        );
        assert_eq!(loaded.validators(), state.validators());
        assert_eq!(dump(&mut loaded), pieces);
        assert!(dump(&mut State::default()).is_empty());
    }

    #[test]
    fn a_piece_that_is_missing_twice_there_or_out_of_order_is_noticed() {
        let mut state = large();
        let root = state.root();
        let mut pieces = dump(&mut state);
        let last = pieces.len() - 1;
        assert_ne!(load(&pieces[..last]).unwrap().root(), root);
        assert_eq!(
            load(&[pieces.clone(), vec![pieces[last].clone()]].concat()).unwrap_err(),
            LoadError::Order
        );
        pieces.swap(0, last);
        assert_eq!(load(&pieces).unwrap_err(), LoadError::Order);
    }

    #[test]
    fn entries_that_no_state_holds_are_refused() {
        let value = |key: usize, value: usize| {
            encode(&StatePiece::Values(vec![ValueEntry {
                key: vec![0; key],
                value: vec![0; value],
            }]))
        };
        let most = (limits::STATE_KEY_BYTES_MAX, limits::STATE_VALUE_BYTES_MAX);
        assert!(load(&[value(most.0, most.1)]).is_ok());
        assert_eq!(load(&[value(most.0 + 1, 1)]).unwrap_err(), LoadError::Entry);
        assert_eq!(load(&[value(1, most.1 + 1)]).unwrap_err(), LoadError::Entry);
        let account = |bytes| {
            encode(&StatePiece::Accounts(vec![AccountEntry {
                key: PublicKey([1; 32]),
                highest: 1,
                used: vec![0; bytes],
            }]))
        };
        assert!(load(&[account(WINDOW_WORDS * 8)]).is_ok());
        assert_eq!(load(&[account(WINDOW_WORDS * 8 + 1)]).unwrap_err(), LoadError::Entry);
    }

    proptest! {
        /// A dump during changes is the dump of the state at its beginning.
        #[test]
        fn a_dump_is_of_the_moment_when_it_began(
            changes in proptest::collection::vec((any::<u8>(), 0u8..40, 0usize..20_000), 0..60),
            every in 1usize..4,
        ) {
            let mut state = State::default();
            for n in 0..40u8 {
                put(&mut state, n, 1, &[n], &vec![n; usize::from(n) * 700]);
            }
            let expected = dump(&mut state.clone());
            state.begin_dump();
            let mut pieces = Vec::new();
            for (i, (sender, key, length)) in changes.into_iter().enumerate() {
                put(&mut state, sender, i as u64 + 2, &[key, 1], &vec![7; length]);
                put(&mut state, sender, i as u64 + 100, &[key], &vec![8; length]);
                if i % every == 0 {
                    pieces.extend(state.next_piece());
                }
            }
            pieces.extend(std::iter::from_fn(|| state.next_piece()));
            prop_assert_eq!(pieces, expected);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = StateLoader::default().absorb(&bytes);
        }
    }
}
