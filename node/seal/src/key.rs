//! Private key files: PKCS #8 PEM, mode 0600, never overwritten.

use rand::{TryRng, rngs::SysRng};
use regatta_base::{SecretKey, keys::KeyError};
use std::{
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Longest key file in bytes.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Why a key file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("key file `{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others may read it.
    #[error("key file `{path}` has mode {mode:03o}: others may read it\n  help: chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds no key.
    #[error("key file `{path}`: {error}\n  help: make one with `regatta keygen`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: KeyError,
    },
}

fn failed(path: &Path, error: io::Error) -> KeyFileError {
    KeyFileError::File {
        path: path.to_owned(),
        error,
    }
}

/// Writes `key` to a new file with mode 0600; an existing file is an error, since a lost key is lost for good.
///
/// # Errors
/// [`KeyFileError::File`] when the file exists or cannot be written.
pub fn write_key(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let pem = key.to_pem().map_err(|error| KeyFileError::Malformed {
        path: path.to_owned(),
        error,
    })?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Written beside and renamed: another process sees the whole key or none. Temporary files have mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(path, error))?;
    file.write_all(pem.as_bytes()).map_err(|error| failed(path, error))?;
    file.persist_noclobber(path)
        .map_err(|error| failed(path, error.error))?;
    Ok(())
}

/// Reads what [`write_key`] wrote and refuses a file that others may read.
///
/// # Errors
/// [`KeyFileError`] says what is wrong with the file and what to do.
pub fn read_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    let file = std::fs::File::open(path).map_err(|error| failed(path, error))?;
    let mode = file
        .metadata()
        .map_err(|error| failed(path, error))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    let text = io::read_to_string(io::Read::take(file, KEY_FILE_BYTES_MAX)).map_err(|error| failed(path, error))?;
    SecretKey::from_pem(&text).map_err(|error| KeyFileError::Malformed {
        path: path.to_owned(),
        error,
    })
}

/// A new key from the system's randomness.
///
/// # Errors
/// What the system said when it has none.
pub fn random_key() -> io::Result<SecretKey> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
    Ok(SecretKey::from_seed(seed))
}

/// The development key of a run store, made on first use. Only local providers accept what it signs.
///
/// # Errors
/// [`KeyFileError`] when the store cannot hold it.
pub(super) fn development_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    if !path.exists() {
        match write_key(path, &random_key().map_err(|error| failed(path, error))?) {
            // Another lab made it at the same time: use that one.
            Err(KeyFileError::File { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    read_key(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write_key(&path, &SecretKey::from_seed([1; 32])).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = write_key(&path, &SecretKey::from_seed([2; 32]));
        assert!(matches!(again, Err(KeyFileError::File { .. })));
        assert_eq!(
            read_key(&path).unwrap().public(),
            SecretKey::from_seed([1; 32]).public()
        );
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write_key(&path, &SecretKey::from_seed([1; 32])).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_key(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let mut file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
        file.write_all(b"not a key").unwrap();
        file.persist(&path).unwrap();
        assert!(matches!(read_key(&path), Err(KeyFileError::Malformed { .. })));
    }

    #[test]
    fn the_development_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev-key.pem");
        let first = development_key(&path).unwrap().public();
        assert_eq!(development_key(&path).unwrap().public(), first);
    }
}
