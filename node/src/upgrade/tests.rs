//! A folder of releases: what it takes, what it refuses, and what a restart finds.

use super::{Depot, UpgradeError};
use bytes::Bytes;
use regatta_api::{
    NodeConfig,
    config::{
        InstanceConfig, MempoolConfig, SnapshotConfig, StoreConfig, UpgradeConfig, ValidatorConfig, VoteTopology,
    },
};
use regatta_base::{Digest, SecretKey};
use regatta_seal::{Activation, Built, CHUNK_BYTES, Document, Release, Sealed, Store};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

struct Fixture {
    folder: tempfile::TempDir,
    key: SecretKey,
    store: Store,
}

/// A program of three pieces that says what it is, as far as its ending is asked for.
fn program(name: &str, status: u8) -> Vec<u8> {
    let mut text = format!("#!/bin/sh\n# {name}\nexit {status}\n");
    text.push_str(&"#".repeat(2 * CHUNK_BYTES as usize));
    text.into_bytes()
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("lab")).unwrap();
        let key = store.development_key().unwrap();
        Self { folder, key, store }
    }

    fn config(&self) -> NodeConfig {
        let validators = vec![ValidatorConfig {
            key: self.key.public(),
            weight: 1,
        }];
        NodeConfig {
            chain: "test".parse().unwrap(),
            name: "n1".to_owned(),
            key_file: "key.pem".to_owned(),
            data_dir: "data".to_owned(),
            ip: "127.0.0.1".parse().unwrap(),
            p2p_port: 7000,
            http_port: 7001,
            relay_votes: true,
            mempool: MempoolConfig::default(),
            store: StoreConfig::default(),
            upgrade: UpgradeConfig {
                trusted_keys: vec![self.key.public()],
                disk_bytes_max: 4 * 1024 * 1024,
                ..UpgradeConfig::default()
            },
            testing: Default::default(),
            instances: vec![InstanceConfig {
                id: "main".parse().unwrap(),
                block_interval_ms: 10,
                empty_blocks: false,
                round_timeout_ms: 500,
                round_timeout_ms_max: 1000,
                silent_heights: 1,
                batch_bytes: 1000,
                batch_delay_ms: 1,
                vote_topology: VoteTopology::Relay,
                snapshots: SnapshotConfig::default(),
                validators,
            }],
            peers: Vec::new(),
        }
    }

    fn open(&self) -> Depot {
        self.open_with(&self.config())
    }

    fn open_with(&self, config: &NodeConfig) -> Depot {
        Depot::open(&self.releases(), config, Digest::ZERO).unwrap()
    }

    fn releases(&self) -> PathBuf {
        self.folder.path().join("releases")
    }

    fn sealed(&self, body: &[u8]) -> Sealed {
        let executable = self.folder.path().join("regatta-node");
        fs::write(&executable, body).unwrap();
        let built = Built {
            executable,
            version: "0.2.0".to_owned(),
            commit: "c0ffee".to_owned(),
            dirty: false,
            lock: Digest::ZERO,
            rustc: "rustc 1".to_owned(),
            target: format!("{}-unknown-{}-gnu", std::env::consts::ARCH, std::env::consts::OS),
            profile: "release".to_owned(),
            byzantine: false,
        };
        self.store.seal(&built, &self.key).unwrap()
    }

    fn document(&self, number: u64, body: &[u8]) -> Bytes {
        let sealed = self.sealed(body);
        let activation = Activation {
            chain: "test".parse().unwrap(),
            number,
            instance: "main".parse().unwrap(),
            activate_at: 100,
            batch_blocks: 10,
            allow_rollback_to: None,
        };
        let release = Release::of(&sealed, activation).unwrap();
        release.sign(&sealed.bundle, &self.key).encode().into()
    }

    /// A folder that holds the whole program of release 1.
    fn complete(&self, body: &[u8]) -> (Depot, PathBuf) {
        let mut depot = self.open();
        assert!(depot.offer(&self.document(1, body)).unwrap());
        let artifact = Digest::of_bytes(body);
        for (chunk, piece) in pieces(body) {
            depot.store(artifact, chunk, piece).unwrap();
        }
        depot.complete().unwrap();
        (depot, self.releases().join(artifact.to_string()).join("regatta-node"))
    }
}

fn pieces(body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (0_u32..).zip(body.chunks(CHUNK_BYTES as usize))
}

#[test]
fn a_program_arrives_in_pieces_and_a_restart_asks_only_for_the_others() {
    let fixture = Fixture::new();
    let body = program("good", 0);
    let artifact = Digest::of_bytes(&body);
    let mut depot = fixture.open();
    let document = fixture.document(1, &body);
    assert!(depot.offer(&document).unwrap());
    assert!(!depot.offer(&document).unwrap(), "the same one again is no news");
    assert_eq!(depot.taken().unwrap().missing, [0, 1, 2]);
    let all: Vec<_> = pieces(&body).collect();
    assert!(!depot.store(artifact, 2, all[2].1).unwrap());
    assert_eq!(depot.load(artifact, 2).unwrap().unwrap(), all[2].1);
    assert_eq!(depot.load(artifact, 0).unwrap(), None);
    drop(depot);
    let mut depot = fixture.open();
    assert_eq!(depot.taken().unwrap().missing, [0, 1]);
    assert!(!depot.store(artifact, 0, all[0].1).unwrap());
    assert!(depot.store(artifact, 1, all[1].1).unwrap());
    depot.complete().unwrap();
    drop(depot);
    let depot = fixture.open();
    let (facts, held) = depot.known().unwrap();
    assert!(!facts.settled && held == [true; 3]);
    let (verified, sequence) = depot.verify(1).unwrap();
    assert_eq!((verified.digest(), sequence), (artifact, 1));
    let mode = fs::metadata(fixture.releases().join(artifact.to_string()).join("regatta-node")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o555);
    assert_eq!(depot.load(artifact, 1).unwrap().unwrap(), all[1].1);
}

#[test]
fn a_torn_piece_is_missing_after_a_crash() {
    let fixture = Fixture::new();
    let body = program("good", 0);
    let artifact = Digest::of_bytes(&body);
    let mut depot = fixture.open();
    depot.offer(&fixture.document(1, &body)).unwrap();
    let all: Vec<_> = pieces(&body).collect();
    depot.store(artifact, 0, all[0].1).unwrap();
    depot.store(artifact, 1, all[1].1).unwrap();
    drop(depot);
    let part = fixture.releases().join("parts").join(format!("{artifact}.part"));
    let file = fs::File::options().write(true).open(part).unwrap();
    file.set_len(u64::from(CHUNK_BYTES) + 100).unwrap();
    assert_eq!(fixture.open().taken().unwrap().missing, [1, 2]);
}

#[test]
fn pieces_that_nobody_signed_are_refused() {
    let fixture = Fixture::new();
    let body = program("good", 0);
    let artifact = Digest::of_bytes(&body);
    let mut depot = fixture.open();
    let first = &body[..CHUNK_BYTES as usize];
    let unknown = depot.store(artifact, 0, first);
    assert!(matches!(unknown, Err(UpgradeError::UnknownProgram(_))), "{unknown:?}");
    depot.offer(&fixture.document(1, &body)).unwrap();
    let mut flipped = first.to_vec();
    flipped[7] ^= 1;
    for (chunk, bytes) in [
        (0, flipped.as_slice()),
        (1, first),
        (3, first),
        (u32::MAX, first),
        (0, &[]),
    ] {
        let refused = depot.store(artifact, chunk, bytes);
        assert!(
            matches!(refused, Err(UpgradeError::BadPiece { .. })),
            "{chunk}: {refused:?}"
        );
    }
    assert_eq!(depot.taken().unwrap().missing, [0, 1, 2]);
}

#[test]
fn a_program_that_does_not_run_here_is_kept_and_never_switched_to() {
    let fixture = Fixture::new();
    let body = program("bad", 3);
    let mut depot = fixture.open();
    depot.offer(&fixture.document(1, &body)).unwrap();
    for (chunk, piece) in pieces(&body) {
        depot.store(Digest::of_bytes(&body), chunk, piece).unwrap();
    }
    let unfit = depot.complete().unwrap_err();
    assert!(unfit.to_string().contains("exit status: 3"), "{unfit}");
    depot.change(|state| state.fail(1, "unfit")).unwrap();
    drop(depot);
    let (facts, held) = fixture.open().known().unwrap();
    assert!(facts.settled, "but others may have it");
    assert_eq!(held, [true; 3]);
}

#[test]
fn whatever_happens_to_an_installed_program_it_is_not_started_then() {
    let body = program("good", 0);
    let alter = |path: &PathBuf, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    };
    type Damage<'a> = (&'a str, Box<dyn Fn(&PathBuf) + 'a>);
    let elsewhere = |path: &PathBuf| path.with_file_name("elsewhere");
    let table: [Damage<'_>; 5] = [
        ("instead of", Box::new(|path| alter(path, &|bytes| bytes[99] ^= 1))),
        ("more than", Box::new(|path| alter(path, &|bytes| bytes.push(0)))),
        ("missing", Box::new(|path| fs::remove_file(path).unwrap())),
        (
            "mode",
            Box::new(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap()),
        ),
        (
            "symbolic link",
            Box::new(|path| {
                fs::rename(path, elsewhere(path)).unwrap();
                symlink(elsewhere(path), path).unwrap();
            }),
        ),
    ];
    for (reason, damage) in table {
        let fixture = Fixture::new();
        let (depot, path) = fixture.complete(&body);
        assert!(depot.verify(1).is_ok());
        damage(&path);
        let refused = depot.verify(1).unwrap_err().to_string();
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
}

#[test]
fn a_store_has_its_limit_and_lets_go_of_what_nobody_needs() {
    let fixture = Fixture::new();
    let (mut depot, first) = fixture.complete(&program("first", 0));
    assert!(first.exists());
    let second = program("second", 0);
    depot.offer(&fixture.document(2, &second)).unwrap();
    assert!(!first.exists(), "it was never proven");
    let mut config = fixture.config();
    config.upgrade.disk_bytes_max = 100_000;
    drop(depot);
    let mut depot = fixture.open_with(&config);
    let refused = depot
        .offer(&fixture.document(3, &program("third", 0)))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("at most 100000 are allowed"), "{refused}");
}

#[test]
fn a_folder_is_used_by_one_process_and_what_was_accepted_stays_accepted() {
    let fixture = Fixture::new();
    let (depot, _) = fixture.complete(&program("first", 0));
    let second = Depot::open(&fixture.releases(), &fixture.config(), Digest::ZERO);
    assert!(matches!(second, Err(UpgradeError::Locked(_))));
    drop(depot);
    let mut depot = fixture.open();
    let mut other = Document::decode(&fixture.document(1, &program("other", 0))).unwrap();
    let refused = depot.offer(&other.encode().into()).unwrap_err().to_string();
    assert!(refused.contains("two releases have number 1"), "{refused}");
    other.signatures.clear();
    let refused = depot.offer(&other.encode().into()).unwrap_err().to_string();
    assert!(refused.contains("0 valid signatures"), "{refused}");
    assert_eq!(depot.state().history.number, 1);
}
