//! Frames between neighbours.
//!
//! Canonical MessagePack, except that a batch travels raw behind a byte that MessagePack never uses:
//! its bytes are signed and content-addressed already, and another encoding would copy every payload.

use bytes::{BufMut, Bytes, BytesMut};
use regatta_api::view::SubmitResult;
use regatta_base::{CodecError, Digest, Height, HexBytes, decode, encode, limits};
use regatta_consensus::{Evidence, SignedRecall};
use serde::{Deserialize, Serialize};

/// Version of the frames; neighbours with another one are refused.
pub(crate) const PROTOCOL_VERSION: u16 = limits::PEER_PROTOCOL_VERSION as u16;
/// Never the first byte of a MessagePack value.
const RAW_BATCH: u8 = 0xc1;

/// Short name of an instance on the wire: the first bytes of a digest over chain, instance and validators.
pub(crate) type InstanceTag = u64;
/// The first bytes of a neighbour's key: enough to recognise it among the configured peers.
pub(crate) type KeyPrefix = u64;

/// First frame on every link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    /// Digest of the chain's name.
    pub(crate) chain: Digest,
    pub(crate) topology: Topology,
    /// The instances that the sender runs.
    pub(crate) instances: Vec<InstanceHello>,
}

/// How the sender of a greeting runs an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceHello {
    pub(crate) tag: InstanceTag,
    /// Last executed height.
    pub(crate) height: Height,
    /// Whether it wants votes; a follower that does not gets decisions instead.
    pub(crate) wants_votes: bool,
}

/// What a node tells its neighbours about its other links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Topology {
    /// Neighbours whose link is up, sorted.
    pub(crate) neighbours: Vec<KeyPrefix>,
    /// For each instance that the sender runs the links to the nearest of its validators: 0 at a validator.
    pub(crate) distances: Vec<(InstanceTag, u8)>,
}

impl Topology {
    /// Links between the sender and the nearest validator of an instance; the greatest number when it does not say.
    pub(crate) fn distance(&self, tag: InstanceTag) -> u8 {
        let stated = self.distances.iter().find(|(stated, _)| *stated == tag);
        stated.map_or(u8::MAX, |(_, distance)| *distance)
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Anything but a batch.
    Plain(Plain),
    /// The exact bytes of a batch.
    Batch(InstanceTag, Bytes),
}

/// Frames in MessagePack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Plain {
    Hello(Hello),
    Topology(Topology),
    Instance(InstanceTag, Body),
    Release(ReleaseBody),
}

/// Frames about releases, which are no matter of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReleaseBody {
    /// "I know this release, and hold these pieces of its program", a bit each, the first one lowest.
    Announce { number: u64, id: Digest, held: HexBytes },
    /// "Send me this release."
    DocumentRequest { id: Digest },
    /// Answer to `DocumentRequest`.
    Document(HexBytes),
    /// "Send me this piece of that program."
    ChunkRequest { artifact: Digest, chunk: u32 },
    /// Answer to `ChunkRequest`; `None` when the sender cannot, now or ever.
    Chunk {
        artifact: Digest,
        chunk: u32,
        bytes: Option<HexBytes>,
    },
}

/// Frames of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// Encoded consensus messages.
    Consensus(Vec<HexBytes>),
    /// "I hold these batches."
    Announce(Vec<Digest>),
    /// "Send me these batches."
    Want(Vec<Digest>),
    /// "Bring these transactions to a validator."
    Forward { id: u64, transactions: Vec<HexBytes> },
    /// Answer to `Forward`, in its order.
    ForwardResult { id: u64, results: Vec<SubmitResult> },
    /// "Send me your blocks from this height on."
    BlockRequest { from: Height, count: u16 },
    /// Answer to `BlockRequest`: a block, followed by its batches in order.
    Block { header: HexBytes, certificate: HexBytes },
    /// "Send me this header that you voted for."
    HeaderRequest { height: Height, digest: Digest },
    /// Answer to `HeaderRequest`.
    Header(HexBytes),
    /// Proofs that validators contradicted themselves.
    Evidence(Vec<Evidence>),
    /// What validators that lost their memory ask, and what others answer.
    Recall(Vec<SignedRecall>),
    /// Answer to `BlockRequest`: "my first block is of this height".
    Pruned { first: Height },
    /// "Send me the manifest of your newest snapshot, if it is of a greater height."
    ManifestRequest { above: Height },
    /// Answer to `ManifestRequest`.
    Manifest(HexBytes),
    /// "Send me this chunk of your snapshot of that height."
    ChunkRequest { height: Height, chunk: u32 },
    /// Answer to `ChunkRequest`; `None` when the sender does not have that snapshot any more.
    Chunk {
        height: Height,
        chunk: u32,
        bytes: Option<HexBytes>,
    },
}

impl Plain {
    pub(crate) fn encode(&self) -> Bytes {
        encode(self).into()
    }
}

/// The frame of a batch.
pub(crate) fn batch_frame(tag: InstanceTag, batch: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(9 + batch.len());
    frame.put_u8(RAW_BATCH);
    frame.put_u64(tag);
    frame.put_slice(batch);
    frame.freeze()
}

impl Frame {
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        if bytes.first() != Some(&RAW_BATCH) {
            return decode(bytes, limits::FRAME_BYTES_MAX).map(Self::Plain);
        }
        let short = || CodecError::Malformed("a batch frame without an instance".to_owned());
        let (tag, _) = bytes[1..].split_first_chunk::<8>().ok_or_else(short)?;
        Ok(Self::Batch(u64::from_be_bytes(*tag), bytes.slice(9..)))
    }
}

/// The first eight bytes as a number.
pub(crate) fn prefix(bytes: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *bytes;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_round_trip() {
        let plain = Plain::Instance(7, Body::Want(vec![Digest([1; 32])]));
        assert_eq!(Frame::decode(&plain.encode()), Ok(Frame::Plain(plain)));
        let batch = batch_frame(7, b"batch");
        assert_eq!(Frame::decode(&batch), Ok(Frame::Batch(7, Bytes::from_static(b"batch"))));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), raw in any::<bool>()) {
            if raw && let Some(first) = bytes.first_mut() {
                *first = RAW_BATCH;
            }
            let _ = Frame::decode(&bytes.into());
        }
    }
}
