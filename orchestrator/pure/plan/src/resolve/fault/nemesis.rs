//! Random faults: drawn from the seed, one after the other, each only where what is then left is still a quorum.

use super::{
    FAULTS_MAX, Placed,
    quorum::{broken, shared_node, takes_away},
};
use crate::{
    FaultExtent, LinkChange, PlannedFault,
    diagnostic::Code,
    resolve::{Draft, links::ppm, phases},
    scenario::{FaultKind, Nemesis},
    units::Duration,
};
use rand::{RngExt, rngs::ChaCha8Rng, seq::IndexedRandom, seq::SliceRandom};
use regatta_base::seed;
use std::collections::BTreeSet;

const PATH: &str = "nemesis";
/// How often another fault is drawn when one does not fit, before time goes on.
const DRAWS: usize = 16;

/// Adds the random faults to those that the scenario lists.
pub(super) fn add(draft: &mut Draft<'_>, planned: &mut Vec<Placed>) {
    let scenario = draft.scenario;
    let Some(nemesis) = &scenario.nemesis else { return };
    let nodes = candidates(draft, nemesis);
    let Some((from, until)) = check(draft, nemesis) else {
        return;
    };
    if nodes.is_empty() {
        return;
    }
    let mut random = Random {
        nemesis,
        nodes,
        rng: seed::rng(scenario.seed, PATH),
        until,
        planned: planned.iter().map(|(_, fault)| fault.clone()).collect(),
        drawn: Vec::new(),
    };
    random.fill(draft, from);
    if random.drawn.len() >= FAULTS_MAX {
        let message = format!("the nemesis would draw more than {FAULTS_MAX} faults");
        draft.error(Code::TooManyFaults, PATH, message, "use a longer `gap` or `length`");
    }
    planned.extend(random.drawn.into_iter().map(|fault| (PATH.to_owned(), fault)));
}

/// Whom they may be done to.
fn candidates(draft: &mut Draft<'_>, nemesis: &Nemesis) -> Vec<u32> {
    if nemesis.nodes.is_empty() {
        return (0..draft.nodes.len() as u32).collect();
    }
    let mut nodes = BTreeSet::new();
    for (index, name) in nemesis.nodes.iter().enumerate() {
        nodes.extend(draft.select(name, &format!("{PATH}.nodes.{index}")));
    }
    nodes.into_iter().collect()
}

/// The time that the faults have in milliseconds; `None` when nothing can be drawn.
fn check(draft: &mut Draft<'_>, nemesis: &Nemesis) -> Option<(u64, u64)> {
    let found = draft.problems.len();
    let phases = phases(draft.scenario);
    let (start, end) = phases.window_ms();
    let from = nemesis.from.map_or(start, Duration::millis);
    let until = nemesis.until.map_or(end, Duration::millis);
    let (shortest, longest) = (nemesis.length.0.millis(), nemesis.length.1.millis());
    if until > phases.load_ms() || from.saturating_add(shortest) > until {
        let load = Duration::from_millis(phases.load_ms());
        let message =
            format!("no fault fits between `from` and `until`, or they last beyond the load, which ends at {load}");
        draft.error(Code::FaultOutsidePhases, PATH, message, "lengthen `measure`");
    }
    if shortest == 0 || shortest > longest {
        let path = format!("{PATH}.length");
        draft.error(
            Code::BadAmount,
            &path,
            "the length is no range of times",
            "use length = [\"2s\", \"10s\"]",
        );
    }
    for (key, count) in [("at_once", nemesis.at_once), ("nodes_max", nemesis.nodes_max)] {
        if count == 0 {
            draft.error(
                Code::BadAmount,
                &format!("{PATH}.{key}"),
                "no fault can be drawn",
                "use 1 or more",
            );
        }
    }
    if nemesis.kinds.is_empty() {
        draft.error(
            Code::BadAmount,
            &format!("{PATH}.kinds"),
            "no kind can be drawn",
            "use kinds = [\"crash\"]",
        );
    }
    for (index, kind) in nemesis.kinds.iter().enumerate() {
        let waits = matches!(kind, FaultKind::DiskFull | FaultKind::DiskSlow);
        if !is_drawn(*kind) || (waits && !draft.scenario.node.durable) {
            let path = format!("{PATH}.kinds.{index}");
            let message = format!("the fault `{kind}` cannot be drawn here");
            draft.error(Code::Unsupported, &path, message, "write it as [[fault]]");
        }
    }
    (draft.problems.len() == found).then_some((from, until))
}

/// Whether there is a sensible random fault of this kind.
fn is_drawn(kind: FaultKind) -> bool {
    !matches!(kind, FaultKind::Upgrade | FaultKind::Memory | FaultKind::Cpu)
}

struct Random<'n> {
    nemesis: &'n Nemesis,
    nodes: Vec<u32>,
    rng: ChaCha8Rng,
    until: u64,
    planned: Vec<PlannedFault>,
    drawn: Vec<PlannedFault>,
}

impl Random<'_> {
    /// Draws faults until the time is over.
    fn fill(&mut self, draft: &Draft<'_>, from: u64) {
        let mut now = from;
        while now < self.until && self.drawn.len() < FAULTS_MAX {
            now += self.rng.random_range(0..=self.nemesis.gap.millis());
            if let Some(free) = self.free_at(now) {
                now = free;
                continue;
            }
            let found = (0..DRAWS).find_map(|_| self.draw(draft, now));
            self.drawn.extend(found);
            // Time goes on also without a gap.
            now += 1;
        }
    }

    /// When there is room for another fault, unless there is at `now`.
    fn free_at(&self, now: u64) -> Option<u64> {
        let active = self.drawn.iter().filter(|fault| now < fault.until_ms);
        let ends: Vec<u64> = active.map(|fault| fault.until_ms).collect();
        (ends.len() >= self.nemesis.at_once as usize).then(|| ends.into_iter().min().unwrap_or(now))
    }

    /// A fault that starts at `now`, if it may.
    fn draw(&mut self, draft: &Draft<'_>, now: u64) -> Option<PlannedFault> {
        let (shortest, longest) = (self.nemesis.length.0.millis(), self.nemesis.length.1.millis());
        let until_ms = now + self.rng.random_range(shortest..=longest);
        let kind = *self.nemesis.kinds.choose(&mut self.rng)?;
        let extent = self.extent(kind);
        let mut nodes = self.nodes.clone();
        nodes.shuffle(&mut self.rng);
        let count = self.rng.random_range(1..=self.nemesis.nodes_max) as usize;
        nodes.truncate(count);
        nodes.sort_unstable();
        let mut sets = Vec::new();
        if kind == FaultKind::Partition {
            let rest: Vec<u32> = (0..draft.nodes.len() as u32)
                .filter(|node| !nodes.contains(node))
                .collect();
            nodes.extend(&rest);
            sets = vec![nodes[..nodes.len() - rest.len()].to_vec(), rest];
            nodes.sort_unstable();
        }
        let fault = PlannedFault {
            index: 0,
            kind,
            nodes,
            leads: None,
            sets,
            one_way: kind == FaultKind::Partition && self.rng.random_bool(0.25),
            extent,
            at_ms: now,
            until_ms,
            breaks_quorum: false,
            build: None,
        };
        (until_ms <= self.until && self.fits(draft, &fault)).then_some(fault)
    }

    fn extent(&mut self, kind: FaultKind) -> FaultExtent {
        let nemesis = self.nemesis;
        let mut up_to = |most: u64| self.rng.random_range(most / 2..=most);
        match kind {
            FaultKind::Link => FaultExtent::Link(LinkChange {
                delay_ns: up_to(nemesis.delay.0),
                loss_ppm: Some(ppm(Some(nemesis.loss))),
                ..LinkChange::default()
            }),
            FaultKind::Skew => FaultExtent::Ahead(up_to(nemesis.offset.millis()).max(1)),
            FaultKind::DiskSlow => FaultExtent::FlushDelay(up_to(nemesis.delay.0)),
            _ => FaultExtent::Whole,
        }
    }

    /// Whether nobody gets two faults at once, and a quorum is left at every moment of it, the rest after each fault
    /// included: whoever comes back is behind at first.
    fn fits(&self, draft: &Draft<'_>, fault: &PlannedFault) -> bool {
        let rest = self.nemesis.gap.millis();
        let rested = |fault: &PlannedFault| PlannedFault {
            until_ms: fault.until_ms.saturating_add(rest),
            ..fault.clone()
        };
        let fault = rested(fault);
        let others = self.planned.iter().chain(&self.drawn).map(rested);
        let others: Vec<PlannedFault> = others
            .filter(|other| other.at_ms < fault.until_ms && fault.at_ms < other.until_ms)
            .collect();
        if others.iter().any(|other| shared_node(draft, &fault, other).is_some()) {
            return false;
        }
        let later = others.iter().map(|other| other.at_ms).filter(|at| *at > fault.at_ms);
        let mut moments = later.chain([fault.at_ms]);
        !takes_away(&fault)
            || !moments.any(|at| {
                let on = |other: &&PlannedFault| other.at_ms <= at && at < other.until_ms && takes_away(other);
                let active: Vec<&PlannedFault> = others.iter().chain([&fault]).filter(on).collect();
                broken(draft, &active).is_some()
            })
    }
}
