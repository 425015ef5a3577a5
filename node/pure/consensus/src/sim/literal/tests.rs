//! The wire protocol against the literal model, schedule by schedule.

use crate::{
    mutants::Knobs,
    sim::{
        storm::compare,
        weather::{Kind, schedule},
    },
};
use std::collections::BTreeMap;

/// Numbers of schedules that are compared.
const SCHEDULES: u64 = 8_000;
/// Defects between heights, of which the literal model of one height knows nothing.
const BEYOND: [&str; 1] = ["trust_ahead"];

/// Schedules without twins, whose one key has two pasts; and for a defect between heights without lost logs, which show
/// nothing new of it and take the literal model minutes.
fn compared(knobs: Knobs) -> impl Iterator<Item = (u64, Vec<String>, BTreeMap<&'static str, u64>)> {
    let played = (0..SCHEDULES).map(move |number| (number, schedule(number, knobs)));
    let played = played.filter(|(_, (kind, ..))| !matches!(kind, Kind::Twins | Kind::TwinsAndFaulty));
    let played = played.filter(move |(_, (kind, ..))| *kind != Kind::Amnesia || !knobs.trust_ahead);
    played.map(|(number, (_, seed, weather))| {
        let (outcome, said) = compare(seed, &weather);
        (number, outcome.violations, said)
    })
}

#[test]
fn honest_nodes_say_and_decide_what_the_paper_does() {
    let mut total: BTreeMap<&str, u64> = BTreeMap::new();
    for (number, violations, said) in compared(Knobs::default()) {
        assert_eq!(violations, [""; 0], "schedule {number}");
        for (name, count) in said {
            *total.entry(name).or_default() += count;
        }
    }
    println!("{total:?}");
    assert_eq!(total.len(), 5, "{total:?}");
    assert!(total.values().all(|count| *count > 100), "{total:?}");
}

#[test]
fn the_literal_model_notices_each_defect() {
    for (name, mutant) in Knobs::each() {
        let dispute = |violations: &[String]| violations.iter().find(|said| said.starts_with("literal")).cloned();
        let caught = compared(mutant).find_map(|(number, violations, _)| Some((number, dispute(&violations)?)));
        println!("{name}: {caught:?}");
        assert_eq!(caught.is_none(), BEYOND.contains(&name), "{name}: {caught:?}");
    }
}
