//! The journal's writer: takes what is queued, writes it, flushes once, and tells how far it is.

use super::{
    StoreError,
    file::{GroupBuffer, JournalFile},
    index::{Index, Location},
    journal::{JournalState, Options},
    lock::DirLock,
    pace::Pace,
    prune::Coverage,
    recover::{Entry, Position, file_path},
    segment::{FILE_HEADER, PAYLOAD_BYTES_MAX, RECORD_HEADER, file_header, push_record},
};
use crate::meter::Meter;
use regatta_api::metrics::Metric;
use regatta_base::{Digest, Height};
use regatta_core::{Record, RecordNumber};
use std::{
    fs::File,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A group takes no more records from this size on.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How often a full device is tried again: nobody tells when there is room.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);

/// What the writer is told to do.
#[derive(Debug)]
pub(super) enum Input {
    /// Write this record.
    Record(RecordNumber, Record),
    /// An instance lets go of its blocks up to `through`, but not of the batches that wait.
    Prune {
        instance: u16,
        through: Height,
        waiting: Vec<Digest>,
    },
}

/// Something of the group being written that can be found only after the write.
enum News {
    Block {
        instance: u16,
        height: Height,
        place: Location,
        batches: Vec<Digest>,
        places: Vec<Location>,
    },
    Skip {
        instance: u16,
        height: Height,
    },
}

/// The journal's file and what is known of it.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) options: Options,
    pub(super) file: Option<JournalFile>,
    pub(super) position: Position,
    pub(super) buffer: GroupBuffer,
    pub(super) index: Arc<Mutex<Index>>,
    pub(super) coverage: Coverage,
    pub(super) backlog: Arc<AtomicUsize>,
    pub(super) closing: Arc<AtomicBool>,
    /// The last write found no room.
    pub(super) no_room: bool,
    pub(super) state: watch::Sender<JournalState>,
    pub(super) meter: Arc<Meter>,
    pub(super) pace: Pace,
    pub(super) _lock: DirLock,
}

impl Writer {
    /// Writes groups until the queue ends or the device fails.
    pub(super) fn run(mut self, inputs: &mpsc::Receiver<Input>) {
        while let Ok(first) = inputs.recv() {
            if !self.write_all(first, inputs, |_| true) {
                return;
            }
        }
    }

    /// Writes what is queued, or less when the device stalls; `false` when it fails.
    pub(super) fn write_queued(&mut self, inputs: &mpsc::Receiver<Input>) -> bool {
        let goes_on = |writer: &Self| !writer.pace.has_stalled();
        inputs
            .try_recv()
            .map_or(true, |first| self.write_all(first, inputs, goes_on))
    }

    /// Writes `first` and what is queued behind it while `goes_on`; `false` when the device fails.
    fn write_all(&mut self, first: Input, inputs: &mpsc::Receiver<Input>, goes_on: fn(&Self) -> bool) -> bool {
        let mut next = Some(first);
        while let Some(input) = next
            .take()
            .or_else(|| goes_on(self).then(|| inputs.try_recv().ok()).flatten())
        {
            let begun = Instant::now();
            let result = match input {
                Input::Record(number, record) => self.write_group((number, record), inputs, &mut next),
                Input::Prune {
                    instance,
                    through,
                    waiting,
                } => self.prune(instance, through, &waiting),
            };
            self.pace.note(begun.elapsed(), &self.options.dir);
            if let Err(error) = result {
                tracing::error!(%error, "the journal failed");
                self.state.send_modify(|state| state.failed = Some(Arc::new(error)));
                return false;
            }
        }
        true
    }

    /// Writes what is queued, up to a limit or to something that is no record, which goes to `after`.
    fn write_group(
        &mut self,
        first: (RecordNumber, Record),
        inputs: &mpsc::Receiver<Input>,
        after: &mut Option<Input>,
    ) -> Result<(), StoreError> {
        self.buffer.begin(self.position.end);
        let (mut last, mut queued, mut news) = (0, 0, Vec::new());
        let mut next = Some(first);
        while let Some((number, record)) = next.take() {
            last = number;
            queued += size_of_record(&record);
            news.extend(self.encode(record)?);
            if self.buffer.len() < GROUP_BYTES {
                match inputs.try_recv() {
                    Ok(Input::Record(number, record)) => next = Some((number, record)),
                    Ok(other) => *after = Some(other),
                    Err(_) => {}
                }
            }
        }
        self.flush()?;
        self.index_news(news)?;
        self.backlog.fetch_sub(queued, Ordering::Relaxed);
        self.state.send_modify(|state| state.durable = last);
        self.report_full();
        self.buffer.shrink();
        self.end_group()
    }

    /// Writes these records as a group that nobody waits for.
    pub(super) fn write_records(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        self.buffer.begin(self.position.end);
        for record in records {
            self.encode(record)?;
        }
        self.flush()?;
        self.end_group()
    }

    /// Goes on in another file when this one has grown to its size.
    fn end_group(&mut self) -> Result<(), StoreError> {
        if self.position.end >= self.options.file_bytes {
            self.next_file()
        } else {
            Ok(())
        }
    }

    /// Appends the record to the buffer and remembers where it will be.
    fn encode(&mut self, record: Record) -> Result<Option<News>, StoreError> {
        let group = self.position.end as u32;
        let place = Location::new(self.position.file, group + self.buffer.len() as u32);
        self.coverage.note(&record, place);
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let batches = match &record {
            Record::Batch { instance, digest, .. } => {
                index.add_batch(*instance, *digest, place);
                Vec::new()
            }
            Record::Block { instance, batches, .. } => index.find_batches(*instance, batches),
            Record::Consensus { .. } | Record::Evidence { .. } | Record::Installed { .. } | Record::Memory { .. } => {
                Vec::new()
            }
        };
        drop(index);
        let entry = Entry { record, batches };
        let bytes = self.buffer.bytes();
        let start = push_record(bytes, group, |buffer| {
            rmp_serde::encode::write(buffer, &entry).expect("writing plain data to memory does not fail");
        });
        if bytes.len() - start - RECORD_HEADER > PAYLOAD_BYTES_MAX {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "a record is longer than the format allows");
            return Err(self.io("append to", error));
        }
        Ok(match entry.record {
            Record::Block {
                instance,
                height,
                batches,
                ..
            } => Some(News::Block {
                instance,
                height,
                place,
                batches,
                places: entry.batches,
            }),
            Record::Installed { instance, height } => Some(News::Skip { instance, height }),
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
        self.meter.add(Metric::JournalFlushes, u64::from(self.options.durable));
        Ok(())
    }

    /// Writes the buffer; while there is no room on the device, again and again. Nothing that rests on it has left the node,
    /// so that it can wait as long as it takes.
    fn write_buffer(&mut self) -> io::Result<()> {
        loop {
            match self.try_write() {
                Err(error) if error.kind() == io::ErrorKind::StorageFull && self.may_wait() => {
                    if !self.no_room {
                        let dir = self.options.dir.display().to_string();
                        tracing::error!(dir, "no room on the device: records wait; help: free space on it");
                        self.no_room = true;
                        self.report_full();
                    }
                    std::thread::sleep(NO_ROOM_PAUSE);
                }
                result => {
                    if std::mem::take(&mut self.no_room) && result.is_ok() {
                        tracing::warn!("there is room on the device again");
                    }
                    return result;
                }
            }
        }
    }

    /// Whether it is a thread of its own, which keeps nobody waiting that could make room, and more may come.
    fn may_wait(&self) -> bool {
        self.options.durable && !self.closing.load(Ordering::Relaxed)
    }

    fn try_write(&mut self) -> io::Result<()> {
        let trouble = &self.options.trouble;
        if trouble.is_disk_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !trouble.flush_delay().is_zero() {
            std::thread::sleep(trouble.flush_delay());
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let at = self.position.end;
        file.append(self.buffer.group(at), at, self.options.durable)
    }

    fn index_news(&self, news: Vec<News>) -> Result<(), StoreError> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for news in news {
            match news {
                News::Block {
                    instance,
                    height,
                    place,
                    batches,
                    places,
                } => {
                    if !index.add_block(instance, height, place, (&batches, &places)) {
                        let text = format!("block {height} does not follow the one before");
                        return Err(self.io("append to", io::Error::new(io::ErrorKind::InvalidInput, text)));
                    }
                }
                News::Skip { instance, height } => index.skip(instance, height),
            }
        }
        Ok(())
    }

    pub(super) fn report_full(&self) {
        let full = self.no_room || self.position.total >= self.options.disk_bytes_max;
        self.state.send_if_modified(|state| {
            state.bytes = self.position.total;
            std::mem::replace(&mut state.full, full) != full
        });
    }

    /// Opens the last file, or makes the first one.
    pub(super) fn open_file(&mut self) -> Result<(), StoreError> {
        if self.position.file == 0 || self.position.end >= self.options.file_bytes {
            return self.next_file();
        }
        let path = file_path(&self.options.dir, self.position.file);
        let file = JournalFile::open(&path, false, self.options.durable).map_err(|error| self.io("open", error))?;
        self.file = Some(file);
        Ok(())
    }

    fn next_file(&mut self) -> Result<(), StoreError> {
        let previous_end = self.position.end as u32;
        if self.position.file > 0 {
            self.coverage.set_bytes(self.position.file, self.position.end);
        }
        self.position.file += 1;
        self.position.end = FILE_HEADER as u64;
        self.position.total += FILE_HEADER as u64;
        self.make_file(previous_end).map_err(|error| self.io("create", error))
    }

    fn make_file(&mut self, previous_end: u32) -> io::Result<()> {
        if let Some(previous) = self.file.take() {
            previous.finish(u64::from(previous_end))?;
        }
        let path = file_path(&self.options.dir, self.position.file);
        let mut file = JournalFile::open(&path, true, self.options.durable)?;
        file.begin(&file_header(self.position.file, previous_end))?;
        // The folder's entry has to survive as well as the file.
        File::open(&self.options.dir)?.sync_all()?;
        self.file = Some(file);
        Ok(())
    }

    fn io(&self, action: &'static str, error: io::Error) -> StoreError {
        StoreError::io(action, file_path(&self.options.dir, self.position.file), error)
    }
}

/// Bytes that a record counts in the backlog.
pub(super) fn size_of_record(record: &Record) -> usize {
    match record {
        Record::Consensus { bytes, .. } | Record::Batch { bytes, .. } | Record::Evidence { bytes, .. } => bytes.0.len(),
        Record::Block {
            header,
            certificate,
            batches,
            ..
        } => header.0.len() + certificate.0.len() + 32 * batches.len(),
        Record::Installed { .. } | Record::Memory { .. } => 0,
    }
}
