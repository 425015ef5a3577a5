//! Heavy work: small jobs at once, larger ones on threads that start when they are needed.

use rand::{
    SeedableRng as _, TryRng as _,
    rngs::{StdRng, SysRng},
};
use regatta_base::Keyring;
use regatta_core::{Job, JobId, JobResult};
use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};
use tokio::sync::mpsc;

/// Jobs that wait for a thread; beyond it the loop works itself, which slows down its input.
const QUEUE_MAX: usize = 64;
/// Most threads; one core is left to the loop.
const THREADS_MAX: usize = 4;

/// Jobs that wait for a thread. Consensus goes first: a vote that waits behind a megabyte of payload
/// makes every validator wait.
#[derive(Debug, Default)]
struct Queue {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    urgent: VecDeque<(JobId, Job)>,
    other: VecDeque<(JobId, Job)>,
    closed: bool,
}

impl Queue {
    /// Queues the job, or gives it back when too many wait.
    fn push(&self, id: JobId, job: Job) -> Option<Job> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.urgent.len() + lines.other.len() >= QUEUE_MAX {
            return Some(job);
        }
        if matches!(job, Job::Claims(_)) {
            lines.urgent.push_back((id, job));
        } else {
            lines.other.push_back((id, job));
        }
        self.changed.notify_one();
        None
    }

    /// Waits for the next job; `None` when the node stops.
    fn pop(&self) -> Option<(JobId, Job)> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if lines.closed {
                return None;
            }
            let Lines { urgent, other, .. } = &mut *lines;
            if let Some(next) = urgent.pop_front().or_else(|| other.pop_front()) {
                return Some(next);
            }
            lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

/// The worker threads of a node.
#[derive(Debug)]
pub(super) struct Workers {
    keys: Keyring,
    rng: StdRng,
    queue: Arc<Queue>,
    results: mpsc::Sender<(JobId, JobResult)>,
    threads: usize,
    threads_max: usize,
    under_way: usize,
}

impl Workers {
    /// Workers, and where their results come out.
    pub(super) fn new() -> Result<(Self, mpsc::Receiver<(JobId, JobResult)>), String> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // Room for the result of every job that may be under way, so that no thread waits for the loop.
        let (results, receiver) = mpsc::channel(QUEUE_MAX + THREADS_MAX);
        let workers = Self {
            keys: Keyring::default(),
            rng: new_rng()?,
            queue: Arc::default(),
            results,
            threads: 0,
            threads_max: cores.saturating_sub(1).clamp(1, THREADS_MAX),
            under_way: 0,
        };
        Ok((workers, receiver))
    }

    /// Does the job at once and returns its result, or gives it to a thread.
    pub(super) fn submit(&mut self, id: JobId, job: Job) -> Option<JobResult> {
        if job.weight() <= Job::INLINE_WEIGHT {
            return Some(job.run(&mut self.keys, &mut self.rng));
        }
        if self.threads < self.threads_max && self.under_way >= self.threads {
            self.start_thread();
        }
        if self.threads == 0 {
            return Some(job.run(&mut self.keys, &mut self.rng));
        }
        match self.queue.push(id, job) {
            None => {
                self.under_way += 1;
                None
            }
            Some(job) => Some(job.run(&mut self.keys, &mut self.rng)),
        }
    }

    /// A result has come out.
    pub(super) fn finished(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    fn start_thread(&mut self) {
        let (queue, results) = (Arc::clone(&self.queue), self.results.clone());
        let Ok(rng) = new_rng() else { return };
        let started = thread::Builder::new()
            .name("worker".to_owned())
            .spawn(move || work(&queue, &results, rng));
        match started {
            Ok(_) => self.threads += 1,
            Err(error) => tracing::warn!(%error, "cannot start a worker thread"),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A generator that nobody outside can predict: it weighs signatures in batches.
pub(super) fn new_rng() -> Result<StdRng, String> {
    let mut seed = <StdRng as rand::SeedableRng>::Seed::default();
    SysRng.try_fill_bytes(&mut seed).map_err(|error| error.to_string())?;
    Ok(StdRng::from_seed(seed))
}

fn work(queue: &Queue, results: &mpsc::Sender<(JobId, JobResult)>, mut rng: StdRng) {
    let mut keys = Keyring::default();
    while let Some((id, job)) = queue.pop() {
        // The other end is gone when the node stops.
        if results.blocking_send((id, job.run(&mut keys, &mut rng))).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use regatta_apps::{Domain, transaction};
    use regatta_base::SecretKey;

    /// Signed transactions, one of them for another chain.
    fn transactions(count: u64, bad: u64) -> Job {
        let domain = |chain: &str| Domain::new(&chain.parse().unwrap(), &"main".parse().unwrap());
        let (own, other) = (domain("own"), domain("other"));
        let sign = |number| {
            let domain = if number == bad { &other } else { &own };
            transaction::opaque(domain, &SecretKey::from_seed([3; 32]), number, b"payload")
        };
        let transactions: Vec<Bytes> = (1..=count).map(sign).collect();
        Job::Transactions {
            domain: own,
            transactions,
        }
    }

    fn valid(result: JobResult) -> Vec<bool> {
        match result {
            JobResult::Transactions(results) => results.iter().map(Result::is_ok).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_small_job_is_done_at_once() {
        let (mut workers, _results) = Workers::new().unwrap();
        let result = workers.submit(1, transactions(3, 2)).unwrap();
        assert_eq!(valid(result), [true, false, true]);
        assert_eq!(workers.threads, 0);
    }

    #[tokio::test]
    async fn larger_jobs_come_back_with_their_ids_however_many_there_are() {
        let (mut workers, mut results) = Workers::new().unwrap();
        let mut found = Vec::new();
        let jobs = QUEUE_MAX as u64 * 2;
        for id in 0..jobs {
            found.extend(
                workers
                    .submit(id, transactions(12, id % 12 + 1))
                    .map(|result| (id, result)),
            );
        }
        assert!((1..=workers.threads_max).contains(&workers.threads));
        while workers.under_way > 0 {
            found.push(results.recv().await.unwrap());
            workers.finished();
        }
        let mut ids: Vec<u64> = found.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..jobs).collect::<Vec<u64>>());
        for (id, result) in found {
            let expected: Vec<bool> = (0..12).map(|number| number != id % 12).collect();
            assert_eq!(valid(result), expected);
        }
    }

    #[test]
    fn consensus_overtakes_payload_and_a_full_queue_gives_the_job_back() {
        let queue = Queue::default();
        assert!(queue.push(1, transactions(1, 0)).is_none());
        assert!(queue.push(2, Job::Claims(Vec::new())).is_none());
        assert!(queue.push(3, transactions(1, 0)).is_none());
        let order: Vec<JobId> = (0..3).map(|_| queue.pop().unwrap().0).collect();
        assert_eq!(order, [2, 1, 3]);
        for id in 0..QUEUE_MAX as u64 {
            assert!(queue.push(id, Job::Claims(Vec::new())).is_none());
        }
        assert!(queue.push(99, Job::Claims(Vec::new())).is_some());
        queue.close();
        assert!(queue.pop().is_none());
    }
}
