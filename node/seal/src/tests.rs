//! Bad bundles: each check of the verifier is shown to bite.

use super::{
    verify::{Policy, VerifiedProgram},
    *,
};
use regatta_base::{SecretKey, encode};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const BODY: &[u8] = b"#!/bin/sh\nexit 0\n";

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
    key: SecretKey,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let key = store.development_key().unwrap();
        Self { folder, store, key }
    }

    fn built(&self, body: &[u8]) -> Built {
        let executable = self.folder.path().join("regatta-node");
        fs::write(&executable, body).unwrap();
        Built {
            executable,
            version: "0.1.0".to_owned(),
            commit: "c0ffee".to_owned(),
            dirty: false,
            lock: Digest::of_bytes(b"lock"),
            rustc: "rustc 1".to_owned(),
            target: format!("{}-unknown-{}-gnu", std::env::consts::ARCH, std::env::consts::OS),
            profile: "release".to_owned(),
            byzantine: false,
        }
    }

    fn sealed(&self) -> Sealed {
        self.store.seal(&self.built(BODY), &self.key).unwrap()
    }

    /// The same build with a manifest changed by `change` and signed again, as a careless signer would.
    fn resigned(&self, change: impl FnOnce(&mut Manifest)) -> Sealed {
        let mut sealed = self.sealed();
        change(&mut sealed.manifest);
        sealed.bundle = Bundle::sign(&sealed.manifest, &self.key);
        sealed
    }

    fn program(&self, sealed: &Sealed) -> PathBuf {
        let folder = self
            .folder
            .path()
            .join("store")
            .join(sealed.program_digest().to_string());
        folder.join("regatta-node")
    }

    fn policy(&self) -> Policy {
        Policy {
            pinned: vec![self.key.public()],
            threshold: 1,
            now: unix_seconds(),
            sequence_min: 0,
            purpose: Purpose::HONEST,
        }
    }
}

/// Rewrites a program in the store as somebody with enough rights would.
fn alter(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
}

fn refusal(sealed: &Sealed) -> SealError {
    sealed.verify(Purpose::HONEST).map(|_| ()).unwrap_err()
}

#[test]
fn a_sealed_program_verifies_and_its_descriptor_runs() {
    let fixture = Fixture::new();
    let program = fixture.sealed().verify(Purpose::HONEST).unwrap();
    assert_eq!(program.digest(), Digest::of_bytes(BODY));
    assert_eq!(fs::read(program.path()).unwrap(), BODY);
}

#[test]
fn the_opened_descriptor_outlives_a_swapped_name() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    let program = sealed.verify(Purpose::HONEST).unwrap();
    let path = fixture.program(&sealed);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"something else").unwrap();
    assert_eq!(fs::read(program.path()).unwrap(), BODY);
}

#[test]
fn sealing_twice_uses_the_same_manifest_and_a_change_gets_a_new_sequence() {
    let fixture = Fixture::new();
    let first = fixture.sealed();
    assert_eq!(fixture.sealed(), first);
    let other = fixture
        .store
        .seal(&fixture.built(b"#!/bin/sh\nexit 1\n"), &fixture.key)
        .unwrap();
    assert_eq!(other.manifest.sequence, first.manifest.sequence + 1);
    assert_eq!(other.manifest.previous, Some(first.bundle.digest()));
}

#[test]
fn every_flipped_bit_of_an_artifact_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    for bit in 0..BODY.len() * 8 {
        alter(&fixture.program(&sealed), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let error = refusal(&sealed);
        assert!(matches!(error, SealError::Altered { .. }), "bit {bit}: {error}");
        alter(&fixture.program(&sealed), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
    assert!(sealed.verify(Purpose::HONEST).is_ok());
}

#[test]
fn every_flipped_bit_of_a_manifest_or_signature_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    for bit in 0..sealed.bundle.manifest.len() * 8 {
        let mut bad = sealed.clone();
        bad.bundle.manifest[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(refusal(&bad), SealError::Unsigned { .. }), "bit {bit}");
    }
    for bit in 0..512 {
        let mut bad = sealed.clone();
        bad.bundle.signatures[0].1.0[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(refusal(&bad), SealError::Unsigned { .. }), "bit {bit}");
    }
}

#[test]
fn a_key_that_the_bundle_brings_along_does_not_count() {
    let fixture = Fixture::new();
    let mut sealed = fixture.sealed();
    sealed.bundle = Bundle::sign(&sealed.manifest, &SecretKey::from_seed([9; 32]));
    assert!(matches!(
        refusal(&sealed),
        SealError::Unsigned {
            valid: 0,
            needed: 1,
            ..
        }
    ));
}

#[test]
fn one_signature_given_twice_does_not_meet_a_threshold_of_two() {
    let fixture = Fixture::new();
    let mut sealed = fixture.resigned(|manifest| manifest.threshold = 2);
    sealed.bundle.signatures.push(sealed.bundle.signatures[0]);
    assert!(matches!(
        refusal(&sealed),
        SealError::Unsigned {
            valid: 1,
            needed: 2,
            ..
        }
    ));
}

#[test]
fn an_expired_build_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.resigned(|manifest| manifest.expires = unix_seconds() - 5);
    assert!(matches!(refusal(&sealed), SealError::Expired { .. }));
}

#[test]
fn a_sequence_below_the_least_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    let policy = Policy {
        sequence_min: sealed.manifest.sequence + 1,
        ..fixture.policy()
    };
    assert!(matches!(
        policy.check(&sealed.bundle),
        Err(SealError::OldSequence { got: 1, least: 2 })
    ));
}

#[test]
fn a_build_that_misbehaves_runs_only_here_and_only_where_it_is_asked_for() {
    let fixture = Fixture::new();
    let built = Built {
        byzantine: true,
        ..fixture.built(BODY)
    };
    let sealed = fixture.store.seal(&built, &fixture.key).unwrap();
    assert!(sealed.manifest.byzantine, "the manifest says so");
    let asked = |here| Purpose { here, byzantine: true };
    assert!(sealed.verify(asked(true)).is_ok());
    let refused = |purpose| sealed.verify(purpose).map(|_| ()).unwrap_err();
    let away = refused(asked(false));
    assert!(matches!(away, SealError::ByzantineAway { .. }), "{away}");
    let unasked = refused(Purpose::HONEST);
    assert!(matches!(unasked, SealError::ByzantineUnasked { .. }), "{unasked}");
    for error in [away, unasked] {
        assert!(error.to_string().contains("help: "), "{error}");
    }
    // The same bytes sealed as an honest build are another manifest, and it is found again as what it is.
    let honest = fixture.sealed();
    assert!(!honest.manifest.byzantine && honest.verify(Purpose::HONEST).is_ok());
    assert_eq!(fixture.store.seal(&built, &fixture.key).unwrap(), sealed);
}

#[test]
fn manifests_of_honest_builds_are_as_they_always_were() {
    let manifest = Fixture::new().sealed().manifest;
    let fields = encode(&manifest);
    assert_eq!(fields[..3], [0xdc, 0, 16], "an array of sixteen fields");
    assert_eq!(regatta_base::decode::<Manifest>(&fields, fields.len()), Ok(manifest));
}

#[test]
fn two_manifests_with_one_sequence_are_refused() {
    let fixture = Fixture::new();
    let other = fixture.resigned(|manifest| manifest.version = "9.9.9".to_owned());
    let result = fixture.store.accept(&other.bundle, &other.manifest);
    assert!(matches!(result, Err(SealError::SequenceTwice(1))));
}

#[test]
fn a_program_for_another_machine_is_refused() {
    let fixture = Fixture::new();
    for target in ["riscv64gc-unknown-none-elf", "", "x86_64-pc-windows-msvc"] {
        let sealed = fixture.resigned(|manifest| manifest.artifacts[0].target = target.to_owned());
        assert!(matches!(refusal(&sealed), SealError::WrongTarget { .. }), "{target}");
    }
}

#[test]
fn an_artifact_larger_or_smaller_than_stated_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    alter(&fixture.program(&sealed), |bytes| bytes.push(0));
    assert!(refusal(&sealed).to_string().contains("more than"));
    alter(&fixture.program(&sealed), |bytes| bytes.truncate(3));
    assert!(refusal(&sealed).to_string().contains("3 bytes instead of"));
}

#[test]
fn a_missing_artifact_is_refused_on_disk_and_in_the_manifest() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    fs::remove_file(fixture.program(&sealed)).unwrap();
    assert!(refusal(&sealed).to_string().contains("missing"));
    let empty = fixture.resigned(|manifest| manifest.artifacts.clear());
    assert!(matches!(refusal(&empty), SealError::NoArtifact(_)));
}

#[test]
fn paths_that_leave_the_store_are_refused() {
    let fixture = Fixture::new();
    for path in ["../regatta-node", "/bin/sh", "a/b", "..", ".", "", "a/", "./a"] {
        let sealed = fixture.resigned(|manifest| {
            manifest.product = path.to_owned();
            manifest.artifacts[0].path = path.to_owned();
        });
        assert!(matches!(refusal(&sealed), SealError::BadPath(_)), "{path}");
    }
}

#[test]
fn a_symbolic_link_to_equal_bytes_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    let path = fixture.program(&sealed);
    let elsewhere = fixture.folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(refusal(&sealed).to_string().contains("symbolic link"));
}

#[test]
fn another_mode_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    fs::set_permissions(fixture.program(&sealed), fs::Permissions::from_mode(0o4777)).unwrap();
    assert!(refusal(&sealed).to_string().contains("mode"));
}

#[test]
fn a_signed_manifest_that_is_not_canonical_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    // `schema` is the second byte; 0xcc 0x01 is the same number in two bytes.
    let mut bytes = sealed.bundle.manifest.clone();
    assert_eq!(bytes.get(3), Some(&1), "array header of three bytes, then schema 1");
    bytes.insert(3, 0xcc);
    let mut padded = sealed.clone();
    padded.bundle = resign(bytes, &fixture.key);
    assert!(matches!(refusal(&padded), SealError::Malformed(_)));
    let mut trailing = sealed.bundle.manifest.clone();
    trailing.push(0);
    let mut longer = sealed;
    longer.bundle = resign(trailing, &fixture.key);
    assert!(matches!(refusal(&longer), SealError::Malformed(_)));
}

/// Signs raw bytes in the manifest's domain.
fn resign(manifest: Vec<u8>, key: &SecretKey) -> Bundle {
    let message = [b"regatta-build-v1".as_slice(), &Digest::of_bytes(&manifest).0].concat();
    Bundle {
        signatures: vec![(key.public(), key.sign(&message))],
        manifest,
    }
}

#[test]
fn another_schema_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.resigned(|manifest| manifest.schema = 2);
    assert!(matches!(refusal(&sealed), SealError::Schema(2)));
}

#[test]
fn a_run_reads_back_its_seal_and_pins_the_stores_own_key() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    let run = tempfile::tempdir().unwrap();
    sealed.write_to(run.path(), "main").unwrap();
    assert_eq!(Sealed::read_from(run.path(), "main", &fixture.store).unwrap(), sealed);
    let stranger = SecretKey::from_seed([9; 32]);
    let forged = Bundle::sign(&sealed.manifest, &stranger);
    fs::write(run.path().join("main.signatures"), encode(&forged.signatures)).unwrap();
    let read = Sealed::read_from(run.path(), "main", &fixture.store).unwrap();
    assert!(matches!(refusal(&read), SealError::Unsigned { .. }));
}

#[test]
fn a_folder_in_place_of_the_program_is_refused() {
    let fixture = Fixture::new();
    let sealed = fixture.sealed();
    let path = fixture.program(&sealed);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let artifact = sealed.manifest.artifacts[0].clone();
    assert!(VerifiedProgram::open(path.parent().unwrap(), &artifact).is_err());
}

#[test]
fn a_process_executes_this_file_or_another_one_of_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (own, copy) = (std::env::current_exe().unwrap(), folder.path().join("copy"));
    fs::copy(&own, &copy).unwrap();
    let open = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        let artifact = Artifact {
            path: path.file_name().unwrap().to_str().unwrap().to_owned(),
            size: bytes.len() as u64,
            blake3: Digest::of_bytes(&bytes),
            mode: path.metadata().unwrap().permissions().mode() & 0o777,
            target: format!("{}-unknown-{}-gnu", std::env::consts::ARCH, std::env::consts::OS),
        };
        VerifiedProgram::open(path.parent().unwrap(), &artifact).unwrap()
    };
    let pid = std::process::id();
    assert!(open(&own).is_executed_by(pid));
    assert!(!open(&copy).is_executed_by(pid), "equal bytes, another file");
    assert!(!open(&own).is_executed_by(0), "nobody");
}
