//! A model checker looks at every course of one height: agreement holds in all of them, and in some of
//! them as soon as one rule is missing.

#[path = "model/rules.rs"]
mod rules;

use rules::{Defect, Height, ROUNDS};
use stateright::{Checker, Model};

/// Who leads, by round: whether the faulty validator does.
const LEADERS: [[bool; ROUNDS]; 2] = [[false, true, false], [true; ROUNDS]];

fn check(defect: Defect, faulty_leads: [bool; ROUNDS]) -> impl Checker<Height> {
    let model = Height { defect, faulty_leads };
    model.checker().threads(2).spawn_bfs().join()
}

#[test]
fn agreement_holds_whoever_leads() {
    for leaders in LEADERS {
        let checked = check(Defect::None, leaders);
        println!(
            "{leaders:?}: {} states, depth {}",
            checked.unique_state_count(),
            checked.max_depth()
        );
        checked.assert_properties();
    }
}

#[test]
fn without_one_rule_the_checker_finds_two_decisions() {
    for defect in [
        Defect::LeastHigh,
        Defect::SafeIgnoresHigh,
        Defect::SilentAboutHigh,
        Defect::VoteAfterLeaving,
        Defect::WeakCertificate,
    ] {
        let checked = check(defect, LEADERS[0]);
        let path = checked.assert_any_discovery("agreement");
        println!("{defect:?}: {:?}", path.into_actions());
    }
}
