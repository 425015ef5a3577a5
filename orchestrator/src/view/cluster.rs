//! A cluster that stays as live views see it: what its supervisor says of it, as looks.

use crate::supervisor::{ClusterStatus, NodeStatus, ProcessUsage};
use regatta_plan::Plan;
use regatta_report::{
    live::{Board, Glimpse, Life, NodeGlimpse},
    model::{Event, EventKind, Sample},
};
use std::{collections::BTreeMap, time::Instant};

const RUNNING: &str = "running";
const NOT_STARTED: &str = "not started";

/// Looks at one cluster, one after the other.
#[derive(Debug)]
pub(crate) struct Looks {
    began: Instant,
    /// How long the cluster had been up at the first look, in milliseconds.
    up_ms: Option<u64>,
    /// The state of each node and program at the look before.
    before: BTreeMap<String, String>,
}

impl Looks {
    /// No look yet.
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            up_ms: None,
            before: BTreeMap::new(),
        }
    }

    /// Whether the cluster has answered before.
    pub(crate) fn has_seen(&self) -> bool {
        self.up_ms.is_some()
    }

    /// Puts onto `board` how the cluster of `plan` is.
    pub(crate) fn take(&mut self, plan: &Plan, status: &ClusterStatus, board: &mut Board) {
        // A supervisor counts whole seconds: the time between two looks is measured here.
        let since = self.began.elapsed().as_millis() as u64;
        let up_ms = *self.up_ms.get_or_insert((status.up_s * 1000).saturating_sub(since));
        let at_ms = up_ms + since;
        let glimpse = Glimpse {
            at_ms,
            nodes: status.nodes.iter().map(|node| of_node(plan, node, at_ms)).collect(),
            programs: status
                .programs
                .iter()
                .map(|program| NodeGlimpse {
                    life: life(&program.state),
                    sample: program.usage.map(|usage| sample(at_ms, usage)),
                    ..NodeGlimpse::default()
                })
                .collect(),
            lab: status.usage.map(|usage| sample(at_ms, usage)),
            events: self.events(status, at_ms),
            ..Glimpse::default()
        };
        board.look(&glimpse);
        if status.ready {
            "up".clone_into(&mut board.phase_name);
            board.step_begins(&format!("lease ends in {} s", status.lease_left_s));
        }
    }

    /// Who ended or came back since the look before.
    fn events(&mut self, status: &ClusterStatus, at_ms: u64) -> Vec<Event> {
        let nodes = status.nodes.iter().map(|node| (&node.name, &node.state));
        let programs = status.programs.iter().map(|program| (&program.name, &program.state));
        let now = nodes.chain(programs);
        let event = |(name, state): (&String, &String)| {
            let kind = match (life(self.before.get(name)?), life(state)) {
                (Life::Running, Life::Ended) => EventKind::Crash,
                (Life::Ended, Life::Running) => EventKind::Restart,
                _ => return None,
            };
            Some(Event {
                start_ms: at_ms,
                end_ms: at_ms,
                kind,
                node: name.clone(),
                text: format!("{name} {state}"),
            })
        };
        let events = now.clone().filter_map(event).collect();
        self.before = now.map(|(name, state)| (name.clone(), state.clone())).collect();
        events
    }
}

fn life(state: &str) -> Life {
    match state {
        RUNNING => Life::Running,
        NOT_STARTED => Life::NotStarted,
        _ => Life::Ended,
    }
}

fn sample(at_ms: u64, usage: ProcessUsage) -> Sample {
    Sample {
        at_ms,
        cpu_s: usage.cpu_ms as f64 / 1e3,
        rss_bytes: usage.rss_bytes,
        ..Sample::default()
    }
}

fn of_node(plan: &Plan, node: &NodeStatus, at_ms: u64) -> NodeGlimpse {
    let usage = node.usage.map_or_else(Sample::default, |usage| sample(at_ms, usage));
    let height = |instance: &regatta_plan::PlannedInstance| {
        let found = node.instances.iter().find(|known| known.id == instance.id);
        found.map(|known| known.height)
    };
    NodeGlimpse {
        life: life(&node.state),
        started_ms: 0,
        // One that does not answer keeps what it said last.
        sample: node.height.map(|height| Sample {
            at_ms,
            height,
            peers: node.links.map_or(0, |(up, _)| up),
            mempool: node.instances.iter().map(|known| known.pending).sum(),
            ..usage
        }),
        heights: match node.instances.is_empty() {
            true => Vec::new(),
            false => plan.instances.iter().map(height).collect(),
        },
    }
}
