//! Simulated validators that break the protocol, in a lab that was built for tests.

use super::{Done, play};
use regatta_plan::{Capabilities, Plan, Source, resolve};

/// Three honest validators, one that misbehaves, and a full node.
fn plan(behaviour: &str, seed: u64) -> Plan {
    let text = format!(
        "name = \"misconduct\"\nseed = {seed}\n[provider]\nkind = \"sim\"\n\
         [[group]]\nname = \"val\"\ncount = 3\nrole = \"validator\"\n\
         [[group]]\nname = \"bad\"\ncount = 1\nrole = \"validator\"\nbehaviour = \"{behaviour}\"\n\
         [[group]]\nname = \"full\"\ncount = 1\nrole = \"full\"\n\
         [peering]\nall = {{ kind = \"full_mesh\", of = \"all\" }}\n\
         [[consensus]]\nid = \"main\"\nbyzantine = 1\nround_timeout = \"100ms\"\n\
         [phases]\nwarmup = \"500ms\"\nmeasure = \"4s\"\ncooldown = \"500ms\"\n\
         [[load]]\nrate = 40\ntarget = \"full-0\"\n"
    );
    let host = Capabilities {
        simulates_misconduct: true,
        ..Capabilities::default()
    };
    let source = Source::read("s.toml", &text, &[]);
    resolve(&source, &host)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .plan
}

/// Plays it and checks what honest nodes owe in spite of it.
fn played(behaviour: &str) -> Done {
    let done = play(plan(behaviour, 9));
    done.assert_correct();
    assert!(
        done.result().record.accounting.finalised_ok > 60,
        "{:?}",
        done.result().record.accounting
    );
    done
}

#[test]
fn a_simulated_validator_that_equivocates_is_accused_and_breaks_nothing() {
    let done = played("equivocate");
    let accusations = &done.result().record.accusations;
    assert!(!accusations.is_empty());
    assert!(
        accusations.iter().all(|accusation| accusation.validator == "bad-0"),
        "{accusations:?}"
    );
}

#[test]
fn simulated_validators_that_say_nothing_or_too_late_are_stood() {
    for behaviour in ["silent", "delay"] {
        let done = played(behaviour);
        assert_eq!(done.result().record.accusations, [], "{behaviour} contradicts nothing");
    }
}
