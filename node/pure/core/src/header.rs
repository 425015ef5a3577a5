//! Block headers: what consensus agrees on.

use regatta_base::{CodecError, Digest, Height, decode, encode, limits};
use regatta_consensus::{HEADER_BYTES_MAX, header_digest};
use serde::{Deserialize, Serialize};

/// How many heights the state root in a header lags behind: a leader proposes before the parent's
/// execution need be known everywhere.
pub(crate) const STATE_ROOT_LAG: Height = 2;

/// The content of a block, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Its height, from 1.
    pub(crate) height: Height,
    /// Digest of the parent's header; zero for the first block.
    pub(crate) parent: Digest,
    /// The batches that it orders, in order.
    pub(crate) batches: Vec<Digest>,
    /// Root of the state after `height - STATE_ROOT_LAG`; zero where there is none.
    pub(crate) state_root: Digest,
    /// Hash of the validator set that decides the next height.
    pub(crate) next_validators: Digest,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The digest that its certificate and the next header name.
    pub(crate) fn digest(&self) -> Digest {
        header_digest(&self.encode())
    }

    /// Reads a header; anything that [`Header::encode`] would not have written is refused.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let header: Self = decode(bytes, HEADER_BYTES_MAX)?;
        if header.batches.len() > limits::BATCHES_PER_BLOCK_MAX {
            return Err(CodecError::TooLarge {
                got: header.batches.len(),
                max: limits::BATCHES_PER_BLOCK_MAX,
            });
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_header_fits_and_one_more_batch_does_not() {
        let mut header = Header {
            height: u64::MAX,
            parent: Digest([1; 32]),
            batches: vec![Digest([2; 32]); limits::BATCHES_PER_BLOCK_MAX],
            state_root: Digest([3; 32]),
            next_validators: Digest([4; 32]),
        };
        assert_eq!(Header::decode(&header.encode()), Ok(header.clone()));
        header.batches.push(Digest::ZERO);
        assert!(Header::decode(&header.encode()).is_err());
    }

    /// Whoever follows the chain of headers from outside reads them by place: the next validators are the last of five.
    #[test]
    fn a_header_is_a_list_of_its_fields_in_order() {
        let (parent, root, next) = (Digest([1; 32]), Digest([3; 32]), Digest([4; 32]));
        let batches = vec![Digest([2; 32])];
        let header = Header {
            height: 7,
            parent,
            batches: batches.clone(),
            state_root: root,
            next_validators: next,
        };
        assert_eq!(header.encode(), encode(&(7u64, parent, batches, root, next)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::decode(&bytes);
        }
    }
}
