//! Faults: who they are done to, how often, how much, and those that are drawn at random.

use super::{SOUND, assert_codes, codes, rendered};
use crate::{Capabilities, Code, FaultExtent, LinkChange, Plan, PlannedFault, Source, resolve, scenario::FaultKind};
use proptest::prelude::*;

fn plan_with(overrides: &[&str]) -> Plan {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let resolved = resolve(&Source::read("s.toml", SOUND, &overrides), &Capabilities::default());
    resolved.unwrap_or_else(|problems| panic!("{problems}")).plan
}

fn one(fault: &str) -> PlannedFault {
    let mut faults = plan_with(&[&format!("fault=[{fault}]")]).faults;
    assert_eq!(faults.len(), 1);
    faults.remove(0)
}

#[test]
fn shares_are_drawn_from_the_seed_and_rounded_up() {
    let fault = |seed: &str, share: &str| {
        let fault = format!("fault=[{{at=\"1s\",for=\"1s\",kind=\"pause\",nodes=[\"share:{share}:full\"]}}]");
        plan_with(&["group.full.count=20", seed, &fault]).faults[0]
            .nodes
            .clone()
    };
    let nodes = fault("seed=1", "26%");
    assert_eq!(nodes.len(), 6);
    assert!(nodes.is_sorted() && nodes.iter().all(|node| (4..24).contains(node)));
    assert_eq!(nodes, fault("seed=1", "26%"));
    assert_ne!(nodes, fault("seed=2", "26%"));
    assert_codes(&["fault.0.nodes=[\"share:0%\"]"], &[Code::BadSelection]);
    assert_codes(&["fault.0.nodes=[\"share:2%:nobody\"]"], &[Code::UnknownNode]);
}

#[test]
fn the_rest_and_the_bridge_of_a_partition() {
    let fault = one("{at=\"1s\",for=\"1s\",kind=\"partition\",sets=[[\"val-0\"],[\"rest\"]]}");
    assert_eq!(fault.sets, [vec![0], vec![1, 2, 3, 4, 5, 6, 7]]);
    let halves = "{at=\"1s\",for=\"1s\",kind=\"partition\",sets=[[\"val-0\",\"val-1\"],[\"rest\"]],bridge=[\"val-1\"]}";
    let fault = one(halves);
    assert_eq!(fault.sets, [vec![0], vec![2, 3, 4, 5, 6, 7]]);
    assert!(!fault.covers(0, 1) && !fault.covers(1, 2) && fault.covers(0, 2));
    // With the bridge three of four reach each other, without it two and two.
    let even = halves.replace("\"val-0\",\"val-1\"]", "\"val-0\",\"val-2\"]");
    assert_codes(&[&format!("fault=[{even}]")], &[]);
    let parted = even.replace(",bridge=[\"val-1\"]", "");
    assert_codes(&[&format!("fault=[{parted}]")], &[Code::QuorumBroken]);
}

#[test]
fn minimal_cuts_are_found_in_the_graph() {
    let line =
        "peering={edges=[[\"val-0\",\"val-1\"],[\"val-1\",\"val-2\"],[\"val-2\",\"val-3\"],[\"val-3\",\"full-0\"]]}";
    let with = |fault: &str| plan_with(&["group.full.count=1", line, &format!("fault=[{fault}]")]).faults[0].clone();
    let nodes = with("{at=\"1s\",for=\"1s\",kind=\"crash\",nodes=[\"minimal_cut\"],breaks_quorum=true}");
    assert_eq!(nodes.nodes, [1]);
    let links =
        with("{at=\"1s\",for=\"1s\",kind=\"partition\",sets=[[\"minimal_cut\"],[\"rest\"]],breaks_quorum=true}");
    assert_eq!(links.sets, [vec![0], vec![1, 2, 3, 4]]);
    assert_codes(&["fault.0.nodes=[\"minimal_cut\"]"], &[Code::BadSelection]);
}

#[test]
fn a_leader_that_is_not_known_yet_counts_as_the_heaviest() {
    let leader = "{at=\"1s\",for=\"1s\",kind=\"crash\",nodes=[\"next_leader\"]}";
    let fault = one(leader);
    assert_eq!((fault.nodes.len(), fault.leads.as_deref()), (0, Some("main")));
    let with = |weights: &str| {
        codes(&[
            &format!("consensus.main.validators={weights}"),
            &format!("fault=[{leader}]"),
        ])
    };
    assert_eq!(with("{val-0=1,val-1=1,val-2=1,val-3=1}"), [""; 0]);
    assert_eq!(
        with("{val-0=2,val-1=1,val-2=1,val-3=1}"),
        [Code::QuorumBroken.to_string()]
    );
    let beside = format!(
        "fault=[{leader},{}]",
        leader.replace("1s\",for", "2s\",for").replace("next_leader", "val-2")
    );
    assert_codes(&[&beside], &[]);
    assert_codes(
        &[&beside.replace("for=\"1s\"", "for=\"2s\"")],
        &[Code::OverlappingFaults, Code::QuorumBroken],
    );
    assert_codes(&["fault.0.nodes=[\"next_leader\",\"val-1\"]"], &[Code::BadSelection]);
    assert_codes(&["fault.0.nodes=[\"next_leader:side\"]"], &[Code::UnknownInstance]);
}

#[test]
fn repeated_faults_start_when_they_say() {
    let repeat = |jitter: &str| {
        let text = "fault.0.repeat={every=\"6s\",times=4";
        let plan = plan_with(&["fault.0.for=1s", &format!("{text}{jitter}}}")]);
        plan.faults.iter().map(|fault| fault.at_ms).collect::<Vec<u64>>()
    };
    assert_eq!(repeat(""), [8000, 14_000, 20_000, 26_000]);
    let varied = repeat(",jitter=\"20%\"");
    assert_eq!((varied[0], varied.len()), (8000, 4));
    let off = |(at, planned): (&u64, u64)| at.abs_diff(planned) <= 1200;
    assert!(varied.iter().zip((8000..).step_by(6000)).all(off), "{varied:?}");
    assert_ne!(varied, repeat(""));
    assert_codes(&["fault.0.repeat={every=\"5s\",times=2}"], &[Code::OverlappingFaults]);
    assert_codes(&["fault.0.repeat={every=\"9s\",times=0}"], &[Code::OverlappingFaults]);
    assert_codes(&["fault.0.repeat={every=\"9s\",times=9}"], &[Code::FaultOutsidePhases]);
}

#[test]
fn a_link_fault_says_how_much_and_between_whom() {
    let fault = one("{at=\"1s\",for=\"1s\",kind=\"link\",nodes=[\"val-1\"],delay=\"40ms\",loss=\"2%\"}");
    let change = LinkChange {
        delay_ns: 40_000_000,
        loss_ppm: Some(20_000),
        ..LinkChange::default()
    };
    assert_eq!(fault.extent, FaultExtent::Link(change));
    assert!(fault.covers(1, 0) && fault.covers(0, 1) && !fault.covers(0, 2));
    let pairs = "{at=\"1s\",for=\"1s\",kind=\"link\",sets=[[\"val-0\"],[\"val-1\"]],one_way=true,rate=\"1Mbit\"}";
    let fault = one(pairs);
    assert!(fault.covers(0, 1) && !fault.covers(1, 0));
    assert_codes(
        &[&format!("fault=[{}]", pairs.replace(",rate=\"1Mbit\"", ""))],
        &[Code::MissingKey],
    );
    assert_codes(&["fault.0.kind=link", "fault.0.loss=60%"], &[Code::BadAmount]);
    assert_codes(&["fault.0.kind=link", "fault.0.rate=1kbit"], &[Code::BadAmount]);
    assert_codes(&["fault.0.kind=link", "fault.0.delay=2m"], &[Code::BadAmount]);
    assert_codes(
        &["fault.0.kind=link", "fault.0.delay=2ms", "fault.0.one_way=true"],
        &[Code::NoEffect],
    );
    assert_codes(&["fault.0.delay=2ms"], &[Code::NoEffect]);
}

#[test]
fn plans_say_of_each_fault_what_whom_and_how_much() {
    let faults = "fault=[{at=\"1s\",for=\"1s\",kind=\"crash\",nodes=[\"next_leader\"]},\
        {at=\"3s\",for=\"1s\",kind=\"crash\",nodes=[\"val-2\"],disk=\"lost\"},\
        {at=\"5s\",for=\"1s\",kind=\"link\",nodes=[\"full-0\"],delay=\"40ms\",jitter=\"10%\",loss=\"2%\",rate=\"1Mbit\"},\
        {at=\"7s\",for=\"1s\",kind=\"partition\",sets=[[\"val-0\"],[\"full-0\"]],one_way=true}]";
    let plan = plan_with(&[faults]);
    let told: Vec<String> = plan.faults.iter().map(|fault| plan.describe_fault(fault)).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    crash the next leader of `main`
    crash val-2 with its disk
    link full-0 +40ms jitter 10% loss 2% 1Mbit
    partition val-0 -> full-0
    ");
}

#[test]
fn links_between_bad_and_worse_of_a_nemesis() {
    assert_codes(&["nemesis.kinds=[]"], &[Code::BadAmount]);
    assert_codes(&["nemesis.kinds=[\"memory\"]"], &[Code::Unsupported]);
    assert_codes(&["nemesis.at_once=0"], &[Code::BadAmount]);
    assert_codes(&["nemesis.length=[\"5s\",\"2s\"]"], &[Code::BadAmount]);
    assert_codes(&["nemesis.nodes=[\"nobody\"]"], &[Code::UnknownNode]);
    assert_codes(&["nemesis.until=2m"], &[Code::FaultOutsidePhases]);
    insta::assert_snapshot!(rendered(&["nemesis.from=36s"]), @r#"
    error[T025]: no fault fits between `from` and `until`, or they last beyond the load, which ends at 37s
      --> --set nemesis.from=36s
       = help: lengthen `measure`
    "#);
}

/// A plan with random faults on up to `validators` validators and four full nodes.
fn nemesis(seed: u64, validators: u32, at_once: u32) -> Plan {
    plan_with(&[
        &format!("seed={seed}"),
        &format!("group.val.count={validators}"),
        "phases.measure=120s",
        &format!("nemesis={{kinds=[\"crash\",\"pause\",\"partition\",\"link\"],at_once={at_once},gap=\"2s\"}}"),
    ])
}

#[test]
fn the_seed_draws_the_same_faults_again_and_another_one_others() {
    let faults = nemesis(3, 10, 3).faults;
    assert!(faults.len() > 20, "{}", faults.len());
    assert_eq!(faults, nemesis(3, 10, 3).faults);
    assert_ne!(faults, nemesis(4, 10, 3).faults);
    for kind in [
        FaultKind::Crash,
        FaultKind::Pause,
        FaultKind::Partition,
        FaultKind::Link,
    ] {
        assert!(faults.iter().any(|fault| fault.kind == kind), "no {kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_faults_keep_to_their_budget(seed in any::<u32>(), validators in 4u32..20, at_once in 1u32..5) {
        let plan = nemesis(u64::from(seed), validators, at_once);
        let drawn: Vec<&PlannedFault> = plan.faults.iter().filter(|fault| fault.at_ms != 8000 || fault.nodes != [1]).collect();
        for fault in &plan.faults {
            let on = |other: &&&PlannedFault| other.at_ms <= fault.at_ms && fault.at_ms < other.until_ms;
            prop_assert!(drawn.iter().filter(on).count() <= at_once as usize);
            let of_nodes = plan.faults.iter().filter(|other| on(&other) && matches!(other.kind, FaultKind::Crash | FaultKind::Pause));
            let mut down: Vec<u32> = of_nodes.flat_map(|fault| fault.nodes.clone()).collect();
            let all = down.len();
            down.sort_unstable();
            down.dedup();
            prop_assert_eq!(down.len(), all, "two faults of one node");
            let down = down.iter().filter(|node| **node < validators).count() as u32;
            prop_assert!(3 * (validators - down) > 2 * validators, "{} of {} are down", down, validators);
        }
        prop_assert!(plan.faults.iter().all(|fault| fault.until_ms <= 125_000 && fault.until_ms - fault.at_ms >= 2000));
    }
}

#[test]
fn an_upgrade_names_a_second_build_and_nodes_that_it_shares_with_the_others() {
    let next = "build={main={source=\".\"},next={source=\".\"}}";
    let upgrade = |at: &str, nodes: &str, build: &str| {
        format!("{{at=\"{at}\",for=\"2s\",kind=\"upgrade\",nodes=[{nodes}],build=\"{build}\"}}")
    };
    let plan = plan_with(&[next, &format!("fault=[{}]", upgrade("1s", "\"all\"", "next"))]);
    let fault = &plan.faults[0];
    assert_eq!(
        (fault.build.as_deref(), fault.nodes.len()),
        (Some("next"), plan.nodes.len())
    );
    assert!(
        plan.describe_fault(fault).ends_with(" to `next`"),
        "{}",
        plan.describe_fault(fault)
    );
    let both = |nodes: &str| {
        let faults = [upgrade("1s", "\"val\"", "next"), upgrade("5s", nodes, "next")];
        format!("fault=[{}]", faults.join(","))
    };
    assert_codes(&[next, &both("\"val\"")], &[]);
    assert_codes(&[next, &both("\"full\"")], &[Code::BadSelection]);
    let leader = format!("fault=[{}]", upgrade("1s", "\"next_leader\"", "next"));
    assert_codes(&[next, &leader], &[Code::BadSelection]);
    let same = format!("fault=[{}]", upgrade("1s", "\"val\"", "main"));
    assert_codes(&[&same], &[Code::SameBuild]);
    assert_codes(&[next, "fault=[]"], &[Code::Unsupported]);
}

#[test]
fn memory_is_limited_where_the_machine_can_and_never_to_nothing() {
    let fault = |memory: &str| {
        format!("fault=[{{at=\"1s\",for=\"1s\",kind=\"memory\",memory=\"{memory}\",nodes=[\"val-1\"]}}]")
    };
    let planned = plan_with(&[&fault("24MiB")]).faults.remove(0);
    assert_eq!(
        (planned.kind, planned.extent),
        (FaultKind::Memory, FaultExtent::Memory(24 << 20))
    );
    assert_codes(&[&fault("900KiB")], &[Code::BadAmount]);
    let host = Capabilities {
        memory_limits_refused: Some("control group `/x`: no\n  help: y".to_owned()),
        ..Capabilities::default()
    };
    let problems = resolve(&Source::read("s.toml", SOUND, &[fault("24MiB")]), &host)
        .unwrap_err()
        .to_string();
    assert!(
        problems.contains("the fault `memory` cannot be made here: control group `/x`: no"),
        "{problems}"
    );
}
