//! From a scenario to a plan: every choice made, every problem found, in one pass over the stages.

mod budget;
mod churn;
mod consensus;
mod fault;
mod fleet;
mod generators;
mod host;
mod links;
mod load;
mod nodes;
mod peering;
mod processes;
mod simulated;
mod slo;
mod steps;
mod support;
#[cfg(test)]
pub(crate) mod tests;

use crate::{
    Capabilities, GraphFacts, Plan, PlannedBudget, PlannedChurn, PlannedDirection, PlannedFault, PlannedHost,
    PlannedInstance, PlannedLoad, PlannedNode, PlannedPhases, PlannedProcess, Source, defaults,
    diagnostic::{Code, Diagnostics, Problem, Severity},
    objective::Objective,
    plan::{BuildSource, PLAN_VERSION},
    scenario::{Build, ProviderKind, Scenario},
    suggest::did_you_mean,
    topology::Graph,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Most nodes of one plan: beyond it the graph's facts take longer than a person waits.
pub(crate) const NODES_MAX: u64 = 4096;

/// A plan, and what its scenario's author should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The plan.
    pub plan: Plan,
    /// Warnings; none of them is an error.
    pub warnings: Diagnostics,
}

/// Checks the scenario of `source` against `host` and makes every choice that it leaves open.
///
/// # Errors
/// Every problem at once, warnings included, when at least one of them is an error.
pub fn resolve(source: &Source, host: &Capabilities) -> Result<Resolved, Diagnostics> {
    let mut problems = source.problems().to_vec();
    let plan = source.scenario().and_then(|scenario| {
        let mut draft = Draft::new(scenario, host);
        draft.fill();
        // What was wrong was removed: that it is missing is no problem of its own, and slots that hosts do not have neither.
        let was_removed = |problem: &Problem| {
            let place = match problem.code {
                Code::MissingKey => format!("{}.", problem.path),
                Code::TooFewSlots => "provider.".to_owned(),
                Code::NoNodes if problem.path == "provider.kind" => "provider.".to_owned(),
                _ => return false,
            };
            source.problems().iter().any(|other| other.path.starts_with(&place))
        };
        problems.extend(draft.problems.drain(..).filter(|problem| !was_removed(problem)));
        let sound = problems.iter().all(|problem| problem.severity == Severity::Warning);
        let plan = sound.then(|| draft.into_plan())?;
        // Only a whole plan says what it costs.
        let costs = budget::check_costs(&plan);
        let is_paid_for = costs.is_empty();
        problems.extend(costs);
        is_paid_for.then_some(plan)
    });
    let diagnostics = source.locate(problems);
    match plan {
        Some(plan) => Ok(Resolved {
            plan,
            warnings: diagnostics,
        }),
        None => Err(diagnostics),
    }
}

/// The hosts of the scenario's fleet, with all that is wrong with them; one without a pinned key is no problem yet.
///
/// # Errors
/// Every problem at once, of the scenario's form and of its hosts alone.
pub fn hosts(source: &Source) -> Result<Vec<PlannedHost>, Diagnostics> {
    let mut problems = source.problems().to_vec();
    let host = Capabilities::default();
    let mut found = Vec::new();
    if let Some(scenario) = source.scenario() {
        let mut draft = Draft::new(scenario, &host);
        fleet::check(&mut draft, fleet::Pinning::Later);
        (found, problems) = (draft.hosts, [problems, draft.problems].concat());
    }
    let diagnostics = source.locate(problems);
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    Ok(found)
}

/// A plan in the making: each stage adds its part and its problems.
struct Draft<'a> {
    scenario: &'a Scenario,
    host: &'a Capabilities,
    problems: Vec<Problem>,
    hosts: Vec<PlannedHost>,
    hosts_lost_max: u32,
    nodes: Vec<PlannedNode>,
    /// Indices of each group's nodes.
    groups: BTreeMap<String, Range<u32>>,
    edges: BTreeSet<(u32, u32)>,
    graph: Graph,
    facts: GraphFacts,
    /// Whether every rule has made its edges.
    graph_complete: bool,
    instances: Vec<PlannedInstance>,
    loads: Vec<PlannedLoad>,
    faults: Vec<PlannedFault>,
    churn: PlannedChurn,
    objectives: Vec<Objective>,
    processes: Vec<PlannedProcess>,
    directions: Vec<PlannedDirection>,
}

impl<'a> Draft<'a> {
    fn new(scenario: &'a Scenario, host: &'a Capabilities) -> Self {
        let graph = Graph::new(0, &BTreeSet::new());
        Self {
            scenario,
            host,
            problems: Vec::new(),
            hosts: Vec::new(),
            hosts_lost_max: 0,
            nodes: Vec::new(),
            groups: BTreeMap::new(),
            edges: BTreeSet::new(),
            facts: graph.facts(),
            graph_complete: false,
            graph,
            instances: Vec::new(),
            loads: Vec::new(),
            faults: Vec::new(),
            churn: PlannedChurn::default(),
            objectives: Vec::new(),
            processes: Vec::new(),
            directions: Vec::new(),
        }
    }

    fn fill(&mut self) {
        support::check(self);
        fleet::check(self, fleet::Pinning::Needed);
        budget::check(self);
        // Without nodes everything that names one would be a problem, and none of them the cause.
        if !nodes::resolve(self) {
            return;
        }
        processes::resolve(self);
        fleet::resolve(self);
        links::directions(self);
        peering::resolve(self);
        consensus::resolve(self);
        fleet::tolerance(self);
        load::resolve(self);
        fault::resolve(self);
        churn::resolve(self);
        slo::resolve(self);
        host::check(self);
        budget::check_disk(self);
    }

    fn into_plan(self) -> Plan {
        let scenario = self.scenario;
        let (world, links) = (simulated::world(&self), links::links(&self));
        let builds = scenario.build.iter().map(|(name, build)| {
            let source = match (&build.source, &build.release) {
                (_, Some(release)) => BuildSource::Release(release.clone()),
                (source, None) => BuildSource::Source(source.clone().unwrap_or_default()),
            };
            (name.clone(), source)
        });
        let mut builds: BTreeMap<String, BuildSource> = builds.collect();
        for group in scenario.group.iter().filter(|group| !group.behaviour.is_honest()) {
            if let Some(BuildSource::Source(folder)) = builds.get(&group.build) {
                let source = BuildSource::Byzantine(folder.clone());
                builds.insert(nodes::build_of(group), source);
            }
        }
        let budget = &scenario.budget;
        let mut plan = Plan {
            version: PLAN_VERSION,
            name: scenario.name.clone(),
            question: scenario.question.clone(),
            seed: scenario.seed,
            provider: scenario.provider.kind,
            builds,
            nodes: self.nodes,
            edges: self.edges.into_iter().collect(),
            graph: self.facts,
            instances: self.instances,
            phases: phases(scenario),
            loads: self.loads,
            faults: self.faults,
            objectives: self.objectives,
            budget: PlannedBudget {
                wall_ms: budget.wall.millis(),
                lease_ms: budget.lease.millis(),
                unattended_ms: budget.unattended.map(|unattended| unattended.millis()),
                disk_bytes: budget.disk.0,
                memory_bytes: budget.memory.map(|size| size.0),
                memory_floor_bytes: budget.memory_floor.map(|size| size.0),
                hosts: budget.hosts,
                transfer_bytes: budget.transfer.map(|size| size.0),
            },
            node: scenario.node.clone(),
            world,
            links,
            steps: Vec::new(),
            churn: self.churn,
            hosts: self.hosts,
            hosts_lost_max: self.hosts_lost_max,
            targets: targets(scenario),
            processes: self.processes,
            fan_out: fleet::fan_out(scenario),
            control: fleet::control(scenario),
        };
        plan.steps = steps::steps(&plan);
        plan
    }

    fn error(&mut self, code: Code, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::error(code, path, message).help(help));
    }

    fn warning(&mut self, code: Code, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::warning(code, path, message).help(help));
    }

    /// Reports a name that nothing has, with the nearest of those that exist.
    fn unknown<'b>(&mut self, problem: Problem, name: &str, known: impl IntoIterator<Item = &'b str>) {
        self.problems.push(Problem {
            help: did_you_mean(name, known),
            ..problem
        });
    }

    /// A build that groups or faults name must exist.
    fn check_build(&mut self, name: &str, path: &str) {
        if !self.scenario.build.contains_key(name) {
            let problem = Problem::error(Code::UnknownBuild, path, format!("there is no build `{name}`"));
            self.unknown(problem, name, self.scenario.build.keys().map(String::as_str));
        }
    }

    /// The nodes that `name`, written at `path`, stands for: a group, a node, `region:NAME` or `all`.
    fn select(&mut self, name: &str, path: &str) -> Vec<u32> {
        let count = self.nodes.len() as u32;
        if name == "all" {
            return (0..count).collect();
        }
        if let Some(range) = self.groups.get(name) {
            return range.clone().collect();
        }
        if let Some(node) = self.nodes.iter().find(|node| node.name == name) {
            return vec![node.index];
        }
        if let Some(region) = name.strip_prefix("region:") {
            return self.select_region(region, path);
        }
        let problem = Problem::error(Code::UnknownNode, path, format!("there is no group or node `{name}`"));
        let help = self.similar(name);
        self.problems.push(Problem { help, ..problem });
        Vec::new()
    }

    fn select_region(&mut self, region: &str, path: &str) -> Vec<u32> {
        let inside = |node: &&PlannedNode| node.region.as_deref() == Some(region);
        let nodes: Vec<u32> = self.nodes.iter().filter(inside).map(|node| node.index).collect();
        if nodes.is_empty() {
            let regions: BTreeSet<&str> = self.nodes.iter().filter_map(|node| node.region.as_deref()).collect();
            let help = did_you_mean(region, regions).or_else(|| Some("give a group `regions = { ... }`".to_owned()));
            let problem = Problem::error(Code::UnknownRegion, path, format!("no node is in region `{region}`"));
            self.problems.push(Problem { help, ..problem });
        }
        nodes
    }

    /// The name of a node or process.
    fn name_at(&self, place: u32) -> &str {
        let node = self.nodes.get(place as usize).map(|node| node.name.as_str());
        let process = || self.processes.iter().find(|process| process.place == place);
        node.or_else(|| process().map(|process| process.name.as_str()))
            .unwrap_or_default()
    }

    /// What somebody who wrote `name` may have meant.
    fn similar(&self, name: &str) -> Option<String> {
        let of_group = name
            .rsplit_once('-')
            .and_then(|(group, _)| self.groups.get_key_value(group));
        match of_group {
            Some((group, range)) if !range.is_empty() => {
                let last = range.len() - 1;
                Some(format!("the nodes of `{group}` are `{group}-0` to `{group}-{last}`"))
            }
            _ => did_you_mean(name, self.groups.keys().map(String::as_str)),
        }
    }
}

/// Targets of the compiler by build, where programs are not for this machine.
fn targets(scenario: &Scenario) -> BTreeMap<String, String> {
    if scenario.provider.kind != ProviderKind::Ssh {
        return BTreeMap::new();
    }
    let target = |build: &Build| {
        build
            .target
            .clone()
            .unwrap_or_else(|| defaults::FLEET_TARGET.to_owned())
    };
    let built = scenario.build.iter().filter(|(_, build)| build.source.is_some());
    built.map(|(name, build)| (name.clone(), target(build))).collect()
}

/// The scenario's phases in milliseconds.
fn phases(scenario: &Scenario) -> PlannedPhases {
    PlannedPhases {
        warmup_ms: scenario.phases.warmup.millis(),
        measure_ms: scenario.phases.measure.millis(),
        cooldown_ms: scenario.phases.cooldown.millis(),
        drain_ms: scenario.phases.drain.millis(),
    }
}
