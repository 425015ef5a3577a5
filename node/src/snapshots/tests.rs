//! Snapshot files against crashes, damage and orders out of turn.

use super::{Keeper, Report, SnapshotFile, SnapshotFileError, SnapshotWriter, list, path};
use bytes::Bytes;
use regatta_core::SnapshotOrder;
use std::{fs, path::Path};

#[test]
fn names_tell_instance_and_height_and_others_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    assert!(list(&dir.path().join("none")).unwrap().is_empty());
    for (instance, height) in [(1, 20), (0, 300), (0, 7)] {
        fs::write(path(dir.path(), instance, height), b"x").unwrap();
    }
    fs::write(dir.path().join("notes.txt"), b"x").unwrap();
    fs::write(path(dir.path(), 0, 9).with_extension("part"), b"x").unwrap();
    let found = list(dir.path()).unwrap();
    let found: Vec<_> = found.iter().map(|(instance, height, _)| (*instance, *height)).collect();
    assert_eq!(found, [(0, 7), (0, 300), (1, 20)]);
}

#[test]
fn a_file_that_was_cut_short_anywhere_is_no_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path(), 0, 1);
    let mut writer = SnapshotWriter::begin(&path).unwrap();
    writer.append(b"chunk").unwrap();
    assert!(!path.exists(), "not before it is complete");
    writer.finish(&path, b"no manifest").unwrap();
    let whole = fs::read(&path).unwrap();
    assert!(matches!(
        SnapshotFile::open(&path),
        Err(SnapshotFileError::Refused { .. })
    ));
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let error = SnapshotFile::open(&path).unwrap_err();
        assert!(
            matches!(error, SnapshotFileError::Incomplete { .. }),
            "{length}: {error}"
        );
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert!(SnapshotFile::open(&path).is_err(), "{at}");
    }
}

fn append(height: u64, chunk: usize) -> SnapshotOrder {
    SnapshotOrder::Append {
        instance: 0,
        height,
        chunk,
        bytes: Bytes::from_static(b"chunk"),
    }
}

fn finish(height: u64) -> SnapshotOrder {
    SnapshotOrder::Finish {
        instance: 0,
        height,
        manifest: Bytes::from_static(b"manifest"),
    }
}

async fn written(keeper: &Keeper, reports: &mut tokio::sync::mpsc::Receiver<Report>, height: u64) -> bool {
    assert!(keeper.order(finish(height)).is_none());
    match reports.recv().await.unwrap() {
        Report::Written { height: found, ok, .. } if found == height => ok,
        other => panic!("{other:?}"),
    }
}

fn exists(dir: &Path, height: u64) -> bool {
    path(dir, 0, height).exists()
}

#[tokio::test]
async fn a_snapshot_that_misses_a_chunk_is_never_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (keeper, mut reports) = Keeper::start(dir.path()).unwrap();
    for chunk in [0, 1, 3] {
        keeper.order(append(5, chunk));
    }
    assert!(!written(&keeper, &mut reports, 5).await && !exists(dir.path(), 5));
    assert!(!written(&keeper, &mut reports, 6).await, "nothing was begun");
    keeper.order(append(7, 0));
    keeper.order(append(7, 1));
    assert!(written(&keeper, &mut reports, 7).await && exists(dir.path(), 7));
    // One that begins anew forgets what was written before.
    keeper.order(append(8, 0));
    keeper.order(append(8, 0));
    assert!(written(&keeper, &mut reports, 8).await);
    let length = |height| fs::metadata(path(dir.path(), 0, height)).unwrap().len();
    assert_eq!(length(8) + 5, length(7));
    keeper.order(SnapshotOrder::Remove { instance: 0, height: 7 });
    assert!(!written(&keeper, &mut reports, 9).await);
    assert!(!exists(dir.path(), 7) && exists(dir.path(), 8));
}

#[tokio::test]
async fn a_chunk_of_a_file_that_is_gone_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (keeper, mut reports) = Keeper::start(dir.path()).unwrap();
    let load = SnapshotOrder::Load {
        request: 9,
        instance: 0,
        height: 3,
        chunk: 0,
    };
    keeper.order(load);
    let report = reports.recv().await.unwrap();
    assert!(matches!(report, Report::Chunk(9, None)), "{report:?}");
}
