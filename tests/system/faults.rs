//! A validator that is killed in mid-run and comes back: it rejoins, all agree, and nothing acknowledged is lost.

use super::support::{lab::Lab, network::Network, programs};
use regatta_api::view::{Outcome, TransactionStatus};
use regatta_base::{SecretKey, TransactionId};

#[test]
fn a_run_with_a_crash_is_correct() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "[phases]\nwarmup = \"2s\"\nmeasure = \"12s\"\ncooldown = \"1s\"\ndrain = \"20s\"\n\
         [[load]]\nrate = 50\nmix = { opaque = 0.5, put = 0.5 }\nsize = 128\ntarget = \"full\"\n\
         [[fault]]\nat = \"4s\"\nfor = \"3s\"\nkind = \"crash\"\nnodes = [\"val-3\"]\n",
    );
    let ended = lab.start_run(&scenario).wait();
    let run = lab.latest();
    run.assert_correct();
    let started = run.started();
    assert_eq!(
        started.iter().filter(|(node, _)| node == "val-3").count(),
        2,
        "{}",
        ended.stderr
    );
    let result = run.result();
    let nodes = result["summary"]["nodes"].as_array().unwrap();
    let crashed = nodes.iter().find(|node| node["name"] == "val-3").unwrap();
    assert_eq!(crashed["restarts"], 1);
    assert!(ended.stderr.contains("FAULT crash val-3"), "{}", ended.stderr);
}

#[test]
fn a_validator_without_time_on_the_processor_catches_up_when_it_has_it_again() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "[phases]\nwarmup = \"2s\"\nmeasure = \"10s\"\ncooldown = \"1s\"\ndrain = \"20s\"\n\
         [[load]]\nrate = 20\nsize = 128\ntarget = \"full\"\n\
         [[fault]]\nat = \"3s\"\nfor = \"4s\"\nkind = \"cpu\"\nshare = \"2%\"\nnodes = [\"val-2\"]\n",
    );
    let ended = lab.start_run(&scenario).wait();
    if ended.code() == Some(2) {
        // Not every machine has control groups that limit processors; one that has not says so before it starts anything.
        return ended.failure(2, &["the fault `cpu` cannot be made here", "help:"]);
    }
    // All nodes have one ledger in the end, so the slow one went on.
    let run = lab.latest();
    run.assert_correct();
    let journal = run.journal();
    let told = |kind: &str| {
        journal
            .iter()
            .find(|line| line["kind"] == kind)
            .map(|line| line["text"].to_string())
    };
    let expected = "\"cpu val-2 2% of a core, made by control groups\"";
    assert_eq!(told("fault_began").as_deref(), Some(expected), "{}", ended.stderr);
    let seen = told("fault_ended").unwrap();
    let held_back = format!("{}: val-2 held back in ", expected.trim_end_matches('"'));
    assert!(seen.starts_with(&held_back), "{seen}\n{}", ended.stderr);
}

#[test]
fn a_node_lives_or_dies_with_little_memory_and_the_network_goes_on_when_it_has_it_back() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "[phases]\nwarmup = \"2s\"\nmeasure = \"12s\"\ncooldown = \"1s\"\ndrain = \"20s\"\n\
         [[load]]\nrate = 20\nsize = 128\ntarget = \"full\"\n\
         [[fault]]\nat = \"2s\"\nfor = \"2s\"\nkind = \"memory\"\nmemory = \"512MiB\"\nnodes = [\"val-1\"]\n\
         [[fault]]\nat = \"5s\"\nfor = \"3s\"\nkind = \"memory\"\nmemory = \"1MiB\"\nnodes = [\"val-2\"]\n",
    );
    let ended = lab.start_run(&scenario).wait();
    if ended.code() == Some(2) {
        return ended.failure(2, &["the fault `memory` cannot be made here", "help:"]);
    }
    // All nodes have one ledger in the end, so the one that died is back and has caught up.
    let run = lab.latest();
    run.assert_correct();
    let result = run.result();
    assert_eq!(result["record"]["partial"], false, "{}", ended.stderr);
    let events = result["record"]["events"].as_array().unwrap();
    let text = |begin: &str| {
        let texts = events.iter().filter_map(|event| event["text"].as_str());
        texts.filter(|text| text.starts_with(begin)).collect::<Vec<_>>()
    };
    let lived = text("memory val-1 512MiB, made by control groups: val-1 lived with at most ");
    assert_eq!(lived.len(), 1, "{events:#?}");
    let died = text("memory val-2 1MiB, made by control groups: val-2 ");
    assert!(died.len() == 1 && died[0].contains("killed"), "{events:#?}");
    let again = events.iter().filter(|event| event["kind"] == "restart").count();
    assert_eq!(again, 1, "{events:#?}");
    for recovery in result["summary"]["recoveries"].as_array().unwrap() {
        assert!(recovery["first_block_ms"].is_number(), "no block after {recovery:#}");
    }
}

#[test]
fn faults_of_links_pauses_and_lost_disks_heal_and_the_run_goes_on() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "[phases]\nwarmup = \"2s\"\nmeasure = \"16s\"\ncooldown = \"1s\"\ndrain = \"20s\"\n\
         [link]\nmatrix = { self = \"3ms\" }\njitter = \"10%\"\nrate = \"100Mbit\"\n\
         [[load]]\nrate = 20\nsize = 128\ntarget = \"full\"\n\
         [[fault]]\nat = \"2s\"\nfor = \"2s\"\nkind = \"link\"\nnodes = [\"val-1\"]\ndelay = \"40ms\"\nloss = \"1%\"\n\
         [[fault]]\nat = \"3s\"\nfor = \"1s\"\nkind = \"pause\"\nnodes = [\"next_leader\"]\n\
         [[fault]]\nat = \"5s\"\nfor = \"1s\"\nkind = \"crash\"\nnodes = [\"val-2\"]\ndisk = \"lost\"\n\
         [[fault]]\nat = \"11s\"\nfor = \"2s\"\nkind = \"partition\"\nsets = [[\"val-0\"], [\"rest\"]]\n\
         bridge = [\"full-0\"]\nrepeat = { every = \"3s\", times = 2 }\n",
    );
    let ended = lab.start_run(&scenario).wait();
    let run = lab.latest();
    run.assert_correct();
    let journal = run.journal();
    let told = |kind: &str| -> Vec<String> {
        let lines = journal.iter().filter(|line| line["kind"] == kind);
        lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    };
    let began = told("fault_began");
    let mut healed = told("fault_ended");
    assert_eq!(began.len(), 5, "{}", ended.stderr);
    assert_eq!(began[0], "link val-1 +40ms loss 1%, made inside the nodes' transport");
    assert!(began[1].starts_with("pause val-"), "{began:?}");
    assert_eq!(began[2], "crash val-2 with its disk");
    assert_eq!(
        began[3],
        "partition val-0 | val-1, val-2, val-3, made inside the nodes' transport"
    );
    let mut sorted = began.clone();
    sorted.sort();
    healed.sort();
    assert_eq!(healed, sorted, "every fault is undone");
    let result = run.result();
    let recoveries = result["summary"]["recoveries"].as_array().unwrap();
    assert_eq!(recoveries.len(), 5, "{recoveries:#?}");
    for recovery in recoveries {
        assert!(recovery["first_block_ms"].is_number(), "no block after {recovery:#}");
    }
    let sentence = result["verdict"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("delays inside the nodes' transport"), "{sentence}");
}

#[test]
fn clocks_and_disks_that_go_wrong_come_right_again() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "[phases]\nwarmup = \"1s\"\nmeasure = \"13s\"\ncooldown = \"1s\"\ndrain = \"20s\"\n\
         [[load]]\nrate = 20\nsize = 128\ntarget = \"full\"\n\
         [[fault]]\nat = \"2s\"\nfor = \"2s\"\nkind = \"disk_full\"\nnodes = [\"val-1\"]\n\
         [[fault]]\nat = \"5s\"\nfor = \"2s\"\nkind = \"disk_slow\"\nnodes = [\"val\"]\ndelay = \"20ms\"\n\
         [[fault]]\nat = \"8s\"\nfor = \"2s\"\nkind = \"skew\"\nnodes = [\"val-2\", \"full\"]\noffset = \"1s\"\n",
    );
    let ended = lab.start_run(&scenario).wait();
    let run = lab.latest();
    run.assert_correct();
    let result = run.result();
    let recoveries = result["summary"]["recoveries"].as_array().unwrap();
    assert_eq!(recoveries.len(), 3, "{}", ended.stderr);
    for recovery in recoveries {
        assert!(recovery["first_block_ms"].is_number(), "no block after {recovery:#}");
    }
    let log = run.text("logs/val-1.log");
    assert!(log.contains("no room on the device: records wait"), "{log}");
    assert!(log.contains("there is room on the device again"), "{log}");
}

#[test]
fn random_faults_leave_everything_right() {
    let lab = Lab::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../topologies/nemesis.toml");
    let subnet = format!("net.ipv4={}", lab.subnet.text());
    let node = programs::node();
    let mut arguments = vec!["run", folder, "--binary", node.to_str().unwrap()];
    for change in [
        subnet.as_str(),
        "group.val.count=7",
        "group.full.count=2",
        "phases.warmup=2s",
        "phases.measure=20s",
        "phases.cooldown=4s",
        "nemesis.length=[\"1s\",\"3s\"]",
        "nemesis.gap=1s",
    ] {
        arguments.extend(["--set", change]);
    }
    let ended = lab.start(&arguments).wait();
    let run = lab.latest();
    run.assert_correct();
    let began = run
        .journal()
        .iter()
        .filter(|line| line["kind"] == "fault_began")
        .count();
    assert!(began >= 8, "only {began} faults: {}", ended.stderr);
}

/// Submits `count` writes to each of `to`, all acknowledged.
fn acknowledge(network: &Network, to: &[usize], count: u64, sequence: &mut u64) -> Vec<TransactionId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        for &index in to {
            let sender = SecretKey::from_seed([200 + index as u8; 32]);
            let write = network.put(&sender, *sequence, &format!("key-{index}-{sequence}"), "value");
            ids.push(network.acknowledged(index, write));
        }
        *sequence += 1;
    }
    ids
}

/// Waits until node `index` has executed every transaction with effect.
fn assert_executed(network: &Network, index: usize, ids: &[TransactionId]) {
    for id in ids {
        let status = network.wait_executed(index, id);
        let ok = matches!(
            status,
            TransactionStatus::Executed {
                outcome: Outcome::Ok,
                ..
            }
        );
        assert!(ok, "{id}: {status:?}");
    }
}

#[test]
fn a_killed_validator_comes_back_with_all_that_it_acknowledged() {
    let mut network = Network::new(4, 1).started();
    let mut sequence = 1;
    let mut ids = acknowledge(&network, &[0, 1, 2, 3], 5, &mut sequence);
    // The last acknowledgement and the end of its giver follow each other at once.
    let last = SecretKey::from_seed([99; 32]);
    let write = network.put(&last, 1, "last", "word");
    ids.push(network.acknowledged(3, write));
    network.kill(3);
    let height = network.height(0);
    ids.extend(acknowledge(&network, &[0, 1, 2, 4], 5, &mut sequence));
    let others = &ids[ids.len() - 20..].to_vec();
    assert_executed(&network, 0, others);
    assert!(network.height(0) > height, "three of four validators decide");
    network.start(3);
    network.wait_ready(3);
    ids.extend(acknowledge(&network, &[3, 0], 5, &mut sequence));
    for index in 0..5 {
        assert_executed(&network, index, &ids);
    }
    network.assert_agreement();
}

#[test]
fn a_power_cut_of_all_validators_loses_nothing() {
    let mut network = Network::new(4, 0).started();
    let mut sequence = 1;
    let ids = acknowledge(&network, &[0, 1, 2, 3], 5, &mut sequence);
    for index in 0..4 {
        network.kill(index);
    }
    let mut network = network.started();
    let more = acknowledge(&network, &[0, 1, 2, 3], 2, &mut sequence);
    for index in 0..4 {
        assert_executed(&network, index, &ids);
        assert_executed(&network, index, &more);
    }
    network.assert_agreement();
    network.stop(0);
}
