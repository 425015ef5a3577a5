//! What happens in virtual time: waiting, loads, phases, faults, draining, reading ledgers.

use super::{MILLISECOND, Simulation, clients::simulated_clients, world};
use crate::{
    check, inject,
    load::RunClock,
    runner::{Heartbeat, Progress, StepError, evidence::rules, load_spec},
};
use regatta_plan::{FaultExtent, Plan, PlannedFault, scenario::FaultKind};
use regatta_report::model::{Event, EventKind, PhaseKind};
use regatta_sim::{LinkShift, Nanos, Trouble, World};
use std::time::Instant;

/// Longest virtual time from the first start until every node has all its links.
const READY_NS: Nanos = 120_000 * MILLISECOND;
/// From then on to the timeline.
const LEAD_NS: Nanos = 200 * MILLISECOND;
/// Longest virtual time that nodes get after the load to catch up with the highest.
const CATCH_UP_NS: Nanos = 60_000 * MILLISECOND;
/// Steps of virtual time in which something is waited for.
const PATIENCE_NS: Nanos = 20 * MILLISECOND;

impl Simulation {
    /// Makes the world, once.
    pub(super) fn prepare(&mut self) -> Result<(), StepError> {
        if self.world.is_none() {
            let planned = self.plan.world.as_ref().ok_or(StepError::OutOfOrder)?;
            let world = world::build(&self.plan, planned)?;
            self.world = Some(world?);
            self.note_late_starts();
            self.evidence.provider = "simulated: the node's core in virtual time".to_owned();
        }
        Ok(())
    }

    /// Lets time pass until every node has all its links.
    pub(super) async fn wait_ready(&mut self) -> Result<(), StepError> {
        loop {
            let world = self.world.as_ref().ok_or(StepError::OutOfOrder)?;
            if world.is_ready() {
                break;
            }
            let late = world.now() > READY_NS || self.ended_early;
            if late {
                let late = self.plan.churn.late();
                let is_late = |host: &usize| late.iter().any(|node| *node as usize == *host);
                let mut hosts = (0..world.len()).filter(|host| !is_late(host));
                let away = hosts.find(|&host| world.failure(host).is_some() || !world.is_up(host));
                let node = away.map_or("links", |host| self.plan.nodes[host].name.as_str());
                return Err(StepError::NotReady(node.to_owned()));
            }
            let until = world.now() + PATIENCE_NS;
            self.advance(until).await;
        }
        self.timeline = self.now() + LEAD_NS;
        Ok(())
    }

    fn now(&self) -> Nanos {
        self.world.as_ref().map_or(0, World::now)
    }

    /// Lets time pass until `until`: clients act and see, samples are taken, whoever watches is told.
    pub(super) async fn advance(&mut self, until: Nanos) {
        while self.now() < until && !self.ended_early {
            let Some(world) = &mut self.world else { return };
            let interval = self.samples.interval_ms * MILLISECOND;
            let sample = (world.now() / interval + 1) * interval;
            let wake = self.clients.iter().map(|clients| clients.next_at()).min();
            // Whether a node has caught up is looked at often enough to tell when it did.
            let look = if self.behind.is_empty() {
                Nanos::MAX
            } else {
                world.now() + PATIENCE_NS
            };
            let next = wake
                .unwrap_or(Nanos::MAX)
                .max(world.now())
                .min(sample)
                .min(look)
                .min(until);
            for (at, observation) in world.run_until(next) {
                self.clients
                    .iter_mut()
                    .for_each(|clients| clients.see(at, &observation));
            }
            self.clients.iter_mut().for_each(|clients| clients.act(world));
            if next == sample {
                self.samples.take(world);
            }
            self.look_who_caught_up();
            self.look_around().await;
        }
    }

    /// Gives the rest of the lab its time: signals, budgets, people.
    async fn look_around(&mut self) {
        tokio::task::yield_now().await;
        if let Some(interrupt) = self.interrupts.get().filter(|_| !self.ended_early) {
            self.ended_early = true;
            self.evidence.interrupted(&interrupt);
            self.observer.tell(&Progress::Ending(&interrupt.to_string()));
            self.clients.iter_mut().for_each(|clients| clients.stop());
        }
        if self.beat.elapsed() >= self.observer.heartbeat_interval() {
            self.beat = Instant::now();
            let beat = self.heartbeat();
            self.observer.tell(&Progress::Heartbeat(&beat));
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        let now = self.now();
        let heights = self.world.as_ref().and_then(|world| {
            let heights = || (0..world.len()).map(|host| world.view(host).height);
            Some((heights().min()?, heights().max()?))
        });
        let progress = self.clients.iter().map(|clients| clients.progress(now));
        let open = self.faults.iter().map(|(fault, _)| self.plan.describe_fault(fault));
        Heartbeat {
            elapsed_ms: now / MILLISECOND,
            phase: self.phase,
            heights,
            load: progress.reduce(crate::runner::add_progress),
            faults: open.collect(),
            disk_bytes: 0,
        }
    }

    pub(super) fn start_load(&mut self, load: u32) -> Result<(), StepError> {
        let planned = self.plan.loads.get(load as usize).ok_or(StepError::OutOfOrder)?;
        let spec = load_spec(&self.plan, planned, format!("load/{load}"), RunClock::start())?;
        let world = self.world.as_mut().ok_or(StepError::OutOfOrder)?;
        let heights = spec
            .targets
            .iter()
            .map(|target| world.height(target.node as usize, &spec.instance));
        let height = heights.min().unwrap_or(0);
        let clients = simulated_clients(spec, self.timeline, height)?;
        clients.subscribe(world);
        self.clients.push(clients);
        Ok(())
    }

    pub(super) fn enter(&mut self, kind: PhaseKind) {
        self.evidence.phase(kind, self.now() / MILLISECOND);
        self.phase = kind;
    }

    pub(super) fn inject(&mut self, fault: u32) -> Result<(), StepError> {
        let plan = std::sync::Arc::clone(&self.plan);
        let mut planned = plan.faults.get(fault as usize).cloned().ok_or(StepError::OutOfOrder)?;
        let world = self.world.as_mut().ok_or(StepError::OutOfOrder)?;
        // The counters as they are before the fault.
        self.samples.take(world);
        if let Some(id) = &planned.leads {
            let instance = id.parse()?;
            let height = (0..world.len()).map(|host| world.height(host, &instance)).max();
            planned.nodes.extend(inject::leader(&plan, id, height.unwrap_or(0) + 1));
        }
        match planned.kind {
            FaultKind::Crash => planned.nodes.iter().for_each(|&node| {
                world.crash(node as usize);
                if planned.extent == FaultExtent::DiskLost {
                    world.lose_disk(node as usize);
                }
            }),
            FaultKind::Pause => planned.nodes.iter().for_each(|&node| world.pause(node as usize)),
            FaultKind::Partition => directions(&plan, &planned).for_each(|(from, to)| {
                world.cut(from as usize, to as usize);
            }),
            // Done below, with what other faults make of the same.
            FaultKind::Link | FaultKind::Skew | FaultKind::DiskFull | FaultKind::DiskSlow => {}
            kind => return Err(inject::InjectError::Unsupported(kind).into()),
        }
        let now = world.now();
        self.faults.push((planned.clone(), now));
        self.change(&planned);
        Ok(())
    }

    /// Makes of the links and the nodes of `fault` what all faults that are on make of them.
    fn change(&mut self, fault: &PlannedFault) {
        let on: Vec<PlannedFault> = self.faults.iter().map(|(fault, _)| fault.clone()).collect();
        let Some(world) = &mut self.world else { return };
        if fault.kind == FaultKind::Link {
            for (from, to) in directions(&self.plan, fault) {
                world.shift(from as usize, to as usize, shift(&on, from, to));
            }
        } else if fault.kind.is_made_by_node() {
            for &node in &fault.nodes {
                let made = inject::node_faults(&on, node);
                let trouble = Trouble {
                    ahead_ms: made.clock_ahead_ms,
                    flush_ns: made.flush_delay_us * 1000,
                    disk_full: made.disk_full,
                };
                world.trouble(node as usize, trouble);
            }
        }
    }

    pub(super) fn heal(&mut self, fault: u32) {
        let plan = std::sync::Arc::clone(&self.plan);
        let Some(began) = self.faults.iter().position(|(open, _)| open.index == fault) else {
            return;
        };
        let (planned, began) = self.faults.remove(began);
        let Some(world) = &mut self.world else { return };
        let now_ms = world.now() / MILLISECOND;
        let mut note = |kind, node: &str, start_ms, text: String| {
            self.evidence.events.push(Event {
                start_ms,
                end_ms: now_ms,
                kind,
                node: node.to_owned(),
                text,
            });
        };
        let name = |node: u32| plan.nodes[node as usize].name.as_str();
        let node = match planned.nodes.as_slice() {
            [one] => name(*one),
            _ => "",
        };
        note(
            EventKind::Fault,
            node,
            began / MILLISECOND,
            plan.describe_fault(&planned),
        );
        for &node in &planned.nodes {
            match planned.kind {
                FaultKind::Crash => {
                    world.start(node as usize);
                    note(EventKind::Restart, name(node), now_ms, "started again".to_owned());
                }
                FaultKind::Pause => world.resume(node as usize),
                _ => {}
            }
        }
        self.change(&planned);
        let Some(world) = &mut self.world else { return };
        if planned.kind == FaultKind::Partition {
            let others = self.faults.iter().map(|(fault, _)| fault);
            let others: Vec<&PlannedFault> = others.filter(|fault| fault.kind == FaultKind::Partition).collect();
            let healed = directions(&plan, &planned);
            let healed = healed.filter(|(from, to)| !others.iter().any(|other| other.covers(*from, *to)));
            healed.for_each(|(from, to)| {
                world.mend(from as usize, to as usize);
            });
        }
    }

    /// Waits until every transaction has an end, for `up_to_ms` at most, and closes the books.
    pub(super) async fn drain(&mut self, up_to_ms: u64) -> Result<(), StepError> {
        self.enter(PhaseKind::Drain);
        let open: Vec<u32> = self.faults.iter().map(|(fault, _)| fault.index).collect();
        open.into_iter().for_each(|fault| self.heal(fault));
        // After an early end: everybody who meant to return does so now.
        for absence in self.absences.open() {
            self.come_back(absence)?;
        }
        let end = self.now() + up_to_ms * MILLISECOND;
        while self.now() < end && !self.ended_early && !self.clients.iter().all(|clients| clients.is_done()) {
            self.advance((self.now() + PATIENCE_NS).min(end)).await;
        }
        if let Some(world) = &self.world {
            let closed = self.clients.drain(..).map(|clients| clients.close(world));
            self.evidence.loads = closed.collect();
        }
        Ok(())
    }

    /// Reads all ledgers, after nodes that are behind had time to catch up.
    pub(super) async fn collect(&mut self) {
        let plan = std::sync::Arc::clone(&self.plan);
        let gone = plan.churn.gone();
        for instance in &plan.instances {
            let hosts = plan.nodes.iter().enumerate();
            let is_there = |node: u32| gone.binary_search(&node).is_err();
            let hosts = hosts.filter(|(_, node)| instance.runs(node.index) && is_there(node.index));
            let names: Vec<(usize, String)> = hosts.map(|(host, node)| (host, node.name.clone())).collect();
            let rules = match rules(&plan, instance) {
                Ok(rules) => rules,
                Err(error) => return self.evidence.failed(&error.to_string()),
            };
            let Some(world) = &self.world else { return };
            let target = check::simulated_target(&rules, world);
            let end = self.now() + CATCH_UP_NS;
            let behind = |world: &World| {
                let mut hosts = names.iter().map(|(host, _)| *host);
                hosts.any(|host| world.is_up(host) && world.height(host, &rules.instance) < target)
            };
            while self.now() < end && !self.ended_early && self.world.as_ref().is_some_and(behind) {
                self.advance(self.now() + PATIENCE_NS).await;
            }
            let Some(world) = &self.world else { return };
            let submitted = self.evidence.submitted(&plan, &instance.id);
            let ledger = check::read_simulated(&rules, world, &names, target, &submitted);
            self.evidence.ledgers.push(ledger);
        }
    }

    pub(super) fn stop(&mut self) {
        let now_ms = self.now() / MILLISECOND;
        self.evidence.phase(PhaseKind::Stop, now_ms);
        if let Some(world) = &self.world {
            self.samples.take(world);
        }
        self.evidence.samples = self.samples.finish();
        self.evidence.end(now_ms);
    }
}

/// What the faults that are on make of one direction.
fn shift(on: &[PlannedFault], from: u32, to: u32) -> LinkShift {
    let changes = on.iter().filter(|fault| fault.covers(from, to));
    let changes = changes.filter_map(PlannedFault::link);
    changes.fold(LinkShift::default(), |shift, change| LinkShift {
        delay_ns: shift.delay_ns.saturating_add(change.delay_ns),
        jitter_ppm: change.jitter_ppm.or(shift.jitter_ppm),
        loss_ppm: change.loss_ppm.or(shift.loss_ppm),
        rate_bits: change.rate_bits.into_iter().chain(shift.rate_bits).min(),
    })
}

/// The directions of links that a fault affects.
fn directions<'p>(plan: &'p Plan, fault: &'p PlannedFault) -> impl Iterator<Item = (u32, u32)> + 'p {
    let both = plan.edges.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
    both.filter(|(from, to)| fault.covers(*from, *to))
}
