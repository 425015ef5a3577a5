//! Frames between the lab and a generator: a length, then canonical MessagePack.

use crate::{LoadProgress, LoadSpec, RemoteError};
use regatta_base::{decode, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame in bytes. A specification with 10,000 targets takes a fifth of it.
pub(crate) const FRAME_BYTES_MAX: usize = 4 << 20;
/// Bytes of an outcome in one frame.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Longest outcome in bytes: that of some 20 million transactions.
pub(crate) const OUTCOME_BYTES_MAX: usize = 1 << 30;

/// Under this name a generator discloses that its host's wall clock was set.
pub(crate) const CLOCK_SET: &str = "clock set";

/// What the lab asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// What time is it there?
    Clock {
        /// Time on the lab's clock when it was asked, in nanoseconds.
        asked_ns: u64,
    },
    /// Build and sign.
    Prepare {
        /// The load, with the run's clock as the generator has it.
        spec: Box<LoadSpec>,
    },
    /// Subscribe to all targets.
    Connect,
    /// Begin at this time of the run's clock.
    Start {
        /// Nanoseconds since the run's origin.
        start_ns: u64,
    },
    /// End the schedule.
    Stop,
    /// Wait for the last transactions and close the books.
    Drain {
        /// Longest wait after the schedule's end, in milliseconds.
        limit_ms: u64,
    },
}

/// What the generator tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// The time.
    Clock {
        /// As asked.
        asked_ns: u64,
        /// Its own monotonic clock when the question had arrived, in nanoseconds.
        received_ns: u64,
        /// The same when the answer left.
        sent_ns: u64,
    },
    /// How far the preparation is.
    Built {
        /// Transactions that are built.
        built: u64,
        /// Transactions of the schedule.
        total: u64,
    },
    /// Everything is built, as far as memory allows.
    Prepared {
        /// Transactions of the schedule.
        total: u64,
    },
    /// Subscribed to all targets.
    Connected,
    /// How the load goes.
    Progress(LoadProgress),
    /// Every transaction of the schedule was handed over.
    Scheduled,
    /// A piece of the encoded outcome.
    Piece(#[serde(with = "serde_bytes")] Vec<u8>),
    /// That was the last piece.
    Done,
    /// The load has failed, and why.
    Failed(String),
}

/// Writes one frame.
pub(crate) async fn send<T: Serialize>(mut stream: impl AsyncWrite + Unpin, message: &T) -> Result<(), RemoteError> {
    let body = encode(message);
    if body.len() > FRAME_BYTES_MAX {
        return Err(RemoteError::Protocol(format!(
            "a message of {} bytes, at most {FRAME_BYTES_MAX} are allowed",
            body.len()
        )));
    }
    let length = (body.len() as u32).to_le_bytes();
    let written = async {
        stream.write_all(&length).await?;
        stream.write_all(&body).await?;
        stream.flush().await
    };
    written.await.map_err(RemoteError::Broken)
}

/// Reads one frame; none at the end of the stream. Not safe to cancel in the middle of a frame.
pub(crate) async fn receive<T: Serialize + DeserializeOwned>(
    mut stream: impl AsyncRead + Unpin,
) -> Result<Option<T>, RemoteError> {
    let mut length = [0; 4];
    match stream.read(&mut length[..1]).await.map_err(RemoteError::Broken)? {
        0 => return Ok(None),
        _ => stream.read_exact(&mut length[1..]).await.map_err(RemoteError::Broken)?,
    };
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(RemoteError::Protocol(format!(
            "a frame of {length} bytes, at most {FRAME_BYTES_MAX} are allowed"
        )));
    }
    // Read as it comes: a length alone must not take memory.
    let mut body = Vec::new();
    let read = stream.take(length as u64).read_to_end(&mut body).await;
    if read.map_err(RemoteError::Broken)? < length {
        return Err(RemoteError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    let message = decode(&body, FRAME_BYTES_MAX).map_err(|error| RemoteError::Protocol(error.to_string()))?;
    Ok(Some(message))
}
