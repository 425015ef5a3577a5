//! Fetches documents of releases, and the pieces of the newest one from several neighbours at once.

use super::{Air, Announced, RELEASE_CHUNKS_MAX, ReleaseOrder, Releases};
use crate::{
    event::{LogLevel, PeerIndex, Time, TrafficClass},
    wire::ReleaseBody,
};
use bytes::Bytes;
use regatta_api::{metrics::Metric, view::ReleaseStage};
use regatta_base::Digest;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Documents that are asked for at a time.
const DOCUMENTS_MAX: usize = 4;
/// How long a neighbour has to send a document, in milliseconds.
const DOCUMENT_TIMEOUT_MS: Time = 5000;
/// Refused documents that are remembered with the neighbours that sent them.
const REFUSED_MAX: usize = 256;
/// After a refused document its sender is asked for no other one for so long, in milliseconds.
const REFUSED_WAIT_MS: Time = 5000;
/// Pieces that are asked for or being written, and of one neighbour.
const AHEAD_MAX: usize = 8;
const AHEAD_PER_SOURCE_MAX: usize = 2;
/// How long a neighbour has to send a piece, in milliseconds.
const CHUNK_TIMEOUT_MS: Time = 5000;
/// After a piece that a neighbour did not bring, it is asked for no other one for so long, in milliseconds.
const SLOW_WAIT_MS: Time = 1000;
/// What was fetched is told to the neighbours after so long, if not before, in milliseconds.
const TELL_DELAY_MS: Time = 500;
/// After a failed write nothing is fetched for so long, in milliseconds.
const DISK_WAIT_MS: Time = 10_000;

/// Documents under way.
#[derive(Debug, Default)]
pub(super) struct Documents {
    asked: BTreeMap<PeerIndex, (Digest, Time)>,
    /// Being judged, by whom they came from.
    judged: BTreeMap<PeerIndex, Digest>,
    refused: VecDeque<(PeerIndex, Digest)>,
    quiet_until: BTreeMap<PeerIndex, Time>,
}

impl Documents {
    pub(super) fn peer_down(&mut self, peer: PeerIndex) {
        self.asked.remove(&peer);
    }

    pub(super) fn drop_late(&mut self, now: Time) {
        let late: Vec<PeerIndex> = self
            .asked
            .iter()
            .filter(|(_, (_, at))| *at <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            self.asked.remove(&peer);
            self.quiet_until.insert(peer, now + DOCUMENT_TIMEOUT_MS);
        }
        self.quiet_until.retain(|_, until| *until > now);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let asked = self.asked.values().map(|(_, at)| *at);
        asked.chain(self.quiet_until.values().copied()).min()
    }

    /// A document is good: nobody needs to send it again.
    pub(super) fn answered(&mut self, id: &Digest) {
        self.asked.retain(|_, (asked, _)| asked != id);
        self.judged.retain(|_, judged| judged != id);
    }

    fn may_ask(&self, peer: PeerIndex, id: &Digest) -> bool {
        let is_under_way =
            self.asked.values().any(|(asked, _)| asked == id) || self.judged.values().any(|own| own == id);
        let is_busy = self.asked.contains_key(&peer) || self.judged.contains_key(&peer);
        let is_free = !is_under_way && !is_busy && self.asked.len() < DOCUMENTS_MAX;
        is_free && !self.quiet_until.contains_key(&peer) && !self.refused.contains(&(peer, *id))
    }

    fn refuse(&mut self, now: Time, peer: PeerIndex) -> Option<Digest> {
        let id = self.judged.remove(&peer)?;
        self.quiet_until.insert(peer, now + REFUSED_WAIT_MS);
        self.refused.push_back((peer, id));
        if self.refused.len() > REFUSED_MAX {
            self.refused.pop_front();
        }
        Some(id)
    }
}

/// Pieces under way.
#[derive(Debug)]
pub(super) struct Fetch {
    /// Every position once, in the order in which this node asks.
    order: Vec<usize>,
    asked: BTreeMap<usize, (PeerIndex, Time)>,
    writing: BTreeSet<usize>,
    /// Until when a neighbour that did not bring a piece is left alone.
    slow_until: BTreeMap<PeerIndex, Time>,
    /// Neighbours that sent something else than they were asked for. They are never asked again.
    distrusted: BTreeSet<PeerIndex>,
    paused_until: Option<Time>,
}

impl Fetch {
    pub(super) fn new(chunks: usize, salt: u64) -> Self {
        let first = salt.checked_rem(chunks as u64).unwrap_or_default() as usize;
        Self {
            order: (first..chunks).chain(0..first).collect(),
            asked: BTreeMap::new(),
            writing: BTreeSet::new(),
            slow_until: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            paused_until: None,
        }
    }

    pub(super) fn peer_down(&mut self, peer: PeerIndex) {
        self.asked.retain(|_, (asked, _)| *asked != peer);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let asked = self.asked.values().map(|(_, at)| *at);
        asked
            .chain(self.slow_until.values().copied())
            .chain(self.paused_until)
            .min()
    }

    fn expire(&mut self, now: Time) {
        let late: Vec<(usize, PeerIndex)> = self
            .asked
            .iter()
            .filter(|(_, (_, at))| *at <= now)
            .map(|(chunk, (peer, _))| (*chunk, *peer))
            .collect();
        for (chunk, peer) in late {
            self.asked.remove(&chunk);
            self.slow_until.insert(peer, now + SLOW_WAIT_MS);
        }
        self.slow_until.retain(|_, until| *until > now);
        self.paused_until.take_if(|until| *until <= now);
    }

    /// What to ask whom for now.
    fn requests(
        &mut self,
        now: Time,
        held: &[bool],
        sources: &BTreeMap<PeerIndex, Announced>,
    ) -> Vec<(PeerIndex, usize)> {
        self.expire(now);
        let mut requests = Vec::new();
        if self.paused_until.is_some() {
            return requests;
        }
        for &chunk in &self.order {
            if self.asked.len() + self.writing.len() >= AHEAD_MAX {
                break;
            }
            if held[chunk] || self.asked.contains_key(&chunk) || self.writing.contains(&chunk) {
                continue;
            }
            let busy = |peer: PeerIndex| self.asked.values().filter(|(asked, _)| *asked == peer).count();
            let is_fit = |peer: &PeerIndex| !self.slow_until.contains_key(peer) && !self.distrusted.contains(peer);
            let holders = sources
                .iter()
                .filter(|(_, source)| source.holds(chunk))
                .map(|(peer, _)| *peer);
            let least_busy = holders.filter(is_fit).map(|peer| (busy(peer), peer)).min();
            if let Some((count, peer)) = least_busy
                && count < AHEAD_PER_SOURCE_MAX
            {
                self.asked.insert(chunk, (peer, now + CHUNK_TIMEOUT_MS));
                requests.push((peer, chunk));
            }
        }
        requests
    }
}

impl Releases {
    pub(super) fn on_announce(&mut self, air: &mut Air<'_>, from: PeerIndex, number: u64, id: Digest, held: Bytes) {
        if held.len() > RELEASE_CHUNKS_MAX / 8 {
            return air.fault(from, "a release with more pieces than a program has".to_owned());
        }
        self.announced.insert(from, Announced { number, id, held });
        self.want_document(air);
        self.request_chunks(air);
    }

    /// Asks for a document that is newer than what this node has.
    pub(super) fn want_document(&mut self, air: &mut Air<'_>) {
        let number = self.current.as_ref().map_or(0, |current| current.facts.number);
        let mut newer: Vec<_> = self
            .announced
            .iter()
            .filter(|(_, announced)| announced.number > number)
            .collect();
        newer.sort_by_key(|(peer, announced)| (std::cmp::Reverse(announced.number), **peer));
        for (&peer, announced) in newer {
            if self.documents.may_ask(peer, &announced.id) {
                let id = announced.id;
                self.documents.asked.insert(peer, (id, air.now + DOCUMENT_TIMEOUT_MS));
                air.send(peer, ReleaseBody::DocumentRequest { id }, TrafficClass::Control);
            }
        }
    }

    pub(super) fn on_document(&mut self, air: &mut Air<'_>, from: PeerIndex, document: Bytes) {
        // What nobody asked for is not even judged.
        let Some((id, _)) = self.documents.asked.remove(&from) else {
            return;
        };
        self.documents.judged.insert(from, id);
        air.order(ReleaseOrder::Judge { from, document });
    }

    pub(super) fn on_refused(&mut self, air: &mut Air<'_>, from: PeerIndex, reason: &str) {
        if let Some(id) = self.documents.refuse(air.now, from) {
            air.count(Metric::ReleasesRefused);
            let line = format!("release {} of peer {from} is refused: {reason}", id.short());
            air.log(LogLevel::Warn, line);
        }
        self.want_document(air);
    }

    pub(super) fn request_chunks(&mut self, air: &mut Air<'_>) {
        let Some(current) = self
            .current
            .as_mut()
            .filter(|current| current.stage == ReleaseStage::Fetching)
        else {
            return;
        };
        let (id, artifact) = (current.facts.id, current.facts.artifact);
        let sources = self.announced.iter().filter(|(_, announced)| announced.id == id);
        let sources: BTreeMap<PeerIndex, Announced> = sources.map(|(peer, own)| (*peer, own.clone())).collect();
        for (peer, chunk) in current.fetch.requests(air.now, &current.held, &sources) {
            let chunk = chunk as u32;
            air.send(
                peer,
                ReleaseBody::ChunkRequest { artifact, chunk },
                TrafficClass::Control,
            );
        }
    }

    pub(super) fn on_chunk(
        &mut self,
        air: &mut Air<'_>,
        from: PeerIndex,
        (artifact, chunk): (Digest, u32),
        bytes: Option<Bytes>,
    ) {
        let Some(current) = self.current_of(artifact) else {
            return;
        };
        let (fetch, place) = (&mut current.fetch, chunk as usize);
        if fetch.asked.get(&place).is_none_or(|(asked, _)| *asked != from) {
            return;
        }
        fetch.asked.remove(&place);
        match bytes {
            None => drop(fetch.slow_until.insert(from, air.now + SLOW_WAIT_MS)),
            Some(bytes) if Digest::of_bytes(&bytes) == current.facts.chunks[place] => {
                fetch.writing.insert(place);
                air.order(ReleaseOrder::Store { artifact, chunk, bytes });
            }
            Some(_) => {
                fetch.distrusted.insert(from);
                fetch.peer_down(from);
                air.count(Metric::ReleaseChunksBad);
                air.fault(from, format!("piece {chunk} of a program that is not what was signed"));
            }
        }
        self.request_chunks(air);
    }

    pub(super) fn on_stored(&mut self, air: &mut Air<'_>, artifact: Digest, chunk: u32, ok: bool) {
        let Some(current) = self.current_of(artifact) else {
            return;
        };
        let place = chunk as usize;
        current.fetch.writing.remove(&place);
        if let Some(held) = current.held.get_mut(place).filter(|_| ok) {
            *held = true;
            current.fetch.asked.remove(&place);
            air.count(Metric::ReleaseChunks);
        } else {
            current.fetch.paused_until = Some(air.now + DISK_WAIT_MS);
        }
        // Neighbours are told now and then, so that they fetch from each other and not only from the first one.
        let (held, step) = (current.held_count(), (current.held.len() / 8).max(1));
        if held >= current.told + step || held == current.held.len() {
            self.tell(air);
        } else if held > current.told {
            current.tell_at.get_or_insert(air.now + TELL_DELAY_MS);
        }
        self.request_chunks(air);
    }
}
