//! Releases that a test makes: programs, their manifests and documents, good and bad.

use super::{network::Network, programs};
use regatta_api::view::{ReleaseChunk, ReleaseOffer, ReleaseTaken, UpgradeView};
use regatta_base::{Digest, Height, HexBytes, SecretKey};
use regatta_seal::{Activation, Built, Bundle, CHUNK_BYTES, Document, Manifest, Release, Sealed, Store};
use std::{fs, path::Path};
use tempfile::TempDir;

/// Whoever releases programs: a store, and the key that signs.
pub struct Signer {
    folder: TempDir,
    store: Store,
    pub key: SecretKey,
}

/// A program with what was signed about it.
pub struct Made {
    pub program: Vec<u8>,
    pub manifest: Manifest,
    pub release: Release,
}

impl Made {
    pub fn digest(&self) -> Digest {
        Digest::of_bytes(&self.program)
    }

    /// The piece of the program at a position.
    pub fn piece(&self, chunk: u32) -> ReleaseChunk {
        let mut pieces = self.program.chunks(CHUNK_BYTES as usize);
        ReleaseChunk {
            artifact: self.digest(),
            chunk,
            bytes: pieces.nth(chunk as usize).unwrap().to_vec().into(),
        }
    }
}

impl Signer {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let key = store.development_key().unwrap();
        Self { folder, store, key }
    }

    /// Another build of the node: the same program with something behind its end, hence other bytes.
    pub fn next_build(&self) -> Vec<u8> {
        let mut program = fs::read(programs::node()).unwrap();
        program.extend_from_slice(b"the next build");
        program
    }

    /// A release of `program` for a network, from `activate_at` on.
    pub fn make(&self, number: u64, program: Vec<u8>, activate_at: Height, batch_blocks: u64) -> Made {
        let sealed = self.seal(&program);
        let activation = Activation {
            chain: "by-hand".parse().unwrap(),
            number,
            instance: "main".parse().unwrap(),
            activate_at,
            batch_blocks,
            allow_rollback_to: None,
        };
        let release = Release::of(&sealed, activation).unwrap();
        Made {
            program,
            manifest: sealed.manifest,
            release,
        }
    }

    fn seal(&self, program: &[u8]) -> Sealed {
        let executable = self.folder.path().join("regatta-node");
        fs::write(&executable, program).unwrap();
        let built = Built {
            executable,
            version: "0.2.0".to_owned(),
            commit: "c0ffee".to_owned(),
            dirty: false,
            lock: Digest::ZERO,
            rustc: "rustc 1".to_owned(),
            target: format!("{}-unknown-{}-gnu", std::env::consts::ARCH, std::env::consts::OS),
            profile: "test".to_owned(),
            byzantine: false,
        };
        self.store.seal(&built, &self.key).unwrap()
    }

    /// What is made, signed.
    pub fn document(&self, made: &Made) -> Document {
        let bundle = Bundle::sign(&made.manifest, &self.key);
        let mut release = made.release.clone();
        release.build = bundle.digest();
        release.sign(&bundle, &self.key)
    }

    /// Writes release and program where a command line finds them.
    pub fn write(&self, made: &Made, folder: &Path) {
        fs::write(folder.join("next.release"), self.document(made).encode()).unwrap();
        fs::write(folder.join("next"), &made.program).unwrap();
    }
}

impl Network {
    /// Lets every node trust the signer.
    pub fn trusting(mut self, signer: &Signer) -> Self {
        for node in &mut self.nodes {
            node.config.upgrade.trusted_keys = vec![signer.key.public()];
            node.config.instances[0].empty_blocks = true;
        }
        self
    }

    pub fn offer(&self, index: usize, document: &Document) -> Result<ReleaseTaken, String> {
        let offer = ReleaseOffer {
            document: HexBytes::from(document.encode()),
        };
        self.ask(self.client(index).offer_release(&offer))
    }

    pub fn bring(&self, index: usize, piece: &ReleaseChunk) -> Result<(), String> {
        self.ask(self.client(index).bring_chunk(piece)).map(drop)
    }

    pub fn upgrade(&self, index: usize) -> Result<UpgradeView, String> {
        self.ask(self.client(index).release())
    }
}
