//! Where the loop puts frames: the queues of the links that are up.

use super::queue::{LinkQueue, Queued};
use crate::meter::Meter;
use bytes::Bytes;
use regatta_api::metrics::Metric;
use regatta_core::{PeerIndex, TrafficClass};
use std::sync::{Arc, Mutex, PoisonError};

/// The links of a node, by the position of the peer in the configuration; clones share them.
#[derive(Debug, Clone)]
pub struct Outbox {
    links: Arc<[Mutex<Option<Arc<LinkQueue>>>]>,
    meter: Arc<Meter>,
}

impl Outbox {
    pub(super) fn new(peers: usize, meter: Arc<Meter>) -> Self {
        let links = (0..peers).map(|_| Mutex::new(None)).collect();
        Self { links, meter }
    }

    /// Queues a frame for a peer. It is lost when the link is down, and counted when its queue is full.
    pub fn send(&self, peer: PeerIndex, frame: Bytes, class: TrafficClass) {
        let Some(queue) = self.queue(peer) else { return };
        if queue.push(frame, class) == Queued::Dropped {
            self.meter.add(Metric::FramesDropped, 1);
        }
    }

    /// Ends the link to a peer; it is dialled again later.
    pub fn reset(&self, peer: PeerIndex, reason: &str) {
        if let Some(queue) = self.queue(peer) {
            queue.close(reason);
        }
    }

    pub(super) fn set(&self, peer: PeerIndex, queue: Option<Arc<LinkQueue>>) {
        if let Some(link) = self.links.get(peer) {
            *link.lock().unwrap_or_else(PoisonError::into_inner) = queue;
        }
    }

    fn queue(&self, peer: PeerIndex) -> Option<Arc<LinkQueue>> {
        self.links
            .get(peer)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
