//! One stream for each connection, in place of a multiplexer: what is written to it goes straight into Noise.
//!
//! A link is one stream, so that there is nothing to share a connection between. With a multiplexer the connection
//! belongs to a task of its own, which each frame wakes on both sides beside the link's task; here it belongs to the
//! stream, and the connection's task sleeps until one of them ends.
//!
//! * The dialling side opens the stream and the other side accepts it; there is never a second one.
//! * A connection whose stream is dropped is over, and a stream whose connection is closed fails.

use futures::{AsyncRead, AsyncWrite, task::AtomicWaker};
use libp2p::core::{
    StreamMuxer,
    muxing::StreamMuxerEvent,
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
};
use std::{
    future::{Ready, ready},
    io, iter,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

/// Its name when two sides agree on what to run over a connection.
const PROTOCOL: &str = "/regatta/single/1";

/// Agrees on a connection with a single stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Single;

/// The connection's side: gives its stream away and then waits for its end.
pub(super) struct Muxer<C> {
    /// Until the stream is opened.
    io: Option<C>,
    dialled: bool,
    shared: Arc<Shared>,
}

/// The only stream of a connection.
pub(super) struct OnlyStream<C> {
    io: C,
    shared: Arc<Shared>,
}

/// What connection and stream know of each other.
#[derive(Default)]
struct Shared {
    /// The stream is gone.
    dropped: AtomicBool,
    /// The connection is closed.
    closed: AtomicBool,
    connection: AtomicWaker,
    stream: AtomicWaker,
}

impl UpgradeInfo for Single {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(PROTOCOL)
    }
}

impl<C> InboundConnectionUpgrade<C> for Single
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, false)))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Single
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, true)))
    }
}

impl<C> Muxer<C> {
    fn new(io: C, dialled: bool) -> Self {
        Self {
            io: Some(io),
            dialled,
            shared: Arc::default(),
        }
    }

    /// The stream, once, if it is for this side to take it in this way.
    fn open(&mut self, outbound: bool) -> Poll<io::Result<OnlyStream<C>>> {
        if outbound != self.dialled {
            return Poll::Pending;
        }
        self.io.take().map_or(Poll::Pending, |io| {
            let shared = Arc::clone(&self.shared);
            Poll::Ready(Ok(OnlyStream { io, shared }))
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = OnlyStream<C>;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        self.open(false)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        self.open(true)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.shared.connection.register(cx.waker());
        if self.shared.dropped.load(Ordering::Acquire) {
            return Poll::Ready(Err(over("the stream of the connection has ended")));
        }
        Poll::Pending
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io = None;
        self.shared.close();
        Poll::Ready(Ok(()))
    }
}

impl<C> Drop for Muxer<C> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.stream.wake();
    }
}

impl<C> OnlyStream<C> {
    fn check(&self) -> io::Result<()> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(over("the connection was closed"));
        }
        Ok(())
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for OnlyStream<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        // Whoever uses a stream always waits for bytes: this is where the end of the connection finds it.
        self.shared.stream.register(cx.waker());
        self.check()?;
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for OnlyStream<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

impl<C> Drop for OnlyStream<C> {
    fn drop(&mut self) {
        self.shared.dropped.store(true, Ordering::Release);
        self.shared.connection.wake();
    }
}

fn over(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, future::poll_fn, task::noop_waker};
    use libp2p::core::muxing::StreamMuxerExt as _;
    use tokio::io::DuplexStream;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

    type Side = Muxer<Compat<DuplexStream>>;

    fn sides() -> (Side, Side) {
        let (left, right) = tokio::io::duplex(64);
        (Muxer::new(left.compat(), true), Muxer::new(right.compat(), false))
    }

    #[tokio::test]
    async fn each_side_has_the_stream_once_and_in_its_own_way() {
        let (mut dialler, mut listener) = sides();
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        assert!(dialler.poll_inbound_unpin(&mut cx).is_pending());
        assert!(listener.poll_outbound_unpin(&mut cx).is_pending());
        let mut near = poll_fn(|cx| dialler.poll_outbound_unpin(cx)).await.unwrap();
        let mut far = poll_fn(|cx| listener.poll_inbound_unpin(cx)).await.unwrap();
        assert!(dialler.poll_outbound_unpin(&mut cx).is_pending());
        assert!(listener.poll_inbound_unpin(&mut cx).is_pending());
        let mut bytes = [0; 5];
        near.write_all(b"there").await.unwrap();
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"there");
        far.write_all(b"back!").await.unwrap();
        near.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"back!");
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_stream_here_and_there() {
        let (mut dialler, mut listener) = sides();
        let near = poll_fn(|cx| dialler.poll_outbound_unpin(cx)).await.unwrap();
        let mut far = poll_fn(|cx| listener.poll_inbound_unpin(cx)).await.unwrap();
        let mut end = Box::pin(poll_fn(|cx| dialler.poll_unpin(cx)));
        assert!(end.as_mut().now_or_never().is_none());
        let ended = tokio::join!(end, async { drop(near) }).0;
        assert!(ended.unwrap_err().to_string().contains("has ended"));
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "the other side reads the end");
    }

    #[tokio::test]
    async fn a_stream_whose_connection_is_closed_or_gone_fails() {
        for is_dropped in [false, true] {
            let (mut dialler, _listener) = sides();
            let mut near = poll_fn(|cx| dialler.poll_outbound_unpin(cx)).await.unwrap();
            let mut cx = Context::from_waker(futures::task::noop_waker_ref());
            assert!(dialler.poll_unpin(&mut cx).is_pending());
            let mut byte = [0];
            let reading = near.read(&mut byte);
            let closing = async {
                if is_dropped {
                    drop(dialler);
                } else {
                    dialler.close().await.unwrap();
                }
            };
            let (read, ()) = tokio::join!(reading, closing);
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            let waker = noop_waker();
            let mut cx = Context::from_waker(&waker);
            assert!(matches!(
                Pin::new(&mut near).poll_write(&mut cx, b"x"),
                Poll::Ready(Err(_))
            ));
        }
    }

    #[tokio::test]
    async fn a_connection_that_closes_before_its_stream_is_opened_lets_go_of_it() {
        let (mut dialler, mut listener) = sides();
        poll_fn(|cx| dialler.poll_close_unpin(cx)).await.unwrap();
        let mut far = poll_fn(|cx| listener.poll_inbound_unpin(cx)).await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    }
}
