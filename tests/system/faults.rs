//! A validator that is killed in mid-run and comes back: it rejoins, all agree, and nothing acknowledged is lost.

use super::support::{lab::Lab, network::Network};
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
