//! Far catch-up: fetches a snapshot from several neighbours at once, and rebuilds the state from it.
//!
//! Several neighbours are asked for the manifest of their newest snapshot. Those that offer the same
//! chunks are its sources. Chunks are asked for in their order, a few ahead of the one that is being
//! taken in, each from one source at a time and from another one when it does not come. What was taken in
//! stays when links break: the fetching goes on when a source is back.

use crate::{
    chain::Chain,
    context::{Context, Purpose},
    event::{LogLevel, PeerIndex, Protocol, SnapshotOrder, Time},
    job::Job,
    snapshot::{Installer, Manifest, Restored, SnapshotError},
    wire::{Body, Plain},
};
use bytes::Bytes;
use regatta_base::{Digest, Height, encode};
use std::collections::BTreeMap;

/// Neighbours that are asked for their manifest.
const OFFERS_MAX: usize = 8;
/// How long manifests are waited for, in milliseconds.
const OFFER_TIMEOUT_MS: Time = 2000;
/// Chunks that are asked for ahead of the one that is taken in, and of one source.
const AHEAD_MAX: usize = 16;
const AHEAD_PER_SOURCE_MAX: usize = 4;
/// How long a source has to send a chunk, in milliseconds.
const CHUNK_TIMEOUT_MS: Time = 3000;
/// A source that was too slow so often is one no more.
const STRIKES_MAX: u32 = 5;
/// A fetching that cannot go on for so long is given up, in milliseconds.
const STALLED_MS: Time = 30_000;
/// After a fetching that failed the next one waits so long, in milliseconds.
const RETRY_MS: Time = 5000;

/// A fetching under way.
#[derive(Debug)]
pub(super) enum Fetch {
    /// Manifests are being collected.
    Asking {
        until: Time,
        offers: BTreeMap<PeerIndex, Manifest>,
    },
    /// Chunks are being fetched.
    Chunks(Box<Chunks>),
}

impl Fetch {
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self, Self::Chunks(_))
    }
}

/// Which snapshot a manifest is of: several have the same chunks, though their certificates differ.
fn identity(manifest: &Manifest) -> Digest {
    let (height, chunks) = (manifest.height().to_be_bytes(), encode(manifest.chunks()));
    Digest::of("regatta snapshot v1", &[&height, &manifest.hash().0, &chunks])
}

/// A snapshot whose chunks are being fetched.
#[derive(Debug)]
pub(super) struct Chunks {
    height: Height,
    identity: Digest,
    /// Whose manifest it is.
    offered_by: PeerIndex,
    count: usize,
    /// Sources, with how often each was too slow.
    sources: BTreeMap<PeerIndex, u32>,
    /// `None` while a job has it.
    installer: Option<Box<Installer>>,
    /// The next chunk to take in.
    next: usize,
    /// What a job is taking in, and who sent it.
    taking: Option<(PeerIndex, Bytes)>,
    asked: BTreeMap<usize, (PeerIndex, Time)>,
    arrived: BTreeMap<usize, (PeerIndex, Bytes)>,
    progress_at: Time,
}

impl Chunks {
    fn new(now: Time, offered_by: PeerIndex, installer: Installer, sources: BTreeMap<PeerIndex, u32>) -> Self {
        let manifest = installer.manifest();
        Self {
            height: manifest.height(),
            identity: identity(manifest),
            offered_by,
            count: manifest.chunks().len(),
            sources,
            installer: Some(Box::new(installer)),
            next: 0,
            taking: None,
            asked: BTreeMap::new(),
            arrived: BTreeMap::new(),
            progress_at: now,
        }
    }

    /// What to ask whom for now; counts slow sources.
    fn requests(&mut self, now: Time) -> Vec<(PeerIndex, usize)> {
        let late: Vec<usize> = self
            .asked
            .iter()
            .filter(|(_, (_, deadline))| *deadline <= now)
            .map(|(chunk, _)| *chunk)
            .collect();
        let mut avoid = BTreeMap::new();
        for chunk in late {
            if let Some((source, _)) = self.asked.remove(&chunk) {
                avoid.insert(chunk, source);
                let strikes = self.sources.entry(source).or_default();
                *strikes += 1;
                if *strikes >= STRIKES_MAX {
                    self.sources.remove(&source);
                }
            }
        }
        let mut requests = Vec::new();
        for chunk in self.next..self.count.min(self.next + AHEAD_MAX) {
            let is_taking = chunk == self.next && self.taking.is_some();
            if is_taking || self.asked.contains_key(&chunk) || self.arrived.contains_key(&chunk) {
                continue;
            }
            let Some(source) = self.least_busy(avoid.get(&chunk).copied()) else {
                break;
            };
            self.asked.insert(chunk, (source, now + CHUNK_TIMEOUT_MS));
            requests.push((source, chunk));
        }
        requests
    }

    /// The source with the fewest chunks under way, `avoid` only if there is no other.
    fn least_busy(&self, avoid: Option<PeerIndex>) -> Option<PeerIndex> {
        let busy = |source: PeerIndex| self.asked.values().filter(|(asked, _)| *asked == source).count();
        self.sources
            .keys()
            .map(|&source| (Some(source) == avoid, busy(source), source))
            .filter(|&(_, busy, _)| busy < AHEAD_PER_SOURCE_MAX)
            .min()
            .map(|(.., source)| source)
    }

    fn drop_source(&mut self, source: PeerIndex) {
        self.sources.remove(&source);
        self.asked.retain(|_, (asked, _)| *asked != source);
    }
}

impl Chain {
    /// Begins a fetching when blocks are too many or no neighbour has them, and looks after one under way.
    pub(in crate::chain) fn catch_up_far(&mut self, ctx: &mut Context<'_>) {
        match self.snapshots.fetch.take() {
            None => self.begin_fetch(ctx),
            Some(Fetch::Asking { until, offers }) => {
                if offers.is_empty() && ctx.now < until {
                    self.snapshots.fetch = Some(Fetch::Asking { until, offers });
                } else {
                    self.choose(ctx, &offers);
                }
            }
            Some(Fetch::Chunks(chunks)) if ctx.now >= chunks.progress_at + STALLED_MS => {
                self.give_up(ctx, chunks.height, "no neighbour brings its chunks");
            }
            Some(fetch) => {
                self.snapshots.fetch = Some(fetch);
                self.request_chunks(ctx);
            }
        }
    }

    fn begin_fetch(&mut self, ctx: &mut Context<'_>) {
        let height = self.ledger.height();
        let behind = self.catchup.target().saturating_sub(height);
        let is_far = behind > self.snapshots.config.lag || self.catchup.is_cut_off(height);
        if !is_far || ctx.now < self.snapshots.fetch_after || self.snapshots.installing.is_some() {
            return;
        }
        let peers: Vec<PeerIndex> = ctx.links.up().collect();
        let ahead = peers.into_iter().filter(|&peer| self.catchup.height_of(peer) > height);
        for peer in ahead.take(OFFERS_MAX) {
            self.ask_for_manifest(ctx, peer);
        }
        self.snapshots.fetch = Some(Fetch::Asking {
            until: ctx.now + OFFER_TIMEOUT_MS,
            offers: BTreeMap::new(),
        });
    }

    fn ask_for_manifest(&self, ctx: &mut Context<'_>, peer: PeerIndex) {
        let body = Body::ManifestRequest {
            above: self.ledger.height(),
        };
        ctx.send(peer, Plain::Instance(self.tag, body).encode(), Protocol::Sync, 0);
    }

    /// A link came up: its other end may be, or be again, a source of what is being fetched.
    pub(in crate::chain) fn resume_fetch(&self, ctx: &mut Context<'_>, peer: PeerIndex) {
        if self.snapshots.fetch.as_ref().is_some_and(Fetch::is_under_way) {
            self.ask_for_manifest(ctx, peer);
        }
    }

    pub(in crate::chain) fn fetch_peer_down(&mut self, peer: PeerIndex) {
        match &mut self.snapshots.fetch {
            Some(Fetch::Chunks(chunks)) => chunks.drop_source(peer),
            Some(Fetch::Asking { offers, .. }) => drop(offers.remove(&peer)),
            None => {}
        }
    }

    pub(in crate::chain) fn on_manifest(&mut self, ctx: &mut Context<'_>, from: PeerIndex, bytes: &[u8]) {
        let manifest = match Manifest::decode(bytes) {
            Ok(manifest) if *manifest.instance() == self.id => manifest,
            Ok(_) => return ctx.fault(from, SnapshotError::Instance.to_string()),
            Err(error) => return ctx.fault(from, error.to_string()),
        };
        match &mut self.snapshots.fetch {
            Some(Fetch::Asking { offers, .. }) if manifest.height() > self.ledger.height() => {
                offers.insert(from, manifest);
            }
            Some(Fetch::Chunks(chunks)) if chunks.identity == identity(&manifest) => {
                chunks.sources.entry(from).or_default();
                self.request_chunks(ctx);
            }
            _ => {}
        }
    }

    /// Takes the snapshot that most neighbours offer, the highest of those.
    fn choose(&mut self, ctx: &mut Context<'_>, offers: &BTreeMap<PeerIndex, Manifest>) {
        let count = |wanted: Digest| offers.values().filter(|offer| identity(offer) == wanted).count();
        let best = offers
            .iter()
            .max_by_key(|(_, manifest)| (count(identity(manifest)), manifest.height()));
        let Some((&offered_by, manifest)) = best else {
            self.snapshots.fetch_after = ctx.now + RETRY_MS;
            return;
        };
        let wanted = identity(manifest);
        let sources = offers.iter().filter(|(_, offer)| identity(offer) == wanted);
        let sources: BTreeMap<PeerIndex, u32> = sources.map(|(&peer, _)| (peer, 0)).collect();
        ctx.log(
            LogLevel::Info,
            format!(
                "instance {}: fetches a snapshot of height {} in {} chunks of {} bytes from {} neighbours",
                self.id,
                manifest.height(),
                manifest.chunks().len(),
                manifest.bytes(),
                sources.len()
            ),
        );
        let installer = Installer::new(
            self.chain_id.clone(),
            self.genesis.validators().clone(),
            manifest.clone(),
        );
        let chunks = Chunks::new(ctx.now, offered_by, installer, sources);
        self.snapshots.fetch = Some(Fetch::Chunks(Box::new(chunks)));
        self.request_chunks(ctx);
        self.take_in(ctx);
    }

    fn request_chunks(&mut self, ctx: &mut Context<'_>) {
        let Some(Fetch::Chunks(chunks)) = &mut self.snapshots.fetch else {
            return;
        };
        let (height, requests) = (chunks.height, chunks.requests(ctx.now));
        for (peer, chunk) in requests {
            let chunk = chunk as u32;
            let frame = Plain::Instance(self.tag, Body::ChunkRequest { height, chunk }).encode();
            ctx.send(peer, frame, Protocol::Sync, 0);
        }
    }

    pub(in crate::chain) fn on_chunk(
        &mut self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        (height, chunk): (Height, u32),
        bytes: Option<Bytes>,
    ) {
        let Some(Fetch::Chunks(chunks)) = &mut self.snapshots.fetch else {
            return;
        };
        let chunk = chunk as usize;
        let is_asked = chunks.asked.get(&chunk).is_some_and(|(asked, _)| *asked == from);
        if chunks.height != height || !is_asked {
            return;
        }
        chunks.asked.remove(&chunk);
        match bytes {
            Some(bytes) => {
                chunks.arrived.insert(chunk, (from, bytes));
                self.take_in(ctx);
            }
            // It has a newer one by now.
            None => chunks.drop_source(from),
        }
        self.request_chunks(ctx);
    }

    /// Starts the job for the next chunk, if it is there, or for the end.
    fn take_in(&mut self, ctx: &mut Context<'_>) {
        let Some(Fetch::Chunks(chunks)) = &mut self.snapshots.fetch else {
            return;
        };
        if chunks.next == chunks.count {
            if let Some(installer) = chunks.installer.take() {
                ctx.work(Purpose::Snapshot, Job::SnapshotEnd(installer));
            }
        } else if chunks.installer.is_some()
            && let Some((from, bytes)) = chunks.arrived.remove(&chunks.next)
            && let Some(installer) = chunks.installer.take()
        {
            chunks.taking = Some((from, bytes.clone()));
            ctx.work(Purpose::Snapshot, Job::SnapshotChunk { installer, bytes });
        }
    }

    /// A chunk was taken in, or refused.
    pub(in crate::chain) fn on_chunk_taken(
        &mut self,
        ctx: &mut Context<'_>,
        installer: Box<Installer>,
        result: Result<(), SnapshotError>,
    ) {
        let Some(Fetch::Chunks(chunks)) = &mut self.snapshots.fetch else {
            return;
        };
        if chunks.identity != identity(installer.manifest()) {
            return;
        }
        let Some((from, bytes)) = chunks.taking.take() else {
            return;
        };
        match result {
            Ok(()) => {
                let (chunk, height) = (chunks.next, chunks.height);
                chunks.installer = Some(installer);
                chunks.next += 1;
                chunks.progress_at = ctx.now;
                ctx.order(SnapshotOrder::Append {
                    instance: ctx.chain,
                    height,
                    chunk,
                    bytes,
                });
            }
            Err(error @ SnapshotError::ChunkDigest { .. }) => {
                chunks.installer = Some(installer);
                chunks.drop_source(from);
                ctx.fault(from, error.to_string());
            }
            Err(error) => return self.refuse_snapshot(ctx, &error),
        }
        self.take_in(ctx);
        self.request_chunks(ctx);
    }

    /// All chunks were taken in, and the state is the certified one, or is not.
    pub(in crate::chain) fn on_snapshot_checked(
        &mut self,
        ctx: &mut Context<'_>,
        result: Result<Box<Restored>, SnapshotError>,
    ) {
        match (result, &self.snapshots.fetch) {
            (Err(error), _) => self.refuse_snapshot(ctx, &error),
            (Ok(restored), Some(Fetch::Chunks(chunks))) if chunks.identity == identity(restored.manifest()) => {
                self.snapshots.fetch = None;
                ctx.order(SnapshotOrder::Finish {
                    instance: ctx.chain,
                    height: restored.manifest().height(),
                    manifest: restored.manifest().encode().into(),
                });
                self.snapshots.installing = Some(restored);
            }
            (Ok(_), _) => {}
        }
    }

    /// The snapshot is none, and whoever offered it is faulty. Certificates are not part of what several neighbours
    /// offer alike, so that those are the fault of one.
    fn refuse_snapshot(&mut self, ctx: &mut Context<'_>, error: &SnapshotError) {
        let Some(Fetch::Chunks(chunks)) = self.snapshots.fetch.take() else {
            return;
        };
        let only_one = matches!(error, SnapshotError::Certificate { .. });
        let mut faulty: Vec<PeerIndex> = chunks.sources.into_keys().filter(|_| !only_one).collect();
        if !faulty.contains(&chunks.offered_by) {
            faulty.push(chunks.offered_by);
        }
        for source in faulty {
            ctx.fault(source, format!("a snapshot that does not hold: {error}"));
        }
        self.give_up(ctx, chunks.height, &error.to_string());
    }

    fn give_up(&mut self, ctx: &mut Context<'_>, height: Height, reason: &str) {
        ctx.log(
            LogLevel::Warn,
            format!(
                "instance {}: gives up the snapshot of height {height}: {reason}",
                self.id
            ),
        );
        ctx.order(SnapshotOrder::Remove {
            instance: ctx.chain,
            height,
        });
        self.snapshots.fetch = None;
        self.snapshots.fetch_after = ctx.now + RETRY_MS;
    }
}
