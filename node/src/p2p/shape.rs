//! Links that tests slow down: what this node sends arrives late, as if the network in between were long or narrow.
//!
//! The sender holds what it would write, in order, until it would have arrived. A link is a reliable stream, so that a lost
//! packet is a late one: it and everything behind it wait for the retransmission. What is not modelled: the handshake of
//! a connection, and the kernel's windows, which a long round trip would keep small at first. Waits end by the runtime's
//! timer, up to a millisecond late.

use super::{
    PeerBoard,
    queue::{Chunk, LinkQueue},
};
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use regatta_api::{NodeConfig, testing::LinkShape};
use regatta_core::PeerIndex;
use std::{
    collections::{BTreeMap, VecDeque},
    future::{pending, poll_fn},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::{Instant as TokioInstant, sleep_until};

/// Bytes of a packet.
const PACKET_BYTES: usize = 1448;
/// Least wait before something is sent again when no acknowledgement tells earlier (Linux: `TCP_RTO_MIN`).
const RETRANSMIT: Duration = Duration::from_millis(200);
/// Most bytes of one link that are on their way; the link's queue waits beyond it.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A million parts.
const MILLION: u32 = 1_000_000;

/// What becomes of what is sent, by the position of the peer in the configuration.
#[derive(Debug, Default)]
pub struct Shaper {
    /// Spares links of a node without any the lock.
    any: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    configured: BTreeMap<PeerIndex, LinkShape>,
    /// In place of the configured ones, by order.
    changed: BTreeMap<PeerIndex, LinkShape>,
    uplink_bits: u64,
    /// When everything that was handed over so far has left this node.
    uplink_free: Option<Instant>,
}

/// How a chunk travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Passage {
    /// When its last byte has left.
    left: Instant,
    /// When it arrives, unless something before it is later.
    due: Instant,
}

impl Shaper {
    /// Takes the links as the configuration has them.
    pub(crate) fn configure(&self, config: &NodeConfig) {
        let position = |link: &regatta_api::testing::ShapedLink| {
            let index = config.peers.iter().position(|peer| peer.key == link.peer)?;
            Some((index, link.shape))
        };
        let mut inner = self.lock();
        inner.configured = config.testing.links.iter().filter_map(position).collect();
        inner.uplink_bits = config.testing.uplink_bits;
        self.note(&inner);
    }

    /// Makes these links so, and all others as they are configured.
    pub(crate) fn change(&self, shapes: BTreeMap<PeerIndex, LinkShape>) {
        let mut inner = self.lock();
        inner.changed = shapes;
        self.note(&inner);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().changed.len()
    }

    fn note(&self, inner: &Inner) {
        let any = inner.uplink_bits > 0 || !inner.configured.is_empty() || !inner.changed.is_empty();
        self.any.store(any, Ordering::Release);
    }

    /// How `bytes` travel to `peer`; `None` when they go at once.
    fn pass(
        &self,
        peer: PeerIndex,
        bytes: usize,
        line_free: Instant,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Passage> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = self.lock();
        let shape = inner
            .changed
            .get(&peer)
            .or_else(|| inner.configured.get(&peer))
            .copied();
        let shape = shape.unwrap_or_default();
        if shape == LinkShape::default() && inner.uplink_bits == 0 {
            return None;
        }
        let uplink = inner.uplink_free.map_or(now, |free| free.max(now)) + wire(bytes, inner.uplink_bits);
        inner.uplink_free = Some(uplink);
        let left = uplink.max(line_free.max(now) + wire(bytes, shape.rate_bits));
        let late = retransmissions(&shape, bytes, rng);
        Some(Passage {
            left,
            due: left + one_way(&shape, rng) + late,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time that `bytes` take at a rate in bits per second; 0 stands for no limit.
fn wire(bytes: usize, rate_bits: u64) -> Duration {
    let nanos = (bytes as u64).saturating_mul(8_000_000_000).checked_div(rate_bits);
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn one_way(shape: &LinkShape, rng: &mut impl Rng) -> Duration {
    let spread = shape.delay_us.saturating_mul(u64::from(shape.jitter_ppm)) / u64::from(MILLION);
    let jitter = if spread == 0 {
        0
    } else {
        rng.random_range(0..=2 * spread)
    };
    Duration::from_micros((shape.delay_us + jitter).saturating_sub(spread))
}

/// How much later a chunk is because packets of it are lost: each time the sender learns of it after a round trip when
/// more packets follow, otherwise after a timeout that doubles.
fn retransmissions(shape: &LinkShape, bytes: usize, rng: &mut impl Rng) -> Duration {
    let mut late = Duration::ZERO;
    if shape.loss_ppm == 0 {
        return late;
    }
    let round_trip = Duration::from_micros(2 * shape.delay_us);
    let (mut packets, mut timeout) = (bytes.div_ceil(PACKET_BYTES).max(1), RETRANSMIT + round_trip);
    loop {
        let lost = (0..packets)
            .filter(|_| rng.random_range(0..MILLION) < shape.loss_ppm)
            .count();
        if lost == 0 {
            return late;
        }
        // Three packets behind the lost one make the receiver's repeated acknowledgements count.
        if packets > 3 {
            late += round_trip;
        } else {
            late += timeout;
            timeout *= 2;
        }
        packets = lost;
    }
}

/// What is on its way along one link, in the order in which it was sent.
pub(super) struct Line {
    peer: PeerIndex,
    board: Arc<PeerBoard>,
    rng: StdRng,
    waiting: VecDeque<(Instant, Chunk)>,
    bytes: usize,
    /// When the last byte of what waits has left, and when it arrives.
    left: Instant,
    due: Instant,
}

impl Line {
    pub(super) fn new(peer: PeerIndex, board: Arc<PeerBoard>) -> Self {
        let now = Instant::now();
        Self {
            peer,
            board,
            rng: StdRng::from_rng(&mut rand::rng()),
            waiting: VecDeque::new(),
            bytes: 0,
            left: now,
            due: now,
        }
    }

    pub(super) fn peer(&self) -> PeerIndex {
        self.peer
    }

    /// Whether the next chunk may be handed over: the one before has left, and there is room on the way.
    pub(super) fn takes(&self, now: Instant) -> bool {
        self.left <= now && self.bytes < LINE_BYTES_MAX
    }

    /// Sends a chunk on its way; gives it back when it need not wait.
    pub(super) fn hold<'c>(&mut self, chunk: &'c mut Chunk, now: Instant) -> Option<&'c Chunk> {
        let bytes = chunk.bytes();
        let passage = self
            .board
            .shaper()
            .pass(self.peer, bytes, self.left, now, &mut self.rng);
        if passage.is_none() && self.waiting.is_empty() {
            return Some(chunk);
        }
        let passage = passage.unwrap_or(Passage { left: now, due: now });
        self.left = passage.left;
        self.due = self.due.max(passage.due);
        self.bytes += bytes;
        self.waiting.push_back((self.due, std::mem::take(chunk)));
        None
    }

    /// The next chunk that would have arrived by now.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<Chunk> {
        let (_, chunk) = self.waiting.pop_front_if(|(due, _)| *due <= now)?;
        self.bytes -= chunk.bytes();
        Some(chunk)
    }

    /// Waits until something is due, the next chunk may be handed over, or `queue` has one.
    pub(super) async fn wait(&self, queue: Option<&LinkQueue>) {
        let now = Instant::now();
        let due = self.waiting.front().map(|(due, _)| *due);
        let free = (self.left > now).then_some(self.left);
        let next = due.into_iter().chain(free).min();
        let timer = async {
            match next {
                Some(at) => sleep_until(TokioInstant::from_std(at)).await,
                None => pending().await,
            }
        };
        let queued = async {
            match queue {
                Some(queue) => poll_fn(|cx| queue.poll_ready(cx)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = queued => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meter;
    use proptest::prelude::*;

    fn line(shape: LinkShape, uplink_bits: u64) -> Line {
        let board = Arc::new(PeerBoard::new(&[], Arc::new(Meter::default())));
        board.shaper().change(BTreeMap::from([(0, shape)]));
        board.shaper().lock().uplink_bits = uplink_bits;
        Line::new(0, board)
    }

    fn chunk(bytes: usize) -> Chunk {
        Chunk {
            small: vec![0; bytes],
            large: None,
            frames: 1,
        }
    }

    /// When each of `sizes`, all handed over as soon as the line takes them, arrives after the first.
    fn arrivals(line: &mut Line, sizes: &[usize]) -> Vec<Duration> {
        let start = line.left;
        for &size in sizes {
            let now = line.left;
            assert!(line.takes(now) && line.hold(&mut chunk(size), now).is_none());
        }
        line.waiting.iter().map(|(due, _)| *due - start).collect()
    }

    #[test]
    fn a_link_as_the_system_has_it_holds_nothing() {
        let mut line = line(LinkShape::default(), 0);
        assert!(line.hold(&mut chunk(10), Instant::now()).is_some());
        assert!(line.next_due(Instant::now()).is_none());
    }

    #[test]
    fn a_chunk_arrives_after_the_delay_and_not_before() {
        let delay = Duration::from_millis(40);
        let mut line = line(
            LinkShape {
                delay_us: 40_000,
                ..LinkShape::default()
            },
            0,
        );
        let start = line.left;
        assert_eq!(arrivals(&mut line, &[100, 100_000]), [delay, delay]);
        assert!(line.next_due(start + delay - Duration::from_nanos(1)).is_none());
        assert_eq!(line.next_due(start + delay).unwrap().small.len(), 100);
        // What was on its way keeps its place when the link heals.
        line.board.shaper().change(BTreeMap::new());
        assert!(line.hold(&mut chunk(7), start + delay).is_none());
        assert_eq!(line.next_due(start + delay).unwrap().small.len(), 100_000);
        assert_eq!(line.next_due(start + delay).unwrap().small.len(), 7);
        assert_eq!(line.bytes, 0);
        assert!(line.hold(&mut chunk(7), start + delay).is_some());
    }

    #[test]
    fn chunks_leave_at_the_lower_of_the_two_rates() {
        let slow = LinkShape {
            rate_bits: 8_000_000,
            ..LinkShape::default()
        };
        let ms = Duration::from_millis;
        assert_eq!(arrivals(&mut line(slow, 0), &[1000, 1000]), [ms(1), ms(2)]);
        assert_eq!(arrivals(&mut line(slow, 4_000_000), &[1000, 1000]), [ms(2), ms(4)]);
        let mut line = line(slow, 0);
        let start = line.left;
        arrivals(&mut line, &[1000]);
        assert!(!line.takes(start), "the first one is still leaving");
    }

    proptest! {
        #[test]
        fn a_line_keeps_the_order_whatever_is_lost(
            sizes in proptest::collection::vec(1usize..10_000, 1..40), loss_ppm in 0u32..500_000, delay_us in 0u64..50_000
        ) {
            let shape = LinkShape { delay_us, jitter_ppm: 500_000, loss_ppm, rate_bits: 1_000_000 };
            let found = arrivals(&mut line(shape, 0), &sizes);
            prop_assert!(found.is_sorted() && found.len() == sizes.len());
            let total: usize = sizes.iter().sum();
            prop_assert!(*found.last().unwrap() >= wire(total, 1_000_000) + Duration::from_micros(delay_us / 2));
        }
    }

    #[test]
    fn about_the_given_share_of_single_packets_is_late_by_a_retransmission() {
        let shape = LinkShape {
            delay_us: 10_000,
            loss_ppm: 100_000,
            ..LinkShape::default()
        };
        let mut rng = StdRng::seed_from_u64(1);
        let late: Vec<Duration> = (0..10_000).map(|_| retransmissions(&shape, 100, &mut rng)).collect();
        let share = late.iter().filter(|late| !late.is_zero()).count();
        assert!((900..1100).contains(&share), "{share} of 10,000");
        assert!(late.iter().all(|late| late.is_zero() || *late >= RETRANSMIT));
    }
}
