//! Snapshots on simulated disks: written, served to a node that joins late, and started from.

use super::{Run, SECOND, instance, setup};
use crate::Setup;
use regatta_api::{
    config::{Retain, SnapshotConfig},
    metrics::Metric,
};

/// Four validators and a full node that starts late; a snapshot every ten blocks, and five blocks are kept.
fn pruned(seed: u64) -> Setup {
    let mut setup = setup(5, 4, seed);
    for host in &mut setup.hosts {
        host.config.instances[0].snapshots = SnapshotConfig {
            interval: 10,
            lag: 20,
            keep: 2,
        };
        host.config.store.retain_blocks = Retain::Last(5);
    }
    setup.hosts[4].late = true;
    setup
}

/// The first height that a host still has.
fn first(run: &Run, host: usize) -> u64 {
    let height = run.height(host);
    let has = |wanted: &u64| run.world.block(host, &instance(), *wanted).is_some();
    (1..=height).find(has).unwrap_or(height)
}

#[test]
fn a_node_that_joins_late_begins_with_a_snapshot() {
    let mut run = Run::new(pruned(3));
    assert!(!run.world.is_up(4));
    run.load(6 * SECOND, 0);
    let before = run.height(0);
    assert!(before > 60 && first(&run, 0) > 30, "{before}, from {}", first(&run, 0));
    run.world.start(4);
    run.load(3 * SECOND, 0);
    run.pass(2 * SECOND);
    let height = run.height(0);
    assert_eq!(run.height(4), height);
    assert!(first(&run, 4) > 30, "it never had the first blocks: {}", first(&run, 4));
    let tip = |host| run.world.summaries(host, &instance(), height, 1).pop().unwrap();
    assert_eq!((tip(4).hash, tip(4).state_root), (tip(0).hash, tip(0).state_root));
    assert!(run.world.counter(4, Metric::SyncFramesSent) > 0);
    assert!(run.keeps_promises());
}

#[test]
fn hosts_start_again_from_snapshots_and_what_is_left_of_their_journals() {
    let mut run = Run::new(pruned(4));
    run.load(4 * SECOND, 0);
    for host in [1, 2] {
        run.world.crash(host);
        run.load(SECOND, 0);
        run.world.start(host);
        run.load(2 * SECOND, 0);
        assert_eq!(run.world.failure(host), None);
    }
    run.pass(3 * SECOND);
    let height = run.height(0);
    for host in [1, 2, 3] {
        assert_eq!(run.height(host), height);
        let tip = |host| run.world.summaries(host, &instance(), height, 1).pop().unwrap();
        assert_eq!(tip(host).state_root, tip(0).state_root);
    }
    assert!(run.keeps_promises());
}

#[test]
fn one_seed_gives_one_trace_with_snapshots_too() {
    let trace = |seed| {
        let mut run = Run::new(pruned(seed));
        run.load(3 * SECOND, 1);
        run.world.start(4);
        run.pass(2 * SECOND);
        run.world.trace()
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}
