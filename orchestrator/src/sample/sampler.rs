//! The sampler's thread and its handle.

use crate::{
    load::RunClock,
    sample::{
        Elsewhere, HostSample, SampleError, SampleOutcome, SamplerConfig, Watched,
        metrics::{self, Reading},
        registry::Registry,
        writer::{ProcessLine, SampleFiles},
    },
};
use futures::future::join_all;
use regatta_client::Client;
use regatta_process::{HostSampler, Usage};
use regatta_report::model::{ProcessKind, Sample};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};

/// Private memory is read every so many rounds: it walks the page tables of the process.
const PRIVATE_EVERY: u64 = 10;
/// Most host samples kept: a day at one a second.
const HOST_SAMPLES_MAX: usize = 86_400;
/// Most orders that wait for the thread.
const ORDERS_MAX: usize = 64;

/// What the thread is asked for.
enum Order {
    /// A round, now.
    Round(oneshot::Sender<()>),
    /// A last round, and everything.
    Finish(oneshot::Sender<SampleOutcome>),
}

/// Samples processes and host until it is finished or dropped.
#[derive(Debug)]
pub struct Sampler {
    registry: Arc<Mutex<Registry>>,
    /// Nodes are looked at.
    begun: Arc<AtomicBool>,
    orders: mpsc::Sender<Order>,
}

/// What the thread owns.
struct Worker {
    clock: RunClock,
    registry: Arc<Mutex<Registry>>,
    begun: Arc<AtomicBool>,
    /// One for each node that was asked: a connection a look would cost more than the answer.
    clients: BTreeMap<SocketAddr, Client>,
    files: SampleFiles,
    host: HostSampler,
    host_samples: Vec<HostSample>,
    rounds: u64,
    elsewhere: Elsewhere,
}

fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sampler {
    /// Starts the thread. Files are added to when they are there.
    ///
    /// # Errors
    /// [`SampleError`]
    pub fn start(config: SamplerConfig) -> Result<Self, SampleError> {
        let SamplerConfig {
            clock,
            folder,
            interval,
            bytes_max,
            elsewhere,
        } = config;
        let registry = Arc::new(Mutex::new(Registry::default()));
        let begun = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            clock,
            registry: Arc::clone(&registry),
            begun: Arc::clone(&begun),
            clients: BTreeMap::new(),
            files: SampleFiles::create(&folder, bytes_max)?,
            host: HostSampler::new(),
            host_samples: Vec::new(),
            rounds: 0,
            elsewhere,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(SampleError::Thread)?;
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || runtime.block_on(worker.run(interval, inbox)))
            .map_err(SampleError::Thread)?;
        Ok(Self {
            registry,
            begun,
            orders,
        })
    }

    /// Looks at nodes from now on, and at once. Before, only at everything else: while nodes start, a look at each of
    /// them every second would cost a thousand of them a third of two processors.
    pub fn begin(&self) {
        if !self.begun.swap(true, Ordering::Relaxed) {
            // With too many orders in its way, the next round is soon enough.
            let _ = self.orders.try_send(Order::Round(oneshot::channel().0));
        }
    }

    /// Samples `watched` from now on. The same name again means that it was restarted.
    pub fn watch(&self, watched: Watched) {
        lock(&self.registry).watch(watched);
    }

    /// The process called `name` is gone; `exit` says how when that was not by the lab's order.
    pub fn ended(&self, name: &str, exit: Option<String>) {
        lock(&self.registry).ended(name, exit);
    }

    /// The last sample of each process.
    #[must_use]
    pub fn latest(&self) -> Vec<(String, Sample)> {
        lock(&self.registry).latest()
    }

    /// Samples now, so that little is missed of a process that is about to be stopped.
    pub async fn round(&self) {
        let (done, wait) = oneshot::channel();
        if self.orders.send(Order::Round(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// Takes a last round and gives back everything.
    pub async fn finish(self) -> SampleOutcome {
        let (done, wait) = oneshot::channel();
        // A thread that died leaves what it had entered.
        match self.orders.send(Order::Finish(done)).await {
            Ok(()) => wait.await.unwrap_or_default(),
            Err(_) => SampleOutcome::default(),
        }
    }
}

impl Worker {
    async fn run(mut self, every: Duration, mut inbox: mpsc::Receiver<Order>) {
        let mut ticks = interval(every);
        // A round that was late is not made up for: its samples would say the same.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.round(false).await,
                order = inbox.recv() => match order {
                    Some(Order::Round(done)) => {
                        self.round(false).await;
                        let _ = done.send(());
                    }
                    Some(Order::Finish(done)) => {
                        self.round(true).await;
                        let _ = done.send(self.finish());
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    /// One round; in the `last` one nothing is spared.
    async fn round(&mut self, last: bool) {
        let mut living = lock(&self.registry).living();
        if !last && !self.begun.load(Ordering::Relaxed) {
            living.retain(|(watched, _)| watched.kind != ProcessKind::Node);
        }
        for http in living.iter().filter_map(|(watched, _)| watched.http) {
            self.clients.entry(http).or_insert_with(|| metrics::client(http));
        }
        let readings = join_all(living.iter().map(|(watched, _)| async {
            match watched.http.and_then(|http| self.clients.get(&http)) {
                Some(client) => metrics::read(client).await,
                None => None,
            }
        }));
        let readings = readings.await;
        let private = last || self.rounds.is_multiple_of(PRIVATE_EVERY);
        self.rounds += 1;
        let at_ms = self.clock.now_ms();
        let mut lines = Vec::new();
        for ((watched, unread), reading) in living.iter().zip(&readings) {
            lines.extend(self.look(watched, at_ms, private || *unread, reading.as_ref()));
        }
        let host = self.host.sample(at_ms);
        if self.host_samples.len() < HOST_SAMPLES_MAX {
            self.host_samples.push(host);
        }
        self.files.write(&lines, &host);
    }

    fn look<'a>(
        &self,
        watched: &'a Watched,
        at_ms: u64,
        private: bool,
        reading: Option<&Reading>,
    ) -> Option<ProcessLine<'a>> {
        let (usage, disk_bytes): (Usage, u64) = if watched.elsewhere {
            // The sample says what was told last: hosts tell as often as this is asked.
            let told = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
            told.get(&watched.name).copied()?
        } else {
            let disk_bytes = watched.data_dir.as_deref().map_or(0, regatta_process::disk_bytes);
            (regatta_process::usage(watched.pid, private)?, disk_bytes)
        };
        let sample = lock(&self.registry).enter(watched, at_ms, usage, disk_bytes, reading)?;
        Some(ProcessLine {
            name: &watched.name,
            pid: watched.pid,
            threads: usage.threads,
            sample,
        })
    }

    fn finish(self) -> SampleOutcome {
        let registry = std::mem::take(&mut *lock(&self.registry));
        SampleOutcome {
            processes: registry.finish(),
            host: self.host_samples,
            unwritten: self.files.unwritten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_api::metrics::Metric;
    use regatta_load::tests::double::{Double, Mode};
    use std::process::Command;

    fn sampler(folder: &tempfile::TempDir) -> Sampler {
        let mut config = SamplerConfig::new(RunClock::start(), folder.path().join("samples"));
        // Only the rounds that a test asks for.
        config.interval = Duration::from_secs(3600);
        let sampler = Sampler::start(config).unwrap();
        sampler.begin();
        sampler
    }

    fn watched(name: &str, pid: u32, kind: ProcessKind) -> Watched {
        Watched {
            name: name.to_owned(),
            kind,
            pid: pid as i32,
            elsewhere: false,
            data_dir: None,
            http: Some("127.0.0.1:9".parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn a_process_that_dies_keeps_its_samples() {
        let folder = tempfile::tempdir().unwrap();
        let sampler = sampler(&folder);
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        sampler.watch(watched("lab", std::process::id(), ProcessKind::Lab));
        sampler.watch(watched("val-0", child.id(), ProcessKind::Node));
        sampler.round().await;
        assert_eq!(sampler.latest().len(), 2);
        child.kill().unwrap();
        child.wait().unwrap();
        sampler.ended("val-0", Some("killed by signal 9".to_owned()));
        let outcome = sampler.finish().await;
        let count = |name: &str| {
            let process = outcome.processes.iter().find(|process| process.name == name).unwrap();
            process.samples.len()
        };
        assert!(count("lab") > count("val-0") && count("val-0") > 0);
        assert!(outcome.processes[0].samples.iter().all(|sample| sample.rss_bytes > 0));
        assert!(outcome.host.len() >= 2);
        let text = std::fs::read_to_string(folder.path().join("samples/processes.ndjson")).unwrap();
        assert_eq!(text.lines().count(), count("lab") + count("val-0"));
    }

    #[tokio::test]
    async fn metrics_are_read_and_carried_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let sampler = sampler(&folder);
        let double = Double::start(0, Mode::Finalise).await;
        let text = |height: u64, sent: u64| {
            let rows = [
                (Metric::Height, height),
                (Metric::FramesSent, sent),
                (Metric::ConsensusFramesSent, sent),
                (Metric::TransactionsExecuted, sent / 2),
            ];
            let lines = rows.map(|(metric, value)| format!("{} {value}\n", metric.row().name));
            format!("# HELP nothing\n{}", lines.concat())
        };
        let mut node = watched("val-0", std::process::id(), ProcessKind::Node);
        node.http = Some(double.endpoint.http);
        double.chain.lock().unwrap().metrics = text(9, 100);
        sampler.watch(node.clone());
        sampler.round().await;
        let last = sampler.latest().remove(0).1;
        assert_eq!((last.height, last.messages_out, last.transactions), (9, 100, 50));
        // The same process stands for a second life, whose counters begin anew.
        double.chain.lock().unwrap().metrics = text(12, 30);
        sampler.watch(node.clone());
        sampler.round().await;
        let last = sampler.latest().remove(0).1;
        assert_eq!((last.height, last.messages_out, last.transactions), (12, 130, 65));
        // A node that gives no metrics keeps its last gauges.
        double.close().await;
        let outcome = sampler.finish().await;
        let process = &outcome.processes[0];
        assert_eq!(
            process
                .samples
                .last()
                .map(|sample| (sample.height, sample.messages_out)),
            Some((12, 130))
        );
        assert_eq!(
            (process.traffic[0].protocol.as_str(), process.traffic[0].messages_out),
            ("consensus", 130)
        );
        assert_eq!(process.restarts, 1);
    }

    #[tokio::test]
    async fn nodes_are_not_looked_at_before_it_begins_but_in_the_last_round() {
        let folder = tempfile::tempdir().unwrap();
        for last in [false, true] {
            let mut config = SamplerConfig::new(RunClock::start(), folder.path().join("samples"));
            config.interval = Duration::from_secs(3600);
            let sampler = Sampler::start(config).unwrap();
            sampler.watch(watched("lab", std::process::id(), ProcessKind::Lab));
            sampler.watch(watched("val-0", std::process::id(), ProcessKind::Node));
            sampler.round().await;
            assert_eq!(sampler.latest().len(), 1, "the lab alone");
            if last {
                let outcome = sampler.finish().await;
                assert!(outcome.processes.iter().all(|process| !process.samples.is_empty()));
            } else {
                sampler.begin();
                sampler.round().await;
                assert_eq!(sampler.latest().len(), 2);
            }
        }
    }

    #[tokio::test]
    async fn a_dropped_sampler_ends_its_thread() {
        let folder = tempfile::tempdir().unwrap();
        let sampler = sampler(&folder);
        let registry = Arc::clone(&sampler.registry);
        drop(sampler);
        while Arc::strong_count(&registry) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
