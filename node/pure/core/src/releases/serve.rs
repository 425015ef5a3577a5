//! Serves documents and pieces to neighbours, within limits.

use super::{Air, ReleaseOrder, Releases};
use crate::{
    event::{PeerIndex, RequestId, TrafficClass},
    wire::ReleaseBody,
};
use bytes::Bytes;
use regatta_base::{Digest, HexBytes};
use std::collections::BTreeMap;

/// Pieces that are read for one neighbour at a time, and for all of them. Whoever asks for more hears that it has to ask
/// again.
const LOADS_PER_PEER_MAX: usize = 4;
const LOADS_MAX: usize = 16;

/// Pieces that are being read for neighbours.
#[derive(Debug, Default)]
pub(super) struct Service {
    last_request: RequestId,
    loads: BTreeMap<RequestId, (PeerIndex, Digest, u32)>,
}

impl Service {
    pub(super) fn peer_down(&mut self, peer: PeerIndex) {
        self.loads.retain(|_, (asked, ..)| *asked != peer);
    }

    fn has_room(&self, peer: PeerIndex) -> bool {
        let own = self.loads.values().filter(|(asked, ..)| *asked == peer).count();
        own < LOADS_PER_PEER_MAX && self.loads.len() < LOADS_MAX
    }
}

impl Releases {
    pub(super) fn on_document_request(&mut self, air: &mut Air<'_>, from: PeerIndex, id: Digest) {
        if let Some(current) = self.current.as_ref().filter(|current| current.facts.id == id) {
            let document = ReleaseBody::Document(HexBytes(current.facts.document.clone()));
            air.send(from, document, TrafficClass::Bulk);
        }
    }

    pub(super) fn on_chunk_request(&mut self, air: &mut Air<'_>, from: PeerIndex, artifact: Digest, chunk: u32) {
        let current = self
            .current
            .as_ref()
            .filter(|current| current.facts.artifact == artifact);
        let is_held = current.is_some_and(|current| current.held.get(chunk as usize) == Some(&true));
        if !is_held || !self.service.has_room(from) {
            let bytes = None;
            return air.send(from, ReleaseBody::Chunk { artifact, chunk, bytes }, TrafficClass::Bulk);
        }
        self.service.last_request += 1;
        let request = self.service.last_request;
        self.service.loads.insert(request, (from, artifact, chunk));
        air.order(ReleaseOrder::Load {
            request,
            artifact,
            chunk,
        });
    }

    pub(super) fn on_loaded(&mut self, air: &mut Air<'_>, request: RequestId, bytes: Option<Bytes>) {
        if let Some((peer, artifact, chunk)) = self.service.loads.remove(&request) {
            let bytes = bytes.map(HexBytes);
            air.send(peer, ReleaseBody::Chunk { artifact, chunk, bytes }, TrafficClass::Bulk);
        }
    }
}
