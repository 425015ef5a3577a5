//! What a running experiment shows while it runs, and the tasks that watch it: heartbeat, quota, budget, nodes.

use super::{Interrupt, Interrupts, Observer, Progress, setup::LAB_PROCESS};
use crate::{
    cluster::{NodeEvent, http_address},
    load::{LoadHandle, LoadProgress, RunClock},
    rundir::{RunDir, used_bytes},
    sample::{Sampler, Watched},
};
use regatta_plan::Plan;
use regatta_report::model::{Event, EventKind, PhaseKind, ProcessKind};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// How often the folder's size is looked at.
const QUOTA_INTERVAL: Duration = Duration::from_millis(500);

/// One look at a running experiment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heartbeat {
    /// Milliseconds since the first node was started.
    pub elapsed_ms: u64,
    /// What goes on.
    pub phase: PhaseKind,
    /// Lowest and highest height of any node.
    pub heights: Option<(u64, u64)>,
    /// All loads together; latencies are those of the slowest load.
    pub load: Option<LoadProgress>,
    /// Faults that are on, in words.
    pub faults: Vec<String>,
    /// Bytes in the run's folder.
    pub disk_bytes: u64,
}

/// What is known while nodes run. Shared between the runner and the tasks that watch.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) clock: RunClock,
    plan: Arc<Plan>,
    run: RunDir,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: PhaseKind,
    loads: Vec<LoadHandle>,
    sampler: Option<Arc<Sampler>>,
    faults: BTreeMap<u32, (String, u64)>,
    events: Vec<Event>,
    starts: BTreeMap<u32, u32>,
    disk_bytes: u64,
}

impl Live {
    /// Nothing has happened yet.
    pub(super) fn new(clock: RunClock, plan: Arc<Plan>, run: RunDir, sampler: Sampler) -> Self {
        let state = State {
            phase: PhaseKind::Start,
            loads: Vec::new(),
            sampler: Some(Arc::new(sampler)),
            faults: BTreeMap::new(),
            events: Vec::new(),
            starts: BTreeMap::new(),
            disk_bytes: 0,
        };
        Self {
            clock,
            plan,
            run,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_phase(&self, phase: PhaseKind) {
        self.state().phase = phase;
    }

    pub(super) fn add_load(&self, load: LoadHandle) {
        self.state().loads.push(load);
    }

    /// Ends the schedules of all loads here.
    pub(super) fn stop_loads(&self) {
        self.state().loads.iter().for_each(LoadHandle::stop);
    }

    pub(super) fn take_loads(&self) -> Vec<LoadHandle> {
        std::mem::take(&mut self.state().loads)
    }

    /// Takes a sample now: before a process is ended on purpose.
    pub(super) async fn sample(&self) {
        let sampler = self.state().sampler.clone();
        if let Some(sampler) = sampler {
            sampler.round().await;
        }
    }

    pub(super) fn take_sampler(&self) -> Option<Sampler> {
        self.state().sampler.take().and_then(Arc::into_inner)
    }

    pub(super) fn take_events(&self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.state().events);
        events.sort_by_key(|event| event.start_ms);
        events
    }

    /// Notes something that happens at this moment.
    pub(super) fn note(&self, kind: EventKind, node: &str, text: impl Into<String>) {
        let now = self.clock.now_ms();
        self.state().events.push(Event {
            start_ms: now,
            end_ms: now,
            kind,
            node: node.to_owned(),
            text: text.into(),
        });
    }

    pub(super) fn fault_began(&self, fault: u32, text: String) {
        let now = self.clock.now_ms();
        self.state().faults.insert(fault, (text, now));
    }

    /// Faults that are on, by their positions in the plan.
    pub(super) fn open_faults(&self) -> Vec<u32> {
        self.state().faults.keys().copied().collect()
    }

    pub(super) fn fault_ended(&self, fault: u32) {
        let now = self.clock.now_ms();
        let mut state = self.state();
        if let Some((text, start_ms)) = state.faults.remove(&fault) {
            let nodes = self.plan.faults.get(fault as usize).map(|fault| fault.nodes.as_slice());
            let node = match nodes {
                Some([one]) => self.plan.nodes[*one as usize].name.clone(),
                _ => String::new(),
            };
            state.events.push(Event {
                start_ms,
                end_ms: now,
                kind: EventKind::Fault,
                node,
                text,
            });
        }
    }

    /// How it goes right now.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let state = self.state();
        debug_assert!(state.loads.len() <= self.plan.loads.len());
        let heights = state.sampler.as_ref().and_then(|sampler| heights(sampler));
        let loads = state.loads.iter().map(LoadHandle::progress);
        Heartbeat {
            elapsed_ms: self.clock.now_ms(),
            phase: state.phase,
            heights,
            load: loads.reduce(add),
            faults: state.faults.values().map(|(text, _)| text.clone()).collect(),
            disk_bytes: state.disk_bytes,
        }
    }

    /// Takes note of a started or ended node.
    fn node_event(&self, event: NodeEvent, interrupts: &Interrupts) {
        match event {
            NodeEvent::Started { node, pid } => self.node_started(node, pid),
            NodeEvent::Ended { node, exit } => {
                let name = &self.plan.nodes[node as usize].name;
                if let Some(sampler) = &self.state().sampler {
                    sampler.ended(name, (!exit.ordered).then(|| exit.to_string()));
                }
                if !exit.ordered {
                    let lines: String = exit.tail.iter().map(|line| format!("\n  | {line}")).collect();
                    let log = self.run.log(name);
                    let text = format!("node `{name}` ended by itself: {exit}{lines}\n  log: {}", log.display());
                    self.note(EventKind::Crash, name, exit.to_string());
                    interrupts.raise(Interrupt::NodeDied(text));
                }
            }
        }
    }

    fn node_started(&self, node: u32, pid: u32) {
        let planned = &self.plan.nodes[node as usize];
        let starts = {
            let mut state = self.state();
            let starts = state.starts.entry(node).or_default();
            *starts += 1;
            *starts
        };
        if let Some(sampler) = &self.state().sampler {
            sampler.watch(Watched {
                name: planned.name.clone(),
                kind: ProcessKind::Node,
                pid: pid.cast_signed(),
                data_dir: Some(self.run.data(&planned.name)),
                http: Some(http_address(planned)),
            });
        }
        if starts > 1 {
            self.note(
                EventKind::Restart,
                &planned.name,
                format!("started again, process {pid}"),
            );
        }
    }
}

/// Lowest and highest height among the latest samples.
fn heights(sampler: &Sampler) -> Option<(u64, u64)> {
    let latest = sampler.latest();
    let heights = || {
        latest
            .iter()
            .filter(|(name, _)| name != LAB_PROCESS)
            .map(|(_, sample)| sample.height)
    };
    Some((heights().min()?, heights().max()?))
}

/// Two loads as one; latencies are those of the slower one.
pub(crate) fn add(a: LoadProgress, b: LoadProgress) -> LoadProgress {
    let mut sum = a;
    sum.intended += b.intended;
    sum.sent += b.sent;
    sum.accepted += b.accepted;
    sum.finalised += b.finalised;
    sum.failed += b.failed;
    sum.rejected += b.rejected;
    sum.not_sent += b.not_sent;
    sum.lost += b.lost;
    sum.in_flight += b.in_flight;
    sum.offered_per_s += b.offered_per_s;
    sum.final_per_s += b.final_per_s;
    sum.p50_us = a.p50_us.max(b.p50_us);
    sum.p99_us = a.p99_us.max(b.p99_us);
    sum.lag_p99_us = a.lag_p99_us.max(b.lag_p99_us);
    sum
}

/// Passes on what nodes do until the cluster is gone.
pub(super) async fn watch_nodes(
    live: Arc<Live>,
    mut events: mpsc::UnboundedReceiver<NodeEvent>,
    interrupts: Interrupts,
) {
    while let Some(event) = events.recv().await {
        live.node_event(event, &interrupts);
    }
}

/// Tells the observer how it goes, in intervals of its choice.
pub(super) async fn beat(live: Arc<Live>, observer: Arc<dyn Observer>) {
    loop {
        tokio::time::sleep(observer.heartbeat_interval()).await;
        observer.tell(&Progress::Heartbeat(&live.heartbeat()));
    }
}

/// Interrupts the run when its folder has grown beyond `limit` bytes.
pub(super) async fn watch_disk(live: Arc<Live>, limit: u64, interrupts: Interrupts) {
    loop {
        let root = live.run.root().to_owned();
        let used = tokio::task::spawn_blocking(move || used_bytes(&root)).await;
        if let Ok(Ok(used)) = used {
            live.state().disk_bytes = used;
            if used > limit {
                interrupts.raise(Interrupt::Disk { used, limit });
            }
        }
        tokio::time::sleep(QUOTA_INTERVAL).await;
    }
}
