//! Reads: what a chain shows to clients.

use super::{Chain, ledger::Row};
use crate::record::{RecordNumber, StoredBlock};
use regatta_api::view::{
    AccountView, BlockSummary, BlockView, InstanceLatest, SignerView, StateView, TransactionStatus, ValidatorView,
    ValidatorsView,
};
use regatta_apps::{CheckedBatch, NamedBatch};
use regatta_base::{Digest, Height, HexBytes, PublicKey, TransactionId, ValidatorSet, decode, seed};
use regatta_consensus::{Certificate, MESSAGE_BYTES_MAX, Validator, header_digest};

fn validator_view(validator: &Validator) -> ValidatorView {
    ValidatorView {
        key: validator.key,
        weight: validator.weight,
    }
}

impl Chain {
    pub(crate) fn latest(&self) -> InstanceLatest {
        let height = self.ledger.height();
        let (first_row, fetched) = (self.ledger.first_row(), self.snapshots.fetched());
        InstanceLatest {
            instance: self.id.clone(),
            height,
            hash: self.ledger.hash(),
            state_root: self.ledger.state_root_at(height),
            round: self.agreement.round(),
            pending: self.mempool.len() as u64,
            known_height: self.catchup.target().max(height),
            first_height: first_row,
            first_block: self.snapshots.first_block().max(first_row),
            snapshot_height: fetched.map_or(0, |fetched| fetched.height),
            snapshot_bytes: fetched.map_or(0, |fetched| fetched.bytes),
        }
    }

    /// Pending transactions and their bytes.
    pub(crate) fn pending(&self) -> (u64, u64) {
        (self.mempool.len() as u64, self.mempool.bytes() as u64)
    }

    pub(crate) fn is_catching_up(&self) -> bool {
        self.catchup.is_catching_up(self.ledger.height())
    }

    /// Why the instance stopped, if it did.
    pub(crate) fn halted(&self) -> Option<&str> {
        self.agreement.halted.as_deref()
    }

    /// A status says "executed" only when the block is as durable as the node promises.
    pub(crate) fn status(&self, id: &TransactionId, durable: RecordNumber) -> TransactionStatus {
        let place = self.ledger.place(id);
        let row = place.and_then(|(height, _)| self.ledger.row(height));
        match (place, row) {
            (Some((height, index)), Some(row)) if row.record <= durable => TransactionStatus::Executed {
                height,
                index,
                outcome: row.outcome(index),
            },
            (Some(_), Some(_)) => TransactionStatus::Pending,
            _ if self.mempool.contains(id) || self.submissions.is_watched(id) => TransactionStatus::Pending,
            _ => TransactionStatus::Unknown,
        }
    }

    pub(crate) fn account(&self, key: &PublicKey) -> AccountView {
        let highest = self
            .ledger
            .state()
            .highest_sequence(key)
            .max(self.mempool.highest_sequence(key));
        AccountView {
            key: *key,
            next_sequence: highest + 1,
            height: self.ledger.height(),
        }
    }

    pub(crate) fn state(&self, key: &[u8]) -> StateView {
        let height = self.ledger.height();
        StateView {
            key: key.to_vec().into(),
            value: self.ledger.state().value(key).map(|value| value.to_vec().into()),
            height,
            state_root: self.ledger.state_root_at(height),
        }
    }

    /// Who decides `height`, or the next height of the ledger; `None` when that is not known yet, or no longer.
    pub(crate) fn validators(&self, height: Option<Height>) -> Option<ValidatorsView> {
        let height = height.unwrap_or(self.ledger.height() + 1);
        let set = self.ledger.sets().at(height)?.validators();
        let (version, latest) = self.ledger.state().validators()?;
        let views = |set: &ValidatorSet| set.members().iter().map(validator_view).collect();
        Some(ValidatorsView {
            instance: self.id.clone(),
            height,
            validators: views(set),
            weight_total: set.total(),
            version,
            changed: (latest != set).then(|| views(latest)),
        })
    }

    pub(crate) fn summary(&self, height: Height) -> Option<BlockSummary> {
        self.ledger.row(height).map(|row| self.summary_of(height, row))
    }

    fn summary_of(&self, height: Height, row: &Row) -> BlockSummary {
        BlockSummary {
            instance: self.id.clone(),
            height,
            hash: row.hash,
            parent: row.parent,
            state_root: row.state_root,
            round: row.round,
            proposer: row.proposer,
            transactions: row.transactions,
            failed: row.failed.len() as u32,
            bytes: row.bytes,
        }
    }

    /// The whole block, from what the journal keeps of it; `None` when the two do not fit.
    pub(crate) fn block(&self, height: Height, stored: &StoredBlock) -> Option<BlockView> {
        let row = self.ledger.row(height)?;
        let certificate: Certificate = decode(&stored.certificate, MESSAGE_BYTES_MAX).ok()?;
        if header_digest(&stored.header) != row.hash {
            return None;
        }
        let mut rng = seed::rng(height, "read back");
        let (mut batches, mut items): (Vec<Digest>, Vec<_>) =
            (Vec::new(), Vec::with_capacity(row.transactions as usize));
        for bytes in &stored.batches {
            let batch = NamedBatch::new(&self.domain, bytes.clone())?;
            let batch = CheckedBatch::check(
                &self.domain,
                batch,
                false,
                &mut regatta_base::Keyring::default(),
                &mut rng,
            )
            .ok()?;
            batches.push(batch.digest);
            for item in &batch.items {
                items.push((item.id, row.outcome(items.len() as u32)));
            }
        }
        let scope = self.ledger.sets().at(height)?;
        let validators = scope.validators();
        let signers = certificate
            .signers
            .iter()
            .zip(&certificate.signatures)
            .filter_map(|(index, signature)| {
                let validator = validators.get(index)?;
                Some(SignerView {
                    index,
                    key: validator.key,
                    weight: validator.weight,
                    signature: *signature,
                })
            });
        Some(BlockView {
            summary: self.summary_of(height, row),
            batches,
            items,
            certificate_message: HexBytes::from(scope.signing_bytes(&certificate.statement())),
            signers: signers.collect(),
            weight_total: validators.total(),
            header: HexBytes(stored.header.clone()),
            next_validators: self
                .new_set(height + 1)
                .map(|set| set.members().iter().map(validator_view).collect()),
        })
    }
}
