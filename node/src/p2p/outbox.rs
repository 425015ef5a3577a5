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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::queue::Chunk;

    #[test]
    fn frames_go_to_the_peers_present_link_and_nowhere_without_one() {
        let meter = Arc::new(Meter::default());
        let outbox = Outbox::new(2, Arc::clone(&meter));
        let (older, newer) = (Arc::new(LinkQueue::default()), Arc::new(LinkQueue::default()));
        let waiting = |queue: &LinkQueue| queue.take(&mut Chunk::default());
        let send = |peer| outbox.send(peer, Bytes::from_static(b"x"), TrafficClass::Control);
        send(1);
        outbox.set(1, Some(Arc::clone(&older)));
        send(1);
        outbox.set(1, Some(Arc::clone(&newer)));
        send(0);
        send(7);
        assert_eq!((waiting(&older), waiting(&newer)), (Ok(true), Ok(false)));
        outbox.reset(1, "why");
        assert_eq!(waiting(&newer), Err("why".to_owned()));
        outbox.set(1, None);
        send(1);
        assert_eq!(meter.get(Metric::FramesDropped), 0);
    }

    #[test]
    fn payload_that_a_full_queue_drops_is_counted() {
        let meter = Arc::new(Meter::default());
        let outbox = Outbox::new(1, Arc::clone(&meter));
        outbox.set(0, Some(Arc::new(LinkQueue::default())));
        let large = Bytes::from(vec![0; 1024 * 1024]);
        for _ in 0..40 {
            outbox.send(0, large.clone(), TrafficClass::Bulk);
        }
        assert_eq!(meter.get(Metric::FramesDropped), 8);
    }
}
