//! Processes on this machine, each on a loopback address of its own.

use regatta_process::{Keeper, Process, ProcessSpec, StartError};
use std::io;

/// The local provider: no privilege, nothing to set up, nothing left behind.
#[derive(Debug)]
pub(crate) struct LocalProvider {
    keeper: Keeper,
}

impl LocalProvider {
    /// Starts the thread that keeps the processes.
    ///
    /// # Errors
    /// What the system said when it refused the thread.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            keeper: Keeper::start()?,
        })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`StartError`] when the system refuses it.
    pub(super) async fn start(&self, spec: ProcessSpec) -> Result<Process, StartError> {
        self.keeper.spawn(spec, None).await
    }
}
