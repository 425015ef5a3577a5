//! The pacer: one thread that sleeps to the next absolute time and publishes how much is due.

use crate::{LoadError, RunClock, priority, schedule::Schedule};
use regatta_report::model::NamedText;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};
use tokio::sync::Notify;

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

/// The pacer's thread, which waits for its start.
#[derive(Debug)]
pub(crate) struct Pacer {
    start: mpsc::SyncSender<u64>,
    thread: JoinHandle<Vec<NamedText>>,
}

impl Pacer {
    /// Starts the thread and settles it, well before its first deadline. It ends when the pacer is dropped unstarted.
    ///
    /// # Errors
    /// [`LoadError::Thread`]
    pub(crate) fn new(
        load: u32,
        schedule: Schedule,
        clock: RunClock,
        pace: Arc<Pace>,
        real_time: bool,
    ) -> Result<Self, LoadError> {
        let (start, started) = mpsc::sync_channel(1);
        let body = move || {
            let disclosure = priority::settle("pacer", real_time);
            if let Ok(start_ns) = started.recv() {
                run(&schedule, clock, start_ns, &pace);
            }
            pace.over.store(true, Ordering::Release);
            pace.bell.notify_one();
            disclosure
        };
        let thread = thread::Builder::new().name("pacer".to_owned()).spawn(body);
        let failed = |source| LoadError::Thread {
            load,
            thread: "pacer",
            source,
        };
        Ok(Self {
            start,
            thread: thread.map_err(failed)?,
        })
    }

    /// Transaction i becomes due at `start_ns` plus its intended time. The thread's result is how it was scheduled.
    pub(crate) fn start(self, start_ns: u64) -> JoinHandle<Vec<NamedText>> {
        // A thread that is gone shows when it is joined.
        let _ = self.start.send(start_ns);
        self.thread
    }
}

fn run(schedule: &Schedule, clock: RunClock, start_ns: u64, pace: &Pace) {
    let mut next = 0;
    while next < schedule.count() {
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
    use crate::tests::spec;

    #[test]
    fn everything_becomes_due_and_nothing_early() {
        let schedule = Schedule::new(&spec(20_000.0, 50)).unwrap();
        let (clock, pace) = (RunClock::start(), Arc::new(Pace::default()));
        let pacer = Pacer::new(0, schedule.clone(), clock, Arc::clone(&pace), false).unwrap();
        let handle = pacer.start(0);
        while !pace.is_over() {
            let due = pace.due();
            let now = clock.now_ns();
            // Read the count before the clock: what was due then is due by now.
            assert!(due == 0 || schedule.intended[due - 1] <= now);
            thread::yield_now();
        }
        assert_eq!(pace.due(), schedule.count());
        assert_eq!(handle.join().unwrap().len(), 2);
    }

    #[test]
    fn a_pacer_that_is_dropped_unstarted_ends() {
        let schedule = Schedule::new(&spec(10.0, 100)).unwrap();
        let pace = Arc::new(Pace::default());
        drop(Pacer::new(0, schedule, RunClock::start(), Arc::clone(&pace), false).unwrap());
        while !pace.is_over() {
            thread::yield_now();
        }
        assert_eq!(pace.due(), 0);
    }

    #[test]
    fn a_stopped_pacer_ends_without_the_rest() {
        let schedule = Schedule::new(&spec(10.0, 3_600_000)).unwrap();
        let (clock, pace) = (RunClock::start(), Arc::new(Pace::default()));
        let pacer = Pacer::new(0, schedule.clone(), clock, Arc::clone(&pace), false).unwrap();
        let handle = pacer.start(0);
        pace.stop();
        handle.join().unwrap();
        assert!(pace.is_over() && pace.due() < schedule.count());
    }
}
