//! Layout of a journal file, and how to tell a torn tail from damage.
//!
//! ```text
//! file:   "regatta-journal1" | number u32 | end of the file before it u32 | crc32 u32 | 4 zero bytes
//! record: "RJ1\n" | length u32 | group u32 | crc32 u32 | payload        (all integers little-endian)
//! ```
//! `group` is the position at which the write that contains the record began. A write is issued only
//! after the one before it is durable, so a good record of a later group proves that everything before
//! its group was durable: a bad record there is damage. Without such a proof it is a write that the
//! crash cut short, which nobody was told of.

use std::io::{self, Read};

/// Bytes before the first record.
pub(super) const FILE_HEADER: usize = 32;
/// Bytes before each payload.
pub(super) const RECORD_HEADER: usize = 16;
/// Longest payload: a batch or the largest block entry, with room.
pub(super) const PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;

const FILE_MAGIC: &[u8; 16] = b"regatta-journal1";
const RECORD_MAGIC: [u8; 4] = *b"RJ1\n";

/// The header of file `number`; the file before it ends at `previous_end`.
pub(super) fn file_header(number: u32, previous_end: u32) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..16].copy_from_slice(FILE_MAGIC);
    header[16..20].copy_from_slice(&number.to_le_bytes());
    header[20..24].copy_from_slice(&previous_end.to_le_bytes());
    let crc = crc32fast::hash(&header[..24]);
    header[24..28].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Number and previous end, when the bytes are a file header.
pub(super) fn parse_file_header(bytes: &[u8; FILE_HEADER]) -> Option<(u32, u32)> {
    let (number, previous_end) = (word(bytes, 16), word(bytes, 20));
    (*bytes == file_header(number, previous_end)).then_some((number, previous_end))
}

/// Appends a record to `buffer`; `fill` writes the payload. Returns where in `buffer` the record begins.
pub(super) fn push_record(buffer: &mut Vec<u8>, group: u32, fill: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; RECORD_HEADER]);
    fill(buffer);
    let (header, payload) = buffer[start..].split_at_mut(RECORD_HEADER);
    header[..4].copy_from_slice(&RECORD_MAGIC);
    // Longer payloads than a u32 counts do not exist: see PAYLOAD_BYTES_MAX.
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..12].copy_from_slice(&group.to_le_bytes());
    let crc = record_crc(&header[4..12], payload);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    start
}

fn record_crc(length_and_group: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length_and_group);
    hasher.update(payload);
    hasher.finalize()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// A parsed record header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the payload in bytes, within the limit.
    pub(super) length: usize,
    /// Where the group began.
    pub(super) group: u32,
    crc: u32,
}

impl Header {
    /// The header, unless magic or length are wrong.
    pub(super) fn parse(bytes: &[u8; RECORD_HEADER]) -> Option<Self> {
        let length = word(bytes, 4) as usize;
        (bytes[..4] == RECORD_MAGIC && length <= PAYLOAD_BYTES_MAX).then(|| Self {
            length,
            group: word(bytes, 8),
            crc: word(bytes, 12),
        })
    }

    /// Whether `payload` is what was written under this header.
    pub(super) fn covers(&self, payload: &[u8]) -> bool {
        let mut fields = [0; 8];
        fields[..4].copy_from_slice(&(self.length as u32).to_le_bytes());
        fields[4..].copy_from_slice(&self.group.to_le_bytes());
        payload.len() == self.length && record_crc(&fields, payload) == self.crc
    }
}

/// Reads the next record's payload into `payload`. `None`: no good record begins here.
///
/// # Errors
/// What the reader reports, apart from the end of the file.
pub(super) fn read_record(reader: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<Option<Header>> {
    let mut bytes = [0; RECORD_HEADER];
    if !read_full(reader, &mut bytes)? {
        return Ok(None);
    }
    let Some(header) = Header::parse(&bytes) else {
        return Ok(None);
    };
    payload.resize(header.length, 0);
    let complete = read_full(reader, payload)?;
    Ok((complete && header.covers(payload)).then_some(header))
}

/// Whether the whole of `bytes` could be read before the end of the file.
pub(super) fn read_full(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What follows the last good record of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or zeros.
    Clean,
    /// Remains of a write that was cut short.
    Torn,
    /// A good record at this position proves that there was one at the start of the tail.
    Damaged(u64),
}

/// Judges `rest`, the bytes from position `at` to the end of the file.
pub(super) fn judge_tail(rest: &[u8], at: u64) -> Tail {
    if rest.iter().all(|byte| *byte == 0) {
        return Tail::Clean;
    }
    let mut position = 0;
    while let Some(found) = find_magic(&rest[position..]) {
        position += found;
        if let Some(group) = good_record(&rest[position..])
            && u64::from(group) > at
        {
            return Tail::Damaged(at + position as u64);
        }
        position += 1;
    }
    Tail::Torn
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(RECORD_MAGIC.len())
        .position(|window| window == RECORD_MAGIC)
}

/// The group of the good record that `bytes` begin with.
fn good_record(bytes: &[u8]) -> Option<u32> {
    let (header, rest) = bytes.split_first_chunk()?;
    let header = Header::parse(header)?;
    header.covers(rest.get(..header.length)?).then_some(header.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_header_tells_number_and_previous_end_and_no_bit_of_it_may_flip() {
        let header = file_header(7, 12345);
        assert_eq!(parse_file_header(&header), Some((7, 12345)));
        for bit in 0..FILE_HEADER * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_file_header(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn no_bit_of_a_record_may_flip() {
        let mut bytes = Vec::new();
        push_record(&mut bytes, 99, |buffer| buffer.extend_from_slice(b"payload"));
        let mut payload = Vec::new();
        let header = read_record(&mut bytes.as_slice(), &mut payload).unwrap().unwrap();
        assert_eq!(
            (header.length, header.group, payload.as_slice()),
            (7, 99, &b"payload"[..])
        );
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                read_record(&mut flipped.as_slice(), &mut payload).unwrap(),
                None,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_not_allocated() {
        let mut bytes = [0; RECORD_HEADER];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4..8].copy_from_slice(&(PAYLOAD_BYTES_MAX as u32 + 1).to_le_bytes());
        assert_eq!(Header::parse(&bytes), None);
    }

    #[test]
    fn zeros_are_a_clean_end_wherever_it_is() {
        assert_eq!(judge_tail(&[], 5), Tail::Clean);
        assert_eq!(judge_tail(&[0; 100], 5), Tail::Clean);
        assert_eq!(judge_tail(b"RJ1\n\x01", 5), Tail::Torn);
    }
}
