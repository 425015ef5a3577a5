//! The thread that writes, reads and removes snapshot files for the node.

use super::{SnapshotFile, SnapshotFileError, SnapshotWriter, path, used_bytes};
use bytes::Bytes;
use regatta_base::Height;
use regatta_core::{SnapshotOrder, SnapshotReport};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};
use tokio::sync::mpsc;

/// Orders that wait; more are answered as if the disk had refused them.
const ORDERS_MAX: usize = 512;
/// Reports that wait for the loop.
const REPORTS_MAX: usize = 64;

/// What the thread tells the loop.
pub type Report = SnapshotReport;

/// The loop's end of the thread.
#[derive(Debug)]
pub struct Keeper {
    orders: Option<SyncSender<SnapshotOrder>>,
    bytes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread for the snapshots in `folder`.
    ///
    /// # Errors
    /// [`SnapshotFileError::Io`] when there can be no thread.
    pub fn start(folder: &Path) -> Result<(Self, mpsc::Receiver<Report>), SnapshotFileError> {
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let bytes = Arc::new(AtomicU64::new(used_bytes(folder)?));
        let (reports, results) = mpsc::channel(REPORTS_MAX);
        let mut work = Work {
            folder: folder.to_owned(),
            parts: BTreeMap::new(),
            open: None,
            bytes: Arc::clone(&bytes),
        };
        let thread = std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || work.run(&receiver, &reports))
            .map_err(SnapshotFileError::io("start the thread for", folder))?;
        let keeper = Self {
            orders: Some(orders),
            bytes,
            thread: Some(thread),
        };
        Ok((keeper, results))
    }

    /// Bytes that its files take on the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Hands an order on; gives the answer back when too many wait.
    pub fn order(&self, order: SnapshotOrder) -> Option<Report> {
        let orders = self.orders.as_ref()?;
        match orders.try_send(order) {
            Ok(()) => None,
            Err(error) => {
                let (std::sync::mpsc::TrySendError::Full(order) | std::sync::mpsc::TrySendError::Disconnected(order)) =
                    error;
                refusal(&order)
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed where it happened.
            let _ = thread.join();
        }
    }
}

/// The answer to an order that cannot be followed.
fn refusal(order: &SnapshotOrder) -> Option<Report> {
    match *order {
        SnapshotOrder::Finish { instance, height, .. } => Some(Report::Written {
            instance,
            height,
            ok: false,
        }),
        SnapshotOrder::Load { request, .. } => Some(Report::Chunk(request, None)),
        SnapshotOrder::Append { .. } | SnapshotOrder::Remove { .. } | SnapshotOrder::Prune { .. } => None,
    }
}

/// The thread's own state.
struct Work {
    folder: PathBuf,
    /// Files that are being written.
    parts: BTreeMap<(usize, Height), SnapshotWriter>,
    /// The file that was read last: chunks are mostly asked for one after the other.
    open: Option<SnapshotFile>,
    /// What all files take, for the node's quota.
    bytes: Arc<AtomicU64>,
}

impl Work {
    fn run(&mut self, orders: &Receiver<SnapshotOrder>, reports: &mpsc::Sender<Report>) {
        while let Ok(order) = orders.recv() {
            let refused = refusal(&order);
            let is_read = matches!(order, SnapshotOrder::Load { .. });
            let report = self.follow(order).unwrap_or_else(|error| {
                tracing::warn!(%error, "a snapshot");
                refused
            });
            if !is_read {
                self.count();
            }
            // The other end is gone when the node stops.
            if report.is_some_and(|report| reports.blocking_send(report).is_err()) {
                return;
            }
        }
    }

    /// Counts what the files take: there are a few of them.
    fn count(&self) {
        match used_bytes(&self.folder) {
            Ok(bytes) => self.bytes.store(bytes, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the bytes of snapshots are not counted"),
        }
    }

    fn follow(&mut self, order: SnapshotOrder) -> Result<Option<Report>, SnapshotFileError> {
        match order {
            SnapshotOrder::Append {
                instance,
                height,
                chunk,
                bytes,
            } => self.append((instance, height), chunk, &bytes).map(|()| None),
            SnapshotOrder::Finish {
                instance,
                height,
                manifest,
            } => {
                let path = path(&self.folder, instance, height);
                let Some(part) = self.parts.remove(&(instance, height)) else {
                    return Err(missing(path));
                };
                part.finish(&path, &manifest)?;
                Ok(Some(Report::Written {
                    instance,
                    height,
                    ok: true,
                }))
            }
            SnapshotOrder::Remove { instance, height } => {
                let path = path(&self.folder, instance, height);
                self.parts.remove(&(instance, height));
                self.open.take_if(|open| open.path() == path);
                for path in [path.with_extension("part"), path] {
                    match fs::remove_file(&path) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(SnapshotFileError::io("remove", &path)(error));
                        }
                        _ => {}
                    }
                }
                Ok(None)
            }
            SnapshotOrder::Load {
                request,
                instance,
                height,
                chunk,
            } => {
                let bytes = self.load(&path(&self.folder, instance, height), chunk)?;
                Ok(Some(Report::Chunk(request, bytes)))
            }
            // The journal does that.
            SnapshotOrder::Prune { .. } => Ok(None),
        }
    }

    /// Writes the next chunk. A file that misses one is given up, and finishing it fails.
    fn append(&mut self, key: (usize, Height), chunk: usize, bytes: &Bytes) -> Result<(), SnapshotFileError> {
        let path = path(&self.folder, key.0, key.1);
        if chunk == 0 {
            self.parts.insert(key, SnapshotWriter::begin(&path)?);
        }
        let Some(mut part) = self.parts.remove(&key).filter(|part| part.chunks() == chunk) else {
            return Err(missing(path));
        };
        part.append(bytes)?;
        self.parts.insert(key, part);
        Ok(())
    }

    fn load(&mut self, path: &Path, chunk: usize) -> Result<Option<Bytes>, SnapshotFileError> {
        if self.open.as_ref().is_none_or(|open| open.path() != path) {
            self.open = Some(SnapshotFile::open(path)?);
        }
        self.open.as_ref().map_or(Ok(None), |open| open.chunk(chunk))
    }
}

fn missing(path: PathBuf) -> SnapshotFileError {
    let reason = "a chunk of it could not be written".to_owned();
    SnapshotFileError::Incomplete { path, reason }
}
