//! Runs without faults: what becomes final and when, and that one seed gives one trace.

use super::*;
use crate::FREE;

#[test]
fn nodes_agree_and_clients_hear_of_every_transaction() {
    let mut run = Run::new(setup(5, 4, 1));
    run.load(2 * SECOND, 4);
    run.pass(SECOND);
    assert_eq!(run.acknowledged.len() as u64, run.sent);
    assert_eq!(
        run.finals.len() as u64,
        run.sent,
        "the host that took them tells of all"
    );
    assert!(run.keeps_promises());
    assert!(run.agree() > 30, "{}", run.agree());
}

fn trace(setup: Setup) -> (Digest, u64) {
    let mut run = Run::new(setup);
    run.load(SECOND, 0);
    run.world.crash(3);
    run.load(SECOND, 0);
    run.world.start(3);
    run.load(SECOND, 0);
    (run.world.trace(), run.world.statistics().events)
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let (first, events) = trace(setup(4, 4, 7));
    assert!(events > 1000, "{events}");
    assert_eq!(trace(setup(4, 4, 7)), (first, events));
    assert_ne!(trace(setup(4, 4, 8)).0, first);
}

#[test]
fn a_trace_does_not_depend_on_the_thread() {
    let here = trace(setup(4, 4, 9));
    let there = std::thread::scope(|scope| scope.spawn(|| trace(setup(4, 4, 9))).join().unwrap());
    assert_eq!(here, there);
}

/// Longest and shortest time from sending to the final status, with one way taking `delay`.
fn response(delay: Nanos, costs: Costs) -> (Nanos, Nanos) {
    let mut setup = setup(4, 4, 3);
    setup.network.delay_ns = vec![vec![delay]];
    setup.network.jitter_ppm = 0;
    setup.disk.flush_ns = 0;
    setup.costs = costs;
    let mut run = Run::new(setup);
    let start = run.world.now();
    run.load(SECOND, 0);
    run.pass(2 * SECOND);
    let sent = |id: &TransactionId| {
        let number = run
            .requests
            .iter()
            .find(|(_, other)| *other == id)
            .map(|(number, _)| *number);
        start + (number.unwrap() - 1) * 20 * MILLISECOND
    };
    let took: Vec<Nanos> = run.finals.iter().map(|(id, (at, _))| at - sent(id)).collect();
    assert_eq!(took.len() as u64, run.sent);
    (*took.iter().max().unwrap(), *took.iter().min().unwrap())
}

#[test]
fn distance_is_what_a_decision_takes() {
    // The batch must reach the others, then the proposal and two votes; a leader waits for its block interval at most.
    for delay_ms in [5, 20] {
        let delay = delay_ms * MILLISECOND;
        let (longest, shortest) = response(delay, FREE);
        assert!(shortest >= 3 * delay, "{shortest} at {delay_ms} ms");
        assert!(longest <= 8 * delay + 120 * MILLISECOND, "{longest} at {delay_ms} ms");
    }
}

#[test]
fn work_takes_its_time_on_the_processor() {
    let slow = Costs {
        turn_ns: 2 * MILLISECOND,
        ..MEASURED
    };
    assert!(response(MILLISECOND, slow).0 > response(MILLISECOND, FREE).0);
    let cpu = |shared| {
        let mut setup = setup(4, 4, 5);
        setup.machine = MachineModel { cores: 1, shared };
        let mut run = Run::new(setup);
        run.load(SECOND, 0);
        (0..4).map(|host| run.world.view(host).cpu_ns).sum::<u64>()
    };
    for shared in [false, true] {
        let used = cpu(shared);
        assert!(used > 20 * MILLISECOND, "{used} ns");
        assert!(
            !shared || used <= 2 * SECOND + 100 * MILLISECOND,
            "one core gives no more: {used} ns"
        );
    }
}

#[test]
fn a_world_needs_both_ends_of_each_link_and_a_delay_for_each_region() {
    let mut one_sided = setup(3, 3, 1);
    one_sided.hosts[0].config.peers.clear();
    assert!(matches!(World::new(one_sided), Err(crate::SimError::Peer { .. })));
    let mut astray = setup(3, 3, 1);
    astray.hosts[1].region = 1;
    assert!(matches!(World::new(astray), Err(crate::SimError::Region { .. })));
    let mut broken = setup(3, 3, 1);
    broken.hosts[1].config.instances[0].validators.clear();
    assert!(matches!(World::new(broken), Err(crate::SimError::Node { .. })));
}

#[test]
fn checks_are_computed_once_for_all_nodes() {
    let mut run = Run::new(setup(7, 7, 1));
    run.load(SECOND, 0);
    let statistics = run.world.statistics();
    assert!(
        statistics.checks_computed * 3 < statistics.checks_asked,
        "{statistics:?}"
    );
}
