//! Ctrl-C and its relatives: the first one ends a run cleanly, the second one at once.

use crate::runner::{Interrupt, Interrupts};
use anstream::eprintln;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a program to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }

    /// Interrupts a run with the first signal and completes with the second one.
    pub(super) async fn interrupt_twice(&mut self, interrupts: &Interrupts) -> &'static str {
        self.interrupt_twice_saying(interrupts, &|text| eprintln!("{text}"))
            .await
    }

    /// The same where `say` says on the way what happens.
    pub(super) async fn interrupt_twice_saying(&mut self, interrupts: &Interrupts, say: &dyn Fn(&str)) -> &'static str {
        let first = self.next().await;
        say(&format!("{first}: ending the run cleanly; once more to end it at once"));
        interrupts.raise(Interrupt::Signal(first.to_owned()));
        self.next().await
    }
}
