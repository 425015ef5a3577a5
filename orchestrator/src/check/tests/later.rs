//! Ledgers that begin later: what snapshots stand for is no gap, and everything else that is missing is found.

use super::{HEIGHTS, failing_by, finds_by, id, rules, sound};
use crate::{
    check::{
        Absence, Found, Head, Ledger, NodeLedger, Proof, Rules,
        collect::{collect, missed},
        ledger::Stretch,
    },
    load::{
        Submission, Submitted,
        tests::double::{Double, Mode},
    },
};
use proptest::prelude::*;
use regatta_api::view::Outcome;
use regatta_base::Digest;
use std::{collections::BTreeSet, time::Duration};

/// Snapshots may stand for blocks, of which the last two are kept.
fn pruning() -> Rules {
    Rules {
        snapshots: true,
        kept: Some(2),
        ..rules()
    }
}

/// Lets a node begin after `height`, as one that came late.
fn begin_after(node: &mut NodeLedger, height: u64) {
    node.blocks.drain(..height as usize);
    (node.skipped, node.let_go) = (height, height);
}

/// A sound ledger whose last node came late and began after block 3, with a snapshot of that block at the others.
fn late() -> (Ledger, Submitted) {
    let (mut ledger, submitted) = sound();
    let row = ledger.nodes[0].blocks[2];
    let snapshot = Head {
        height: 3,
        hash: row.hash,
        state_root: row.state_root,
    };
    for node in &mut ledger.nodes {
        node.snapshots = vec![snapshot];
    }
    begin_after(&mut ledger.nodes[2], 3);
    (ledger, submitted)
}

/// A sound ledger whose blocks 1 and 2 no node has in full any more.
fn pruned() -> (Ledger, Submitted) {
    let (mut ledger, submitted) = late();
    for node in &mut ledger.nodes {
        node.let_go = node.let_go.max(2);
    }
    ledger.proofs.retain(|proof| proof.height > 2);
    ledger.included.retain(|row| row.height > 2);
    // Two of the validators of weight 1 of 5 in all still know where the four transactions were.
    ledger.absent = (0..4)
        .map(|number| Absence {
            id: id(number),
            found: Found::Executed(1 + number / 2, vec![0, 1]),
        })
        .collect();
    (ledger, submitted)
}

fn finds(name: &str, words: &[&str], from: fn() -> (Ledger, Submitted), plant: impl FnOnce(&mut Ledger)) {
    finds_by(&pruning(), from(), name, words, |ledger, _| plant(ledger));
}

#[test]
fn what_snapshots_stand_for_is_no_gap() {
    for (ledger, submitted) in [late(), pruned()] {
        assert_eq!(failing_by(&pruning(), &ledger, &submitted), []);
    }
}

#[test]
fn a_ledger_that_begins_later_without_leave_is_found() {
    let (ledger, submitted) = late();
    let failed = failing_by(&rules(), &ledger, &submitted);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, "continuity");
    assert!(failed[0].1.contains("val-2 has blocks from height 4 on"), "{failed:?}");
    // An archive may begin with a snapshot and let go of nothing after it.
    let archive = Rules {
        archives: BTreeSet::from(["val-1".to_owned(), "val-2".to_owned()]),
        ..pruning()
    };
    let (ledger, submitted) = pruned();
    let failed = failing_by(&archive, &ledger, &submitted);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].1.contains("val-1 has blocks from height 3 on"), "{failed:?}");
}

#[test]
fn a_hole_between_is_found() {
    let hole = |ledger: &mut Ledger| {
        ledger.nodes[2].blocks.remove(1);
    };
    let (mut ledger, submitted) = late();
    hole(&mut ledger);
    let failed = failing_by(&pruning(), &ledger, &submitted);
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["agreement", "continuity", "convergence"], "{failed:?}");
    assert!(failed[1].1.contains("val-2 gives height 6 in place of 5"), "{failed:?}");
    // Blocks that follow a snapshot of something else.
    finds(
        "continuity",
        &["val-2 begins with block 4", "block 3 of val-0"],
        late,
        |ledger| {
            ledger.nodes[2].blocks[0].parent = id(99);
        },
    );
    // Everybody let go of more than two snapshots replace.
    finds(
        "continuity",
        &["up to height 5 of 6", "last 2 have to be kept"],
        pruned,
        |ledger| {
            ledger.nodes.iter_mut().for_each(|node| node.let_go = 5);
            ledger.proofs.retain(|proof| proof.height > 5);
            ledger.included.retain(|row| row.height > 5);
            ledger.absent = (0..10)
                .map(|number| Absence {
                    id: id(number),
                    found: Found::Executed(1 + number / 2, vec![0, 1]),
                })
                .collect();
        },
    );
}

#[test]
fn a_certificate_that_is_missing_behind_the_gap_is_found() {
    finds("certificates", &["no certificate of height 3"], pruned, |ledger| {
        ledger.proofs.retain(|proof| proof.height != 3);
    });
}

#[test]
fn a_wrong_snapshot_is_found() {
    finds(
        "agreement",
        &["height 3", "val-0", "a snapshot of val-2", "state root"],
        late,
        |ledger| {
            // The first to be compared with blocks, and the last to be compared with other snapshots.
            ledger.nodes[0].snapshots.clear();
            ledger.nodes[1].snapshots.clear();
            ledger.nodes[2].snapshots[0].state_root = id(99);
        },
    );
    finds("agreement", &["a snapshot of val-1 is"], late, |ledger| {
        ledger.nodes[0].snapshots.clear();
        ledger.nodes[2].snapshots.clear();
        ledger.nodes[1].snapshots[0].hash = id(99);
    });
    finds(
        "agreement",
        &["snapshots of different states", "val-0 and val-2"],
        late,
        |ledger| {
            for node in [0, 2] {
                // Of a height that no node lists: only they can contradict each other.
                let height = HEIGHTS + 4;
                ledger.nodes[node].snapshots.push(Head {
                    height,
                    hash: id(node as u64),
                    state_root: id(1),
                });
            }
        },
    );
}

#[test]
fn a_wrong_state_that_a_late_node_went_on_from_is_found() {
    finds("agreement", &["height 4", "state root", "val-2"], late, |ledger| {
        ledger.nodes[2].blocks[0].state_root = id(99);
    });
    // It has no block of its own yet: its state itself is compared.
    let bare = |root: Digest| {
        move |ledger: &mut Ledger| {
            let row = ledger.nodes[0].blocks[5];
            let node = &mut ledger.nodes[2];
            node.blocks.clear();
            (node.skipped, node.let_go) = (HEIGHTS, HEIGHTS);
            node.head = Some(Head {
                height: HEIGHTS,
                hash: row.hash,
                state_root: if root == Digest::ZERO { row.state_root } else { root },
            });
        }
    };
    finds("agreement", &["its last block of val-2 has"], late, bare(id(99)));
    let (mut ledger, submitted) = late();
    bare(Digest::ZERO)(&mut ledger);
    assert_eq!(failing_by(&pruning(), &ledger, &submitted), []);
    // And where nobody else has that height nothing was compared, which is no agreement.
    finds("agreement", &["which no other node lists"], late, |ledger| {
        bare(Digest::ZERO)(ledger);
        let node = &mut ledger.nodes[2];
        (node.skipped, node.let_go) = (HEIGHTS + 3, HEIGHTS + 3);
        node.head.as_mut().unwrap().height = HEIGHTS + 3;
    });
}

#[test]
fn what_no_block_shows_any_more_is_not_believed_for_its_absence() {
    // One validator of weight 1 of 5 may be the one that lies.
    finds(
        "no_loss",
        &["weight 1 of 5 alone", "proves nothing"],
        pruned,
        |ledger| {
            ledger.absent[1].found = Found::Executed(1, vec![0]);
        },
    );
    finds(
        "no_loss",
        &["no node knows it", "blocks 1 to 2 are gone"],
        pruned,
        |ledger| {
            ledger.absent[1].found = Found::Nowhere;
        },
    );
    finds(
        "no_loss",
        &["too many are like it", "archive = true"],
        pruned,
        |ledger| {
            ledger.absent[1].found = Found::NotAsked;
        },
    );
    // A place that can be looked at, and where it is not.
    finds("no_loss", &["is not in block 4", "val-1"], pruned, |ledger| {
        ledger.absent[1].found = Found::Executed(4, vec![1, 0, 2]);
    });
    // A node that does not vote proves nothing, however often it is named.
    finds_by(
        &pruning(),
        pruned(),
        "no_loss",
        &["weight 0 of 5 alone"],
        |ledger, _| {
            ledger.nodes[2].node = "full-0".to_owned();
            ledger.absent[1].found = Found::Executed(1, vec![2, 2]);
        },
    );
}

#[test]
fn what_one_node_let_go_of_is_read_from_another() {
    let (mut ledger, _) = sound();
    begin_after(&mut ledger.nodes[0], 4);
    ledger.nodes[1].let_go = 2;
    let stretch = |node, first, last| Stretch { node, first, last };
    assert_eq!(ledger.stretches(), [stretch(2, 1, 4), stretch(0, 5, 6)]);
    assert_eq!(ledger.gone(), 0);
    ledger.nodes[2].let_go = 3;
    assert_eq!(ledger.stretches(), [stretch(1, 3, 4), stretch(0, 5, 6)]);
    assert_eq!(ledger.gone(), 2);
    // Blocks below a hole are no part of what is there in one piece.
    (ledger.nodes[1].let_go, ledger.nodes[2].let_go) = (0, 4);
    ledger.nodes[1].blocks.truncate(3);
    assert_eq!(ledger.stretches(), [stretch(0, 5, 6)]);
    assert_eq!(ledger.gone(), 4);
}

/// Seen on a busy machine: blocks that one node let go of while they were read had no certificate that could be read,
/// although others still had them.
#[test]
fn what_a_node_lets_go_of_while_it_is_read_is_read_from_another() {
    let (mut ledger, _) = sound();
    let whole: Vec<Proof> = ledger.proofs.iter().filter(|proof| proof.node == 0).cloned().collect();
    ledger.proofs = whole.into_iter().filter(|proof| proof.height > 2).collect();
    ledger.nodes[0].let_go = 2;
    ledger.nodes[1].let_go = 6;
    assert_eq!(missed(&ledger), [(2, 1), (2, 2)]);
    ledger.nodes[2].let_go = 6;
    assert_eq!((missed(&ledger), ledger.gone()), (vec![], 2));
}

proptest! {
    #[test]
    fn stretches_cover_what_is_there_without_overlap(
        lows in proptest::collection::vec((0u64..8, 0u64..8), 1..5),
        reference in any::<proptest::sample::Index>(),
    ) {
        let (sound, _) = sound();
        let mut ledger = sound.clone();
        ledger.nodes = lows
            .iter()
            .map(|(let_go, height)| {
                let mut node = sound.nodes[0].clone();
                node.blocks.truncate(*height as usize);
                node.let_go = *let_go;
                node
            })
            .collect();
        ledger.reference = reference.index(lows.len());
        let top = ledger.nodes[ledger.reference].height();
        let stretches = ledger.stretches();
        let mut next = ledger.gone().min(top);
        for stretch in &stretches {
            prop_assert_eq!(stretch.first, next + 1);
            let node = &ledger.nodes[stretch.node];
            prop_assert!(node.forgotten() < stretch.first && stretch.last <= node.height());
            next = stretch.last;
        }
        prop_assert_eq!(next, if stretches.is_empty() { ledger.gone().min(top) } else { top });
        let is_there = |height: u64| ledger.nodes.iter().any(|node| node.forgotten() < height && height <= node.height());
        prop_assert!(stretches.is_empty() || ledger.gone() == 0 || !is_there(ledger.gone()));
    }
}

#[tokio::test]
async fn a_node_that_came_late_is_read_from_where_it_began() {
    let first = Double::start(0, Mode::Forget).await;
    let late = Double::start(1, Mode::Forget).await;
    for number in 0..10 {
        first.chain.lock().unwrap().finalise(&[id(number)], Outcome::Ok, false);
        late.chain.lock().unwrap().finalise(&[id(number)], Outcome::Ok, false);
    }
    late.chain.lock().unwrap().begins_after = 6;
    let endpoints = [late.endpoint.clone(), first.endpoint.clone()];
    let ledger = collect(&rules(), &endpoints, &[], Duration::from_secs(60)).await;
    assert_eq!((ledger.target, ledger.reference, ledger.included.len()), (10, 1, 10));
    assert_eq!(ledger.nodes[0].skipped, 6);
    let heights: Vec<u64> = ledger.nodes[0].blocks.iter().map(|row| row.height).collect();
    assert_eq!(heights, [7, 8, 9, 10]);
    // Without the other, what it does not have is said to be gone.
    let ledger = collect(&rules(), &endpoints[..1], &[], Duration::from_secs(60)).await;
    assert_eq!((ledger.gone(), ledger.included.len()), (6, 4));
}

#[tokio::test]
async fn whoever_still_knows_of_a_block_that_is_gone_is_named() {
    let doubles = [
        Double::start(0, Mode::Forget).await,
        Double::start(1, Mode::Forget).await,
        Double::start(2, Mode::Forget).await,
    ];
    for double in &doubles {
        let mut chain = double.chain.lock().unwrap();
        for number in 0..4 {
            chain.finalise(&[id(number)], Outcome::Ok, false);
            chain.places.insert(id(number), number + 1);
        }
        chain.begins_after = 2;
    }
    doubles[1].chain.lock().unwrap().places.remove(&id(0));
    let row = |number| Submission {
        id: id(number),
        sent: true,
        acknowledged: true,
        finalised: true,
        target: 0,
    };
    let submitted = Submitted {
        targets: vec!["full-0".to_owned()],
        rows: vec![row(0), row(1), row(3)],
    };
    let endpoints = doubles.each_ref().map(|double| double.endpoint.clone());
    let ledger = collect(&rules(), &endpoints, &[&submitted], Duration::from_secs(60)).await;
    let found: Vec<&Found> = ledger.absent.iter().map(|absence| &absence.found).collect();
    assert_eq!(
        found,
        [&Found::Executed(1, vec![0, 2]), &Found::Executed(2, vec![0, 1, 2])]
    );
}
