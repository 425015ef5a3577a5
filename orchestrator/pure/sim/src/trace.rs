//! The trace: a digest over everything that happened, in its order.

use crate::Nanos;
use regatta_base::Digest;

/// Bytes that are collected before they are hashed: hashing is fastest in large pieces.
const BUFFER_BYTES: usize = 32 * 1024;

/// A running digest over the ordered log of events.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    events: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            hasher: blake3::Hasher::new_derive_key("regatta simulation trace v1"),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            events: 0,
        }
    }
}

impl Trace {
    /// Notes one event: when, where, what kind, and what tells it from others of its kind.
    pub(crate) fn note(&mut self, at: Nanos, host: usize, kind: u8, detail: u64) {
        self.events += 1;
        if self.buffer.len() + 32 > BUFFER_BYTES {
            self.flush();
        }
        self.buffer.extend_from_slice(&at.to_le_bytes());
        self.buffer.extend_from_slice(&(host as u32).to_le_bytes());
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&detail.to_le_bytes());
    }

    fn flush(&mut self) {
        self.hasher.update(&self.buffer);
        self.buffer.clear();
    }

    /// Number of events so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The digest of everything so far and of `outcome`, which belongs to no event.
    pub(crate) fn digest_with(&mut self, outcome: &[u8]) -> Digest {
        self.flush();
        let mut all = self.hasher.clone();
        all.update(outcome);
        Digest(*all.finalize().as_bytes())
    }
}

/// A number that differs for frames that differ, all but surely: their length with their first and last bytes.
///
/// The last bytes of a frame with a signature are the signature's, which depends on everything else.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len().min(8)].copy_from_slice(&chunk[..chunk.len().min(8)]);
        u64::from_le_bytes(word)
    };
    let (head, tail) = (bytes.len().min(8), bytes.len().saturating_sub(8));
    let mix = word(&bytes[..head]).rotate_left(17) ^ word(&bytes[tail..]);
    mix.wrapping_add((bytes.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_event_counts_and_so_does_the_order() {
        let digest = |events: &[(Nanos, usize, u8, u64)]| {
            let mut trace = Trace::default();
            for &(at, host, kind, detail) in events {
                trace.note(at, host, kind, detail);
            }
            trace.digest_with(b"")
        };
        let base = digest(&[(1, 2, 3, 4), (5, 6, 7, 8)]);
        assert_eq!(digest(&[(1, 2, 3, 4), (5, 6, 7, 8)]), base);
        for other in [
            [(9, 2, 3, 4), (5, 6, 7, 8)],
            [(1, 9, 3, 4), (5, 6, 7, 8)],
            [(1, 2, 9, 4), (5, 6, 7, 8)],
            [(1, 2, 3, 9), (5, 6, 7, 8)],
            [(5, 6, 7, 8), (1, 2, 3, 4)],
        ] {
            assert_ne!(digest(&other), base);
        }
    }

    #[test]
    fn short_and_long_frames_have_fingerprints() {
        let frames: [&[u8]; 5] = [b"", b"a", b"ab", b"0123456789abcdef", b"0123456789abcdeg"];
        let prints: std::collections::BTreeSet<u64> = frames.iter().map(|frame| fingerprint(frame)).collect();
        assert_eq!(prints.len(), frames.len());
    }
}
