//! One link at work: a stream is cut into frames, and queued frames are written to it.

use super::{
    frame::Assembler,
    queue::{Chunk, LinkQueue},
    shape::Line,
};
use crate::meter::Meter;
use bytes::Bytes;
use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    future::{Either, poll_fn, select},
};
use regatta_api::metrics::Metric;
use regatta_base::limits::FRAME_BYTES_MAX;
use regatta_core::PeerIndex;
use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, ready},
    time::Instant,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 * 1024;
/// Events that wait for the loop; the links wait beyond it.
const EVENTS_MAX: usize = 4096;
/// Bytes of frames that wait for the loop; the links wait beyond it.
const INBOX_BYTES: usize = 32 * 1024 * 1024;
/// Memory that an idle link keeps for writing.
const IDLE_BUFFER: usize = 4 * 1024;

/// What the network tells the loop.
#[derive(Debug)]
pub enum NetworkEvent {
    /// A link came up.
    Up(PeerIndex),
    /// It is gone.
    Down(PeerIndex),
    /// A frame arrived; it counts against the limit of waiting bytes until this is dropped.
    Frame(PeerIndex, Bytes, FrameShare),
}

/// A frame's share of the bytes that may wait.
#[derive(Debug)]
pub struct FrameShare(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What all links of a node share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) events: mpsc::Sender<NetworkEvent>,
    pub(super) meter: Arc<Meter>,
    inbox: Arc<Semaphore>,
    /// One read buffer for all links: they take turns on one thread.
    scratch: Arc<Mutex<Vec<u8>>>,
}

impl Shared {
    pub(super) fn new(meter: Arc<Meter>) -> (Self, mpsc::Receiver<NetworkEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Self {
            events,
            meter,
            inbox: Arc::new(Semaphore::new(INBOX_BYTES)),
            scratch: Arc::new(Mutex::new(vec![0; READ_BYTES])),
        };
        (shared, receiver)
    }
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer closed the link")]
    Closed,
    #[error("protocol fault: {0}")]
    Fault(String),
    #[error("{0}")]
    Reset(String),
    #[error("the node is stopping")]
    Stopping,
}

/// Reads and writes until either fails.
pub(super) async fn run(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    line: Line,
    queue: Arc<LinkQueue>,
    shared: Shared,
) -> LinkEnd {
    let (reader, writer) = stream.split();
    let reading = pin!(read(reader, line.peer(), &shared));
    let writing = pin!(write(writer, line, &queue, &shared.meter));
    let (Either::Left((Err(end), _)) | Either::Right((Err(end), _))) = select(reading, writing).await;
    end
}

async fn read(mut stream: impl AsyncRead + Unpin, peer: PeerIndex, shared: &Shared) -> Result<Infallible, LinkEnd> {
    let (mut assembler, mut frames) = (Assembler::default(), Vec::new());
    loop {
        read_some(&mut stream, &mut assembler, &mut frames, shared).await?;
        for frame in frames.drain(..) {
            deliver(frame, peer, shared).await?;
        }
    }
}

async fn read_some(
    stream: &mut (impl AsyncRead + Unpin),
    assembler: &mut Assembler,
    frames: &mut Vec<Bytes>,
    shared: &Shared,
) -> Result<(), LinkEnd> {
    poll_fn(|cx| {
        let mut scratch = shared.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ready!(Pin::new(&mut *stream).poll_read(cx, &mut scratch))?;
        if count == 0 {
            return Poll::Ready(Err(LinkEnd::Closed));
        }
        let result = assembler.push(&scratch[..count], frames);
        Poll::Ready(result.map_err(|error| {
            shared.meter.add(Metric::FramesInvalid, 1);
            LinkEnd::Fault(error.to_string())
        }))
    })
    .await
}

async fn deliver(frame: Bytes, peer: PeerIndex, shared: &Shared) -> Result<(), LinkEnd> {
    const {
        assert!(
            FRAME_BYTES_MAX <= INBOX_BYTES,
            "a frame must fit the inbox, or its link waits for ever"
        );
    };
    shared.meter.add(Metric::FramesReceived, 1);
    shared.meter.add(Metric::FrameBytesReceived, frame.len() as u64);
    let share = Arc::clone(&shared.inbox)
        .acquire_many_owned(frame.len() as u32)
        .await
        .map_err(|_| LinkEnd::Stopping)?;
    let event = NetworkEvent::Frame(peer, frame, FrameShare(share));
    shared.events.send(event).await.map_err(|_| LinkEnd::Stopping)
}

async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut line: Line,
    queue: &LinkQueue,
    meter: &Meter,
) -> Result<Infallible, LinkEnd> {
    let mut chunk = Chunk::default();
    loop {
        while let Some(due) = line.next_due(Instant::now()) {
            send(&mut stream, &due, meter).await?;
        }
        let takes = line.takes(Instant::now());
        if takes && queue.take(&mut chunk).map_err(LinkEnd::Reset)? {
            if let Some(chunk) = line.hold(&mut chunk, Instant::now()) {
                send(&mut stream, chunk, meter).await?;
            }
            continue;
        }
        chunk.small.shrink_to(IDLE_BUFFER);
        stream.flush().await?;
        line.wait(takes.then_some(queue)).await;
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), chunk: &Chunk, meter: &Meter) -> io::Result<()> {
    stream.write_all(&chunk.small).await?;
    let mut bytes = chunk.small.len();
    if let Some(large) = &chunk.large {
        stream.write_all(large).await?;
        bytes += large.len();
    }
    meter.add(Metric::FramesSent, chunk.frames);
    meter.add(Metric::FrameBytesSent, bytes as u64);
    Ok(())
}
