//! Bad releases: each check is shown to bite, and what is refused is refused for its own reason.

use super::*;
use crate::{Built, Store};
use proptest::prelude::*;
use std::fs;

/// More than two pieces.
const BODY_BYTES: usize = 2 * CHUNK_BYTES as usize + 5;
const NOW: u64 = 1_900_000_000;

struct Fixture {
    _folder: tempfile::TempDir,
    key: SecretKey,
    chain: ChainId,
    manifest: Manifest,
    release: Release,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let key = store.development_key().unwrap();
        let executable = folder.path().join("regatta-node");
        fs::write(&executable, vec![7; BODY_BYTES]).unwrap();
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
        let sealed = store.seal(&built, &key).unwrap();
        let chain: ChainId = "test".parse().unwrap();
        let activation = Activation {
            chain: chain.clone(),
            number: 3,
            instance: "main".parse().unwrap(),
            activate_at: 100,
            batch_blocks: 10,
            allow_rollback_to: None,
        };
        let mut release = Release::of(&sealed, activation).unwrap();
        let mut manifest = sealed.manifest;
        (release.expires, manifest.expires, manifest.sequence) = (NOW + 60, NOW + 60, 5);
        Self {
            _folder: folder,
            key,
            chain,
            manifest,
            release,
        }
    }

    /// Both documents changed and signed again, as a careless or hostile signer would.
    fn document(&self, change: impl FnOnce(&mut Release, &mut Manifest)) -> Document {
        let (mut release, mut manifest) = (self.release.clone(), self.manifest.clone());
        change(&mut release, &mut manifest);
        let bundle = Bundle::sign(&manifest, &self.key);
        release.build = bundle.digest();
        release.sign(&bundle, &self.key)
    }

    fn good(&self) -> Document {
        self.document(|_, _| {})
    }

    fn judge(&self, document: &Document, history: &History) -> Result<Accepted, ReleaseError> {
        self.judge_bytes(&document.encode(), history)
    }

    fn judge_bytes(&self, document: &[u8], history: &History) -> Result<Accepted, ReleaseError> {
        let policy = ReleasePolicy {
            pinned: &[self.key.public()],
            threshold: 1,
            now: NOW,
            chain: &self.chain,
            protocol: regatta_base::limits::PEER_PROTOCOL_VERSION,
            size_max: 1 << 30,
            byzantine: false,
            history,
        };
        policy.check(document)
    }

    fn refusal(&self, document: &Document) -> String {
        let error = self.judge(document, &History::default()).unwrap_err().to_string();
        assert!(error.contains("help: "), "{error}");
        error
    }
}

#[test]
fn a_release_is_accepted_and_names_every_piece() {
    let fixture = Fixture::new();
    let accepted = fixture.judge(&fixture.good(), &History::default()).unwrap();
    assert_eq!(accepted.release.chunks.len(), 3);
    assert_eq!(
        accepted.release.chunks[0],
        Digest::of_bytes(&vec![7; CHUNK_BYTES as usize])
    );
    assert_eq!(accepted.release.chunks[2], Digest::of_bytes(&[7; 5]));
    assert_eq!(accepted.program.blake3, Digest::of_bytes(&vec![7; BODY_BYTES]));
}

#[test]
fn every_bad_release_is_refused_for_its_own_reason() {
    type Change = fn(&mut Release, &mut Manifest);
    let table: [(&str, Change); 17] = [
        ("network `other`", |release, _| release.chain = "other".parse().unwrap()),
        ("expired 9 s ago", |release, _| release.expires = NOW - 9),
        ("has schema 2", |release, _| release.schema = 2),
        ("number 0", |release, _| release.number = 0),
        ("2 needed", |release, _| release.threshold = 2),
        ("lists 2 pieces", |release, _| release.chunks.truncate(2)),
        ("lists 4 pieces", |release, _| release.chunks.push(Digest::ZERO)),
        ("expired 9 s ago", |_, manifest| manifest.expires = NOW - 9),
        ("is for riscv64", |_, manifest| {
            manifest.artifacts[0].target = "riscv64-none-elf".to_owned();
        }),
        ("names no artifact", |_, manifest| manifest.artifacts.clear()),
        ("not a plain file name", |_, manifest| {
            manifest.artifacts[0].path = "../regatta-node".to_owned();
        }),
        ("mode 4755", |_, manifest| manifest.artifacts[0].mode = 0o4755),
        ("at most", |_, manifest| manifest.artifacts[0].size = 1 << 40),
        ("lists 3 pieces", |_, manifest| manifest.artifacts[0].size = 0),
        ("protocol 1 to 4", |_, manifest| manifest.protocol = (1, 4)),
        ("break the protocol", |_, manifest| manifest.byzantine = true),
        ("2 needed", |_, manifest| manifest.threshold = 2),
    ];
    let fixture = Fixture::new();
    for (reason, change) in table {
        let refusal = fixture.refusal(&fixture.document(change));
        assert!(refusal.contains(reason), "{reason}: {refusal}");
    }
}

#[test]
fn every_flipped_bit_of_what_is_signed_or_signs_is_refused() {
    let fixture = Fixture::new();
    let good = fixture.good();
    let flip = |bytes: &HexBytes, bit: usize| {
        let mut bytes = bytes.0.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        HexBytes::from(bytes)
    };
    for bit in 0..good.release.0.len() * 8 {
        let release = flip(&good.release, bit);
        let refusal = fixture.refusal(&Document {
            release,
            ..good.clone()
        });
        assert!(refusal.contains("0 valid signatures"), "bit {bit}: {refusal}");
    }
    for bit in 0..good.manifest.0.len() * 8 {
        let manifest = flip(&good.manifest, bit);
        let refusal = fixture.refusal(&Document {
            manifest,
            ..good.clone()
        });
        assert!(refusal.contains("another build"), "bit {bit}: {refusal}");
    }
    for bit in 0..512 {
        let mut bad = good.clone();
        bad.signatures[0].1.0[bit / 8] ^= 1 << (bit % 8);
        assert!(fixture.refusal(&bad).contains("0 valid signatures"), "bit {bit}");
        let mut bad = good.clone();
        bad.manifest_signatures[0].1.0[bit / 8] ^= 1 << (bit % 8);
        assert!(fixture.refusal(&bad).contains("0 valid signatures"), "bit {bit}");
    }
}

#[test]
fn a_key_that_the_document_brings_along_and_a_signature_of_another_kind_do_not_count() {
    let fixture = Fixture::new();
    let bundle = Bundle::sign(&fixture.manifest, &fixture.key);
    let mut release = fixture.release.clone();
    release.build = bundle.digest();
    let foreign = release.sign(&bundle, &SecretKey::from_seed([9; 32]));
    assert!(fixture.refusal(&foreign).contains("0 valid signatures"));
    // The signature of a build, put under a release with the same digest, is none of a release.
    let mut wrong_kind = fixture.good();
    let digest = Digest::of_bytes(&wrong_kind.release.0);
    let of_a_build = [b"regatta-build-v1".as_slice(), &digest.0].concat();
    wrong_kind.signatures = vec![(fixture.key.public(), fixture.key.sign(&of_a_build))];
    assert!(fixture.refusal(&wrong_kind).contains("0 valid signatures"));
    let mut twice = fixture.document(|release, _| release.threshold = 2);
    twice.signatures.push(twice.signatures[0]);
    assert!(fixture.refusal(&twice).contains("1 valid signatures"));
}

#[test]
fn without_a_trusted_key_nothing_is_even_read() {
    let fixture = Fixture::new();
    let history = History::default();
    let policy = ReleasePolicy {
        pinned: &[],
        threshold: 1,
        now: NOW,
        chain: &fixture.chain,
        protocol: 1,
        size_max: 1 << 30,
        byzantine: false,
        history: &history,
    };
    for document in [fixture.good().encode(), b"nonsense".to_vec()] {
        assert!(matches!(policy.check(&document), Err(ReleaseError::NoTrustedKey)));
    }
}

#[test]
fn nobody_is_taken_back_but_by_a_release_that_says_so() {
    let fixture = Fixture::new();
    let mut history = History::default();
    let accepted = fixture.judge(&fixture.good(), &history).unwrap();
    history.accept(&accepted);
    assert!(
        fixture.judge(&fixture.good(), &history).is_ok(),
        "the same one again is no news"
    );
    let error = |document: &Document, history: &History| fixture.judge(document, history).unwrap_err().to_string();
    let other = fixture.document(|release, _| release.activate_at = 101);
    assert!(error(&other, &history).contains("two releases have number 3"));
    let older = fixture.document(|release, _| release.number = 2);
    assert!(error(&older, &history).contains("number 2, the node has accepted 3"));
    let same_sequence = fixture.document(|release, manifest| {
        release.number = 4;
        manifest.version = "0.3.0".to_owned();
    });
    assert!(error(&same_sequence, &history).contains("two manifests have sequence 5"));
    history.confirm(5);
    let older_build = |to: Option<u64>| {
        fixture.document(|release, manifest| {
            (release.number, release.allow_rollback_to, manifest.sequence) = (4, to, 4);
        })
    };
    assert!(error(&older_build(None), &history).contains("sequence 4, at least 5"));
    assert!(error(&older_build(Some(5)), &history).contains("sequence 4, at least 5"));
    assert!(fixture.judge(&older_build(Some(4)), &history).is_ok());
}

#[test]
fn what_is_not_canonical_or_too_much_is_refused() {
    let fixture = Fixture::new();
    let good = fixture.good();
    let resigned = |bytes: Vec<u8>| Document {
        signatures: vec![(fixture.key.public(), fixture.key.sign(&message(&bytes)))],
        release: bytes.into(),
        ..good.clone()
    };
    // Schema 1 is the byte after the header of the array; 0xcc 1 is the same number in two bytes.
    let mut padded = good.release.0.to_vec();
    assert_eq!(padded[1], 1);
    padded.insert(1, 0xcc);
    assert!(fixture.refusal(&resigned(padded)).contains("canonical"));
    let mut longer = good.release.0.to_vec();
    longer.push(0);
    assert!(fixture.refusal(&resigned(longer)).contains("canonical"));
    let mut trailing = good.encode();
    trailing.push(0);
    assert!(fixture.judge_bytes(&trailing, &History::default()).is_err());
    let huge = vec![0; RELEASE_BYTES_MAX + 1];
    let refusal = fixture.judge_bytes(&huge, &History::default()).unwrap_err().to_string();
    assert!(refusal.contains("exceed the limit"), "{refusal}");
    let mut crowded = good.clone();
    crowded.signatures = vec![good.signatures[0]; SIGNATURES_MAX + 1];
    assert!(fixture.refusal(&crowded).contains("exceed the limit"));
}

proptest! {
    #[test]
    fn random_and_damaged_bytes_never_panic(
        random in proptest::collection::vec(any::<u8>(), 0..200),
        cut in 0_usize..2000,
        at in 0_usize..2000,
        byte in any::<u8>(),
    ) {
        let fixture = Fixture::new();
        prop_assert!(fixture.judge_bytes(&random, &History::default()).is_err());
        let good = fixture.good().encode();
        prop_assert!(fixture.judge_bytes(&good[..cut.min(good.len() - 1)], &History::default()).is_err());
        let mut damaged = good.clone();
        let at = at % damaged.len();
        damaged[at] = byte;
        prop_assert_eq!(fixture.judge_bytes(&damaged, &History::default()).is_ok(), damaged == good);
        // Also where the signer himself signs nonsense.
        let bytes = random;
        let mut document = fixture.good();
        document.signatures = vec![(fixture.key.public(), fixture.key.sign(&message(&bytes)))];
        document.release = bytes.into();
        prop_assert!(fixture.judge(&document, &History::default()).is_err());
    }
}
