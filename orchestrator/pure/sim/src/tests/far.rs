//! Fifty validators, each far from every other: what a decision and a block take there.

use super::*;
use regatta_api::config::VoteTopology;

/// One way between any two nodes.
const WAY: Nanos = 40 * MILLISECOND;
/// What processors may add; disks count for nothing here, as where agreement alone is measured.
const REST: Nanos = 5 * MILLISECOND;
/// How long a batch waits before it leaves: what comes before a proposal.
const BATCH: Nanos = MILLISECOND;
const VALIDATORS: usize = 50;

fn far(empty_blocks: bool) -> Run {
    let mut setup = setup(VALIDATORS, VALIDATORS, 5);
    for host in &mut setup.hosts {
        let instance = &mut host.config.instances[0];
        instance.block_interval_ms = 0;
        instance.batch_delay_ms = BATCH / MILLISECOND;
        instance.round_timeout_ms = 1000;
        instance.round_timeout_ms_max = 10_000;
        instance.vote_topology = VoteTopology::AllToAll;
        instance.empty_blocks = empty_blocks;
    }
    setup.network.delay_ns = vec![vec![WAY]];
    setup.network.jitter_ppm = 0;
    setup.disk.flush_ns = 0;
    Run::new(setup)
}

/// A transaction that the next leader takes is decided where it was taken after proposal and two votes: three ways.
#[test]
fn fifty_far_apart_decide_in_three_ways() {
    let mut run = far(false);
    for _ in 0..2 {
        let leader = (run.height(0) as usize + 1) % VALIDATORS;
        run.world.watch(leader);
        run.sent += 1;
        let (id, bytes) = put(run.sent);
        run.requests.insert(run.sent, id);
        let began = run.world.now();
        run.world.submit(leader, run.sent, None, vec![bytes]);
        run.pass(500 * MILLISECOND);
        let (at, _) = run.finals[&id];
        let took = at - began - BATCH;
        println!("decided after {} us", took / 1000);
        assert!(took >= 3 * WAY, "{took} ns is less than the way");
        assert!(took <= 3 * WAY + REST, "{} us", took / 1000);
    }
}

#[test]
fn fifty_far_apart_follow_each_other_in_two_ways() {
    let mut run = far(true);
    run.pass(SECOND / 2);
    let (before, time) = (run.height(0), SECOND);
    run.pass(time);
    let blocks = run.height(0) - before;
    let period = time / blocks;
    println!("a block every {} us", period / 1000);
    assert!(period >= 2 * WAY, "{period} ns is less than the way");
    assert!(period <= 2 * WAY + REST, "{} us", period / 1000);
    run.agree();
}
