//! The journal file that is being written: small groups through the page cache, large ones past it.
//!
//! A large group is written once and hardly ever read again. Copying it into the page cache costs five to ten
//! times as much CPU as handing the device its pages: 0.4-1.0 ms a megabyte against 0.07-0.16 ms (ext4, groups of
//! 512 KiB and 2 MiB). Only whole pages can go that way, so the bytes before the first and after the last page
//! border take the usual one; the flush that follows covers both.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

/// Memory, offset and length of what goes past the page cache are multiples of this.
pub(super) const PAGE: usize = 4096;
/// A group of this size is worth it. It grows the file by itself: zeros ahead of it would be written twice.
const LARGE_GROUP: usize = 64 * 1024;
/// Zeros written ahead of small groups at first and at most: flushing a write inside the file costs less than growing the
/// file. Twice as many each time, since most of many nodes on a machine write little.
const ZEROS_AHEAD: (usize, usize) = (32 * 1024, 1024 * 1024);

/// A file open for writing.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    /// The same file past the page cache; `None` where the file system has no such thing.
    direct: Option<File>,
    /// Its length, zeros ahead included.
    length: u64,
    /// Zeros that are written next.
    ahead: usize,
}

impl JournalFile {
    /// Opens the file at `path`, or makes it when `new`. Only a `durable` journal gains from passing by the page
    /// cache: another one may be lost with it.
    pub(super) fn open(path: &Path, new: bool, durable: bool) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(new).open(path)?;
        let length = file.metadata()?.len();
        let direct = if durable { open_direct(path) } else { None };
        Ok(Self {
            file,
            direct,
            length,
            ahead: ZEROS_AHEAD.0,
        })
    }

    /// Writes the file's header and makes the file's existence durable.
    pub(super) fn begin(&mut self, header: &[u8]) -> io::Result<()> {
        self.file.write_all_at(header, 0)?;
        self.length = header.len() as u64;
        self.file.sync_all()
    }

    /// Cuts off what lies behind `end` and makes the file durable as it is.
    pub(super) fn finish(self, end: u64) -> io::Result<()> {
        self.file.set_len(end)?;
        self.file.sync_all()
    }

    /// Writes a group at `at` and, when `durable`, returns after it is on the device.
    pub(super) fn append(&mut self, group: &[u8], at: u64, durable: bool) -> io::Result<()> {
        if group.len() < LARGE_GROUP || !self.write_direct(group, at)? {
            self.file.write_all_at(group, at)?;
        }
        let end = at + group.len() as u64;
        if end > self.length {
            self.length = end;
            if group.len() < LARGE_GROUP && durable {
                self.file.write_all_at(&vec![0; self.ahead], end)?;
                self.length += self.ahead as u64;
                self.ahead = ZEROS_AHEAD.1.min(2 * self.ahead);
            }
        }
        if durable { self.file.sync_data() } else { Ok(()) }
    }

    /// Writes whole pages past the page cache and the rest through it. `false`: it cannot be done that way.
    fn write_direct(&mut self, group: &[u8], at: u64) -> io::Result<bool> {
        let Some(direct) = &self.direct else { return Ok(false) };
        let head = (PAGE - at as usize % PAGE) % PAGE;
        let pages = (group.len() - head) / PAGE * PAGE;
        let (before, rest) = group.split_at(head);
        let (middle, after) = rest.split_at(pages);
        if middle.as_ptr().addr() % PAGE != 0 {
            return Ok(false);
        }
        match direct.write_all_at(middle, at + head as u64) {
            Ok(()) => {}
            // A file system with larger pages than ours.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.direct = None;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        self.file.write_all_at(before, at)?;
        self.file.write_all_at(after, at + (head + pages) as u64)?;
        Ok(true)
    }
}

/// Opens the file past the page cache, where that exists.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = nix::fcntl::OFlag::O_DIRECT.bits();
    OpenOptions::new().write(true).custom_flags(flags).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> Option<File> {
    None
}

/// A group on its way to the file, in memory that lies to pages as its place in the file does.
#[derive(Debug, Default)]
pub(super) struct GroupBuffer {
    bytes: Vec<u8>,
    /// Where the group begins in `bytes`.
    start: usize,
}

/// Memory that is kept between groups, whatever their size.
const KEPT_MIN: usize = 1024 * 1024;

impl GroupBuffer {
    /// Empties the buffer for a group that will lie at `at` in the file.
    pub(super) fn begin(&mut self, at: u64) {
        self.start = distance(self.bytes.as_ptr(), at);
        self.bytes.clear();
        self.bytes.resize(self.start, 0);
    }

    /// Bytes of the group so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Where to append the next record.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The whole group. It moves when growing has moved its memory.
    pub(super) fn group(&mut self, at: u64) -> &[u8] {
        self.bytes.reserve(PAGE);
        let (start, length) = (distance(self.bytes.as_ptr(), at), self.len());
        if start != self.start {
            let old = self.start;
            self.bytes.resize(start.max(old) + length, 0);
            self.bytes.copy_within(old..old + length, start);
            self.bytes.truncate(start + length);
            self.start = start;
        }
        &self.bytes[self.start..]
    }

    /// Gives memory back that groups of the present size do not need.
    pub(super) fn shrink(&mut self) {
        if self.bytes.capacity() / 4 > self.bytes.len() {
            let length = self.bytes.len();
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_MIN.max(2 * length));
        }
    }
}

/// How far behind `memory` the next address lies that is to pages as `at` is.
fn distance(memory: *const u8, at: u64) -> usize {
    (at as usize % PAGE + PAGE - memory.addr() % PAGE) % PAGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn groups_of_any_size_lie_one_behind_the_other(sizes in proptest::collection::vec(0..300_000usize, 1..6)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let mut file = JournalFile::open(&path, true, true).unwrap();
            file.begin(&[9; 32]).unwrap();
            let (mut buffer, mut expected) = (GroupBuffer::default(), vec![9; 32]);
            for (number, size) in sizes.into_iter().enumerate() {
                let at = expected.len() as u64;
                buffer.begin(at);
                // In pieces, so that the buffer grows on the way.
                for _ in 0..3 {
                    let piece: Vec<u8> = (0..size / 3).map(|i| (i / 7 + number) as u8).collect();
                    expected.extend_from_slice(&piece);
                    buffer.bytes().extend_from_slice(&piece);
                }
                prop_assert_eq!(buffer.len() as u64, expected.len() as u64 - at);
                let group = buffer.group(at);
                prop_assert_eq!(group.as_ptr().addr() % PAGE, at as usize % PAGE);
                file.append(group, at, true).unwrap();
                buffer.shrink();
            }
            let found = fs::read(&path).unwrap();
            prop_assert!(found.len() >= expected.len() && found[..expected.len()] == expected[..]);
            prop_assert!(found[expected.len()..].iter().all(|byte| *byte == 0));
            file.finish(expected.len() as u64).unwrap();
            prop_assert_eq!(fs::metadata(&path).unwrap().len(), expected.len() as u64);
        }
    }

    #[test]
    fn memory_of_one_large_group_is_given_back() {
        let mut buffer = GroupBuffer::default();
        buffer.begin(0);
        buffer.bytes().resize(16 * KEPT_MIN, 0);
        buffer.shrink();
        assert!(buffer.bytes.capacity() >= 16 * KEPT_MIN, "the next one may be as large");
        buffer.begin(0);
        buffer.shrink();
        assert!(buffer.bytes.capacity() < 2 * KEPT_MIN);
    }
}
