//! The journal against crashes at every byte, damage, limits and a second owner.

mod pruning;
mod stalls;

use super::{
    Journal, JournalState, Options, StoreError,
    recover::file_path,
    segment::{FILE_HEADER, RECORD_HEADER, Tail, judge_tail, push_record, read_record},
};
use crate::meter::Meter;
use bytes::Bytes;
use proptest::prelude::*;
use regatta_api::testing::NodeFaults;
use regatta_base::{Digest, HexBytes};
use regatta_core::{BlockResult, Record};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

fn options(dir: &Path) -> Options {
    Options {
        dir: dir.to_owned(),
        durable: false,
        disk_bytes_max: 1 << 30,
        file_bytes: 64 << 20,
        trouble: Arc::default(),
    }
}

fn hex(bytes: Vec<u8>) -> HexBytes {
    HexBytes::from(bytes)
}

fn batch(seed: u8, length: usize) -> Record {
    let bytes = vec![seed; length];
    Record::Batch {
        instance: 0,
        digest: Digest::of_bytes(&bytes),
        bytes: hex(bytes),
    }
}

fn block(height: u64, batches: &[Record]) -> Record {
    let digest = |record: &Record| match record {
        Record::Batch { digest, .. } => *digest,
        _ => Digest::ZERO,
    };
    Record::Block {
        instance: 0,
        height,
        header: hex(vec![1, height as u8]),
        certificate: hex(vec![2, height as u8]),
        batches: batches.iter().map(digest).collect(),
        result: BlockResult {
            state_root: Digest::ZERO,
            transactions: 0,
            bytes: 0,
            failed: Vec::new(),
        },
    }
}

fn consensus(text: &str) -> Record {
    Record::Consensus {
        instance: 0,
        bytes: hex(text.as_bytes().to_vec()),
    }
}

fn open(options: &Options) -> Result<(Journal, Vec<Record>), StoreError> {
    let mut records = Vec::new();
    let journal = Journal::open(options, Arc::new(Meter::default()), |record| {
        records.push(record);
        Ok(())
    })?;
    Ok((journal, records))
}

/// A new journal with what it counts.
fn open_with(options: &Options) -> (Journal, Arc<Meter>) {
    let meter = Arc::new(Meter::default());
    let journal = Journal::open(options, Arc::clone(&meter), |_| Ok(())).unwrap();
    (journal, meter)
}

/// Appends one record in a group of its own.
fn append_one(journal: &mut Journal, number: u64, record: Record) {
    journal.append(number, record);
    wait_durable(journal, number);
}

fn wait_durable(journal: &mut Journal, number: u64) {
    journal.write();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut state = journal.state();
    let state = runtime.block_on(state.wait_for(|state| state.durable >= number || state.failed.is_some()));
    assert!(state.unwrap().failed.is_none());
}

/// A closed journal of one file with these records, each a group.
fn written(records: &[Record]) -> (TempDir, PathBuf, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let path = file_path(dir.path(), 1);
    let (mut journal, _) = open(&options(dir.path())).unwrap();
    let mut ends = vec![fs::metadata(&path).unwrap().len()];
    for (position, record) in records.iter().enumerate() {
        append_one(&mut journal, position as u64 + 1, record.clone());
        ends.push(fs::metadata(&path).unwrap().len());
    }
    journal.close().unwrap();
    (dir, path, ends)
}

fn sample() -> Vec<Record> {
    let first = batch(7, 300);
    vec![
        consensus("vote"),
        first.clone(),
        block(1, &[first]),
        batch(8, 20),
        consensus("last"),
    ]
}

#[test]
fn records_come_back_in_order_and_blocks_with_their_batches() {
    let (dir, _, _) = written(&sample());
    let (mut journal, records) = open(&options(dir.path())).unwrap();
    assert_eq!(records, sample());
    let stored = journal.reader().load(0, 1).unwrap().unwrap();
    assert_eq!(
        (stored.header, stored.certificate),
        (Bytes::from(vec![1, 1]), Bytes::from(vec![2, 1]))
    );
    assert_eq!(stored.batches, [Bytes::from(vec![7; 300])]);
    assert_eq!(journal.reader().load(0, 2).unwrap(), None);
    assert_eq!(journal.reader().load(1, 1).unwrap(), None);
    append_one(&mut journal, 1, block(2, &[batch(8, 20)]));
    assert_eq!(
        journal.reader().load(0, 2).unwrap().unwrap().batches,
        [Bytes::from(vec![8; 20])]
    );
}

#[test]
fn a_block_whose_batch_is_missing_is_not_served() {
    let (dir, _, _) = written(&[block(1, &[batch(9, 9)])]);
    let (journal, records) = open(&options(dir.path())).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(journal.reader().load(0, 1).unwrap(), None);
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_the_last_record() {
    let (dir, path, ends) = written(&sample());
    let whole = fs::read(&path).unwrap();
    let (start, end) = (ends[4] as usize, ends[5] as usize);
    for cut in start..end {
        for zeros in [0, 4096] {
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            fs::write(&path, bytes).unwrap();
            let (mut journal, records) = open(&options(dir.path())).unwrap();
            assert_eq!(records, sample()[..4], "cut at {cut}, {zeros} zeros");
            append_one(&mut journal, 1, consensus("again"));
            drop(journal);
            let (_, records) = open(&options(dir.path())).unwrap();
            assert_eq!(records[4..], [consensus("again")], "cut at {cut}, {zeros} zeros");
        }
    }
}

#[test]
fn a_group_of_which_only_the_later_pages_reached_the_device_is_torn_and_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&options(dir.path())).unwrap();
    append_one(&mut journal, 1, consensus("kept"));
    drop(journal);
    let path = file_path(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let group = bytes.len() as u32;
    push_record(&mut bytes, group, |buffer| buffer.extend_from_slice(&[1; 50]));
    push_record(&mut bytes, group, |buffer| buffer.extend_from_slice(&[2; 50]));
    bytes[group as usize..group as usize + 40].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (_, records) = open(&options(dir.path())).unwrap();
    assert_eq!(records, [consensus("kept")]);
}

#[test]
fn a_flipped_bit_before_the_last_record_is_an_error_that_names_file_and_offset() {
    let (dir, path, ends) = written(&sample());
    let whole = fs::read(&path).unwrap();
    for byte in 0..ends[4] as usize {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        fs::write(&path, bytes).unwrap();
        let error = open(&options(dir.path())).unwrap_err();
        let StoreError::Corrupt {
            path: named, offset, ..
        } = &error
        else {
            panic!("byte {byte}: {error}");
        };
        assert_eq!(named, &path);
        let inside = *offset as usize <= byte.max(20) && byte < *offset as usize + 400;
        assert!(inside, "byte {byte}: {error}");
        assert!(error.to_string().contains("help: "), "{error}");
    }
}

#[test]
fn damage_in_a_file_that_another_follows_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&options(dir.path())).unwrap();
    for number in 1..=66 {
        append_one(&mut journal, number, batch(number as u8, 1024 * 1024));
    }
    drop(journal);
    let (_, records) = open(&options(dir.path())).unwrap();
    assert_eq!(records.len(), 66);
    let path = file_path(dir.path(), 1);
    assert!(file_path(dir.path(), 2).exists());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert!(matches!(open(&options(dir.path())), Err(StoreError::Corrupt { .. })));
    let last_record = whole.len() - (whole.len() - FILE_HEADER) / 64;
    fs::write(&path, &whole[..last_record]).unwrap();
    assert!(matches!(open(&options(dir.path())), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_file_that_got_no_header_is_made_anew() {
    let (dir, _, _) = written(&sample());
    for length in [0, 5, FILE_HEADER] {
        fs::write(file_path(dir.path(), 2), vec![0; length]).unwrap();
        let (_, records) = open(&options(dir.path())).unwrap();
        assert_eq!(records, sample());
    }
    fs::write(file_path(dir.path(), 2), vec![0; FILE_HEADER + 1]).unwrap();
    assert!(matches!(
        open(&options(dir.path())),
        Err(StoreError::Corrupt { offset: 0, .. })
    ));
}

#[test]
fn zeros_written_ahead_are_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let durable = Options {
        durable: true,
        ..options(dir.path())
    };
    for round in 0..3 {
        let (mut journal, records) = open(&durable).unwrap();
        assert_eq!(records.len(), round);
        append_one(&mut journal, 1, consensus("vote"));
    }
    assert!(fs::metadata(file_path(dir.path(), 1)).unwrap().len() > 32 * 1024);
}

#[test]
fn the_quota_is_reported_when_it_is_reached_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options {
        disk_bytes_max: 2000,
        ..options(dir.path())
    };
    let (mut journal, _) = open(&small).unwrap();
    append_one(&mut journal, 1, batch(1, 500));
    assert!(!journal.state().borrow().full);
    append_one(&mut journal, 2, batch(2, 1500));
    append_one(&mut journal, 3, consensus("votes go on"));
    assert!(journal.state().borrow().full);
    drop(journal);
    let (mut journal, records) = open(&small).unwrap();
    assert_eq!(records.len(), 3);
    append_one(&mut journal, 1, consensus("and on"));
    assert!(journal.state().borrow().full);
}

#[test]
fn a_second_owner_is_told_who_is_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = open(&options(dir.path())).unwrap();
    let error = open(&options(dir.path())).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
}

#[test]
fn a_failing_device_stops_the_journal_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(&options(dir.path())).unwrap();
    // The next file cannot be made: its name is taken by a folder.
    fs::create_dir(file_path(dir.path(), 2)).unwrap();
    for number in 1..=65 {
        journal.append(number, batch(number as u8, 1024 * 1024));
    }
    let error = journal.close().unwrap_err();
    assert!(error.to_string().contains("journal-00000002.log"), "{error}");
}

#[test]
fn a_record_that_the_node_refuses_ends_the_start() {
    let (dir, _, ends) = written(&sample());
    let refuse = |record| match record {
        Record::Block { .. } => Err("another chain".to_owned()),
        _ => Ok(()),
    };
    let error = Journal::open(&options(dir.path()), Arc::new(Meter::default()), refuse).unwrap_err();
    let StoreError::Replay { offset, reason, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((offset, reason.as_str()), (ends[2], "another chain"));
}

#[test]
fn a_gap_between_blocks_stops_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&options(dir.path())).unwrap();
    append_one(&mut journal, 1, block(1, &[]));
    journal.append(2, block(3, &[]));
    assert!(journal.close().is_err());
}

/// Payloads as one file of groups, with the position of each record.
fn layout(payloads: &[(Vec<u8>, bool)]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts, mut group) = (Vec::new(), Vec::new(), 0);
    for (payload, new_group) in payloads {
        if *new_group {
            group = bytes.len() as u32;
        }
        starts.push(push_record(&mut bytes, group, |buffer| {
            buffer.extend_from_slice(payload);
        }));
    }
    (bytes, starts)
}

fn scan(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut reader, mut payload, mut found) = (bytes, Vec::new(), Vec::new());
    while read_record(&mut reader, &mut payload).unwrap().is_some() {
        found.push(payload.clone());
    }
    found
}

fn payloads() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 1..12)
}

proptest! {
    #[test]
    fn what_is_written_is_read(payloads in payloads()) {
        let (bytes, _) = layout(&payloads);
        let expected: Vec<Vec<u8>> = payloads.into_iter().map(|(payload, _)| payload).collect();
        prop_assert_eq!(scan(&bytes), expected);
    }

    #[test]
    fn random_bytes_are_no_records_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(scan(&bytes).is_empty());
        prop_assert_ne!(judge_tail(&bytes, 0), Tail::Damaged(0));
    }

    #[test]
    fn damage_is_told_from_a_torn_tail_by_what_follows(payloads in payloads(), pick in any::<prop::sample::Index>()) {
        let (mut bytes, starts) = layout(&payloads);
        let victim = pick.index(starts.len());
        bytes[starts[victim] + RECORD_HEADER - 1] ^= 1;
        prop_assert_eq!(scan(&bytes).len(), victim);
        let later_group = payloads.iter().skip(victim + 1).any(|(_, new_group)| *new_group);
        let tail = judge_tail(&bytes[starts[victim]..], starts[victim] as u64);
        prop_assert_eq!(matches!(tail, Tail::Damaged(_)), later_group, "{:?}", tail);
    }
}

#[test]
fn a_missing_or_foreign_file_is_named() {
    let (dir, path, _) = written(&sample());
    fs::rename(&path, file_path(dir.path(), 2)).unwrap();
    let error = open(&options(dir.path())).unwrap_err();
    assert!(
        matches!(error, StoreError::Corrupt { offset: 0, .. }) && error.to_string().contains("00000002"),
        "{error}"
    );
    fs::copy(file_path(dir.path(), 2), &path).unwrap();
    let error = open(&options(dir.path())).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { offset: 0, .. }) && error.to_string().contains("00000002"));
}

#[test]
fn a_block_that_was_damaged_after_the_start_is_an_error_and_not_a_panic() {
    let (dir, path, ends) = written(&sample());
    let (journal, _) = open(&options(dir.path())).unwrap();
    let whole = fs::read(&path).unwrap();
    for record in [1, 2] {
        let mut bytes = whole.clone();
        bytes[ends[record] as usize + 30] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = journal.reader().load(0, 1).unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { offset, .. } if offset == ends[record]),
            "{error}"
        );
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(journal.reader().load(0, 1), Err(StoreError::Io { .. })));
}

#[test]
fn a_record_beyond_the_format_is_refused_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&options(dir.path())).unwrap();
    append_one(&mut journal, 1, consensus("fine"));
    journal.append(2, batch(1, 3 * 1024 * 1024));
    assert!(
        journal
            .close()
            .unwrap_err()
            .to_string()
            .contains("longer than the format")
    );
    let (_, records) = open(&options(dir.path())).unwrap();
    assert_eq!(records, [consensus("fine")]);
}

#[test]
fn what_waits_for_the_writer_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&options(dir.path())).unwrap();
    for number in 1..=20 {
        journal.append(number, batch(number as u8, 100_000));
    }
    wait_durable(&mut journal, 20);
    assert_eq!(journal.backlog_bytes(), 0);
    journal.close().unwrap();
    assert_eq!(open(&options(dir.path())).unwrap().1.len(), 20);
}

/// One thing that happens to a journal.
#[derive(Debug, Clone)]
enum Step {
    /// Records are appended, in as many groups as the writer likes.
    Append(Vec<usize>),
    /// It is closed and opened again.
    Reopen,
    /// The process dies in a write: so many bytes of garbage follow the last record.
    Torn(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::collection::vec(0..5000usize, 1..8).prop_map(Step::Append),
        Just(Step::Reopen),
        proptest::collection::vec(any::<u8>(), 1..100).prop_map(Step::Torn),
    ];
    proptest::collection::vec(step, 1..8)
}

fn tear(path: &Path, garbage: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes.extend_from_slice(garbage);
    fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_the_durable_records_come_back(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        let (mut journal, _) = open(&options(dir.path())).unwrap();
        let mut number = 0;
        for step in steps {
            if let Step::Append(lengths) = &step {
                for length in lengths {
                    number += 1;
                    let record = batch(*length as u8, *length);
                    expected.push(record.clone());
                    journal.append(number, record);
                }
                wait_durable(&mut journal, number);
                continue;
            }
            journal.close().unwrap();
            if let Step::Torn(garbage) = &step {
                tear(&file_path(dir.path(), 1), garbage);
            }
            let (again, records) = open(&options(dir.path())).unwrap();
            prop_assert_eq!(&records, &expected);
            (journal, number) = (again, 0);
        }
    }
}

#[test]
fn records_wait_for_room_on_a_full_device_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    // Only a durable journal has a thread of its own, which may wait.
    let options = Options {
        durable: true,
        ..options(dir.path())
    };
    let full = NodeFaults {
        disk_full: true,
        ..NodeFaults::default()
    };
    let (journal, _) = open(&options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let until = |journal: &Journal, wanted: fn(&JournalState) -> bool| {
        runtime.block_on(journal.state().wait_for(wanted)).unwrap().durable
    };
    options.trouble.set(&full);
    journal.append(1, consensus("one"));
    assert_eq!(until(&journal, |state| state.full), 0, "nothing counts as durable");
    journal.append(2, consensus("two"));
    options.trouble.set(&NodeFaults::default());
    until(&journal, |state| state.durable == 2 && !state.full);
    // A node that is stopped while there is no room does not wait for it, and says why.
    options.trouble.set(&full);
    journal.append(3, consensus("three"));
    until(&journal, |state| state.full);
    let error = journal.close().unwrap_err().to_string();
    assert!(error.contains("free space on that device"), "{error}");
    options.trouble.set(&NodeFaults::default());
    let (_, found) = open(&options).unwrap();
    assert_eq!(found, [consensus("one"), consensus("two")]);
}
