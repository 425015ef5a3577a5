//! The verbs of a load, wherever its generator runs.

use crate::{LoadError, LoadOutcome, LoadProgress, LoadSpec, PrepareProgress, driver, remote};
use std::time::Duration;

/// A load whose transactions are built, as far as memory allows.
#[derive(Debug)]
pub enum Prepared {
    /// In this process.
    Here(Box<driver::Prepared>),
    /// On a host.
    There(remote::RemotePrepared),
}

/// A load that is subscribed to all its targets and waits for its start.
#[derive(Debug)]
pub enum Connected {
    /// In this process.
    Here(Box<driver::Connected>),
    /// On a host.
    There(remote::RemoteConnected),
}

/// A running load. Dropping it ends the load without an outcome.
#[derive(Debug)]
pub enum LoadHandle {
    /// In this process.
    Here(Box<driver::LoadHandle>),
    /// On a host.
    There(Box<remote::RemoteHandle>),
}

/// Builds and signs the transactions of `spec` in this process ahead of the run, within its bound of memory.
///
/// `progress` is called after each few hundred transactions.
///
/// # Errors
/// [`LoadError`] when the load cannot be built.
pub async fn prepare(spec: LoadSpec, progress: impl FnMut(PrepareProgress)) -> Result<Prepared, LoadError> {
    Ok(Prepared::Here(Box::new(driver::prepare(spec, progress).await?)))
}

impl Prepared {
    /// Number of transactions of the schedule.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Here(prepared) => prepared.count(),
            Self::There(prepared) => prepared.count(),
        }
    }

    /// Subscribes to the statuses of every target.
    ///
    /// # Errors
    /// [`LoadError`] names the first target that does not answer.
    pub async fn connect(self) -> Result<Connected, LoadError> {
        Ok(match self {
            Self::Here(prepared) => Connected::Here(Box::new(prepared.connect().await?)),
            Self::There(prepared) => Connected::There(prepared.connect().await?),
        })
    }
}

impl Connected {
    /// Starts the pacer: the schedule's first instant is `start_ns` on the run's clock.
    ///
    /// # Errors
    /// [`LoadError`] when the generator is gone.
    pub fn start(self, start_ns: u64) -> Result<LoadHandle, LoadError> {
        Ok(match self {
            Self::Here(connected) => LoadHandle::Here(Box::new(connected.start(start_ns)?)),
            Self::There(connected) => LoadHandle::There(Box::new(connected.start(start_ns)?)),
        })
    }
}

impl LoadHandle {
    /// Position of the load in the plan.
    #[must_use]
    pub fn load(&self) -> u32 {
        match self {
            Self::Here(handle) => handle.load(),
            Self::There(handle) => handle.load(),
        }
    }

    /// How the load goes; half a second old at most.
    #[must_use]
    pub fn progress(&self) -> LoadProgress {
        match self {
            Self::Here(handle) => handle.progress(),
            Self::There(handle) => handle.progress(),
        }
    }

    /// Returns when every transaction of the schedule was handed over, or the load has ended.
    pub async fn scheduled(&mut self) {
        match self {
            Self::Here(handle) => handle.scheduled().await,
            Self::There(handle) => handle.scheduled().await,
        }
    }

    /// Ends the schedule here: what is not due yet counts as not sent.
    pub fn stop(&self) {
        match self {
            Self::Here(handle) => handle.stop(),
            Self::There(handle) => handle.stop(),
        }
    }

    /// Waits until every transaction has an end, at most `limit` after the schedule's end; then reads the
    /// blocks for those whose status was missed, and closes the books.
    ///
    /// # Errors
    /// [`LoadError`] when a part of the generator died, or its host.
    pub async fn drain(self, limit: Duration) -> Result<LoadOutcome, LoadError> {
        match self {
            Self::Here(handle) => handle.drain(limit).await,
            Self::There(handle) => handle.drain(limit).await,
        }
    }
}
