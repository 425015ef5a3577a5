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
    domain::{Domain, SIGNATURE_BYTES, TransactionError, keyed},
};
use bytes::Bytes;
use regatta_base::{PublicKey, SecretKey, limits};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_what_is_read() {
        let (domain, key) = (
            Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap()),
            SecretKey::from_seed([1; 32]),
        );
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
        assert_eq!(View::parse(&bytes).unwrap().sender(), Some((key.public(), 8)));
    }
}
