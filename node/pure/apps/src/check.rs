//! Ids of transactions, and transactions whose signatures are checked in one batch.

use crate::{
    domain::{Domain, TransactionError},
    scan::{Scanned, scan_each},
};
use bytes::Bytes;
use rand::CryptoRng;
use regatta_base::{Keyring, PublicKey, TransactionId, keyring::Claim};

/// The id by which a transaction's status is queried.
///
/// # Errors
/// The layout is broken; the signature is not checked.
pub fn transaction_id(domain: &Domain, bytes: &[u8]) -> Result<TransactionId, TransactionError> {
    transaction_ids(domain, &[bytes])
        .pop()
        .unwrap_or(Err(TransactionError::Malformed))
}

/// The ids of many transactions, in their order; an error for each whose layout is broken. Costs a third of asking for
/// one after the other.
#[must_use]
pub fn transaction_ids(domain: &Domain, transactions: &[&[u8]]) -> Vec<Result<TransactionId, TransactionError>> {
    let scanned = scan_each(domain, transactions).into_iter();
    scanned.map(|result| result.map(|scanned| scanned.id)).collect()
}

/// A transaction whose layout and signature hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedTransaction {
    /// Its id.
    pub id: TransactionId,
    /// Who signed it and with which sequence number; `None` for a blob.
    pub sender: Option<(PublicKey, u64)>,
    /// Its exact bytes.
    pub bytes: Bytes,
}

/// Checks each transaction alone; the signatures are checked in one batch.
#[must_use]
pub fn check_transactions(
    domain: &Domain,
    transactions: Vec<Bytes>,
    keys: &mut Keyring,
    rng: &mut impl CryptoRng,
) -> Vec<Result<CheckedTransaction, TransactionError>> {
    let slices: Vec<&[u8]> = transactions.iter().map(|bytes| &bytes[..]).collect();
    let scanned = scan_each(domain, &slices);
    let claims: Vec<Claim<'_>> = scanned
        .iter()
        .flatten()
        .flat_map(Scanned::claims)
        .map(|(key, digest, signature)| Claim {
            key: *key,
            message: &digest.0,
            signature: *signature,
        })
        .collect();
    let mut valid = keys.verify_each(&claims, rng).into_iter();
    let mut check = |bytes, result: &Result<Scanned, TransactionError>| {
        let scanned = result.as_ref().map_err(|error| *error)?;
        // One verdict for each claim, whatever the first ones are.
        let mut holds = true;
        for _ in scanned.claims() {
            holds &= valid.next() == Some(true);
        }
        if !holds {
            return Err(TransactionError::BadSignature);
        }
        Ok(CheckedTransaction {
            id: scanned.id,
            sender: scanned.sender,
            bytes,
        })
    };
    transactions
        .into_iter()
        .zip(&scanned)
        .map(|(bytes, result)| check(bytes, result))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        View,
        domain::keyed,
        transaction::{blob, opaque, put},
    };
    use proptest::prelude::*;
    use regatta_base::{SecretKey, seed};

    fn domain(instance: &str) -> Domain {
        Domain::new(&"test".parse().unwrap(), &instance.parse().unwrap())
    }

    fn secret(index: u8) -> SecretKey {
        SecretKey::from_seed([index; 32])
    }

    fn check(domain: &Domain, bytes: &Bytes) -> Result<CheckedTransaction, TransactionError> {
        check_transactions(
            domain,
            vec![bytes.clone()],
            &mut Keyring::default(),
            &mut seed::rng(1, "test"),
        )
        .remove(0)
    }

    #[test]
    fn a_transaction_of_another_instance_or_chain_is_refused() {
        let bytes = opaque(&domain("main"), &secret(1), 1, b"x");
        assert!(check(&domain("main"), &bytes).is_ok());
        assert_eq!(check(&domain("side"), &bytes), Err(TransactionError::BadSignature));
        let other_chain = Domain::new(&"other".parse().unwrap(), &"main".parse().unwrap());
        assert_eq!(check(&other_chain, &bytes), Err(TransactionError::BadSignature));
    }

    #[test]
    fn every_byte_of_a_signed_transaction_is_protected() {
        let domain = domain("main");
        let bytes = put(&domain, &secret(1), 1, b"key", b"value");
        for position in 0..bytes.len() {
            let mut forged = bytes.to_vec();
            forged[position] ^= 1;
            // Flipping the tag to 0 or 3 yields a blob or nothing; everything else must fail its check.
            let forged = Bytes::from(forged);
            let still_signed = check(&domain, &forged).is_ok_and(|checked| checked.sender.is_some());
            assert!(!still_signed, "byte {position}");
        }
    }

    #[test]
    fn bad_ones_do_not_spoil_good_ones() {
        let domain = domain("main");
        let good = opaque(&domain, &secret(1), 1, b"x");
        let mut bad = good.to_vec();
        bad[50] ^= 1;
        let zero_sequence = opaque(&domain, &secret(1), 0, b"x");
        let list = vec![good.clone(), bad.into(), blob(b"b"), Bytes::new(), zero_sequence, good];
        let results = check_transactions(&domain, list, &mut Keyring::default(), &mut seed::rng(1, "test"));
        let errors: Vec<_> = results.iter().map(|r| r.as_ref().err().copied()).collect();
        let (bad, malformed) = (Some(TransactionError::BadSignature), Some(TransactionError::Malformed));
        assert_eq!(errors, [None, bad, None, malformed, malformed, None]);
    }

    #[test]
    fn a_blob_never_takes_the_id_of_a_signed_transaction() {
        let domain = domain("main");
        let bytes = opaque(&domain, &secret(1), 1, b"x");
        let body_digest = keyed(&domain.signing, &bytes[..bytes.len() - 64]);
        let crafted: Bytes = [&body_digest.0, &bytes[bytes.len() - 64..]].concat().into();
        let id = transaction_id(&domain, &bytes).unwrap();
        assert_ne!(keyed(&domain.blob_id, &crafted), id);
        assert_eq!(keyed(&domain.signed_id, &crafted), id);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), tag in 0u8..5) {
            let _ = View::parse(&bytes);
            let mut tagged = vec![tag];
            tagged.extend(bytes);
            let _ = View::parse(&tagged);
            let _ = check(&domain("main"), &tagged.into());
        }
    }
}
