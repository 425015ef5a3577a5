//! The board: every look folded into what a view shows.

use super::{
    Counts, Glimpse, LoadNow, NodeGlimpse, NodeState, OpenFault, Setting, Spread,
    spread::{program_state, state_of},
};
use crate::model::{EventKind, PhaseKind, Sample};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Looks that are kept for the small curves.
pub const HISTORY_MAX: usize = 120;
/// Last events that are kept.
pub const EVENTS_MAX: usize = 200;
/// Longest text of an event in bytes; what is longer is cut.
const TEXT_BYTES_MAX: usize = 400;
/// Most nodes and faults of one look that are taken in: no plan has more.
const NODES_MAX: usize = 16_384;

/// What is going on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// What does not change.
    #[serde(skip)]
    pub setting: Setting,
    /// Milliseconds since the first node was started.
    pub at_ms: u64,
    /// What goes on.
    pub phase: PhaseKind,
    /// The phase in words.
    pub phase_name: String,
    /// Until the phase ends by plan, in milliseconds.
    pub phase_left_ms: Option<u64>,
    /// The step that is being done, or the last one.
    pub step: String,
    /// How the run ended, once it has.
    pub ended: Option<String>,
    /// Every node, in plan order.
    pub nodes: Vec<NodeNow>,
    /// Every program of others, in plan order.
    pub programs: Vec<ProgramNow>,
    /// How many nodes are in each state.
    pub counts: Counts,
    /// Heights of each instance over the nodes that run; none before the first block.
    pub spreads: Vec<Option<Spread>>,
    /// All loads together.
    pub load: Option<LoadNow>,
    /// Faults that are on.
    pub faults: Vec<OpenFault>,
    /// The lab's own process.
    pub lab: Usage,
    /// All nodes together.
    pub total: Usage,
    /// Bytes in the run's folder.
    pub disk_bytes: u64,
    /// A person interfered with this run.
    pub by_hand: bool,
    /// The last looks, oldest first.
    pub history: VecDeque<Point>,
    /// The last events, oldest first.
    pub events: VecDeque<Line>,
    /// Highest block of each instance at the look before.
    #[serde(skip)]
    best: Vec<u64>,
    #[serde(skip)]
    last_lab: Option<Sample>,
}

/// One node as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeNow {
    /// How it is.
    pub state: NodeState,
    /// Its height in each instance, in plan order; none in those that it does not run.
    pub heights: Vec<Option<u64>>,
    /// Blocks that it lacks of the highest, in the instance where it lacks most.
    pub lag: u64,
    /// Links that are up.
    pub peers: u64,
    /// Transactions that wait there.
    pub mempool: u64,
    /// What it uses.
    pub usage: Usage,
    #[serde(skip)]
    last: Option<Sample>,
}

/// One program of others as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgramNow {
    /// How its process is.
    pub state: NodeState,
    /// What it uses.
    pub usage: Usage,
    #[serde(skip)]
    last: Option<Sample>,
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU between the last two samples, in percent of one core.
    pub cpu_percent: f64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// One look in the curves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// When.
    pub at_ms: u64,
    /// Transactions intended in the second before.
    pub offered_per_s: u64,
    /// Transactions final in the second before.
    pub final_per_s: u64,
    /// Median response in microseconds, 0 when unknown.
    pub p50_us: u64,
    /// 99th percentile of the response in microseconds, 0 when unknown.
    pub p99_us: u64,
    /// Whether a fault was on.
    pub fault: bool,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in milliseconds since the first node was started; none before that.
    pub at_ms: Option<u64>,
    /// The kind of event in one word.
    pub kind: String,
    /// The node concerned, or empty.
    pub node: String,
    /// What happened.
    pub text: String,
}

impl Board {
    /// A board on which nothing has happened yet.
    #[must_use]
    pub fn new(setting: Setting) -> Self {
        Self {
            phase_name: PhaseKind::Start.as_str().to_owned(),
            nodes: vec![NodeNow::default(); setting.nodes.len()],
            programs: vec![ProgramNow::default(); setting.programs.len()],
            counts: Counts {
                starting: setting.nodes.len(),
                ..Counts::default()
            },
            spreads: vec![None; setting.instances.len()],
            setting,
            ..Self::default()
        }
    }

    /// A step of the plan begins.
    pub fn step_begins(&mut self, step: &str) {
        self.step = cut(step);
    }

    /// Adds an event that no look tells of. `kind` is one word.
    pub fn add_line(&mut self, kind: &str, node: &str, text: &str) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Line {
            at_ms: (self.at_ms > 0).then_some(self.at_ms),
            kind: cut(kind),
            node: cut(node),
            text: cut(text),
        });
    }

    /// The run has ended, and how.
    pub fn end(&mut self, sentence: &str) {
        self.ended = Some(cut(sentence));
        self.phase_left_ms = None;
        self.faults.clear();
    }

    /// Takes one look in. Looks are in order of time; what a look lacks of the plan's nodes stays as it was.
    pub fn look(&mut self, glimpse: &Glimpse) {
        self.at_ms = self.at_ms.max(glimpse.at_ms);
        self.phase = glimpse.phase;
        self.phase_name = glimpse.phase.as_str().to_owned();
        self.phase_left_ms = glimpse.phase_left_ms;
        self.disk_bytes = glimpse.disk_bytes;
        // Loads that are over offer nothing; what they came to stays.
        let over = |load: LoadNow| LoadNow {
            offered_per_s: 0,
            final_per_s: 0,
            in_flight: 0,
            ..load
        };
        self.load = glimpse.load.or(self.load.map(over));
        self.look_at_nodes(&glimpse.nodes);
        self.look_at_programs(&glimpse.programs);
        self.lab = usage(self.last_lab, glimpse.lab, self.lab);
        self.last_lab = glimpse.lab.or(self.last_lab);
        self.look_at_faults(&glimpse.faults);
        for event in &glimpse.events {
            // The start of a fault was told by the look that saw it first; here it ends.
            let text = match event.kind {
                EventKind::Fault => format!("ended: {}", event.text),
                _ => event.text.clone(),
            };
            self.add_line(event.kind.as_str(), &event.node, &text);
        }
        self.remember();
    }

    fn look_at_nodes(&mut self, glimpses: &[NodeGlimpse]) {
        let instances = self.setting.instances.len().max(1);
        let mut linked: BTreeSet<u32> = BTreeSet::new();
        for &(a, b) in &self.setting.edges {
            linked.extend([a, b]);
        }
        for ((node, glimpse), index) in self.nodes.iter_mut().zip(glimpses).zip(0..) {
            let heights = match (glimpse.heights.as_slice(), &glimpse.sample) {
                ([], Some(sample)) if instances == 1 => vec![Some(sample.height)],
                ([], _) => std::mem::take(&mut node.heights),
                (known, _) => known.iter().copied().take(instances).collect(),
            };
            node.state = state_of(glimpse, &heights, &self.best, linked.contains(&index));
            node.heights = heights;
            let now = glimpse.sample.or(node.last);
            (node.peers, node.mempool) = now.map_or((0, 0), |sample| (sample.peers, sample.mempool));
            node.usage = usage(node.last, glimpse.sample, node.usage);
            if !matches!(node.state, NodeState::Ready | NodeState::Behind | NodeState::Starting) {
                node.usage.cpu_percent = 0.0;
            }
            if node.state == NodeState::Down {
                node.peers = 0;
                node.usage.rss_bytes = 0;
            }
            node.last = now;
        }
        let best = |instance: usize| {
            let heights = self.nodes.iter().filter_map(|node| *node.heights.get(instance)?);
            heights.max().unwrap_or(0)
        };
        self.best = (0..instances).map(best).collect();
        for node in &mut self.nodes {
            let lags = node.heights.iter().zip(&self.best);
            let lags = lags.filter_map(|(height, best)| Some(best - (*height)?));
            node.lag = lags.max().unwrap_or(0);
        }
        self.counts = Counts::of(self.nodes.iter().map(|node| node.state));
        self.spreads = (0..instances).map(|instance| self.spread(instance)).collect();
        let sum = |sum: Usage, node: &NodeNow| Usage {
            cpu_percent: sum.cpu_percent + node.usage.cpu_percent,
            rss_bytes: sum.rss_bytes.saturating_add(node.usage.rss_bytes),
        };
        self.total = self.nodes.iter().fold(Usage::default(), sum);
    }

    fn look_at_programs(&mut self, glimpses: &[NodeGlimpse]) {
        for (program, glimpse) in self.programs.iter_mut().zip(glimpses) {
            program.state = program_state(glimpse.life);
            program.usage = usage(program.last, glimpse.sample, program.usage);
            if matches!(program.state, NodeState::Paused | NodeState::Down) {
                program.usage.cpu_percent = 0.0;
            }
            if program.state == NodeState::Down {
                program.usage.rss_bytes = 0;
            }
            program.last = glimpse.sample.or(program.last);
        }
    }

    fn spread(&self, instance: usize) -> Option<Spread> {
        let runs = |node: &&NodeNow| node.state != NodeState::Down && node.last.is_some();
        let heights = self.nodes.iter().filter(runs);
        Spread::of(heights.filter_map(|node| *node.heights.get(instance)?).collect())
    }

    /// Faults that are new become events; those that are gone are told by events of their own.
    fn look_at_faults(&mut self, open: &[OpenFault]) {
        let open: Vec<OpenFault> = open.iter().take(NODES_MAX).cloned().collect();
        for fault in &open {
            let is_new = self.faults.iter().all(|before| before.id != fault.id);
            if is_new {
                self.add_line("fault", "", &fault.text);
            }
            self.by_hand |= fault.by_hand;
        }
        self.faults = open;
    }

    fn remember(&mut self) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        let load = self.load.unwrap_or_default();
        let is_loaded = load.offered_per_s > 0 || load.final_per_s > 0;
        self.history.push_back(Point {
            at_ms: self.at_ms,
            offered_per_s: load.offered_per_s,
            final_per_s: load.final_per_s,
            p50_us: if is_loaded { load.p50_us } else { 0 },
            p99_us: if is_loaded { load.p99_us } else { 0 },
            fault: !self.faults.is_empty(),
        });
    }

    /// Indices of the nodes that a fault is done to.
    #[must_use]
    pub fn faulted(&self) -> BTreeSet<u32> {
        self.faults
            .iter()
            .flat_map(|fault| fault.nodes.iter().copied())
            .collect()
    }

    /// Regions with their nodes' states, by name; one nameless region when the plan has none.
    #[must_use]
    pub fn regions(&self) -> Vec<(String, Counts)> {
        let names: BTreeSet<&str> = self.setting.nodes.iter().map(|place| place.region.as_str()).collect();
        let count = |name: &str| {
            let nodes = self.setting.nodes.iter().zip(&self.nodes);
            let here = nodes.filter(|(place, _)| place.region == name);
            (name.to_owned(), Counts::of(here.map(|(_, node)| node.state)))
        };
        names.into_iter().map(count).collect()
    }
}

/// CPU between two samples, and the memory of the newer one.
fn usage(before: Option<Sample>, now: Option<Sample>, known: Usage) -> Usage {
    let Some(now) = now else { return known };
    let rate = before.filter(|before| before.at_ms < now.at_ms).map(|before| {
        let seconds = (now.at_ms - before.at_ms) as f64 / 1000.0;
        ((now.cpu_s - before.cpu_s) / seconds * 100.0).max(0.0)
    });
    Usage {
        cpu_percent: rate.filter(|rate| rate.is_finite()).unwrap_or(known.cpu_percent),
        rss_bytes: now.rss_bytes,
    }
}

/// The first line of a text, of bounded length and without what a terminal would obey.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut kept = String::new();
    for character in line.chars().filter(|character| !character.is_control()) {
        if kept.len() + character.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}
