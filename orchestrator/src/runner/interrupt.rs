//! Reasons to end a run early; the first one counts.

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
            Self::NodeDied(text) | Self::NotHealed(text) => f.write_str(text),
        }
    }
}

/// Carries the first interrupt of a run to everybody who waits. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts {
    first: watch::Sender<Option<Interrupt>>,
}

impl Interrupts {
    /// No interrupt yet.
    pub(crate) fn new() -> Self {
        Self {
            first: watch::Sender::new(None),
        }
    }

    /// Interrupts the run; only the first time counts.
    pub(crate) fn raise(&self, interrupt: Interrupt) {
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(interrupt);
            }
            is_first
        });
    }

    /// The interrupt, when there was one.
    pub(crate) fn get(&self) -> Option<Interrupt> {
        self.first.borrow().clone()
    }

    /// Waits for the interrupt.
    pub(crate) async fn raised(&self) -> Interrupt {
        let mut receiver = self.first.subscribe();
        loop {
            if let Some(interrupt) = receiver.borrow_and_update().clone() {
                return interrupt;
            }
            if receiver.changed().await.is_err() {
                // This value holds a sender, so that the channel cannot close.
                std::future::pending::<()>().await;
            }
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
    fn only_signals_are_no_failure() {
        assert!(!Interrupt::Signal("SIGTERM".to_owned()).is_failure());
        assert!(Interrupt::Disk { used: 2, limit: 1 }.is_failure());
        assert!(Interrupt::Disk { used: 2, limit: 1 }.to_string().contains("disk quota"));
    }
}
