//! Reasons to end a run early; the first one counts.

use crate::memory::Shortage;
use regatta_report::format;
use std::fmt;
use tokio::sync::watch;

/// Why a run ends before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Somebody asked for it, with the name of the signal.
    Signal(String),
    /// The run took as long as it may.
    Wall {
        /// The limit in seconds.
        limit_s: u64,
    },
    /// The run's folder is as large as it may be.
    Disk {
        /// Bytes in the folder.
        used: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Less memory is left than is to stay.
    Memory(Box<Shortage>),
    /// A node ended by itself.
    NodeDied(String),
    /// A fault could not be undone.
    NotHealed(String),
}

impl Interrupt {
    /// Whether the run could not be carried out, rather than being ended on purpose.
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, Self::Signal(_))
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => write!(f, "interrupted by {name}"),
            Self::Wall { limit_s } => write!(f, "the run's time budget of {limit_s} s is used up (budget.wall)"),
            Self::Disk { used, limit } => write!(
                f,
                "disk quota reached: the run's folder holds {}, {} are allowed (budget.disk)",
                format::bytes(*used as f64),
                format::bytes(*limit as f64)
            ),
            Self::Memory(shortage) => shortage.fmt(f),
            Self::NodeDied(text) | Self::NotHealed(text) => f.write_str(text),
        }
    }
}

/// Carries the first interrupt of a run to everybody who waits, and a shortage of memory also when it is not the first.
/// Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts {
    first: watch::Sender<Option<Interrupt>>,
    shortage: watch::Sender<Option<Interrupt>>,
}

impl Interrupts {
    /// No interrupt yet.
    pub(crate) fn new() -> Self {
        Self {
            first: watch::Sender::new(None),
            shortage: watch::Sender::new(None),
        }
    }

    /// Interrupts the run; only the first time counts, and the first shortage of memory.
    pub(crate) fn raise(&self, interrupt: Interrupt) {
        if matches!(interrupt, Interrupt::Memory(_)) {
            put_first(&self.shortage, interrupt.clone());
        }
        put_first(&self.first, interrupt);
    }

    /// The interrupt, when there was one.
    pub(crate) fn get(&self) -> Option<Interrupt> {
        self.first.borrow().clone()
    }

    /// The shortage of memory, when there was one.
    pub(crate) fn shortage(&self) -> Option<Interrupt> {
        self.shortage.borrow().clone()
    }

    /// Waits for the interrupt.
    pub(crate) async fn raised(&self) -> Interrupt {
        wait(&self.first).await
    }

    /// Waits for a shortage of memory.
    pub(crate) async fn short_of_memory(&self) -> Interrupt {
        wait(&self.shortage).await
    }
}

fn put_first(place: &watch::Sender<Option<Interrupt>>, interrupt: Interrupt) {
    place.send_if_modified(|first| {
        let is_first = first.is_none();
        if is_first {
            *first = Some(interrupt);
        }
        is_first
    });
}

async fn wait(place: &watch::Sender<Option<Interrupt>>) -> Interrupt {
    let mut receiver = place.subscribe();
    loop {
        if let Some(interrupt) = receiver.borrow_and_update().clone() {
            return interrupt;
        }
        if receiver.changed().await.is_err() {
            // Whoever waits holds a sender, so that the channel cannot close.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;

    #[test]
    fn the_first_interrupt_counts_and_reaches_everybody() {
        let interrupts = Interrupts::new();
        assert_eq!(interrupts.get(), None);
        let other = interrupts.clone();
        block_on(async move {
            let (seen, ()) = tokio::join!(other.raised(), async {
                interrupts.raise(Interrupt::Signal("SIGINT".to_owned()));
                interrupts.raise(Interrupt::Wall { limit_s: 3 });
            });
            assert_eq!(seen, Interrupt::Signal("SIGINT".to_owned()));
            assert_eq!(interrupts.raised().await, seen);
        });
    }

    #[test]
    fn a_shortage_of_memory_counts_also_when_it_comes_second() {
        let interrupts = Interrupts::new();
        interrupts.raise(Interrupt::Signal("SIGINT".to_owned()));
        assert_eq!(interrupts.shortage(), None);
        let short = Interrupt::Memory(Box::new(Shortage::of_everything()));
        interrupts.raise(short.clone());
        interrupts.raise(Interrupt::Wall { limit_s: 3 });
        assert_eq!(interrupts.get(), Some(Interrupt::Signal("SIGINT".to_owned())));
        assert_eq!(block_on(interrupts.short_of_memory()), short);
        assert!(short.is_failure() && short.to_string().contains("memory is nearly gone"));
    }

    #[test]
    fn only_signals_are_no_failure() {
        assert!(!Interrupt::Signal("SIGTERM".to_owned()).is_failure());
        assert!(Interrupt::Disk { used: 2, limit: 1 }.is_failure());
        assert!(Interrupt::Disk { used: 2, limit: 1 }.to_string().contains("disk quota"));
    }
}
