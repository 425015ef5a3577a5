//! Nodes in network namespaces: whole runs, side by side, parted by the switch, and gone without a trace.
//!
//! Where namespaces are not allowed these tests say so and pass, but never where CI is set.

use super::support::{lab::Lab, namespaces::allowed, programs, wait::until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{collections::BTreeSet, fs};

const NETNS: &str = "[provider]\nkind = \"netns\"\n";
const SHORT: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"2s\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\n";
const LONG: &str = "[phases]\nwarmup = \"1s\"\nmeasure = \"10m\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\n";

/// Devices of the namespace that the tests run in.
fn host_devices() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/net/dev").unwrap();
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    text.lines().filter_map(name).collect()
}

/// The network namespace of a process.
fn namespace(pid: u32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    Some(link.to_str()?.to_owned())
}

/// Network namespaces of all processes.
fn all_namespaces() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(namespace).collect()
}

#[test]
fn nodes_in_namespaces_agree_and_the_host_sees_none_of_it() {
    let lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    let before = host_devices();
    let running = lab.start_run("topologies/netns-smoke.toml");
    let run = lab.run_of(&running);
    run.wait_for_step("measure", &running);
    assert_eq!(host_devices(), before, "the host got a device");
    let own = namespace(std::process::id()).unwrap();
    let started = run.started();
    let places: BTreeSet<String> = started.iter().filter_map(|(_, pid)| namespace(*pid)).collect();
    assert_eq!(places.len(), 6, "each node has a namespace of its own: {places:?}");
    let lab_place = namespace(running.pid()).unwrap();
    assert!(!places.contains(&own) && !places.contains(&lab_place) && lab_place != own);
    running.wait();
    run.assert_correct();
    let result = run.result();
    assert_eq!(result["record"]["partial"], false);
    let provider = result["record"]["identity"]["provider"].as_str().unwrap();
    assert_eq!(provider, "network namespaces, emulated links");
    // Both directions of three pairs of regions, before and after, and some beside the load.
    let links = &result["record"]["links"];
    let probes = links["probes"].as_array().unwrap();
    let at = |moment: &str| probes.iter().filter(|probe| probe["moment"] == moment).count();
    assert_eq!((at("before"), at("after")), (6, 6), "{links:#}");
    assert!(probes.iter().all(|probe| probe["error"].is_number()), "{links:#}");
    let delay = |probe: &Value| (probe["wanted_delay_us"].as_f64(), probe["delay_us"].as_f64());
    // A packet is never early, but for its jitter.
    let early = |probe: &&Value| matches!(delay(probe), (Some(wanted), Some(seen)) if seen < 0.94 * wanted);
    assert_eq!(probes.iter().find(early), None);
    let round_trip = |probe: &Value| (probe["wanted_round_trip_us"].as_f64(), probe["round_trip_us"].as_f64());
    // All measurements beside the load together are counts alone.
    let unmeasured = |probe: &&Value| {
        let is_right = matches!(round_trip(probe), (Some(wanted), Some(seen)) if seen >= 0.94 * wanted);
        probe["moment"] != "throughout" && !is_right
    };
    assert_eq!(probes.iter().find(unmeasured), None);
    assert!(links["packets"].as_u64().unwrap() > 1000, "{links:#}");
    run.wait_until_nobody_is_left();
}

#[test]
fn two_testnets_have_the_same_addresses_and_one_dies_without_a_trace() {
    let lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    let scenario = lab.scenario(&format!("{NETNS}{LONG}"));
    let first = lab.start_run(&scenario);
    let first_run = lab.run_of(&first);
    first_run.wait_for_step("measure", &first);
    let second = lab.start_run(&lab.scenario(&format!("{NETNS}{SHORT}")));
    let second_run = lab.run_of(&second);
    second_run.wait_for_step("measure", &second);
    let mut places: BTreeSet<String> = first_run
        .started()
        .iter()
        .filter_map(|(_, pid)| namespace(*pid))
        .collect();
    places.extend(namespace(first.pid()));
    assert_eq!(places.len(), 6, "five nodes and the lab");
    first.signal(Signal::SIGKILL);
    first.wait();
    first_run.wait_until_nobody_is_left();
    until("the namespaces to be gone", || {
        let left: Vec<String> = all_namespaces().intersection(&places).cloned().collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    second.wait();
    second_run.assert_correct();
    assert_eq!(second_run.result()["record"]["partial"], false);
}

#[test]
fn a_cluster_in_namespaces_gets_load_from_another_command() {
    let mut lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    let scenario = lab.scenario(&format!("{NETNS}[budget]\nlease = \"10m\"\n"));
    lab.up(&scenario).success();
    let load = lab.command(&["load", "latest", "--rate", "30", "--for", "2s", "--json"]);
    let load: serde_json::Value = serde_json::from_str(&load.stdout).unwrap_or_else(|_| panic!("{}", load.stderr));
    assert!(load["accounting"]["finalised_ok"].as_u64().unwrap() > 20, "{load:#}");
    assert!(
        lab.command(&["logs", "latest", "val-0"])
            .success()
            .contains("listening")
    );
    lab.command(&["down"]).success();
}

#[test]
fn the_switch_parts_a_minority_that_catches_up() {
    let lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    let fault = "[phases]\nwarmup = \"1s\"\nmeasure = \"6s\"\ncooldown = \"1s\"\n[[load]]\nrate = 30\ntarget = \"full\"\n\
                 [[fault]]\nat = \"2s\"\nfor = \"3s\"\nkind = \"partition\"\n\
                 sets = [[\"val-3\"], [\"val-0\", \"val-1\", \"val-2\", \"full-0\"]]\n";
    let running = lab.start_run(&lab.scenario(&format!("{NETNS}{fault}")));
    let run = lab.run_of(&running);
    running.wait();
    run.assert_correct();
    let result = run.result();
    let events = result["record"]["events"].as_array().unwrap();
    let parted = events.iter().any(|event| {
        event["kind"] == "fault"
            && event["text"]
                .as_str()
                .unwrap()
                .contains("made by the switch between namespaces")
    });
    assert!(parted, "{events:#?}");
    // Packets were lost, and by the switch: it says how many.
    let lost = result["record"]["links"]["lost"].as_array().unwrap();
    assert!(lost.iter().any(|reason| reason["name"] == "by partitions"), "{lost:#?}");
}

#[test]
fn slow_links_slow_down_consensus_and_are_fast_again() {
    let lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    // Longer than a block takes without it, and shorter than a round.
    let fault = "[phases]\nwarmup = \"1s\"\nmeasure = \"7s\"\ncooldown = \"2s\"\n[[load]]\nrate = 30\ntarget = \"full\"\n\
                 [[fault]]\nat = \"3s\"\nfor = \"3s\"\nkind = \"link\"\nnodes = [\"val-0\", \"val-1\", \"val-2\"]\n\
                 delay = \"150ms\"\n";
    let running = lab.start_run(&lab.scenario(&format!("{NETNS}{fault}")));
    let run = lab.run_of(&running);
    running.wait();
    run.assert_correct();
    let result = run.result();
    let events = result["record"]["events"].as_array().unwrap();
    let fault = events.iter().find(|event| event["kind"] == "fault").unwrap();
    assert!(fault["text"].as_str().unwrap().contains("+150ms"), "{fault:#}");
    let time = |value: &Value| value.as_f64().unwrap();
    // What was on its way when it began still arrives. Then each block takes a proposal and votes, one after the other.
    let (from, until) = (time(&fault["start_ms"]) + 300.0, time(&fault["end_ms"]));
    let blocks = result["record"]["blocks"].as_array().unwrap();
    let within = |block: &&Value| (from..until).contains(&time(&block["at_ms"]));
    let most = (until - from) / 150.0 + 2.0;
    let decided = blocks.iter().filter(within).count();
    assert!(
        decided > 0 && (decided as f64) < most,
        "{decided} blocks in {} ms",
        until - from
    );
    run.wait_until_nobody_is_left();
}

#[test]
fn a_link_that_is_not_the_same_both_ways_is_measured_each_way() {
    let lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    // An access line: little and lossy upstream, much downstream; the validators' own links have neither.
    let line = "[phases]\nwarmup = \"1s\"\nmeasure = \"8s\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\ntarget = \"full\"\n\
                [link]\nmatrix = { self = \"2ms\" }\n\
                [[link.direction]]\nfrom = \"full\"\nto = \"val\"\ndelay = \"60ms\"\nrate = \"4Mbit\"\nloss = \"5%\"\n\
                [[link.direction]]\nfrom = \"val\"\nto = \"full\"\ndelay = \"20ms\"\nrate = \"20Mbit\"\n";
    let scenario = lab.scenario(&format!("{NETNS}{line}"));
    let planned = lab.command(&["plan", &scenario]);
    let plan = planned.success();
    assert!(
        plan.contains("direction full-0 -> val-0 val-1 val-2 val-3: 60ms loss 5% 4Mbit"),
        "{plan}"
    );
    let running = lab.start_run(&scenario);
    let run = lab.run_of(&running);
    running.wait();
    run.assert_correct();
    let result = run.result();
    let links = &result["record"]["links"];
    let probes = links["probes"].as_array().unwrap();
    let is_way = |probe: &Value, from: &str, to: &str| {
        let end = |key: &str, group: &str| probe[key].as_str().unwrap().starts_with(group);
        end("from", from) && end("to", to)
    };
    for (from, to, delay_us, rate, loses) in [
        ("full", "val", 60_000.0, Some(4_000_000), true),
        ("val", "full", 20_000.0, Some(20_000_000), false),
        ("val", "val", 2000.0, None, false),
    ] {
        let of: Vec<&Value> = probes.iter().filter(|probe| is_way(probe, from, to)).collect();
        let moments: BTreeSet<&str> = of.iter().filter_map(|probe| probe["moment"].as_str()).collect();
        assert!(
            moments.contains("before") && moments.contains("after"),
            "{from} to {to}: {links:#}"
        );
        // Those of all measurements beside the load together are counts alone.
        for probe in of.into_iter().filter(|probe| probe["moment"] != "throughout") {
            assert_eq!(probe["wanted_delay_us"].as_f64(), Some(delay_us), "{probe:#}");
            // The load itself waits in the slow direction; no packet is early.
            let delay = probe["delay_us"].as_f64().unwrap();
            assert!(delay >= delay_us, "{probe:#}");
            // The same there and back as back and there.
            let round_trip_us = if from == to { 4000.0 } else { 80_000.0 };
            assert_eq!(probe["wanted_round_trip_us"].as_f64(), Some(round_trip_us), "{probe:#}");
            assert!(probe["round_trip_us"].as_f64().unwrap() >= round_trip_us, "{probe:#}");
            if probe["moment"] != "during" {
                assert_eq!(probe["wanted_rate_bits"].as_u64(), rate, "{probe:#}");
                let lost = probe["sent"].as_u64().unwrap() - probe["received"].as_u64().unwrap();
                assert_eq!(lost > 0, loses, "{probe:#}");
                // One that was disturbed may be off; the other way round would be off by twice as much and more.
                assert!(probe["error"].as_f64().unwrap() < 0.5, "{probe:#}");
            }
        }
    }
    assert!(probes.iter().any(|probe| probe["moment"] == "during"), "{links:#}");
}

#[test]
fn forty_nodes_over_three_continents_agree_and_their_links_are_measured() {
    let lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    let node = programs::node().to_str().unwrap();
    // The scenario as it stands but for its length and its load: an unoptimised build on a busy machine has to keep up.
    let shorter = [
        "phases.warmup=2s",
        "phases.measure=8s",
        "phases.cooldown=1s",
        "load.0.rate=20",
    ];
    let mut arguments = vec!["run", "topologies/wan.toml", "--binary", node];
    arguments.extend(shorter.iter().flat_map(|setting| ["--set", setting]));
    let running = lab.start(&arguments);
    let run = lab.run_of(&running);
    running.wait();
    run.assert_correct();
    let result = run.result();
    assert_eq!(result["record"]["partial"], false);
    let accounting = &result["record"]["accounting"];
    assert!(accounting["finalised_ok"].as_u64().unwrap() > 100, "{accounting:#}");
    // Six pairs of regions, those inside one included, both ways.
    let probes = result["record"]["links"]["probes"].as_array().unwrap();
    let wanted: BTreeSet<u64> = probes
        .iter()
        .filter(|probe| probe["moment"] == "before")
        .map(|probe| probe["wanted_delay_us"].as_f64().unwrap() as u64)
        .collect();
    assert_eq!(wanted, BTreeSet::from([1000, 40_000, 75_000, 110_000]), "{probes:#?}");
    for moment in ["before", "after"] {
        assert_eq!(probes.iter().filter(|probe| probe["moment"] == moment).count(), 12);
    }
    run.wait_until_nobody_is_left();
}
