//! Moving a file by its digest: cut and compressed once, resumed where it stopped, counted only when it is whole.
//!
//! Chunks are compressed one by one, so that whoever has the first hundred needs nothing else to take the next. Of what
//! was measured on a release build of the node (9.0 MB), Zstandard at level 9 in chunks of 512 KiB made 3.4 MB of it
//! that take 8 ms to expand; LZ4 made 5.0 MB (4 ms), and encrypting the difference costs more than the 4 ms.

use crate::limits::{CHUNK_BYTES, PROGRAM_BYTES_MAX};
use regatta_base::Digest;
use serde::{Deserialize, Serialize};

/// Effort spent on a file that goes to many hosts.
const LEVEL_MANY: i32 = 9;
/// Effort spent by a host on what it sends once.
const LEVEL_ONCE: i32 = 1;

/// How the bytes of a chunk are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// As one frame of Zstandard.
    Zstd,
}

/// Why a chunk does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The file is larger than allowed, or empty.
    #[error("a file of {0} bytes; 1 to {PROGRAM_BYTES_MAX} are allowed")]
    Size(u64),
    /// Two chunks disagree about the size of the file.
    #[error("a chunk of a file of {got} bytes, after chunks of one of {before} bytes")]
    OtherSize {
        /// Size before, in bytes.
        before: u64,
        /// Size in this chunk, in bytes.
        got: u64,
    },
    /// The chunk begins after the end of what is there.
    #[error("a chunk at byte {offset}, and only {have} are there")]
    Gap {
        /// Where the chunk begins.
        offset: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// The chunk goes on after the end of the file, is empty or too long.
    #[error("a chunk of {length} bytes at byte {offset} of a file of {total} bytes")]
    Length {
        /// Where the chunk begins.
        offset: u64,
        /// Its length in bytes.
        length: usize,
        /// Size of the file in bytes.
        total: u64,
    },
    /// The bytes do not expand.
    #[error("a chunk that does not expand: {0}")]
    Malformed(String),
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Where it begins in the file.
    pub offset: u64,
    /// How `bytes` are compressed.
    pub compression: Compression,
    /// The bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// Compresses at most [`CHUNK_BYTES`] bytes that stand at `offset`; leaves them as they are when that is shorter.
    #[must_use]
    pub fn once(offset: u64, plain: &[u8]) -> Self {
        Self::compress(offset, plain, LEVEL_ONCE)
    }

    fn compress(offset: u64, plain: &[u8], level: i32) -> Self {
        debug_assert!(plain.len() <= CHUNK_BYTES, "{} bytes", plain.len());
        let (compression, bytes) = match zstd::bulk::compress(plain, level) {
            Ok(bytes) if bytes.len() < plain.len() => (Compression::Zstd, bytes),
            _ => (Compression::None, plain.to_vec()),
        };
        Self {
            offset,
            compression,
            bytes,
        }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`TransferError::Malformed`] when they do not expand to at most [`CHUNK_BYTES`].
    pub fn expand(&self) -> Result<Vec<u8>, TransferError> {
        match self.compression {
            Compression::None if self.bytes.len() <= CHUNK_BYTES => Ok(self.bytes.clone()),
            Compression::None => Err(TransferError::Malformed(format!("{} bytes", self.bytes.len()))),
            Compression::Zstd => zstd::bulk::decompress(&self.bytes, CHUNK_BYTES)
                .map_err(|error| TransferError::Malformed(error.to_string())),
        }
    }
}

/// A file that was cut and compressed once, to be sent to many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the file.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub total: u64,
    /// Its pieces in order.
    pub chunks: Vec<Chunk>,
}

impl Packed {
    /// Cuts and compresses `file`.
    ///
    /// # Errors
    /// [`TransferError::Size`] when it is empty or too large.
    pub fn of(file: &[u8]) -> Result<Self, TransferError> {
        let total = file.len() as u64;
        check_size(total)?;
        let pieces = file.chunks(CHUNK_BYTES).zip((0..).step_by(CHUNK_BYTES));
        Ok(Self {
            digest: Digest::of_bytes(file),
            total,
            chunks: pieces
                .map(|(piece, offset)| Chunk::compress(offset, piece, LEVEL_MANY))
                .collect(),
        })
    }

    /// The chunks that somebody needs who has the first `have` bytes.
    #[must_use]
    pub fn rest(&self, have: u64) -> &[Chunk] {
        let first = usize::try_from(have / CHUNK_BYTES as u64).unwrap_or(usize::MAX);
        self.chunks.get(first..).unwrap_or_default()
    }

    /// Bytes of all chunks.
    #[must_use]
    pub fn packed_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }
}

fn check_size(total: u64) -> Result<(), TransferError> {
    if (1..=PROGRAM_BYTES_MAX).contains(&total) {
        Ok(())
    } else {
        Err(TransferError::Size(total))
    }
}

/// How far a file has come. Where its bytes are kept is another's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    total: u64,
    have: u64,
}

impl Upload {
    /// A file of `total` bytes of which `found` are there already, of which whole chunks count.
    ///
    /// # Errors
    /// [`TransferError::Size`] when it is empty or too large.
    pub fn resume(total: u64, found: u64) -> Result<Self, TransferError> {
        check_size(total)?;
        let found = found.min(total);
        let have = if found == total {
            found
        } else {
            found - found % CHUNK_BYTES as u64
        };
        Ok(Self { total, have })
    }

    /// Bytes that are there, from the first on.
    #[must_use]
    pub fn have(self) -> u64 {
        self.have
    }

    /// Whether all bytes are there; says nothing about whether they are right.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.have == self.total
    }

    /// Which part of a chunk's `length` plain bytes at `offset` is new: the number of bytes to leave out at its
    /// beginning, or none when all are there already.
    ///
    /// # Errors
    /// [`TransferError`] when the chunk does not continue what is there.
    pub fn fits(self, total: u64, offset: u64, length: usize) -> Result<Option<usize>, TransferError> {
        if total != self.total {
            return Err(TransferError::OtherSize {
                before: self.total,
                got: total,
            });
        }
        let end = offset.checked_add(length as u64).filter(|&end| end <= total);
        let Some(end) = end.filter(|_| (1..=CHUNK_BYTES).contains(&length)) else {
            return Err(TransferError::Length { offset, length, total });
        };
        if offset > self.have {
            return Err(TransferError::Gap {
                offset,
                have: self.have,
            });
        }
        let known = usize::try_from(self.have - offset).unwrap_or(usize::MAX);
        Ok((end > self.have).then_some(known))
    }

    /// Counts `length` more bytes, which [`Upload::fits`] said are new and which are kept now.
    pub fn advance(&mut self, length: usize) {
        debug_assert!(self.have + length as u64 <= self.total, "no more than the file has");
        self.have = (self.have + length as u64).min(self.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes chunks as an agent does.
    fn take(kept: &mut Vec<u8>, upload: &mut Upload, total: u64, chunk: &Chunk) -> Result<(), TransferError> {
        let plain = chunk.expand()?;
        if let Some(known) = upload.fits(total, chunk.offset, plain.len())? {
            kept.extend_from_slice(&plain[known..]);
            upload.advance(plain.len() - known);
        }
        Ok(())
    }

    fn file(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at / 7 % 251) as u8 ^ (at % 3) as u8).collect()
    }

    #[test]
    fn what_was_cut_off_is_resumed_and_what_comes_twice_is_skipped() {
        let file = file(3 * CHUNK_BYTES + 1000);
        let packed = Packed::of(&file).unwrap();
        assert!(packed.packed_bytes() < packed.total / 2);
        let mut kept = file[..CHUNK_BYTES + 99].to_vec();
        let mut upload = Upload::resume(packed.total, kept.len() as u64).unwrap();
        assert_eq!(upload.have(), CHUNK_BYTES as u64);
        kept.truncate(CHUNK_BYTES);
        for chunk in packed.chunks.iter().chain(packed.rest(upload.have())) {
            take(&mut kept, &mut upload, packed.total, chunk).unwrap();
        }
        assert!(upload.is_whole() && Digest::of_bytes(&kept) == packed.digest);
        assert_eq!(packed.rest(packed.total).len(), 1, "the last chunk is not a whole one");
        assert!(packed.rest(u64::MAX).is_empty());
    }

    #[test]
    fn chunks_that_do_not_fit_are_refused() {
        let upload = Upload::resume(1000, 0).unwrap();
        assert!(matches!(upload.fits(1001, 0, 10), Err(TransferError::OtherSize { .. })));
        assert!(matches!(upload.fits(1000, 10, 10), Err(TransferError::Gap { .. })));
        for (offset, length) in [(0, 1001), (0, 0), (999, 2), (u64::MAX, 1)] {
            assert!(matches!(
                upload.fits(1000, offset, length),
                Err(TransferError::Length { .. })
            ));
        }
        assert!(Upload::resume(0, 0).is_err() && Upload::resume(PROGRAM_BYTES_MAX + 1, 0).is_err());
        assert!(Packed::of(&[]).is_err());
    }

    #[test]
    fn a_chunk_that_expands_to_more_than_allowed_is_refused() {
        let bomb = Chunk {
            offset: 0,
            compression: Compression::Zstd,
            bytes: zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap(),
        };
        assert!(bomb.bytes.len() < 10_000 && bomb.expand().is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
            let mut frame = if magic { vec![0x28, 0xb5, 0x2f, 0xfd] } else { Vec::new() };
            frame.extend(bytes);
            let _ = Chunk { offset: 0, compression: Compression::Zstd, bytes: frame }.expand();
        }

        #[test]
        fn what_was_compressed_expands(bytes in proptest::collection::vec(any::<u8>(), 0..2000), offset in any::<u64>()) {
            prop_assert_eq!(Chunk::once(offset, &bytes).expand(), Ok(bytes));
        }

        #[test]
        fn chunks_in_any_order_never_make_a_wrong_file(order in proptest::collection::vec(0_usize..4, 0..20)) {
            let file = file(2 * CHUNK_BYTES + 17);
            let pieces: Vec<(u64, &[u8])> = file.chunks(CHUNK_BYTES).zip((0..).step_by(CHUNK_BYTES)).map(|(p, o)| (o, p)).collect();
            let (mut have, total) = (Vec::new(), file.len() as u64);
            let mut upload = Upload::resume(total, 0).unwrap();
            for index in order {
                let Some((offset, piece)) = pieces.get(index) else { continue };
                if let Ok(Some(known)) = upload.fits(total, *offset, piece.len()) {
                    have.extend_from_slice(&piece[known..]);
                    upload.advance(piece.len() - known);
                }
            }
            prop_assert_eq!(&file[..have.len()], have.as_slice());
            prop_assert_eq!(upload.have(), have.len() as u64);
        }
    }
}
