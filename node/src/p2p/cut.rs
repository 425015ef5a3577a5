//! Links that tests cut: nothing is read from or written to them, as if the network in between were gone.
//!
//! A cut link keeps its connection and what waits in it. When it heals, the stream goes on where it was; a queue that
//! overflowed meanwhile resets the link, as with any peer that takes too long. While both directions are cut the peer
//! is not dialled, and a connection from it is not taken.

use futures::{AsyncRead, AsyncWrite};
use regatta_api::testing::Direction;
use regatta_core::PeerIndex;
use std::{
    io,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// Which links are cut, by the position of the peer in the configuration.
#[derive(Debug, Default)]
pub struct Cuts {
    /// Spares uncut links the lock.
    any: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cuts: Vec<(PeerIndex, Direction)>,
    /// Streams that wait for a link to heal: at most two for each.
    waiting: Vec<Waker>,
}

impl Cuts {
    /// Cuts these links and heals all others.
    pub(crate) fn set(&self, cuts: Vec<(PeerIndex, Direction)>) {
        let mut inner = self.lock();
        self.any.store(!cuts.is_empty(), Ordering::Release);
        inner.cuts = cuts;
        inner.waiting.drain(..).for_each(Waker::wake);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().cuts.len()
    }

    /// Whether a link carries nothing in either direction.
    pub(super) fn is_dead(&self, peer: PeerIndex) -> bool {
        self.blocks(peer, Direction::In) && self.blocks(peer, Direction::Out)
    }

    fn blocks(&self, peer: PeerIndex, direction: Direction) -> bool {
        self.any.load(Ordering::Acquire) && self.lock().blocks(peer, direction)
    }

    /// Ready when the link carries bytes in this direction.
    fn poll_open(&self, peer: PeerIndex, direction: Direction, cx: &Context<'_>) -> Poll<()> {
        if !self.any.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let mut inner = self.lock();
        if !inner.blocks(peer, direction) {
            return Poll::Ready(());
        }
        if !inner.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn blocks(&self, peer: PeerIndex, direction: Direction) -> bool {
        let covers = |cut: Direction| cut == Direction::Both || cut == direction;
        self.cuts.iter().any(|(cut, which)| *cut == peer && covers(*which))
    }
}

/// A link's stream that stops while the link is cut.
pub(super) struct Cuttable<S> {
    stream: S,
    peer: PeerIndex,
    board: std::sync::Arc<super::PeerBoard>,
}

impl<S> Cuttable<S> {
    pub(super) fn new(stream: S, peer: PeerIndex, board: std::sync::Arc<super::PeerBoard>) -> Self {
        Self { stream, peer, board }
    }

    fn poll_open(&self, direction: Direction, cx: &Context<'_>) -> Poll<()> {
        self.board.cuts().poll_open(self.peer, direction, cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_open(Direction::In, cx));
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_open(Direction::Out, cx));
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_open(Direction::Out, cx));
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_open(Direction::Out, cx));
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{meter::Meter, p2p::PeerBoard};
    use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
    use std::sync::Arc;
    use tokio_util::compat::TokioAsyncReadCompatExt as _;

    fn board() -> Arc<PeerBoard> {
        Arc::new(PeerBoard::new(&[], Arc::new(Meter::default())))
    }

    #[tokio::test]
    async fn a_cut_stream_stops_and_goes_on_where_it_was() {
        let (near, far) = tokio::io::duplex(64);
        let board = board();
        let mut near = Cuttable::new(near.compat(), 3, Arc::clone(&board));
        let mut far = far.compat();
        near.write_all(b"one").await.unwrap();
        board.cuts().set(vec![(3, Direction::Both)]);
        assert!(near.write(b"two").now_or_never().is_none(), "nothing is written");
        far.write_all(b"three").await.unwrap();
        let mut buffer = [0; 8];
        assert!(near.read(&mut buffer).now_or_never().is_none(), "nothing is read");
        let waiting = tokio::spawn(async move {
            let mut buffer = [0; 5];
            near.read_exact(&mut buffer).await.unwrap();
            near.write_all(b"two").await.unwrap();
            buffer
        });
        tokio::task::yield_now().await;
        board.cuts().set(Vec::new());
        assert_eq!(&waiting.await.unwrap(), b"three", "the healing woke the reader");
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"onetwo", "and nothing is lost or doubled");
    }

    #[tokio::test]
    async fn one_direction_and_other_peers_are_left_alone() {
        let (near, far) = tokio::io::duplex(64);
        let board = board();
        let mut near = Cuttable::new(near.compat(), 3, Arc::clone(&board));
        let mut far = far.compat();
        board.cuts().set(vec![(3, Direction::Out), (4, Direction::Both)]);
        far.write_all(b"x").await.unwrap();
        let mut buffer = [0; 1];
        near.read_exact(&mut buffer).await.unwrap();
        assert!(near.write(b"y").now_or_never().is_none());
        assert!(near.flush().now_or_never().is_none());
        assert!(board.cuts().is_dead(4) && !board.cuts().is_dead(3) && !board.cuts().is_dead(5));
        board.cuts().set(vec![(3, Direction::In)]);
        near.write_all(b"y").await.unwrap();
        assert!(near.read(&mut buffer).now_or_never().is_none());
    }
}
