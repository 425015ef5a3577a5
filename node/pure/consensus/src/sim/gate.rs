//! The gate: random schedules must notice each defect, and the shrinker must show it in a few lines. A
//! campaign that misses one proves little.

use super::{
    script::replay,
    shrink::Failure,
    storm::play,
    weather::{KINDS, schedule},
};
use crate::mutants::Knobs;
use std::collections::BTreeMap;

/// Schedules within which every mutant must be caught.
const SCHEDULES: u64 = 20_000;
/// Moves that a shrunk schedule may take.
const MOVES_MAX: usize = 60;

/// So many schedules that show a defect are looked at, and the shortest is shrunk.
const CATCHES: usize = 4;

/// Whether the schedule shows the defect, other than by taking too long.
fn shows(mutant: Knobs, number: u64) -> bool {
    let (_, seed, weather) = schedule(number, mutant);
    let violations = play(seed, &weather).violations;
    violations.iter().any(|violation| !violation.starts_with("liveness"))
}

/// How many of the first 500 schedules of each kind show each defect.
#[test]
#[ignore = "a table to look at; nothing to hold"]
fn how_often_each_kind_of_weather_shows_each_defect() {
    for (name, mutant) in Knobs::each() {
        let mut caught = BTreeMap::new();
        for number in 0..500 * KINDS.len() as u64 {
            let (kind, ..) = schedule(number, mutant);
            *caught.entry(kind).or_insert(0) += u32::from(shows(mutant, number));
        }
        println!("{name}: {caught:?}");
    }
}

#[test]
fn no_mutant_survives_the_campaign_and_each_is_shown_in_a_few_lines() {
    for (name, mutant) in Knobs::each() {
        let caught = (0..SCHEDULES).filter(|number| shows(mutant, *number));
        let caught: Vec<u64> = caught.take(CATCHES).collect();
        assert!(!caught.is_empty(), "{name} survives");
        let failures = caught.iter().map(|number| {
            let (_, seed, weather) = schedule(*number, mutant);
            let failure = Failure::find(seed, &weather);
            failure.unwrap_or_else(|| panic!("{name}: schedule {number} does not replay"))
        });
        let shortest = failures.min_by_key(Failure::len).unwrap();
        let before = shortest.len();
        let shrunk = shortest.shrink();
        let script = shrunk.script();
        println!(
            "{name}: schedules {caught:?}, {before} moves shrunk to {}\n{script}",
            shrunk.len()
        );
        // This one takes a block that loses after it was certified, another one, and a third on top of the loser.
        let most = if name == "trust_ahead" {
            4 * MOVES_MAX
        } else {
            MOVES_MAX
        };
        assert!(shrunk.len() < most.min(before), "{name}: {} moves", shrunk.len());
        assert_ne!(replay(mutant, &script), [""; 0], "{name}: the script shows nothing");
        assert_eq!(
            replay(Knobs::default(), &script),
            [""; 0],
            "{name}: the script accuses the protocol"
        );
    }
}
