//! The journal's writing thread, its handle in the loop, and reads of stored blocks.

use super::{
    StoreError,
    index::{Index, Location},
    lock::DirLock,
    recover::{Entry, Position, file_path, recover},
    segment::{FILE_HEADER, PAYLOAD_BYTES_MAX, RECORD_HEADER, file_header, push_record, read_record},
};
use crate::meter::Meter;
use bytes::Bytes;
use regatta_api::metrics::Metric;
use regatta_base::{Digest, Height};
use regatta_core::{Record, RecordNumber, StoredBlock};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};
use tokio::sync::watch;

/// A file takes no more groups from this size on.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// A group takes no more records from this size on.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Zeros written ahead of small groups: flushing a write inside the file costs less than growing the file.
const ZEROS_AHEAD: usize = 1024 * 1024;
/// A group of this size grows the file by itself.
const LARGE_GROUP: usize = 256 * 1024;
/// Memory that the writer keeps between groups.
const BUFFER_KEPT: usize = 1024 * 1024;

/// Where and how to keep a journal.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder; made when missing.
    pub dir: PathBuf,
    /// Whether to flush to the device before a record counts as durable.
    pub durable: bool,
    /// From this many bytes on the journal is full.
    pub disk_bytes_max: u64,
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
pub struct JournalState {
    /// Highest durable record.
    pub durable: RecordNumber,
    /// Whether the limit is reached.
    pub full: bool,
    /// Why the writer gave up, if it did.
    pub failed: Option<Arc<StoreError>>,
}

/// The loop's end of the journal.
#[derive(Debug)]
pub struct Journal {
    records: Option<mpsc::Sender<(RecordNumber, Record)>>,
    backlog: Arc<AtomicUsize>,
    state: watch::Receiver<JournalState>,
    reader: Reader,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal, hands every record in it to `replay`, and starts the writer.
    ///
    /// # Errors
    /// [`StoreError`] when the folder is in use or cannot be read, when a durable record is damaged, or
    /// when `replay` refuses one.
    pub fn open(
        options: &Options,
        meter: Arc<Meter>,
        mut replay: impl FnMut(Record) -> Result<(), String>,
    ) -> Result<Self, StoreError> {
        let dir = &options.dir;
        fs::create_dir_all(dir).map_err(|error| StoreError::io("create", dir, error))?;
        let lock = DirLock::take(dir)?;
        let mut index = Index::default();
        let position = recover(dir, &mut index, &mut replay)?;
        let index = Arc::new(Mutex::new(index));
        let backlog = Arc::new(AtomicUsize::new(0));
        let (sender, state) = watch::channel(JournalState::default());
        let mut writer = Writer {
            options: options.clone(),
            file: None,
            position,
            file_length: 0,
            buffer: Vec::new(),
            index: Arc::clone(&index),
            backlog: Arc::clone(&backlog),
            state: sender,
            meter,
            _lock: lock,
        };
        writer.open_file()?;
        let (records, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| StoreError::io("start the writer of", dir, error))?;
        Ok(Self {
            records: Some(records),
            backlog,
            state,
            reader: Reader {
                dir: dir.as_path().into(),
                index,
            },
            thread: Some(thread),
        })
    }

    /// Queues a record. The queue has no limit of its own: the loop takes no more input while
    /// [`Journal::backlog_bytes`] is high.
    pub fn append(&self, number: RecordNumber, record: Record) {
        self.backlog.fetch_add(size_of_record(&record), Ordering::Relaxed);
        if let Some(records) = &self.records {
            // Fails only after the writer gave up, which the state tells.
            let _ = records.send((number, record));
        }
    }

    /// Bytes that are queued and not durable yet.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// How far the writer is, with notice of changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<JournalState> {
        self.state.clone()
    }

    /// Reads blocks, from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Writes what is queued, flushes and ends.
    ///
    /// # Errors
    /// Why the writer gave up, if it did.
    pub fn close(mut self) -> Result<(), Arc<StoreError>> {
        self.end_writer();
        match &self.state.borrow().failed {
            Some(error) => Err(Arc::clone(error)),
            None => Ok(()),
        }
    }

    fn end_writer(&mut self) {
        self.records = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the writer has been printed where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end_writer();
    }
}

fn size_of_record(record: &Record) -> usize {
    match record {
        Record::Consensus { bytes, .. } | Record::Batch { bytes, .. } => bytes.0.len(),
        Record::Block {
            header,
            certificate,
            batches,
            ..
        } => header.0.len() + certificate.0.len() + 32 * batches.len(),
    }
}

/// A block of the group being written: it can be read only after the write.
struct NewBlock {
    instance: u16,
    height: Height,
    place: Location,
    batches: Vec<Digest>,
}

struct Writer {
    options: Options,
    file: Option<File>,
    position: Position,
    /// Length of the present file, zeros ahead included.
    file_length: u64,
    buffer: Vec<u8>,
    index: Arc<Mutex<Index>>,
    backlog: Arc<AtomicUsize>,
    state: watch::Sender<JournalState>,
    meter: Arc<Meter>,
    _lock: DirLock,
}

impl Writer {
    fn run(mut self, records: &mpsc::Receiver<(RecordNumber, Record)>) {
        self.report_full();
        while let Ok(first) = records.recv() {
            if let Err(error) = self.write_group(first, records) {
                tracing::error!(%error, "the journal failed");
                self.state.send_modify(|state| state.failed = Some(Arc::new(error)));
                return;
            }
        }
    }

    fn write_group(
        &mut self,
        first: (RecordNumber, Record),
        records: &mpsc::Receiver<(RecordNumber, Record)>,
    ) -> Result<(), StoreError> {
        self.buffer.clear();
        let (mut last, mut queued, mut blocks) = (0, 0, Vec::new());
        let mut next = Some(first);
        while let Some((number, record)) = next {
            last = number;
            queued += size_of_record(&record);
            blocks.extend(self.encode(record)?);
            next = (self.buffer.len() < GROUP_BYTES)
                .then(|| records.try_recv().ok())
                .flatten();
        }
        self.flush()?;
        self.index_blocks(blocks)?;
        self.backlog.fetch_sub(queued, Ordering::Relaxed);
        self.state.send_modify(|state| state.durable = last);
        self.report_full();
        self.buffer.shrink_to(BUFFER_KEPT);
        if self.position.end >= FILE_BYTES {
            self.next_file()
        } else {
            Ok(())
        }
    }

    /// Appends the record to the buffer and remembers where it will be.
    fn encode(&mut self, record: Record) -> Result<Option<NewBlock>, StoreError> {
        let group = self.position.end as u32;
        let place = Location::new(self.position.file, group + self.buffer.len() as u32);
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let batches = match &record {
            Record::Batch { instance, digest, .. } => {
                index.add_batch(*instance, *digest, place);
                Vec::new()
            }
            Record::Block { instance, batches, .. } => index.find_batches(*instance, batches),
            Record::Consensus { .. } => Vec::new(),
        };
        drop(index);
        let entry = Entry { record, batches };
        let start = push_record(&mut self.buffer, group, |buffer| {
            rmp_serde::encode::write(buffer, &entry).expect("writing plain data to memory does not fail");
        });
        if self.buffer.len() - start - RECORD_HEADER > PAYLOAD_BYTES_MAX {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "a record is longer than the format allows");
            return Err(self.io("append to", error));
        }
        Ok(match entry.record {
            Record::Block {
                instance,
                height,
                batches,
                ..
            } => Some(NewBlock {
                instance,
                height,
                place,
                batches,
            }),
            _ => None,
        })
    }

    /// Writes the buffer at the end of the file and makes it durable.
    fn flush(&mut self) -> Result<(), StoreError> {
        self.write_buffer().map_err(|error| self.io("write", error))?;
        let length = self.buffer.len() as u64;
        self.position.end += length;
        self.position.total += length;
        self.meter.add(Metric::JournalBytes, length);
        self.meter.add(Metric::JournalFlushes, 1);
        Ok(())
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(&self.buffer, self.position.end)?;
        let end = self.position.end + self.buffer.len() as u64;
        if end > self.file_length {
            self.file_length = end;
            if self.buffer.len() < LARGE_GROUP && self.options.durable {
                file.write_all_at(&vec![0; ZEROS_AHEAD], end)?;
                self.file_length += ZEROS_AHEAD as u64;
            }
        }
        if self.options.durable { file.sync_data() } else { Ok(()) }
    }

    fn index_blocks(&self, blocks: Vec<NewBlock>) -> Result<(), StoreError> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for block in blocks {
            if !index.add_block(block.instance, block.height, block.place, &block.batches) {
                let text = format!("block {} does not follow the one before", block.height);
                return Err(self.io("append to", io::Error::new(io::ErrorKind::InvalidInput, text)));
            }
        }
        Ok(())
    }

    fn report_full(&self) {
        let full = self.position.total >= self.options.disk_bytes_max;
        self.state
            .send_if_modified(|state| std::mem::replace(&mut state.full, full) != full);
    }

    /// Opens the last file, or makes the first one.
    fn open_file(&mut self) -> Result<(), StoreError> {
        if self.position.file == 0 || self.position.end >= FILE_BYTES {
            return self.next_file();
        }
        let path = file_path(&self.options.dir, self.position.file);
        let open = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(|error| self.io("open", error))?;
        self.file = Some(file);
        self.file_length = length;
        Ok(())
    }

    fn next_file(&mut self) -> Result<(), StoreError> {
        let previous_end = self.position.end as u32;
        self.position.file += 1;
        self.position.end = FILE_HEADER as u64;
        self.position.total += FILE_HEADER as u64;
        self.make_file(previous_end).map_err(|error| self.io("create", error))
    }

    fn make_file(&mut self, previous_end: u32) -> io::Result<()> {
        if let Some(previous) = self.file.take() {
            previous.set_len(u64::from(previous_end))?;
            previous.sync_all()?;
        }
        let path = file_path(&self.options.dir, self.position.file);
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all_at(&file_header(self.position.file, previous_end), 0)?;
        file.sync_all()?;
        // The folder's entry has to survive as well as the file.
        File::open(&self.options.dir)?.sync_all()?;
        self.file_length = FILE_HEADER as u64;
        self.file = Some(file);
        Ok(())
    }

    fn io(&self, action: &'static str, error: io::Error) -> StoreError {
        StoreError::io(action, file_path(&self.options.dir, self.position.file), error)
    }
}

/// Reads stored blocks; clones are cheap.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: Arc<std::path::Path>,
    index: Arc<Mutex<Index>>,
}

impl Reader {
    /// The block of an instance (by its position in the configuration) with its batches, when the journal
    /// holds all of it.
    ///
    /// # Errors
    /// [`StoreError`] when the journal cannot be read there.
    pub fn load(&self, instance: usize, height: Height) -> Result<Option<StoredBlock>, StoreError> {
        let place = {
            let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            index.find_block(instance, height)
        };
        let Some(place) = place else { return Ok(None) };
        let entry = self.read(place)?;
        let Record::Block {
            header, certificate, ..
        } = entry.record
        else {
            return Err(self.corrupt(place, "no block where one was written"));
        };
        let batches: Result<Option<Vec<Bytes>>, StoreError> =
            entry.batches.iter().map(|place| self.batch(*place)).collect();
        Ok(batches?.map(|batches| StoredBlock {
            header: header.0,
            certificate: certificate.0,
            batches,
        }))
    }

    fn batch(&self, place: Location) -> Result<Option<Bytes>, StoreError> {
        if place == Location::NOWHERE {
            return Ok(None);
        }
        match self.read(place)?.record {
            Record::Batch { bytes, .. } => Ok(Some(bytes.0)),
            _ => Err(self.corrupt(place, "no batch where one was written")),
        }
    }

    fn read(&self, place: Location) -> Result<Entry, StoreError> {
        let path = file_path(&self.dir, place.file());
        let mut payload = Vec::new();
        let read = |payload: &mut Vec<u8>| {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(place.byte()))?;
            read_record(&mut BufReader::new(file), payload)
        };
        match read(&mut payload).map_err(|error| StoreError::io("read", &path, error))? {
            Some(_) => rmp_serde::from_slice(&payload).map_err(|error| self.corrupt(place, &error.to_string())),
            None => Err(self.corrupt(place, "the record is bad")),
        }
    }

    fn corrupt(&self, place: Location, reason: &str) -> StoreError {
        StoreError::Corrupt {
            path: file_path(&self.dir, place.file()),
            offset: place.byte(),
            reason: reason.to_owned(),
        }
    }
}
