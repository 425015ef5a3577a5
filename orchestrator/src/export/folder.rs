//! The files of an export: collected first, then written to a folder that holds nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Deepest folder of an export that is looked into.
const DEPTH_MAX: usize = 8;

/// Why files cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// The folder holds something else.
    #[error(
        "`{folder}` holds `{file}`, which this export does not write\n  help: choose an empty folder or a new one, or remove what is there"
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What was found in it first.
        file: PathBuf,
    },
    /// The system refused it.
    #[error("`{path}`: {error}\n  help: is there such a folder, and may you write there?")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What a file holds.
#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    /// The bytes of another file, which an open descriptor may name.
    Copy(PathBuf),
}

/// Files by their paths below the folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folder {
    files: BTreeMap<String, (Content, u32)>,
}

impl Folder {
    /// Adds a file that everybody may read.
    pub(crate) fn add(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.insert(path.into(), Content::Bytes(content.into()), 0o644);
    }

    /// Adds a file that only its owner may read.
    pub(crate) fn add_secret(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.insert(path.into(), Content::Bytes(content.into()), 0o600);
    }

    /// Adds a program with the bytes of `from`.
    pub(crate) fn add_program(&mut self, path: impl Into<String>, from: &Path) {
        self.insert(path.into(), Content::Copy(from.to_owned()), 0o755);
    }

    fn insert(&mut self, path: String, content: Content, mode: u32) {
        let before = self.files.insert(path, (content, mode));
        debug_assert!(before.is_none(), "every file is added once");
    }

    /// Number of files.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Writes all files below `root`, which must be missing, or hold none but files of the same names.
    ///
    /// # Errors
    /// [`FolderError`] names what is in the way; nothing is written when that is a foreign file.
    pub(crate) fn write(&self, root: &Path) -> Result<(), FolderError> {
        self.check(root, Path::new(""), 0)?;
        for (path, (content, mode)) in &self.files {
            let path = root.join(path);
            let failed = |error| FolderError::File {
                path: path.clone(),
                error,
            };
            fs::create_dir_all(path.parent().unwrap_or(root)).map_err(failed)?;
            write_file(&path, content, *mode).map_err(failed)?;
        }
        Ok(())
    }

    /// Looks for files below `root` that are not of this export; symbolic links never are.
    fn check(&self, root: &Path, inside: &Path, depth: usize) -> Result<(), FolderError> {
        let folder = root.join(inside);
        let failed = |error| FolderError::File {
            path: folder.clone(),
            error,
        };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && depth == 0 => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let entries = entries.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let names: BTreeSet<_> = entries.iter().map(fs::DirEntry::file_name).collect();
        for name in names {
            let path = inside.join(name);
            let kind = fs::symlink_metadata(root.join(&path)).map_err(failed)?;
            if kind.is_dir() && depth < DEPTH_MAX {
                self.check(root, &path, depth + 1)?;
            } else if !kind.is_file() || path.to_str().is_none_or(|path| !self.files.contains_key(path)) {
                return Err(FolderError::Foreign {
                    folder: root.to_owned(),
                    file: path,
                });
            }
        }
        Ok(())
    }

    /// What the files hold, by path, in the order of their paths; programs are left out.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<(String, u32, String)> {
        let text = |(path, (content, mode)): (&'_ String, &(Content, u32))| match content {
            Content::Bytes(bytes) => Some((path.clone(), *mode, String::from_utf8_lossy(bytes).into_owned())),
            Content::Copy(_) => None,
        };
        self.files.iter().filter_map(text).collect()
    }
}

/// Writes a file beside its place and moves it there, so that a reader finds the old or the new one.
fn write_file(path: &Path, content: &Content, mode: u32) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    // A lab with this number that was killed may have left one; the number is this lab's now.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)?;
    let written = match content {
        Content::Bytes(bytes) => file.write_all(bytes),
        Content::Copy(from) => File::open(from)
            .and_then(|mut from| io::copy(&mut from, &mut file))
            .map(drop),
    };
    let moved = written
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if moved.is_err() {
        // The error that is returned says more than one of this.
        let _ = fs::remove_file(&draft);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder() -> Folder {
        let mut folder = Folder::default();
        folder.add("README.md", "text\n");
        folder.add_secret("secrets/a.pem", "key\n");
        folder
    }

    #[test]
    fn an_export_can_be_written_again_over_itself() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new/export");
        folder().write(&path).unwrap();
        folder().write(&path).unwrap();
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("secrets/a.pem"), 0o600);
        assert_eq!(fs::read_to_string(path.join("README.md")).unwrap(), "text\n");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    }

    #[test]
    fn whatever_else_is_there_stays_and_is_named() {
        let root = tempfile::tempdir().unwrap();
        let refused = |name: &str| {
            let error = folder().write(root.path()).unwrap_err();
            assert!(
                matches!(&error, FolderError::Foreign { file, .. } if file == Path::new(name)),
                "{error}"
            );
            assert!(!root.path().join("README.md").is_file() || name == "README.md");
        };
        fs::create_dir(root.path().join("secrets")).unwrap();
        fs::write(root.path().join("secrets/b.pem"), "").unwrap();
        refused("secrets/b.pem");
        fs::remove_file(root.path().join("secrets/b.pem")).unwrap();
        symlink("/dev/null", root.path().join("README.md")).unwrap();
        refused("README.md");
        fs::remove_file(root.path().join("README.md")).unwrap();
        folder().write(root.path()).unwrap();
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_an_error() {
        let root = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(folder().write(root.path()), Err(FolderError::File { .. })));
    }
}
