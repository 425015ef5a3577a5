//! The gate: random schedules must notice each defect, and the shrinker must show it in a few lines. A
//! campaign that misses one proves little.

use super::{script::replay, shrink::Failure, storm::play, weather::schedule};
use crate::mutants::Knobs;

/// Schedules within which every mutant must be caught.
const SCHEDULES: u64 = 20_000;
/// Moves that a shrunk schedule may take.
const MOVES_MAX: usize = 60;

/// So many schedules that show a defect are looked at, and the shortest is shrunk.
const CATCHES: usize = 4;

/// Numbers of schedules that show the defect, other than by taking too long.
fn catches(mutant: Knobs) -> Vec<u64> {
    let shows = |number: &u64| {
        let (_, seed, weather) = schedule(*number, mutant);
        let violations = play(seed, &weather).violations;
        violations.iter().any(|violation| !violation.starts_with("liveness"))
    };
    (0..SCHEDULES).filter(shows).take(CATCHES).collect()
}

#[test]
fn no_mutant_survives_the_campaign_and_each_is_shown_in_a_few_lines() {
    for (name, mutant) in Knobs::each() {
        let caught = catches(mutant);
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
