//! A process that was started: what it was started from, its state, and the orders that it takes.

use crate::{Exit, Foreign};
use std::{any::Any, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// What to start.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// Name for messages.
    pub name: String,
    /// What is executed.
    pub program: PathBuf,
    /// Kept as long as the process lives: the path of the program may be that of a descriptor in here.
    pub held: Option<Arc<dyn Any + Send + Sync>>,
    /// Where it runs; without it, where its starter does.
    pub folder: Option<PathBuf>,
    /// Arguments.
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Most bytes of the log.
    pub log_bytes_max: u64,
    /// What is different where it is a program of others.
    pub foreign: Option<Foreign>,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refused it.
    #[error("cannot start `{name}`: {error}\n  help: `regatta doctor` shows the limits of a machine")]
    Refused {
        /// The process.
        name: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The thread that starts processes is gone.
    #[error("cannot start `{0}`: everything is being stopped")]
    Stopping(String),
}

/// Where a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs; with the first line that it printed on stdout, when it did.
    Running(Option<String>),
    /// It ended.
    Ended(Exit),
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// End cleanly: stdin closes and SIGTERM is sent; SIGKILL after the grace period.
    Stop(Duration),
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

/// A process that was started. It is ended when the keeper that started it goes away.
#[derive(Debug, Clone)]
pub struct Process {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    pub(crate) state: watch::Receiver<State>,
}

impl Process {
    /// A process that is looked after elsewhere: whoever does so takes `orders` and keeps `state`.
    #[must_use]
    pub fn elsewhere(
        pid: u32,
        start_ticks: u64,
        orders: mpsc::UnboundedSender<Order>,
        state: watch::Receiver<State>,
    ) -> Self {
        Self {
            pid,
            start_ticks,
            orders,
            state,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its start time in clock ticks since boot.
    #[must_use]
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match &*self.state.borrow() {
            State::Ended(exit) => Some(exit.clone()),
            State::Running(_) => None,
        }
    }

    /// The first line that it printed on stdout, while it runs.
    #[must_use]
    pub fn announcement(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Running(line) => line.clone(),
            State::Ended(_) => None,
        }
    }

    /// Waits for the first line that it prints on stdout.
    ///
    /// # Errors
    /// How it ended, when it ended before.
    pub async fn announced(&self) -> Result<String, Exit> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Running(None))).await;
        match settled.as_deref() {
            Ok(State::Running(Some(line))) => Ok(line.clone()),
            Ok(State::Ended(exit)) => Err(exit.clone()),
            Ok(State::Running(None)) | Err(_) => Err(lost()),
        }
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> Exit {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| matches!(state, State::Ended(_))).await;
        match settled.as_deref() {
            Ok(State::Ended(exit)) => exit.clone(),
            _ => lost(),
        }
    }

    /// Ends it cleanly, or by force after `grace`. An ended process stays as it ended.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.order(Order::Stop(grace));
        self.ended().await
    }

    /// Kills it.
    pub async fn kill(&self) -> Exit {
        self.order(Order::Kill);
        self.ended().await
    }

    /// Stops it from running, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.order(if paused { Order::Pause } else { Order::Resume });
    }

    fn order(&self, order: Order) {
        // Nobody listens any more when the process has ended: there is nothing left to order.
        let _ = self.orders.send(order);
    }
}

/// The keeper is gone, and with it the process.
fn lost() -> Exit {
    Exit {
        code: None,
        signal: None,
        ordered: true,
        forced: true,
        starved: false,
        tail: Vec::new(),
    }
}
