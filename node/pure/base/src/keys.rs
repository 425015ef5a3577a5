//! Ed25519 keys and signatures with one rule of validity everywhere.
//!
//! Nodes that disagree about one signature disagree about the state. RFC 8032 leaves room for that
//! (cofactored or not, non-canonical points), and a batch verifier and a strict single verifier do
//! differ on points with a small-order component. So every check in Regatta, alone or in a batch,
//! uses the rule of ZIP 215: canonical `s`, any encoding of `A` and `R`, the cofactored equation. For
//! that rule a batch accepts exactly when each of its members is accepted.
//! Signing is ordinary RFC 8032 through `ed25519-dalek`.

use crate::digest::{ParseHexError, deserialize_hex, parse_hex, serialize_hex};
use ed25519_dalek::{
    Signer, SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A public key of 32 bytes: a node's, a validator's or a client's identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// A signature of 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

/// A private key; never printed, erased from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

/// The PEM text is not an Ed25519 private key in PKCS #8.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS #8 PEM: {0}")]
pub struct KeyError(String);

impl SecretKey {
    /// The key whose seed is `bytes`.
    #[must_use]
    pub fn from_seed(bytes: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&bytes))
    }

    /// The 32-byte seed, for a library that wants the raw key.
    #[must_use]
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }

    /// PKCS #8 PEM text, as OpenSSL reads it.
    ///
    /// # Errors
    /// [`KeyError`] when the encoder fails, which a valid key never makes it do.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = self
            .0
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| KeyError(error.to_string()))?;
        Ok(pem.to_string())
    }

    /// Reads what [`SecretKey::to_pem`] wrote.
    ///
    /// # Errors
    /// [`KeyError`] says what does not parse.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(text)
            .map(Self)
            .map_err(|error| KeyError(error.to_string()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

impl PublicKey {
    /// The first eight hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

macro_rules! bytes_type {
    ($name:ident, $len:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_hex(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_hex::<$len, D>(deserializer).map(Self)
            }
        }
    };
}

bytes_type!(PublicKey, 32);
bytes_type!(Signature, 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_round_trips_and_hides_the_secret_from_debug() {
        let secret = SecretKey::from_seed([3; 32]);
        let pem = secret.to_pem().unwrap();
        assert_eq!(SecretKey::from_pem(&pem).unwrap().public(), secret.public());
        assert!(SecretKey::from_pem("-----BEGIN NOTHING-----").is_err());
        assert!(!format!("{secret:?}").contains(&hex::encode(secret.to_seed())));
    }
}
