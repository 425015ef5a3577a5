//! Frames: a length of four bytes, least significant first, then MessagePack with named fields.

use crate::limits::FRAME_BYTES_MAX;
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of the length.
const HEADER: usize = 4;

/// Why bytes are no frame, or a value does not fit into one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed.
    #[error("a frame of {got} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// A frame without content.
    #[error("an empty frame")]
    Empty,
    /// Not what was expected.
    #[error("malformed frame: {0}\n  help: lab and agent must be of one version")]
    Malformed(String),
}

/// A frame with `value` in it.
///
/// # Errors
/// [`FrameError::TooLong`] when it does not fit.
pub fn encode_frame<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER];
    rmp_serde::encode::write_named(&mut bytes, value).map_err(|error| FrameError::Malformed(error.to_string()))?;
    let got = bytes.len() - HEADER;
    let length = u32::try_from(got).ok().filter(|_| got <= FRAME_BYTES_MAX);
    let length = length.ok_or(FrameError::TooLong { got })?;
    bytes[..HEADER].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Puts frames together from whatever pieces a stream hands over. Holds at most one frame and the last piece.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    /// Bytes at the beginning of the buffer that have been given out.
    used: usize,
}

impl Frames {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, when it is complete.
    ///
    /// # Errors
    /// [`FrameError`]; after that the stream is of no more use, since nobody knows where the next frame begins.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        debug_assert!(self.used <= self.buffer.len(), "no more is used than there is");
        let rest = &self.buffer[self.used..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { got: length });
        }
        if length == 0 {
            return Err(FrameError::Empty);
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let value = rmp_serde::from_slice(body).map_err(|error| FrameError::Malformed(error.to_string()))?;
        self.used += HEADER + length;
        Ok(Some(value))
    }

    /// Whether the stream may end here: no frame is half there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Order, OrderBody, Reply};
    use proptest::prelude::*;

    fn renew(id: u64) -> Order {
        Order {
            id,
            body: OrderBody::Renew { lease_ms: 60_000 },
        }
    }

    #[test]
    fn over_long_frames_are_refused_before_they_are_read() {
        let mut frames = Frames::default();
        frames.push(&(FRAME_BYTES_MAX as u32 + 1).to_le_bytes());
        assert_eq!(
            frames.take::<Order>(),
            Err(FrameError::TooLong {
                got: FRAME_BYTES_MAX + 1
            })
        );
        let mut frames = Frames::default();
        frames.push(&[0; 4]);
        assert_eq!(frames.take::<Order>(), Err(FrameError::Empty));
        let long = serde_bytes::ByteBuf::from(vec![0; FRAME_BYTES_MAX]);
        assert!(matches!(encode_frame(&long), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_frame_that_is_cut_off_is_waited_for() {
        let bytes = encode_frame(&renew(7)).unwrap();
        let mut frames = Frames::default();
        for &byte in &bytes[..bytes.len() - 1] {
            frames.push(&[byte]);
            assert_eq!(frames.take::<Order>(), Ok(None));
            assert!(!frames.is_empty());
        }
        frames.push(&bytes[bytes.len() - 1..]);
        assert_eq!(frames.take::<Order>(), Ok(Some(renew(7))));
        assert!(frames.is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), framed in any::<bool>()) {
            let mut frames = Frames::default();
            if framed {
                frames.push(&(bytes.len() as u32).to_le_bytes());
            }
            frames.push(&bytes);
            let _ = frames.take::<Order>();
            let _ = frames.take::<Reply>();
        }

        #[test]
        fn a_frame_with_one_byte_changed_never_panics(at in 0_usize..40, value in any::<u8>()) {
            let mut bytes = encode_frame(&renew(9)).unwrap();
            let at = at % bytes.len();
            bytes[at] = value;
            let mut frames = Frames::default();
            frames.push(&bytes);
            let _ = frames.take::<Order>();
        }

        #[test]
        fn pieces_of_any_size_make_the_same_frames(ids in proptest::collection::vec(any::<u64>(), 1..20), piece in 1_usize..60) {
            let stream: Vec<u8> = ids.iter().flat_map(|&id| encode_frame(&renew(id)).unwrap()).collect();
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for piece in stream.chunks(piece) {
                frames.push(piece);
                while let Some(order) = frames.take::<Order>().unwrap() {
                    got.push(order.id);
                }
            }
            prop_assert!(frames.is_empty());
            prop_assert_eq!(got, ids);
        }
    }
}
