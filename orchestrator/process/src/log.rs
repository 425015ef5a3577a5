//! A node's log file with a bound, and its last lines for error messages.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Lines that an error quotes.
const TAIL_LINES_MAX: usize = 20;
/// Longest line that is kept for an error, in bytes.
const TAIL_LINE_BYTES_MAX: usize = 400;

/// A log of at most `bytes_max` bytes: when half of that is full the file becomes `<name>.1` and a new one begins, so
/// the newest lines are always there.
#[derive(Debug)]
pub struct NodeLog {
    path: PathBuf,
    file: File,
    written: u64,
    half_max: u64,
    tail: VecDeque<String>,
}

impl NodeLog {
    /// Opens the log at `path` for appending.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self {
            path: path.to_owned(),
            written: file.metadata()?.len(),
            file,
            half_max: bytes_max / 2,
            tail: VecDeque::new(),
        })
    }

    /// Appends `line` and a line break. What cannot be written is dropped: a full disk must not stop the node.
    pub fn write_line(&mut self, line: &[u8]) {
        if self.tail.len() == TAIL_LINES_MAX {
            self.tail.pop_front();
        }
        let kept = &line[..line.len().min(TAIL_LINE_BYTES_MAX)];
        self.tail.push_back(String::from_utf8_lossy(kept).trim_end().to_owned());
        let mut bytes = line.to_vec();
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        if self.written + bytes.len() as u64 > self.half_max {
            let _ = self.rotate();
        }
        if bytes.len() as u64 <= self.half_max && self.file.write_all(&bytes).is_ok() {
            self.written += bytes.len() as u64;
            debug_assert!(self.written <= self.half_max, "two halves keep the bound");
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        std::fs::rename(&self.path, older)?;
        self.file = File::options().create(true).append(true).open(&self.path)?;
        self.written = 0;
        Ok(())
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_survive_and_the_bound_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.log");
        let mut log = NodeLog::open(&path, 2000).unwrap();
        for number in 0..1000 {
            log.write_line(format!("line {number}").as_bytes());
        }
        log.write_line(&[b'x'; 5000]);
        let newest = std::fs::read_to_string(&path).unwrap();
        let older = std::fs::read_to_string(folder.path().join("node.log.1")).unwrap();
        assert!(newest.len() + older.len() <= 2000);
        assert!(format!("{older}{newest}").contains("line 999\n"));
        let tail = log.tail();
        assert_eq!(
            (tail.len(), tail[TAIL_LINES_MAX - 2].as_str()),
            (TAIL_LINES_MAX, "line 999")
        );
        assert_eq!(tail[TAIL_LINES_MAX - 1].len(), TAIL_LINE_BYTES_MAX);
    }

    #[test]
    fn an_earlier_log_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.log");
        NodeLog::open(&path, 2000).unwrap().write_line(b"before");
        NodeLog::open(&path, 2000).unwrap().write_line(b"after\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nafter\n");
    }
}
