//! Faults that a person orders while a run goes on: done and undone as those of the plan are, and never hidden.

use super::{Interrupt, Interrupts, Observer, Progress, live::Live};
use crate::{
    cluster::Cluster,
    inject::Injector,
    rundir::{Entry, Journal},
};
use regatta_plan::{FaultExtent, PlannedFault, scenario::FaultKind};
use regatta_report::model::{EventKind, PhaseKind};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Orders that wait to be carried out; more are dropped.
const WAITING_MAX: usize = 16;
/// Most faults by hand in one run.
const FAULTS_MAX: usize = 100;

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Break a node, for a time or until it is asked to go on.
    Break {
        /// What is done.
        kind: FaultKind,
        /// Index of the node.
        node: u32,
        /// For how long; until the load ends when none is given.
        lasts: Option<Duration>,
    },
    /// Undo what a person did to a node.
    Mend {
        /// Index of the node.
        node: u32,
    },
}

/// Takes orders to the run that they are for. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Orders(mpsc::Sender<Order>);

impl Orders {
    /// Gives an order; whether it can be carried out shows in what the run tells.
    pub(crate) fn give(&self, order: Order) {
        // A run that takes no more orders is about to end, or has more of them than a person can give.
        let _ = self.0.try_send(order);
    }

    /// Orders and where they arrive.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Order>) {
        let (give, take) = mpsc::channel(WAITING_MAX);
        (Self(give), take)
    }
}

/// Whoever carries orders out.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) cluster: Arc<Cluster>,
    pub(super) injector: Arc<Injector>,
    pub(super) live: Arc<Live>,
    pub(super) journal: Arc<Journal>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) interrupts: Interrupts,
}

impl Desk {
    /// Carries out one order after the other, for as long as the run has nodes.
    pub(super) async fn serve(self) {
        let (orders, mut inbox) = Orders::channel();
        self.observer.tell(&Progress::Orders(&orders));
        while let Some(order) = inbox.recv().await {
            let done = match order {
                Order::Break { kind, node, lasts } => self.break_node(kind, node, lasts).await,
                Order::Mend { node } => self.mend(node),
            };
            if let Err(reason) = done {
                self.observer.tell(&Progress::Refused(&reason));
            }
        }
    }

    async fn break_node(&self, kind: FaultKind, node: u32, lasts: Option<Duration>) -> Result<(), String> {
        let now = self.allowed(node)?;
        let left = self.live.plan().phases.load_ms().saturating_sub(now);
        let lasts_ms = lasts.map_or(left, |lasts| (lasts.as_millis() as u64).min(left));
        let fault = self.live.add_by_hand(PlannedFault {
            index: 0,
            kind,
            nodes: vec![node],
            leads: None,
            sets: Vec::new(),
            one_way: false,
            extent: FaultExtent::Whole,
            at_ms: now,
            until_ms: now + lasts_ms,
            breaks_quorum: false,
            build: None,
        });
        self.write(Entry::FaultByHand {
            fault: fault.index,
            what: kind,
            nodes: vec![self.live.plan().nodes[node as usize].name.clone()],
        });
        self.live.sample().await;
        let text = format!("{}, by hand", self.live.plan().describe_fault(&fault));
        self.live.fault_began(&fault, text);
        if let Err(error) = self.injector.inject(&fault).await {
            self.live.fault_ended(fault.index);
            return Err(error.to_string());
        }
        let (desk, over) = (self.clone(), self.live.mend_all());
        self.live.add_heal(tokio::spawn(async move {
            let lasts = tokio::time::sleep(Duration::from_millis(lasts_ms));
            over.run_until_cancelled(lasts).await;
            desk.heal(fault).await;
        }));
        Ok(())
    }

    /// Milliseconds since the load began, when a person may break `node` now.
    fn allowed(&self, node: u32) -> Result<u64, String> {
        let plan = self.live.plan();
        let name = &plan.nodes.get(node as usize).ok_or("there is no such node")?.name;
        let is_loaded = matches!(
            self.live.phase(),
            PhaseKind::Warmup | PhaseKind::Measure | PhaseKind::Cooldown
        );
        let now = self.live.timeline_now_ms().filter(|_| is_loaded);
        let now = now.ok_or("nodes can be broken while the load runs, not before and not after")?;
        let concerns = |fault: &PlannedFault| fault.nodes.contains(&node);
        if self.live.open_faults().iter().any(concerns) {
            return Err(format!("{name} is under a fault already"));
        }
        let (_, pid, exit) = self.cluster.states().swap_remove(node as usize);
        if pid.is_none() || exit.is_some() {
            return Err(format!("{name} does not run"));
        }
        // Two hands on one process would start it twice.
        let comes_and_goes = plan.churn.absences.iter().any(|absence| absence.node == node);
        if comes_and_goes || plan.faults.iter().any(|fault| concerns(fault) && fault.until_ms > now) {
            return Err(format!("the plan has a fault or an absence of its own for {name}"));
        }
        if self.live.by_hand().len() >= FAULTS_MAX {
            return Err(format!("{FAULTS_MAX} faults by hand are enough for one run"));
        }
        Ok(now)
    }

    fn mend(&self, node: u32) -> Result<(), String> {
        let open = self.live.open_faults();
        let by_hand = self.live.by_hand();
        let mine = open
            .into_iter()
            .find(|fault| fault.nodes.contains(&node) && by_hand.contains(fault));
        let fault = mine.ok_or("nobody broke this node by hand")?;
        let desk = self.clone();
        self.live.add_heal(tokio::spawn(async move { desk.heal(fault).await }));
        Ok(())
    }

    /// Undoes a fault, unless somebody did.
    async fn heal(&self, fault: PlannedFault) {
        if !self.live.begin_heal(fault.index) {
            return;
        }
        let text = self.live.fault_text(fault.index).unwrap_or_default();
        let undone = match self.injector.heal(&fault).await {
            Ok(()) => {
                self.live.fault_ended(fault.index);
                self.write(Entry::FaultByHandEnded { fault: fault.index });
                self.injector.wait_back(&fault).await
            }
            error => error,
        };
        if let Err(error) = undone {
            healing_failed(&self.live, &self.journal, fault.index, (text, error.to_string()));
            self.interrupts.raise(Interrupt::NotHealed(error.to_string()));
        }
    }

    /// A journal that cannot be written ends no run that is under way; the report shows the fault as well.
    fn write(&self, entry: Entry) {
        if let Err(error) = self.journal.write(entry) {
            self.live.note(EventKind::Note, "", error.to_string());
        }
    }
}

/// Notes that a fault, in words, was not undone or its nodes did not come back, and why: in the journal and for the report.
pub(super) fn healing_failed(live: &Live, journal: &Journal, fault: u32, (text, error): (String, String)) {
    live.note(EventKind::Note, "", format!("{text}: healing failed: {error}"));
    let entry = Entry::HealingFailed { fault, text, error };
    // A journal that cannot be written ends no run that is under way; the report has it as well.
    if let Err(error) = journal.write(entry) {
        live.note(EventKind::Note, "", error.to_string());
    }
}
