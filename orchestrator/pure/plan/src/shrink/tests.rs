//! Shrinking against oracles that know what is needed.

use super::*;
use crate::{scenario::FaultKind, units::Duration};
use proptest::prelude::*;
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Runs work that never waits.
pub(super) fn ready<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

const TWENTY: &str = r#"
name = "twenty"
question = "What fails here?"
[provider]
kind = "sim"
[[group]]
name = "val"
count = 10
role = "validator"
regions = { eu = 1, us = 1 }
[[group]]
name = "full"
count = 10
role = "full"
[link]
matrix = { eu-us = "20ms", self = "1ms" }
[peering]
core = { kind = "full_mesh", of = "val" }
edge = { kind = "bipartite", from = "full", to = "val", degree = 3 }
mesh = { kind = "k_regular", of = "full", k = 3 }
[[consensus]]
id = "main"
[[load]]
rate = 40
target = "full-3"
mix = { opaque = 1, put = 1 }
[[fault]]
at = "8s"
for = "5s"
kind = "crash"
nodes = ["val-1", "full-2"]
[[fault]]
at = "14s"
for = "2s"
kind = "partition"
sets = [["region:eu"], ["region:us"]]
breaks_quorum = true
[[fault]]
at = "20s"
for = "3s"
kind = "pause"
nodes = ["full"]
[[churn]]
group = "full"
session = { exp = "6s" }
rejoin = { exp = "2s" }
[slo]
stall = "< 1s"
agreement = "always"
"#;

fn start(text: &str) -> Candidate {
    let host = Capabilities::default();
    let source = Source::read("s.toml", text, &[]);
    let resolved = resolve(&source, &host).unwrap_or_else(|problems| panic!("{problems}"));
    let explicit = explicit(source.scenario().unwrap(), &resolved.plan);
    candidate(&explicit, &host).unwrap_or_else(|error| panic!("{error}"))
}

fn shrunk(start: Candidate, fails: impl Fn(&Plan) -> bool) -> (Shrunk, usize) {
    let mut asked = 0;
    let host = Capabilities::default();
    let shrunk = ready(shrink(start, &host, async |candidate: &Candidate| {
        asked += 1;
        if fails(&candidate.plan) {
            Answer::Fails
        } else {
            Answer::Passes
        }
    }));
    (shrunk, asked)
}

fn partitioned(plan: &Plan) -> bool {
    plan.faults.iter().any(|fault| fault.kind == FaultKind::Partition)
}

#[test]
fn writing_out_keeps_the_plan() {
    let source = Source::read("s.toml", TWENTY, &[]);
    let plan = resolve(&source, &Capabilities::default()).unwrap().plan;
    let start = start(TWENTY);
    assert_eq!((&start.plan.nodes, &start.plan.edges), (&plan.nodes, &plan.edges));
    assert_eq!(start.plan.faults, plan.faults);
    assert_eq!(start.plan.churn.absences, plan.churn.absences);
    assert!(
        start
            .scenario
            .churn
            .iter()
            .all(|churn| churn.group.is_none() && !churn.row.is_empty())
    );
    assert!(start.text.starts_with("# What fails here?\n"), "{}", start.text);
}

#[test]
fn what_has_nothing_to_do_with_the_failure_goes() {
    let (shrunk, asked) = shrunk(start(TWENTY), partitioned);
    let plan = &shrunk.smallest.plan;
    assert!(shrunk.complete && asked < 400, "{asked} questions");
    assert_eq!(
        (plan.nodes.len(), plan.faults.len(), plan.churn.absences.len()),
        (2, 1, 0),
        "{}",
        shrunk.smallest.text
    );
    assert_eq!((plan.loads.len(), plan.objectives.len(), plan.edges.len()), (0, 0, 1));
    assert!(
        plan.faults[0].at_ms < 500 && plan.phases.load_ms() < 2000,
        "{}",
        shrunk.smallest.text
    );
    assert!(shrunk.smallest.scenario.link.is_none());
}

#[test]
fn what_is_needed_stays_under_new_names() {
    // Two of the paused nodes, one validator, one absence, and the load on one of them.
    let needs = |plan: &Plan| {
        let paused = plan.faults.iter().filter(|fault| fault.kind == FaultKind::Pause);
        let enough = paused.map(|fault| fault.nodes.len()).max().unwrap_or(0) >= 2;
        enough && !plan.churn.absences.is_empty() && !plan.loads.is_empty()
    };
    let (shrunk, _) = shrunk(start(TWENTY), needs);
    let plan = &shrunk.smallest.plan;
    assert_eq!(
        (plan.faults.len(), plan.churn.absences.len(), plan.loads.len()),
        (1, 1, 1),
        "{}",
        shrunk.smallest.text
    );
    assert_eq!(plan.nodes.len(), 3, "{}", shrunk.smallest.text);
    assert_eq!(plan.faults[0].nodes.len(), 2);
}

#[test]
fn a_candidate_that_fails_of_something_else_is_not_taken() {
    // It stalls under a partition, and also without any load.
    let stalls = |plan: &Plan| partitioned(plan) || plan.loads.iter().all(|load| load.expected < 60);
    let (shrunk, _) = shrunk(start(TWENTY), stalls);
    let plan = &shrunk.smallest.plan;
    assert!(
        partitioned(plan) && plan.loads[0].expected >= 60,
        "{}",
        shrunk.smallest.text
    );
    assert_eq!((plan.nodes.len(), plan.faults.len()), (2, 1));
}

#[test]
fn a_stop_gives_the_smallest_so_far() {
    let mut asked = 0;
    let host = Capabilities::default();
    let start = start(TWENTY);
    let before = Weight::of(&start.plan);
    let shrunk = ready(shrink(start, &host, async |candidate: &Candidate| {
        asked += 1;
        match (asked, partitioned(&candidate.plan)) {
            (6.., _) => Answer::Stop,
            (_, true) => Answer::Fails,
            _ => Answer::Passes,
        }
    }));
    assert!(!shrunk.complete && asked == 6);
    assert!(partitioned(&shrunk.smallest.plan));
    assert!(Weight::of(&shrunk.smallest.plan).faults < before.faults);
}

#[test]
fn candidates_that_are_no_scenario_are_not_asked_about() {
    let text = "name = \"pair\"\n[provider]\nkind = \"sim\"\n[[group]]\nname = \"val\"\ncount = 4\nrole = \"validator\"\n\
        [peering]\nring = { kind = \"ring\", of = \"val\" }\n[[consensus]]\nid = \"main\"\n\
        [[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"crash\"\nnodes = [\"val-0\"]\n";
    let crash = |plan: &Plan| !plan.faults.is_empty() && plan.instances.iter().all(|i| i.total_weight() > 0);
    let (shrunk, _) = shrunk(start(text), crash);
    // Without saying so, no crash may take the quorum: three others are the fewest.
    assert_eq!(shrunk.smallest.plan.nodes.len(), 4, "{}", shrunk.smallest.text);
    assert!(shrunk.refused > 0);
}

#[test]
fn files_of_the_project_survive_being_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../topologies");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let scenario = Source::read("s.toml", &text, &[]).scenario().cloned().unwrap();
        let written = to_toml(&scenario).unwrap();
        let again = Source::read("w.toml", &written, &[]);
        assert_eq!(again.scenario(), Some(&scenario), "{}\n{written}", path.display());
        assert!(written.len() < 2 * text.len(), "{written}");
    }
}

proptest! {
    #[test]
    fn a_written_file_reads_back_as_itself(scenario in crate::resolve::tests::properties::scenario()) {
        let text = to_toml(&scenario).unwrap();
        let source = Source::read("w.toml", &text, &[]);
        prop_assert_eq!(source.scenario(), Some(&scenario), "{}", text);
    }

    #[test]
    fn nodes_that_stay_keep_what_was_said_of_them(kept in proptest::collection::btree_set(0_usize..20, 4..20)) {
        let start = start(TWENTY);
        let kept: Vec<usize> = kept.into_iter().collect();
        let smaller = simpler::Nodes.keep(&start.scenario, &kept);
        prop_assert_eq!(smaller.group.iter().map(|group| group.count as usize).sum::<usize>(), kept.len());
        let paused = kept.iter().filter(|node| **node >= 10).count();
        let named = smaller.fault.iter().find(|fault| fault.kind == FaultKind::Pause);
        prop_assert_eq!(named.map_or(0, |fault| fault.nodes.len()), paused);
        let rows = |scenario: &Scenario| scenario.churn.iter().map(|churn| churn.row.len()).sum::<usize>();
        let stay = start.plan.churn.absences.iter().filter(|absence| kept.contains(&(absence.node as usize)));
        prop_assert_eq!(rows(&smaller), stay.count());
        prop_assert!(smaller.phases.measure > Duration(0));
    }
}
