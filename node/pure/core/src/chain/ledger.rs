//! What was decided and what it did: the state, one row a block, and where each transaction went.

use super::{
    history::History,
    sets::Sets,
    short_map::{NewestMap, Salt, short},
};
use crate::{
    header::Header,
    record::{BlockResult, RecordNumber},
    snapshot::Restored,
};
use regatta_api::view::{Failure, Outcome};
use regatta_apps::{CheckedBatch, State, View};
use regatta_base::{Digest, Height, PublicKey, Round, TransactionId};
use regatta_consensus::Scope;
use std::{collections::VecDeque, sync::Arc};

/// Rows that are kept in memory; older blocks are only in the journal.
const ROWS_MAX: usize = 500_000;
/// Transactions whose place is kept in memory.
const INDEX_MAX: usize = 500_000;

/// One executed block.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) hash: Digest,
    pub(crate) parent: Digest,
    pub(crate) state_root: Digest,
    pub(crate) round: Round,
    pub(crate) proposer: u16,
    pub(crate) transactions: u32,
    pub(crate) bytes: u64,
    /// Positions that failed, and why; the others took effect.
    pub(crate) failed: Vec<(u32, Failure)>,
    /// The journal record of the block: what readers wait for. 0 for blocks of earlier runs.
    pub(crate) record: RecordNumber,
}

impl Row {
    pub(crate) fn outcome(&self, index: u32) -> Outcome {
        match self.failed.binary_search_by_key(&index, |(position, _)| *position) {
            Ok(found) => Outcome::Failed(self.failed[found].1),
            Err(_) => Outcome::Ok,
        }
    }

    fn new(decision: Decision, result: BlockResult) -> Self {
        let Decision {
            hash,
            parent,
            round,
            proposer,
        } = decision;
        let BlockResult {
            state_root,
            transactions,
            bytes,
            failed,
        } = result;
        Self {
            hash,
            parent,
            state_root,
            round,
            proposer,
            transactions,
            bytes,
            failed,
            record: 0,
        }
    }

    /// What the journal keeps of it beside the block itself.
    pub(crate) fn result(&self) -> BlockResult {
        BlockResult {
            state_root: self.state_root,
            transactions: self.transactions,
            bytes: self.bytes,
            failed: self.failed.clone(),
        }
    }
}

/// What identifies a block apart from its batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decision {
    pub(crate) hash: Digest,
    pub(crate) parent: Digest,
    pub(crate) round: Round,
    pub(crate) proposer: u16,
}

/// One executed transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Executed {
    pub(crate) id: TransactionId,
    pub(crate) sender: Option<(PublicKey, u64)>,
    pub(crate) outcome: Outcome,
    /// Whether a client of this node waits to be told.
    pub(crate) watched: bool,
}

/// The height from which a ledger goes on without having executed the blocks before.
#[derive(Debug, Clone, Copy)]
struct Base {
    height: Height,
    hash: Digest,
    /// Roots of the state after the height before, and after the height itself.
    roots: [Digest; 2],
}

/// Executed blocks of one instance.
#[derive(Debug)]
pub(crate) struct Ledger {
    height: Height,
    sets: Sets,
    /// The snapshot that it began with, if it did not begin with the first block.
    base: Option<Base>,
    /// Consecutive rows up to `last_row`; they may end below a base.
    rows: VecDeque<Row>,
    last_row: Height,
    state: State,
    index: NewestMap<(Height, u32)>,
    history: History,
}

impl Ledger {
    /// Before the first block, which the validators of `genesis` decide.
    pub(crate) fn new(salt: Salt, genesis: Scope) -> Self {
        Self {
            height: 0,
            base: None,
            rows: VecDeque::new(),
            last_row: 0,
            state: State::new(genesis.validators().clone()),
            sets: Sets::new(genesis),
            index: NewestMap::new(salt, INDEX_MAX),
            history: History::default(),
        }
    }

    /// Which validators decide which height.
    pub(crate) fn sets(&self) -> &Sets {
        &self.sets
    }

    pub(crate) fn height(&self) -> Height {
        self.height
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    pub(crate) fn row(&self, height: Height) -> Option<&Row> {
        let age = self.last_row.checked_sub(height)?;
        let from_end = usize::try_from(age).ok()?.checked_add(1)?;
        self.rows.get(self.rows.len().checked_sub(from_end)?)
    }

    /// The first of the rows that lead up to the last block; the next height when there is none.
    pub(crate) fn first_row(&self) -> Height {
        let next = self.height + 1;
        if self.last_row == self.height {
            next - self.rows.len() as Height
        } else {
            next
        }
    }

    /// Digest of the last block's header; zero before the first.
    pub(crate) fn hash(&self) -> Digest {
        match (self.row(self.height), self.base) {
            (Some(row), _) => row.hash,
            (None, Some(base)) => base.hash,
            (None, None) => Digest::ZERO,
        }
    }

    /// Root of the state after `height`; zero for heights before the first block.
    pub(crate) fn state_root_at(&self, height: Height) -> Digest {
        match (self.row(height), self.base) {
            (Some(row), _) => row.state_root,
            (None, Some(base)) if height == base.height => base.roots[1],
            (None, Some(base)) if height + 1 == base.height => base.roots[0],
            (None, _) => Digest::ZERO,
        }
    }

    pub(crate) fn is_included(&self, batch: &Digest) -> bool {
        self.history.is_included(batch)
    }

    /// Where a transaction was executed.
    pub(crate) fn place(&self, id: &TransactionId) -> Option<(Height, u32)> {
        self.index.get(short(id)).copied()
    }

    /// Executes the next block and returns what became of its transactions, in order.
    pub(crate) fn execute(
        &mut self,
        decision: Decision,
        header: Header,
        batches: &[Arc<CheckedBatch>],
    ) -> Vec<Executed> {
        self.height += 1;
        let mut executed = Vec::with_capacity(batches.iter().map(|batch| batch.items.len()).sum());
        let mut failed = Vec::new();
        let mut bytes = 0;
        for batch in batches {
            for item in &batch.items {
                let raw = &batch.bytes[item.range()];
                bytes += raw.len() as u64;
                // A held batch parsed before, so its transactions parse again.
                let Ok(view) = View::parse(raw) else { continue };
                let outcome = self.state.execute(&view);
                if let Outcome::Failed(failure) = outcome {
                    failed.push((executed.len() as u32, failure));
                }
                executed.push(Executed {
                    id: item.id,
                    sender: view.sender(),
                    outcome,
                    watched: false,
                });
            }
        }
        self.sets.executed(self.height, self.state.take_validators_change());
        self.remember_places(self.height, &executed);
        self.history.push(header);
        let result = BlockResult {
            state_root: self.state.root(),
            transactions: executed.len() as u32,
            bytes,
            failed,
        };
        self.push_row(self.height, Row::new(decision, result));
        executed
    }

    fn push_row(&mut self, height: Height, row: Row) {
        if self.last_row + 1 != height {
            self.rows.clear();
        }
        self.last_row = height;
        self.rows.push_back(row);
        if self.rows.len() > ROWS_MAX {
            self.rows.pop_front();
        }
    }

    /// Takes back a block that the state has behind it, for those who ask about it. `batches` is what is left of
    /// its payload; returns its transactions.
    pub(crate) fn remember(
        &mut self,
        height: Height,
        decision: Decision,
        result: BlockResult,
        batches: &[Arc<CheckedBatch>],
    ) -> Vec<Executed> {
        let row = Row::new(decision, result);
        let mut executed = Vec::new();
        for batch in batches {
            for item in &batch.items {
                let sender = View::parse(&batch.bytes[item.range()])
                    .ok()
                    .and_then(|view| view.sender());
                let outcome = row.outcome(executed.len() as u32);
                executed.push(Executed {
                    id: item.id,
                    sender,
                    outcome,
                    watched: false,
                });
            }
        }
        self.remember_places(height, &executed);
        self.push_row(height, row);
        executed
    }

    /// Goes on from a snapshot. Places of transactions that were executed here before are kept.
    /// `sets` are those that decide the heights up to two after it.
    pub(crate) fn install(&mut self, sets: Sets, restored: Restored) {
        let Restored {
            manifest,
            state,
            history,
            roots,
            ..
        } = restored;
        self.height = manifest.height();
        self.sets = sets;
        self.base = Some(Base {
            height: self.height,
            hash: manifest.hash(),
            roots,
        });
        self.rows.clear();
        self.last_row = 0;
        self.state = state;
        self.history = History::default();
        history.into_iter().for_each(|header| self.history.push(header));
    }

    /// Notes the journal record of the last block.
    pub(crate) fn set_record(&mut self, record: RecordNumber) {
        if let Some(row) = self.rows.back_mut() {
            row.record = record;
        }
    }

    fn remember_places(&mut self, height: Height, executed: &[Executed]) {
        for (index, one) in executed.iter().enumerate() {
            // A second inclusion fails; the place that counts is the one that took effect.
            let counts = one.outcome == Outcome::Ok;
            self.index.add(short(&one.id), (height, index as u32), counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use regatta_apps::{CheckedTransaction, Domain, transaction};
    use regatta_base::{SecretKey, Validator, ValidatorSet, limits};

    fn domain() -> Domain {
        Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap())
    }

    fn ledger() -> Ledger {
        let genesis = Validator {
            key: PublicKey([1; 32]),
            weight: 1,
        };
        let set = ValidatorSet::new(vec![genesis]).unwrap();
        let scope = Scope::new(&"test".parse().unwrap(), &"main".parse().unwrap(), set);
        Ledger::new(Salt::new(&[1; 32]), scope)
    }

    fn batch(base: Height, transactions: &[Bytes]) -> Arc<CheckedBatch> {
        let checked: Vec<_> = transactions
            .iter()
            .map(|bytes| CheckedTransaction {
                id: regatta_apps::transaction_id(&domain(), bytes).unwrap(),
                sender: View::parse(bytes).unwrap().sender(),
                bytes: bytes.clone(),
            })
            .collect();
        Arc::new(CheckedBatch::build(
            &domain(),
            base,
            &checked,
            &SecretKey::from_seed([1; 32]),
        ))
    }

    /// Executes the next block, whose header's digest is `n` throughout.
    fn execute(ledger: &mut Ledger, n: u8, batches: &[Arc<CheckedBatch>]) -> Vec<Executed> {
        let header = Header {
            height: ledger.height() + 1,
            parent: ledger.hash(),
            batches: batches.iter().map(|batch| batch.digest).collect(),
            state_root: Digest::ZERO,
            next_validators: Digest::ZERO,
        };
        ledger.execute(decision(n, ledger.hash()), header, batches)
    }

    fn decision(n: u8, parent: Digest) -> Decision {
        Decision {
            hash: Digest([n; 32]),
            parent,
            round: 0,
            proposer: 0,
        }
    }

    #[test]
    fn a_transaction_in_two_blocks_takes_effect_once_and_keeps_its_first_place() {
        let mut ledger = ledger();
        let bytes = transaction::put(&domain(), &SecretKey::from_seed([5; 32]), 1, b"k", b"v");
        let id = regatta_apps::transaction_id(&domain(), &bytes).unwrap();
        let first = execute(&mut ledger, 1, &[batch(0, std::slice::from_ref(&bytes))]);
        let root = ledger.state_root_at(1);
        let second = execute(&mut ledger, 2, &[batch(1, &[bytes])]);
        assert_eq!(first[0].outcome, Outcome::Ok);
        assert_eq!(second[0].outcome, Outcome::Failed(Failure::SequenceUsed));
        assert_eq!((ledger.place(&id), ledger.state_root_at(2)), (Some((1, 0)), root));
        assert_eq!(
            ledger.row(2).unwrap().outcome(0),
            Outcome::Failed(Failure::SequenceUsed)
        );
    }

    #[test]
    fn rows_are_found_by_height_and_absent_ones_are_not() {
        let mut ledger = ledger();
        assert!(ledger.row(0).is_none() && ledger.row(1).is_none());
        assert_eq!(ledger.first_row(), 1);
        for n in 1..=3 {
            execute(&mut ledger, n, &[]);
        }
        assert_eq!(ledger.row(2).map(|row| row.hash), Some(Digest([2; 32])));
        assert_eq!(ledger.row(3).map(|row| row.parent), Some(Digest([2; 32])));
        assert_eq!(ledger.first_row(), 1);
        assert!(ledger.row(0).is_none() && ledger.row(4).is_none());
    }

    #[test]
    fn included_batches_are_remembered_exactly_as_long_as_they_could_return() {
        let mut ledger = ledger();
        let one = batch(0, &[transaction::blob(b"x")]);
        execute(&mut ledger, 1, std::slice::from_ref(&one));
        while ledger.height() <= limits::BATCH_LIFETIME_BLOCKS {
            assert!(ledger.is_included(&one.digest) && one.may_be_ordered_at(ledger.height().max(1)));
            execute(&mut ledger, 2, &[]);
        }
        assert!(!one.may_be_ordered_at(ledger.height() + 1));
        execute(&mut ledger, 2, &[]);
        assert!(!ledger.is_included(&one.digest));
    }
}
