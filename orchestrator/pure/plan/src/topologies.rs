//! The scenario files that come with the project resolve without a warning.

use crate::scenario::ProviderKind;
use crate::{Capabilities, Diagnostic, Resolved, Source, resolve};
use std::{collections::BTreeSet, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../topologies"))
}

fn names() -> BTreeSet<String> {
    let files = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files
        .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
        .collect()
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap()
}

fn load(name: &str) -> Resolved {
    let host = Capabilities {
        descriptors_per_process: 32_768,
        memory_bytes: 24 << 30,
        memory_floor_bytes: 768 << 20,
        ..Capabilities::default()
    };
    let source = Source::read(&format!("topologies/{name}.toml"), &text(name), &[]);
    resolve(&source, &host).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_file_resolves_and_opens_with_its_question() {
    assert!(names().len() >= 7);
    for name in names() {
        let Resolved { plan, warnings } = load(&name);
        // What leaves the disk out says why.
        let is_known = |warning: &Diagnostic| !plan.node.durable && warning.key == "node.durable";
        assert!(warnings.0.iter().all(is_known), "{warnings}");
        assert!(
            plan.node.durable || text(&name).contains("not what this disk does"),
            "{name}"
        );
        assert_eq!(plan.name, name);
        let comment: String = text(&name).lines().take_while(|line| line.starts_with("# ")).collect();
        assert!(comment.contains('?') && plan.question.ends_with('?'), "{name}");
    }
}

#[test]
fn clusters_can_run_side_by_side() {
    let addresses: Vec<_> = names()
        .iter()
        .map(|name| load(name).plan)
        // Simulated nodes take no address of this machine, and those in namespaces none that others see.
        .filter(|plan| plan.world.is_none() && plan.provider != ProviderKind::Netns)
        .flat_map(|plan| plan.nodes)
        .map(|node| node.address)
        .collect();
    assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len());
}

#[test]
fn quickstart_is_eight_processes_for_under_half_a_minute() {
    let plan = load("quickstart").plan;
    assert_eq!((plan.nodes.len(), plan.instances[0].validators.len()), (8, 4));
    assert!(plan.phases.load_ms() + plan.phases.drain_ms <= 25_000);
    assert_eq!(plan.loads[0].targets, [4, 5, 6, 7]);
    insta::assert_snapshot!(plan.render());
}

#[test]
fn instances_overlap_and_one_validator_is_critical_in_one_of_its_two() {
    let plan = load("instances").plan;
    let instance = |id: &str| plan.instance(id).unwrap();
    let sizes = ["alpha", "beta", "gamma"].map(|id| instance(id).validators.len());
    assert_eq!(sizes, [4, 4, 7]);
    let node = plan.node("val-3").unwrap().index;
    let without = |id: &str| {
        let others = instance(id).validators.iter().filter(|(other, _)| *other != node);
        instance(id).is_quorum(others.map(|(_, weight)| weight).sum())
    };
    assert!(instance("alpha").votes(node) && instance("gamma").votes(node));
    assert!(!without("alpha") && without("gamma"));
    let full = plan.node("full-0").unwrap().index;
    assert!(instance("alpha").runs(full) && !instance("gamma").runs(full));
    assert!(
        plan.loads
            .iter()
            .all(|load| load.targets.iter().all(|&target| instance(&load.instance).runs(target)))
    );
}

#[test]
fn hundred_is_sparse_and_well_connected() {
    let plan = load("hundred").plan;
    assert_eq!((plan.nodes.len(), plan.edges.len()), (100, 400));
    assert_eq!((plan.graph.degree_min, plan.graph.degree_max), (8, 8));
    assert!(plan.graph.diameter <= 4, "{:?}", plan.graph);
}

#[test]
fn smoke_is_short_and_crash_restarts_inside_the_window() {
    assert!(load("smoke").plan.phases.load_ms() < 8000);
    let plan = load("crash").plan;
    let (start, end) = plan.phases.window_ms();
    let fault = &plan.faults[0];
    assert_eq!(plan.nodes[fault.nodes[0] as usize].name, "val-1");
    assert!(start < fault.at_ms && fault.until_ms < end);
}
