//! Frames of a subscription: u32 big-endian length, then MessagePack with field names.
//!
//! A frame of length 0 says that the subscription lives. The last frame of a subscription that the
//! node ends is a [`Frame::Cut`] with the reason.

use crate::body::decode_body;
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
                return decode_body(&payload).map(Some).map_err(FrameError::Malformed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Item = Vec<(u64, String)>;

    fn decode_all(decoder: &mut FrameDecoder) -> Result<Vec<Frame<Item>>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn a_claim_beyond_the_limit_is_refused_at_once() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        let error = decoder.next_frame::<Item>().unwrap_err();
        assert_eq!(error, FrameError::TooLarge { got: u32::MAX as usize });
    }

    #[test]
    fn bytes_after_the_value_of_a_frame_are_refused() {
        let mut decoder = FrameDecoder::default();
        let mut bytes = encode(&Frame::Event(Item::new())).unwrap().to_vec();
        bytes.push(0);
        bytes[3] += 1;
        decoder.push(&bytes);
        assert!(matches!(decoder.next_frame::<Item>(), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn field_names_are_on_the_wire() {
        let cut = Frame::<Item>::Cut(ApiError {
            code: "c".into(),
            message: "m".into(),
            help: "h".into(),
        });
        let bytes = encode(&cut).unwrap();
        for name in ["cut", "code", "message", "help"] {
            assert!(
                bytes.windows(name.len()).any(|window| window == name.as_bytes()),
                "{name}"
            );
        }
    }

    fn any_frame() -> impl Strategy<Value = Frame<Item>> {
        prop_oneof![
            any::<Item>().prop_map(Frame::Event),
            any::<(String, String, String)>().prop_map(|(code, message, help)| Frame::Cut(ApiError {
                code,
                message,
                help
            })),
        ]
    }

    proptest! {
        #[test]
        fn any_cutting_of_the_stream_gives_the_same_frames(
            frames in proptest::collection::vec(any_frame(), 0..6),
            piece in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                bytes.extend_from_slice(&keep_alive());
                bytes.extend_from_slice(&encode(frame).unwrap());
            }
            let mut decoder = FrameDecoder::default();
            let mut decoded = Vec::new();
            for part in bytes.chunks(piece) {
                decoder.push(part);
                decoded.extend(decode_all(&mut decoder).unwrap());
            }
            prop_assert_eq!(decoded, frames);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn a_stream_cut_anywhere_is_truncated_or_whole(frame in any_frame(), keep in any::<prop::sample::Index>()) {
            let bytes = encode(&frame).unwrap();
            let keep = keep.index(bytes.len() + 1);
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes[..keep]);
            let decoded = decode_all(&mut decoder).unwrap();
            prop_assert_eq!(decoded.len(), usize::from(keep == bytes.len()));
            prop_assert_eq!(decoder.finish().is_err(), keep != 0 && keep != bytes.len());
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes);
            let _ = decode_all(&mut decoder);
            let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            let mut decoder = FrameDecoder::default();
            decoder.push(&framed);
            let _ = decode_all(&mut decoder);
        }
    }
}
