//! Reads a journal at start, record by record, and finds where to go on.

use super::{
    StoreError,
    index::{Index, Location},
    prune::Coverage,
    segment::{FILE_HEADER, RECORD_HEADER, Tail, judge_tail, parse_file_header, read_full, read_record},
};
use regatta_core::Record;
use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// Bytes that the scan reads at once.
const READ_BYTES: usize = 256 * 1024;

/// A record as the journal stores it.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Entry {
    pub(super) record: Record,
    /// For a block: where its batches are.
    pub(super) batches: Vec<Location>,
}

/// Where writing goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of the last file, from 1; 0 when there is none.
    pub(super) file: u32,
    /// End of its last record.
    pub(super) end: u64,
    /// Bytes in all files.
    pub(super) total: u64,
}

/// The path of file `number`.
pub(super) fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("journal-{number:08}.log"))
}

/// Hands every record to `replay`, fills `index`, and cuts a torn tail off.
pub(super) fn recover(
    dir: &Path,
    (index, coverage): (&mut Index, &mut Coverage),
    replay: &mut dyn FnMut(Record) -> Result<(), String>,
) -> Result<Position, StoreError> {
    let (first, last) = first_and_last_file(dir)?;
    let mut position = Position {
        file: 0,
        end: 0,
        total: 0,
    };
    if first > 1 {
        index.prune(first - 1);
    }
    for number in first.max(1)..=last {
        let path = file_path(dir, number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| StoreError::io("open", &path, error))?;
        let mut scan = Scan {
            number,
            path,
            file,
            is_last: number == last,
        };
        // Of the files before the first one nothing is known any more.
        let previous_end = (number == 1 || number > first).then_some(position.end);
        if !scan.check_header(previous_end)? {
            break;
        }
        position.end = scan.records((index, coverage), replay)?;
        coverage.set_bytes(number, position.end);
        position.file = number;
        position.total += position.end;
    }
    index.forget_torn();
    Ok(position)
}

fn first_and_last_file(dir: &Path) -> Result<(u32, u32), StoreError> {
    let entries = fs::read_dir(dir).map_err(|error| StoreError::io("list", dir, error))?;
    let (mut first, mut last) = (u32::MAX, 0);
    for entry in entries {
        let name = entry.map_err(|error| StoreError::io("list", dir, error))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("journal-")?.strip_suffix(".log")?.parse().ok());
        last = last.max(number.unwrap_or(0));
        first = first.min(number.unwrap_or(u32::MAX));
    }
    Ok((first.min(last), last))
}

/// One file being read.
struct Scan {
    number: u32,
    path: PathBuf,
    file: File,
    is_last: bool,
}

impl Scan {
    /// Checks the file's header. `false`: the crash came while the file was being made, and it is removed.
    fn check_header(&mut self, previous_end: Option<u64>) -> Result<bool, StoreError> {
        let mut header = [0; FILE_HEADER];
        read_full(&mut self.file, &mut header).map_err(|error| self.io("read", error))?;
        match parse_file_header(&header) {
            Some((number, end)) if number == self.number => {
                let Some(previous_end) = previous_end.filter(|previous| *previous != u64::from(end)) else {
                    return Ok(true);
                };
                let reason = format!("the file before it ends at byte {previous_end}, and once ended at {end}");
                Err(self.corrupt(20, reason))
            }
            _ if self.is_last && self.is_unfinished(&header)? => {
                tracing::warn!(path = %self.path.display(), "removing a journal file that was never completed");
                fs::remove_file(&self.path).map_err(|error| self.io("remove", error))?;
                Ok(false)
            }
            _ => Err(self.corrupt(0, "not the header of this journal file".to_owned())),
        }
    }

    /// Whether the file never got its header: then nothing else was written to it either.
    fn is_unfinished(&self, header: &[u8; FILE_HEADER]) -> Result<bool, StoreError> {
        let length = self.file.metadata().map_err(|error| self.io("read", error))?.len();
        Ok(length < FILE_HEADER as u64 || (length == FILE_HEADER as u64 && *header == [0; FILE_HEADER]))
    }

    /// Reads all records and returns the end of the last good one.
    fn records(
        &mut self,
        (index, coverage): (&mut Index, &mut Coverage),
        replay: &mut dyn FnMut(Record) -> Result<(), String>,
    ) -> Result<u64, StoreError> {
        let mut end = FILE_HEADER as u64;
        let mut payload = Vec::new();
        let file = self.file.try_clone().map_err(|error| self.io("open", error))?;
        let mut reader = BufReader::with_capacity(READ_BYTES, file);
        while let Some(header) = read_record(&mut reader, &mut payload).map_err(|error| self.io("read", error))? {
            self.take(end, &payload, (index, coverage), replay)?;
            end += (RECORD_HEADER + header.length) as u64;
        }
        self.finish(end)?;
        Ok(end)
    }

    fn take(
        &self,
        at: u64,
        payload: &[u8],
        (index, coverage): (&mut Index, &mut Coverage),
        replay: &mut dyn FnMut(Record) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let entry: Entry = rmp_serde::from_slice(payload).map_err(|error| self.corrupt(at, error.to_string()))?;
        let place = u32::try_from(at).map_err(|_| self.corrupt(at, "the file is too long".to_owned()))?;
        let place = Location::new(self.number, place);
        coverage.note(&entry.record, place);
        match &entry.record {
            Record::Batch { instance, digest, .. } => index.add_batch(*instance, *digest, place),
            Record::Block {
                instance,
                height,
                batches,
                ..
            } => {
                if !index.add_block(*instance, *height, place, (batches, &entry.batches)) {
                    return Err(self.corrupt(at, format!("block {height} does not follow the one before")));
                }
            }
            Record::Installed { instance, height } => index.skip(*instance, *height),
            Record::Consensus { .. } | Record::Evidence { .. } | Record::Memory { .. } => {}
        }
        replay(entry.record).map_err(|reason| StoreError::Replay {
            path: self.path.clone(),
            offset: at,
            reason,
        })
    }

    /// Judges what follows the last good record, and cuts it off when it is torn.
    fn finish(&mut self, end: u64) -> Result<(), StoreError> {
        let mut rest = Vec::new();
        self.file
            .seek(SeekFrom::Start(end))
            .and_then(|_| self.file.read_to_end(&mut rest))
            .map_err(|error| self.io("read", error))?;
        match judge_tail(&rest, end) {
            Tail::Clean => Ok(()),
            Tail::Torn if self.is_last => {
                let path = self.path.display();
                tracing::warn!(%path, offset = end, "cutting off a record that was being written when the node stopped");
                self.file
                    .set_len(end)
                    .and_then(|()| self.file.sync_all())
                    .map_err(|error| self.io("truncate", error))
            }
            Tail::Torn => Err(self.corrupt(end, "the record is bad, and a later file follows".to_owned())),
            Tail::Damaged(later) => Err(self.corrupt(
                end,
                format!("the record is bad, and the one at byte {later} was written after it"),
            )),
        }
    }

    fn io(&self, action: &'static str, error: std::io::Error) -> StoreError {
        StoreError::io(action, &self.path, error)
    }

    fn corrupt(&self, offset: u64, reason: String) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            offset,
            reason,
        }
    }
}
