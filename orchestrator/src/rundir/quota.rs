//! How much of the disk a run uses.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Most folders that are visited: far beyond any run.
const FOLDERS_MAX: usize = 1_000_000;

/// Bytes of all files below `folder`. A file counts what it holds: room that is reserved and not written, and holes,
/// do not count. Files that vanish while they are visited count nothing.
///
/// # Errors
/// What the system said when `folder` itself cannot be read.
pub(crate) fn used_bytes(folder: &Path) -> io::Result<u64> {
    let mut total = 0;
    let mut pending = vec![fs::read_dir(folder)?];
    let mut visited = 0;
    while let Some(entries) = pending.pop() {
        visited += 1;
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_dir() {
                total += metadata.len().min(metadata.blocks() * 512);
            } else if visited + pending.len() < FOLDERS_MAX {
                pending.extend(fs::read_dir(entry.path()));
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/full"), vec![7; 300_000]).unwrap();
        fs::write(folder.path().join("top"), vec![7; 100_000]).unwrap();
        let sparse = fs::File::create(folder.path().join("hole")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("link")).unwrap();
        let used = used_bytes(folder.path()).unwrap();
        assert!((400_000..500_000).contains(&used), "{used}");
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(used_bytes(Path::new("/nonexistent")).is_err());
    }
}
