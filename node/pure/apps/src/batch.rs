//! Batches: the unit in which validators spread transactions ahead of consensus.
//!
//! ```text
//! version 1 | author 32 | base height 8 | count 4 | (length 4 | transaction)* | signature 64
//! ```
//! Blocks order batches by digest. The author signs that digest, so that only validators can make
//! others hold payload. A batch may be ordered within [`limits::BATCH_LIFETIME_BLOCKS`] after its base
//! height, which bounds how long digests have to be remembered to refuse a second inclusion.

use crate::{
    change::CHANGE_TAG,
    check::CheckedTransaction,
    domain::{Domain, TransactionError, keyed},
    scan::{Scanned, scan_each},
};
use bytes::{BufMut, Bytes, BytesMut};
use rand::CryptoRng;
use regatta_base::{Digest, Height, Keyring, PublicKey, SecretKey, Signature, TransactionId, keyring::Claim, limits};
use std::ops::Range;

const VERSION: u8 = 2;
const HEADER_BYTES: usize = 1 + 32 + 8 + 4;
const SIGNATURE_BYTES: usize = 64;

/// A batch whose framing holds and whose ids are known; its signatures too, where that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBatch {
    /// Keyed digest of everything before the author's signature.
    pub digest: Digest,
    /// Key of the author. Whether it is a validator is for the chain to know.
    pub author: PublicKey,
    /// The last height that the author had executed.
    pub base_height: Height,
    /// The exact bytes.
    pub bytes: Bytes,
    /// Its transactions, in order.
    pub items: Vec<CheckedItem>,
    /// Whether a transaction in it may change the validator set.
    pub changes_validators: bool,
}

/// The exact bytes of a batch of which nothing is known but its digest, which names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBatch {
    digest: Digest,
    bytes: Bytes,
}

impl NamedBatch {
    /// Names a batch: about 0.1 µs a transaction of 512 bytes. `None` when the bytes are too short to be one.
    #[must_use]
    pub fn new(domain: &Domain, bytes: Bytes) -> Option<Self> {
        let (body, _) = bytes.split_last_chunk::<SIGNATURE_BYTES>()?;
        let digest = keyed(&domain.batch, body);
        Some(Self { digest, bytes })
    }

    /// Keyed digest of everything before the author's signature.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The exact bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Author and base height as the bytes say them, unchecked; `None` when they are too short.
    #[must_use]
    pub fn claimed(&self) -> Option<(PublicKey, Height)> {
        let (author, rest) = self.bytes.get(1..)?.split_first_chunk::<32>()?;
        let (base_height, _) = rest.split_first_chunk::<8>()?;
        Some((PublicKey(*author), u64::from_be_bytes(*base_height)))
    }
}

/// One transaction inside a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedItem {
    /// Its id.
    pub id: TransactionId,
    start: u32,
    length: u32,
}

impl CheckedItem {
    /// Where its bytes lie in the batch.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

impl CheckedBatch {
    /// Builds and signs a batch of transactions that were checked before.
    #[must_use]
    pub fn build(
        domain: &Domain,
        base_height: Height,
        transactions: &[CheckedTransaction],
        secret: &SecretKey,
    ) -> Self {
        let payload: usize = transactions.iter().map(|t| 4 + t.bytes.len()).sum();
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + payload + SIGNATURE_BYTES);
        bytes.put_u8(VERSION);
        let author = secret.public();
        bytes.put_slice(&author.0);
        bytes.put_u64(base_height);
        bytes.put_u32(transactions.len() as u32);
        let mut items = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            bytes.put_u32(transaction.bytes.len() as u32);
            let (start, length) = (bytes.len() as u32, transaction.bytes.len() as u32);
            items.push(CheckedItem {
                id: transaction.id,
                start,
                length,
            });
            bytes.put_slice(&transaction.bytes);
        }
        let digest = keyed(&domain.batch, &bytes);
        bytes.put_slice(&secret.sign(&digest.0).0);
        Self {
            digest,
            author,
            base_height,
            bytes: bytes.freeze(),
            items,
            changes_validators: transactions.iter().any(|t| t.bytes.first() == Some(&CHANGE_TAG)),
        }
    }

    /// Takes a batch apart and checks it: framing, ids and the author's signature always; the
    /// transactions' signatures where `signatures` is set. One bad transaction makes the whole batch bad:
    /// its author checked each before signing, unless it is faulty.
    ///
    /// # Errors
    /// [`BatchError`] names the first thing that is wrong.
    pub fn check(
        domain: &Domain,
        batch: NamedBatch,
        signatures: bool,
        keys: &mut Keyring,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, BatchError> {
        let NamedBatch { digest, bytes } = batch;
        let frame = Frame::parse(&bytes)?;
        let transactions: Vec<&[u8]> = frame.ranges.iter().map(|range| &bytes[range.clone()]).collect();
        let scanned: Result<Vec<Scanned>, TransactionError> = scan_each(domain, &transactions).into_iter().collect();
        let scanned = scanned?;
        let to_check = if signatures { scanned.as_slice() } else { &[] };
        if !signatures_hold(&frame.author, &digest, &frame.signature, to_check, keys, rng) {
            let is_signed = signatures_hold(&frame.author, &digest, &frame.signature, &[], keys, rng);
            return Err(if is_signed {
                BatchError::Forged(frame.author)
            } else {
                BatchError::BadAuthor
            });
        }
        let changes_validators = frame
            .ranges
            .iter()
            .any(|range| bytes.get(range.start) == Some(&CHANGE_TAG));
        let items = frame.ranges.iter().zip(&scanned).map(|(range, scanned)| CheckedItem {
            id: scanned.id,
            start: range.start as u32,
            length: range.len() as u32,
        });
        let (author, base_height, items) = (frame.author, frame.base_height, items.collect());
        Ok(Self {
            digest,
            author,
            base_height,
            bytes,
            items,
            changes_validators,
        })
    }

    /// Bytes of its transactions, framing excluded.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.length)).sum()
    }

    /// Whether it may be ordered at `height`.
    #[must_use]
    pub fn may_be_ordered_at(&self, height: Height) -> bool {
        self.base_height < height && height <= self.base_height.saturating_add(limits::BATCH_LIFETIME_BLOCKS)
    }
}

/// Why bytes are not a batch whose transactions may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The framing, or that of a transaction, is broken: whoever passed it on did not look.
    #[error(transparent)]
    Malformed(#[from] TransactionError),
    /// The author did not sign it: whoever passed it on did not look.
    #[error("its author did not sign it")]
    BadAuthor,
    /// This author signed it although a sender did not sign its transaction. Whoever passed it on may not have checked that:
    /// followers do not.
    #[error("a transaction in it is not signed by its sender")]
    Forged(PublicKey),
}

/// Checks the author's signature and those of the scanned transactions at once.
fn signatures_hold(
    author: &PublicKey,
    digest: &Digest,
    signature: &Signature,
    scanned: &[Scanned],
    keys: &mut Keyring,
    rng: &mut impl CryptoRng,
) -> bool {
    let mut claims = Vec::with_capacity(scanned.len() + 1);
    claims.push(Claim {
        key: *author,
        message: &digest.0,
        signature: *signature,
    });
    for (key, digest, signature) in scanned.iter().flat_map(Scanned::claims) {
        claims.push(Claim {
            key: *key,
            message: &digest.0,
            signature: *signature,
        });
    }
    keys.verify_all(&claims, rng)
}

/// The parts of a batch's bytes.
struct Frame {
    author: PublicKey,
    base_height: Height,
    ranges: Vec<Range<usize>>,
    signature: Signature,
}

impl Frame {
    fn parse(bytes: &[u8]) -> Result<Self, TransactionError> {
        use TransactionError::{Malformed, TooLarge};
        if bytes.len() > limits::BATCH_BYTES_MAX {
            return Err(TooLarge);
        }
        let (body, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or(Malformed)?;
        let (&version, rest) = body.split_first().ok_or(Malformed)?;
        let (author, rest) = rest.split_first_chunk::<32>().ok_or(Malformed)?;
        let (base_height, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
        let (count, mut rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let count = u32::from_be_bytes(*count) as usize;
        // Each transaction takes at least its length and its tag, so the count cannot make us allocate much.
        if version != VERSION || count == 0 || count > rest.len() / 5 {
            return Err(Malformed);
        }
        let mut ranges = Vec::with_capacity(count);
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
            let length = u32::from_be_bytes(*length) as usize;
            let start = body.len() - after.len();
            rest = after.get(length..).ok_or(Malformed)?;
            ranges.push(start..start + length);
        }
        if !rest.is_empty() {
            return Err(Malformed);
        }
        Ok(Self {
            author: PublicKey(*author),
            base_height: u64::from_be_bytes(*base_height),
            ranges,
            signature: Signature(*signature),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        change, check_transactions,
        transaction::{blob, opaque},
    };
    use proptest::prelude::*;
    use regatta_base::seed;

    fn domain() -> Domain {
        Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap())
    }

    fn secret(index: u8) -> SecretKey {
        SecretKey::from_seed([index; 32])
    }

    fn sample() -> CheckedBatch {
        let domain = domain();
        let list = vec![
            opaque(&domain, &secret(9), 1, b"one"),
            blob(b"two"),
            opaque(&domain, &secret(8), 5, b""),
        ];
        let checked = check_transactions(&domain, list, &mut Keyring::default(), &mut seed::rng(1, "test"));
        let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
        CheckedBatch::build(&domain, 10, &checked, &secret(1))
    }

    fn named(bytes: &Bytes) -> NamedBatch {
        NamedBatch::new(&domain(), bytes.clone()).unwrap()
    }

    fn check(bytes: Bytes) -> Result<CheckedBatch, BatchError> {
        let batch = NamedBatch::new(&domain(), bytes).ok_or(TransactionError::Malformed)?;
        CheckedBatch::check(
            &domain(),
            batch,
            true,
            &mut Keyring::default(),
            &mut seed::rng(1, "test"),
        )
    }

    #[test]
    fn what_is_built_checks_out_equal() {
        let batch = sample();
        assert_eq!(check(batch.bytes.clone()), Ok(batch.clone()));
        assert_eq!(named(&batch.bytes).digest(), batch.digest);
        assert_eq!(named(&batch.bytes).claimed(), Some((batch.author, batch.base_height)));
        assert_eq!(NamedBatch::new(&domain(), Bytes::from_static(b"short")), None);
        assert_eq!(&batch.bytes[batch.items[1].range()], b"\0two");
        let unsigned = CheckedBatch::check(
            &domain(),
            named(&batch.bytes),
            false,
            &mut Keyring::default(),
            &mut seed::rng(1, "t"),
        );
        assert_eq!(unsigned, Ok(batch));
    }

    #[test]
    fn without_transaction_signatures_the_author_is_still_checked() {
        let bytes = of_another_author();
        let result = CheckedBatch::check(
            &domain(),
            named(&bytes),
            false,
            &mut Keyring::default(),
            &mut seed::rng(1, "t"),
        );
        assert_eq!(result, Err(BatchError::BadAuthor));
    }

    /// A batch that names an author who did not sign it.
    fn of_another_author() -> Bytes {
        let mut bytes = sample().bytes.to_vec();
        bytes[1..33].copy_from_slice(&secret(2).public().0);
        bytes.into()
    }

    #[test]
    fn only_the_stated_author_can_sign() {
        assert_eq!(sample().author, secret(1).public());
        assert_eq!(check(of_another_author()), Err(BatchError::BadAuthor));
    }

    #[test]
    fn a_batch_that_may_change_the_validators_is_known_as_such() {
        let member = secret(1);
        let change = change::propose(0, &[(secret(2).public(), 1)]);
        let change = change::sign(&domain(), &change, std::slice::from_ref(&member));
        let checked = check_transactions(
            &domain(),
            vec![blob(b"x"), change],
            &mut Keyring::default(),
            &mut seed::rng(1, "t"),
        );
        let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
        let built = CheckedBatch::build(&domain(), 0, &checked, &member);
        assert!(built.changes_validators && !sample().changes_validators);
        assert_eq!(check(built.bytes.clone()), Ok(built));
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let batch = sample();
        for position in 0..batch.bytes.len() {
            let mut forged = batch.bytes.to_vec();
            forged[position] ^= 1;
            assert!(check(forged.into()).is_err(), "byte {position}");
        }
    }

    #[test]
    fn truncation_anywhere_is_refused() {
        let batch = sample();
        for length in 0..batch.bytes.len() {
            assert!(check(batch.bytes.slice(..length)).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_batch_lives_for_a_bounded_number_of_heights() {
        let batch = sample();
        assert!(!batch.may_be_ordered_at(10) && batch.may_be_ordered_at(11));
        assert!(batch.may_be_ordered_at(10 + limits::BATCH_LIFETIME_BLOCKS));
        assert!(!batch.may_be_ordered_at(11 + limits::BATCH_LIFETIME_BLOCKS));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = check(bytes.into());
        }
    }
}
