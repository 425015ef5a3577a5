//! Which files of the journal go, which stay, and what a crash on the way leaves.

use super::{append_one, batch, block, consensus, hex, open, options};
use crate::store::{Journal, Options, recover::file_path};
use regatta_base::{Digest, Height};
use regatta_core::Record;
use std::{fs, path::Path};

/// Files of about two kilobytes.
fn small(dir: &Path) -> Options {
    Options {
        file_bytes: 2000,
        ..options(dir)
    }
}

fn files(dir: &Path) -> Vec<u32> {
    (1..100).filter(|number| file_path(dir, *number).exists()).collect()
}

fn digest(record: &Record) -> Digest {
    match record {
        Record::Batch { digest, .. } => *digest,
        other => panic!("{other:?}"),
    }
}

/// A batch and its block for each of `heights`, each record a group: one file a height.
fn fill(journal: &mut Journal, number: &mut u64, heights: std::ops::RangeInclusive<Height>) {
    for height in heights {
        let payload = batch(height as u8, 2000);
        for record in [payload.clone(), consensus("vote"), block(height, &[payload])] {
            *number += 1;
            append_one(journal, *number, record);
        }
    }
}

/// Prunes and waits until that is done: the writer does one thing after the other.
fn prune(journal: &mut Journal, number: &mut u64, through: Height, waiting: Vec<Digest>) {
    journal.prune(0, through, waiting);
    *number += 1;
    append_one(journal, *number, consensus("after"));
}

fn heights(records: &[Record]) -> Vec<Height> {
    let height = |record: &Record| match record {
        Record::Block { height, .. } => Some(*height),
        _ => None,
    };
    records.iter().filter_map(height).collect()
}

#[test]
fn files_of_old_blocks_go_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&small(dir.path())).unwrap();
    let mut number = 0;
    fill(&mut journal, &mut number, 1..=12);
    let before = files(dir.path());
    assert_eq!(before.first(), Some(&1));
    prune(&mut journal, &mut number, 2, Vec::new());
    assert_eq!(
        files(dir.path()),
        before,
        "statements about the next heights may be in the first one"
    );
    prune(&mut journal, &mut number, 8, Vec::new());
    let first = journal.state().borrow().first_blocks[0].1;
    assert!((4..=7).contains(&first), "{first}");
    let reader = journal.reader();
    assert_eq!(reader.load(0, first - 1).unwrap(), None);
    for height in first..=12 {
        assert!(reader.load(0, height).unwrap().is_some(), "{height}");
    }
    journal.close().unwrap();
    let (mut journal, records) = open(&small(dir.path())).unwrap();
    // The block before the first one may be there without its batch.
    let replayed = heights(&records);
    assert!([first - 1, first].contains(&replayed[0]), "{replayed:?}");
    assert_eq!(replayed.last(), Some(&12));
    assert_eq!(journal.state().borrow().first_blocks, [(0, first)]);
    let mut number = 0;
    fill(&mut journal, &mut number, 13..=20);
    prune(&mut journal, &mut number, 20, Vec::new());
    assert!(journal.reader().load(0, 20).unwrap().is_some());
    assert!(files(dir.path()).len() <= 5, "{:?}", files(dir.path()));
}

#[test]
fn a_batch_that_waits_or_that_a_later_block_has_keeps_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&small(dir.path())).unwrap();
    let mut number = 3;
    let (waits, late) = (batch(200, 100), batch(201, 100));
    append_one(&mut journal, 1, waits.clone());
    fill(&mut journal, &mut number, 1..=4);
    append_one(&mut journal, number + 1, late.clone());
    number += 1;
    fill(&mut journal, &mut number, 5..=12);
    append_one(&mut journal, number + 1, block(13, std::slice::from_ref(&late)));
    number += 1;
    let all = files(dir.path());
    prune(&mut journal, &mut number, 12, vec![digest(&waits)]);
    assert_eq!(files(dir.path())[..3], all[..3]);
    prune(&mut journal, &mut number, 12, Vec::new());
    let left = files(dir.path());
    assert!(left[0] > 1 && left[0] <= 5, "{left:?}");
    assert_eq!(journal.reader().load(0, 13).unwrap().unwrap().batches.len(), 1);
    prune(&mut journal, &mut number, 12, vec![Digest([9; 32])]);
    assert_eq!(
        files(dir.path())[0],
        left[0],
        "a batch that is nowhere keeps everything"
    );
    journal.close().unwrap();
    let (_, records) = open(&small(dir.path())).unwrap();
    assert!(records.contains(&late) && !records.contains(&waits));
}

#[test]
fn an_instance_that_is_behind_keeps_the_files_with_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&small(dir.path())).unwrap();
    let mut number = 0;
    fill(&mut journal, &mut number, 1..=6);
    let other = Record::Consensus {
        instance: 1,
        bytes: hex(vec![1]),
    };
    append_one(&mut journal, number + 1, other);
    number += 1;
    let kept = *files(dir.path()).last().unwrap();
    fill(&mut journal, &mut number, 7..=14);
    prune(&mut journal, &mut number, 14, Vec::new());
    assert_eq!(files(dir.path())[0], kept);
    journal.prune(1, 3, Vec::new());
    prune(&mut journal, &mut number, 14, Vec::new());
    assert!(files(dir.path())[0] > kept);
}

#[test]
fn proofs_of_misconduct_outlive_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&small(dir.path())).unwrap();
    let proof = Record::Evidence {
        instance: 0,
        bytes: hex(vec![5; 50]),
    };
    append_one(&mut journal, 1, proof.clone());
    let mut number = 1;
    for round in 1..4 {
        fill(&mut journal, &mut number, (round * 10 - 9)..=round * 10);
        prune(&mut journal, &mut number, round * 10, Vec::new());
    }
    assert!(files(dir.path())[0] > 20);
    journal.close().unwrap();
    let (_, records) = open(&small(dir.path())).unwrap();
    assert_eq!(records.iter().filter(|record| **record == proof).count(), 1);
}

/// Which of the two comes last depends on which file went first; the least one counts, wherever it stands.
#[test]
fn what_is_known_of_the_own_memory_outlives_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&small(dir.path())).unwrap();
    let memory = |speaks_from| Record::Memory {
        instance: 0,
        speaks_from,
    };
    append_one(&mut journal, 1, memory(Height::MAX));
    let mut number = 1;
    fill(&mut journal, &mut number, 1..=10);
    number += 1;
    append_one(&mut journal, number, memory(3));
    for round in 2..5 {
        fill(&mut journal, &mut number, (round * 10 - 9)..=round * 10);
        prune(&mut journal, &mut number, round * 10, Vec::new());
    }
    assert!(files(dir.path())[0] > 20);
    journal.close().unwrap();
    let (_, records) = open(&small(dir.path())).unwrap();
    for record in [memory(Height::MAX), memory(3)] {
        assert_eq!(records.iter().filter(|one| **one == record).count(), 1, "{record:?}");
    }
}

#[test]
fn a_crash_between_two_removals_leaves_a_journal_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&small(dir.path())).unwrap();
    let mut number = 0;
    fill(&mut journal, &mut number, 1..=9);
    journal.close().unwrap();
    let all = files(dir.path());
    for gone in 1..all.len() {
        fs::remove_file(file_path(dir.path(), all[gone - 1])).unwrap();
        let (journal, records) = open(&small(dir.path())).unwrap();
        let found = heights(&records);
        assert_eq!(found.last().copied().unwrap_or(9), 9);
        assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{found:?}");
        assert!(records.len() > 3 * found.len().saturating_sub(1));
        journal.close().unwrap();
    }
    // A file that is missing between others is damage.
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&small(dir.path())).unwrap();
    fill(&mut journal, &mut 0, 1..=9);
    journal.close().unwrap();
    fs::remove_file(file_path(dir.path(), 3)).unwrap();
    assert!(open(&small(dir.path())).is_err());
}

#[test]
fn blocks_go_on_after_a_snapshot_that_was_installed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&small(dir.path())).unwrap();
    let mut number = 0;
    fill(&mut journal, &mut number, 1..=3);
    let installed = Record::Installed {
        instance: 0,
        height: 100,
    };
    append_one(&mut journal, number + 1, installed.clone());
    number += 1;
    fill(&mut journal, &mut number, 101..=103);
    let check = |journal: &Journal| {
        let reader = journal.reader();
        for height in [3, 100, 104] {
            assert_eq!(reader.load(0, height).unwrap(), None, "{height}");
        }
        assert!((101..=103).all(|height| reader.load(0, height).unwrap().is_some()));
    };
    check(&journal);
    journal.close().unwrap();
    let (mut journal, records) = open(&small(dir.path())).unwrap();
    assert!(records.contains(&installed));
    check(&journal);
    let mut number = 0;
    prune(&mut journal, &mut number, 100, Vec::new());
    assert!(files(dir.path())[0] > 2, "what came before the snapshot is free");
    check(&journal);
}
