//! Canonical MessagePack: one value has one encoding, and a decoder refuses every other.
//!
//! Structs travel as arrays (no field names). `decode` re-encodes what it read and compares, so that
//! padded integers, trailing bytes and duplicate map keys are refused and a digest over the bytes is
//! a digest over the value.

use serde::{Serialize, de::DeserializeOwned};

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
    rmp_serde::to_vec(value).expect("serializing plain data to memory does not fail")
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
    if encode(&value) != bytes {
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

        #[test]
        fn round_trip(value in any::<(u64, String, Vec<u8>, Option<i16>)>()) {
            prop_assert_eq!(decode::<(u64, String, Vec<u8>, Option<i16>)>(&encode(&value), 10_000), Ok(value));
        }
    }
}
