//! Frames on a link: a length of four bytes, big-endian, and that many bytes.

use bytes::Bytes;
use regatta_base::limits::FRAME_BYTES_MAX;

/// Bytes before each frame.
const PREFIX: usize = 4;

/// The other side does not keep to the framing; nothing after this can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes: 1 to {FRAME_BYTES_MAX} are allowed")]
pub(super) struct BadLength(usize);

/// Appends the length that precedes `frame`; `false` when no frame has that length.
pub(super) fn put_prefix(buffer: &mut Vec<u8>, frame: &[u8]) -> bool {
    let allowed = (1..=FRAME_BYTES_MAX).contains(&frame.len());
    if allowed {
        buffer.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    }
    allowed
}

/// Cuts a stream of bytes into frames. Holds memory only while a frame is incomplete.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    prefix: [u8; PREFIX],
    prefix_length: usize,
    /// Length of the present frame; 0 while its prefix is incomplete.
    wanted: usize,
    body: Vec<u8>,
}

impl Assembler {
    /// Takes the next bytes of the stream and appends the frames that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Bytes>) -> Result<(), BadLength> {
        while !bytes.is_empty() {
            bytes = if self.wanted == 0 {
                self.take_prefix(bytes)?
            } else {
                self.take_body(bytes, frames)
            };
        }
        Ok(())
    }

    fn take_prefix<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], BadLength> {
        let (taken, rest) = bytes.split_at(bytes.len().min(PREFIX - self.prefix_length));
        self.prefix[self.prefix_length..][..taken.len()].copy_from_slice(taken);
        self.prefix_length += taken.len();
        if self.prefix_length == PREFIX {
            let length = u32::from_be_bytes(self.prefix) as usize;
            if !(1..=FRAME_BYTES_MAX).contains(&length) {
                return Err(BadLength(length));
            }
            (self.wanted, self.prefix_length) = (length, 0);
        }
        Ok(rest)
    }

    fn take_body<'a>(&mut self, bytes: &'a [u8], frames: &mut Vec<Bytes>) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(self.wanted - self.body.len()));
        if taken.len() == self.wanted {
            frames.push(Bytes::copy_from_slice(taken));
            self.wanted = 0;
            return rest;
        }
        if self.body.capacity() == 0 {
            self.body.reserve_exact(self.wanted);
        }
        self.body.extend_from_slice(taken);
        if self.body.len() == self.wanted {
            frames.push(std::mem::take(&mut self.body).into());
            self.wanted = 0;
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            assert!(put_prefix(&mut bytes, frame));
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    #[test]
    fn lengths_outside_the_limits_are_refused() {
        for length in [0, FRAME_BYTES_MAX + 1, u32::MAX as usize] {
            let mut frames = Vec::new();
            let result = Assembler::default().push(&(length as u32).to_be_bytes(), &mut frames);
            assert_eq!(result, Err(BadLength(length)));
        }
        let longest = vec![3; FRAME_BYTES_MAX];
        let mut frames = Vec::new();
        Assembler::default()
            .push(&encode(std::slice::from_ref(&longest)), &mut frames)
            .unwrap();
        assert_eq!(frames, [Bytes::from(longest)]);
        assert!(!put_prefix(&mut Vec::new(), &[]));
        assert!(!put_prefix(&mut Vec::new(), &vec![0; FRAME_BYTES_MAX + 1]));
    }

    proptest! {
        #[test]
        fn any_cutting_of_the_stream_yields_the_frames(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..20),
            cut in 1..50usize,
        ) {
            let (mut assembler, mut found) = (Assembler::default(), Vec::new());
            for piece in encode(&frames).chunks(cut) {
                assembler.push(piece, &mut found).unwrap();
            }
            prop_assert_eq!(found, frames);
            prop_assert_eq!(assembler.body.capacity(), 0);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut found = Vec::new();
            let _ = Assembler::default().push(&bytes, &mut found);
        }
    }
}
