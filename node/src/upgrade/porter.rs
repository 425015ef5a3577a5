//! The thread that judges releases and carries pieces between disk, core and clients.

use super::{Depot, UpgradeError};
use bytes::Bytes;
use regatta_api::view::{ReleaseFailure, ReleaseTaken};
use regatta_base::Digest;
use regatta_core::{ReleaseOrder, ReleaseReport};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};

/// Errands that wait; more are refused. Pieces wait with their bytes.
const ERRANDS_MAX: usize = 64;
/// Reports that wait for the loop.
const REPORTS_MAX: usize = 64;

/// What the thread tells the loop.
pub type Reports = mpsc::Receiver<ReleaseReport>;

/// How far a node is, as far as its folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Number of the last accepted release.
    pub number: u64,
    /// The least sequence of a build that is accepted.
    pub sequence_min: u64,
    /// The last release that was tried in vain.
    pub failure: Option<ReleaseFailure>,
}

/// What the thread is asked to do.
enum Errand {
    Order(ReleaseOrder),
    Offer(Bytes, oneshot::Sender<Result<ReleaseTaken, UpgradeError>>),
    Bring(Digest, u32, Bytes, oneshot::Sender<Result<(), UpgradeError>>),
    CaughtUp,
    End,
}

/// The ends of the thread that the rest of the process holds; clones share it.
#[derive(Debug, Clone)]
pub struct Porter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    errands: SyncSender<Errand>,
    standing: Arc<Mutex<Standing>>,
}

/// The thread itself: whoever holds this ends it, so that the folder is free for what comes next.
#[derive(Debug)]
pub struct Thread {
    errands: SyncSender<Errand>,
    handle: JoinHandle<Depot>,
}

impl Thread {
    /// Ends the thread once what waits for it is done, and gives its folder back. Blocks meanwhile.
    #[must_use]
    pub fn end(self) -> Option<Depot> {
        // It has ended already when this fails. A panic of the thread has been printed where it happened.
        let _ = self.errands.send(Errand::End);
        self.handle.join().ok()
    }
}

impl Porter {
    /// Starts the thread; the first report is what is on the disk already.
    ///
    /// # Errors
    /// [`UpgradeError::Io`] when there can be no thread.
    pub fn start(depot: Depot) -> Result<(Self, Reports, Thread), UpgradeError> {
        let (errands, receiver) = sync_channel(ERRANDS_MAX);
        let (reports, results) = mpsc::channel(REPORTS_MAX);
        let standing = Arc::new(Mutex::new(Standing::default()));
        let mut work = Work {
            depot,
            reports,
            standing: Arc::clone(&standing),
        };
        let thread = std::thread::Builder::new()
            .name("releases".to_owned())
            .spawn(move || {
                work.run(&receiver);
                work.depot
            })
            .map_err(UpgradeError::io("start the thread for", "releases"))?;
        let thread = Thread {
            errands: errands.clone(),
            handle: thread,
        };
        Ok((Self(Arc::new(Inner { errands, standing })), results, thread))
    }

    /// Hands an order of the core on; gives the answer back when too many wait.
    pub fn order(&self, order: ReleaseOrder) -> Option<ReleaseReport> {
        let refused = refusal(&order);
        let sent = self.0.errands.try_send(Errand::Order(order));
        refused.filter(|_| sent.is_err())
    }

    /// A client brings a release.
    ///
    /// # Errors
    /// [`UpgradeError`] says why it is not followed.
    pub async fn offer(&self, document: Bytes) -> Result<ReleaseTaken, UpgradeError> {
        let (answer, result) = oneshot::channel();
        self.errand(Errand::Offer(document, answer))?;
        result.await.map_err(|_| UpgradeError::Busy)?
    }

    /// A client brings a piece of the program.
    ///
    /// # Errors
    /// [`UpgradeError`] says why it is not taken.
    pub async fn bring(&self, artifact: Digest, chunk: u32, bytes: Bytes) -> Result<(), UpgradeError> {
        let (answer, result) = oneshot::channel();
        self.errand(Errand::Bring(artifact, chunk, bytes, answer))?;
        result.await.map_err(|_| UpgradeError::Busy)?
    }

    /// The running program has caught up.
    ///
    /// # Errors
    /// [`UpgradeError::Busy`] when it has to be said again.
    pub fn caught_up(&self) -> Result<(), UpgradeError> {
        self.errand(Errand::CaughtUp)
    }

    /// How far the node is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn errand(&self, errand: Errand) -> Result<(), UpgradeError> {
        self.0.errands.try_send(errand).map_err(|_| UpgradeError::Busy)
    }
}

/// The answer to an order that cannot be followed.
fn refusal(order: &ReleaseOrder) -> Option<ReleaseReport> {
    match *order {
        ReleaseOrder::Judge { from, .. } => Some(ReleaseReport::Refused {
            from,
            reason: UpgradeError::Busy.to_string(),
        }),
        ReleaseOrder::Store { artifact, chunk, .. } => Some(ReleaseReport::Stored {
            artifact,
            chunk,
            ok: false,
        }),
        ReleaseOrder::Load { request, .. } => Some(ReleaseReport::Chunk(request, None)),
        ReleaseOrder::Switch { .. } => None,
    }
}

/// The thread's own state.
struct Work {
    depot: Depot,
    reports: mpsc::Sender<ReleaseReport>,
    standing: Arc<Mutex<Standing>>,
}

impl Work {
    fn run(&mut self, errands: &Receiver<Errand>) {
        self.note();
        self.tell_release();
        while let Ok(errand) = errands.recv() {
            match errand {
                Errand::Order(order) => self.follow(order),
                Errand::Offer(document, answer) => {
                    let result = self.offer(&document);
                    // A client that has gone away is no error.
                    let _ = answer.send(result);
                }
                Errand::Bring(artifact, chunk, bytes, answer) => {
                    let _ = answer.send(self.store(artifact, chunk, &bytes));
                }
                Errand::CaughtUp => self.caught_up(),
                Errand::End => return,
            }
            self.note();
        }
    }

    fn note(&self) {
        let state = self.depot.state();
        let standing = Standing {
            number: state.history.number,
            sequence_min: state.history.sequence_min,
            failure: state.failures.last().cloned(),
        };
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    fn report(&self, report: ReleaseReport) {
        // The other end is gone when the node stops.
        let _ = self.reports.blocking_send(report);
    }

    /// Tells the core which release is followed, and completes one of which every piece is there.
    fn tell_release(&mut self) {
        let Some((facts, held)) = self.depot.known() else {
            return;
        };
        let is_to_complete = !facts.settled && held.iter().all(|held| *held);
        let artifact = facts.artifact;
        let facts = Box::new(facts);
        self.report(ReleaseReport::Accepted { facts, held });
        if is_to_complete {
            self.complete(artifact);
        }
    }

    fn offer(&mut self, document: &Bytes) -> Result<ReleaseTaken, UpgradeError> {
        let is_news = self.depot.offer(document).inspect_err(|error| {
            tracing::warn!(%error, "a release is refused");
        })?;
        if is_news {
            self.tell_release();
        }
        self.depot.taken().ok_or(UpgradeError::Busy)
    }

    fn follow(&mut self, order: ReleaseOrder) {
        match order {
            ReleaseOrder::Judge { from, document } => {
                if let Err(error) = self.offer(&document) {
                    let reason = error.to_string();
                    self.report(ReleaseReport::Refused { from, reason });
                }
            }
            ReleaseOrder::Store { artifact, chunk, bytes } => {
                if let Err(error) = self.store(artifact, chunk, &bytes) {
                    tracing::warn!(%error, "a piece of a program is not kept");
                    let ok = false;
                    self.report(ReleaseReport::Stored { artifact, chunk, ok });
                }
            }
            ReleaseOrder::Load {
                request,
                artifact,
                chunk,
            } => {
                let loaded = self.depot.load(artifact, chunk).unwrap_or_else(|error| {
                    tracing::warn!(%error, "a piece of a program cannot be read");
                    None
                });
                self.report(ReleaseReport::Chunk(request, loaded));
            }
            // The loop does that.
            ReleaseOrder::Switch { .. } => {}
        }
    }

    fn store(&mut self, artifact: Digest, chunk: u32, bytes: &[u8]) -> Result<(), UpgradeError> {
        let is_whole = self.depot.store(artifact, chunk, bytes)?;
        let ok = true;
        self.report(ReleaseReport::Stored { artifact, chunk, ok });
        if is_whole {
            self.complete(artifact);
        }
        Ok(())
    }

    fn complete(&mut self, artifact: Digest) {
        let result = self.depot.complete();
        let ok = result.is_ok();
        if let Err(error) = result {
            tracing::warn!(%error, "a released program is not switched to");
            let number = self.depot.state().history.number;
            self.change(|state| state.fail(number, &error.to_string()));
        }
        self.report(ReleaseReport::Complete { artifact, ok });
    }

    fn caught_up(&mut self) {
        if self.depot.state().starts > 0 {
            self.change(|state| state.starts = 0);
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut super::State)) {
        if let Err(error) = self.depot.change(change) {
            tracing::warn!(%error, "the state of upgrades");
        }
    }
}
