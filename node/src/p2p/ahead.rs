//! Reading more than is asked for, while there is more.
//!
//! Noise reads eight kilobytes at a time, each with a call of the system. That is enough for votes; payload comes by
//! the megabyte. So once a read was filled to the brim the next ones take as much as there is, until less comes.

use futures::{AsyncRead, AsyncWrite};
use std::{
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Bytes that one read takes while there is more than was asked for.
const AHEAD_BYTES: usize = 64 * 1024;

/// A stream that is read ahead.
#[derive(Debug)]
pub(super) struct ReadAhead<S> {
    stream: S,
    /// Room for what is read ahead; none while reads are small.
    room: Vec<u8>,
    /// The part of `room` that was read and not taken yet.
    kept: Range<usize>,
    /// The last read got as much as it could take.
    was_full: bool,
}

impl<S> ReadAhead<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            room: Vec::new(),
            kept: 0..0,
            was_full: false,
        }
    }

    #[cfg(test)]
    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Gives what is kept.
    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.kept.len().min(buffer.len());
        let given = self.kept.start..self.kept.start + count;
        buffer[..count].copy_from_slice(&self.room[given]);
        self.kept.start += count;
        if self.kept.is_empty() && !self.was_full {
            self.room = Vec::new();
        }
        count
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    /// Takes as much as there is, and goes back to small reads when that is less than there is room for.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        debug_assert!(self.kept.is_empty());
        self.room.resize(AHEAD_BYTES, 0);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut self.room);
        let count = if let Poll::Ready(Ok(count)) = read { count } else { 0 };
        (self.kept, self.was_full) = (0..count, count == AHEAD_BYTES);
        if count == 0 {
            self.room = Vec::new();
        }
        read.map_ok(drop)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.kept.is_empty() && !self.was_full {
            let count = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            self.was_full = count == buffer.len() && count > 0;
            return Poll::Ready(Ok(count));
        }
        if self.kept.is_empty() {
            ready!(self.fill(cx))?;
        }
        Poll::Ready(Ok(self.give(buffer)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{AsyncReadExt as _, executor::block_on, io::Cursor};
    use proptest::prelude::*;

    /// Gives at most as many bytes at a time as the list says, and sometimes none yet.
    struct Drip {
        bytes: Cursor<Vec<u8>>,
        sizes: Vec<usize>,
        reads: usize,
    }

    impl AsyncRead for Drip {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            self.reads += 1;
            let size = self.sizes[self.reads % self.sizes.len()].min(buffer.len());
            if size == 0 && !buffer.is_empty() && self.reads < 1000 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Pin::new(&mut self.bytes).poll_read(cx, &mut buffer[..size.max(1)])
        }
    }

    fn drip(length: usize, sizes: Vec<usize>) -> (Vec<u8>, ReadAhead<Drip>) {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        let stream = Drip {
            bytes: Cursor::new(bytes.clone()),
            sizes,
            reads: 0,
        };
        (bytes, ReadAhead::new(stream))
    }

    proptest! {
        #[test]
        fn every_byte_comes_once_in_order_and_then_the_end(
            length in 0usize..300_000,
            sizes in proptest::collection::vec(prop_oneof![0usize..3, Just(8192), Just(AHEAD_BYTES)], 1..6),
            buffer in 1usize..20_000,
        ) {
            let (expected, mut stream) = drip(length, sizes);
            let (mut found, mut buffer) = (Vec::new(), vec![0; buffer]);
            loop {
                let count = block_on(stream.read(&mut buffer)).unwrap();
                if count == 0 {
                    break;
                }
                found.extend_from_slice(&buffer[..count]);
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_flood_takes_few_reads_and_a_trickle_no_memory() {
        let (expected, mut stream) = drip(1_000_000, vec![AHEAD_BYTES]);
        let (mut found, mut buffer) = (0, [0; 8192]);
        while found < expected.len() {
            found += block_on(stream.read(&mut buffer)).unwrap();
        }
        assert!(
            stream.get_ref().reads <= 1 + 1_000_000 / AHEAD_BYTES + 1,
            "{}",
            stream.get_ref().reads
        );
        let (_, mut stream) = drip(100_000, vec![8191]);
        for _ in 0..5 {
            assert_eq!(block_on(stream.read(&mut buffer)).unwrap(), 8191);
            assert_eq!(stream.room.capacity(), 0);
        }
    }
}
