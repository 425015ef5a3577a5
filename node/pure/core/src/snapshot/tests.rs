//! A small chain with a change of validators, its snapshot, and everything that may be wrong with one.

use super::{chunk::Chunk, install::first_of_history, *};
use crate::header::{Header, STATE_ROOT_LAG};
use proptest::prelude::*;
use regatta_apps::{State, View};
use regatta_base::{ChainId, HexBytes, PublicKey, SecretKey, encode, seed};
use regatta_consensus::{
    Certificate, Commit, Content, Phase, Scope, Signers, Statement, Validator, ValidatorSet, header_digest,
};

const HEIGHT: Height = 7;
/// The set changes after this height, and once more after the last height that matters.
const CHANGES: [Height; 2] = [3, HEIGHT + 1];

fn chain() -> ChainId {
    "test".parse().unwrap()
}

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn set(members: &[u8]) -> ValidatorSet {
    let member = |&n: &u8| Validator {
        key: secret(n).public(),
        weight: 1,
    };
    ValidatorSet::new(members.iter().map(member).collect()).unwrap()
}

/// Members of the set that decides `height`.
fn members(height: Height) -> &'static [u8] {
    match height {
        ..=3 => &[1, 2, 3, 4],
        4..=8 => &[2, 3, 4, 5],
        9.. => &[2, 3, 4, 5, 6],
    }
}

fn commit(header: &Header, members: &[u8]) -> Commit {
    let scope = Scope::new(&chain(), &"main".parse().unwrap(), set(members));
    let (bytes, height) = (header.encode(), header.height);
    let digest = header_digest(&bytes);
    let statement = Statement {
        height,
        round: 0,
        content: Content::Vote2(digest),
    };
    let message = scope.signing_bytes(&statement);
    let signers = 0..members.len() as u16;
    Commit {
        certificate: Certificate {
            phase: Phase::Two,
            height,
            round: 0,
            digest,
            signers: Signers::of(members.len(), signers),
            signatures: members.iter().map(|&n| secret(n).sign(&message)).collect(),
        },
        header: bytes,
    }
}

fn state() -> State {
    let mut state = State::default();
    for n in 0..200u32 {
        state.execute(&View::Put {
            sender: PublicKey([1; 32]),
            sequence: u64::from(n) + 1,
            key: &n.to_be_bytes(),
            value: &[n as u8; 3000],
        });
    }
    state
}

/// Headers from 1 to two after the snapshot.
fn headers() -> Vec<Header> {
    let (mut headers, mut parent) = (Vec::new(), Digest::ZERO);
    for height in 1..=HEIGHT + STATE_ROOT_LAG {
        let header = Header {
            height,
            parent,
            batches: vec![Digest([height as u8; 32])],
            state_root: if height == HEIGHT + STATE_ROOT_LAG {
                state().root()
            } else {
                Digest([9; 32])
            },
            next_validators: set(members(height + 1)).hash(),
        };
        parent = header_digest(&header.encode());
        headers.push(header);
    }
    headers
}

fn link_chunks(links: &[Link]) -> Vec<Vec<u8>> {
    links.iter().map(link_chunk).collect()
}

fn history_chunks(headers: &[Header]) -> Vec<Vec<u8>> {
    let (mut chunks, mut taken) = (Vec::new(), 0);
    while taken < headers.len() {
        let (chunk, count) = history_chunk(headers[taken..].iter());
        chunks.push(chunk);
        taken += count;
    }
    chunks
}

struct Snapshot {
    manifest: Manifest,
    chunks: Vec<Vec<u8>>,
}

impl Snapshot {
    fn new() -> Self {
        let headers = headers();
        let at = |height: Height| &headers[height as usize - 1];
        let links: Vec<Link> = CHANGES
            .iter()
            .map(|&height| Link {
                commit: commit(at(height), members(height)),
                validators: set(members(height + 1)).members().to_vec(),
            })
            .collect();
        let mut state = state();
        state.begin_dump();
        let pieces = std::iter::from_fn(|| state.next_piece()).map(|piece| state_chunk(&piece));
        let mut chunks = link_chunks(&links);
        chunks.extend(history_chunks(&headers[..HEIGHT as usize - 1]));
        chunks.extend(pieces);
        let mut snapshot = Self {
            manifest: Manifest {
                instance: "main".parse().unwrap(),
                height: HEIGHT,
                at: commit(at(HEIGHT), members(HEIGHT)),
                next: at(HEIGHT + 1).encode().into(),
                proof: commit(at(HEIGHT + 2), members(HEIGHT + 2)),
                chunks: Vec::new(),
            },
            chunks,
        };
        snapshot.seal();
        snapshot
    }

    /// Makes the manifest name the present chunks.
    fn seal(&mut self) {
        let info = |chunk: &Vec<u8>| ChunkInfo {
            digest: Digest::of_bytes(chunk),
            bytes: chunk.len() as u32,
        };
        self.manifest.chunks = self.chunks.iter().map(info).collect();
    }

    fn install(&self) -> Result<Restored, SnapshotError> {
        let manifest = Manifest::decode(&self.manifest.encode())?;
        let mut rng = seed::rng(1, "install");
        let mut installer = Installer::new(chain(), set(members(1)), manifest);
        for chunk in &self.chunks {
            installer.absorb(chunk, &mut rng)?;
        }
        installer.finish(&mut rng)
    }
}

#[test]
fn a_snapshot_installs_with_everything_that_a_node_needs_to_go_on() {
    let snapshot = Snapshot::new();
    assert!(
        snapshot.chunks.len() > 5,
        "two links, headers, and a state of several pieces"
    );
    let mut restored = snapshot.install().unwrap();
    assert_eq!(restored.state.root(), state().root());
    assert_eq!(restored.roots, [Digest([9; 32]), state().root()]);
    let heights: Vec<Height> = restored.history.iter().map(|header| header.height).collect();
    assert_eq!(heights, (1..=HEIGHT).collect::<Vec<_>>());
    let manifest = restored.manifest();
    assert_eq!((manifest.height(), manifest.state_root()), (HEIGHT, state().root()));
    assert_eq!(manifest.hash(), header_digest(&headers()[HEIGHT as usize - 1].encode()));
}

#[test]
fn a_forged_chunk_is_refused_and_the_right_one_may_follow() {
    let snapshot = Snapshot::new();
    let mut rng = seed::rng(1, "install");
    let mut installer = Installer::new(chain(), set(members(1)), snapshot.manifest.clone());
    let mut forged = snapshot.chunks[0].clone();
    *forged.last_mut().unwrap() ^= 1;
    let error = installer.absorb(&forged, &mut rng).unwrap_err();
    assert!(matches!(error, SnapshotError::ChunkDigest { chunk: 0, .. }), "{error}");
    for chunk in &snapshot.chunks {
        installer.absorb(chunk, &mut rng).unwrap();
    }
    assert!(installer.finish(&mut rng).is_ok());
}

#[test]
fn a_state_that_is_not_the_certified_one_is_refused_though_its_chunks_fit_the_manifest() {
    let mut snapshot = Snapshot::new();
    let mut other = state();
    other.execute(&View::Put {
        sender: PublicKey([1; 32]),
        sequence: 999,
        key: b"forged",
        value: b"value",
    });
    other.begin_dump();
    snapshot.chunks.truncate(3);
    snapshot
        .chunks
        .extend(std::iter::from_fn(|| other.next_piece()).map(|piece| state_chunk(&piece)));
    snapshot.seal();
    let error = snapshot.install().unwrap_err();
    assert!(matches!(error, SnapshotError::StateRoot { .. }), "{error}");
}

#[test]
fn a_manifest_of_another_height_is_refused() {
    for height in [0, HEIGHT - 1, HEIGHT + 1, Height::MAX] {
        let mut snapshot = Snapshot::new();
        snapshot.manifest.height = height;
        assert_eq!(snapshot.install().unwrap_err(), SnapshotError::Height { height });
    }
}

#[test]
fn a_truncated_snapshot_is_refused() {
    let mut snapshot = Snapshot::new();
    let expected = snapshot.chunks.len();
    snapshot.chunks.pop();
    let got = expected - 1;
    assert_eq!(
        snapshot.install().unwrap_err(),
        SnapshotError::Truncated { got, expected }
    );
    snapshot.seal();
    let error = snapshot.install().unwrap_err();
    assert!(matches!(error, SnapshotError::StateRoot { .. }), "{error}");
}

#[test]
fn headers_and_certificates_of_other_validators_are_refused() {
    let certificate = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = Snapshot::new();
        change(&mut snapshot);
        snapshot.seal();
        snapshot.install().unwrap_err()
    };
    let headers = headers();
    // The old set decides nothing any more.
    let error = certificate(&|snapshot| snapshot.manifest.proof = commit(&headers[HEIGHT as usize + 1], &[1, 2, 3, 4]));
    assert!(
        matches!(error, SnapshotError::Certificate { height, .. } if height == HEIGHT + 2),
        "{error}"
    );
    let error = certificate(&|snapshot| snapshot.manifest.proof.certificate.signatures.swap(0, 1));
    assert!(
        matches!(error, SnapshotError::Certificate { height, .. } if height == HEIGHT + 2),
        "{error}"
    );
    let error = certificate(&|snapshot| snapshot.manifest.at.certificate.signatures.swap(0, 1));
    assert!(
        matches!(error, SnapshotError::Certificate { height: HEIGHT, .. }),
        "{error}"
    );
    // Another header, rightly certified, that does not follow.
    let mut other = headers[HEIGHT as usize + 1].clone();
    other.parent = Digest([7; 32]);
    let error = certificate(&|snapshot| snapshot.manifest.proof = commit(&other, members(HEIGHT + 2)));
    assert_eq!(error, SnapshotError::Parents);
}

#[test]
fn a_chain_of_certificates_with_a_link_that_does_not_hold_is_refused() {
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut snapshot = Snapshot::new();
        change(&mut snapshot.chunks);
        snapshot.seal();
        snapshot.install().unwrap_err()
    };
    let forged = |height: Height, signers: &[u8], validators: &[u8]| {
        let link = Link {
            commit: commit(&headers()[height as usize - 1], signers),
            validators: set(validators).members().to_vec(),
        };
        link_chunks(&[link]).remove(0)
    };
    let error = with(&|chunks| chunks[0] = forged(3, &[7, 8, 9, 10], members(4)));
    assert!(matches!(error, SnapshotError::Certificate { height: 3, .. }), "{error}");
    let error = with(&|chunks| chunks[0] = forged(3, members(3), &[7, 8, 9, 10]));
    assert_eq!(error, SnapshotError::Link { height: 3 });
    let error = with(&|chunks| chunks.swap(0, 1));
    assert!(
        matches!(error, SnapshotError::Certificate { .. } | SnapshotError::Link { .. }),
        "{error}"
    );
    let error = with(&|chunks| drop(chunks.remove(0)));
    assert!(matches!(error, SnapshotError::Certificate { .. }), "{error}");
    let error = with(&|chunks| drop(chunks.remove(1)));
    assert!(matches!(error, SnapshotError::Certificate { .. }), "{error}");
}

#[test]
fn a_history_that_does_not_lead_to_the_snapshot_is_refused() {
    let with = |headers: &[Header]| {
        let mut snapshot = Snapshot::new();
        snapshot.chunks[2] = history_chunks(headers).remove(0);
        snapshot.seal();
        snapshot.install().unwrap_err()
    };
    let headers = headers();
    let before = HEIGHT as usize - 1;
    let mut changed = headers[..before].to_vec();
    changed[2].batches.clear();
    assert_eq!(with(&changed), SnapshotError::History);
    let mut changed = headers[..before].to_vec();
    changed[before - 1].batches.clear();
    assert_eq!(with(&changed), SnapshotError::History, "the last one");
    assert_eq!(with(&headers[1..before]), SnapshotError::History);
    assert_eq!(with(&headers[..before - 1]), SnapshotError::History);
    assert_eq!(with(&headers[..before + 1]), SnapshotError::History);
}

#[test]
fn chunks_out_of_order_are_refused() {
    let mut snapshot = Snapshot::new();
    snapshot.chunks.swap(2, 3);
    snapshot.seal();
    assert_eq!(snapshot.install().unwrap_err(), SnapshotError::History);
    let mut snapshot = Snapshot::new();
    let last = snapshot.chunks.len() - 1;
    snapshot.chunks.swap(1, last);
    snapshot.seal();
    assert!(snapshot.install().is_err());
}

#[test]
fn a_history_reaches_as_far_back_as_batches_may_be_ordered() {
    assert_eq!(first_of_history(1), 1);
    let lifetime = regatta_base::limits::BATCH_LIFETIME_BLOCKS;
    assert_eq!((first_of_history(lifetime + 1), first_of_history(lifetime + 2)), (1, 2));
}

#[test]
fn the_largest_chunks_stay_within_their_limit() {
    let header = Header {
        height: u64::MAX,
        parent: Digest([1; 32]),
        batches: vec![Digest([2; 32]); regatta_base::limits::BATCHES_PER_BLOCK_MAX],
        state_root: Digest([3; 32]),
        next_validators: Digest([4; 32]),
    };
    let many = vec![header; 100];
    let chunks = history_chunks(&many);
    assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
    let Ok(Chunk::History(first)) = Chunk::parse(&chunks[0]) else {
        panic!("not a history")
    };
    assert_eq!(first[0], HexBytes::from(many[0].encode()));
    assert!(state_chunk(&vec![0; regatta_apps::PIECE_BYTES_MAX]).len() <= CHUNK_BYTES_MAX);
    let too_many = encode(&Manifest {
        chunks: vec![
            ChunkInfo {
                digest: Digest::ZERO,
                bytes: 1
            };
            CHUNKS_MAX + 1
        ],
        ..Snapshot::new().manifest
    });
    assert_eq!(Manifest::decode(&too_many), Err(SnapshotError::TooLarge));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), tag in 0u8..5) {
        let _ = Manifest::decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = tag;
        }
        let _ = Chunk::parse(&bytes);
    }

    /// Whatever byte of whatever chunk is changed, under a manifest that names the result: an error, never a panic.
    #[test]
    fn no_byte_may_differ(chunk in 0usize..6, at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let mut snapshot = Snapshot::new();
        let chunk = chunk % snapshot.chunks.len();
        let bytes = &mut snapshot.chunks[chunk];
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        snapshot.seal();
        prop_assert!(snapshot.install().is_err());
    }
}
