//! Serves snapshots to neighbours, within limits.

use crate::{
    chain::Chain,
    context::{ChunkLoad, Context},
    event::{PeerIndex, Protocol, Time},
    snapshot::CHUNK_BYTES_MAX,
    wire::{Body, Plain},
};
use bytes::Bytes;
use regatta_base::{Height, HexBytes};

/// Chunks that are read for one neighbour at a time, and for all of them.
const LOADS_PER_PEER_MAX: usize = 8;
const LOADS_MAX: usize = 32;
/// Bytes of manifests and chunks that are served in one second; what is beyond has to be asked for again.
const BYTES_PER_SECOND_MAX: usize = 64 * 1024 * 1024;

/// What was served in the present second.
#[derive(Debug, Default)]
pub(super) struct Budget {
    second: Time,
    bytes: usize,
}

impl Budget {
    /// Takes `bytes` of this second's budget, if they are left.
    fn take(&mut self, now: Time, bytes: usize) -> bool {
        let second = now / 1000;
        if self.second != second {
            *self = Self { second, bytes: 0 };
        }
        let fits = self.bytes + bytes <= BYTES_PER_SECOND_MAX;
        self.bytes += if fits { bytes } else { 0 };
        fits
    }
}

impl Chain {
    pub(in crate::chain) fn on_manifest_request(&mut self, ctx: &mut Context<'_>, from: PeerIndex, above: Height) {
        let Some(newest) = self.snapshots.kept.last() else {
            return;
        };
        if newest.manifest.height() > above && self.snapshots.budget.take(ctx.now, newest.encoded.len()) {
            self.send_sync(ctx, from, Body::Manifest(HexBytes(newest.encoded.clone())));
        }
    }

    pub(in crate::chain) fn on_chunk_request(
        &mut self,
        ctx: &mut Context<'_>,
        from: PeerIndex,
        height: Height,
        chunk: u32,
    ) {
        let kept = self.snapshots.kept.iter().find(|kept| kept.manifest.height() == height);
        if kept.is_none_or(|kept| kept.manifest.chunks().len() <= chunk as usize) {
            return self.send_chunk(ctx, from, height, chunk, None);
        }
        let (all, own) = ctx.chunk_loads(from);
        if all < LOADS_MAX && own < LOADS_PER_PEER_MAX && self.snapshots.budget.take(ctx.now, CHUNK_BYTES_MAX) {
            ctx.load_chunk(from, height, chunk);
        }
    }

    pub(crate) fn on_chunk_loaded(&mut self, ctx: &mut Context<'_>, load: ChunkLoad, bytes: Option<Bytes>) {
        self.send_chunk(ctx, load.peer, load.height, load.chunk, bytes);
    }

    fn send_chunk(&self, ctx: &mut Context<'_>, peer: PeerIndex, height: Height, chunk: u32, bytes: Option<Bytes>) {
        let bytes = bytes.map(HexBytes);
        self.send_sync(ctx, peer, Body::Chunk { height, chunk, bytes });
    }

    pub(super) fn send_sync(&self, ctx: &mut Context<'_>, peer: PeerIndex, body: Body) {
        let frame = Plain::Instance(self.tag, body).encode();
        ctx.send_bulk(peer, frame, Protocol::Sync);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_budget_and_no_more() {
        let mut budget = Budget::default();
        assert!(budget.take(10, BYTES_PER_SECOND_MAX - 1));
        assert!(!budget.take(999, 2));
        assert!(budget.take(999, 1), "what is left can still be had");
        assert!(budget.take(1000, BYTES_PER_SECOND_MAX));
    }
}
