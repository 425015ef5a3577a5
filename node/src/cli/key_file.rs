//! Private keys on disk: PKCS #8 PEM, readable by their owner alone.

use regatta_base::SecretKey;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A PEM key has 119 bytes; whatever is much longer is something else.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Permission bits of group and world.
const OTHERS: u32 = 0o077;

/// Why a key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("cannot open key file {path}: {source}; help: make a key with `regatta-node keygen --out {path}`")]
    Open { path: PathBuf, source: io::Error },
    #[error("key file {path} is open to others (mode {mode:04o}); help: chmod 600 {path}")]
    Mode { path: PathBuf, mode: u32 },
    #[error("{path} is not a key file: {reason}; help: make a key with `regatta-node keygen`")]
    Content { path: PathBuf, reason: String },
    #[error("{path} exists; help: a key is never overwritten, choose another --out or move the file away")]
    Exists { path: PathBuf },
    #[error("cannot write key file {path}: {source}; help: does the folder exist, and may you write there?")]
    Write { path: PathBuf, source: io::Error },
}

/// Reads a key from a file that nobody else can read.
pub(crate) fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    let open = |source| KeyFileError::Open {
        path: path.to_owned(),
        source,
    };
    let content = |reason| KeyFileError::Content {
        path: path.to_owned(),
        reason,
    };
    let file = File::open(path).map_err(open)?;
    // The mode of the open file, not of the path: the path may change in between.
    let mode = file.metadata().map_err(open)?.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(KeyFileError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| content(error.to_string()))?;
    SecretKey::from_pem(&text).map_err(|error| content(error.to_string()))
}

/// Writes a key to a new file with mode 0600.
pub(crate) fn create(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => KeyFileError::Write {
            path: path.to_owned(),
            source,
        },
    };
    let pem = key.to_pem().map_err(|error| failed(io::Error::other(error)))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(pem.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn key() -> SecretKey {
        SecretKey::from_seed([7; 32])
    }

    #[test]
    fn a_new_file_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        create(&path, &key()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(load(&path).unwrap().public(), key().public());
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        fs::write(&path, "precious").unwrap();
        let error = create(&path, &key()).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_file_that_others_may_touch_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        create(&path, &key()).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let text = load(&path).unwrap_err().to_string();
            assert!(
                text.contains("chmod 600") && text.contains(&format!("{mode:04o}")),
                "{text}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load(&path).is_ok());
    }

    #[test]
    fn what_is_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        assert!(matches!(load(&path), Err(KeyFileError::Open { .. })));
        let mut huge = vec![b'x'; 100_000];
        huge[0] = 0xff;
        for content in [b"".to_vec(), b"-----BEGIN PRIVATE KEY-----".to_vec(), huge] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(load(&path), Err(KeyFileError::Content { .. })));
        }
        let missing = folder.path().join("no/such/folder/key.pem");
        assert!(matches!(create(&missing, &key()), Err(KeyFileError::Write { .. })));
    }
}
