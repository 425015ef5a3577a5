//! The books alone, fed with every order of events.

use super::spec;
use crate::{
    schedule::Schedule,
    tracker::{Answer, Opening, Tracker},
};
use proptest::prelude::*;
use regatta_base::{Digest, TransactionId};

fn id(index: usize) -> TransactionId {
    Digest::of("test", &[&index.to_be_bytes()])
}

/// Books of `count` transactions, one a millisecond, all of them due.
fn books(count: usize, timeout_ms: u64) -> Tracker {
    let spec = spec(1000.0, count as u64);
    let mut tracker = Tracker::new(Opening {
        load: 0,
        clock: spec.clock,
        start_ns: 1_000_000_000,
        timeout_ms,
        schedule: Schedule::new(&spec).unwrap(),
        height: 5,
    });
    (0..count).for_each(|index| tracker.due(id(index)));
    tracker
}

const MS: u64 = 1_000_000;

#[test]
fn a_status_may_overtake_the_answer() {
    let mut tracker = books(1, 1000);
    tracker.sent(&[0], 1000 * MS);
    assert!(tracker.finalised(&id(0), 6, true, 1004 * MS));
    tracker.answered(0, 1000 * MS, 1005 * MS, Answer::Accepted);
    let outcome = tracker.close(|_| 0);
    assert_eq!(outcome.tally.total().ok, 1);
    assert!(outcome.submitted.rows[0].acknowledged && outcome.submitted.rows[0].finalised);
    assert_eq!(
        outcome.latency.response.overall.quantile(0.5).map(|micros| micros / 10),
        Some(400)
    );
}

#[test]
fn stamps_make_the_three_histograms() {
    let mut tracker = books(2, 1000);
    // Transaction 1 is intended at 1001 ms, leaves 2 ms late and is final 7 ms after that.
    tracker.sent(&[1], 1003 * MS);
    tracker.answered(1, 1003 * MS, 1005 * MS, Answer::Accepted);
    tracker.finalised(&id(1), 6, true, 1010 * MS);
    let latency = tracker.close(|_| 0).latency;
    let close = |micros: Option<u64>, expected: u64| micros.is_some_and(|value| value.abs_diff(expected) <= 8);
    assert!(close(latency.response.overall.max(), 9000));
    assert!(close(latency.service.overall.max(), 7000));
    assert!(close(latency.lag.overall.max(), 2000));
    assert!(close(latency.accepted.max(), 2000));
    let seconds: Vec<u32> = latency
        .response
        .intervals
        .iter()
        .map(|interval| interval.second)
        .collect();
    assert_eq!(seconds, [1]);
}

#[test]
fn an_open_refusal_yields_to_a_status() {
    let mut tracker = books(2, 1000);
    tracker.sent(&[0, 1], 1000 * MS);
    for index in 0..2 {
        tracker.answered(index, 1000 * MS, 1001 * MS, Answer::Rejected("no_acknowledgement"));
    }
    tracker.finalised(&id(0), 6, true, 1004 * MS);
    let total = tracker.close(|_| 0).tally.total();
    assert_eq!((total.ok, total.rejected["no_acknowledgement"]), (1, 1));
}

#[test]
fn a_final_after_the_timeout_is_timed_out_and_still_known_to_the_checks() {
    let mut tracker = books(1, 10);
    tracker.sent(&[0], 1000 * MS);
    tracker.answered(0, 1000 * MS, 1001 * MS, Answer::Accepted);
    assert!(tracker.finalised(&id(0), 6, true, 1011 * MS));
    let outcome = tracker.close(|_| 0);
    assert_eq!((outcome.tally.total().timed_out, outcome.late), (1, 1));
    assert!(outcome.submitted.rows[0].finalised);
    assert!(outcome.latency.response.overall.is_empty());
}

#[test]
fn a_second_final_and_a_foreign_one_change_nothing() {
    let mut tracker = books(1, 1000);
    tracker.sent(&[0], 1000 * MS);
    assert!(tracker.finalised(&id(0), 6, true, 1001 * MS));
    assert!(!tracker.finalised(&id(0), 7, false, 1002 * MS));
    assert!(!tracker.finalised(&id(9), 7, true, 1002 * MS));
    let outcome = tracker.close(|_| 0);
    assert_eq!((outcome.tally.total().ok, outcome.blocks.len()), (1, 1));
}

#[test]
fn a_hostile_node_cannot_grow_the_table_of_reasons() {
    let mut tracker = books(300, 1000);
    tracker.sent(&(0..300).collect::<Vec<u32>>(), 1000 * MS);
    for index in 0..300 {
        tracker.answered(
            index,
            1000 * MS,
            1001 * MS,
            Answer::Rejected(&format!("reason {index}")),
        );
    }
    let total = tracker.close(|_| 0).tally.total();
    assert_eq!(total.rejected.len(), 64);
    assert_eq!(total.rejected["other"], 300 - 63);
    assert_eq!(total.ended(), 300);
}

#[test]
fn heights_tell_where_a_transaction_can_be() {
    let mut tracker = books(1, 1000);
    assert_eq!(tracker.height_at(0), 5);
    tracker.saw_height(8, 100);
    tracker.saw_height(7, 150);
    tracker.saw_height(9, 200);
    assert_eq!(
        (tracker.height_at(99), tracker.height_at(100), tracker.height_at(199)),
        (5, 8, 8)
    );
    assert_eq!(tracker.height_at(u64::MAX), 9);
    tracker.sent(&[0], 150);
    assert_eq!(tracker.oldest_open(|_, _| true), Some(150));
    assert_eq!(tracker.oldest_open(|_, sent_ns| sent_ns < 150), None);
}

#[test]
fn empty_blocks_have_their_time_and_others_their_whole_size() {
    let mut tracker = books(1, 1000);
    tracker.sent(&[0], 1000 * MS);
    tracker.announced(6, 0, 1002 * MS);
    // The announcement of a block and the statuses in it come over two connections, in either order.
    tracker.finalised(&id(0), 7, true, 1004 * MS);
    tracker.announced(7, 50, 1005 * MS);
    let blocks = tracker.close(|_| 0).blocks;
    let row = |block: &regatta_report::model::Block| (block.height, block.at_ms, block.transactions, block.ok);
    assert_eq!(
        blocks.iter().map(row).collect::<Vec<_>>(),
        [(6, 1002, 0, 0), (7, 1004, 50, 1)]
    );
}

#[derive(Debug, Clone)]
enum Happening {
    NotSent,
    Sent,
    Accepted,
    Rejected,
    Open,
    Lost,
    Silent,
    Final(bool, u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::NotSent),
        Just(Happening::Sent),
        Just(Happening::Accepted),
        Just(Happening::Rejected),
        Just(Happening::Open),
        Just(Happening::Lost),
        Just(Happening::Silent),
        (any::<bool>(), 0u64..60).prop_map(|(ok, ms)| Happening::Final(ok, ms)),
    ]
}

proptest! {
    #[test]
    fn the_identity_closes_after_any_happenings(
        happenings in proptest::collection::vec((0usize..20, happening()), 0..200)
    ) {
        let mut tracker = books(20, 30);
        let mut sent = [false; 20];
        let mut left = [false; 20];
        for (index, happening) in happenings {
            let at_ns = tracker.intended_ns(index);
            match happening {
                // The lanes hand over each transaction once, or give it up once.
                Happening::NotSent if !left[index] => {
                    left[index] = true;
                    tracker.not_sent(index, "backlog_full");
                }
                Happening::Sent if !left[index] => {
                    (left[index], sent[index]) = (true, true);
                    tracker.sent(&[index as u32], at_ns);
                }
                Happening::Final(ok, ms) => {
                    tracker.finalised(&id(index), 6 + ms, ok, at_ns + ms * MS);
                }
                answer if sent[index] => {
                    let answer = match answer {
                        Happening::Accepted => Answer::Accepted,
                        Happening::Rejected => Answer::Rejected("mempool_full"),
                        Happening::Open => Answer::Rejected("no_acknowledgement"),
                        Happening::Lost => Answer::Lost,
                        _ => Answer::Silent,
                    };
                    tracker.answered(index, at_ns, at_ns + MS, answer);
                }
                _ => {}
            }
        }
        let open = tracker.open();
        let outcome = tracker.close(|_| 0);
        let total = outcome.tally.total();
        prop_assert_eq!(total.ended(), 20);
        prop_assert_eq!(total.intended, 20);
        prop_assert_eq!(outcome.blocks.iter().map(|block| block.transactions).sum::<u64>(), total.ok + total.failed);
        prop_assert!(open as u64 <= total.timed_out + total.unknown + total.rejected.values().sum::<u64>());
    }
}
