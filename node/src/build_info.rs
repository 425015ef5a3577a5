//! What this binary is: version, source commit, target, profile, and the digest of its own bytes.

use regatta_api::view::Version;
use regatta_base::{ChainId, Digest, PublicKey};
use std::{fs::File, io, sync::OnceLock};

/// Version of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Source commit of the build, with `-dirty` when files were changed; `unknown` outside git.
pub(crate) const COMMIT: &str = env!("REGATTA_COMMIT");
/// Target triple of the build.
pub(crate) const TARGET: &str = env!("REGATTA_TARGET");
/// `debug` or `release`.
pub(crate) const PROFILE: &str = env!("REGATTA_PROFILE");

/// Whether it was built for tests and may break the protocol on purpose.
pub(crate) const BYZANTINE: bool = cfg!(feature = "byzantine");

/// BLAKE3 of the running executable, also when its file has been replaced since; zero when it cannot
/// be read. Read once, piece by piece.
pub(crate) fn binary_digest() -> Digest {
    static DIGEST: OnceLock<Digest> = OnceLock::new();
    *DIGEST.get_or_init(|| {
        digest_of_file("/proc/self/exe").unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the running executable");
            Digest::ZERO
        })
    })
}

fn digest_of_file(path: &str) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// The answer to `GET /v1/version`.
pub(crate) fn version(chain: ChainId, name: String, key: PublicKey) -> Version {
    Version {
        version: VERSION.to_owned(),
        commit: COMMIT.to_owned(),
        binary: binary_digest(),
        target: TARGET.to_owned(),
        profile: PROFILE.to_owned(),
        byzantine: BYZANTINE,
        chain,
        name,
        key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_running_executable() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(binary_digest(), Digest::of_bytes(&bytes));
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert!(digest_of_file("/nonexistent/file").is_err());
    }

    #[test]
    fn the_build_names_itself() {
        assert!(["debug", "release"].contains(&PROFILE));
        assert!(TARGET.contains('-') && !COMMIT.is_empty());
    }
}
