//! Ed25519 keys and signatures with one rule of validity everywhere.
//!
//! Nodes that disagree about one signature disagree about the state. RFC 8032 leaves room for that
//! (cofactored or not, non-canonical points), and a batch verifier and a strict single verifier do
//! differ on points with a small-order component. So every check in Regatta, alone or in a batch,
//! uses the rule of ZIP 215: canonical `s`, any encoding of `A` and `R`, the cofactored equation. For
//! that rule a batch accepts exactly when each of its members is accepted.
//! Signing is ordinary RFC 8032 through `ed25519-dalek`.

use crate::{
    digest::{ParseHexError, deserialize_hex, parse_hex, serialize_hex},
    keyring::Keyring,
};
use ed25519_dalek::{
    Signer, SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use rand::CryptoRng;
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
    /// Whether `signature` over `message` is valid under this key, by the rule of this module.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        Keyring::default().one_holds(&Claim {
            key: *self,
            message,
            signature: *signature,
        })
    }

    /// The first eight hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

/// One claim to check: `key` signed `message`.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// What is said to be signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: Signature,
}

/// Checks all claims at once and says whether *every one* holds, for keys that are not met again; see
/// [`Keyring::verify_all`].
#[must_use]
pub fn verify_all(claims: &[Claim<'_>], rng: &mut impl CryptoRng) -> bool {
    Keyring::default().verify_all(claims, rng)
}

/// Checks all claims and says for each whether it holds, for keys that are not met again; see [`Keyring::verify_each`].
#[must_use]
pub fn verify_each(claims: &[Claim<'_>], rng: &mut impl CryptoRng) -> Vec<bool> {
    Keyring::default().verify_each(claims, rng)
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
    use crate::{keyring::BATCH_MAX, seed};

    fn key(index: u8) -> SecretKey {
        SecretKey::from_seed([index; 32])
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let (secret, message) = (key(1), b"vote".to_vec());
        let signature = secret.sign(&message);
        assert!(secret.public().verifies(&message, &signature));
        for bit in 0..512 {
            let mut forged = signature;
            forged.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!secret.public().verifies(&message, &forged), "bit {bit}");
        }
        assert!(!key(2).public().verifies(&message, &signature));
        assert!(!secret.public().verifies(b"vota", &signature));
    }

    #[test]
    fn a_batch_finds_exactly_the_bad_claims() {
        let messages: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; 20]).collect();
        let mut claims: Vec<Claim<'_>> = messages
            .iter()
            .enumerate()
            .map(|(i, message)| {
                let secret = key(i as u8 % 5);
                Claim {
                    key: secret.public(),
                    message,
                    signature: secret.sign(message),
                }
            })
            .collect();
        let mut rng = seed::rng(7, "batch");
        assert!(verify_all(&claims, &mut rng));
        claims[3].signature.0[40] ^= 1;
        claims[17].key = key(9).public();
        assert!(!verify_all(&claims, &mut rng));
        let valid = verify_each(&claims, &mut rng);
        let bad: Vec<usize> = (0..40).filter(|&i| !valid[i]).collect();
        assert_eq!(bad, [3, 17]);
    }

    #[test]
    fn several_batches_find_the_bad_claims_of_each() {
        let message = [7; 32];
        let signed: Vec<_> = (0..8).map(|i| (key(i).public(), key(i).sign(&message))).collect();
        let mut claims: Vec<Claim<'_>> = (0..2 * BATCH_MAX + 9)
            .map(|i| Claim {
                key: signed[i % 8].0,
                message: &message,
                signature: signed[i % 8].1,
            })
            .collect();
        let mut rng = seed::rng(7, "batches");
        assert!(verify_all(&claims, &mut rng));
        let bad = [0, BATCH_MAX + 1, 2 * BATCH_MAX + 8];
        for position in bad {
            claims[position].signature.0[40] ^= 1;
            assert!(!verify_all(&claims, &mut rng));
        }
        let valid = verify_each(&claims, &mut rng);
        let found: Vec<usize> = (0..claims.len()).filter(|&i| !valid[i]).collect();
        assert_eq!(found, bad);
    }

    /// The case on which strict single checks and batches disagree: a small-order key and point.
    #[test]
    fn alone_and_in_a_batch_agree_on_small_order_points() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        let small = Claim {
            key: PublicKey(identity),
            message: b"m",
            signature: Signature(forged),
        };
        let alone = small.key.verifies(small.message, &small.signature);
        let mut rng = seed::rng(7, "small");
        assert_eq!(verify_all(&[small, small], &mut rng), alone);
    }

    #[test]
    fn pem_round_trips_and_hides_the_secret_from_debug() {
        let secret = key(3);
        let pem = secret.to_pem().unwrap();
        assert_eq!(SecretKey::from_pem(&pem).unwrap().public(), secret.public());
        assert!(SecretKey::from_pem("-----BEGIN NOTHING-----").is_err());
        assert!(!format!("{secret:?}").contains(&hex::encode(secret.to_seed())));
    }
}
