//! The loop's end of the journal.
//!
//! A durable journal has a thread: its flushes take milliseconds. Without flushes a group is a copy into the page cache,
//! which costs less than waking a thread and being woken by it; then the loop writes what it has queued itself, once a
//! turn. It does so until the device stalls: what comes after the first slow write is left to a thread, so that links, timers
//! and requests are held up once at most. Either way nothing leaves the node before its record is written: a process that
//! is killed loses nothing.

use super::{
    StoreError,
    file::GroupBuffer,
    index::Index,
    lock::DirLock,
    pace::Pace,
    prune::Coverage,
    reader::Reader,
    recover::recover,
    writer::{Input, Writer, size_of_record},
};
use crate::{meter::Meter, trouble::Trouble};
use regatta_base::{Digest, Height};
use regatta_core::{Record, RecordNumber};
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};
use tokio::sync::watch;

/// Where and how to keep a journal.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder; made when missing.
    pub dir: PathBuf,
    /// Whether to flush to the device before a record counts as durable.
    pub durable: bool,
    /// From this many bytes on the journal is full.
    pub disk_bytes_max: u64,
    /// A file takes no more groups from this many bytes on.
    pub file_bytes: u64,
    /// What tests make of the disk.
    pub trouble: Arc<Trouble>,
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
pub struct JournalState {
    /// Highest durable record.
    pub durable: RecordNumber,
    /// Whether the limit is reached.
    pub full: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// The first block of each instance from which on all can be read, by its position in the configuration, since
    /// files were removed.
    pub first_blocks: Vec<(usize, Height)>,
    /// Why the writer gave up, if it did.
    pub failed: Option<Arc<StoreError>>,
}

/// The loop's end of the journal.
#[derive(Debug)]
pub struct Journal {
    records: Option<mpsc::Sender<Input>>,
    backlog: Arc<AtomicUsize>,
    /// Nothing more comes: the writer need not wait for room.
    closing: Arc<AtomicBool>,
    state: watch::Receiver<JournalState>,
    reader: Reader,
    hands: Hands,
}

/// Who writes.
#[derive(Debug)]
enum Hands {
    /// A thread, as soon as something is queued: of a durable journal, and of one whose device stalled.
    Thread(JoinHandle<()>),
    /// Whoever calls [`Journal::write`].
    Caller(Box<Writer>, mpsc::Receiver<Input>),
    /// Nobody any more.
    Nobody,
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
        replay: impl FnMut(Record) -> Result<(), String>,
    ) -> Result<Self, StoreError> {
        let lock = Self::claim(options)?;
        Self::open_claimed(options, lock, meter, replay)
    }

    /// Makes the folder when it is missing, and takes it for this process alone.
    ///
    /// # Errors
    /// [`StoreError`] when it is in use or cannot be made.
    pub fn claim(options: &Options) -> Result<DirLock, StoreError> {
        let dir = &options.dir;
        fs::create_dir_all(dir).map_err(|error| StoreError::io("create", dir, error))?;
        DirLock::take(dir)
    }

    /// As [`Journal::open`], in a folder that was taken before.
    ///
    /// # Errors
    /// As there.
    pub fn open_claimed(
        options: &Options,
        lock: DirLock,
        meter: Arc<Meter>,
        mut replay: impl FnMut(Record) -> Result<(), String>,
    ) -> Result<Self, StoreError> {
        let dir = &options.dir;
        let (mut index, mut coverage) = (Index::default(), Coverage::default());
        let position = recover(dir, (&mut index, &mut coverage), &mut replay)?;
        let known = JournalState {
            first_blocks: index.first_blocks(),
            ..JournalState::default()
        };
        let index = Arc::new(Mutex::new(index));
        let backlog = Arc::new(AtomicUsize::new(0));
        let closing = Arc::new(AtomicBool::new(false));
        let (sender, state) = watch::channel(known);
        let mut writer = Writer {
            options: options.clone(),
            file: None,
            position,
            buffer: GroupBuffer::default(),
            index: Arc::clone(&index),
            coverage,
            backlog: Arc::clone(&backlog),
            closing: Arc::clone(&closing),
            no_room: false,
            state: sender,
            pace: Pace::new(Arc::clone(&meter)),
            meter,
            _lock: lock,
        };
        writer.open_file()?;
        writer.report_full();
        let (records, receiver) = mpsc::channel();
        let hands = if options.durable {
            let thread = start(writer, receiver).map_err(|error| StoreError::io("start the writer of", dir, error))?;
            Hands::Thread(thread)
        } else {
            Hands::Caller(Box::new(writer), receiver)
        };
        Ok(Self {
            records: Some(records),
            backlog,
            closing,
            state,
            reader: Reader {
                dir: dir.as_path().into(),
                index,
            },
            hands,
        })
    }

    /// Queues a record. The queue has no limit of its own: the loop takes no more input while
    /// [`Journal::backlog_bytes`] is high.
    pub fn append(&self, number: RecordNumber, record: Record) {
        self.backlog.fetch_add(size_of_record(&record), Ordering::Relaxed);
        if let Some(records) = &self.records {
            // Fails only after the writer gave up, which the state tells.
            let _ = records.send(Input::Record(number, record));
        }
    }

    /// Writes what is queued, where no thread does; then the state may have changed. After a slow write a thread does.
    pub fn write(&mut self) {
        let Hands::Caller(writer, queue) = &mut self.hands else {
            return;
        };
        let goes_on = writer.write_queued(queue);
        if goes_on && !writer.pace.has_stalled() {
            return;
        }
        if let Hands::Caller(writer, queue) = std::mem::replace(&mut self.hands, Hands::Nobody)
            && goes_on
        {
            match start(*writer, queue) {
                Ok(thread) => self.hands = Hands::Thread(thread),
                // The writer is gone with it, which ends the node.
                Err(error) => tracing::error!(%error, "cannot start a thread for the journal"),
            }
        }
    }

    /// Lets go of the blocks of an instance up to `through`, except for the batches that wait to be ordered. Files
    /// that nothing else needs are removed.
    pub fn prune(&self, instance: usize, through: Height, waiting: Vec<Digest>) {
        if let (Some(records), Ok(instance)) = (&self.records, u16::try_from(instance)) {
            let _ = records.send(Input::Prune {
                instance,
                through,
                waiting,
            });
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
        self.write();
        self.records = None;
        self.closing.store(true, Ordering::Relaxed);
        if let Hands::Thread(thread) = std::mem::replace(&mut self.hands, Hands::Nobody) {
            // A panic of the writer has been printed where it happened.
            let _ = thread.join();
        }
    }
}

/// Starts a thread that writes whatever is queued.
fn start(writer: Writer, queue: mpsc::Receiver<Input>) -> std::io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("journal".to_owned());
    thread.spawn(move || writer.run(&queue))
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end_writer();
    }
}
