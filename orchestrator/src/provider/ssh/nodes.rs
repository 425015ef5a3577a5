//! Nodes on hosts as processes of the lab: their states from what agents tell, their orders to agents.

use super::lock;
use crate::fleet::HostClient;
use regatta_fleet::{Exit, NodeEvent, NodeSample, NodeState, NodeStatus, OrderBody, Signal, Started};
use regatta_process::{Order, Process, State};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// How long an agent may take beyond the grace period of a stop.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(30);

/// The newest process of each node, by name.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    table: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    /// None until the host says that it runs.
    pid: Option<u32>,
    state: watch::Sender<State>,
}

/// A node that is about to be started.
pub(super) struct Begun {
    name: String,
    watched: watch::Receiver<State>,
}

impl Nodes {
    /// A start is about to be ordered. What is told of the node from now on is about the new process.
    pub(super) fn begin(&self, name: &str) -> Begun {
        let (state, watched) = watch::channel(State::Running(None));
        lock(&self.table).insert(name.to_owned(), Known { pid: None, state });
        Begun {
            name: name.to_owned(),
            watched,
        }
    }

    /// It runs.
    pub(super) fn started(&self, begun: Begun, started: &Started, client: Arc<HostClient>) -> Process {
        if let Some(known) = lock(&self.table).get_mut(&begun.name) {
            known.pid = Some(started.pid);
        }
        let (orders, inbox) = mpsc::unbounded_channel();
        let state = lock(&self.table).get(&begun.name).map(|known| known.state.clone());
        if let Some(state) = state {
            tokio::spawn(obey(client, started.clone(), inbox, state));
        }
        Process::elsewhere(started.pid, started.start_ticks, orders, begun.watched)
    }

    /// It had said `line` before.
    pub(super) fn greet(&self, name: &str, line: Option<&str>) {
        line.into_iter().for_each(|line| self.announced(name, line));
    }

    /// Takes what an agent tells; gives back samples, which are another's.
    pub(super) fn event<'a>(&self, event: &'a NodeEvent) -> Option<&'a [NodeSample]> {
        match event {
            NodeEvent::Announced { node, line } => self.announced(node.as_str(), line),
            NodeEvent::Ended { node, pid, exit } => self.ended(node.as_str(), Some(*pid), exit.clone()),
            NodeEvent::Sampled { nodes, .. } => return Some(nodes),
            NodeEvent::Started(_) | NodeEvent::Fault { .. } | NodeEvent::LeaseEnded { .. } => {}
        }
        None
    }

    fn announced(&self, name: &str, line: &str) {
        if let Some(known) = lock(&self.table).get(name) {
            known.state.send_if_modified(|state| {
                let first = *state == State::Running(None);
                if first {
                    *state = State::Running(Some(line.to_owned()));
                }
                first
            });
        }
    }

    fn ended(&self, name: &str, pid: Option<u32>, exit: Exit) {
        if let Some(known) = lock(&self.table).get(name)
            && (pid.is_none() || known.pid.is_none() || known.pid == pid)
        {
            end(&known.state, exit);
        }
    }

    /// The nodes `placed` on a host that came back, as it has them now. One that it does not know any more has ended.
    pub(super) fn reconcile(&self, placed: &[String], nodes: &[NodeStatus]) {
        for name in placed {
            let status = nodes.iter().find(|status| status.started.node.as_str() == name);
            match status.map(|status| &status.state) {
                Some(NodeState::Running(Some(line))) => self.announced(name, line),
                Some(NodeState::Running(None)) => {}
                Some(NodeState::Ended(exit)) => {
                    let pid = status.map(|status| status.started.pid);
                    self.ended(name, pid, exit.clone());
                }
                None if self.has_started(name) => self.lost_one(name, "the agent knows nothing of it any more"),
                None => {}
            }
        }
    }

    fn has_started(&self, name: &str) -> bool {
        lock(&self.table).get(name).is_some_and(|known| known.pid.is_some())
    }

    /// The nodes `placed` on a host that is given up.
    pub(super) fn lost(&self, placed: &[String], why: &str) {
        placed.iter().for_each(|name| self.lost_one(name, why));
    }

    fn lost_one(&self, name: &str, why: &str) {
        self.ended(name, None, vanished(false, why));
    }
}

/// How a process ended that nobody saw end.
fn vanished(ordered: bool, why: &str) -> Exit {
    Exit {
        code: None,
        signal: None,
        ordered,
        forced: ordered,
        starved: false,
        tail: vec![why.to_owned()],
    }
}

/// A process ends once.
fn end(state: &watch::Sender<State>, exit: Exit) {
    state.send_if_modified(|state| {
        let runs = matches!(state, State::Running(_));
        if runs {
            *state = State::Ended(exit);
        }
        runs
    });
}

/// Passes a process's orders on to its agent until nobody can give any more, which ends it as it would here.
async fn obey(
    client: Arc<HostClient>,
    started: Started,
    mut orders: mpsc::UnboundedReceiver<Order>,
    state: watch::Sender<State>,
) {
    let mut watched = state.subscribe();
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            _ = watched.wait_for(|state| matches!(state, State::Ended(_))) => return,
        };
        let Some(order) = order else { return };
        // Beside each other: a kill must not wait for a stop that takes its time. The connection keeps their order.
        tokio::spawn(pass_on(Arc::clone(&client), started.clone(), order, state.clone()));
    }
}

async fn pass_on(client: Arc<HostClient>, started: Started, order: Order, state: watch::Sender<State>) {
    let (signal, grace) = match order {
        Order::Stop(grace) => {
            let grace_ms = grace.as_millis() as u64;
            (Signal::Stop { grace_ms }, grace)
        }
        Order::Kill => (Signal::Kill, Duration::ZERO),
        Order::Pause => (Signal::Pause, Duration::ZERO),
        Order::Resume => (Signal::Resume, Duration::ZERO),
    };
    let body = OrderBody::Signal {
        nodes: vec![started.node.clone()],
        signal,
    };
    let answer = client.order(body, grace + SIGNAL_DEADLINE).await;
    let ends = matches!(signal, Signal::Stop { .. } | Signal::Kill);
    if ends && let Err(error) = answer {
        // Nobody may wait for ever for a host that does not answer: there the lease ends it.
        let why = format!("nobody saw it end: its host {error}");
        end(&state, vanished(true, &why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(pid: u32) -> Started {
        Started {
            node: "val-0".parse().unwrap(),
            pid,
            start_ticks: 1,
        }
    }

    fn exit() -> Exit {
        Exit {
            code: Some(7),
            signal: None,
            ordered: false,
            forced: false,
            starved: false,
            tail: Vec::new(),
        }
    }

    fn ended(pid: u32) -> NodeEvent {
        NodeEvent::Ended {
            node: "val-0".parse().unwrap(),
            pid,
            exit: exit(),
        }
    }

    #[test]
    fn what_is_told_of_the_process_before_does_not_end_the_next_one() {
        let nodes = Nodes::default();
        let begun = nodes.begin("val-0");
        lock(&nodes.table).get_mut("val-0").unwrap().pid = Some(2);
        nodes.event(&ended(1));
        assert_eq!(*begun.watched.borrow(), State::Running(None));
        nodes.event(&ended(2));
        assert_eq!(*begun.watched.borrow(), State::Ended(exit()));
        nodes.lost(&["val-0".to_owned()], "too late");
        assert_eq!(*begun.watched.borrow(), State::Ended(exit()), "it ends once");
    }

    #[test]
    fn a_host_that_comes_back_says_what_was_missed() {
        let nodes = Nodes::default();
        let (begun, placed) = (nodes.begin("val-0"), ["val-0".to_owned()]);
        let status = |state| NodeStatus {
            started: started(2),
            state,
        };
        nodes.reconcile(&placed, &[]);
        assert_eq!(*begun.watched.borrow(), State::Running(None), "it was not started yet");
        lock(&nodes.table).get_mut("val-0").unwrap().pid = Some(2);
        nodes.reconcile(&placed, &[status(NodeState::Running(Some("here".to_owned())))]);
        assert_eq!(*begun.watched.borrow(), State::Running(Some("here".to_owned())));
        nodes.reconcile(&placed, &[]);
        assert!(matches!(&*begun.watched.borrow(), State::Ended(exit) if !exit.ordered));
    }
}
