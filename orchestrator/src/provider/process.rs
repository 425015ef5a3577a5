//! A process that the lab started: what it was started from, its state, and the orders that it takes.

use crate::seal::VerifiedProgram;
use std::{ffi::OsString, fmt, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct ProcessSpec {
    /// Name for messages.
    pub name: String,
    /// What is executed.
    pub program: PathBuf,
    /// Kept open as long as the process lives, since its path may be that of this descriptor.
    pub held: Option<Arc<VerifiedProgram>>,
    /// Arguments.
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Most bytes of the log.
    pub log_bytes_max: u64,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The system refused it.
    #[error("cannot start `{name}`: {error}\n  help: `regatta doctor` shows this machine's limits")]
    Refused {
        /// The process.
        name: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The thread that starts processes is gone.
    #[error("cannot start `{0}`: the lab is stopping")]
    Stopping(String),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code, when it ended by itself.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// Whether the lab had ordered it to end.
    pub ordered: bool,
    /// Whether it had to be killed after the grace period of a stop.
    pub forced: bool,
    /// The last lines of its output.
    pub tail: Vec<String>,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None) => f.write_str("ended for an unknown reason"),
        }
    }
}

/// Where a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It runs; with the first line that it printed on stdout, when it did.
    Running(Option<String>),
    /// It ended.
    Ended(Exit),
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// End cleanly: stdin closes and SIGTERM is sent; SIGKILL after the grace period.
    Stop(Duration),
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

/// A process that the lab started. It is ended when the provider that started it goes away.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) state: watch::Receiver<State>,
}

impl Process {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Its start time in clock ticks since boot.
    pub(crate) fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match &*self.state.borrow() {
            State::Ended(exit) => Some(exit.clone()),
            State::Running(_) => None,
        }
    }

    /// Waits for the first line that it prints on stdout.
    ///
    /// # Errors
    /// How it ended, when it ended before.
    pub(crate) async fn announced(&self) -> Result<String, Exit> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Running(None))).await;
        match settled.as_deref() {
            Ok(State::Running(Some(line))) => Ok(line.clone()),
            Ok(State::Ended(exit)) => Err(exit.clone()),
            Ok(State::Running(None)) | Err(_) => Err(lost()),
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) -> Exit {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| matches!(state, State::Ended(_))).await;
        match settled.as_deref() {
            Ok(State::Ended(exit)) => exit.clone(),
            _ => lost(),
        }
    }

    /// Ends it cleanly, or by force after `grace`. An ended process stays as it ended.
    pub(crate) async fn stop(&self, grace: Duration) -> Exit {
        self.order(Order::Stop(grace));
        self.ended().await
    }

    /// Kills it.
    pub(crate) async fn kill(&self) -> Exit {
        self.order(Order::Kill);
        self.ended().await
    }

    /// Stops it from running, or lets it go on.
    pub(crate) fn pause(&self, paused: bool) {
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
        tail: Vec::new(),
    }
}
