//! How a run ends: the load drains, ledgers are read, nodes are stopped, and everything that lived with them goes. When
//! memory is short the nodes go first.

use super::{
    Interrupt, Interrupts, StepError,
    links::{self, Moment},
    live::Live,
    spread,
    steps::{Mode, Runner},
};
use crate::{
    cluster::{Cluster, STOP_GRACE, endpoint},
    load::Endpoint,
    memory::{Guard, RELIEF_GRACE},
    record,
};
use regatta_report::model::{EventKind, PhaseKind};
use std::{sync::Arc, time::Duration};

/// Longest drain after an interrupt.
const INTERRUPTED_DRAIN_MAX: Duration = Duration::from_secs(5);

/// Interrupts the run when memory is short, and stops what holds it at once: any step may take too long for that.
pub(super) async fn watch_memory(live: Arc<Live>, cluster: Arc<Cluster>, interrupts: Interrupts) {
    let shortage = Guard::of(live.plan()).shortage(&cluster).await;
    interrupts.raise(Interrupt::Memory(Box::new(shortage)));
    live.stop_loads();
    cluster.stop(RELIEF_GRACE).await;
}

impl Runner {
    pub(super) async fn drain(&mut self, up_to_ms: u64) -> Result<(), StepError> {
        self.enter(PhaseKind::Drain)?;
        // What a person left on ends with the load.
        self.field()?.live.mend_all().cancel();
        let limit = match self.mode {
            _ if self.interrupts.shortage().is_some() => Duration::ZERO,
            Mode::All => Duration::from_millis(up_to_ms),
            _ => Duration::from_millis(up_to_ms).min(INTERRUPTED_DRAIN_MAX),
        };
        let loads = self.field()?.live.take_loads();
        debug_assert!(loads.len() <= self.plan.loads.len());
        let outcomes = futures::future::join_all(loads.into_iter().map(|load| load.drain(limit))).await;
        // The books first: neither a node that comes back too late nor a generator that is gone must take them along.
        let lost = self.evidence.take_books(outcomes);
        let interrupts = self.interrupts.clone();
        tokio::select! {
            biased;
            // Nobody comes back any more; what is still being undone ends with the field.
            short = interrupts.short_of_memory() => return Err(StepError::Interrupted(short)),
            () = self.everybody_back() => {}
        }
        match (self.interrupts.get(), lost) {
            (Some(interrupt), _) if self.mode == Mode::All => Err(StepError::Interrupted(interrupt)),
            (_, Some(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Waits for nodes that come back from faults and absences.
    async fn everybody_back(&mut self) {
        let by_hand = self.field.as_ref().map(|field| field.live.take_heals());
        self.moves.extend(by_hand.unwrap_or_default());
        // Each is let go of as soon as it is over: one that is waited for twice would panic.
        while let Some((_, heal)) = self.heals.last_mut() {
            // An error was raised as an interrupt; a panic of the task shows as a node that does not answer.
            let _ = heal.await;
            self.heals.pop();
        }
        while let Some(back) = self.moves.last_mut() {
            let _ = back.await;
            self.moves.pop();
        }
    }

    pub(super) async fn collect(&mut self) {
        let Some(field) = &mut self.field else { return };
        // Two measurements at one time would disturb each other.
        if let Some(attestation) = field.attestation.take() {
            attestation.abort();
            let _ = attestation.await;
            links::conclude(&field.cluster, &field.live);
        }
        if self.mode == Mode::All {
            links::attest(&field.cluster, &field.live, Moment::After).await;
        }
        // A node that does not run is why the run failed; that it does not answer as well is no finding.
        let states = self.plan.nodes.iter().zip(field.cluster.states());
        let running = states.filter(|(_, (_, pid, exit))| pid.is_some() && exit.is_none());
        let endpoints: Vec<Endpoint> = running.map(|(node, _)| endpoint(node)).collect();
        self.evidence.ran = field.cluster.ran().await;
        self.evidence.collect(&self.plan, &endpoints).await;
        let (clock, start) = (field.live.clock, self.timeline_ms.unwrap_or_default());
        let (begin, end) = self.plan.phases.window_ms();
        self.evidence.spread = spread::measure(&self.plan, &endpoints, clock, start + begin..start + end).await;
        self.finish_sampling().await;
    }

    pub(super) async fn stop(&mut self) {
        let is_short = self.interrupts.shortage().is_some();
        let relief = self.field.as_mut().and_then(|field| field.memory.take_if(|_| is_short));
        if let Some(relief) = relief {
            // It is stopping the nodes; one that was started in the meantime is seen to below.
            let _ = relief.await;
        }
        // A run that is given up has collected nothing.
        self.finish_sampling().await;
        let Some(field) = &self.field else { return };
        let now = field.live.clock.now_ms();
        self.evidence.phase(PhaseKind::Stop, now);
        field.live.set_phase(PhaseKind::Stop, None);
        if let Some(switch) = field.cluster.switch()
            && let Some(tally) = switch.tally().await
        {
            let links = record::links(&tally, field.live.links.take());
            let lines = record::links_disclosure(switch.scheduling(), &links);
            self.evidence.disclosure.extend(lines);
            self.evidence.links = Some(links);
        }
        let grace = if is_short { RELIEF_GRACE } else { STOP_GRACE };
        let stopped = field.cluster.stop(grace).await;
        for trouble in field.cluster.clear().await {
            field.live.note(EventKind::Note, "", trouble);
        }
        self.evidence.disclosure.extend(field.cluster.disclosure());
        for node in stopped {
            let text = format!("did not stop within {} s and was killed", grace.as_secs());
            field.live.note(EventKind::Note, &node, text);
        }
        self.evidence.end(field.live.clock.now_ms());
    }

    /// Lets go of everything that lives as long as the nodes. Dropping the cluster kills what still runs.
    pub(super) async fn clear_field(&mut self) {
        self.connected.clear();
        self.prepared.clear();
        let heals = std::mem::take(&mut self.heals).into_iter().map(|(_, heal)| heal);
        for heal in heals.chain(std::mem::take(&mut self.moves)) {
            heal.abort();
            let _ = heal.await;
        }
        self.let_hosts_go().await;
        let Some(field) = self.field.take() else { return };
        for heal in field.live.take_heals() {
            heal.abort();
            let _ = heal.await;
        }
        self.evidence.interfered(&self.plan, &field.live.by_hand());
        self.evidence.provider = field.cluster.describe().to_owned();
        self.evidence.emulation = field.cluster.emulation();
        for task in field.attestation.into_iter().chain(field.memory) {
            task.abort();
            let _ = task.await;
        }
        // Both hold the nodes, whose events end with the last of them.
        drop((field.injector, field.cluster));
        for watcher in field.watchers {
            watcher.abort();
            let _ = watcher.await;
        }
        let _ = field.nodes.await;
        self.evidence.events = field.live.take_events();
    }
}
