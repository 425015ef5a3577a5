//! Scenarios of every kind against the problems that they must show.

mod behaviour;
mod churn;
mod faults;
mod fleet;
mod golden;
mod namespaces;
mod plans;
mod processes;
pub(crate) mod properties;
mod simulated;

use super::*;
use crate::{Place, diagnostic::Code};

/// A sound scenario that tests change.
const SOUND: &str = r#"name = "test"
[[group]]
name = "val"
count = 4
role = "validator"
[[group]]
name = "full"
count = 4
role = "full"
[peering]
mesh = { kind = "full_mesh", of = "all" }
[[consensus]]
id = "main"
[[load]]
rate = 10
[[fault]]
at = "8s"
for = "5s"
kind = "crash"
nodes = ["val-1"]
"#;

fn host() -> Capabilities {
    Capabilities::default()
}

fn outcome(text: &str) -> Result<Resolved, Diagnostics> {
    resolve(&Source::read("s.toml", text, &[]), &host())
}

/// Codes of the problems of [`SOUND`] with overrides.
fn codes(overrides: &[&str]) -> Vec<String> {
    codes_on(&host(), overrides)
}

fn codes_on(host: &Capabilities, overrides: &[&str]) -> Vec<String> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let problems = match resolve(&Source::read("s.toml", SOUND, &overrides), host) {
        Ok(resolved) => resolved.warnings,
        Err(problems) => problems,
    };
    problems.0.iter().map(|problem| problem.code.to_string()).collect()
}

/// The problems of [`SOUND`] with overrides, as people read them.
fn rendered(overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    match resolve(&Source::read("s.toml", SOUND, &overrides), &host()) {
        Ok(resolved) => resolved.warnings.to_string(),
        Err(problems) => problems.to_string(),
    }
}

#[track_caller]
fn assert_codes(overrides: &[&str], expected: &[Code]) {
    let mut expected: Vec<String> = expected.iter().map(Code::to_string).collect();
    let mut found = codes(overrides);
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{overrides:?}");
}

#[test]
fn a_sound_scenario_has_no_problem() {
    assert_codes(&[], &[]);
}

#[test]
fn words_of_the_graph() {
    assert_codes(
        &["group.val.count=57", "peering.mesh={kind=\"k_regular\",of=\"all\",k=7}"],
        &[Code::OddRegular],
    );
    assert_codes(
        &["peering.mesh={kind=\"k_regular\",of=\"all\",k=8}"],
        &[Code::ImpossibleGraph],
    );
    assert_codes(
        &["peering.mesh={kind=\"small_world\",of=\"all\",k=3}"],
        &[Code::ImpossibleGraph],
    );
    assert_codes(
        &["peering.mesh={kind=\"scale_free\",of=\"all\",m=0}"],
        &[Code::ImpossibleGraph],
    );
    assert_codes(
        &["peering.mesh={kind=\"tree\",of=\"all\",arity=0}"],
        &[Code::ImpossibleGraph],
    );
    assert_codes(
        &["peering.x={kind=\"bipartite\",from=\"val\",to=\"full\",degree=5}"],
        &[Code::ImpossibleGraph],
    );
    assert_codes(
        &["peering.x={kind=\"bipartite\",from=\"val\",to=\"all\",degree=1}"],
        &[Code::SelfEdge],
    );
    assert_codes(&["peering.mesh.of=val"], &[Code::Disconnected]);
    assert_codes(
        &["peering.mesh.of=full"],
        &[Code::Disconnected, Code::UnreachableValidators],
    );
    assert_codes(&["peering.mesh.of=vall"], &[Code::UnknownNode]);
    assert_codes(&["peering.mesh={kind=\"star\",of=\"all\"}"], &[Code::CutVertex]);
    assert_codes(&["group.full.count=510"], &[Code::TooManyPeers, Code::OutOfDescriptors]);
}

#[test]
fn explicit_edges() {
    assert_codes(&["peering.edges=[[\"val-0\",\"val-0\"]]"], &[Code::SelfEdge]);
    assert_codes(&["peering.edges=[[\"val-0\",\"val\"]]"], &[Code::UnknownNode]);
    assert_codes(&["peering.edges=[[\"val-0\",\"val-9\"]]"], &[Code::UnknownNode]);
    assert_codes(&["peering.edges=[[\"val-0\",\"val-1\"]]"], &[Code::DuplicateEdge]);
    let twice = "peering={edges=[[\"val-0\",\"val-1\"],[\"val-1\",\"val-0\"]],mesh={kind=\"ring\",of=\"all\"}}";
    assert!(codes(&[twice]).contains(&Code::DuplicateEdge.to_string()));
    let many = "peering.edges=[[\"val-0\"]]";
    assert_codes(&[many], &[Code::WrongType]);
}

#[test]
fn names_must_exist_and_be_unique() {
    assert_codes(&["name=A b"], &[Code::BadName]);
    assert_codes(&["group.val.name=Val"], &[Code::BadName, Code::UnknownNode]);
    assert_codes(&["group.val.name=full"], &[Code::DuplicateName, Code::UnknownNode]);
    assert_codes(&["group.val.name=full-1"], &[Code::DuplicateName, Code::UnknownNode]);
    assert_codes(&["group.full.name=all"], &[Code::DuplicateName]);
    assert_codes(&["group.val.build=mian"], &[Code::UnknownBuild]);
    assert_codes(&["load.0.consensus=mian"], &[Code::UnknownInstance]);
    assert_codes(&["load.0.target=fulll"], &[Code::UnknownNode]);
    assert_codes(&["load.0.target=region:eu"], &[Code::UnknownRegion]);
    assert_codes(&["fault.0.nodes=[\"val-4\"]"], &[Code::UnknownNode]);
    assert_codes(
        &["consensus.main.validators={vall=1}"],
        &[Code::UnknownNode, Code::NothingToRun, Code::NoEffect],
    );
}

#[test]
fn validators_must_be_able_to_decide() {
    assert_codes(&["consensus.main.byzantine=1"], &[]);
    assert_codes(&["consensus.main.byzantine=2"], &[Code::TooFewValidators]);
    assert_codes(
        &["consensus.main.validators={val=0}"],
        &[Code::BadWeight, Code::NoEffect],
    );
    assert_codes(
        &["consensus.main.validators={val=9000000000000000000}"],
        &[Code::BadWeight],
    );
    assert_codes(
        &["consensus.main.validators=[\"val\",\"full-0\"]", "fault=[]"],
        &[Code::BadWeight],
    );
    assert_codes(
        &["consensus.main.validators=[\"val\",\"val-0\"]"],
        &[Code::DuplicateName],
    );
    assert_codes(&["consensus.main.validators=[\"val-0\"]"], &[Code::NoEffect]);
    assert_codes(&["consensus.main.round_timeout=0s"], &[Code::RoundTimeoutShort]);
    assert_codes(
        &["consensus.main.round_timeout=1ms", "consensus.main.block_interval=0s"],
        &[Code::RoundTimeoutShort],
    );
    assert_codes(&["consensus.main.block_interval=2s"], &[Code::RoundTimeoutShort]);
    assert_codes(&["consensus=[]", "load=[]", "fault=[]"], &[Code::NothingToRun]);
    assert_codes(&["group.val.role=full", "fault=[]"], &[Code::NothingToRun]);
    assert_codes(
        &[
            "group.val.count=1030",
            "peering.mesh={kind=\"ring\",of=\"all\"}",
            "fault=[]",
        ],
        &[Code::RoundTimeoutShort, Code::OutOfDescriptors, Code::TooManyValidators],
    );
}

#[test]
fn faults_stay_within_the_phases_and_the_quorum() {
    assert_codes(&["fault.0.at=99s"], &[Code::FaultOutsidePhases]);
    assert_codes(&["fault.0.for=40s"], &[Code::FaultOutsidePhases]);
    assert_codes(&["fault.0.for=0s"], &[Code::FaultOutsidePhases]);
    assert_codes(&["fault.0.nodes=[]"], &[Code::NoNodes]);
    assert_codes(&["fault.0.nodes=[\"val-1\",\"val-2\"]"], &[Code::QuorumBroken]);
    assert_codes(&["fault.0.nodes=[\"val\"]", "fault.0.breaks_quorum=true"], &[]);
    assert_codes(&["fault.0.nodes=[\"full\"]"], &[]);
    assert_codes(&["fault.0.build=main"], &[Code::NoEffect, Code::SameBuild]);
    assert_codes(&["fault.0.sets=[[\"val-0\"]]"], &[Code::NoEffect]);
    assert_codes(&["fault.0.kind=upgrade", "fault.0.build=mian"], &[Code::UnknownBuild]);
    let crash = |at: &str, node: &str| format!("{{at=\"{at}\",for=\"5s\",kind=\"crash\",nodes=[\"{node}\"]}}");
    let two = |at: &str, node: &str| format!("fault=[{},{}]", crash("8s", "val-1"), crash(at, node));
    assert_codes(&[&two("10s", "val-1")], &[Code::OverlappingFaults]);
    assert_codes(&[&two("13s", "val-1")], &[]);
    assert_codes(&[&two("10s", "val-2")], &[Code::QuorumBroken]);
    assert_codes(&[&two("13s", "val-2")], &[]);
    assert_codes(&[&two("10s", "full-2")], &[]);
}

#[test]
fn loads_must_offer_something() {
    assert_codes(&["load.0.rate=0"], &[Code::BadRate]);
    assert_codes(&["load.0.rate=-5"], &[Code::BadRate]);
    assert_codes(&["load.0.rate=nan"], &[Code::WrongType]);
    assert_codes(&["load.0.rate={ramp=[0,0],over=\"3s\"}"], &[Code::BadRate]);
    assert_codes(&["load.0.rate={ramp=[0,10],over=\"0s\"}"], &[Code::BadRate]);
    assert_codes(&["load.0.rate={ramp=[0,10],over=\"3s\"}"], &[]);
    assert_codes(&["load.0.rate={ramp=[0,10],ovr=\"3s\"}"], &[Code::UnknownKey]);
    assert_codes(
        &["load.0.rate=9000000", "load.0.size=0"],
        &[Code::BadRate, Code::BudgetTooSmall],
    );
    assert_codes(&["load.0.senders=0"], &[Code::BadRate]);
    assert_codes(&["load.0.timeout=0s"], &[Code::BadRate]);
    assert_codes(&["load.0.clients=3"], &[Code::NoEffect]);
    assert_codes(&["load.0.mix={opaqe=1}"], &[Code::BadMix]);
    assert_codes(&["load.0.mix={opaque=-1}"], &[Code::BadMix]);
    assert_codes(&["load.0.mix={opaque=0}"], &[Code::BadMix]);
    assert_codes(&["load.0.size=300KiB"], &[Code::TransactionTooLarge]);
    assert_codes(&["load.0.size=65KiB"], &[]);
    assert_codes(
        &["load.0.size=65KiB", "load.0.mix={put=1}"],
        &[Code::TransactionTooLarge],
    );
    assert_codes(&["group.full.role=observer", "load.0.target=full"], &[Code::NoNodes]);
}

#[test]
fn addresses_ports_and_names_of_the_host() {
    assert_codes(&["net.ipv4=10.60.0.0/16"], &[Code::AddressRangeUnusable]);
    assert_codes(&["net.ipv4=127.0.0.0/16"], &[Code::AddressRangeUnusable]);
    assert_codes(&["net.ipv4=127.0.0.48/28"], &[Code::AddressRangeUnusable]);
    assert_codes(&["net.ipv4=127.60.0.0/29"], &[Code::AddressRangeTooSmall]);
    assert_codes(&["net.ipv4=127.60.0.0/28"], &[]);
    assert_codes(&["net.ipv4=127.60.0.1/16"], &[Code::BadQuantity]);
    assert_codes(&["net.ipv4=localhost"], &[Code::BadQuantity]);
    assert_codes(&["net.p2p_port=80"], &[Code::BadPort]);
    assert_codes(&["net.p2p_port=7001"], &[Code::BadPort]);
    assert_codes(&["net.p2p_port=70000"], &[Code::WrongType]);
    let network = "127.60.3.0/24".parse().unwrap();
    let host = Capabilities {
        taken_networks: vec![crate::TakenNetwork {
            network,
            by: "run x".into(),
        }],
        ..host()
    };
    assert_eq!(codes_on(&host, &[]), [Code::AddressRangeTaken.to_string()]);
    assert_eq!(codes_on(&host, &["net.ipv4=127.61.0.0/16"]), [""; 0]);
}

#[test]
fn the_host_must_have_what_the_nodes_need() {
    let check = |host: Capabilities, overrides: &[&str], code: Code| {
        assert_eq!(codes_on(&host, overrides), [code.to_string()], "{host:?}");
    };
    check(
        Capabilities {
            memory_bytes: 40 << 20,
            ..host()
        },
        &[],
        Code::OutOfMemory,
    );
    check(host(), &["budget.memory=40MiB"], Code::OutOfMemory);
    // It fits, but little would be left.
    check(
        Capabilities {
            memory_floor_bytes: 200 << 20,
            memory_bytes: 220 << 20,
            ..host()
        },
        &[],
        Code::OutOfMemory,
    );
    check(host(), &["budget.memory_floor=1TiB"], Code::OutOfMemory);
    assert_eq!(codes_on(&host(), &["budget.memory_floor=1MiB"]), [""; 0]);
    check(
        Capabilities {
            descriptors_per_process: 70,
            ..host()
        },
        &[],
        Code::OutOfDescriptors,
    );
    check(
        Capabilities {
            descriptors_total: 300,
            ..host()
        },
        &[],
        Code::OutOfDescriptors,
    );
    check(
        Capabilities {
            processes: 66,
            ..host()
        },
        &[],
        Code::TooManyNodes,
    );
    check(
        Capabilities {
            disk_bytes: 100,
            ..host()
        },
        &[],
        Code::BudgetTooSmall,
    );
    check(host(), &["budget.disk=1MiB", "load.0.rate=1000"], Code::BudgetTooSmall);
    check(host(), &["budget.wall=20s"], Code::BudgetTooSmall);
    check(host(), &["budget.lease=20s"], Code::BudgetTooSmall);
    check(host(), &["group.full.count=5000"], Code::TooManyNodes);
}

#[test]
fn phases_groups_and_options() {
    assert_codes(&["phases.measure=0s", "fault=[]"], &[Code::BadPhase]);
    assert_codes(
        &["phases.cooldown=99d"],
        &[
            Code::BadPhase,
            Code::BudgetTooSmall,
            Code::BudgetTooSmall,
            Code::BudgetTooSmall,
        ],
    );
    assert_codes(&["group.full.count=0"], &[Code::EmptyGroup]);
    assert_codes(&["group=[]"], &[Code::NothingToRun]);
    assert_codes(&["group.val.regions={eu=0}"], &[Code::BadWeight]);
    assert_codes(&["node.batch_bytes=2MiB"], &[Code::BadNodeOption]);
    assert_codes(&["node.mempool_transactions=0"], &[Code::BadNodeOption]);
    assert_codes(&["node.mempool_bytes=4KiB"], &[Code::BadNodeOption]);
    assert_codes(&["node.durable=false"], &[Code::BadNodeOption]);
    assert_codes(&["schema=2"], &[Code::SchemaVersion]);
    assert_codes(&["build.main={}"], &[Code::BadBuild]);
}

#[test]
fn what_comes_later_is_refused_and_never_ignored() {
    for text in [
        "build.main={source=\".\",target=\"x86_64-unknown-linux-musl\"}",
        "build.main={release=\"regatta-node@0.2.0\"}",
        "build={main={source=\".\"},next={source=\"../next\"}}",
        "link={reorder=\"5%\"}",
        "peering.extra={kind=\"file\",path=\"x\"}",
        "load.0.mode=closed",
        "load.0.mode=saturate",
        "load.0.arrivals=replay",
        "load.0.mix={opaque=1,kudos=1}",
        "load.0.mix={opaque=1,multichat=1}",
    ] {
        assert_codes(&[text], &[Code::Unsupported]);
    }
    let twice = "consensus=[{id=\"main\"},{id=\"main\"}]";
    assert_codes(&[twice], &[Code::DuplicateName]);
}

#[test]
fn links_that_are_given_are_checked() {
    let with = |more: &[&str]| {
        let mut all = vec!["group.val.regions={eu=1,us=1}"];
        all.extend(more);
        codes(&all)
    };
    assert_eq!(with(&["link={matrix={eu-us=\"40ms\"}}"]), [""; 0]);
    assert_eq!(
        with(&["link={matrix={eu-eu=\"1ms\"}}"]),
        [Code::MissingDelay.to_string()]
    );
    assert_eq!(
        with(&["link={matrix={eu-us=\"40ms\",eu-ap=\"1ms\"}}"]),
        [Code::UnknownRegion.to_string()]
    );
    assert_eq!(
        with(&["link={matrix={eu-us=\"400ms\"}}"]),
        [Code::RoundTimeoutShort.to_string()]
    );
    assert_eq!(
        with(&["link={rate=\"100Mbit\"}", "load.0.rate=20000"])[..1],
        [Code::LinkOverloaded.to_string()]
    );
    assert_eq!(with(&["link={rate=\"1Mbit\"}"]), [Code::RoundTimeoutShort.to_string()]);
    assert_eq!(with(&["link={rate=\"100Mbit\"}"]), [""; 0]);
}

#[test]
fn objectives_only_on_what_is_emitted() {
    assert_codes(
        &[
            "slo.agreement=always",
            "slo.latency_p99=\"< 900ms\"",
            "slo.stall=\"< 3s outside faults\"",
        ],
        &[],
    );
    assert_codes(&["slo.latency_p98=< 1s"], &[Code::UnknownMetric]);
    assert_codes(&["slo.goodput=>= 98%", "load=[]"], &[Code::UnknownMetric]);
    assert_codes(&["slo.link_error=< 10%"], &[Code::UnknownMetric]);
    assert_codes(&["slo.latency_p99=fast"], &[Code::BadObjective]);
}

#[test]
fn the_shape_is_checked_key_by_key() {
    assert_codes(&["phases.mesure=3s"], &[Code::UnknownKey]);
    assert_codes(&["group.val.count=many"], &[Code::WrongType]);
    assert_codes(&["group.val.count=-1"], &[Code::WrongType]);
    assert_codes(&["group.val.role=validater"], &[Code::UnknownWord]);
    assert_codes(&["peering.mesh.kind=full-mesh"], &[Code::UnknownWord]);
    assert_codes(&["peering.mesh={of=\"all\"}"], &[Code::MissingKey]);
    assert_codes(&["fault=[{kind=\"crash\"}]"], &[Code::MissingKey, Code::MissingKey]);
    assert_codes(&["phases.measure=30"], &[Code::WrongType]);
    assert_codes(&["phases.measure=30 parsecs"], &[Code::BadQuantity]);
    assert_codes(&["phases=3"], &[Code::WrongType]);
    assert_codes(&["name=2020-01-01"], &[Code::WrongType]);
    assert_codes(&["consensus.main.validators=3"], &[Code::WrongType]);
    assert_codes(
        &["churn=[{group=\"full\",session={normal=1},rejoin={exp=\"20s\"}}]"],
        &[Code::MissingKey],
    );
    assert_codes(&["group.vall.count=3"], &[Code::BadOverride]);
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_file() {
    let text = r#"nmae = "x"
[net]
ipv4 = "10.0.0.0/24"
[provider]
kind = "ssh"
[[group]]
name = "full"
count = 61
role = "full"
cuont = 3
[[group]]
name = "val"
count = 4
role = "validator"
[peering]
mesh = { kind = "k_regular", of = "full", k = 7 }
core = { kind = "full_mesh", of = "vall" }
[[consensus]]
id = "main"
[phases]
measure = "12 parsecs"
[[load]]
rate = 0
[slo]
latency_p9 = "< 1s"
"#;
    let problems = outcome(text).unwrap_err();
    insta::assert_snapshot!(problems.to_string());
}

#[test]
fn not_toml_is_one_problem_with_its_place() {
    let problems = outcome("name = \"x\"\n[[group]\n").unwrap_err();
    assert_eq!(problems.0[0].code, Code::Syntax);
    assert!(matches!(problems.0[0].place, Place::File { line: 2, .. }), "{problems}");
}

#[test]
fn an_overridden_key_is_blamed_on_the_override() {
    let source = Source::read("s.toml", SOUND, &["group.val.count=0".into(), "load.0.rte=3".into()]);
    let text = resolve(&source, &host()).unwrap_err().to_string();
    assert!(text.contains("--> --set group.val.count=0"), "{text}");
    assert!(
        text.contains("--> --set load.0.rte=3\n   = help: did you mean `rate`?"),
        "{text}"
    );
}

#[test]
fn a_missing_key_is_not_reported_beside_its_misspelling() {
    let text = SOUND.replace("count = 4\nrole = \"full\"", "cuont = 4\nrole = \"full\"");
    let problems = outcome(&text).unwrap_err();
    assert_eq!(problems.0.len(), 1, "{problems}");
}
