//! Canonical MessagePack: one value has one encoding, and a decoder refuses every other.
//!
//! Structs travel as arrays (no field names). `decode` re-encodes what it read and compares, so that
//! padded integers, trailing bytes and duplicate map keys are refused and a digest over the bytes is
//! a digest over the value.

use serde::{Serialize, de::DeserializeOwned};
use std::io;

/// Room for what most values take: votes, headers and proposals do not move while they are encoded.
const ROOM: usize = 256;

/// Why bytes are not the canonical encoding of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the caller allows for this kind of value.
    #[error("{got} bytes exceed the limit of {max}")]
    TooLarge {
        /// Length of the input in bytes.
        got: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The bytes do not parse as the type.
    #[error("malformed encoding: {0}")]
    Malformed(String),
    /// The bytes parse, but another encoding of the same value is the canonical one.
    #[error("not the canonical encoding")]
    NotCanonical,
}

/// Encodes `value` canonically.
///
/// # Panics
/// Never for the types of this workspace: writing to memory cannot fail, and none of them has a
/// serializer that returns an error.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ROOM);
    rmp_serde::encode::write(&mut bytes, value).expect("serializing plain data to memory does not fail");
    bytes
}

/// Takes an encoding byte by byte, as long as it is the expected one.
struct Expected<'a>(&'a [u8]);

impl io::Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether [`encode`] would produce `bytes`.
fn is_canonical<T: Serialize>(value: &T, bytes: &[u8]) -> bool {
    let mut expected = Expected(bytes);
    rmp_serde::encode::write(&mut expected, value).is_ok() && expected.0.is_empty()
}

/// Decodes at most `max` bytes and refuses any encoding that [`encode`] would not have produced.
///
/// # Errors
/// [`CodecError`] says whether the input was too large, malformed or not canonical.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, CodecError> {
    if bytes.len() > max {
        return Err(CodecError::TooLarge { got: bytes.len(), max });
    }
    let value: T = rmp_serde::from_slice(bytes).map_err(|error| CodecError::Malformed(error.to_string()))?;
    if !is_canonical(&value, bytes) {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn padded_integers_and_trailing_bytes_are_refused() {
        assert_eq!(decode::<u32>(&[7], 8), Ok(7));
        assert_eq!(decode::<u32>(&[0xcc, 7], 8), Err(CodecError::NotCanonical));
        assert_eq!(decode::<u32>(&[7, 7], 8), Err(CodecError::NotCanonical));
        assert_eq!(decode::<u32>(&[7; 9], 8), Err(CodecError::TooLarge { got: 9, max: 8 }));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Vec<(u64, String)>>(&bytes, 1000);
        }

        /// What is read is compared with what would be written, without writing it.
        #[test]
        fn what_is_canonical_is_what_would_be_written(
            value in any::<(u64, String, Vec<u8>, Option<i16>)>(),
            change in 0usize..60,
            by in any::<u8>(),
        ) {
            let mut bytes = encode(&value);
            prop_assert!(is_canonical(&value, &bytes));
            prop_assert!(!is_canonical(&value, &[&bytes[..], &[0]].concat()));
            prop_assert!(!is_canonical(&value, &bytes[..bytes.len() - 1]));
            if let Some(byte) = bytes.get_mut(change) {
                *byte ^= by;
                prop_assert_eq!(is_canonical(&value, &bytes), by == 0);
            }
        }

        #[test]
        fn round_trip(value in any::<(u64, String, Vec<u8>, Option<i16>)>()) {
            prop_assert_eq!(decode::<(u64, String, Vec<u8>, Option<i16>)>(&encode(&value), 10_000), Ok(value));
        }
    }
}
