//! The fabric against what its model promises.

use super::*;
use crate::{Direction, Links, Own};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use std::collections::BTreeSet;

const MILLISECOND: Nanos = 1_000_000;

/// Two nodes in each of two regions, 40 ms there and 60 ms back.
fn model() -> Model {
    Model {
        regions: vec![0, 0, 1, 1],
        delay_ns: vec![vec![MILLISECOND, 40 * MILLISECOND], vec![60 * MILLISECOND, MILLISECOND]],
        ..Model::plain(4)
    }
}

fn fabric(model: Model) -> Fabric<StdRng> {
    Fabric::new(model, StdRng::seed_from_u64(1))
}

/// Arrivals of `count` packets from node 0 to node 2, one each microsecond.
fn arrivals(fabric: &mut Fabric<StdRng>, count: u64) -> Vec<(Nanos, Fate)> {
    (0..count)
        .map(|n| (n * 1000, fabric.send(n * 1000, 0, 2, 1000)))
        .collect()
}

fn time(fate: Fate) -> Option<Nanos> {
    match fate {
        Fate::Arrives { at, .. } => Some(at),
        Fate::Lost(_) => None,
    }
}

#[test]
fn delays_are_those_of_the_matrix_in_each_direction() {
    let mut fabric = fabric(model());
    let at = |at| Fate::Arrives { at, again: None };
    assert_eq!(fabric.send(7, 0, 2, 100), at(7 + 40 * MILLISECOND));
    assert_eq!(fabric.send(7, 3, 1, 100), at(7 + 60 * MILLISECOND));
    assert_eq!(fabric.send(7, 0, 1, 100), at(7 + MILLISECOND));
}

#[test]
fn a_wrong_matrix_is_another_network() {
    let mut wrong = model();
    wrong.delay_ns[0][1] *= 2;
    assert_ne!(fabric(wrong).send(0, 0, 2, 100), fabric(model()).send(0, 0, 2, 100));
}

#[test]
fn shares_are_what_the_model_says() {
    let mut lossy = fabric(Model {
        loss_ppm: 50_000,
        duplicate_ppm: 20_000,
        ..model()
    });
    let fates = arrivals(&mut lossy, 20_000);
    let lost = fates
        .iter()
        .filter(|(_, fate)| *fate == Fate::Lost(Loss::Chance))
        .count();
    let twice = fates
        .iter()
        .filter(|(_, fate)| matches!(fate, Fate::Arrives { again: Some(_), .. }))
        .count();
    assert!((900..1100).contains(&lost), "{lost} of 20,000 lost at 5 %");
    assert!((300..460).contains(&twice), "{twice} of 19,000 twice at 2 %");
}

#[test]
fn packets_that_leave_their_place_arrive_out_of_order_and_no_others_do() {
    let sorted = |reorder_ppm| {
        let mut fabric = fabric(Model {
            reorder_ppm,
            jitter_ppm: 100_000,
            ..model()
        });
        let times: Vec<Nanos> = arrivals(&mut fabric, 1000)
            .into_iter()
            .filter_map(|(_, fate)| time(fate))
            .collect();
        times.is_sorted()
    };
    assert!(sorted(0));
    assert!(!sorted(10_000));
}

#[test]
fn rates_hold_for_a_node_and_not_for_a_link() {
    let mut fabric = fabric(Model {
        rate_bits: Some(8_000_000),
        ..model()
    });
    // 1,000 bytes take a millisecond, to whomever they go.
    let first = time(fabric.send(0, 0, 1, 1000)).unwrap();
    let second = time(fabric.send(0, 0, 2, 1000)).unwrap();
    assert_eq!((first, second), (2 * MILLISECOND, 42 * MILLISECOND));
    assert_eq!(fabric.receive(50 * MILLISECOND, 2, 1000), Some(51 * MILLISECOND));
    assert_eq!(fabric.receive(50 * MILLISECOND, 2, 1000), Some(52 * MILLISECOND));
}

#[test]
fn partitions_and_changes_come_and_go() {
    let mut fabric = fabric(model());
    let before = fabric.send(0, 0, 2, 100);
    fabric.part(3, Partition::new(4, &[vec![0, 1], vec![2]], true));
    assert_eq!(fabric.send(0, 0, 2, 100), Fate::Lost(Loss::Cut));
    assert!(time(fabric.send(0, 2, 0, 100)).is_some(), "one way only");
    assert!(time(fabric.send(0, 0, 3, 100)).is_some(), "node 3 stands on no side");
    fabric.heal(3);
    assert_eq!(fabric.send(0, 0, 2, 100), before);
    let change = Change {
        links: Links::Of(BTreeSet::from([2])),
        delay_ns: 5 * MILLISECOND,
        jitter_ppm: Some(7),
        loss_ppm: Some(100_000),
        rate_bits: None,
    };
    fabric.change(4, change);
    let path = fabric.path(0, 2);
    assert_eq!(
        (path.delay_ns, path.jitter_ppm, path.loss_ppm),
        (45 * MILLISECOND, 7, 100_000)
    );
    assert_eq!(fabric.path(0, 3).delay_ns, 40 * MILLISECOND);
    fabric.heal(4);
    assert_eq!(fabric.path(0, 2).delay_ns, 40 * MILLISECOND);
}

#[test]
fn a_narrow_link_delays_its_own_packets_and_nobody_elses() {
    let mut fabric = fabric(model());
    let change = Change {
        links: Links::Between(Partition::new(4, &[vec![0], vec![2]], true)),
        delay_ns: 0,
        jitter_ppm: None,
        loss_ppm: None,
        rate_bits: Some(1_000_000),
    };
    let wide = [time(fabric.send(0, 0, 3, 125)), time(fabric.send(0, 2, 0, 125))];
    fabric.change(4, change);
    // 125 bytes take a millisecond.
    for packet in 1..=3 {
        assert_eq!(time(fabric.send(0, 0, 2, 125)), Some((40 + packet) * MILLISECOND));
    }
    assert_eq!([time(fabric.send(0, 0, 3, 125)), time(fabric.send(0, 2, 0, 125))], wide);
    fabric.heal(4);
    assert_eq!(
        time(fabric.send(0, 0, 2, 125)),
        Some(43 * MILLISECOND),
        "not before those on their way"
    );
}

#[test]
fn whoever_is_no_node_of_the_model_reaches_everybody_at_once() {
    let mut fabric = fabric(Model {
        rate_bits: Some(1000),
        ..model()
    });
    fabric.part(1, Partition::new(4, &[vec![0], vec![1]], false));
    let at_once = Fate::Arrives { at: 9, again: None };
    assert_eq!(fabric.send(9, 4, 0, 60_000), at_once);
    assert_eq!(fabric.receive(9, 4, 60_000), Some(9));
}

proptest! {
    #[test]
    fn equal_seeds_give_equal_networks_and_delays_stay_within_their_jitter(
        seed: u64,
        jitter_ppm in 0_u32..=1_000_000,
        sent in proptest::collection::vec((0_u64..1_000_000, 0_u32..4, 0_u32..4, 40_usize..65_000), 1..100),
    ) {
        let model = Model { jitter_ppm, ..model() };
        let run = || {
            let mut fabric = Fabric::new(model.clone(), StdRng::seed_from_u64(seed));
            let mut now = 0;
            let step = |&(wait, from, to, bytes): &(u64, u32, u32, usize)| {
                now += wait;
                (now, from, to, fabric.send(now, from, to, bytes))
            };
            sent.iter().map(step).collect::<Vec<_>>()
        };
        let fates = run();
        prop_assert_eq!(&fates, &run());
        for (now, from, to, fate) in fates {
            let base = model.path(from, to).delay_ns;
            let spread = base * u64::from(jitter_ppm) / 1_000_000;
            let at = time(fate).unwrap();
            // Packets before it may hold it up, but not by more than the greatest delay.
            prop_assert!(at >= now + base - spread && at <= now + base + spread);
        }
    }
}

/// What node 0 and 1 send to node 2, over the model above.
fn own(own: Own) -> Model {
    let from_and_to: (&[u32], &[u32]) = (&[0, 1], &[2]);
    Model {
        directions: vec![Direction::new(4, from_and_to, own)],
        ..model()
    }
}

#[test]
fn a_direction_has_conditions_of_its_own_and_its_opposite_has_not() {
    let mut fabric = fabric(own(Own {
        delay_ns: Some(5 * MILLISECOND),
        rate_bits: Some(8_000_000),
        ..Own::default()
    }));
    let at = |at| Fate::Arrives { at, again: None };
    // 1,000 bytes take a millisecond at 8 Mbit/s, for each pair of nodes on its own.
    assert_eq!(fabric.send(0, 0, 2, 1000), at(6 * MILLISECOND));
    assert_eq!(fabric.send(0, 0, 2, 1000), at(7 * MILLISECOND));
    assert_eq!(fabric.send(0, 1, 2, 1000), at(6 * MILLISECOND));
    assert_eq!(fabric.send(0, 2, 0, 1000), at(60 * MILLISECOND));
    assert_eq!(fabric.send(0, 0, 3, 1000), at(40 * MILLISECOND));
    assert_eq!(fabric.send(0, 0, 1, 1000), at(MILLISECOND));
}

#[test]
fn a_fault_on_top_ends_and_the_direction_keeps_its_rate() {
    let model = own(Own {
        rate_bits: Some(8_000_000),
        ..Own::default()
    });
    assert_eq!((model.rate(0, 2), model.rate(2, 0)), (Some(8_000_000), None));
    assert!(model.acts_on_packets());
    let mut fabric = fabric(model);
    let slower = Change {
        links: Links::Of(BTreeSet::from([0])),
        delay_ns: 0,
        jitter_ppm: None,
        loss_ppm: None,
        rate_bits: Some(4_000_000),
    };
    fabric.change(1, slower);
    assert_eq!(fabric.path(0, 2).rate_bits, Some(4_000_000));
    assert_eq!(time(fabric.send(0, 0, 2, 1000)), Some(42 * MILLISECOND));
    fabric.heal(1);
    assert_eq!(
        time(fabric.send(0, 0, 2, 1000)),
        Some(43 * MILLISECOND),
        "its queue is kept"
    );
}

#[test]
fn the_later_of_two_directions_counts_and_losses_are_one_way() {
    let mut model = own(Own {
        loss_ppm: Some(MILLION),
        jitter_ppm: Some(7),
        ..Own::default()
    });
    let from_and_to: (&[u32], &[u32]) = (&[1, 9], &[2]);
    let lossless = Own {
        loss_ppm: Some(0),
        ..Own::default()
    };
    model.directions.push(Direction::new(4, from_and_to, lossless));
    assert_eq!((model.path(1, 2).loss_ppm, model.path(1, 2).jitter_ppm), (0, 7));
    let mut fabric = fabric(model);
    assert_eq!(fabric.send(0, 0, 2, 100), Fate::Lost(Loss::Chance));
    assert!(time(fabric.send(0, 1, 2, 100)).is_some() && time(fabric.send(0, 2, 0, 100)).is_some());
}
