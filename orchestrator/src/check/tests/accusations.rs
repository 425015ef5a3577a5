//! Accusations as nodes may tell them: those that hold pass, all others are found by their own check.

use super::{HEIGHTS, change_validators, failing, finds, id, key, rules, sound};
use crate::check::Accusation;
use regatta_api::view::{EvidenceKind, EvidenceView, StatementView};
use regatta_base::{Digest, PublicKey, encode};

/// What a validator of the scenario's set signs in round 0.
fn statement(signer: u16, kind: u8, height: u64, mark: u64) -> StatementView {
    statement_under(&rules().validators, signer, kind, (height, mark))
}

/// What a validator signs in round 0 under a set, written down here a second time on purpose.
fn statement_under(set: &[(PublicKey, u64)], signer: u16, kind: u8, (height, mark): (u64, u64)) -> StatementView {
    let set = Digest::of("regatta validator set v1", &[&encode(&set)]);
    let parts: [&[u8]; 8] = [
        b"regatta consensus v1",
        b"\x04test",
        b"\x04main",
        &set.0,
        &[kind],
        &height.to_be_bytes(),
        &0u32.to_be_bytes(),
        &id(mark).0,
    ];
    let message = parts.concat();
    StatementView {
        round: 0,
        signature: key(signer).sign(&message),
        message: message.into(),
    }
}

/// Validator `signer` voted for two blocks of one height, told by the second node.
fn accusation(signer: u16, height: u64) -> Accusation {
    Accusation {
        node: 1,
        view: EvidenceView {
            signer,
            key: key(signer).public(),
            height,
            kind: EvidenceKind::Vote1,
            first: statement(signer, 2, height, 1),
            second: statement(signer, 2, height, 2),
        },
    }
}

#[test]
fn proofs_against_whom_the_scenario_lets_misbehave_hold() {
    let (mut ledger, submitted) = sound();
    ledger.accusations = (1..5).map(|height| accusation(2, height)).collect();
    assert_eq!(super::failing(&ledger, &submitted), []);
}

#[test]
fn a_proof_against_an_honest_validator() {
    finds("accusations", &["val-1", "validator 1", "honest"], |ledger, _| {
        ledger.accusations = vec![accusation(2, 4), accusation(1, 4)];
    });
}

#[test]
fn proofs_that_do_not_hold() {
    type Change = fn(&mut EvidenceView);
    let cases: [(&str, Change); 8] = [
        ("does not verify", |view| view.second.signature = view.first.signature),
        ("do not contradict", |view| view.second = view.first.clone()),
        ("do not contradict", |view| view.second = statement(2, 3, 4, 2)),
        ("do not contradict", |view| view.second = statement(2, 2, 5, 2)),
        ("do not contradict", |view| view.height = 9),
        ("no statement of this instance", |view| {
            view.first.message = vec![7; 90].into();
        }),
        ("shows key", |view| view.key = key(3).public()),
        ("does not verify", |view| view.first = statement(3, 2, 4, 1)),
    ];
    for (why, change) in cases {
        finds("accusations", &[why], |ledger, _| {
            let mut told = accusation(2, 4);
            change(&mut told.view);
            ledger.accusations = vec![told];
        });
    }
    finds("accusations", &["signer 9 is no validator"], |ledger, _| {
        let mut told = accusation(2, 4);
        told.view.signer = 9;
        ledger.accusations = vec![told];
    });
}

#[test]
fn a_proof_counts_under_the_set_of_its_height() {
    let grown = [3, 2, 7, 8].map(|index| (key(index).public(), 1)).to_vec();
    let told = |set: &[(PublicKey, u64)]| {
        let mut told = accusation(2, HEIGHTS);
        told.view.signer = 1;
        told.view.first = statement_under(set, 2, 2, (HEIGHTS, 1));
        told.view.second = statement_under(set, 2, 2, (HEIGHTS, 2));
        told
    };
    let of_accusations = |accusation: Accusation| -> Vec<String> {
        let (mut ledger, submitted) = sound();
        change_validators(&mut ledger, HEIGHTS - 1, &grown, &grown);
        ledger.accusations = vec![accusation];
        let failing = failing(&ledger, &submitted).into_iter();
        failing
            .filter(|(name, _)| name == "accusations")
            .map(|(_, why)| why)
            .collect()
    };
    assert_eq!(of_accusations(told(&grown)), Vec::<String>::new());
    let old = of_accusations(told(&rules().validators));
    assert!(
        old.len() == 1 && old[0].contains("no statement of this instance"),
        "{old:?}"
    );
}
