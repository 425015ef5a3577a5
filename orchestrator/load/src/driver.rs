//! From a specification to an outcome: prepare, connect, start, drain.

use crate::{
    LoadError, LoadOutcome, LoadProgress, LoadSpec,
    builders::Supply,
    engine::{self, Engine},
    pacer::{Pace, Pacer},
    recipe::Recipe,
    schedule::Schedule,
};
use regatta_report::model::NamedText;
use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// How far the preparation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareProgress {
    /// Transactions that are built and signed.
    pub built: usize,
    /// Transactions of the whole schedule; what does not fit in memory is built during the run.
    pub total: usize,
}

/// A load whose transactions are built, as far as memory allows.
#[derive(Debug)]
pub struct Prepared {
    spec: LoadSpec,
    schedule: Schedule,
    recipe: Arc<Recipe>,
    supply: Supply,
    disclosure: Vec<NamedText>,
}

/// A load that is subscribed to all its targets and waits for its start.
#[derive(Debug)]
pub struct Connected {
    handle: LoadHandle,
    start: oneshot::Sender<u64>,
    pacer: Pacer,
}

/// A running load. Dropping it ends the load without an outcome.
#[derive(Debug)]
pub struct LoadHandle {
    load: u32,
    pace: Arc<Pace>,
    drain: watch::Sender<Option<Duration>>,
    progress: Arc<Mutex<LoadProgress>>,
    scheduled: watch::Receiver<bool>,
    outcome: oneshot::Receiver<Box<LoadOutcome>>,
    pacer: Option<JoinHandle<Vec<NamedText>>>,
}

/// Builds and signs the transactions of `spec` ahead of the run, within its bound of memory.
///
/// `progress` is called after each few hundred transactions.
///
/// # Errors
/// [`LoadError`] when the load cannot be built.
pub async fn prepare(spec: LoadSpec, mut progress: impl FnMut(PrepareProgress)) -> Result<Prepared, LoadError> {
    let began_ns = spec.clock.now_ns();
    let schedule = Schedule::new(&spec)?;
    let recipe = Arc::new(Recipe::new(&spec, schedule.count(), schedule.run)?);
    let supply = Supply::start(spec.load.index, &recipe, spec.limits.prepared_bytes)?;
    let built = |supply: &Supply| supply.built().transactions.load(Ordering::Relaxed);
    while !supply.is_settled() {
        supply.built().changed.notified().await;
        progress(PrepareProgress {
            built: built(&supply),
            total: recipe.count(),
        });
    }
    let text = |name: &str, value: String| NamedText {
        name: name.to_owned(),
        value,
    };
    let seconds = (spec.clock.now_ns() - began_ns) as f64 / 1e9;
    let disclosure = vec![
        text(
            "transactions built before the run",
            format!("{} of {} in {seconds:.2} s", built(&supply), recipe.count()),
        ),
        text(
            "pacing",
            format!(
                "runs of {} to one target, at most {} us apart",
                schedule.run,
                schedule.tick_ns / 1000
            ),
        ),
    ];
    Ok(Prepared {
        spec,
        schedule,
        recipe,
        supply,
        disclosure,
    })
}

impl Prepared {
    /// Number of transactions of the schedule.
    #[must_use]
    pub fn count(&self) -> usize {
        self.schedule.count()
    }

    /// Starts the sender's thread and subscribes to the statuses of every target.
    ///
    /// # Errors
    /// [`LoadError::Subscribe`] names the first target that does not answer; [`LoadError::Thread`].
    pub async fn connect(self) -> Result<Connected, LoadError> {
        let load = self.spec.load.index;
        let pace = Arc::new(Pace::default());
        let progress = Arc::new(Mutex::new(LoadProgress::default()));
        let (drain, orders) = watch::channel(None);
        let (scheduled_tell, scheduled) = watch::channel(false);
        let (ready_tell, ready) = oneshot::channel();
        let (start, start_at) = oneshot::channel();
        let (outcome_tell, outcome) = oneshot::channel();
        let (spec, schedule) = (&self.spec, self.schedule.clone());
        let pacer = Pacer::new(load, schedule, spec.clock, Arc::clone(&pace), spec.limits.real_time)?;
        let engine = Engine {
            spec: self.spec,
            schedule: self.schedule,
            recipe: self.recipe,
            supply: self.supply,
            pace: Arc::clone(&pace),
            orders,
            progress: Arc::clone(&progress),
            scheduled: scheduled_tell,
            disclosure: self.disclosure,
        };
        thread::Builder::new()
            .name(format!("load-{load}"))
            .spawn(move || engine::run_thread(engine, ready_tell, start_at, outcome_tell))
            .map_err(|source| LoadError::Thread {
                load,
                thread: "sender",
                source,
            })?;
        ready.await.map_err(|_| LoadError::Ended { load, thread: "sender" })??;
        Ok(Connected {
            handle: LoadHandle {
                load,
                pace,
                drain,
                progress,
                scheduled,
                outcome,
                pacer: None,
            },
            start,
            pacer,
        })
    }
}

impl Connected {
    /// Starts the pacer: the schedule's first instant is `start_ns` on the run's clock.
    ///
    /// # Errors
    /// [`LoadError::Ended`] when the sender's thread is gone.
    pub fn start(mut self, start_ns: u64) -> Result<LoadHandle, LoadError> {
        let load = self.handle.load;
        let ended = LoadError::Ended { load, thread: "sender" };
        self.start.send(start_ns).map_err(|_| ended)?;
        self.handle.pacer = Some(self.pacer.start(start_ns));
        Ok(self.handle)
    }
}

impl LoadHandle {
    /// Position of the load in the plan.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.load
    }

    /// How the load goes; a fifth of a second old at most.
    #[must_use]
    pub fn progress(&self) -> LoadProgress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when every transaction of the schedule was handed over, or the load has ended.
    pub async fn scheduled(&mut self) {
        let _ = self.scheduled.wait_for(|&scheduled| scheduled).await;
    }

    /// Ends the schedule here: what is not due yet counts as not sent.
    pub fn stop(&self) {
        self.pace.stop();
    }

    /// Waits until every transaction has an end, at most `limit` after the schedule's end; then reads the
    /// blocks for those whose status was missed, and closes the books.
    ///
    /// # Errors
    /// [`LoadError::Ended`] when a thread of the generator died.
    pub async fn drain(mut self, limit: Duration) -> Result<LoadOutcome, LoadError> {
        let ended = |thread| LoadError::Ended {
            load: self.load,
            thread,
        };
        let _ = self.drain.send(Some(limit));
        let outcome = (&mut self.outcome).await;
        let mut outcome = outcome.map_err(|_| ended("sender"))?;
        if let Some(pacer) = self.pacer.take() {
            // The sender ends after the pacer, so that this does not wait.
            let lines = pacer.join().map_err(|_| ended("pacer"))?;
            outcome.disclosure.extend(lines);
        }
        Ok(*outcome)
    }
}

impl Drop for LoadHandle {
    fn drop(&mut self) {
        self.pace.stop();
    }
}
