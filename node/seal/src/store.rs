//! The content-addressed store of programs beside the runs, with the manifests that let them run.
//!
//! `STORE/<blake3>/<name>` holds a program, read-only; `STORE/manifests/<sequence>.manifest` and `.signatures` the
//! signed statements about them; `STORE/dev-key.pem` the key that signs builds made here. The lab that seals a build
//! and the host that starts it are the same machine, so the pinned key is the store's own.

use super::{
    Activation, Artifact, Built, Bundle, Document, Manifest, Policy, Purpose, Release, ReleaseError, SealError,
    VerifiedProgram, at,
    key::{development_key, read_key},
    manifest::{ARTIFACT_BYTES_MAX, MANIFEST_BYTES_MAX, PROGRAM_MODE, SCHEMA, SIGNATURES_BYTES_MAX},
    measure, unix_seconds,
    verify::check_artifact,
};
use regatta_base::{Digest, PublicKey, SecretKey, Signature, decode, encode, limits::PEER_PROTOCOL_VERSION};
use std::{
    fs::{self, File, Permissions},
    io::{Read, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// How long a build made here may be started, in seconds: 30 days.
const LIFETIME_S: u64 = 30 * 24 * 3600;
/// A manifest that expires within this many seconds is not used for a new run: one day.
const REUSE_MARGIN_S: u64 = 24 * 3600;
/// Versions of the peer protocol that this source speaks: one.
const PROTOCOL: (u32, u32) = (PEER_PROTOCOL_VERSION, PEER_PROTOCOL_VERSION);
/// Most manifests that a store keeps in view.
const MANIFESTS_MAX: usize = 100_000;

/// A store of programs and manifests.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// A build with everything that its next start needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The signed manifest.
    pub bundle: Bundle,
    /// What it says.
    pub manifest: Manifest,
    /// Keys that this host accepts.
    pub pinned: Vec<PublicKey>,
    /// The store that holds the program.
    store: PathBuf,
}

impl Store {
    /// Opens the store in `folder`, making it when it is not there.
    ///
    /// # Errors
    /// [`SealError::File`] when the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, SealError> {
        let manifests = folder.join("manifests");
        fs::create_dir_all(&manifests).map_err(at(manifests))?;
        // Absolute, so that a process started elsewhere finds it.
        let folder = folder.canonicalize().map_err(at(folder))?;
        Ok(Self { folder })
    }

    /// The key that signs builds made here; accepted on the local provider only.
    ///
    /// # Errors
    /// [`SealError::Key`] when the key file is missing, malformed or open to others.
    pub fn development_key(&self) -> Result<SecretKey, SealError> {
        Ok(development_key(&self.folder.join("dev-key.pem"))?)
    }

    /// Copies a program into the store and signs its manifest with `key`. A manifest of `key` that already says all of
    /// this is used again, so that running twice seals once.
    ///
    /// # Errors
    /// [`SealError`] when the program cannot be read or the store cannot be written.
    pub fn seal(&self, built: &Built, key: &SecretKey) -> Result<Sealed, SealError> {
        let _lock = self.lock()?;
        let artifact = self.add_program(built)?;
        let known = self.manifests()?;
        let now = unix_seconds();
        let mut manifest = Manifest {
            schema: SCHEMA,
            product: artifact.path.clone(),
            version: built.version.clone(),
            sequence: known.last().map_or(1, |(sequence, _)| sequence + 1),
            commit: built.commit.clone(),
            dirty: built.dirty,
            lock: built.lock,
            rustc: built.rustc.clone(),
            target: built.target.clone(),
            profile: built.profile.clone(),
            artifacts: vec![artifact],
            protocol: PROTOCOL,
            created: now,
            expires: now + LIFETIME_S,
            previous: known.last().map(|(_, bundle)| bundle.digest()),
            threshold: 1,
            byzantine: built.byzantine,
        };
        if let Some((bundle, same)) = reusable(&known, &manifest, key.public(), now) {
            manifest = same;
            return Ok(self.sealed(bundle, manifest, key.public()));
        }
        let bundle = Bundle::sign(&manifest, key);
        self.accept(&bundle, &manifest)?;
        Ok(self.sealed(bundle, manifest, key.public()))
    }

    /// Files a manifest; a second one with the same sequence is refused.
    ///
    /// # Errors
    /// [`SealError::SequenceTwice`] when another manifest has its sequence.
    pub(super) fn accept(&self, bundle: &Bundle, manifest: &Manifest) -> Result<(), SealError> {
        let (path, signatures) = self.manifest_paths(manifest.sequence);
        match fs::read(&path) {
            Ok(bytes) if bytes == bundle.manifest => return Ok(()),
            Ok(_) => return Err(SealError::SequenceTwice(manifest.sequence)),
            Err(_) => {}
        }
        // Signatures first: a manifest in the folder always has its signatures beside it.
        write_atomically(&signatures, &encode(&bundle.signatures))?;
        write_atomically(&path, &bundle.manifest)
    }

    fn sealed(&self, bundle: Bundle, manifest: Manifest, key: PublicKey) -> Sealed {
        debug_assert_eq!(bundle.manifest, encode(&manifest), "the manifest is what its bytes say");
        Sealed {
            bundle,
            manifest,
            pinned: vec![key],
            store: self.folder.clone(),
        }
    }

    fn manifest_paths(&self, sequence: u64) -> (PathBuf, PathBuf) {
        let stem = self.folder.join("manifests").join(format!("{sequence:08}"));
        (stem.with_extension("manifest"), stem.with_extension("signatures"))
    }

    /// Keeps two labs from sealing at once; released when dropped.
    fn lock(&self) -> Result<File, SealError> {
        let path = self.folder.join("lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        Ok(file)
    }

    /// All manifests by sequence. One that cannot be read is skipped: it can only cost a second sealing.
    fn manifests(&self) -> Result<Vec<(u64, Bundle)>, SealError> {
        let folder = self.folder.join("manifests");
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder)
            .map_err(at(&folder))?
            .take(2 * MANIFESTS_MAX)
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let sequence = name.strip_suffix(".manifest").and_then(|stem| stem.parse().ok());
            if let Some(sequence) = sequence
                && let Some(bundle) = self.read_bundle(sequence)
            {
                found.push((sequence, bundle));
            }
        }
        found.sort_by_key(|(sequence, _)| *sequence);
        Ok(found)
    }

    fn read_bundle(&self, sequence: u64) -> Option<Bundle> {
        let (manifest, signatures) = self.manifest_paths(sequence);
        let manifest = read_bounded(&manifest, MANIFEST_BYTES_MAX).ok()?;
        let signatures = read_bounded(&signatures, SIGNATURES_BYTES_MAX).ok()?;
        let signatures: Vec<(PublicKey, Signature)> = decode(&signatures, SIGNATURES_BYTES_MAX).ok()?;
        Some(Bundle { manifest, signatures })
    }

    /// Copies the executable to `<blake3>/<name>`. One that is already there stays untouched, even when it was altered:
    /// the verifier has to see that.
    fn add_program(&self, built: &Built) -> Result<Artifact, SealError> {
        let source = &built.executable;
        let name = source.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| SealError::BadPath(source.display().to_string()))?;
        let mut input = File::open(source).map_err(at(source))?;
        let found = measure(&input, ARTIFACT_BYTES_MAX)
            .map_err(at(source))?
            .ok_or_else(|| SealError::Altered {
                path: source.clone(),
                what: format!("more than {ARTIFACT_BYTES_MAX} bytes"),
                folder: self.folder.clone(),
            })?;
        let folder = self.folder.join(found.digest.to_string());
        let target = folder.join(name);
        if !target.exists() {
            fs::create_dir_all(&folder).map_err(at(&folder))?;
            input.rewind().map_err(at(source))?;
            let mut copy = tempfile::NamedTempFile::new_in(&folder).map_err(at(&folder))?;
            std::io::copy(&mut input, &mut copy).map_err(at(&target))?;
            fs::set_permissions(copy.path(), Permissions::from_mode(PROGRAM_MODE)).map_err(at(&target))?;
            copy.persist(&target).map_err(|error| at(&target)(error.error))?;
        }
        Ok(Artifact {
            path: name.to_owned(),
            size: found.size,
            blake3: found.digest,
            mode: PROGRAM_MODE,
            target: built.target.clone(),
        })
    }
}

impl Sealed {
    /// Checks signature, expiry, target, size and digest, and returns the open program. Called before every start.
    ///
    /// A sequence below the store's last is fine here: a lab starts old builds on purpose, to compare them.
    ///
    /// # Errors
    /// [`SealError`] names the check that failed.
    pub fn verify(&self, purpose: Purpose) -> Result<VerifiedProgram, SealError> {
        let policy = Policy {
            pinned: self.pinned.clone(),
            threshold: 1,
            now: unix_seconds(),
            sequence_min: 0,
            purpose,
        };
        let manifest = policy.check(&self.bundle)?;
        let artifact = manifest.program()?;
        VerifiedProgram::open(&self.store.join(artifact.blake3.to_string()), artifact)
    }

    /// Digest of the program's bytes as the manifest states it.
    pub fn program_digest(&self) -> Digest {
        self.manifest.program().map_or(Digest::ZERO, |artifact| artifact.blake3)
    }

    /// Signs a release of this build with the key in file `key`; without one, with the store's development key.
    ///
    /// # Errors
    /// [`ReleaseError`] when the program is not what was sealed, or the key cannot be read.
    pub fn release(&self, activation: Activation, key: Option<&Path>) -> Result<Document, ReleaseError> {
        let key = match key {
            Some(file) => read_key(file),
            None => development_key(&self.store.join("dev-key.pem")),
        };
        let key = key.map_err(SealError::from)?;
        Ok(Release::of(self, activation)?.sign(&self.bundle, &key))
    }

    /// Where the store keeps the program; for reading it, not for starting it.
    pub fn program_path(&self) -> PathBuf {
        let folder = self.store.join(self.program_digest().to_string());
        folder.join(&self.manifest.product)
    }

    /// Writes manifest and signatures beside a run as `<stem>.manifest` and `<stem>.signatures`.
    ///
    /// # Errors
    /// [`SealError::File`] when the files cannot be written.
    pub fn write_to(&self, folder: &Path, stem: &str) -> Result<(), SealError> {
        write_atomically(
            &folder.join(format!("{stem}.signatures")),
            &encode(&self.bundle.signatures),
        )?;
        write_atomically(&folder.join(format!("{stem}.manifest")), &self.bundle.manifest)
    }

    /// Reads what [`Sealed::write_to`] wrote. The pinned key is the store's own and not what the files say.
    ///
    /// # Errors
    /// [`SealError`] when a file is missing or malformed.
    pub fn read_from(folder: &Path, stem: &str, store: &Store) -> Result<Self, SealError> {
        let signatures = folder.join(format!("{stem}.signatures"));
        let path = folder.join(format!("{stem}.manifest"));
        let bundle = Bundle {
            manifest: read_bounded(&path, MANIFEST_BYTES_MAX).map_err(at(&path))?,
            signatures: decode(
                &read_bounded(&signatures, SIGNATURES_BYTES_MAX).map_err(at(&signatures))?,
                SIGNATURES_BYTES_MAX,
            )?,
        };
        let manifest = bundle.decode()?;
        Ok(store.sealed(bundle, manifest, store.development_key()?.public()))
    }
}

/// Moves a program that was fetched to `store/<blake3>/<name>`, read-only, when it is what `artifact` states, and verifies
/// it once more where it will be executed.
///
/// # Errors
/// [`SealError`] names the check that failed.
pub fn install(part: &Path, store: &Path, artifact: &Artifact) -> Result<VerifiedProgram, SealError> {
    check_artifact(artifact)?;
    let altered = |what: String| SealError::Altered {
        path: part.to_owned(),
        what,
        folder: part.to_owned(),
    };
    let file = File::open(part).map_err(at(part))?;
    let limit = artifact.size.min(ARTIFACT_BYTES_MAX);
    match measure(&file, limit).map_err(at(part))? {
        Some(found) if found.size == artifact.size && found.digest == artifact.blake3 => {}
        Some(found) => {
            return Err(altered(format!(
                "{} bytes, digest {}",
                found.size,
                found.digest.short()
            )));
        }
        None => return Err(altered(format!("more than the {limit} bytes stated"))),
    }
    let mode = Permissions::from_mode(PROGRAM_MODE);
    file.set_permissions(mode).map_err(at(part))?;
    file.sync_all().map_err(at(part))?;
    let folder = store.join(artifact.blake3.to_string());
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    fs::rename(part, folder.join(&artifact.path)).map_err(at(&folder))?;
    let opened = File::open(&folder).map_err(at(&folder))?;
    opened.sync_all().map_err(at(&folder))?;
    VerifiedProgram::open(&folder, artifact)
}

/// A manifest of `key` that states the same as `wanted` and stays valid for a while.
fn reusable(known: &[(u64, Bundle)], wanted: &Manifest, key: PublicKey, now: u64) -> Option<(Bundle, Manifest)> {
    let policy = Policy {
        pinned: vec![key],
        threshold: 1,
        now: now + REUSE_MARGIN_S,
        sequence_min: 0,
        purpose: Purpose {
            byzantine: wanted.byzantine,
            ..Purpose::HONEST
        },
    };
    known.iter().rev().find_map(|(_, bundle)| {
        let manifest = policy.check(bundle).ok()?;
        let same = Manifest {
            sequence: wanted.sequence,
            created: wanted.created,
            expires: wanted.expires,
            previous: wanted.previous,
            ..manifest.clone()
        };
        (same == *wanted).then(|| (bundle.clone(), manifest))
    })
}

fn read_bounded(path: &Path, max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), SealError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
    file.write_all(bytes).map_err(at(path))?;
    file.persist(path).map_err(|error| at(path)(error.error))?;
    Ok(())
}
