//! Chunks of a snapshot: a byte that says what it is, and its content.

use super::{CHUNK_BYTES_MAX, SnapshotError};
use crate::header::Header;
use regatta_base::{Height, HexBytes, Validator, ValidatorSet, decode, encode};
use regatta_consensus::Commit;
use serde::{Deserialize, Serialize};

const LINKS: u8 = 1;
const HISTORY: u8 = 2;
const STATE: u8 = 3;
/// Headers are gathered into a chunk up to this many bytes; one more still fits.
const FILL_BYTES: usize = 192 * 1024;

/// A change of the validator set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// The block whose header names the new set, with its certificate.
    pub(crate) commit: Commit,
    /// The set that decides the next height.
    pub(crate) validators: Vec<Validator>,
}

impl Link {
    /// The new set with the first height that it decides.
    pub(crate) fn change(&self) -> Option<(Height, ValidatorSet)> {
        let set = ValidatorSet::new(self.validators.clone()).ok()?;
        Some((self.commit.height() + 1, set))
    }
}

/// A parsed chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chunk<'a> {
    Links(Vec<Link>),
    /// Encoded headers of consecutive heights.
    History(Vec<HexBytes>),
    /// A piece of the state, still encoded.
    State(&'a [u8]),
}

impl<'a> Chunk<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let codec = |what| move |error| SnapshotError::Codec { what, error };
        match bytes.split_first() {
            Some((&LINKS, rest)) => decode(rest, CHUNK_BYTES_MAX)
                .map(Self::Links)
                .map_err(codec("a chunk of links")),
            Some((&HISTORY, rest)) => decode(rest, CHUNK_BYTES_MAX)
                .map(Self::History)
                .map_err(codec("a chunk of headers")),
            Some((&STATE, rest)) => Ok(Self::State(rest)),
            _ => {
                let error = regatta_base::CodecError::Malformed("no such kind of chunk".to_owned());
                Err(SnapshotError::Codec { what: "a chunk", error })
            }
        }
    }
}

/// The chunk of a link: one of many validators fills it.
pub(crate) fn link_chunk(link: &Link) -> Vec<u8> {
    tagged(LINKS, &encode(&[link]))
}

/// The first of `headers` as a chunk, and how many they are: that depends on the headers only.
pub(crate) fn history_chunk<'a>(headers: impl Iterator<Item = &'a Header>) -> (Vec<u8>, usize) {
    let (mut filling, mut bytes) = (Vec::new(), 0);
    for header in headers {
        let header = header.encode();
        bytes += header.len() + 5;
        filling.push(HexBytes::from(header));
        if bytes >= FILL_BYTES {
            break;
        }
    }
    (tagged(HISTORY, &encode(&filling)), filling.len())
}

/// The chunk of a piece of the state.
pub(crate) fn state_chunk(piece: &[u8]) -> Vec<u8> {
    tagged(STATE, piece)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + content.len());
    bytes.push(tag);
    bytes.extend_from_slice(content);
    bytes
}
