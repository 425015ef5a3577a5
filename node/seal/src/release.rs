//! Signed releases: which build a network changes to, from which height on, and in which pieces its program travels.
//!
//! A release refers to one build manifest by its digest and is signed by itself, in a domain of its own. Both travel in one
//! document, and [`ReleasePolicy::check`] judges that document as a whole: nothing of it counts before keys that the node
//! was configured with have signed it.

use super::{
    Artifact, Bundle, Manifest, Policy, Purpose, SealError, Sealed,
    manifest::{ARTIFACT_BYTES_MAX, MANIFEST_BYTES_MAX, PROGRAM_MODE, signers},
    unix_seconds,
};
use regatta_base::{
    ChainId, CodecError, Digest, Height, HexBytes, InstanceId, PublicKey, SecretKey, Signature, decode, encode,
};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Seek};

#[cfg(test)]
mod tests;

/// Version of the release's form.
const SCHEMA: u32 = 1;
/// What a release's signature is over, before its digest.
const DOMAIN: &[u8] = b"regatta-release-v1";
/// Largest document in bytes: manifest, list of pieces and signatures.
pub const RELEASE_BYTES_MAX: usize = 256 * 1024;
/// A program travels in pieces of this many bytes; the last one may be shorter.
pub const CHUNK_BYTES: u32 = 256 * 1024;
/// Most signatures under a release, and under its manifest.
const SIGNATURES_MAX: usize = 64;
/// How long a release made here may be installed, in seconds: 7 days.
const LIFETIME_S: u64 = 7 * 24 * 3600;
/// Most builds whose sequence a history remembers.
const BUILDS_MAX: usize = 64;

/// What is released, as canonical MessagePack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Version of this form.
    pub schema: u32,
    /// The network that it is for.
    pub chain: ChainId,
    /// Grows with every release of that network.
    pub number: u64,
    /// Digest of the build's manifest.
    pub build: Digest,
    /// Digests of the program's pieces of [`CHUNK_BYTES`] each, in order.
    pub chunks: Vec<Digest>,
    /// The instance whose heights count.
    pub instance: InstanceId,
    /// No node switches before this height.
    pub activate_at: Height,
    /// Nodes switch in batches that follow each other by so many heights.
    pub batch_blocks: u64,
    /// A build with a smaller sequence than the node has seen is accepted down to this one.
    pub allow_rollback_to: Option<u64>,
    /// Unix seconds at which it was made.
    pub created: u64,
    /// Unix seconds from which on it may not be installed.
    pub expires: u64,
    /// How many pinned keys must have signed it.
    pub threshold: u32,
}

/// When and where a release takes effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The network that it is for.
    pub chain: ChainId,
    /// Number of the release.
    pub number: u64,
    /// The instance whose heights count.
    pub instance: InstanceId,
    /// The first height at which a node may switch.
    pub activate_at: Height,
    /// Heights between two batches of nodes.
    pub batch_blocks: u64,
    /// The least sequence that is accepted although the node has seen greater ones.
    pub allow_rollback_to: Option<u64>,
}

impl Release {
    /// The release of a sealed build, whose program is read once to divide it.
    ///
    /// # Errors
    /// [`ReleaseError::Seal`] when the program cannot be read or is not what was sealed.
    pub fn of(sealed: &Sealed, activation: Activation) -> Result<Self, ReleaseError> {
        let program = sealed.verify(Purpose {
            here: true,
            byzantine: sealed.manifest.byzantine,
        })?;
        let file = |error| {
            ReleaseError::Seal(SealError::File {
                path: sealed.program_path(),
                error,
            })
        };
        let mut source = program.file();
        source.rewind().map_err(file)?;
        let chunks = chunks_of(source).map_err(file)?;
        let now = unix_seconds();
        Ok(Self {
            schema: SCHEMA,
            chain: activation.chain,
            number: activation.number,
            build: sealed.bundle.digest(),
            chunks,
            instance: activation.instance,
            activate_at: activation.activate_at,
            batch_blocks: activation.batch_blocks,
            allow_rollback_to: activation.allow_rollback_to,
            created: now,
            expires: now + LIFETIME_S,
            threshold: 1,
        })
    }

    /// Signs the release and puts it together with the manifest of its build.
    #[must_use]
    pub fn sign(&self, bundle: &Bundle, key: &SecretKey) -> Document {
        let release = encode(self);
        let signature = key.sign(&message(&release));
        Document {
            release: release.into(),
            signatures: vec![(key.public(), signature)],
            manifest: bundle.manifest.clone().into(),
            manifest_signatures: bundle.signatures.clone(),
        }
    }
}

/// Digests of the pieces of a program.
fn chunks_of(mut program: impl Read) -> io::Result<Vec<Digest>> {
    let mut chunks = Vec::new();
    loop {
        let mut piece = Vec::new();
        let count = program.by_ref().take(u64::from(CHUNK_BYTES)).read_to_end(&mut piece)?;
        if count == 0 {
            return Ok(chunks);
        }
        chunks.push(Digest::of_bytes(&piece));
    }
}

/// How many pieces a program of `size` bytes has.
fn chunk_count(size: u64) -> u64 {
    size.div_ceil(u64::from(CHUNK_BYTES))
}

/// A release with its build's manifest and the signatures under both: what nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Canonical encoding of a [`Release`].
    pub release: HexBytes,
    /// Who signed the release.
    pub signatures: Vec<(PublicKey, Signature)>,
    /// Canonical encoding of a [`Manifest`].
    pub manifest: HexBytes,
    /// Who signed the manifest.
    pub manifest_signatures: Vec<(PublicKey, Signature)>,
}

impl Document {
    /// The bytes that travel, and that [`ReleasePolicy::check`] takes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Document::encode`] wrote. Says nothing about who signed it.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are too many or not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let document: Self = decode(bytes, RELEASE_BYTES_MAX)?;
        let most = document.signatures.len().max(document.manifest_signatures.len());
        if most > SIGNATURES_MAX {
            return Err(CodecError::TooLarge {
                got: most,
                max: SIGNATURES_MAX,
            });
        }
        Ok(document)
    }

    /// The manifest with its signatures.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        Bundle {
            manifest: self.manifest.0.to_vec(),
            signatures: self.manifest_signatures.clone(),
        }
    }
}

fn message(release: &[u8]) -> Vec<u8> {
    [DOMAIN, &Digest::of_bytes(release).0].concat()
}

/// What a node has accepted before, so that nobody takes it back behind that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Number of the last accepted release; 0 before the first one.
    pub number: u64,
    /// Digest of that release.
    pub release: Option<Digest>,
    /// The least sequence of a build that is accepted.
    pub sequence_min: u64,
    /// Sequences of accepted builds with the digests of their manifests, the newest last.
    pub builds: Vec<(u64, Digest)>,
}

impl History {
    /// Notes an accepted release.
    pub fn accept(&mut self, accepted: &Accepted) {
        self.number = accepted.release.number;
        self.release = Some(accepted.id);
        let build = (accepted.manifest.sequence, accepted.release.build);
        self.builds.retain(|known| *known != build);
        self.builds.push(build);
        if self.builds.len() > BUILDS_MAX {
            self.builds.remove(0);
        }
    }

    /// Notes that a build proved itself: older ones are refused from now on.
    pub fn confirm(&mut self, sequence: u64) {
        self.sequence_min = sequence;
    }
}

/// A release that every check passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Digest of the release's bytes.
    pub id: Digest,
    /// The release.
    pub release: Release,
    /// The manifest of its build.
    pub manifest: Manifest,
    /// The one file of the build.
    pub program: Artifact,
}

/// What a node demands of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePolicy<'a> {
    /// Keys whose signatures count; configured, never taken from a document.
    pub pinned: &'a [PublicKey],
    /// How many of them must have signed, whatever the release asks for.
    pub threshold: u32,
    /// Unix seconds now.
    pub now: u64,
    /// The network of the node.
    pub chain: &'a ChainId,
    /// The version of the peer protocol that the node speaks.
    pub protocol: u32,
    /// Most bytes of a program.
    pub size_max: u64,
    /// Whether the node itself is a build that breaks the protocol on purpose, and may become another one.
    pub byzantine: bool,
    /// What the node accepted before.
    pub history: &'a History,
}

impl ReleasePolicy<'_> {
    /// Judges a document by everything that can be known without the program.
    ///
    /// # Errors
    /// [`ReleaseError`] names the first check that failed.
    pub fn check(&self, document: &[u8]) -> Result<Accepted, ReleaseError> {
        if self.pinned.is_empty() {
            return Err(ReleaseError::NoTrustedKey);
        }
        let document = Document::decode(document)?;
        self.check_signatures(&document, self.threshold)?;
        let release: Release = decode(&document.release.0, RELEASE_BYTES_MAX)?;
        if release.schema != SCHEMA {
            return Err(ReleaseError::Schema(release.schema));
        }
        self.check_signatures(&document, release.threshold)?;
        let id = Digest::of_bytes(&document.release.0);
        self.check_place(&release, id)?;
        let manifest = self.check_build(&release, &document)?;
        let program = self.check_program(&release, &manifest)?;
        Ok(Accepted {
            id,
            release,
            manifest,
            program,
        })
    }

    fn check_signatures(&self, document: &Document, threshold: u32) -> Result<(), ReleaseError> {
        let needed = threshold.max(1) as usize;
        let valid = signers(&message(&document.release.0), &document.signatures, self.pinned);
        if valid >= needed {
            return Ok(());
        }
        Err(ReleaseError::Unsigned { valid, needed })
    }

    /// Network, time and number.
    fn check_place(&self, release: &Release, id: Digest) -> Result<(), ReleaseError> {
        if release.chain != *self.chain {
            return Err(ReleaseError::OtherChain {
                got: release.chain.clone(),
                own: self.chain.clone(),
            });
        }
        if release.expires <= self.now {
            return Err(ReleaseError::Expired {
                number: release.number,
                ago_s: self.now - release.expires,
            });
        }
        let (last, known) = (self.history.number, self.history.release);
        if release.number < last || release.number == 0 {
            return Err(ReleaseError::OldNumber {
                got: release.number,
                last,
            });
        }
        if release.number == last && known.is_some_and(|known| known != id) {
            return Err(ReleaseError::NumberTwice(last));
        }
        Ok(())
    }

    fn check_build(&self, release: &Release, document: &Document) -> Result<Manifest, ReleaseError> {
        let bundle = document.bundle();
        if bundle.digest() != release.build {
            return Err(ReleaseError::OtherBuild);
        }
        let sequence_min = self.history.sequence_min;
        let rollback = release.allow_rollback_to.unwrap_or(sequence_min);
        let policy = Policy {
            pinned: self.pinned.to_vec(),
            threshold: self.threshold,
            now: self.now,
            sequence_min: sequence_min.min(rollback),
            purpose: Purpose {
                here: self.byzantine,
                byzantine: self.byzantine,
            },
        };
        let manifest = policy.check(&bundle)?;
        let twice = |&(sequence, build): &(u64, Digest)| sequence == manifest.sequence && build != release.build;
        if self.history.builds.iter().any(twice) {
            return Err(SealError::SequenceTwice(manifest.sequence).into());
        }
        let (first, last) = manifest.protocol;
        if !(first..=last).contains(&self.protocol) {
            return Err(ReleaseError::Protocol {
                first,
                last,
                own: self.protocol,
            });
        }
        Ok(manifest)
    }

    /// The one program, and that its pieces are as many as its size asks for.
    fn check_program(&self, release: &Release, manifest: &Manifest) -> Result<Artifact, ReleaseError> {
        let program = manifest.program()?;
        if program.mode != PROGRAM_MODE {
            return Err(ReleaseError::Mode(program.mode));
        }
        let most = self.size_max.min(ARTIFACT_BYTES_MAX);
        if program.size > most {
            return Err(ReleaseError::TooLarge {
                size: program.size,
                most,
            });
        }
        let (stated, needed) = (release.chunks.len() as u64, chunk_count(program.size));
        if stated != needed || stated == 0 {
            return Err(ReleaseError::Chunks { stated, needed });
        }
        Ok(program.clone())
    }
}

/// Why a release is not installed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The node trusts nobody with its program.
    #[error(
        "this node installs nothing: no key is trusted with that\n  help: list the key that signs releases in \
         `upgrade.trusted_keys` of its configuration"
    )]
    NoTrustedKey,
    /// The bytes are no document, or what is signed is no release.
    #[error("release: {0}\n  help: make it again with `regatta release`")]
    Malformed(#[from] CodecError),
    /// Another version of the form.
    #[error("release has schema {0}, this program reads {SCHEMA}\n  help: make it with the lab of this version")]
    Schema(u32),
    /// Too few pinned keys signed it.
    #[error(
        "release: {valid} valid signatures by trusted keys, {needed} needed\n  help: sign it with a key that the node \
         trusts"
    )]
    Unsigned {
        /// Valid signatures of distinct pinned keys.
        valid: usize,
        /// How many are needed.
        needed: usize,
    },
    /// It was made for another network.
    #[error("release is for the network `{got}`, this node belongs to `{own}`\n  help: make one for this network")]
    OtherChain {
        /// Whose it is.
        got: ChainId,
        /// The node's own.
        own: ChainId,
    },
    /// Its time is over.
    #[error("release {number} expired {ago_s} s ago\n  help: make it again")]
    Expired {
        /// Its number.
        number: u64,
        /// Seconds since it expired.
        ago_s: u64,
    },
    /// A later one was accepted.
    #[error("release has number {got}, the node has accepted {last}\n  help: use a greater number")]
    OldNumber {
        /// Its number.
        got: u64,
        /// The last accepted one.
        last: u64,
    },
    /// Another release has the same number.
    #[error("two releases have number {0}\n  help: use a greater number for the second one")]
    NumberTwice(u64),
    /// The manifest beside it is not the one that it names.
    #[error("the release names another build than the manifest that comes with it\n  help: make it again")]
    OtherBuild,
    /// The build speaks to other nodes than this one.
    #[error(
        "the build joins networks of protocol {first} to {last}, this network speaks {own}\n  help: release a build that \
         speaks both first"
    )]
    Protocol {
        /// First version that it speaks.
        first: u32,
        /// Last version that it speaks.
        last: u32,
        /// The node's.
        own: u32,
    },
    /// The program would be installed with other rights than to be read and run.
    #[error("the program has mode {0:03o}, and is installed with {PROGRAM_MODE:03o} only\n  help: seal it again")]
    Mode(u32),
    /// The program is larger than the node allows.
    #[error("the program has {size} bytes, at most {most} are allowed\n  help: raise `upgrade.disk_bytes_max`")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        most: u64,
    },
    /// The list of pieces does not fit the program.
    #[error("the release lists {stated} pieces, a program of this size has {needed}\n  help: make it again")]
    Chunks {
        /// How many it lists.
        stated: u64,
        /// How many there are.
        needed: u64,
    },
    /// The build's manifest is refused, or the program is not what it states.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The largest list of pieces fits into a document beside the largest manifest.
const _: () = assert!(
    (ARTIFACT_BYTES_MAX / CHUNK_BYTES as u64) as usize * 34 + MANIFEST_BYTES_MAX + 64 * 1024 < RELEASE_BYTES_MAX
);
