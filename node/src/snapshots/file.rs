//! Reads and writes one snapshot file.

use super::SnapshotFileError;
use bytes::Bytes;
use regatta_base::Digest;
use regatta_core::{CHUNK_BYTES_MAX, MANIFEST_BYTES_MAX, Manifest};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 16] = b"regatta-snapshot";
const END_MAGIC: &[u8; 8] = b"RSNAP1\r\n";
/// Length of the manifest, its digest, and the end's own mark.
const END_BYTES: usize = 4 + 32 + END_MAGIC.len();

/// A complete snapshot file, open for reading.
#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    file: File,
    manifest: Manifest,
    /// Where each chunk begins.
    starts: Vec<u64>,
}

impl SnapshotFile {
    /// Opens a file and reads its manifest.
    ///
    /// # Errors
    /// [`SnapshotFileError`] when it cannot be read, is not complete, or has a manifest that is none.
    pub fn open(path: &Path) -> Result<Self, SnapshotFileError> {
        let read = |error| SnapshotFileError::io("read", path)(error);
        let incomplete = |reason: &str| SnapshotFileError::Incomplete {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let file = File::open(path).map_err(SnapshotFileError::io("open", path))?;
        let length = file.metadata().map_err(read)?.len();
        let mut begin = [0; MAGIC.len()];
        let mut end = [0; END_BYTES];
        if length < (MAGIC.len() + END_BYTES) as u64 {
            return Err(incomplete("it is too short"));
        }
        let end_at = length - END_BYTES as u64;
        file.read_exact_at(&mut begin, 0).map_err(read)?;
        file.read_exact_at(&mut end, end_at).map_err(read)?;
        if begin != *MAGIC || end[36..] != *END_MAGIC {
            return Err(incomplete("it does not begin or end as one does"));
        }
        let mut size = [0; 4];
        size.copy_from_slice(&end[..4]);
        let size = u32::from_le_bytes(size) as usize;
        if size > MANIFEST_BYTES_MAX || (MAGIC.len() + size) as u64 > end_at {
            return Err(incomplete("its manifest has an impossible length"));
        }
        let mut manifest = vec![0; size];
        file.read_exact_at(&mut manifest, end_at - size as u64).map_err(read)?;
        if Digest::of_bytes(&manifest).0 != end[4..36] {
            return Err(incomplete("its manifest is damaged"));
        }
        let manifest = Manifest::decode(&manifest).map_err(|source| SnapshotFileError::Refused {
            path: path.to_owned(),
            source,
        })?;
        let mut starts = Vec::with_capacity(manifest.chunks().len());
        let mut at = MAGIC.len() as u64;
        for chunk in manifest.chunks() {
            starts.push(at);
            at += u64::from(chunk.bytes);
        }
        if at != end_at - size as u64 {
            return Err(incomplete("its chunks do not fill it"));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            manifest,
            starts,
        })
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a chunk, whatever is in it; `None` when there is none at that position.
    ///
    /// # Errors
    /// [`SnapshotFileError::Io`] when the file cannot be read.
    pub fn chunk(&self, position: usize) -> Result<Option<Bytes>, SnapshotFileError> {
        let (Some(start), Some(info)) = (self.starts.get(position), self.manifest.chunks().get(position)) else {
            return Ok(None);
        };
        let mut bytes = vec![0; (info.bytes as usize).min(CHUNK_BYTES_MAX)];
        self.file
            .read_exact_at(&mut bytes, *start)
            .map_err(SnapshotFileError::io("read", &self.path))?;
        Ok(Some(bytes.into()))
    }
}

/// A snapshot file that is being written, under another name until it is complete.
#[derive(Debug)]
pub struct SnapshotWriter {
    part: PathBuf,
    file: File,
    chunks: usize,
}

impl SnapshotWriter {
    /// Begins the file that will be at `path`; one that was begun before is replaced.
    ///
    /// # Errors
    /// [`SnapshotFileError::Io`] when it cannot be made.
    pub fn begin(path: &Path) -> Result<Self, SnapshotFileError> {
        let part = path.with_extension("part");
        let make = || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
            let mut file = File::create(&part)?;
            file.write_all(MAGIC).map(|()| file)
        };
        let file = make().map_err(SnapshotFileError::io("create", &part))?;
        Ok(Self { part, file, chunks: 0 })
    }

    /// Chunks that were written.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// Writes the next chunk.
    ///
    /// # Errors
    /// [`SnapshotFileError::Io`] when it cannot be written.
    pub fn append(&mut self, chunk: &[u8]) -> Result<(), SnapshotFileError> {
        self.chunks += 1;
        self.file
            .write_all(chunk)
            .map_err(SnapshotFileError::io("write", &self.part))
    }

    /// Writes the manifest, makes the file durable, and gives it its name at `path`.
    ///
    /// # Errors
    /// [`SnapshotFileError::Io`] when any of it cannot be done; then there is no file of that name.
    pub fn finish(mut self, path: &Path, manifest: &[u8]) -> Result<(), SnapshotFileError> {
        let mut end = manifest.to_vec();
        end.extend_from_slice(&(manifest.len() as u32).to_le_bytes());
        end.extend_from_slice(&Digest::of_bytes(manifest).0);
        end.extend_from_slice(END_MAGIC);
        let mut complete = || -> io::Result<()> {
            self.file.write_all(&end)?;
            self.file.sync_all()?;
            fs::rename(&self.part, path)?;
            // The folder's entry has to survive as well as the file.
            File::open(path.parent().unwrap_or(Path::new("")))?.sync_all()
        };
        complete().map_err(SnapshotFileError::io("complete", path))
    }
}
