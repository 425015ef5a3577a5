//! The layout of a transaction: written once by the client, never re-encoded.
//!
//! ```text
//! blob    00 | payload
//! opaque  01 | sender 32 | sequence 8 | payload                        | signature 64
//! put     02 | sender 32 | sequence 8 | key length 2 | key | value     | signature 64
//! validators  03 | version 8 | count 2 | (key 32 | weight 8)* | (key 32 | signature 64)*
//! ```
//! Integers are big-endian. The signature is over a digest of everything before it, keyed by the chain
//! and instance, so that no transaction replays elsewhere and one pass over the bytes serves both the
//! signature and the id. MessagePack would cost a copy of every payload on each validator.

use crate::{
    change::{CHANGE_TAG, ChangeView},
    scan::{Scanned, scan_each},
};
use bytes::Bytes;
use rand::CryptoRng;
use regatta_base::{ChainId, Digest, InstanceId, Keyring, PublicKey, SecretKey, TransactionId, keys::Claim, limits};

pub(crate) const SIGNATURE_BYTES: usize = 64;
const SIGNED_HEADER_BYTES: usize = 1 + 32 + 8;

/// Fewest bytes of a signed transaction: header and signature around an empty payload.
pub const SIGNED_BYTES_MIN: usize = SIGNED_HEADER_BYTES + SIGNATURE_BYTES;

/// What a transaction is; the first byte of its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Unsigned bytes that are ordered and not executed.
    Blob,
    /// Signed bytes with a sequence number.
    Opaque,
    /// A signed key-value write.
    Put,
    /// A change of the validator set, signed by its members.
    Validators,
}

impl Kind {
    /// The name that scenarios and commands use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Opaque => "opaque",
            Self::Put => "put",
            Self::Validators => "validators",
        }
    }
}

/// Why bytes are not an acceptable transaction or batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The layout is broken.
    #[error("the bytes are not a transaction")]
    Malformed,
    /// Longer than the limit of the protocol.
    #[error("longer than {} bytes", limits::TRANSACTION_BYTES_MAX)]
    TooLarge,
    /// The signature does not verify for this chain and instance.
    #[error("the signature does not verify for this chain and instance")]
    BadSignature,
}

/// The keys that bind digests to one instance of one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    pub(crate) signing: [u8; 32],
    pub(crate) signed_id: [u8; 32],
    pub(crate) blob_id: [u8; 32],
    pub(crate) batch: [u8; 32],
}

impl Domain {
    /// The domain of `instance` on `chain`.
    #[must_use]
    pub fn new(chain: &ChainId, instance: &InstanceId) -> Self {
        let key = |purpose| Digest::of(purpose, &[chain.as_str().as_bytes(), instance.as_str().as_bytes()]).0;
        Self {
            signing: key("regatta transaction signing v1"),
            signed_id: key("regatta transaction id v1"),
            blob_id: key("regatta blob id v1"),
            batch: key("regatta batch v1"),
        }
    }
}

pub(crate) fn keyed(key: &[u8; 32], bytes: &[u8]) -> Digest {
    Digest(*blake3::keyed_hash(key, bytes).as_bytes())
}

/// The parts of a well-formed transaction, borrowed from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View<'a> {
    /// Unsigned bytes.
    Blob {
        /// The bytes.
        payload: &'a [u8],
    },
    /// Signed bytes.
    Opaque {
        /// Who signed.
        sender: PublicKey,
        /// The sender's sequence number, from 1.
        sequence: u64,
        /// The bytes.
        payload: &'a [u8],
    },
    /// A write.
    Put {
        /// Who signed.
        sender: PublicKey,
        /// The sender's sequence number, from 1.
        sequence: u64,
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// A change of the validator set.
    Validators(ChangeView<'a>),
}

impl<'a> View<'a> {
    /// Takes `bytes` apart; checks the layout and sizes, not the signature.
    ///
    /// # Errors
    /// [`TransactionError::Malformed`] or [`TransactionError::TooLarge`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TransactionError> {
        if bytes.len() > limits::TRANSACTION_BYTES_MAX {
            return Err(TransactionError::TooLarge);
        }
        let (&tag, rest) = bytes.split_first().ok_or(TransactionError::Malformed)?;
        match tag {
            0 => Ok(Self::Blob { payload: rest }),
            1 => {
                let (sender, sequence, payload) = signed_parts(rest)?;
                Ok(Self::Opaque {
                    sender,
                    sequence,
                    payload,
                })
            }
            2 => {
                let (sender, sequence, payload) = signed_parts(rest)?;
                let (length, rest) = payload.split_first_chunk::<2>().ok_or(TransactionError::Malformed)?;
                let length = usize::from(u16::from_be_bytes(*length));
                let (key, value) = rest.split_at_checked(length).ok_or(TransactionError::Malformed)?;
                let sizes_fit = (1..=limits::STATE_KEY_BYTES_MAX).contains(&key.len())
                    && value.len() <= limits::STATE_VALUE_BYTES_MAX;
                if sizes_fit {
                    Ok(Self::Put {
                        sender,
                        sequence,
                        key,
                        value,
                    })
                } else {
                    Err(TransactionError::TooLarge)
                }
            }
            CHANGE_TAG => ChangeView::parse(rest).map(Self::Validators),
            _ => Err(TransactionError::Malformed),
        }
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Blob { .. } => Kind::Blob,
            Self::Opaque { .. } => Kind::Opaque,
            Self::Put { .. } => Kind::Put,
            Self::Validators(_) => Kind::Validators,
        }
    }

    /// Who signed it and with which sequence number; `None` for a blob, and for a change of the validator set, which
    /// many sign and a version protects from replay.
    #[must_use]
    pub fn sender(&self) -> Option<(PublicKey, u64)> {
        match *self {
            Self::Blob { .. } | Self::Validators(_) => None,
            Self::Opaque { sender, sequence, .. } | Self::Put { sender, sequence, .. } => Some((sender, sequence)),
        }
    }
}

fn signed_parts(rest: &[u8]) -> Result<(PublicKey, u64, &[u8]), TransactionError> {
    let (sender, rest) = rest.split_first_chunk::<32>().ok_or(TransactionError::Malformed)?;
    let (sequence, rest) = rest.split_first_chunk::<8>().ok_or(TransactionError::Malformed)?;
    let (payload, _signature) = rest
        .split_last_chunk::<SIGNATURE_BYTES>()
        .ok_or(TransactionError::Malformed)?;
    match u64::from_be_bytes(*sequence) {
        // 0 is "none yet" in the state, and the last number leaves no next one.
        0 | u64::MAX => Err(TransactionError::Malformed),
        sequence => Ok((PublicKey(*sender), sequence, payload)),
    }
}

/// The bytes of a `blob`.
#[must_use]
pub fn blob(payload: &[u8]) -> Bytes {
    [&[0], payload].concat().into()
}

/// The bytes of an `opaque` transaction signed by `secret`.
#[must_use]
pub fn opaque(domain: &Domain, secret: &SecretKey, sequence: u64, payload: &[u8]) -> Bytes {
    signed(domain, 1, secret, sequence, &[payload])
}

/// The bytes of a `put` signed by `secret`; `key` has 1 to [`limits::STATE_KEY_BYTES_MAX`] bytes.
#[must_use]
pub fn put(domain: &Domain, secret: &SecretKey, sequence: u64, key: &[u8], value: &[u8]) -> Bytes {
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    signed(domain, 2, secret, sequence, &[&length.to_be_bytes(), key, value])
}

fn signed(domain: &Domain, tag: u8, secret: &SecretKey, sequence: u64, parts: &[&[u8]]) -> Bytes {
    let payload: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(SIGNED_BYTES_MIN + payload);
    bytes.push(tag);
    bytes.extend_from_slice(&secret.public().0);
    bytes.extend_from_slice(&sequence.to_be_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    let digest = keyed(&domain.signing, &bytes);
    bytes.extend_from_slice(&secret.sign(&digest.0).0);
    bytes.into()
}

/// The digest that the members sign who agree to a change of the validator set: over the bytes that `change::propose`
/// makes.
#[must_use]
pub fn change_digest(domain: &Domain, body: &[u8]) -> Digest {
    keyed(&domain.signing, body)
}

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
    use proptest::prelude::*;
    use regatta_base::seed;

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
    fn what_is_built_is_what_is_read() {
        let (domain, key) = (domain("main"), secret(1));
        assert_eq!(View::parse(&blob(b"xyz")), Ok(View::Blob { payload: b"xyz" }));
        let bytes = opaque(&domain, &key, 7, b"xyz");
        assert_eq!(
            View::parse(&bytes),
            Ok(View::Opaque {
                sender: key.public(),
                sequence: 7,
                payload: b"xyz"
            })
        );
        let bytes = put(&domain, &key, 8, b"k", b"v");
        let expected = View::Put {
            sender: key.public(),
            sequence: 8,
            key: b"k",
            value: b"v",
        };
        assert_eq!(View::parse(&bytes), Ok(expected));
        assert_eq!(check(&domain, &bytes).map(|t| t.sender), Ok(Some((key.public(), 8))));
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
