//! One attack or more for each safety rule: the protocol withstands it, and the same protocol without
//! that rule does not.
//!
//! With equal weights the leader of height h and round r is validator (h + r) mod n.

use super::script::run;
use crate::mutants::Knobs;

/// A script, and what breaks when the rule is gone.
struct Attack {
    /// The knob that removes the rule.
    knob: &'static str,
    weights: &'static [u64],
    faulty: Option<u16>,
    /// How the charge begins.
    charge: &'static str,
    script: &'static str,
}

const FOUR: &[u64] = &[1, 1, 1, 1];

const ATTACKS: &[Attack] = &[
    // Safe is what keeps a forging leader from undoing a decision.
    Attack {
        knob: "ignore_justification",
        weights: FOUR,
        faulty: Some(2),
        charge: "agreement",
        script: "work 0 1 3
            deliver propose
            deliver vote1
            deliver vote2 to 0
            expect decided 1 1.1.0.0
            drop vote2
            timeout 1 3
            faulty timeout 1 0 X to 1 3
            deliver timeout
            expect at 1 1 1 3
            faulty propose 1 1 X with 1 3 to 1 3
            faulty vote1 1 1 X to 1 3
            faulty vote2 1 1 X to 1 3
            deliver",
    },
    // Who lost its log might help to give a round up that its own vote decided.
    Attack {
        knob: "forget_amnesia",
        weights: FOUR,
        faulty: Some(1),
        charge: "agreement",
        script: "work 0 2 3
            faulty propose 1 0 A to 0 2
            deliver propose
            faulty vote1 1 0 A to 0 2
            deliver vote1 to 0 2
            faulty vote2 1 0 A to 0
            deliver vote2 to 0
            expect decided 1 A
            drop
            crash 2 lost 0
            recover 2
            drop
            work 2
            timeout 2 3
            faulty timeout 1 0 A to 2 3
            deliver timeout to 2 3
            faulty vote1 1 1 2.1.1.1 to 2 3
            faulty vote2 1 1 2.1.1.1 to 2 3
            deliver to 2 3",
    },
    // A quorum is more than two thirds.
    Attack {
        knob: "loose_quorum",
        weights: &[1, 1, 1],
        faulty: Some(1),
        charge: "agreement",
        script: "work 0 2
            faulty propose 1 0 A to 0
            faulty propose 1 0 B to 2
            faulty vote1 1 0 A to 0
            faulty vote1 1 0 B to 2
            faulty vote2 1 0 A to 0
            faulty vote2 1 0 B to 2
            deliver propose
            drop vote1 to 3
            drop vote2 to 3
            deliver",
    },
    // No vote follows a timeout.
    Attack {
        knob: "vote_after_timeout",
        weights: FOUR,
        faulty: Some(2),
        charge: "agreement",
        script: "work 0 1 3
            deliver propose
            timeout 0 1 3
            deliver vote1
            deliver vote2 to 0
            drop vote2
            deliver timeout to 1 3
            faulty propose 1 1 X with 1 3 to 1 3
            faulty vote1 1 1 X to 1 3
            faulty vote2 1 1 X to 1 3
            deliver to 1 3",
    },
    // One vote for each round.
    Attack {
        knob: "second_vote1",
        weights: FOUR,
        faulty: Some(1),
        charge: "conduct",
        script: "work 0 2 3
            faulty propose 1 0 A to 0 2 3
            deliver propose
            faulty propose 1 0 B to 0 2 3
            deliver propose",
    },
    // A quorum of a past round gets no vote.
    Attack {
        knob: "vote2_in_past_round",
        weights: FOUR,
        faulty: Some(2),
        charge: "agreement",
        script: "work 0 1 3
            deliver propose
            timeout 0 1 3
            deliver timeout
            expect at 1 1 0 1 3
            deliver vote1
            deliver vote2 to 0
            drop vote2
            faulty propose 1 1 X with 1 3 to 1 3
            faulty vote1 1 1 X to 1 3
            faulty vote2 1 1 X to 1 3
            deliver to 1 3",
    },
    // A timeout states the lock.
    Attack {
        knob: "timeout_without_high",
        weights: FOUR,
        faulty: Some(2),
        charge: "agreement",
        script: "work 0 1 3
            deliver propose
            deliver vote1
            deliver vote2 to 0
            drop vote2
            timeout 1 3
            faulty timeout 1 0 X to 1 3
            deliver timeout
            faulty propose 1 1 X with 1 3 to 1 3
            faulty vote1 1 1 X to 1 3
            faulty vote2 1 1 X to 1 3
            deliver",
    },
    // Recovery restores the lock.
    Attack {
        knob: "forget_lock",
        weights: FOUR,
        faulty: Some(2),
        charge: "agreement",
        script: "work 0 1 3
            deliver propose
            deliver vote1
            deliver vote2 to 0
            drop
            crash 1 3
            recover 1 3
            drop
            timeout 1 3
            faulty timeout 1 0 X to 1 3
            deliver timeout
            faulty propose 1 1 X with 1 3 to 1 3
            faulty vote1 1 1 X to 1 3
            faulty vote2 1 1 X to 1 3
            deliver",
    },
    // Recovery restores the votes.
    Attack {
        knob: "forget_votes",
        weights: FOUR,
        faulty: Some(1),
        charge: "conduct",
        script: "work 0 2 3
            faulty propose 1 0 A to 0
            deliver propose
            crash 0
            recover 0
            faulty propose 1 0 B to 0
            deliver propose",
    },
    // Recovery restores the proposal.
    Attack {
        knob: "forget_proposal",
        weights: FOUR,
        faulty: None,
        charge: "conduct",
        script: "work 1
            crash 1
            recover 1
            work 1
            deliver
            expect silent",
    },
    // Nothing is said before it is logged.
    Attack {
        knob: "persist_late",
        weights: FOUR,
        faulty: Some(1),
        charge: "conduct",
        script: "work 0 2 3
            limit 0 1
            timeout 0
            recover 0
            faulty propose 1 0 A to 0
            deliver propose",
    },
    // One quorum does not decide.
    Attack {
        knob: "decide_on_qc1",
        weights: FOUR,
        faulty: None,
        charge: "certificate",
        script: "work 0 1 2 3
            deliver",
    },
    // What was proposed ahead of time counts when its height is entered.
    Attack {
        knob: "forget_ahead",
        weights: FOUR,
        faulty: None,
        charge: "conduct",
        script: "target 2
            work 0 1 2 3
            deliver propose vote1
            deliver vote2 to 2
            work 2
            deliver",
    },
    // And is judged again when it is known what it follows.
    Attack {
        knob: "trust_ahead",
        weights: FOUR,
        faulty: None,
        charge: "chain",
        script: "target 2
            work 0 1 2 3
            deliver propose
            deliver vote1 to 2
            drop vote1 vote2
            timeout 0 1 3
            deliver timeout to 0 1 3
            timeout 0 1 3
            deliver timeout to 0 1 3
            deliver to 0 1 3
            deliver",
    },
];

#[test]
fn every_rule_has_an_attack_that_it_alone_withstands() {
    for (knob, mutant) in Knobs::each() {
        let attacks: Vec<&Attack> = ATTACKS.iter().filter(|attack| attack.knob == knob).collect();
        assert!(!attacks.is_empty(), "no script attacks the rule that `{knob}` removes");
        for attack in attacks {
            let play = |knobs| run(attack.weights, attack.faulty, knobs, attack.script);
            assert_eq!(play(Knobs::default()), [""; 0], "{knob}");
            let violations = play(mutant);
            let caught = violations.iter().any(|violation| violation.starts_with(attack.charge));
            assert!(caught, "{knob} survives: {violations:?}");
        }
    }
}
