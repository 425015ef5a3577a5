//! Canonical encoding, digests, signatures, identifiers and limits shared by every Regatta crate.
//!
//! This floor knows bytes and nothing of blocks, nodes or experiments.

pub mod codec;
pub mod digest;
mod familiar;
pub mod hex_bytes;
pub mod ids;
pub mod keyring;
pub mod keys;
pub mod limits;
pub mod many;
pub mod seed;
pub mod validators;

pub use codec::{CodecError, decode, encode};
pub use digest::Digest;
pub use hex_bytes::HexBytes;
pub use ids::{ChainId, Height, InstanceId, Round, TransactionId};
pub use keyring::Keyring;
pub use keys::{PublicKey, SecretKey, Signature};
pub use validators::{Validator, ValidatorSet, ValidatorSetError};
