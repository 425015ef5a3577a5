//! Checks a snapshot chunk by chunk and rebuilds what it is of.

use super::{
    LINKS_MAX, Manifest, SnapshotError,
    chunk::{Chunk, Link},
    manifest::Headers,
};
use crate::header::Header;
use rand::CryptoRng;
use regatta_apps::{State, StateLoader};
use regatta_base::{
    ChainId, Digest, Height, HexBytes,
    keyring::{Claim, verify_all},
    limits::BATCH_LIFETIME_BLOCKS,
};
use regatta_consensus::{Commit, Message, Scope, SignatureClaim, ValidatorSet, header_digest};
use std::collections::BTreeMap;

/// Which chunks come next; it only moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Links,
    History,
    State,
}

/// A snapshot that is being checked.
///
/// Trusts the configured validators and nothing else. A chunk is accepted when it is the one that the
/// manifest names; what the chunks say is proven by [`Installer::finish`] at the latest.
#[derive(Debug)]
pub struct Installer {
    chain: ChainId,
    manifest: Manifest,
    /// The validator sets by the first height that each decides, as far as the links led.
    sets: BTreeMap<Height, ValidatorSet>,
    links: Vec<Link>,
    history: Vec<Header>,
    /// Digest of the last header of the history.
    last: Option<Digest>,
    loader: StateLoader,
    stage: Stage,
    taken: usize,
}

/// A snapshot that was checked to the end.
#[derive(Debug)]
pub struct Restored {
    pub(crate) manifest: Manifest,
    pub(crate) state: State,
    /// Headers of the heights before, and of the height itself, in ascending order.
    pub(crate) history: Vec<Header>,
    /// Roots of the state after the height before, and after the height itself.
    pub(crate) roots: [Digest; 2],
    /// The changes of the validator set that led there.
    pub(crate) links: Vec<Link>,
}

impl Restored {
    /// The manifest of the snapshot.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Installer {
    /// Begins with the validators that decide the first height.
    #[must_use]
    pub fn new(chain: ChainId, genesis: ValidatorSet, manifest: Manifest) -> Self {
        Self {
            chain,
            manifest,
            sets: BTreeMap::from([(1, genesis)]),
            links: Vec::new(),
            history: Vec::new(),
            last: None,
            loader: StateLoader::default(),
            stage: Stage::Links,
            taken: 0,
        }
    }

    /// The manifest of the snapshot.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Chunks that were taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Takes the next chunk. After an error the installer is of no further use, except after
    /// [`SnapshotError::ChunkDigest`]: then another source may have the right bytes. `rng` must be
    /// unpredictable to whoever made the signatures.
    ///
    /// # Errors
    /// [`SnapshotError`] names what is wrong.
    pub fn absorb(&mut self, bytes: &[u8], rng: &mut impl CryptoRng) -> Result<(), SnapshotError> {
        let position = self.taken;
        let got = Digest::of_bytes(bytes);
        let named = self.manifest.chunks.get(position).ok_or(SnapshotError::TooLarge)?;
        if named.digest != got || named.bytes as usize != bytes.len() {
            return Err(SnapshotError::ChunkDigest { chunk: position, got });
        }
        let chunk = Chunk::parse(bytes)?;
        let stage = match chunk {
            Chunk::Links(_) => Stage::Links,
            Chunk::History(_) => Stage::History,
            Chunk::State(_) => Stage::State,
        };
        if stage < self.stage {
            return Err(SnapshotError::ChunkOrder { chunk: position });
        }
        self.enter(stage, rng)?;
        match chunk {
            Chunk::Links(links) => links.into_iter().try_for_each(|link| self.link(link, rng))?,
            Chunk::History(headers) => headers.iter().try_for_each(|header| self.header(header))?,
            Chunk::State(piece) => self.loader.absorb(piece)?,
        }
        self.taken += 1;
        Ok(())
    }

    /// Checks what the stages before `stage` have brought.
    fn enter(&mut self, stage: Stage, rng: &mut impl CryptoRng) -> Result<(), SnapshotError> {
        if self.stage == Stage::Links && stage > Stage::Links {
            self.check_proof(rng)?;
        }
        if self.stage < Stage::State && stage == Stage::State {
            self.check_history()?;
        }
        self.stage = stage;
        Ok(())
    }

    /// The set that decides `height`, as far as is known.
    fn set_at(&self, height: Height) -> Option<&ValidatorSet> {
        self.sets.range(..=height).next_back().map(|(_, set)| set)
    }

    /// Takes a change of the set, certified by the set before it.
    fn link(&mut self, link: Link, rng: &mut impl CryptoRng) -> Result<(), SnapshotError> {
        let height = link.commit.height();
        let bad = || SnapshotError::Link { height };
        let first = self.sets.last_key_value().map_or(0, |(first, _)| *first);
        let after = height.checked_add(1).ok_or_else(bad)?;
        if self.links.len() >= LINKS_MAX || height < first || height > self.manifest.height.saturating_add(1) {
            return Err(bad());
        }
        let header = Header::decode(&link.commit.header).map_err(|_| bad())?;
        let set = ValidatorSet::new(link.validators.clone()).map_err(|_| bad())?;
        if header.height != height || header.next_validators != set.hash() {
            return Err(bad());
        }
        self.check_commit(link.commit.clone(), rng)?;
        // Of the sets that no height of the manifest needs only the last one proves anything more.
        if after <= self.manifest.height {
            self.sets.clear();
        }
        self.sets.insert(after, set);
        self.links.push(link);
        Ok(())
    }

    fn header(&mut self, bytes: &HexBytes) -> Result<(), SnapshotError> {
        let header = Header::decode(&bytes.0).map_err(|_| SnapshotError::History)?;
        let first = first_of_history(self.manifest.height);
        let expected = first + self.history.len() as Height;
        let follows = match self.last {
            Some(last) => header.parent == last,
            None => first > 1 || header.parent == Digest::ZERO,
        };
        if header.height != expected || header.height >= self.manifest.height || !follows {
            return Err(SnapshotError::History);
        }
        self.last = Some(header_digest(&bytes.0));
        self.history.push(header);
        Ok(())
    }

    /// The headers before the snapshot must be complete and lead to it.
    fn check_history(&self) -> Result<(), SnapshotError> {
        let height = self.manifest.height;
        let complete = first_of_history(height) + self.history.len() as Height == height;
        let Headers { at, .. } = self.manifest.headers()?;
        if complete && at.parent == self.last.unwrap_or(Digest::ZERO) {
            Ok(())
        } else {
            Err(SnapshotError::History)
        }
    }

    /// Both certificates of the manifest must hold, under the sets that the links led to.
    fn check_proof(&self, rng: &mut impl CryptoRng) -> Result<(), SnapshotError> {
        let Headers { at, next, .. } = self.manifest.headers()?;
        self.check_commit(self.manifest.at.clone(), rng)?;
        self.check_commit(self.manifest.proof.clone(), rng)?;
        let names = |header: &Header| {
            let set = self.set_at(header.height + 1);
            set.is_some_and(|set| set.hash() == header.next_validators)
        };
        if names(&at) && names(&next) {
            Ok(())
        } else {
            Err(SnapshotError::Validators)
        }
    }

    fn check_commit(&self, commit: Commit, rng: &mut impl CryptoRng) -> Result<(), SnapshotError> {
        let height = commit.height();
        let bad = |reason: String| SnapshotError::Certificate { height, reason };
        let set = self.set_at(height).ok_or(SnapshotError::Link { height })?;
        let scope = Scope::new(&self.chain, &self.manifest.instance, set.clone());
        let claims = Message::Commit(commit)
            .claims(&scope)
            .map_err(|error| bad(error.to_string()))?;
        let claims: Vec<Claim<'_>> = claims.iter().map(SignatureClaim::as_claim).collect();
        if verify_all(&claims, rng) {
            Ok(())
        } else {
            Err(bad("a signature is wrong".to_owned()))
        }
    }

    /// Ends the check: the state must have the root that the certified header names.
    ///
    /// # Errors
    /// [`SnapshotError`] names what is missing or wrong.
    pub fn finish(mut self, rng: &mut impl CryptoRng) -> Result<Restored, SnapshotError> {
        let expected = self.manifest.chunks.len();
        if self.taken != expected {
            return Err(SnapshotError::Truncated {
                got: self.taken,
                expected,
            });
        }
        self.enter(Stage::State, rng)?;
        let Headers { at, next, proof } = self.manifest.headers()?;
        let mut state = self.loader.finish();
        let root = state.root();
        if root != proof.state_root {
            return Err(SnapshotError::StateRoot {
                got: root,
                expected: proof.state_root,
            });
        }
        self.history.push(at);
        Ok(Restored {
            manifest: self.manifest,
            state,
            history: self.history,
            roots: [next.state_root, root],
            links: self.links,
        })
    }
}

/// The first height whose batches have to be remembered after `height`.
pub(crate) fn first_of_history(height: Height) -> Height {
    height.saturating_sub(BATCH_LIFETIME_BLOCKS).max(1)
}
