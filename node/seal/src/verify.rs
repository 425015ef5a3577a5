//! The one verifier: what is checked before each start.

use super::{Artifact, Bundle, Manifest, SealError, at, manifest::ARTIFACT_BYTES_MAX, measure};
use regatta_base::{Digest, PublicKey};
use std::{
    fs::File,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Component, Path, PathBuf},
};

/// What a build is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    /// Whether its nodes run on the machine of the lab that sealed it.
    pub here: bool,
    /// Whether the scenario asks for nodes that misbehave.
    pub byzantine: bool,
}

impl Purpose {
    /// Honest nodes on this machine.
    pub const HONEST: Self = Self {
        here: true,
        byzantine: false,
    };

    /// A program that was made for tests runs only where it can do no harm, and only where somebody asked for it.
    fn check(self, manifest: &Manifest) -> Result<(), SealError> {
        if !manifest.byzantine {
            return Ok(());
        }
        let version = manifest.version.clone();
        if !self.here {
            return Err(SealError::ByzantineAway { version });
        }
        if self.byzantine {
            Ok(())
        } else {
            Err(SealError::ByzantineUnasked { version })
        }
    }
}

/// What this host demands of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Keys whose signatures count; configured, never taken from a bundle.
    pub pinned: Vec<PublicKey>,
    /// How many of them must have signed, whatever the manifest asks for.
    pub threshold: u32,
    /// Unix seconds now.
    pub now: u64,
    /// The least sequence that is accepted.
    pub sequence_min: u64,
    /// What it is started for.
    pub purpose: Purpose,
}

impl Policy {
    /// Checks everything about a manifest that can be checked without its files.
    ///
    /// # Errors
    /// [`SealError`] names the first check that failed.
    pub fn check(&self, bundle: &Bundle) -> Result<Manifest, SealError> {
        // The signature comes first: nothing that no pinned key signed is even parsed.
        self.check_signatures(bundle, self.threshold)?;
        let manifest = bundle.decode()?;
        self.check_signatures(bundle, manifest.threshold)?;
        if manifest.expires <= self.now {
            return Err(SealError::Expired {
                version: manifest.version,
                ago_s: self.now - manifest.expires,
            });
        }
        if manifest.sequence < self.sequence_min {
            return Err(SealError::OldSequence {
                got: manifest.sequence,
                least: self.sequence_min,
            });
        }
        self.purpose.check(&manifest)?;
        manifest.artifacts.iter().try_for_each(check_artifact)?;
        Ok(manifest)
    }

    fn check_signatures(&self, bundle: &Bundle, threshold: u32) -> Result<(), SealError> {
        let needed = threshold.max(1) as usize;
        let valid = bundle.signers(&self.pinned);
        if valid >= needed {
            return Ok(());
        }
        Err(SealError::Unsigned {
            manifest: bundle.digest().short(),
            valid,
            needed,
        })
    }
}

/// Checks what a manifest says of one file.
pub(super) fn check_artifact(artifact: &Artifact) -> Result<(), SealError> {
    let mut components = Path::new(&artifact.path).components();
    let plain = matches!(components.next(), Some(Component::Normal(name)) if name == artifact.path.as_str());
    if !plain || components.next().is_some() {
        return Err(SealError::BadPath(artifact.path.clone()));
    }
    let mut parts = artifact.target.split('-');
    let fits = parts.next() == Some(std::env::consts::ARCH) && parts.any(|part| part == std::env::consts::OS);
    if fits {
        Ok(())
    } else {
        Err(SealError::WrongTarget {
            path: artifact.path.clone(),
            target: artifact.target.clone(),
            host: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        })
    }
}

/// An open file whose bytes were just found to be what a signed manifest states.
#[derive(Debug)]
pub struct VerifiedProgram {
    file: File,
    digest: Digest,
}

impl VerifiedProgram {
    /// Opens `folder/artifact.path` without following a link and checks mode, size and digest of what was opened.
    ///
    /// # Errors
    /// [`SealError::Altered`] says what differs; [`SealError::File`] when it cannot be opened.
    pub fn open(folder: &Path, artifact: &Artifact) -> Result<Self, SealError> {
        check_artifact(artifact)?;
        let path = folder.join(&artifact.path);
        let altered = |what: String| SealError::Altered {
            path: path.clone(),
            what,
            folder: folder.to_owned(),
        };
        let file = File::options()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(|error| match error.raw_os_error() {
                Some(code) if code == nix::errno::Errno::ELOOP as i32 => altered("it is a symbolic link".to_owned()),
                _ if error.kind() == std::io::ErrorKind::NotFound => altered("it is missing".to_owned()),
                _ => SealError::File {
                    path: path.clone(),
                    error,
                },
            })?;
        let metadata = file.metadata().map_err(at(&path))?;
        if !metadata.is_file() {
            return Err(altered("it is not a regular file".to_owned()));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode != artifact.mode {
            return Err(altered(format!("mode {mode:03o} instead of {:03o}", artifact.mode)));
        }
        let limit = artifact.size.min(ARTIFACT_BYTES_MAX);
        match measure(&file, limit).map_err(at(&path))? {
            None => Err(altered(format!("more than the {limit} bytes stated"))),
            Some(found) if found.size != artifact.size => {
                Err(altered(format!("{} bytes instead of {}", found.size, artifact.size)))
            }
            Some(found) if found.digest != artifact.blake3 => Err(altered(format!(
                "digest {} instead of {}",
                found.digest.short(),
                artifact.blake3.short()
            ))),
            Some(found) => Ok(Self {
                file,
                digest: found.digest,
            }),
        }
    }

    /// Path by which a child of this process executes the open file itself, whatever happens to its name meanwhile.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Whether process `pid` executes this very file, and not another of the same bytes or name. The kernel says so, at
    /// no cost for the process. A process that is gone, or that this user may not look at, does not.
    #[must_use]
    pub fn is_executed_by(&self, pid: u32) -> bool {
        // Nobody writes to a file that is executed, and its inode means no other file as long as this one is open.
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let (own, theirs) = (self.file.metadata(), std::fs::metadata(format!("/proc/{pid}/exe")));
        own.is_ok_and(|own| theirs.is_ok_and(|theirs| identity(own) == identity(theirs)))
    }

    /// The open file; where it stands is of no meaning.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}
