//! Frames of a subscription: u32 big-endian length, then MessagePack with field names.
//!
//! A frame of length 0 says that the subscription lives. The last frame of a subscription that the
//! node ends is a [`Frame::Cut`] with the reason.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use regatta_api::ApiError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Content type of a subscription in frames.
pub const FRAMES: &str = "application/vnd.regatta.frames+msgpack";
/// Largest frame in bytes, its length prefix aside.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of the length prefix.
const PREFIX_BYTES: usize = 4;

/// What one frame carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame<T> {
    /// The next event.
    Event(T),
    /// The node ends the subscription; nothing follows.
    Cut(ApiError),
}

/// Why bytes are not frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The prefix promises more than a frame may have.
    #[error("a frame of {got} bytes exceeds the limit of {FRAME_BYTES_MAX}")]
    TooLarge {
        /// The length in the prefix.
        got: usize,
    },
    /// The payload does not parse.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// The stream ended inside a frame.
    #[error("the stream ended {0} bytes into a frame")]
    Truncated(usize),
}

/// The frame that says that the subscription lives.
#[must_use]
pub fn keep_alive() -> Bytes {
    Bytes::from_static(&[0; PREFIX_BYTES])
}

/// Encodes one frame, prefix included.
///
/// # Errors
/// [`FrameError::TooLarge`] when the payload exceeds [`FRAME_BYTES_MAX`].
pub fn encode<T: Serialize>(frame: &Frame<T>) -> Result<Bytes, FrameError> {
    let mut out = BytesMut::new().writer();
    out.get_mut().put_u32(0);
    rmp_serde::encode::write_named(&mut out, frame).map_err(|error| FrameError::Malformed(error.to_string()))?;
    let mut bytes = out.into_inner();
    let got = bytes.len() - PREFIX_BYTES;
    let length = u32::try_from(got).ok().filter(|_| got <= FRAME_BYTES_MAX);
    bytes[..PREFIX_BYTES].copy_from_slice(&length.ok_or(FrameError::TooLarge { got })?.to_be_bytes());
    Ok(bytes.freeze())
}

/// Cuts a stream of bytes into frames, whatever the sizes of its pieces.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
}

impl FrameDecoder {
    /// Adds the next bytes of the stream. Memory grows with what arrived, not with what a prefix claims.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes arrive. Skips signs of life.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be used any further.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> Result<Option<Frame<T>>, FrameError> {
        while let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(FrameError::TooLarge { got: length });
            }
            if self.buffer.len() < PREFIX_BYTES + length {
                return Ok(None);
            }
            self.buffer.advance(PREFIX_BYTES);
            if length > 0 {
                let payload = self.buffer.split_to(length);
                return crate::decode_body(&payload).map(Some).map_err(FrameError::Malformed);
            }
        }
        Ok(None)
    }

    /// Checks that the stream ended between two frames.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] when bytes of an unfinished frame are left.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() {
            Ok(())
        } else {
            Err(FrameError::Truncated(self.buffer.len()))
        }
    }
}
