//! What a crash does to the unsynced end of a log: records as framed bytes that are cut or damaged
//! somewhere, and what reading them back still finds.

use crate::{MESSAGE_BYTES_MAX, WalRecord};
use regatta_base::{Digest, codec::encode, decode};
use std::fmt;

/// What happens to the unsynced end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// So many whole records are left.
    Keep(usize),
    /// Bytes are left up to there, counted modulo their number.
    Torn(usize),
    /// All bytes are left, and this bit is wrong, counted modulo their number.
    Flip(usize),
    /// Nothing is left, not even what was synced.
    Lost,
}

impl Damage {
    /// Reads the words of a script.
    pub(super) fn parse(name: &str, place: usize) -> Option<Self> {
        match name {
            "keep" => Some(Self::Keep(place)),
            "torn" => Some(Self::Torn(place)),
            "flip" => Some(Self::Flip(place)),
            "lost" => Some(Self::Lost),
            _ => None,
        }
    }

    /// How many of `records`, which were written and not synced, are found again.
    pub(super) fn survivors(self, records: &[WalRecord]) -> usize {
        let mut bytes: Vec<u8> = records.iter().flat_map(frame).collect();
        match self {
            Self::Keep(count) => return count.min(records.len()),
            Self::Torn(place) => bytes.truncate(place % (bytes.len() + 1)),
            Self::Flip(place) if !bytes.is_empty() => {
                let bit = place % (8 * bytes.len());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Self::Flip(_) => {}
            Self::Lost => return 0,
        }
        let found = read(&bytes);
        assert_eq!(found, records[..found.len()], "damage goes unnoticed");
        found.len()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep(count) => write!(f, "keep {count}"),
            Self::Torn(place) => write!(f, "torn {place}"),
            Self::Flip(place) => write!(f, "flip {place}"),
            Self::Lost => f.write_str("lost 0"),
        }
    }
}

/// Length, checksum, record.
fn frame(record: &WalRecord) -> Vec<u8> {
    let body = encode(record);
    let length = (body.len() as u32).to_be_bytes();
    [&length, &checksum(&length, &body)[..], &body].concat()
}

fn checksum(length: &[u8], body: &[u8]) -> [u8; 8] {
    let digest = Digest::of("simulated log", &[length, body]);
    std::array::from_fn(|place| digest.0[place])
}

/// The records up to the first frame that is not whole.
fn read(mut bytes: &[u8]) -> Vec<WalRecord> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_at_checked(4) {
        let size = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some((sum, rest)) = rest.split_at_checked(8) else {
            break;
        };
        let Some((body, rest)) = rest.split_at_checked(size) else {
            break;
        };
        let record = decode(body, MESSAGE_BYTES_MAX)
            .ok()
            .filter(|_| checksum(length, body) == sum);
        let Some(record) = record else { break };
        found.push(record);
        bytes = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<WalRecord> {
        let header = |round| WalRecord::Propose {
            height: 1,
            round,
            header: vec![7; 20],
            justification: None,
        };
        (0..3).map(header).collect()
    }

    #[test]
    fn a_damaged_end_is_a_shorter_log() {
        let records = records();
        let each = frame(&records[0]).len();
        assert_eq!(Damage::Keep(2).survivors(&records), 2);
        assert_eq!(Damage::Keep(9).survivors(&records), 3);
        assert_eq!(Damage::Torn(2 * each).survivors(&records), 2);
        assert_eq!(Damage::Torn(2 * each - 1).survivors(&records), 1);
        for place in 0..8 * 3 * each {
            assert_eq!(Damage::Flip(place).survivors(&records), place / (8 * each));
        }
        assert_eq!(Damage::Flip(5).survivors(&[]), 0);
    }
}
