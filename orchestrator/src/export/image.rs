//! Programs of an export, and the contexts that container images are built from: the sealed program alone on the least that
//! it runs on.

use super::{elf, folder::Folder};
use crate::seal::{Purpose, SealError, Sealed, VerifiedProgram};
use regatta_base::{Digest, encode};
use std::path::PathBuf;

/// Debian releases that images are built on, with the version of glibc that each has.
const BASES: [(&str, (u32, u32)); 2] = [("debian:bookworm-slim", (2, 36)), ("debian:trixie-slim", (2, 41))];

/// Why a program does not fit an engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// It is not sealed, or not what was sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It cannot be read.
    #[error("program `{path}`: {error}")]
    Read {
        /// The program.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is no program for Linux.
    #[error("build `{0}` is no 64-bit Linux program\n  help: build it from source, or give another --binary")]
    NotElf(String),
    /// No image has its C library.
    #[error(
        "build `{name}` needs glibc {major}.{minor}, and no image that exports use has it\n  help: give a static program: cargo build --release --target x86_64-unknown-linux-musl -p regatta-node, then --binary PATH"
    )]
    TooNew {
        /// The build.
        name: String,
        /// First number of the version.
        major: u32,
        /// Second number of the version.
        minor: u32,
    },
    /// Shadow cannot interpose its system calls.
    #[error(
        "build `{0}` is a static program, and Shadow runs only those that are linked with glibc dynamically\n  help: leave --binary out, or build for x86_64-unknown-linux-gnu"
    )]
    Static(String),
    /// Shadow cannot interpose its allocations.
    #[error(
        "build `{0}` has an allocator of its own, which does not run in Shadow\n  help: build it with the system's allocator"
    )]
    Allocator(String),
}

/// A sealed program.
#[derive(Debug)]
pub(crate) struct Program {
    /// Name of its build.
    build: String,
    /// The program as it was verified, where a run has it.
    verified: Option<VerifiedProgram>,
    /// Name of its file.
    pub(super) product: String,
    pub(super) version: String,
    pub(super) commit: String,
    pub(super) dirty: bool,
    pub(super) digest: Digest,
    /// Digest of the signed manifest.
    pub(super) manifest_digest: Digest,
    /// Whether only the run store's development key signed it.
    pub(super) is_development: bool,
    manifest: Vec<u8>,
    signatures: Vec<u8>,
    needs: elf::Needs,
}

impl Program {
    /// Verifies what was sealed as build `name` and reads what it needs.
    ///
    /// # Errors
    /// [`ImageError`] names the check that failed.
    pub(crate) fn of(name: &str, sealed: &Sealed, is_development: bool) -> Result<Self, ImageError> {
        let verified = sealed.verify(Purpose {
            here: false,
            byzantine: false,
        })?;
        let path = verified.path();
        let bytes = std::fs::read(&path).map_err(|error| ImageError::Read { path, error })?;
        let needs = elf::needs(&bytes).ok_or_else(|| ImageError::NotElf(name.to_owned()))?;
        let manifest = &sealed.manifest;
        Ok(Self {
            build: name.to_owned(),
            product: manifest.product.clone(),
            version: manifest.version.clone(),
            commit: manifest.commit.clone(),
            dirty: manifest.dirty,
            digest: verified.digest(),
            manifest_digest: sealed.bundle.digest(),
            is_development,
            manifest: sealed.bundle.manifest.clone(),
            signatures: encode(&sealed.bundle.signatures),
            needs,
            verified: Some(verified),
        })
    }

    /// A program without bytes, for tests of what is written about it.
    #[cfg(test)]
    pub(super) fn stand_in(build: &str, needs: elf::Needs) -> Self {
        Self {
            build: build.to_owned(),
            verified: None,
            product: "regatta-node".to_owned(),
            version: "0.1.0".to_owned(),
            commit: "0123456789abcdef".to_owned(),
            dirty: false,
            digest: Digest::of_bytes(b"program"),
            manifest_digest: Digest::of_bytes(b"manifest"),
            is_development: true,
            manifest: b"manifest".to_vec(),
            signatures: b"signatures".to_vec(),
            needs,
        }
    }

    /// Name and tag of its image.
    pub(super) fn image(&self) -> (String, String) {
        (format!("regatta/{}", super::dns_name(&self.build)), self.digest.short())
    }

    /// Adds the program with its signed manifest below `path`.
    pub(super) fn write(&self, folder: &mut Folder, path: &str) {
        let product = &self.product;
        folder.add(format!("{path}/{product}.manifest"), self.manifest.clone());
        folder.add(format!("{path}/{product}.signatures"), self.signatures.clone());
        if let Some(verified) = &self.verified {
            folder.add_program(format!("{path}/{product}"), &verified.path());
        }
    }

    /// Adds what an image is built from below `path`.
    ///
    /// # Errors
    /// [`ImageError::TooNew`] when no base has its C library.
    pub(super) fn write_image(&self, folder: &mut Folder, path: &str) -> Result<(), ImageError> {
        self.write(folder, path);
        folder.add(format!("{path}/Dockerfile"), self.dockerfile()?);
        Ok(())
    }

    fn dockerfile(&self) -> Result<String, ImageError> {
        let (product, version, commit) = (&self.product, &self.version, &self.commit);
        let dirty = if self.dirty { " with changes" } else { "" };
        Ok(format!(
            "# The program of build `{build}` as it was signed, and nothing else: blake3 {digest}.\n\
             FROM {base}\n\
             COPY {product} /{product}\n\
             COPY {product}.manifest {product}.signatures /\n\
             LABEL org.opencontainers.image.title=\"{product}\" \\\n      \
             org.opencontainers.image.version=\"{version}\" \\\n      \
             org.opencontainers.image.revision=\"{commit}{dirty}\" \\\n      \
             regatta.program=\"{digest}\" \\\n      \
             regatta.manifest=\"{manifest}\"\n\
             ENTRYPOINT [\"/{product}\"]\n",
            build = self.build,
            digest = self.digest,
            base = self.base()?,
            manifest = self.manifest_digest,
        ))
    }

    /// The least image that it runs on.
    fn base(&self) -> Result<&'static str, ImageError> {
        if self.needs.loader.is_none() {
            return Ok("scratch");
        }
        let (major, minor) = self.needs.glibc.unwrap_or((2, 0));
        let base = BASES.iter().find(|(_, has)| *has >= (major, minor));
        base.map(|(name, _)| *name).ok_or_else(|| ImageError::TooNew {
            name: self.build.clone(),
            major,
            minor,
        })
    }

    /// Checks what Shadow demands of a program: it has to be linked with glibc dynamically and to take its memory from there.
    ///
    /// # Errors
    /// [`ImageError`] says what it is not.
    pub(super) fn check_for_shadow(&self) -> Result<(), ImageError> {
        if self.needs.loader.is_none() || self.needs.glibc.is_none() {
            return Err(ImageError::Static(self.build.clone()));
        }
        if !self.needs.imports.contains("malloc") {
            return Err(ImageError::Allocator(self.build.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(loader: bool, glibc: (u32, u32), imports: &[&str]) -> Program {
        let needs = elf::Needs {
            loader: loader.then(|| "/lib64/ld-linux-x86-64.so.2".to_owned()),
            glibc: loader.then_some(glibc),
            imports: imports.iter().map(ToString::to_string).collect(),
        };
        Program::stand_in("main", needs)
    }

    #[test]
    fn the_base_is_the_least_that_the_program_runs_on() {
        assert_eq!(program(false, (0, 0), &[]).base().unwrap(), "scratch");
        assert_eq!(program(true, (2, 34), &[]).base().unwrap(), "debian:bookworm-slim");
        assert_eq!(program(true, (2, 39), &[]).base().unwrap(), "debian:trixie-slim");
        let error = program(true, (2, 99), &[]).base().unwrap_err().to_string();
        assert!(error.contains("glibc 2.99") && error.contains("help:"), "{error}");
    }

    #[test]
    fn shadow_takes_dynamic_programs_with_the_systems_allocator_alone() {
        assert!(program(true, (2, 34), &["malloc"]).check_for_shadow().is_ok());
        assert!(matches!(
            program(false, (0, 0), &[]).check_for_shadow(),
            Err(ImageError::Static(_))
        ));
        assert!(matches!(
            program(true, (2, 34), &["free"]).check_for_shadow(),
            Err(ImageError::Allocator(_))
        ));
    }
}
