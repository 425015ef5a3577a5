//! The random campaign: many seeds, several kinds of weather, and the mutants that it must notice.

use super::storm::{Outcome, Weather, play};
use crate::mutants::Knobs;

/// Seeds for each kind of weather; raise it for a long run.
const SEEDS: u64 = 700;
/// Seeds within which every mutant must be caught.
const MUTANT_SEEDS: u64 = 1000;

fn weather() -> Weather {
    Weather {
        weights: vec![1; 4],
        changes: Vec::new(),
        faulty: None,
        followers: 0,
        loss: 0.05,
        crash: 0.0,
        mischief: 0.0,
        spells: 4,
        target: 2,
    }
}

fn survive(seeds: std::ops::Range<u64>, weather: impl Fn(u64) -> Weather) {
    for seed in seeds {
        let outcome = play(seed, &weather(seed), Knobs::default());
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
    }
}

#[test]
fn a_bad_network_breaks_nothing() {
    survive(0..SEEDS, |seed| Weather {
        weights: vec![1; 3 + seed as usize % 3],
        followers: (seed % 2) as u16,
        loss: 0.3 * (seed % 5) as f64 / 4.0,
        ..weather()
    });
}

#[test]
fn crashes_break_nothing() {
    survive(0..SEEDS, |_| Weather {
        crash: 0.02,
        ..weather()
    });
}

#[test]
fn a_faulty_validator_breaks_nothing() {
    survive(0..SEEDS, |seed| Weather {
        faulty: Some((seed % 4) as u16),
        mischief: 0.3,
        ..weather()
    });
}

#[test]
fn unequal_weights_crashes_and_a_faulty_validator_break_nothing() {
    survive(0..SEEDS, |seed| Weather {
        weights: vec![3, 1, 4, 2, 3],
        faulty: Some((seed % 4) as u16).filter(|faulty| *faulty != 2),
        mischief: 0.2,
        crash: 0.01,
        ..weather()
    });
}

/// Validators join, leave and change their weight while everything else goes wrong too.
#[test]
fn changing_weights_break_nothing() {
    survive(0..SEEDS, changing);
}

fn changing(seed: u64) -> Weather {
    Weather {
        weights: vec![3, 3, 3, 3, 0, 0],
        changes: vec![
            (3, vec![3, 3, 3, 3, 4, 0]),
            (4, vec![3, 3, 0, 3, 4, 4]),
            (5, vec![4, 3, 0, 3, 4, 4]),
            (6, vec![4, 0, 3, 3, 4, 4]),
        ],
        faulty: [None, Some(1), Some(3)][seed as usize % 3],
        mischief: 0.3,
        crash: 0.01,
        loss: 0.1 * (seed % 4) as f64 / 3.0,
        target: 7,
        ..weather()
    }
}

#[test]
fn a_rerun_is_the_same_to_the_last_event() {
    let weather = Weather {
        faulty: Some(1),
        mischief: 0.3,
        crash: 0.02,
        ..weather()
    };
    let traces: Vec<Outcome> = (0..4).map(|seed| play(seed / 2, &weather, Knobs::default())).collect();
    assert_eq!(traces[0], traces[1]);
    assert_eq!(traces[2], traces[3]);
    assert_ne!(traces[0].trace, traces[2].trace);
}

/// The first seed whose schedule shows a defect, other than by taking too long.
fn first_catch(mutant: Knobs, weather: &Weather) -> Option<u64> {
    let unsafe_ = |outcome: Outcome| {
        outcome
            .violations
            .iter()
            .any(|violation| !violation.starts_with("liveness"))
    };
    (0..MUTANT_SEEDS).find(|seed| unsafe_(play(*seed, weather, mutant)))
}

/// Turns one defect on.
type Switch = fn(&mut Knobs);

/// Random schedules find each defect too; a campaign that misses one proves little.
#[test]
fn no_mutant_survives_the_campaign() {
    let rough = Weather {
        faulty: Some(2),
        mischief: 0.4,
        crash: 0.02,
        ..weather()
    };
    let mutants: [(&str, Switch); 11] = [
        ("ignore_justification", |knobs| knobs.ignore_justification = true),
        ("loose_quorum", |knobs| knobs.loose_quorum = true),
        ("vote_after_timeout", |knobs| knobs.vote_after_timeout = true),
        ("second_vote1", |knobs| knobs.second_vote1 = true),
        ("vote2_in_past_round", |knobs| knobs.vote2_in_past_round = true),
        ("timeout_without_high", |knobs| knobs.timeout_without_high = true),
        ("forget_lock", |knobs| knobs.forget_lock = true),
        ("forget_votes", |knobs| knobs.forget_votes = true),
        ("forget_proposal", |knobs| knobs.forget_proposal = true),
        ("persist_late", |knobs| knobs.persist_late = true),
        ("decide_on_qc1", |knobs| knobs.decide_on_qc1 = true),
    ];
    for (name, switch_on) in mutants {
        let mut mutant = Knobs::default();
        switch_on(&mut mutant);
        // Only where 3w = 2W can happen does the strict inequality matter.
        let weights = vec![1; if mutant.loose_quorum { 3 } else { 4 }];
        let weather = Weather {
            weights,
            ..rough.clone()
        };
        assert!(first_catch(mutant, &weather).is_some(), "{name} survives");
    }
}

#[test]
fn after_the_last_block_the_network_is_silent() {
    for seed in 0..50 {
        let outcome = play(seed, &weather(), Knobs::default());
        assert_eq!(outcome.late_messages, 0, "seed {seed}");
        assert!(outcome.events > 100, "seed {seed}: only {} events", outcome.events);
    }
}

/// A hundred thousand schedules in every weather: `cargo test --release -- --ignored campaign`.
#[test]
#[ignore = "takes minutes"]
fn a_long_campaign() {
    survive(SEEDS..SEEDS + 100_000, |seed| Weather {
        weights: [vec![1; 4], vec![3, 1, 4, 2, 3], vec![1; 7]][seed as usize % 3].clone(),
        faulty: Some((seed % 5) as u16).filter(|faulty| *faulty != 2 && *faulty != 4),
        followers: (seed % 2) as u16,
        loss: 0.2 * (seed % 4) as f64 / 3.0,
        crash: 0.01 * (seed % 3) as f64,
        mischief: 0.25,
        spells: (seed % 12) as usize,
        target: 3,
        changes: Vec::new(),
    });
    survive(SEEDS..SEEDS + 20_000, changing);
}
