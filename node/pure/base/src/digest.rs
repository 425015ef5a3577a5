//! 32-byte BLAKE3 digests, separated by domain.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};
use std::{fmt, str::FromStr};

/// A BLAKE3 digest: 32 bytes, hexadecimal where people read it, raw bytes on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The all-zero digest: "no parent" and "empty".
    pub const ZERO: Self = Self([0; 32]);

    /// Digest of `parts`, each preceded by its length, under `domain`.
    ///
    /// Length prefixes make `["ab", "c"]` and `["a", "bc"]` differ; the domain keeps a digest of one
    /// kind of value from passing as another's.
    #[must_use]
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(domain);
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// Plain BLAKE3 of `bytes`, as `b3sum` prints it: for files and whole payloads.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first eight hexadecimal digits: enough for a person to tell two digests apart.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, got `{got}`")]
pub struct ParseHexError {
    /// How many digits a value of this type has.
    pub expected: usize,
    /// What was given, cut to 80 characters.
    pub got: String,
}

/// Parses exactly `N` bytes of hexadecimal text.
///
/// # Errors
/// [`ParseHexError`] when the text has another length or other characters.
pub fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseHexError {
        expected: 2 * N,
        got: text.chars().take(80).collect(),
    })?;
    Ok(bytes)
}

/// Serializes `bytes` as hexadecimal text for people and as a byte string on the wire.
///
/// # Errors
/// Whatever the serializer reports.
pub fn serialize_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&hex::encode(bytes))
    } else {
        serializer.serialize_bytes(bytes)
    }
}

/// The inverse of [`serialize_hex`] for exactly `N` bytes.
///
/// # Errors
/// A length other than `N`, or text that is not hexadecimal.
pub fn deserialize_hex<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
    if deserializer.is_human_readable() {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        parse_hex(&text).map_err(D::Error::custom)
    } else {
        deserializer.deserialize_bytes(Exactly::<N>)
    }
}

/// Takes a byte string of `N` bytes from where it lies: a certificate has a hundred of them.
struct Exactly<const N: usize>;

impl<const N: usize> Visitor<'_> for Exactly<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a byte string of {N} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<[u8; N], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Digest {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, ParseHexError> {
        parse_hex(text).map(Self)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_hex(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_hex(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn domains_and_boundaries_separate_digests() {
        assert_ne!(Digest::of("a", &[b"x"]), Digest::of("b", &[b"x"]));
        assert_ne!(Digest::of("a", &[b"ab", b"c"]), Digest::of("a", &[b"a", b"bc"]));
    }

    #[test]
    fn text_and_wire_forms_round_trip() {
        let digest = Digest::of_bytes(b"regatta");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(decode(&encode(&digest), 64), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!("xyz".parse::<Digest>().is_err());
    }
}
