//! Nodes that leave and return in virtual time.

use super::{MILLISECOND, Simulation};
use crate::runner::{StepError, churn::add_snapshot};
use regatta_base::{Height, InstanceId};
use regatta_plan::{PlannedAbsence, scenario::Leave};
use regatta_report::model::{Event, EventKind, Fetched};
use regatta_sim::World;

/// A node that has returned and lacks blocks.
#[derive(Debug)]
pub(super) struct Behind {
    absence: u32,
    host: usize,
    /// What the network had when the node returned, by instance.
    target: Vec<(InstanceId, Height)>,
    /// Blocks that it lacked when it began to work.
    lacked: Option<u64>,
    /// What it had when it began to work, in the order of `target`.
    began: Vec<Height>,
}

impl Simulation {
    fn absence(&self, absence: u32) -> Result<PlannedAbsence, StepError> {
        let planned = self.plan.churn.absences.get(absence as usize);
        planned.cloned().ok_or(StepError::OutOfOrder)
    }

    /// Notes who is not there from the beginning.
    pub(super) fn note_late_starts(&self) {
        let late = self
            .plan
            .churn
            .absences
            .iter()
            .filter(|absence| absence.is_late_start());
        late.for_each(|absence| self.absences.left(&self.plan, absence, 0));
    }

    pub(super) fn leave(&mut self, absence: u32) -> Result<(), StepError> {
        let planned = self.absence(absence)?;
        let world = self.world.as_mut().ok_or(StepError::OutOfOrder)?;
        // The counters as they are before.
        self.samples.take(world);
        let host = planned.node as usize;
        match planned.leave {
            Leave::Kill => world.crash(host),
            Leave::Stop => world.stop(host),
        }
        self.behind.retain(|behind| behind.host != host);
        self.absences.left(&self.plan, &planned, world.now() / MILLISECOND);
        Ok(())
    }

    pub(super) fn come_back(&mut self, absence: u32) -> Result<(), StepError> {
        let planned = self.absence(absence)?;
        let world = self.world.as_mut().ok_or(StepError::OutOfOrder)?;
        let host = planned.node as usize;
        let returned = world.now() / MILLISECOND;
        self.absences.note(absence, |entry| entry.returned_ms = Some(returned));
        world.start(host);
        if !planned.is_late_start() {
            self.evidence.events.push(Event {
                start_ms: returned,
                end_ms: returned,
                kind: EventKind::Restart,
                node: self.plan.nodes[host].name.clone(),
                text: "started again".to_owned(),
            });
        }
        let runs = self
            .plan
            .instances
            .iter()
            .filter(|instance| instance.runs(planned.node));
        let named = runs.filter_map(|instance| instance.id.parse::<InstanceId>().ok());
        let highest = |instance: &InstanceId| (0..world.len()).map(|host| world.height(host, instance)).max();
        let target = named.map(|id| (id.clone(), highest(&id).unwrap_or(0))).collect();
        self.behind.push(Behind {
            absence,
            host,
            target,
            lacked: None,
            began: Vec::new(),
        });
        Ok(())
    }

    /// Takes note of nodes that have caught up.
    pub(super) fn look_who_caught_up(&mut self) {
        let Some(world) = &self.world else { return };
        let (absences, now) = (&self.absences, world.now() / MILLISECOND);
        self.behind.retain_mut(|behind| {
            if !world.is_up(behind.host) {
                return true;
            }
            let lacks = behind.lacks(world);
            let first = *behind.lacked.get_or_insert(lacks);
            behind.begin(world);
            if lacks == 0 {
                let fetched = behind.fetched(world);
                absences.note(behind.absence, |entry| {
                    entry.caught_up_ms = Some(now);
                    entry.blocks_behind = Some(first);
                    entry.fetched = Some(fetched);
                });
            }
            lacks > 0
        });
    }
}

impl Behind {
    /// Notes what it has when it is first looked at.
    fn begin(&mut self, world: &World) {
        if self.began.is_empty() {
            let heights = self
                .target
                .iter()
                .map(|(instance, _)| world.height(self.host, instance));
            self.began = heights.collect();
        }
    }

    /// What it fetched since then.
    fn fetched(&self, world: &World) -> Fetched {
        let mut fetched = Fetched::default();
        for ((instance, last), had) in self.target.iter().zip(&self.began) {
            let Some(row) = world.latest(self.host, instance) else {
                continue;
            };
            let had = add_snapshot(&mut fetched, &row, *had);
            let count = usize::try_from(last.saturating_sub(had)).unwrap_or(usize::MAX);
            fetched.blocks += count as u64;
            let blocks = world.summaries(self.host, instance, had + 1, count);
            fetched.block_bytes += blocks.iter().map(|block| block.bytes).sum::<u64>();
        }
        fetched
    }

    fn lacks(&self, world: &World) -> u64 {
        let lacks = self
            .target
            .iter()
            .map(|(instance, wanted)| wanted.saturating_sub(world.height(self.host, instance)));
        lacks.max().unwrap_or(0)
    }
}
