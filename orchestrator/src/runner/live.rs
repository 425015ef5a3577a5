//! What a running experiment shows while it runs, and the tasks that watch it: heartbeat, quota, budget, nodes.

use super::{Interrupt, Interrupts, Observer, Progress, link_book::LinkBook, setup::LAB_PROCESS};
use crate::{
    cluster::{NodeEvent, http_address},
    load::{LoadHandle, LoadProgress, RunClock},
    rundir::{RunDir, used_bytes},
    sample::{Sampler, Watched},
};
use regatta_plan::{
    Plan, PlannedFault,
    scenario::{FaultKind, ProviderKind},
};
use regatta_report::{
    live::{Glimpse, Life, LoadNow, NodeGlimpse, OpenFault},
    model::{Event, EventKind, PhaseKind, ProcessKind, Sample},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

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

/// A fault that is on.
#[derive(Debug)]
struct Fault {
    /// With the nodes that it turned out to be done to.
    fault: PlannedFault,
    text: String,
    start_ms: u64,
    /// Somebody undoes it.
    is_healing: bool,
}

/// What is known while nodes run. Shared between the runner and the tasks that watch.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) clock: RunClock,
    pub(super) links: LinkBook,
    plan: Arc<Plan>,
    run: RunDir,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: PhaseKind,
    /// When the phase ends by plan.
    phase_ends_ms: Option<u64>,
    /// Start of the timeline, once it is known.
    timeline_ms: Option<u64>,
    loads: Vec<LoadHandle>,
    sampler: Option<Arc<Sampler>>,
    faults: BTreeMap<u32, Fault>,
    events: Vec<Event>,
    starts: BTreeMap<u32, u32>,
    /// Each node's process, and when the newest one was started.
    lives: BTreeMap<u32, (Life, u64)>,
    /// Faults that a person ordered, by their numbers: those of the plan come before.
    by_hand: BTreeMap<u32, PlannedFault>,
    /// Faults by hand that are being undone.
    heals: Vec<JoinHandle<()>>,
    /// Ends what a person left on.
    mend_all: CancellationToken,
    disk_bytes: u64,
    /// Heights of each node in every instance, where there are several and somebody looks.
    heights: BTreeMap<u32, Vec<Option<u64>>>,
}

impl Fault {
    fn event(&self, plan: &Plan, end_ms: u64, how: &str) -> Event {
        let node = match self.fault.nodes.as_slice() {
            [one] => plan.name_at(*one).to_owned(),
            _ => String::new(),
        };
        Event {
            start_ms: self.start_ms,
            end_ms,
            kind: EventKind::Fault,
            node,
            text: format!("{}{how}", self.text),
        }
    }
}

impl Live {
    /// Nothing has happened yet.
    pub(super) fn new(clock: RunClock, plan: Arc<Plan>, run: RunDir, sampler: Sampler) -> Self {
        let state = State {
            phase: PhaseKind::Start,
            phase_ends_ms: None,
            timeline_ms: None,
            loads: Vec::new(),
            sampler: Some(Arc::new(sampler)),
            faults: BTreeMap::new(),
            events: Vec::new(),
            starts: BTreeMap::new(),
            lives: BTreeMap::new(),
            by_hand: BTreeMap::new(),
            heals: Vec::new(),
            mend_all: CancellationToken::new(),
            disk_bytes: 0,
            heights: BTreeMap::new(),
        };
        Self {
            clock,
            links: LinkBook::default(),
            plan,
            run,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A phase begins; `ends_ms` says when it ends by plan.
    pub(super) fn set_phase(&self, phase: PhaseKind, ends_ms: Option<u64>) {
        let mut state = self.state();
        (state.phase, state.phase_ends_ms) = (phase, ends_ms);
        drop(state);
        self.begin_sampling();
    }

    /// Nodes are up, or as far as they get: from now on they are sampled, and this moment is the first.
    pub(super) fn begin_sampling(&self) {
        if let Some(sampler) = &self.state().sampler {
            sampler.begin();
        }
    }

    pub(super) fn phase(&self) -> PhaseKind {
        self.state().phase
    }

    pub(super) fn set_timeline(&self, start_ms: u64) {
        self.state().timeline_ms = Some(start_ms);
    }

    /// Milliseconds since the timeline began.
    pub(super) fn timeline_now_ms(&self) -> Option<u64> {
        let start = self.state().timeline_ms?;
        Some(self.clock.now_ms().saturating_sub(start))
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
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
        let now = self.clock.now_ms();
        let mut state = self.state();
        let mut events = std::mem::take(&mut state.events);
        // What was never undone is shaded to the end.
        let open = std::mem::take(&mut state.faults).into_values();
        events.extend(open.map(|open| open.event(&self.plan, now, " (never undone)")));
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

    pub(super) fn fault_began(&self, fault: &PlannedFault, text: String) {
        let (fault, start_ms) = (fault.clone(), self.clock.now_ms());
        let open = Fault {
            fault,
            text,
            start_ms,
            is_healing: false,
        };
        self.state().faults.insert(open.fault.index, open);
    }

    /// Whether a fault is on and nobody undoes it yet: whoever asks does from now on.
    pub(super) fn begin_heal(&self, fault: u32) -> bool {
        let mut state = self.state();
        let open = state.faults.get_mut(&fault);
        open.is_some_and(|open| !std::mem::replace(&mut open.is_healing, true))
    }

    /// A fault in words, while it is on.
    pub(super) fn fault_text(&self, fault: u32) -> Option<String> {
        self.state().faults.get(&fault).map(|open| open.text.clone())
    }

    /// A person ordered `fault`, which gets the next number.
    pub(super) fn add_by_hand(&self, mut fault: PlannedFault) -> PlannedFault {
        let mut state = self.state();
        fault.index = (self.plan.faults.len() + state.by_hand.len()) as u32;
        state.by_hand.insert(fault.index, fault.clone());
        fault
    }

    /// Every fault that a person ordered.
    pub(super) fn by_hand(&self) -> Vec<PlannedFault> {
        self.state().by_hand.values().cloned().collect()
    }

    /// Cancelled when what a person left on is to end.
    pub(super) fn mend_all(&self) -> CancellationToken {
        self.state().mend_all.clone()
    }

    pub(super) fn add_heal(&self, heal: JoinHandle<()>) {
        self.state().heals.push(heal);
    }

    pub(super) fn take_heals(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.state().heals)
    }

    /// Faults that are on, those by hand too, with the nodes that they turned out to be done to.
    pub(super) fn open_faults(&self) -> Vec<PlannedFault> {
        self.state().faults.values().map(|open| open.fault.clone()).collect()
    }

    /// Adds what was seen of a fault to its words, and returns them while it is on.
    pub(super) fn fault_seen(&self, fault: u32, seen: Option<&str>) -> Option<String> {
        let mut state = self.state();
        let open = state.faults.get_mut(&fault)?;
        if let Some(seen) = seen {
            open.text = format!("{}: {seen}", open.text);
        }
        Some(open.text.clone())
    }

    /// A fault is undone now; returns it in words, if it was on.
    pub(super) fn fault_ended(&self, fault: u32) -> Option<String> {
        let end_ms = self.clock.now_ms();
        let mut state = self.state();
        let open = state.faults.remove(&fault)?;
        state.events.push(open.event(&self.plan, end_ms, ""));
        self.links.fault_ended(end_ms, &open.fault);
        Some(open.text)
    }

    /// Takes note of a node's heights in every instance.
    pub(super) fn heights_seen(&self, node: u32, heights: Vec<Option<u64>>) {
        self.state().heights.insert(node, heights);
    }

    /// How it goes right now.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let state = self.state();
        debug_assert!(state.loads.len() <= self.plan.loads.len());
        let heights = state.sampler.as_ref().and_then(|sampler| heights(sampler, &self.plan));
        let loads = state.loads.iter().map(LoadHandle::progress);
        Heartbeat {
            elapsed_ms: self.clock.now_ms(),
            phase: state.phase,
            heights,
            load: loads.reduce(add),
            faults: state.faults.values().map(|fault| fault.text.clone()).collect(),
            disk_bytes: state.disk_bytes,
        }
    }

    /// One look at everything, with the events after the first `seen` ones; moves `seen` on.
    fn glimpse(&self, seen: &mut usize) -> Glimpse {
        let at_ms = self.clock.now_ms();
        let state = self.state();
        let latest = state
            .sampler
            .as_ref()
            .map(|sampler| sampler.latest())
            .unwrap_or_default();
        let samples: BTreeMap<&str, &Sample> = latest.iter().map(|(name, sample)| (name.as_str(), sample)).collect();
        let paused = |node: u32| {
            let mut open = state.faults.values().map(|open| &open.fault);
            open.any(|fault| fault.nodes.contains(&node) && fault.kind == FaultKind::Pause)
        };
        let node = |planned: &regatta_plan::PlannedNode| {
            let (life, started_ms) = state.lives.get(&planned.index).copied().unwrap_or_default();
            NodeGlimpse {
                life: match life {
                    Life::Running if paused(planned.index) => Life::Paused,
                    life => life,
                },
                started_ms,
                sample: samples.get(planned.name.as_str()).copied().copied(),
                heights: state.heights.get(&planned.index).cloned().unwrap_or_default(),
            }
        };
        let program = |planned: &regatta_plan::PlannedProcess| {
            let (life, started_ms) = state.lives.get(&planned.place).copied().unwrap_or_default();
            NodeGlimpse {
                life: match life {
                    Life::Running if paused(planned.place) => Life::Paused,
                    life => life,
                },
                started_ms,
                sample: samples.get(planned.name.as_str()).copied().copied(),
                ..NodeGlimpse::default()
            }
        };
        let new_events = state.events.get(*seen..).unwrap_or_default();
        *seen = state.events.len();
        Glimpse {
            at_ms,
            phase: state.phase,
            phase_left_ms: state.phase_ends_ms.map(|ends_ms| ends_ms.saturating_sub(at_ms)),
            nodes: self.plan.nodes.iter().map(node).collect(),
            programs: self.plan.processes.iter().map(program).collect(),
            lab: samples.get(LAB_PROCESS).copied().copied(),
            load: state.loads.iter().map(LoadHandle::progress).reduce(add).map(load_now),
            faults: state
                .faults
                .iter()
                .map(
                    |(
                        id,
                        Fault {
                            fault, text, start_ms, ..
                        },
                    )| OpenFault {
                        id: *id,
                        text: text.clone(),
                        nodes: self.nodes_among(&fault.nodes),
                        sides: fault.sets.iter().map(|side| self.nodes_among(side)).collect(),
                        since_ms: *start_ms,
                        until_ms: state.timeline_ms.map(|start| start.saturating_add(fault.until_ms)),
                        by_hand: state.by_hand.contains_key(id),
                    },
                )
                .collect(),
            events: new_events.to_vec(),
            disk_bytes: state.disk_bytes,
        }
    }

    /// Those of some places that are nodes': whoever draws knows no others.
    fn nodes_among(&self, places: &[u32]) -> Vec<u32> {
        places
            .iter()
            .copied()
            .filter(|&place| self.plan.is_node(place))
            .collect()
    }

    /// Takes note of a started or ended program of others; that one ends by itself is no reason to end a run.
    fn program_event(&self, event: NodeEvent) {
        let name = |place: u32| self.plan.name_at(place).to_owned();
        match event {
            NodeEvent::Started { node, pid } => {
                let started_ms = self.clock.now_ms();
                self.state().lives.insert(node, (Life::Running, started_ms));
                if let Some(sampler) = &self.state().sampler {
                    sampler.watch(Watched {
                        name: name(node),
                        kind: ProcessKind::Program,
                        pid: pid.cast_signed(),
                        elsewhere: false,
                        data_dir: Some(self.run.data(&name(node))),
                        http: None,
                    });
                }
            }
            NodeEvent::Ended { node, exit, .. } => {
                let text = (!exit.ordered).then(|| exit.to_string());
                self.state().lives.entry(node).or_default().0 = Life::Ended;
                if let Some(sampler) = &self.state().sampler {
                    sampler.ended(&name(node), text.clone());
                }
                if let Some(text) = text {
                    self.note(EventKind::Note, &name(node), format!("ended by itself: {text}"));
                }
            }
        }
    }

    /// Takes note of a started or ended node.
    fn node_event(&self, event: NodeEvent, interrupts: &Interrupts) {
        match event {
            NodeEvent::Started { node, .. } | NodeEvent::Ended { node, .. } if !self.plan.is_node(node) => {
                self.program_event(event);
            }
            NodeEvent::Started { node, pid } => self.node_started(node, pid),
            NodeEvent::Ended {
                node,
                exit,
                starved: true,
            } => {
                self.state().lives.entry(node).or_default().0 = Life::Ended;
                let name = &self.plan.nodes[node as usize].name;
                let text = format!("{exit} by the kernel, out of memory under a fault");
                if let Some(sampler) = &self.state().sampler {
                    sampler.ended(name, Some(text.clone()));
                }
                self.note(EventKind::Crash, name, text);
            }
            NodeEvent::Ended { node, exit, .. } => {
                self.state().lives.entry(node).or_default().0 = Life::Ended;
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
        let now = self.clock.now_ms();
        let starts = {
            let mut state = self.state();
            state.lives.insert(node, (Life::Running, now));
            let starts = state.starts.entry(node).or_default();
            *starts += 1;
            *starts
        };
        if let Some(sampler) = &self.state().sampler {
            sampler.watch(Watched {
                name: planned.name.clone(),
                kind: ProcessKind::Node,
                pid: pid.cast_signed(),
                elsewhere: self.plan.provider == ProviderKind::Ssh,
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
fn heights(sampler: &Sampler, plan: &Plan) -> Option<(u64, u64)> {
    let latest = sampler.latest();
    let is_node = |name: &str| name != LAB_PROCESS && plan.processes.iter().all(|process| process.name != name);
    let heights = || {
        latest
            .iter()
            .filter(|(name, _)| is_node(name))
            .map(|(_, sample)| sample.height)
    };
    Some((heights().min()?, heights().max()?))
}

/// The part of a load's progress that live views show.
pub(crate) fn load_now(load: LoadProgress) -> LoadNow {
    LoadNow {
        offered_per_s: load.offered_per_s,
        final_per_s: load.final_per_s,
        p50_us: load.recent_p50_us,
        p99_us: load.recent_p99_us,
        lag_p99_us: load.lag_p99_us,
        in_flight: load.in_flight,
        finalised: load.finalised,
        troubled: load.rejected + load.not_sent + load.lost + load.failed,
    }
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
    sum.recent_p50_us = a.recent_p50_us.max(b.recent_p50_us);
    sum.recent_p99_us = a.recent_p99_us.max(b.recent_p99_us);
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

/// Shows everything, when the observer wants it.
pub(super) async fn look(live: Arc<Live>, observer: Arc<dyn Observer>) {
    let Some(interval) = observer.look_interval() else {
        return;
    };
    let mut seen = 0;
    loop {
        observer.tell(&Progress::Look(&live.glimpse(&mut seen)));
        tokio::time::sleep(interval).await;
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
