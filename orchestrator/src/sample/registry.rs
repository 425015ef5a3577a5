//! All watched processes with their samples; counters are carried across restarts.

use crate::sample::{
    Watched,
    metrics::{Counters, Reading},
};
use regatta_api::metrics::Metric;
use regatta_process::Usage;
use regatta_report::model::{Process, Sample};

/// Most samples kept of one process: a day at one a second. Beyond it every other one is dropped.
const SAMPLES_MAX: usize = 86_400;

/// What one process used in all its lives before this one.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    cpu_s: f64,
    counters: Counters,
}

/// One watched name.
#[derive(Debug)]
struct Entry {
    watched: Watched,
    alive: bool,
    past: Past,
    /// CPU and counters of this life at the last look.
    now: Past,
    process: Process,
}

/// All of them, in the order of first watching.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// Watches a process; one of the same name before it has ended.
    pub(crate) fn watch(&mut self, watched: Watched) {
        if let Some(entry) = self.find(&watched.name) {
            entry.bury();
            entry.alive = true;
            entry.watched = watched;
            entry.process.restarts += 1;
            return;
        }
        self.entries.push(Entry {
            process: Process {
                name: watched.name.clone(),
                kind: watched.kind,
                ..Process::default()
            },
            watched,
            alive: true,
            past: Past::default(),
            now: Past::default(),
        });
    }

    /// A process is gone; `exit` says how when that was not by order.
    pub(crate) fn ended(&mut self, name: &str, exit: Option<String>) {
        if let Some(entry) = self.find(name) {
            entry.alive = false;
            entry.process.exit = exit.or(entry.process.exit.take());
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.watched.name == name)
    }

    /// Those that live, for the next round, and whether their private memory has not been read yet.
    pub(crate) fn living(&self) -> Vec<(Watched, bool)> {
        let unread = |entry: &Entry| {
            let last = entry.process.samples.last();
            last.is_none_or(|last| last.private_bytes == 0)
        };
        let living = self.entries.iter().filter(|entry| entry.alive);
        living.map(|entry| (entry.watched.clone(), unread(entry))).collect()
    }

    /// Enters one look at the process `pid` called `name`; gives back the sample, unless it was replaced meanwhile.
    pub(crate) fn enter(
        &mut self,
        watched: &Watched,
        at_ms: u64,
        usage: Usage,
        disk_bytes: u64,
        reading: Option<&Reading>,
    ) -> Option<Sample> {
        let entry = self
            .find(&watched.name)
            .filter(|entry| entry.watched.pid == watched.pid)?;
        entry.now.cpu_s = usage.cpu_s;
        if let Some(reading) = reading {
            entry.now.counters = reading.counters();
        }
        let total = entry.total();
        let last = entry.process.samples.last().copied().unwrap_or_default();
        let gauge = |metric: Metric, before: u64| reading.map_or(before, |reading| reading.get(metric));
        let sample = Sample {
            at_ms,
            cpu_s: total.cpu_s,
            rss_bytes: usage.rss_bytes,
            // Read in few rounds only: the last value stands until the next one.
            private_bytes: if usage.private_bytes > 0 {
                usage.private_bytes
            } else {
                last.private_bytes
            },
            descriptors: usage.descriptors,
            disk_bytes,
            height: gauge(Metric::Height, last.height),
            peers: gauge(Metric::PeersConnected, last.peers),
            mempool: gauge(Metric::TransactionsPending, last.mempool),
            transactions: total.counters.transactions,
            messages_in: total.counters.messages_in,
            messages_out: total.counters.messages_out,
            bytes_in: total.counters.bytes_in,
            bytes_out: total.counters.bytes_out,
        };
        entry.push(sample);
        Some(sample)
    }

    /// The last sample of each process that has one.
    pub(crate) fn latest(&self) -> Vec<(String, Sample)> {
        let last = |entry: &Entry| Some((entry.process.name.clone(), *entry.process.samples.last()?));
        self.entries.iter().filter_map(last).collect()
    }

    /// Everything for the report.
    pub(crate) fn finish(self) -> Vec<Process> {
        let finish = |entry: Entry| {
            let total = entry.total();
            Process {
                cpu_total_s: total.cpu_s,
                traffic: match total.counters == Counters::default() {
                    true => Vec::new(),
                    false => total.counters.traffic(),
                },
                ..entry.process
            }
        };
        self.entries.into_iter().map(finish).collect()
    }
}

impl Entry {
    fn total(&self) -> Past {
        Past {
            cpu_s: self.past.cpu_s + self.now.cpu_s,
            counters: self.past.counters.plus(self.now.counters),
        }
    }

    fn bury(&mut self) {
        self.past = self.total();
        self.now = Past::default();
    }

    fn push(&mut self, sample: Sample) {
        let samples = &mut self.process.samples;
        if samples.len() == SAMPLES_MAX {
            let mut index = 0;
            samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        samples.push(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_report::model::ProcessKind;

    fn watched(pid: i32) -> Watched {
        Watched {
            name: "val-0".to_owned(),
            kind: ProcessKind::Node,
            pid,
            elsewhere: false,
            data_dir: None,
            http: None,
        }
    }

    fn usage(cpu_s: f64, private_bytes: u64) -> Usage {
        Usage {
            cpu_s,
            private_bytes,
            ..Usage::default()
        }
    }

    #[test]
    fn cpu_is_carried_across_a_restart() {
        let mut registry = Registry::default();
        registry.watch(watched(1));
        registry.enter(&watched(1), 1000, usage(2.0, 50), 0, None).unwrap();
        registry.ended("val-0", Some("killed by signal 9".to_owned()));
        assert!(registry.living().is_empty());
        registry.watch(watched(2));
        let sample = registry.enter(&watched(2), 2000, usage(0.5, 0), 0, None).unwrap();
        assert_eq!((sample.cpu_s, sample.private_bytes), (2.5, 50));
        // A look at the dead process that comes late changes nothing.
        assert_eq!(registry.enter(&watched(1), 2001, usage(9.0, 0), 0, None), None);
        let process = registry.finish().remove(0);
        assert_eq!(
            (process.cpu_total_s, process.restarts, process.samples.len()),
            (2.5, 1, 2)
        );
        assert_eq!(process.exit.as_deref(), Some("killed by signal 9"));
    }

    #[test]
    fn long_runs_keep_a_thinner_series() {
        let mut registry = Registry::default();
        registry.watch(watched(1));
        for at_ms in 0..=SAMPLES_MAX as u64 {
            registry.enter(&watched(1), at_ms, usage(0.0, 0), 0, None);
        }
        let samples = &registry.finish()[0].samples;
        assert_eq!(samples.len(), SAMPLES_MAX / 2 + 1);
        assert!(samples.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
    }
}
