//! The steps of a run, in order, each with the time that it may take.

use crate::{
    plan::{Plan, PlannedStep, Step},
    scenario::{ProcessStart, ProviderKind},
};

/// Nodes that are started at once: enough to be quick, few enough that a failure is noticed early.
const SPAWN_BATCH: usize = 100;
const SECOND: u64 = 1000;
/// A build from nothing on two busy cores.
const BUILD_MS: u64 = 20 * 60 * SECOND;
/// Signing or checking a handful of files.
const SEAL_MS: u64 = 60 * SECOND;
/// Starting, and any other answer of a busy host.
const BASE_MS: u64 = 30 * SECOND;
/// Time for each node on top: two hundred times what a node takes on a quiet machine.
const NODE_MS: u64 = SECOND / 2;
/// Time for each link on top: twenty times what a handshake takes on a quiet machine.
const LINK_MS: u64 = 50;
/// How late a step on the timeline may end.
const LATE_MS: u64 = 10 * SECOND;
/// Reaching hosts and sending them programs: a part for all of them, among it the slowest one, and one for each.
const DEPLOY_MS: u64 = 4 * 60 * SECOND;
const HOST_MS: u64 = 2 * SECOND;
/// Fetching and checking ledgers, and writing the report.
const AFTER_MS: u64 = 10 * 60 * SECOND;

/// The steps of `plan`, whose other parts are complete.
pub(super) fn steps(plan: &Plan) -> Vec<PlannedStep> {
    let mut steps = before(plan);
    steps.extend(timeline(plan));
    steps.extend(after(plan));
    let numbered = steps.into_iter().zip(0..).map(|((step, at_ms, deadline_ms), id)| {
        // No step may outlive the run.
        PlannedStep {
            id,
            step,
            at_ms,
            deadline_ms: deadline_ms.min(plan.budget.wall_ms),
        }
    });
    numbered.collect()
}

/// A step with its time on the timeline and its deadline.
type Draft = (Step, Option<u64>, u64);

fn before(plan: &Plan) -> Vec<Draft> {
    let mut steps = Vec::new();
    // Simulated nodes are part of the lab: there is no program to build.
    for build in plan.builds.keys().filter(|_| plan.world.is_none()) {
        let build = || build.clone();
        steps.push((Step::Build { build: build() }, None, BUILD_MS));
        steps.push((Step::Seal { build: build() }, None, SEAL_MS));
        steps.push((Step::VerifySeal { build: build() }, None, SEAL_MS));
    }
    if plan.provider == ProviderKind::Ssh {
        let hosts = plan.hosts_used().len() as u32;
        steps.push((Step::Deploy { hosts }, None, DEPLOY_MS + HOST_MS * u64::from(hosts)));
    }
    steps.extend(processes(plan, ProcessStart::BeforeNodes));
    let late = plan.churn.late();
    let is_late = |node: &u32| late.binary_search(node).is_ok();
    let nodes = plan.nodes.iter().map(|node| node.index);
    let nodes: Vec<u32> = nodes.filter(|node| !is_late(node)).collect();
    let for_nodes = |count: usize| BASE_MS + NODE_MS * count as u64;
    for batch in nodes.chunks(SPAWN_BATCH) {
        steps.push((Step::Spawn { nodes: batch.to_vec() }, None, for_nodes(batch.len())));
    }
    let all = for_nodes(nodes.len());
    steps.push((Step::WaitReady { nodes }, None, all));
    let links = plan.edges.iter().filter(|(a, b)| !is_late(a) && !is_late(b));
    let edges = links.count() as u32;
    steps.push((Step::WaitLinks { edges }, None, all + LINK_MS * u64::from(edges)));
    steps.extend(processes(plan, ProcessStart::AfterNodes));
    steps
}

/// A step for each group of programs of others, in the order of the scenario.
fn processes(plan: &Plan, start: ProcessStart) -> Vec<Draft> {
    let mut steps: Vec<(&str, Vec<u32>, u64)> = Vec::new();
    for process in plan.processes.iter().filter(|process| process.start == start) {
        match steps.last_mut() {
            Some((group, places, _)) if *group == process.group => places.push(process.place),
            _ => steps.push((&process.group, vec![process.place], process.ready_within_ms)),
        }
    }
    let step = |(_, places, ready_ms): (&str, Vec<u32>, u64)| {
        let deadline_ms = BASE_MS + NODE_MS * places.len() as u64 + ready_ms;
        (Step::Processes { places }, None, deadline_ms)
    };
    steps.into_iter().map(step).collect()
}

/// Steps at their times; of those at one time, phases begin before loads, faults end before others begin, and nodes
/// return before others leave.
fn timeline(plan: &Plan) -> Vec<Draft> {
    let phases = &plan.phases;
    let (start, end) = phases.window_ms();
    let phase = |step: Step, at_ms: u64, length_ms: u64| (step, Some(at_ms), length_ms + LATE_MS);
    let mut steps = Vec::new();
    if phases.warmup_ms > 0 {
        let length_ms = phases.warmup_ms;
        steps.push(phase(Step::Warmup { length_ms }, 0, length_ms));
    }
    let length_ms = phases.measure_ms;
    steps.push(phase(Step::Measure { length_ms }, start, length_ms));
    if phases.cooldown_ms > 0 {
        let length_ms = phases.cooldown_ms;
        steps.push(phase(Step::Cooldown { length_ms }, end, length_ms));
    }
    for load in &plan.loads {
        steps.push((Step::Load { load: load.index }, Some(0), phases.load_ms() + LATE_MS));
    }
    for fault in &plan.faults {
        steps.push((Step::Heal { fault: fault.index }, Some(fault.until_ms), BASE_MS));
    }
    for absence in &plan.churn.absences {
        if let Some(until_ms) = absence.until_ms {
            steps.push((Step::Return { absence: absence.index }, Some(until_ms), BASE_MS));
        }
    }
    for absence in plan.churn.absences.iter().filter(|absence| !absence.is_late_start()) {
        steps.push((Step::Leave { absence: absence.index }, Some(absence.at_ms), BASE_MS));
    }
    for fault in &plan.faults {
        steps.push((Step::Inject { fault: fault.index }, Some(fault.at_ms), BASE_MS));
    }
    steps.sort_by_key(|(_, at_ms, _)| *at_ms);
    steps
}

fn after(plan: &Plan) -> Vec<Draft> {
    let nodes = BASE_MS + NODE_MS * plan.nodes.len() as u64;
    let up_to_ms = plan.phases.drain_ms;
    vec![
        (
            Step::Drain { up_to_ms },
            Some(plan.phases.load_ms()),
            up_to_ms + LATE_MS,
        ),
        (Step::Collect, None, AFTER_MS),
        (Step::Stop, None, nodes),
        (Step::Check, None, AFTER_MS),
        (Step::Report, None, AFTER_MS),
    ]
}
