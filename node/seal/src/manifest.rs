//! The manifest of a build and its detached signatures.

use regatta_base::{Digest, PublicKey, SecretKey, Signature, decode, encode};
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

use super::SealError;

/// Version of the manifest's form.
pub(super) const SCHEMA: u32 = 1;
/// What a signature is over, before the manifest's digest: no signature of another kind passes as one of a build.
const DOMAIN: &[u8] = b"regatta-build-v1";
/// Largest manifest in bytes.
pub(super) const MANIFEST_BYTES_MAX: usize = 64 * 1024;
/// Largest file of signatures in bytes.
pub(super) const SIGNATURES_BYTES_MAX: usize = 64 * 1024;
/// Mode of an installed program: nobody writes.
pub(super) const PROGRAM_MODE: u32 = 0o555;
/// Largest artifact in bytes.
pub(super) const ARTIFACT_BYTES_MAX: u64 = 512 << 20;

/// What a build is, as canonical MessagePack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`] of the program that made it.
    pub schema: u32,
    /// What was built, e.g. `regatta-node`.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Grows with every manifest of a store.
    pub sequence: u64,
    /// Source commit in hexadecimal.
    pub commit: String,
    /// Whether the work tree held changes that the commit does not.
    pub dirty: bool,
    /// Digest of the lock file.
    pub lock: Digest,
    /// Version of the compiler.
    pub rustc: String,
    /// Target triple.
    pub target: String,
    /// Cargo profile.
    pub profile: String,
    /// The files.
    pub artifacts: Vec<Artifact>,
    /// First and last version of the peer protocol that it can join.
    pub protocol: (u32, u32),
    /// Unix seconds at which it was made.
    pub created: u64,
    /// Unix seconds from which on it may not be started.
    pub expires: u64,
    /// Digest of the manifest before it in the store.
    pub previous: Option<Digest>,
    /// How many pinned keys must have signed it.
    pub threshold: u32,
    /// Whether it was made for tests and breaks the protocol where it is told to. Left out where it does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub byzantine: bool,
}

impl Manifest {
    /// The file that is executed.
    ///
    /// # Errors
    /// [`SealError::NoArtifact`] when the manifest names none.
    pub fn program(&self) -> Result<&Artifact, SealError> {
        let artifact = self.artifacts.iter().find(|artifact| artifact.path == self.product);
        artifact.ok_or_else(|| SealError::NoArtifact(self.product.clone()))
    }
}

/// One file of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// A plain file name.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of its bytes.
    pub blake3: Digest,
    /// Permission bits.
    pub mode: u32,
    /// Target triple.
    pub target: String,
}

/// A manifest's exact bytes with its detached signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Canonical encoding of a [`Manifest`].
    pub manifest: Vec<u8>,
    /// Who signed it.
    pub signatures: Vec<(PublicKey, Signature)>,
}

impl Bundle {
    /// Signs `manifest` with `key`.
    pub fn sign(manifest: &Manifest, key: &SecretKey) -> Self {
        let bytes = encode(manifest);
        let signature = key.sign(&message(&bytes));
        Self {
            manifest: bytes,
            signatures: vec![(key.public(), signature)],
        }
    }

    /// Digest of the manifest's bytes.
    pub fn digest(&self) -> Digest {
        Digest::of_bytes(&self.manifest)
    }

    /// How many of the `pinned` keys signed this manifest; a key counts once.
    pub(super) fn signers(&self, pinned: &[PublicKey]) -> usize {
        signers(&message(&self.manifest), &self.signatures, pinned)
    }

    /// The manifest, when its bytes are its canonical encoding. Says nothing about who signed it.
    pub(super) fn decode(&self) -> Result<Manifest, SealError> {
        let manifest: Manifest = decode(&self.manifest, MANIFEST_BYTES_MAX)?;
        if manifest.schema == SCHEMA {
            Ok(manifest)
        } else {
            Err(SealError::Schema(manifest.schema))
        }
    }
}

/// How many of the `pinned` keys have a valid signature of `message` in the list; a key counts once.
pub(super) fn signers(message: &[u8], signatures: &[(PublicKey, Signature)], pinned: &[PublicKey]) -> usize {
    let signed_by = |key: &&PublicKey| {
        let mut own = signatures.iter().filter(|(signer, _)| signer == *key);
        own.any(|(_, signature)| key.verifies(message, signature))
    };
    pinned.iter().filter(signed_by).count()
}

fn message(manifest: &[u8]) -> Vec<u8> {
    [DOMAIN, &Digest::of_bytes(manifest).0].concat()
}

/// Seconds since 1970 by this machine's clock; 0 when it is set before that.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
