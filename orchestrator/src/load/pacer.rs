//! The pacer: one thread that sleeps to the next absolute time and publishes how much is due.

use crate::load::{LoadError, RunClock, schedule::Schedule};
use regatta_report::model::NamedText;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};
use tokio::sync::Notify;

/// Timer slack of the pacer's thread in nanoseconds: the kernel may not delay its timers to batch wake-ups.
const SLACK_NS: u64 = 1;
/// Longest sleep, in nanoseconds: how long an order to stop may go unnoticed.
const SLEEP_NS_MAX: u64 = 100_000_000;

/// What pacer and sender share: a count and a bell, nothing that one could wait on for the other.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    due: AtomicUsize,
    stop: AtomicBool,
    over: AtomicBool,
    /// Rung when more is due, or when the pacer is over.
    pub(crate) bell: Notify,
}

impl Pace {
    /// How many transactions are due, from the first.
    pub(crate) fn due(&self) -> usize {
        self.due.load(Ordering::Acquire)
    }

    /// Whether nothing more will become due.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Whether all of a schedule of `count` transactions became due.
    pub(crate) fn is_complete(&self, count: usize) -> bool {
        self.due() == count
    }

    /// Orders the pacer to end the schedule here.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Starts the pacer: transaction i becomes due at `start_ns` plus its intended time.
///
/// # Errors
/// [`LoadError::Thread`]
pub(crate) fn start(
    load: u32,
    schedule: Schedule,
    clock: RunClock,
    start_ns: u64,
    pace: Arc<Pace>,
) -> Result<JoinHandle<Vec<NamedText>>, LoadError> {
    let body = move || {
        let disclosure = settle_in();
        run(&schedule, clock, start_ns, &pace);
        pace.over.store(true, Ordering::Release);
        pace.bell.notify_one();
        disclosure
    };
    thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(body)
        .map_err(|source| LoadError::Thread {
            load,
            thread: "pacer",
            source,
        })
}

/// Makes this thread's timers exact; says what it got.
fn settle_in() -> Vec<NamedText> {
    let slack = match nix::sys::prctl::set_timerslack(SLACK_NS) {
        Ok(()) => format!("{SLACK_NS} ns"),
        Err(error) => format!("the kernel's default ({error})"),
    };
    let text = |name: &str, value: String| NamedText {
        name: name.to_owned(),
        value,
    };
    vec![
        text("pacer timer slack", slack),
        text("pacer scheduling", "normal priority, absolute sleeps".to_owned()),
    ]
}

fn run(schedule: &Schedule, clock: RunClock, start_ns: u64, pace: &Pace) {
    let mut next = 0;
    while next < schedule.len() {
        let wake = start_ns + schedule.wake_ns(next);
        while clock.now_ns() < wake {
            if pace.stop.load(Ordering::Acquire) {
                return;
            }
            clock.sleep_until(wake.min(clock.now_ns() + SLEEP_NS_MAX));
        }
        if pace.stop.load(Ordering::Acquire) {
            return;
        }
        let elapsed = clock.now_ns() - start_ns;
        next += schedule.intended[next..].partition_point(|&at| at <= elapsed);
        pace.due.store(next, Ordering::Release);
        pace.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::spec;

    #[test]
    fn everything_becomes_due_and_nothing_early() {
        let schedule = Schedule::new(&spec(20_000.0, 50)).unwrap();
        let (clock, pace) = (RunClock::start(), Arc::new(Pace::default()));
        let handle = start(0, schedule.clone(), clock, 0, Arc::clone(&pace)).unwrap();
        while !pace.is_over() {
            let due = pace.due();
            let now = clock.now_ns();
            // Read the count before the clock: what was due then is due by now.
            assert!(due == 0 || schedule.intended[due - 1] <= now);
            thread::yield_now();
        }
        assert_eq!(pace.due(), schedule.len());
        assert_eq!(handle.join().unwrap().len(), 2);
    }

    #[test]
    fn a_stopped_pacer_ends_without_the_rest() {
        let schedule = Schedule::new(&spec(10.0, 3_600_000)).unwrap();
        let (clock, pace) = (RunClock::start(), Arc::new(Pace::default()));
        let handle = start(0, schedule.clone(), clock, 0, Arc::clone(&pace)).unwrap();
        pace.stop();
        handle.join().unwrap();
        assert!(pace.is_over() && pace.due() < schedule.len());
    }
}
