//! Planted bugs: each must be found by its check, and by no other.

mod accusations;
mod later;
mod random;

use crate::{
    check::{Absence, BlockRow, Found, Inclusion, Ledger, NodeLedger, Proof, Rules, check, collect},
    load::{
        Submission, Submitted,
        tests::double::{Double, Mode},
    },
};
use proptest::prelude::*;
use regatta_api::view::Outcome;
use regatta_base::{Digest, PublicKey, SecretKey, TransactionId, encode, seed};
use std::{collections::BTreeSet, time::Duration};

const HEIGHTS: u64 = 6;

fn id(number: u64) -> TransactionId {
    Digest::of("test transaction", &[&number.to_be_bytes()])
}

fn key(index: u16) -> SecretKey {
    SecretKey::from_seed([index as u8 + 1; 32])
}

/// Four validators, the last with twice the weight: 5 in all, a quorum is 4.
fn rules() -> Rules {
    let weight = |index: u16| if index == 3 { 2 } else { 1 };
    Rules {
        chain: "test".parse().unwrap(),
        instance: "main".parse().unwrap(),
        validators: (0..4).map(|index| (key(index).public(), weight(index))).collect(),
        byzantine: BTreeSet::from([2]),
        exclusive: true,
        snapshots: false,
        kept: None,
        archives: BTreeSet::new(),
        keys: (0..4)
            .map(|index| (format!("val-{index}"), key(index).public()))
            .collect(),
    }
}

/// A header as nodes encode it, naming the scenario's validators as the next ones.
fn header(height: u64) -> Vec<u8> {
    header_naming(height, &rules().validators)
}

fn header_naming(height: u64, next: &[(PublicKey, u64)]) -> Vec<u8> {
    let set = Digest::of("regatta validator set v1", &[&encode(&next)]);
    let batches: Vec<Digest> = vec![Digest::of("test batch", &[&height.to_be_bytes()])];
    encode(&(height, Digest::ZERO, batches, Digest::ZERO, set))
}

fn hash(height: u64) -> Digest {
    Digest::of("regatta block header v1", &[&header(height)])
}

/// What a validator signs, written down here a second time on purpose.
fn message(height: u64) -> Vec<u8> {
    let set = Digest::of("regatta validator set v1", &[&encode(&rules().validators)]);
    let parts: [&[u8]; 8] = [
        b"regatta consensus v1",
        b"\x04test",
        b"\x04main",
        &set.0,
        &[3],
        &height.to_be_bytes(),
        &0u32.to_be_bytes(),
        &hash(height).0,
    ];
    parts.concat()
}

fn proof(node: u32, height: u64, signers: &[u16]) -> Proof {
    let message = message(height);
    let sign = |&index: &u16| (index, key(index).public(), key(index).sign(&message));
    Proof {
        node,
        height,
        round: 0,
        hash: hash(height),
        contents: Digest::of("test contents", &[&height.to_be_bytes()]),
        signers: signers.iter().map(sign).collect(),
        message,
        header: header(height),
        next_validators: None,
    }
}

/// Three nodes with six blocks of two transactions each, all submitted, acknowledged and final.
fn sound() -> (Ledger, Submitted) {
    let blocks: Vec<BlockRow> = (1..=HEIGHTS)
        .map(|height| BlockRow {
            height,
            hash: hash(height),
            parent: hash(height - 1),
            state_root: Digest::of("test root", &[&height.to_be_bytes()]),
            transactions: 2,
            failed: 0,
        })
        .collect();
    let node = |index: u32| NodeLedger {
        node: format!("val-{index}"),
        blocks: blocks.clone(),
        ..NodeLedger::default()
    };
    let mut proofs: Vec<Proof> = (1..=HEIGHTS).map(|height| proof(0, height, &[0, 1, 3])).collect();
    proofs.push(proof(1, HEIGHTS, &[1, 2, 3]));
    let ledger = Ledger {
        target: HEIGHTS,
        top: HEIGHTS,
        nodes: (0..3).map(node).collect(),
        reference: 0,
        included: (0..2 * HEIGHTS)
            .map(|number| Inclusion {
                id: id(number),
                height: 1 + number / 2,
                ok: true,
            })
            .collect(),
        proofs,
        absent: Vec::new(),
        accusations: Vec::new(),
    };
    let row = |number| Submission {
        id: id(number),
        sent: true,
        acknowledged: true,
        finalised: true,
        target: 0,
    };
    let submitted = Submitted {
        targets: vec!["full-0".to_owned()],
        rows: (0..2 * HEIGHTS).map(row).collect(),
    };
    (ledger, submitted)
}

/// Names of the checks that fail, with their evidence.
fn failing(ledger: &Ledger, submitted: &Submitted) -> Vec<(String, String)> {
    failing_by(&rules(), ledger, submitted)
}

fn failing_by(rules: &Rules, ledger: &Ledger, submitted: &Submitted) -> Vec<(String, String)> {
    let invariants = check(rules, ledger, &[submitted], &mut seed::rng(1, "check"));
    assert_eq!(invariants.len(), 8);
    let failed = invariants.into_iter().filter(|invariant| !invariant.holds);
    failed.map(|invariant| (invariant.name, invariant.evidence)).collect()
}

/// Plants a bug and expects exactly one check to find it, with `words` in its evidence.
fn finds(name: &str, words: &[&str], plant: impl FnOnce(&mut Ledger, &mut Submitted)) {
    finds_by(&rules(), sound(), name, words, plant);
}

fn finds_by(
    rules: &Rules,
    (mut ledger, mut submitted): (Ledger, Submitted),
    name: &str,
    words: &[&str],
    plant: impl FnOnce(&mut Ledger, &mut Submitted),
) {
    plant(&mut ledger, &mut submitted);
    let failed = failing_by(rules, &ledger, &submitted);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, name);
    for word in words {
        assert!(failed[0].1.contains(word), "`{word}` in `{}`", failed[0].1);
    }
}

#[test]
fn a_sound_ledger_passes_every_check() {
    let (ledger, submitted) = sound();
    assert_eq!(failing(&ledger, &submitted), []);
}

#[test]
fn a_fork_at_one_node() {
    finds("agreement", &["height 6", "val-0", "val-2"], |ledger, _| {
        ledger.nodes[2].blocks[5].hash = id(99);
    });
}

#[test]
fn a_wrong_state_root_at_one_node() {
    finds("agreement", &["height 3", "state root", "val-1"], |ledger, _| {
        ledger.nodes[1].blocks[2].state_root = id(99);
    });
}

#[test]
fn other_outcomes_at_one_node() {
    finds("agreement", &["contents", "val-1"], |ledger, _| {
        ledger.proofs[6].contents = id(99);
    });
    finds("agreement", &["1 failed", "val-1"], |ledger, _| {
        ledger.nodes[1].blocks[2].failed = 1;
    });
}

#[test]
fn a_broken_link() {
    finds("continuity", &["block 4", "parent"], |ledger, _| {
        for node in &mut ledger.nodes {
            node.blocks[3].parent = id(99);
        }
    });
    finds("continuity", &["another parent of block 1"], |ledger, _| {
        ledger.nodes[1].blocks[0].parent = id(99);
    });
    finds("continuity", &["height 9"], |ledger, _| {
        ledger.nodes[1].blocks[4].height = 9;
    });
}

#[test]
fn a_forged_certificate() {
    finds("certificates", &["height 2", "does not verify"], |ledger, _| {
        ledger.proofs[1].signers[2].2.0[7] ^= 1;
    });
    // A sound certificate of another block, or of another round.
    finds("certificates", &["do not name this block"], |ledger, _| {
        ledger.proofs[1].message = message(1);
        ledger.proofs[1].signers = ledger.proofs[0].signers.clone();
    });
    finds("certificates", &["do not name this block"], |ledger, _| {
        ledger.proofs[1].round = 1;
    });
}

#[test]
fn a_quorum_that_is_one_short() {
    // Weight 3 of 5; a check by number of signers would take three of four.
    finds("certificates", &["weight 3 of 5"], |ledger, _| {
        ledger.proofs[3] = proof(0, 4, &[0, 1, 2]);
    });
}

#[test]
fn a_signer_who_is_counted_twice_or_unknown_or_another() {
    finds("certificates", &["twice"], |ledger, _| {
        ledger.proofs[3] = proof(0, 4, &[0, 3, 3]);
    });
    finds("certificates", &["signer 4 is no validator"], |ledger, _| {
        ledger.proofs[3] = proof(0, 4, &[0, 3, 4]);
    });
    finds("certificates", &["signer 0 shows key"], |ledger, _| {
        let mut forged = proof(0, 4, &[0, 1, 3]);
        forged.signers[0].1 = key(9).public();
        forged.signers[0].2 = key(9).sign(&forged.message);
        ledger.proofs[3] = forged;
    });
}

#[test]
fn a_missing_certificate_or_one_of_another_block() {
    finds("certificates", &["height 3"], |ledger, _| {
        ledger.proofs.remove(2);
    });
    finds("certificates", &["not the listed one", "val-1"], |ledger, _| {
        let forked = &mut ledger.proofs[6];
        forked.hash = hash(5);
        forked.height = 6;
        // Signed soundly, so that only the listing gives it away.
        let mut message = message(6);
        let digest = message.len() - 32;
        message[digest..].copy_from_slice(&hash(5).0);
        for (index, _, signature) in &mut forked.signers {
            *signature = key(*index).sign(&message);
        }
        forked.message = message;
    });
}

#[test]
fn a_dropped_acknowledged_transaction() {
    let lose = |ledger: &mut Ledger, submitted: &mut Submitted| {
        submitted.rows.push(Submission {
            id: id(50),
            finalised: false,
            ..submitted.rows[0]
        });
        ledger.absent.push(Absence {
            id: id(50),
            found: Found::Nowhere,
        });
    };
    finds("no_loss", &["acknowledged by full-0", &id(50).short()], lose);
    // Nobody was asked about it at all: a loss just the same.
    finds("no_loss", &["acknowledged"], |ledger, submitted| {
        lose(ledger, submitted);
        ledger.absent.clear();
    });
}

#[test]
fn what_is_on_its_way_is_not_lost_unless_it_was_reported_final() {
    let (mut ledger, mut submitted) = sound();
    for (number, found) in [
        (50, Found::Pending("val-1".to_owned())),
        (51, Found::Executed(9, vec![1])),
        (52, Found::NotAsked),
    ] {
        submitted.rows.push(Submission {
            id: id(number),
            finalised: false,
            ..submitted.rows[0]
        });
        ledger.absent.push(Absence { id: id(number), found });
    }
    assert_eq!(failing(&ledger, &submitted), []);
    submitted.rows[12].finalised = true;
    let failed = failing(&ledger, &submitted);
    assert!(failed[0].1.contains("reported final"), "{failed:?}");
}

#[test]
fn what_was_never_acknowledged_may_be_missing() {
    let (ledger, mut submitted) = sound();
    submitted.rows.push(Submission {
        id: id(50),
        acknowledged: false,
        finalised: false,
        ..submitted.rows[0]
    });
    assert_eq!(failing(&ledger, &submitted), []);
}

#[test]
fn a_double_inclusion() {
    finds(
        "no_duplicates",
        &["2 times", "blocks 1 and 6", &id(0).short()],
        |ledger, _| {
            ledger.included[11] = Inclusion {
                id: id(0),
                ..ledger.included[11]
            };
            // Its own place is taken, so the transaction that was there is pending again.
            ledger.absent.push(Absence {
                id: id(11),
                found: Found::Executed(7, vec![1]),
            });
        },
    );
}

#[test]
fn a_repetition_without_effect_is_harmless() {
    let (mut ledger, submitted) = sound();
    ledger.included.push(Inclusion {
        id: id(0),
        height: 6,
        ok: false,
    });
    for node in &mut ledger.nodes {
        node.blocks[5].transactions = 3;
    }
    assert_eq!(failing(&ledger, &submitted), []);
}

#[test]
fn a_foreign_transaction() {
    finds("integrity", &["never submitted", &id(70).short()], |ledger, _| {
        ledger.included.push(Inclusion {
            id: id(70),
            height: 6,
            ok: true,
        });
        for node in &mut ledger.nodes {
            node.blocks[5].transactions = 3;
        }
    });
    finds("integrity", &["list 13", "hold 12"], |ledger, _| {
        for node in &mut ledger.nodes {
            node.blocks[5].transactions = 3;
        }
    });
}

#[test]
fn a_node_that_stays_behind() {
    finds("convergence", &["val-2", "height 4 of 6"], |ledger, _| {
        ledger.nodes[2].blocks.truncate(4);
    });
    finds("convergence", &["no connection"], |ledger, _| {
        ledger.nodes[2].error = Some("no connection".to_owned());
    });
}

#[test]
fn nothing_at_all_is_no_success() {
    let failed = failing(&Ledger::default(), &Submitted::default());
    assert_eq!(failed[0].0, "convergence");
}

#[test]
fn a_shared_cluster_is_not_checked_for_foreign_transactions() {
    let (ledger, submitted) = sound();
    let rules = Rules {
        exclusive: false,
        ..rules()
    };
    let invariants = check(&rules, &ledger, &[&submitted], &mut seed::rng(1, "check"));
    assert!(invariants.iter().all(|invariant| invariant.name != "integrity"));
}

proptest! {
    #[test]
    fn any_flipped_bit_of_a_certificate_is_found(position in 0usize..7, signer in 0usize..3, bit in 0usize..512) {
        let (mut ledger, submitted) = sound();
        ledger.proofs[position].signers[signer].2.0[bit / 8] ^= 1 << (bit % 8);
        let failed = failing(&ledger, &submitted);
        prop_assert_eq!(failed.len(), 1);
        prop_assert_eq!(&failed[0].0, "certificates");
    }
}

/// Two nodes of one chain with `count` blocks of one transaction.
async fn chain(count: u64) -> (Double, Double) {
    let first = Double::start(0, Mode::Forget).await;
    let second = first.twin(1, Mode::Forget).await;
    for number in 0..count {
        first.chain.lock().unwrap().finalise(&[id(number)], Outcome::Ok, false);
    }
    (first, second)
}

#[tokio::test]
async fn a_ledger_is_read_whole_from_one_node_and_in_samples_from_the_others() {
    let (first, second) = chain(100).await;
    let endpoints = [first.endpoint.clone(), second.endpoint.clone()];
    let ledger = collect(&rules(), &endpoints, &[], Duration::from_secs(60)).await;
    assert_eq!((ledger.target, ledger.reference, ledger.included.len()), (100, 0, 100));
    assert!(
        ledger
            .nodes
            .iter()
            .all(|node| node.height() == 100 && node.error.is_none())
    );
    let proofs = |node: u32| ledger.proofs.iter().filter(move |proof| proof.node == node);
    assert_eq!(proofs(0).count(), 100);
    assert!((10..=24).contains(&proofs(1).count()));
    assert_eq!(proofs(1).next_back().unwrap().height, 100);
    // The double signs nothing: every check but that of certificates is content.
    let rows = (0..100).map(|number| Submission {
        id: id(number),
        sent: true,
        acknowledged: true,
        finalised: true,
        target: 0,
    });
    let submitted = Submitted {
        targets: Vec::new(),
        rows: rows.collect(),
    };
    let failed = failing(&ledger, &submitted);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, "certificates");
}

#[tokio::test]
async fn absent_transactions_are_asked_for() {
    let (first, second) = chain(3).await;
    second.chain.lock().unwrap().pending.insert(id(50), ());
    let endpoints = [first.endpoint.clone(), second.endpoint.clone()];
    let row = |number| Submission {
        id: id(number),
        sent: true,
        acknowledged: true,
        finalised: false,
        target: 0,
    };
    let submitted = Submitted {
        targets: vec!["full-0".to_owned()],
        rows: vec![row(0), row(50), row(51)],
    };
    let ledger = collect(&rules(), &endpoints, &[&submitted], Duration::from_secs(60)).await;
    let found: Vec<&Found> = ledger.absent.iter().map(|absence| &absence.found).collect();
    assert_eq!(found, [&Found::Pending("full-0".to_owned()), &Found::Nowhere]);
}

#[tokio::test]
async fn a_node_that_is_gone_is_part_of_the_ledger() {
    let (first, _) = chain(3).await;
    let endpoints = [first.endpoint.clone(), crate::load::tests::endpoint(9)];
    let ledger = collect(&rules(), &endpoints, &[], Duration::ZERO).await;
    assert_eq!(ledger.target, 3);
    assert!(ledger.nodes[1].error.is_some() && ledger.nodes[1].blocks.is_empty());
}

/// Gives the block at `height` a header that names other validators, and decides it by the old ones.
fn change_validators(ledger: &mut Ledger, height: u64, next: &[(PublicKey, u64)], shown: &[(PublicKey, u64)]) {
    let header = header_naming(height, next);
    let hash = Digest::of("regatta block header v1", &[&header]);
    for node in &mut ledger.nodes {
        node.blocks[height as usize - 1].hash = hash;
        if let Some(child) = node.blocks.get_mut(height as usize) {
            child.parent = hash;
        }
    }
    for proof in ledger.proofs.iter_mut().filter(|proof| proof.height == height) {
        (proof.hash, proof.header) = (hash, header.clone());
        proof.next_validators = Some(shown.to_vec());
        let at = proof.message.len() - 32;
        proof.message[at..].copy_from_slice(&hash.0);
        let message = proof.message.clone();
        for (index, _, signature) in &mut proof.signers {
            *signature = key(*index).sign(&message);
        }
    }
}

/// Two of the old validators and two new ones.
fn others() -> Vec<(PublicKey, u64)> {
    [0, 3, 7, 8].map(|index| (key(index).public(), 1)).to_vec()
}

#[test]
fn a_set_that_a_certified_header_names_is_followed() {
    let (mut ledger, submitted) = sound();
    change_validators(&mut ledger, HEIGHTS - 1, &others(), &others());
    let violations = failing(&ledger, &submitted);
    assert_eq!(
        violations.len(),
        1,
        "the last height is signed by the old set: {violations:?}"
    );
    assert!(violations[0].1.contains("validators of its height"), "{violations:?}");
    let set = Digest::of("regatta validator set v1", &[&encode(&others())]);
    for proof in ledger.proofs.iter_mut().filter(|proof| proof.height == HEIGHTS) {
        let at = proof.message.len() - 32 - 4 - 8 - 1 - 32;
        proof.message[at..at + 32].copy_from_slice(&set.0);
        let signed = |(index, member): (u16, u16)| (index, key(member).public(), key(member).sign(&proof.message));
        proof.signers = [(0, 0), (1, 3), (3, 8)].map(signed).to_vec();
        proof.header = header_naming(HEIGHTS, &others());
    }
    let header = header_naming(HEIGHTS, &others());
    let hash = Digest::of("regatta block header v1", &[&header]);
    for proof in ledger.proofs.iter_mut().filter(|proof| proof.height == HEIGHTS) {
        proof.hash = hash;
        let at = proof.message.len() - 32;
        proof.message[at..].copy_from_slice(&hash.0);
        let signed = |(index, member): (u16, u16)| (index, key(member).public(), key(member).sign(&proof.message));
        proof.signers = [(0, 0), (1, 3), (3, 8)].map(signed).to_vec();
    }
    for node in &mut ledger.nodes {
        node.blocks[HEIGHTS as usize - 1].hash = hash;
    }
    assert_eq!(failing(&ledger, &submitted), []);
}

#[test]
fn a_set_that_no_certified_header_names_is_found() {
    finds("certificates", &["are not those that the header names"], |ledger, _| {
        let mut shown = others();
        shown[2].1 += 1;
        change_validators(ledger, HEIGHTS, &others(), &shown);
    });
    finds("certificates", &["not the one that was decided"], |ledger, _| {
        ledger.proofs[2].header.push(0);
    });
}
