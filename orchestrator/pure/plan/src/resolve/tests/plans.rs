//! What a plan says.

use super::{SOUND, outcome};
use crate::{
    Capabilities, Plan, PlannedStep, Source, Step, resolve,
    scenario::{Control, Rate, VoteTopology},
};
use std::fmt::Write;

fn plan_with(overrides: &[&str]) -> Plan {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let resolved = resolve(&Source::read("s.toml", SOUND, &overrides), &Capabilities::default());
    resolved.unwrap_or_else(|problems| panic!("{problems}")).plan
}

#[test]
fn plans_are_deterministic_and_digests_follow_every_choice() {
    let digest = |text: &str| outcome(text).unwrap().plan.digest();
    assert_eq!(digest(SOUND), digest(SOUND));
    assert_ne!(digest(SOUND), digest(&SOUND.replace("rate = 10", "rate = 11")));
    assert_ne!(digest(SOUND), digest(&format!("seed = 2\n{SOUND}")));
}

#[test]
fn plans_survive_both_encodings() {
    let plan = outcome(&format!("{SOUND}[slo]\nagreement = \"always\"\nstall = \"< 1s\"\n"))
        .unwrap()
        .plan;
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    let bytes = regatta_base::encode(&plan);
    assert_eq!(regatta_base::decode::<Plan>(&bytes, 1 << 20).unwrap(), plan);
}

#[test]
fn nodes_get_names_addresses_regions_and_weights() {
    let plan = outcome(&SOUND.replace(
        "count = 4\nrole = \"v",
        "count = 4\nregions = { eu = 2, us = 1 }\nrole = \"v",
    ));
    let plan = plan.unwrap().plan;
    let mut text = String::new();
    for node in &plan.nodes {
        let region = node.region.as_deref().unwrap_or("-");
        writeln!(
            text,
            "{} {} {} {region} {}",
            node.index, node.name, node.address, node.weight
        )
        .unwrap();
    }
    let expected = "0 val-0 127.60.0.1 eu 1\n1 val-1 127.60.0.2 us 1\n2 val-2 127.60.0.3 eu 1\n\
                    3 val-3 127.60.0.4 eu 1\n4 full-0 127.60.0.5 - 0\n5 full-1 127.60.0.6 - 0\n\
                    6 full-2 127.60.0.7 - 0\n7 full-3 127.60.0.8 - 0\n";
    assert_eq!(text, expected);
    assert_eq!(plan.loads[0].targets, [4, 5, 6, 7]);
    assert_eq!(plan.peers(0), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn steps_start_with_the_build_and_end_with_the_report() {
    let plan = outcome(SOUND).unwrap().plan;
    assert!(matches!(plan.steps[0].step, Step::Build { .. }));
    assert_eq!(plan.steps.last().unwrap().step, Step::Report);
    let at = |wanted: &Step| {
        plan.steps
            .iter()
            .find(|planned| planned.step == *wanted)
            .and_then(|planned| planned.at_ms)
    };
    assert_eq!(at(&Step::Load { load: 0 }), Some(0));
    assert_eq!(at(&Step::Inject { fault: 0 }), Some(8000));
    assert_eq!(at(&Step::Heal { fault: 0 }), Some(13_000));
    assert_eq!(at(&Step::Drain { up_to_ms: 10_000 }), Some(37_000));
    let times: Vec<u64> = plan.steps.iter().filter_map(|planned| planned.at_ms).collect();
    assert!(times.is_sorted(), "{times:?}");
    let sound = |(position, planned): (usize, &PlannedStep)| planned.id as usize == position && planned.deadline_ms > 0;
    assert!(plan.steps.iter().enumerate().all(sound));
}

#[test]
fn the_rendered_plan_says_everything() {
    insta::assert_snapshot!(outcome(SOUND).unwrap().plan.render());
}

#[test]
fn a_plan_with_everything_is_rendered() {
    let plan = plan_with(&[
        "question=Why?",
        "group.full.count=30",
        "peering={core={kind=\"full_mesh\",of=\"val\"},attach={kind=\"bipartite\",from=\"full\",to=\"val\",degree=1}}",
        "load.0.rate={ramp=[10,100],over=\"10s\"}",
        "load.0.mix={opaque=1,put=1,blob=2}",
        "load.0.arrivals=constant",
        "fault.0.nodes=[\"val-1\",\"full\"]",
        "slo.agreement=always",
        "slo.stall=< 3s outside faults",
    ]);
    insta::assert_snapshot!(plan.render());
}

#[test]
fn json_carries_plan_and_digest() {
    let plan = plan_with(&[]);
    let json = plan.to_json();
    assert_eq!(json["digest"], plan.digest().to_string());
    assert_eq!(serde_json::from_value::<Plan>(json["plan"].clone()).unwrap(), plan);
    assert_eq!(json["plan"]["nodes"][0]["address"], "127.60.0.1");
    assert_eq!(json["plan"]["faults"][0]["kind"], "crash");
}

#[test]
fn every_choice_is_in_the_digest() {
    let base = plan_with(&[]).digest();
    for change in [
        "name=other",
        "question=What?",
        "seed=2",
        "net.ipv4=127.61.0.0/16",
        "net.p2p_port=7100",
        "net.http_port=7101",
        "group.val.count=5",
        "group.full.role=observer",
        "group.full.regions={eu=1}",
        "peering.mesh.kind=ring",
        "consensus.main.block_interval=60ms",
        "consensus.main.round_timeout=400ms",
        "consensus.main.validators={val=2}",
        "phases.warmup=6s",
        "phases.drain=11s",
        "load.0.rate=11",
        "load.0.size=513",
        "load.0.mix={put=1}",
        "load.0.senders=65",
        "load.0.timeout=11s",
        "load.0.target=val",
        "load.0.arrivals=constant",
        "fault.0.at=9s",
        "fault.0.for=6s",
        "fault.0.nodes=[\"val-2\"]",
        "fault.0.breaks_quorum=true",
        "slo.agreement=always",
        "budget.wall=31m",
        "budget.lease=3h",
        "budget.disk=5GiB",
        "budget.memory=5GiB",
        "node.batch_bytes=128KiB",
        "node.batch_delay=6ms",
        "node.mempool_transactions=1000",
        "node.mempool_bytes=128MiB",
        "node.mempool_per_sender=1000",
        "node.snapshot_interval=100",
        "node.snapshot_lag=10",
        "node.keep_snapshots=3",
        "node.journal_file=1MiB",
        "build.main.source=../elsewhere",
    ] {
        assert_ne!(plan_with(&[change]).digest(), base, "{change}");
    }
}

#[test]
fn defaults_written_out_change_nothing() {
    let base = plan_with(&[]);
    for same in [
        "schema=1",
        "seed=1",
        "provider.kind=local",
        "net.ipv4=127.60.0.0/16",
        "group.val.build=main",
        "group.val.behaviour=honest",
        "build.main.source=.",
        "consensus.main.validators={val=1}",
        "consensus.main.validators=[\"val\"]",
        "consensus.main.vote_topology=all_to_all",
        "load.0.consensus=main",
        "load.0.mode=open",
        "load.0.arrivals=poisson",
        "load.0.mix={opaque=7}",
        "load.0.target=full",
        "load.0.size=0.5KiB",
        "phases.measure=0.5m",
        "node.durable=true",
        "node.snapshot_interval=0",
        "group.full.archive=false",
    ] {
        assert_eq!(plan_with(&[same]), base, "{same}");
    }
}

#[test]
fn votes_travel_as_size_and_graph_suggest() {
    let votes = |changes: &[&str]| plan_with(changes).instances[0].vote_topology;
    assert_eq!(votes(&[]), VoteTopology::AllToAll);
    assert_eq!(votes(&["group.val.count=16"]), VoteTopology::AllToAll);
    assert_eq!(votes(&["group.val.count=17"]), VoteTopology::LeaderAggregate);
    let ring = "peering.mesh={kind=\"ring\",of=\"all\"}";
    assert_eq!(votes(&["group.val.count=17", ring]), VoteTopology::Relay);
    let said = "consensus.main.vote_topology=leader_aggregate";
    assert_eq!(votes(&[said, ring]), VoteTopology::LeaderAggregate);
}

#[test]
fn everybody_follows_what_does_not_say_who_does() {
    let plan = plan_with(&[]);
    assert_eq!(plan.instances[0].followers, [4, 5, 6, 7]);
    let named = plan_with(&["consensus=[{id=\"main\",followers=[\"full-1\",\"val\"]},{id=\"side\"}]"]);
    assert_eq!(named.instances[0].followers, [5]);
    assert_eq!(named.instances[1].followers, [4, 5, 6, 7]);
    assert_eq!(
        (
            named.instances[0].runs(4),
            named.instances[0].runs(5),
            named.instances[0].votes(5)
        ),
        (false, true, false)
    );
    assert_eq!(named.loads[0].targets, [5], "the first instance, and those who run it");
    assert_eq!(named.nodes[0].weight, 2, "over all instances");
}

#[test]
fn the_seed_moves_the_graph_and_nothing_else_of_it() {
    let rule = "peering.mesh={kind=\"k_regular\",of=\"all\",k=3}";
    let (one, same, two) = (plan_with(&[rule]), plan_with(&[rule]), plan_with(&[rule, "seed=2"]));
    assert_eq!(one.edges, same.edges);
    assert_ne!(one.edges, two.edges);
    assert_eq!(one.nodes, two.nodes);
    let renamed = "peering={other={kind=\"k_regular\",of=\"all\",k=3}}";
    assert_ne!(
        plan_with(&[renamed]).edges,
        one.edges,
        "each rule has a stream of its own"
    );
}

#[test]
fn loads_go_to_full_nodes_else_to_validators_and_never_to_observers() {
    assert_eq!(plan_with(&[]).loads[0].targets, [4, 5, 6, 7]);
    assert_eq!(plan_with(&["group.full.role=observer"]).loads[0].targets, [0, 1, 2, 3]);
    assert_eq!(
        plan_with(&["load.0.target=all"]).loads[0].targets,
        [0, 1, 2, 3, 4, 5, 6, 7]
    );
    let with_observers = plan_with(&["group.full.role=observer", "load.0.target=all"]);
    assert_eq!(with_observers.loads[0].targets, [0, 1, 2, 3]);
    assert_eq!(plan_with(&["load.0.target=full-2"]).loads[0].targets, [6]);
    let region = plan_with(&["group.full.regions={eu=1,us=1}", "load.0.target=region:us"]);
    assert_eq!(region.loads[0].targets.len(), 2);
}

#[test]
fn shares_are_normalised_and_counts_expected() {
    let plan = plan_with(&["load.0.mix={opaque=3,put=1}", "load.0.rate={ramp=[0,100],over=\"37s\"}"]);
    let load = &plan.loads[0];
    assert_eq!(
        load.mix
            .iter()
            .map(|(kind, share)| (kind.name(), *share))
            .collect::<Vec<_>>(),
        [("opaque", 0.75), ("put", 0.25)]
    );
    assert_eq!((load.duration_ms, load.expected), (37_000, 1850));
    assert!(matches!(load.rate, Rate::Ramp { ramp: (from, to), .. } if from == 0.0 && to == 100.0));
}

#[test]
fn quorums_are_more_than_two_thirds_of_the_weight() {
    let plan = plan_with(&[
        "consensus.main.validators={val-0=3,val-1=1,val-2=1,val-3=1}",
        "fault=[]",
    ]);
    let instance = &plan.instances[0];
    assert_eq!(instance.total_weight(), 6);
    assert_eq!(
        [3, 4, 5, 6].map(|weight| instance.is_quorum(weight)),
        [false, false, true, true]
    );
    assert_eq!(plan.node("val-0").map(|node| node.weight), Some(3));
    assert!(
        plan.nodes
            .iter()
            .all(|node| node.is_validator() == node.name.starts_with("val"))
    );
}

#[test]
fn many_nodes_are_spawned_in_batches() {
    let overrides = [
        "group.full.count=246",
        "peering.mesh={kind=\"ring\",of=\"all\"}",
        "consensus.main.round_timeout=1s",
    ];
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let host = Capabilities {
        descriptors_per_process: 1 << 20,
        ..Capabilities::default()
    };
    let plan = resolve(&Source::read("s.toml", SOUND, &overrides), &host).unwrap().plan;
    let spawned: Vec<usize> = plan
        .steps
        .iter()
        .filter_map(|planned| match &planned.step {
            Step::Spawn { nodes } => Some(nodes.len()),
            _ => None,
        })
        .collect();
    assert_eq!(spawned, [100, 100, 50]);
}

#[test]
fn no_deadline_is_longer_than_the_run() {
    let plan = plan_with(&["budget.wall=1m"]);
    assert!(plan.steps.iter().all(|planned| planned.deadline_ms <= 60_000));
}

#[test]
fn nodes_on_hosts_are_controlled_at_their_ports_or_through_ssh() {
    let plan = |more: &str| super::fleet::plan(&super::fleet::fleet(&["slots = 8"], more));
    let (said, silent) = (plan("control = \"direct\""), plan(""));
    assert_eq!((said.control, said.digest()), (Control::Direct, silent.digest()));
    let through = plan("control = \"ssh\"");
    assert!(through.control == Control::Ssh && through.digest() != silent.digest());
    // Where the lab goes to is known once hosts were reached.
    assert!(through.nodes.iter().all(|node| node.control.is_none()));
}
