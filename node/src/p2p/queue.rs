//! What waits to be written to one link: control frames first, and payload that may be dropped.

use super::frame::put_prefix;
use bytes::Bytes;
use regatta_core::TrafficClass;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Most control frames that wait.
const CONTROL_FRAMES_MAX: usize = 16 * 1024;
/// Most bytes of control frames that wait.
const CONTROL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most payload frames that wait.
const BULK_FRAMES_MAX: usize = 16 * 1024;
/// Most bytes of payload frames that wait.
const BULK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Small frames are copied together up to this size, because each write has its own cost.
const WRITE_BYTES: usize = 64 * 1024;
/// A frame of this size is written from where it lies.
const LARGE_FRAME: usize = 16 * 1024;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    /// It will be written, unless the link ends before.
    Yes,
    /// The queue is full; the frame is gone.
    Dropped,
    /// The link has ended or ends now.
    Closed,
}

/// The queues of one link.
#[derive(Debug, Default)]
pub(super) struct LinkQueue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    control: Fifo,
    bulk: Fifo,
    closed: Option<String>,
    writer: Option<Waker>,
}

#[derive(Debug, Default)]
struct Fifo {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Fifo {
    fn push(&mut self, frame: Bytes, frames_max: usize, bytes_max: usize) -> bool {
        let fits = self.frames.len() < frames_max && self.bytes + frame.len() <= bytes_max;
        if fits {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
        fits
    }

    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

/// What to write next: some small frames, and perhaps a large one after them.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Prefixes and small frames; kept by the writer to be filled again.
    pub(super) small: Vec<u8>,
    /// The bytes of a frame whose prefix ends `small`.
    pub(super) large: Option<Bytes>,
    /// How many frames these are.
    pub(super) frames: u64,
}

impl Chunk {
    pub(super) fn bytes(&self) -> usize {
        self.small.len() + self.large.as_ref().map_or(0, Bytes::len)
    }
}

impl LinkQueue {
    /// Queues a frame. A full control queue closes the link: it cannot recover what is lost there.
    pub(super) fn push(&self, frame: Bytes, class: TrafficClass) -> Queued {
        let mut inner = self.lock();
        if inner.closed.is_some() {
            return Queued::Closed;
        }
        let fits = match class {
            TrafficClass::Control => inner.control.push(frame, CONTROL_FRAMES_MAX, CONTROL_BYTES_MAX),
            TrafficClass::Bulk => inner.bulk.push(frame, BULK_FRAMES_MAX, BULK_BYTES_MAX),
        };
        if !fits && class == TrafficClass::Control {
            inner.closed = Some("the peer takes control frames too slowly".to_owned());
        }
        wake(&mut inner);
        match (fits, class) {
            (true, _) => Queued::Yes,
            (false, TrafficClass::Bulk) => Queued::Dropped,
            (false, TrafficClass::Control) => Queued::Closed,
        }
    }

    /// Ends the link for this reason, unless it has another already.
    pub(super) fn close(&self, reason: &str) {
        let mut inner = self.lock();
        inner.closed.get_or_insert_with(|| reason.to_owned());
        wake(&mut inner);
    }

    /// Fills `chunk` with what to write next; `false` when nothing waits.
    ///
    /// # Errors
    /// Why the link is to end.
    pub(super) fn take(&self, chunk: &mut Chunk) -> Result<bool, String> {
        chunk.small.clear();
        (chunk.large, chunk.frames) = (None, 0);
        let mut inner = self.lock();
        if let Some(reason) = &inner.closed {
            return Err(reason.clone());
        }
        while chunk.small.len() < WRITE_BYTES {
            let Some(frame) = inner.control.pop().or_else(|| inner.bulk.pop()) else {
                break;
            };
            if !put_prefix(&mut chunk.small, &frame) {
                return Err(format!("this node made a frame of {} bytes", frame.len()));
            }
            chunk.frames += 1;
            if frame.len() >= LARGE_FRAME {
                chunk.large = Some(frame);
                break;
            }
            chunk.small.extend_from_slice(&frame);
        }
        Ok(chunk.frames > 0)
    }

    /// Ready when there is something to take, or the link is to end.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        let waits = !inner.control.frames.is_empty() || !inner.bulk.frames.is_empty();
        if waits || inner.closed.is_some() {
            return Poll::Ready(());
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(inner: &mut Inner) {
    if let Some(writer) = inner.writer.take() {
        writer.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::frame::Assembler;
    use futures::task::noop_waker;
    use proptest::prelude::*;

    fn class(control: bool) -> TrafficClass {
        if control {
            TrafficClass::Control
        } else {
            TrafficClass::Bulk
        }
    }

    proptest! {
        #[test]
        fn what_is_queued_is_written_once_and_each_class_in_its_order(
            frames in proptest::collection::vec((any::<bool>(), 1..40_000usize), 0..60),
            takes in 0..10usize,
        ) {
            let (queue, mut chunk, mut written) = (LinkQueue::default(), Chunk::default(), Vec::new());
            let mut write = |queue: &LinkQueue| {
                let more = queue.take(&mut chunk).unwrap();
                written.extend_from_slice(&chunk.small);
                written.extend_from_slice(chunk.large.as_deref().unwrap_or_default());
                more
            };
            for (number, (control, length)) in frames.iter().enumerate() {
                let mut bytes = vec![u8::from(*control); *length];
                bytes.extend_from_slice(&(number as u32).to_be_bytes());
                prop_assert_eq!(queue.push(bytes.into(), class(*control)), Queued::Yes);
                if number % 10 < takes {
                    write(&queue);
                }
            }
            while write(&queue) {}
            let mut found = Vec::new();
            Assembler::default().push(&written, &mut found).unwrap();
            prop_assert_eq!(found.len(), frames.len());
            for control in [true, false] {
                let mut of_class: Vec<&Bytes> = Vec::new();
                of_class.extend(found.iter().filter(|frame| frame[0] == u8::from(control)));
                let numbers: Vec<&[u8]> = of_class.iter().map(|frame| &frame[frame.len() - 4..]).collect();
                prop_assert!(numbers.is_sorted(), "control: {}", control);
            }
        }
    }

    #[test]
    fn the_writer_is_woken_by_a_frame_and_by_the_end() {
        let queue = LinkQueue::default();
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(queue.poll_ready(&mut cx).is_pending());
        queue.push(frame(1, 1), TrafficClass::Bulk);
        assert!(queue.lock().writer.is_none(), "the waker was used");
        assert!(queue.poll_ready(&mut cx).is_ready());
        assert_eq!(queue.take(&mut Chunk::default()), Ok(true));
        assert!(queue.poll_ready(&mut cx).is_pending());
        queue.close("over");
        assert!(queue.lock().writer.is_none() && queue.poll_ready(&mut cx).is_ready());
    }

    fn frame(byte: u8, length: usize) -> Bytes {
        Bytes::from(vec![byte; length])
    }

    #[test]
    fn control_goes_first_and_small_frames_go_together() {
        let queue = LinkQueue::default();
        queue.push(frame(1, 2), TrafficClass::Bulk);
        queue.push(frame(2, 1), TrafficClass::Control);
        queue.push(frame(3, LARGE_FRAME), TrafficClass::Bulk);
        queue.push(frame(4, 1), TrafficClass::Bulk);
        let mut chunk = Chunk::default();
        assert_eq!(queue.take(&mut chunk), Ok(true));
        let prefix = (LARGE_FRAME as u32).to_be_bytes();
        assert_eq!(chunk.small, [&[0, 0, 0, 1, 2, 0, 0, 0, 2, 1, 1][..], &prefix].concat());
        assert_eq!((chunk.large.take(), chunk.frames), (Some(frame(3, LARGE_FRAME)), 3));
        assert_eq!(queue.take(&mut chunk), Ok(true));
        assert_eq!((chunk.small.as_slice(), chunk.frames), (&[0, 0, 0, 1, 4][..], 1));
        assert_eq!(queue.take(&mut chunk), Ok(false));
    }

    #[test]
    fn a_write_of_small_frames_stays_near_its_size() {
        let queue = LinkQueue::default();
        for _ in 0..100 {
            queue.push(frame(1, 5000), TrafficClass::Bulk);
        }
        let (mut chunk, mut total) = (Chunk::default(), 0);
        while queue.take(&mut chunk).unwrap() {
            assert!(chunk.small.len() < WRITE_BYTES + 5004, "{}", chunk.small.len());
            total += chunk.frames;
        }
        assert_eq!(total, 100);
    }

    #[test]
    fn payload_beyond_the_limit_is_dropped_and_the_link_goes_on() {
        let queue = LinkQueue::default();
        let large = frame(1, 1024 * 1024);
        for _ in 0..BULK_BYTES_MAX / large.len() {
            assert_eq!(queue.push(large.clone(), TrafficClass::Bulk), Queued::Yes);
        }
        assert_eq!(queue.push(frame(1, 1), TrafficClass::Bulk), Queued::Dropped);
        assert_eq!(queue.push(frame(1, 1), TrafficClass::Control), Queued::Yes);
        let mut chunk = Chunk::default();
        assert_eq!(queue.take(&mut chunk), Ok(true));
        assert_eq!(queue.push(frame(1, 1), TrafficClass::Bulk), Queued::Yes);
    }

    #[test]
    fn control_beyond_the_limit_closes_the_link() {
        let queue = LinkQueue::default();
        for _ in 0..CONTROL_FRAMES_MAX {
            assert_eq!(queue.push(frame(1, 1), TrafficClass::Control), Queued::Yes);
        }
        assert_eq!(queue.push(frame(1, 1), TrafficClass::Control), Queued::Closed);
        assert_eq!(queue.push(frame(1, 1), TrafficClass::Bulk), Queued::Closed);
        queue.close("another reason");
        let reason = queue.take(&mut Chunk::default()).unwrap_err();
        assert!(reason.contains("too slowly"), "{reason}");
    }

    #[test]
    fn a_frame_that_cannot_be_framed_ends_the_link() {
        let queue = LinkQueue::default();
        queue.push(Bytes::new(), TrafficClass::Bulk);
        assert!(queue.take(&mut Chunk::default()).is_err());
    }
}
