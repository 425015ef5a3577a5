//! Whole loads against the in-process node: the identity closes whatever the node does.

use super::{
    double::{Double, Mode},
    endpoint, spec,
};
use crate::{Connected, LoadError, LoadHandle, LoadOutcome, LoadProgress, LoadSpec, prepare};
use regatta_api::{
    Reject,
    view::{Outcome, StatusEvent},
};
use regatta_base::TransactionId;
use regatta_plan::scenario::{ArrivalKind, Rate, TransactionKind};
use std::{collections::BTreeSet, time::Duration};

const LONG: Duration = Duration::from_secs(60);

async fn connect(spec: LoadSpec) -> Result<Connected, LoadError> {
    prepare(spec, |_| {}).await.unwrap().connect().await
}

async fn start(spec: LoadSpec) -> LoadHandle {
    let clock = spec.clock;
    connect(spec).await.unwrap().start(clock.now_ns()).unwrap()
}

/// A small load against one node in `mode`, from start to books; drained when all is answered.
async fn outcome(mode: Mode, drain: Duration) -> (LoadOutcome, Double) {
    let double = Double::start(0, mode).await;
    let mut spec = spec(2000.0, 50);
    spec.targets = vec![double.endpoint.clone()];
    let handle = start(spec).await;
    let answered = |progress: LoadProgress| progress.accepted + progress.rejected + progress.lost;
    while answered(handle.progress()) < 100 {
        tokio::task::yield_now().await;
    }
    let outcome = handle.drain(drain).await.unwrap();
    closes(&outcome);
    (outcome, double)
}

/// The identity holds in every phase, and every view of the load agrees with it.
fn closes(outcome: &LoadOutcome) {
    let total = outcome.tally.total();
    for tally in [
        &outcome.tally.warmup,
        &outcome.tally.measure,
        &outcome.tally.cooldown,
        &total,
    ] {
        assert_eq!(tally.ended(), tally.intended, "{tally:?}");
    }
    let sum = |count: fn(&regatta_report::model::Second) -> u64| outcome.seconds.iter().map(count).sum::<u64>();
    assert_eq!(sum(|second| second.finalised), total.ok);
    assert_eq!(sum(|second| second.failed), total.failed);
    assert_eq!(outcome.blocks.iter().map(|block| block.ok).sum::<u64>(), total.ok);
    let intervals = outcome.latency.response.intervals.iter();
    assert_eq!(
        intervals.map(|i| i.counts.total()).sum::<u64>(),
        total.ok + total.failed
    );
    assert_eq!(
        outcome.latency.response.overall.total(),
        outcome.tally.measure.ok + outcome.tally.measure.failed
    );
}

#[tokio::test]
async fn what_is_finalised_is_counted_once_with_all_its_stamps() {
    let (outcome, double) = outcome(Mode::Finalise, LONG).await;
    let total = outcome.tally.total();
    assert_eq!((total.intended, total.ok), (100, 100));
    assert_eq!(double.chain.lock().unwrap().arrived.len(), 100);
    assert_eq!(outcome.latency.accepted.total(), 100);
    assert_eq!(outcome.latency.lag.overall.total(), 100);
    assert!(
        outcome
            .submitted
            .rows
            .iter()
            .all(|row| row.acknowledged && row.finalised)
    );
    assert_eq!(outcome.submitted.targets, ["full-0"]);
    assert_eq!((outcome.mismatched, outcome.late, outcome.resolved), (0, 0, 0));
    // Two to a request at this rate: coalesced, and in order.
    assert!(double.chain.lock().unwrap().requests <= 100);
    let submitted: Vec<_> = outcome.submitted.rows.iter().map(|row| row.id).collect();
    let arrived = double.chain.lock().unwrap().arrived.clone();
    assert!(arrived.iter().all(|id| submitted.contains(id)));
}

#[tokio::test]
async fn failures_and_refusals_are_told_apart() {
    let (failed, _) = outcome(Mode::Fail, LONG).await;
    assert_eq!(failed.tally.total().failed, 100);
    let (refused, _) = outcome(Mode::Reject(Reject::MempoolFull), LONG).await;
    assert_eq!(refused.tally.total().rejected["mempool_full"], 100);
    assert_eq!(refused.seconds.iter().map(|second| second.rejected).sum::<u64>(), 100);
}

#[tokio::test]
async fn an_open_refusal_waits_for_a_status_and_then_counts_as_refused() {
    let (outcome, _) = outcome(Mode::Reject(Reject::NoAcknowledgement), Duration::ZERO).await;
    assert_eq!(outcome.tally.total().rejected["no_acknowledgement"], 100);
}

#[tokio::test]
async fn a_stall_does_not_slow_the_generator() {
    let double = Double::start(0, Mode::Stall).await;
    let mut spec = spec(1000.0, 100);
    spec.targets = vec![double.endpoint.clone()];
    let mut handle = start(spec).await;
    handle.scheduled().await;
    // Nothing was answered yet, and everything was sent.
    while double.chain.lock().unwrap().arrived.len() < 100 {
        tokio::task::yield_now().await;
    }
    double.set(Mode::Finalise);
    let outcome = handle.drain(LONG).await.unwrap();
    closes(&outcome);
    assert_eq!(outcome.tally.total().ok, 100);
    let (lag, response) = (&outcome.latency.lag.overall, &outcome.latency.response.overall);
    // The first transaction waited for as long as the load took; the generator did not.
    assert!(response.max() >= Some(99_000), "{response:?}");
    assert!(lag.quantile(0.5) < response.quantile(0.5));
}

#[tokio::test]
async fn what_exceeds_the_bounds_is_counted_as_not_sent() {
    let double = Double::start(0, Mode::Stall).await;
    let mut spec = spec(5000.0, 40);
    spec.targets = vec![double.endpoint.clone()];
    spec.limits.requests_in_flight = 1;
    spec.limits.backlog_bytes = 10 * 512;
    let mut handle = start(spec).await;
    handle.scheduled().await;
    double.set(Mode::Finalise);
    let outcome = handle.drain(LONG).await.unwrap();
    closes(&outcome);
    let total = outcome.tally.total();
    let not_sent: u64 = total.not_sent.values().sum();
    assert!(total.not_sent.contains_key("backlog_full"), "{total:?}");
    assert_eq!(
        double.chain.lock().unwrap().arrived.len() as u64,
        total.intended - not_sent
    );
    let sent = outcome.submitted.rows.iter().filter(|row| row.sent).count() as u64;
    assert_eq!(sent, total.ok);
}

#[tokio::test]
async fn what_still_waits_when_the_drain_ends_was_not_sent() {
    let double = Double::start(0, Mode::Stall).await;
    let mut spec = spec(5000.0, 40);
    spec.targets = vec![double.endpoint.clone()];
    spec.limits.requests_in_flight = 1;
    let outcome = start(spec).await.drain(Duration::ZERO).await.unwrap();
    closes(&outcome);
    let total = outcome.tally.total();
    assert!(total.not_sent["backlog"] > 0, "{total:?}");
    assert_eq!(total.not_sent["backlog"] + total.timed_out, total.intended);
}

#[tokio::test]
async fn an_answer_lost_with_its_connection_is_unknown() {
    let (outcome, _) = outcome(Mode::DropBefore, Duration::ZERO).await;
    assert_eq!(outcome.tally.total().unknown, 100);
    assert!(outcome.submitted.rows.iter().all(|row| row.sent && !row.acknowledged));
}

#[tokio::test]
async fn a_status_settles_a_lost_answer() {
    let (outcome, _) = outcome(Mode::DropAfter, LONG).await;
    assert_eq!(outcome.tally.total().ok, 100);
    assert!(
        outcome
            .submitted
            .rows
            .iter()
            .all(|row| row.finalised && !row.acknowledged)
    );
}

#[tokio::test]
async fn acknowledged_and_never_final_is_timed_out() {
    let (outcome, _) = outcome(Mode::Forget, Duration::ZERO).await;
    assert_eq!(outcome.tally.total().timed_out, 100);
    assert!(
        outcome
            .submitted
            .rows
            .iter()
            .all(|row| row.acknowledged && !row.finalised)
    );
}

#[tokio::test]
async fn finals_that_nobody_told_are_read_from_another_nodes_blocks() {
    let double = Double::start(0, Mode::Mute).await;
    let witness = double.twin(1, Mode::Finalise).await;
    let mut spec = spec(2000.0, 50);
    spec.targets = vec![double.endpoint.clone()];
    // The first resolver does not answer; the second does.
    spec.resolvers = vec![endpoint(9), witness.endpoint.clone()];
    let outcome = start(spec).await.drain(Duration::ZERO).await.unwrap();
    closes(&outcome);
    assert_eq!((outcome.tally.total().ok, outcome.resolved), (100, 100));
}

#[tokio::test]
async fn a_broken_subscription_is_bridged_while_the_load_runs() {
    let double = Double::start(0, Mode::Mute).await;
    let witness = double.twin(1, Mode::Finalise).await;
    let mut spec = spec(2000.0, 50);
    spec.targets = vec![double.endpoint.clone()];
    spec.resolvers = vec![witness.endpoint.clone()];
    let mut handle = start(spec).await;
    handle.scheduled().await;
    while double.chain.lock().unwrap().arrived.len() < 100 {
        tokio::task::yield_now().await;
    }
    double.break_connections();
    // Without the bridge the drain would not end before its limit.
    let outcome = handle.drain(Duration::from_secs(3600)).await.unwrap();
    closes(&outcome);
    assert_eq!(outcome.breaks["full-0"], 1);
    assert_eq!(outcome.tally.total().ok, 100);
    assert!(outcome.resolved > 0);
}

#[tokio::test]
async fn a_stopped_load_counts_the_rest_of_its_schedule() {
    let double = Double::start(0, Mode::Finalise).await;
    let mut spec = spec(100.0, 3_600_000);
    spec.targets = vec![double.endpoint.clone()];
    let mut handle = start(spec).await;
    handle.stop();
    handle.scheduled().await;
    let outcome = handle.drain(LONG).await.unwrap();
    closes(&outcome);
    assert!(outcome.stopped);
    let total = outcome.tally.total();
    assert_eq!(total.intended, 360_000);
    assert_eq!(total.not_sent["stopped"] + total.ok, total.intended);
}

#[tokio::test]
async fn phases_are_kept_apart_and_only_the_window_is_measured() {
    let double = Double::start(0, Mode::Finalise).await;
    let mut spec = spec(2000.0, 60);
    spec.targets = vec![double.endpoint.clone(), double.twin(1, Mode::Finalise).await.endpoint];
    spec.phases.warmup_ms = 20;
    spec.phases.measure_ms = 30;
    spec.phases.cooldown_ms = 10;
    let outcome = start(spec).await.drain(LONG).await.unwrap();
    closes(&outcome);
    let tally = &outcome.tally;
    assert_eq!((tally.warmup.ok, tally.measure.ok, tally.cooldown.ok), (40, 60, 20));
    assert_eq!(outcome.latency.service.overall.total(), 60);
    assert!(outcome.submitted.rows.iter().any(|row| row.target == 1));
}

#[tokio::test]
async fn a_target_that_does_not_listen_is_named() {
    let error = connect(spec(10.0, 100)).await.unwrap_err();
    assert!(matches!(error, LoadError::Subscribe { .. }), "{error}");
    assert!(error.to_string().contains("full-0"), "{error}");
}

#[tokio::test]
async fn progress_counts_what_the_books_count() {
    let double = Double::start(0, Mode::Finalise).await;
    let mut spec = spec(2000.0, 50);
    spec.targets = vec![double.endpoint.clone()];
    let mut handle = start(spec).await;
    handle.scheduled().await;
    while handle.progress().finalised < 100 {
        tokio::task::yield_now().await;
    }
    let progress = handle.progress();
    assert_eq!((progress.intended, progress.sent, progress.in_flight), (100, 100, 0));
    assert!(progress.p99_us >= progress.p50_us && progress.p50_us > 0);
    closes(&handle.drain(LONG).await.unwrap());
}

#[tokio::test]
async fn answers_that_do_not_fit_are_counted_and_not_believed() {
    let (wrong, _) = outcome(Mode::WrongIds, Duration::ZERO).await;
    assert_eq!(wrong.mismatched, 100);
    let (short, double) = outcome(Mode::ShortAnswer, Duration::ZERO).await;
    // Which of them was left out cannot be told: none has an answer.
    assert_eq!(short.tally.total().unknown, 100);
    assert_eq!(short.mismatched, double.chain.lock().unwrap().requests as u64);
    assert!(short.submitted.rows.iter().all(|row| !row.acknowledged));
}

#[tokio::test]
async fn a_refused_request_refuses_each_of_its_transactions() {
    for status in [400, 413, 503] {
        let (outcome, _) = outcome(Mode::Refuse(status), LONG).await;
        assert_eq!(outcome.tally.total().rejected["overloaded"], 100);
    }
}

#[tokio::test]
async fn a_target_that_stops_listening_refuses_by_silence() {
    let double = Double::start(0, Mode::Finalise).await;
    let mut spec = spec(2000.0, 50);
    spec.targets = vec![double.endpoint.clone()];
    let connected = connect(spec.clone()).await.unwrap();
    double.close().await;
    let handle = connected.start(spec.clock.now_ns()).unwrap();
    while handle.progress().rejected + handle.progress().lost < 100 {
        tokio::task::yield_now().await;
    }
    let outcome = handle.drain(Duration::ZERO).await.unwrap();
    closes(&outcome);
    // A request that took the connection which was just breaking has no answer; all others find nobody.
    let total = outcome.tally.total();
    let unreachable = total.rejected.get("unreachable").copied().unwrap_or(0);
    assert_eq!(unreachable + total.unknown, 100, "{total:?}");
    assert_eq!(total.not_sent.len(), 0);
    assert_eq!(outcome.breaks["full-0"], 1);
}

#[tokio::test]
async fn each_target_gets_its_share_and_no_account_two_targets() {
    let doubles = [
        Double::start(0, Mode::Finalise).await,
        Double::start(1, Mode::Finalise).await,
        Double::start(2, Mode::Finalise).await,
    ];
    let mut spec = spec(3000.0, 50);
    spec.load.mix = vec![(TransactionKind::Opaque, 0.5), (TransactionKind::Put, 0.5)];
    spec.load.senders = 9;
    spec.targets = doubles.iter().map(|double| double.endpoint.clone()).collect();
    let outcome = start(spec).await.drain(LONG).await.unwrap();
    closes(&outcome);
    for (target, double) in doubles.iter().enumerate() {
        let arrived = double.chain.lock().unwrap().arrived.clone();
        let sent = outcome
            .submitted
            .rows
            .iter()
            .filter(|row| row.target as usize == target);
        let mut sent: Vec<_> = sent.map(|row| row.id).collect();
        assert_eq!(sent.len(), 50);
        let mut arrived_sorted = arrived;
        arrived_sorted.sort();
        sent.sort();
        assert_eq!(arrived_sorted, sent);
    }
}

#[tokio::test]
async fn statuses_of_another_instance_are_not_ours() {
    let double = Double::start(0, Mode::Forget).await;
    let mut spec = spec(2000.0, 50);
    spec.targets = vec![double.endpoint.clone()];
    let handle = start(spec).await;
    while handle.progress().accepted < 100 {
        tokio::task::yield_now().await;
    }
    let items = double.chain.lock().unwrap().arrived.clone();
    let event = |instance: &str, items: &[TransactionId]| StatusEvent {
        instance: instance.parse().unwrap(),
        height: 1,
        items: items.iter().map(|id| (*id, Outcome::Ok)).collect(),
    };
    double.chain.lock().unwrap().tell(&event("side", &items[..50]));
    double.chain.lock().unwrap().tell(&event("main", &items[50..]));
    while handle.progress().finalised < 50 {
        tokio::task::yield_now().await;
    }
    let outcome = handle.drain(Duration::ZERO).await.unwrap();
    closes(&outcome);
    assert_eq!((outcome.tally.total().ok, outcome.tally.total().timed_out), (50, 50));
}

#[tokio::test]
async fn every_shape_of_load_sends_what_its_schedule_says() {
    let ramp = Rate::Ramp {
        ramp: (500.0, 3000.0),
        over: "50ms".parse().unwrap(),
    };
    for (arrivals, rate) in [
        (ArrivalKind::Poisson, Rate::Constant(2000.0)),
        (ArrivalKind::Constant, ramp),
        (ArrivalKind::Poisson, ramp),
    ] {
        let double = Double::start(0, Mode::Finalise).await;
        let mut spec = spec(1.0, 100);
        spec.targets = vec![double.endpoint.clone()];
        spec.load.arrivals = arrivals;
        spec.load.rate = rate;
        let count = regatta_plan::arrivals(&spec.load, spec.seed).count() as u64;
        let outcome = start(spec).await.drain(LONG).await.unwrap();
        closes(&outcome);
        assert_eq!(outcome.tally.total().ok, count);
    }
}

#[tokio::test]
async fn two_loads_on_one_node_keep_separate_books() {
    let double = Double::start(0, Mode::Finalise).await;
    let load = |index: u32| {
        let mut spec = spec(1000.0, 50);
        spec.load.index = index;
        spec.targets = vec![double.endpoint.clone()];
        spec
    };
    let (first, second) = (start(load(0)).await, start(load(1)).await);
    let (first, second) = (first.drain(LONG).await.unwrap(), second.drain(LONG).await.unwrap());
    closes(&first);
    closes(&second);
    assert_eq!((first.tally.total().ok, second.tally.total().ok), (50, 50));
    let ids: BTreeSet<_> = first
        .submitted
        .rows
        .iter()
        .chain(&second.submitted.rows)
        .map(|row| row.id)
        .collect();
    assert_eq!(ids.len(), 100);
}

#[tokio::test]
async fn a_dropped_load_leaves_nothing_behind() {
    let double = Double::start(0, Mode::Finalise).await;
    let mut spec = spec(100.0, 3_600_000);
    spec.targets = vec![double.endpoint.clone()];
    drop(start(spec.clone()).await);
    drop(connect(spec).await.unwrap());
    while double.chain.lock().unwrap().has_subscribers() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whatever_a_node_does_the_books_agree_with_its_chain() {
    const MODES: &[Mode] = &[
        Mode::Finalise,
        Mode::Reject(Reject::MempoolFull),
        Mode::Mute,
        Mode::DropBefore,
        Mode::Fail,
        Mode::Refuse(503),
        Mode::Forget,
        Mode::DropAfter,
    ];
    let double = Double::start(0, Mode::Cycle(MODES)).await;
    let witness = double.twin(1, Mode::Finalise).await;
    let mut spec = spec(2000.0, 200);
    spec.targets = vec![double.endpoint.clone()];
    spec.resolvers = vec![witness.endpoint.clone()];
    // However late the generator is: at least forty requests, five in each mode.
    spec.limits.request_bytes = 10 * 520;
    let handle = start(spec).await;
    let answered = |progress: LoadProgress| progress.accepted + progress.rejected + progress.lost;
    while answered(handle.progress()) < 400 {
        tokio::task::yield_now().await;
    }
    let outcome = handle.drain(Duration::ZERO).await.unwrap();
    closes(&outcome);
    let chain = double.chain.lock().unwrap();
    let in_chain: BTreeSet<_> = chain
        .blocks
        .iter()
        .flat_map(|block| block.items.iter().map(|(id, _)| *id))
        .collect();
    // What is final in the books is in the chain, and whatever is in the chain was learnt in the end.
    for row in &outcome.submitted.rows {
        assert_eq!(row.finalised, in_chain.contains(&row.id), "{row:?}");
    }
    let total = outcome.tally.total();
    assert!(
        total.ok > 0 && total.failed > 0 && total.unknown > 0 && total.timed_out > 0,
        "{total:?}"
    );
}
