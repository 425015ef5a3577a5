//! Files of a run: placed, listed and read in bounded pieces, and never through a link.

use crate::{root::make_private, store::refused};
use nix::fcntl::OFlag;
use regatta_fleet::{
    Answer, Chunk, Entry, Name, Refusal, RelativePath, What,
    limits::{ENTRIES_MAX, READ_BYTES_MAX},
};
use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The path of `path` below `folder`, when no part of it that exists is a link.
fn resolved(folder: &Path, path: &RelativePath) -> Result<PathBuf, Refusal> {
    let mut at = folder.to_owned();
    for part in path.parts() {
        at.push(part);
        if fs::symlink_metadata(&at).is_ok_and(|facts| facts.is_symlink()) {
            let message = format!("`{path}`: `{part}` is a symbolic link\n  help: remove it from the run's folder");
            return Err(Refusal::new(What::Order, message));
        }
    }
    debug_assert!(at.starts_with(folder), "a path without `..` stays inside");
    Ok(at)
}

/// Makes a folder of a run.
///
/// # Errors
/// What the system said.
pub(crate) fn place_folder(run: &Path, path: &RelativePath) -> Result<(), Refusal> {
    make_private(&resolved(run, path)?).map_err(refused(format!("folder `{path}`")))
}

/// Writes a file of a run as a whole or not at all.
///
/// # Errors
/// [`What::DiskFull`], or what else the system said.
pub(crate) fn place_file(run: &Path, file: &regatta_fleet::File) -> Result<(), Refusal> {
    let path = resolved(run, &file.path)?;
    let folder = path.parent().unwrap_or(run);
    let shown = format!("file `{}`", file.path);
    make_private(folder).map_err(refused(&shown))?;
    let write = || {
        // Dropped, and so removed, where anything goes wrong.
        let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
        fresh.write_all(&file.bytes)?;
        fs::set_permissions(fresh.path(), Permissions::from_mode(file.mode & 0o700))?;
        fresh.persist(&path).map_err(|error| error.error)
    };
    write().map(drop).map_err(refused(&shown))
}

/// Reads at most `length` bytes at `offset`.
///
/// # Errors
/// [`What::Missing`], or what else the system said.
pub(crate) fn read(run: &Path, path: &RelativePath, offset: u64, length: u64) -> Result<Answer, Refusal> {
    let shown = format!("file `{path}`");
    // Without waiting for whoever might write to a pipe of that name.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let opened = fs::File::options()
        .read(true)
        .custom_flags(flags)
        .open(resolved(run, path)?);
    let file = opened.map_err(refused(&shown))?;
    let facts = file.metadata().map_err(refused(&shown))?;
    if !facts.is_file() {
        return Err(Refusal::new(What::Missing, format!("{shown} is not a regular file")));
    }
    let left = facts
        .len()
        .saturating_sub(offset)
        .min(length)
        .min(READ_BYTES_MAX as u64);
    let mut plain = vec![0; usize::try_from(left).unwrap_or(READ_BYTES_MAX)];
    let mut filled = 0;
    while filled < plain.len() {
        match file
            .read_at(&mut plain[filled..], offset + filled as u64)
            .map_err(refused(&shown))?
        {
            0 => break,
            more => filled += more,
        }
    }
    Ok(Answer::Data {
        chunk: Chunk::once(offset, &plain[..filled]),
        size: facts.len(),
    })
}

/// Lists the files below a folder of a run by path. Links, and names that no order could ask for, are left out.
///
/// # Errors
/// [`What::Missing`] when there is no such folder.
pub(crate) fn list(run: &Path, folder: Option<&RelativePath>) -> Result<Answer, Refusal> {
    let top = match folder {
        Some(folder) => resolved(run, folder)?,
        None => run.to_owned(),
    };
    let mut pending = vec![(top.clone(), folder.map(|folder| folder.as_str().to_owned()))];
    let mut entries = Vec::new();
    let mut cut = false;
    while let Some((at, shown)) = pending.pop() {
        let listing = match fs::read_dir(&at) {
            Ok(listing) => listing,
            Err(error) if at == top => return Err(refused("the listing")(error)),
            // It has gone since its own folder was listed.
            Err(_) => continue,
        };
        for entry in listing.flatten() {
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<Name>().ok()) else {
                continue;
            };
            let path = shown
                .as_ref()
                .map_or_else(|| name.to_string(), |shown| format!("{shown}/{name}"));
            let (Ok(path), Ok(facts)) = (path.parse::<RelativePath>(), entry.metadata()) else {
                continue;
            };
            cut |= entries.len() + pending.len() >= ENTRIES_MAX;
            if cut {
                break;
            }
            if facts.is_dir() {
                pending.push((entry.path(), Some(path.to_string())));
            } else if facts.is_file() {
                entries.push(Entry {
                    path,
                    size: facts.len(),
                });
            }
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Answer::Listing { entries, cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: &[u8]) -> regatta_fleet::File {
        regatta_fleet::File {
            path: path.parse().unwrap(),
            mode: 0o4777,
            bytes: bytes.to_vec(),
        }
    }

    fn text(run: &Path, path: &str, offset: u64, length: u64) -> Result<String, Refusal> {
        match read(run, &path.parse().unwrap(), offset, length)? {
            Answer::Data { chunk, .. } => Ok(String::from_utf8(chunk.expand().unwrap()).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_placed_is_listed_and_read_back_in_pieces() {
        let run = tempfile::tempdir().unwrap();
        place_folder(run.path(), &"data/val-0".parse().unwrap()).unwrap();
        place_file(run.path(), &file("config/val-0/node.toml", b"old")).unwrap();
        place_file(run.path(), &file("config/val-0/node.toml", b"0123456789")).unwrap();
        let mode = fs::metadata(run.path().join("config/val-0/node.toml"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o700, "nobody else, and no special bits");
        assert_eq!(text(run.path(), "config/val-0/node.toml", 3, 4).unwrap(), "3456");
        assert_eq!(text(run.path(), "config/val-0/node.toml", 8, 100).unwrap(), "89");
        assert_eq!(text(run.path(), "config/val-0/node.toml", u64::MAX, 9).unwrap(), "");
        let entry = Entry {
            path: "config/val-0/node.toml".parse().unwrap(),
            size: 10,
        };
        let listing = Answer::Listing {
            entries: vec![entry],
            cut: false,
        };
        assert_eq!(list(run.path(), None), Ok(listing.clone()));
        assert_eq!(list(run.path(), Some(&"config".parse().unwrap())), Ok(listing));
        assert_eq!(
            list(run.path(), Some(&"gone".parse().unwrap())).unwrap_err().what,
            What::Missing
        );
    }

    #[test]
    fn nothing_goes_through_a_link() {
        let (run, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(outside.path(), run.path().join("way")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), run.path().join("file")).unwrap();
        for path in ["way/secret", "file"] {
            assert_eq!(text(run.path(), path, 0, 9).unwrap_err().what, What::Order, "{path}");
            assert!(place_file(run.path(), &file(path, b"mine")).is_err(), "{path}");
        }
        assert!(place_folder(run.path(), &"way/deeper".parse().unwrap()).is_err());
        assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "s");
        assert_eq!(
            list(run.path(), None),
            Ok(Answer::Listing {
                entries: vec![],
                cut: false
            })
        );
    }

    #[test]
    fn a_listing_is_bounded_and_what_is_no_file_is_not_read() {
        let run = tempfile::tempdir().unwrap();
        for number in 0..ENTRIES_MAX + 5 {
            fs::write(run.path().join(format!("f{number}")), "").unwrap();
        }
        let Ok(Answer::Listing { entries, cut: true }) = list(run.path(), None) else {
            panic!("not cut");
        };
        assert!(entries.len() <= ENTRIES_MAX);
        nix::unistd::mkfifo(&run.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(run.path().join("folder")).unwrap();
        for path in ["pipe", "folder", "absent"] {
            assert_eq!(text(run.path(), path, 0, 9).unwrap_err().what, What::Missing, "{path}");
        }
    }
}
