//! What binds digests and signatures to one instance of one chain.

use regatta_base::{ChainId, Digest, InstanceId, limits};

pub(crate) const SIGNATURE_BYTES: usize = 64;

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

/// The digest that the members sign who agree to a change of the validator set: over the bytes that `change::propose`
/// makes.
#[must_use]
pub fn change_digest(domain: &Domain, body: &[u8]) -> Digest {
    keyed(&domain.signing, body)
}
