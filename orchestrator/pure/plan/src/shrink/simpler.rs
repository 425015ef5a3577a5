//! What can be taken from a scenario: whole pieces, and time and amounts step by step.

use super::{Candidate, Part, nodes};
use crate::{
    Scenario,
    scenario::{Rate, Role},
    units::Duration,
};

/// Most links that are looked at one by one.
pub(super) const EDGES_MAX: usize = 120;
/// A step that leaves less than this of a time leaves it alone.
const TIME_MIN: Duration = Duration::from_millis(200);
/// The same of a rate in transactions per second.
const RATE_MIN: f64 = 1.0;

/// The elements of `all` at the positions of `kept`.
fn chosen<T: Clone>(all: &[T], kept: &[usize]) -> Vec<T> {
    kept.iter().filter_map(|&place| all.get(place).cloned()).collect()
}

/// Whole faults.
pub(super) struct Faults;

impl Part for Faults {
    fn count(&self, scenario: &Scenario) -> usize {
        scenario.fault.len()
    }

    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario {
        Scenario {
            fault: chosen(&scenario.fault, kept),
            ..scenario.clone()
        }
    }
}

/// Nodes of faults that have several.
pub(super) struct FaultNodes;

impl FaultNodes {
    fn all(scenario: &Scenario) -> Vec<(usize, String)> {
        let several = scenario
            .fault
            .iter()
            .enumerate()
            .filter(|(_, fault)| fault.nodes.len() > 1);
        several
            .flat_map(|(index, fault)| fault.nodes.iter().map(move |node| (index, node.clone())))
            .collect()
    }
}

impl Part for FaultNodes {
    fn count(&self, scenario: &Scenario) -> usize {
        Self::all(scenario).len()
    }

    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario {
        let stay = chosen(&Self::all(scenario), kept);
        let mut smaller = scenario.clone();
        for (index, fault) in smaller
            .fault
            .iter_mut()
            .enumerate()
            .filter(|(_, fault)| fault.nodes.len() > 1)
        {
            fault.nodes = stay
                .iter()
                .filter(|(of, _)| *of == index)
                .map(|(_, node)| node.clone())
                .collect();
        }
        smaller
            .fault
            .retain(|fault| !fault.nodes.is_empty() || !fault.sets.is_empty());
        smaller
    }
}

/// Single absences.
pub(super) struct Absences;

impl Absences {
    fn all(scenario: &Scenario) -> Vec<(usize, usize)> {
        let lists = scenario.churn.iter().enumerate();
        lists
            .flat_map(|(index, churn)| (0..churn.row.len()).map(move |row| (index, row)))
            .collect()
    }
}

impl Part for Absences {
    fn count(&self, scenario: &Scenario) -> usize {
        Self::all(scenario).len()
    }

    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario {
        let stay = chosen(&Self::all(scenario), kept);
        let mut smaller = scenario.clone();
        for (index, churn) in smaller.churn.iter_mut().enumerate() {
            let rows: Vec<usize> = stay
                .iter()
                .filter(|(of, _)| *of == index)
                .map(|(_, row)| *row)
                .collect();
            churn.row = chosen(&churn.row, &rows);
        }
        smaller
            .churn
            .retain(|churn| churn.group.is_some() || !churn.row.is_empty());
        smaller
    }
}

/// Whole nodes.
pub(super) struct Nodes;

impl Part for Nodes {
    fn count(&self, scenario: &Scenario) -> usize {
        nodes::nodes(scenario).len()
    }

    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario {
        nodes::with(scenario, &chosen(&nodes::nodes(scenario), kept))
    }
}

/// Whole loads.
pub(super) struct Loads;

impl Part for Loads {
    fn count(&self, scenario: &Scenario) -> usize {
        scenario.load.len()
    }

    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario {
        Scenario {
            load: chosen(&scenario.load, kept),
            ..scenario.clone()
        }
    }
}

/// Consensus instances, with the loads that go to them.
pub(super) struct Instances;

impl Part for Instances {
    fn count(&self, scenario: &Scenario) -> usize {
        scenario.consensus.len()
    }

    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario {
        let mut smaller = Scenario {
            consensus: chosen(&scenario.consensus, kept),
            ..scenario.clone()
        };
        let is_left = |id: &String| smaller.consensus.iter().any(|instance| instance.id == *id);
        smaller.load.retain(|load| load.consensus.as_ref().is_none_or(is_left));
        smaller
    }
}

/// Objectives: those that are met need not be asked.
pub(super) struct Objectives;

impl Part for Objectives {
    fn count(&self, scenario: &Scenario) -> usize {
        scenario.slo.len()
    }

    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario {
        let all = scenario
            .slo
            .iter()
            .enumerate()
            .filter(|(place, _)| kept.contains(place));
        Scenario {
            slo: all
                .map(|(_, (metric, wanted))| (metric.clone(), wanted.clone()))
                .collect(),
            ..scenario.clone()
        }
    }
}

/// Links that are written out.
pub(super) struct Edges;

impl Part for Edges {
    fn count(&self, scenario: &Scenario) -> usize {
        scenario.peering.edges.len()
    }

    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario {
        let mut smaller = scenario.clone();
        smaller.peering.edges = chosen(&scenario.peering.edges, kept);
        smaller
    }
}

/// The scenario with the links of its plan in place of the rules that made them.
pub(super) fn with_edges(candidate: &Candidate) -> Scenario {
    let mut written = candidate.scenario.clone();
    let name = |node: u32| candidate.plan.nodes[node as usize].name.clone();
    written.peering.rules.clear();
    written.peering.edges = candidate.plan.edges.iter().map(|&(a, b)| (name(a), name(b))).collect();
    written
}

/// One step to something simpler; none where nothing is left to simplify.
type Step = fn(&Scenario) -> Option<Scenario>;

/// All steps, each of which is taken as often as the scenario still fails.
pub(super) const STEPS: [Step; 12] = [
    no_cooldown,
    no_warmup,
    cut_end,
    halve_measure,
    earlier,
    shorter_faults,
    shorter_absences,
    lower_rate,
    one_kind,
    no_link,
    no_regions,
    followers_are_full,
];

fn no_cooldown(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    simpler.phases.cooldown = Duration(0);
    (simpler != *scenario).then_some(simpler)
}

/// The warm-up becomes part of what is measured, so that faults stay where they are.
fn no_warmup(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    simpler.phases.measure = Duration(scenario.phases.measure.0.saturating_add(scenario.phases.warmup.0));
    simpler.phases.warmup = Duration(0);
    (simpler != *scenario).then_some(simpler)
}

/// When the last fault is healed and the last node is back.
fn last_event(scenario: &Scenario) -> Duration {
    let faults = scenario
        .fault
        .iter()
        .map(|fault| fault.at.0.saturating_add(fault.lasts.0));
    let rows = scenario.churn.iter().flat_map(|churn| &churn.row);
    let rows = rows.map(|row| row.until.unwrap_or(row.at).0);
    Duration(faults.chain(rows).max().unwrap_or(0))
}

/// Nothing happens after the last event but a second of load.
fn cut_end(scenario: &Scenario) -> Option<Scenario> {
    let last = last_event(scenario);
    let needed = last.0.saturating_add(Duration::from_secs(1).0);
    let phases = &scenario.phases;
    let measure = needed.saturating_sub(phases.warmup.0);
    (last.0 > 0 && measure > 0 && measure < phases.measure.0).then(|| {
        let mut simpler = scenario.clone();
        simpler.phases.measure = Duration(measure);
        simpler
    })
}

/// Half of a time in whole milliseconds, when that is worth it.
fn half(time: Duration) -> Option<Duration> {
    let half = Duration::from_millis(time.millis() / 2);
    (half >= TIME_MIN).then_some(half)
}

fn halve_measure(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    simpler.phases.measure = half(scenario.phases.measure)?;
    Some(simpler)
}

/// Everything happens earlier, by half of the time until the first event.
fn earlier(scenario: &Scenario) -> Option<Scenario> {
    let faults = scenario.fault.iter().map(|fault| fault.at);
    let rows = scenario.churn.iter().flat_map(|churn| &churn.row);
    let rows = rows.map(|row| row.at).filter(|at| at.0 > 0);
    let by = half(faults.chain(rows).min()?)?;
    let back = |time: Duration| Duration(time.0.saturating_sub(by.0));
    let mut simpler = scenario.clone();
    for fault in &mut simpler.fault {
        fault.at = back(fault.at);
    }
    for row in simpler.churn.iter_mut().flat_map(|churn| &mut churn.row) {
        // Who starts late starts late: at 0 it stays there.
        row.at = back(row.at);
        row.until = row.until.map(back);
    }
    simpler.phases.measure = back(scenario.phases.measure);
    Some(simpler)
}

fn shorter_faults(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    for fault in &mut simpler.fault {
        fault.lasts = half(fault.lasts).unwrap_or(fault.lasts);
    }
    (simpler != *scenario).then_some(simpler)
}

fn shorter_absences(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    for row in simpler.churn.iter_mut().flat_map(|churn| &mut churn.row) {
        let length = row.until.map(|until| Duration(until.0.saturating_sub(row.at.0)));
        let shorter = length.map(|length| half(length).unwrap_or(length));
        row.until = shorter.map(|length| Duration(row.at.0 + length.0));
    }
    (simpler != *scenario).then_some(simpler)
}

fn lower_rate(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    for load in &mut simpler.load {
        load.rate = match load.rate {
            Rate::Constant(rate) if rate / 2.0 >= RATE_MIN => Rate::Constant((rate / 2.0).round()),
            Rate::Constant(rate) => Rate::Constant(rate),
            Rate::Ramp { ramp: (_, to), .. } => Rate::Constant(to),
        };
    }
    (simpler != *scenario).then_some(simpler)
}

/// Transactions of one kind.
fn one_kind(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    for load in simpler.load.iter_mut().filter(|load| load.mix.len() > 1) {
        load.mix = [("opaque".to_owned(), 1.0)].into();
    }
    (simpler != *scenario).then_some(simpler)
}

fn no_link(scenario: &Scenario) -> Option<Scenario> {
    scenario.link.as_ref()?;
    Some(Scenario {
        link: None,
        ..scenario.clone()
    })
}

fn no_regions(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    simpler.group.iter_mut().for_each(|group| group.regions.clear());
    (simpler != *scenario).then_some(simpler)
}

/// What only observes could as well follow and take load.
fn followers_are_full(scenario: &Scenario) -> Option<Scenario> {
    let mut simpler = scenario.clone();
    let observers = simpler.group.iter_mut().filter(|group| group.role == Role::Observer);
    observers.for_each(|group| group.role = Role::Full);
    (simpler != *scenario).then_some(simpler)
}
