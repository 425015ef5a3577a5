//! A journal in memory: groups records into one flush, and loses in a crash what was not flushed.

use crate::Nanos;
use regatta_base::{Digest, Height, encode};
use regatta_core::{Record, RecordNumber, StoredBlock};
use std::collections::{BTreeMap, BTreeSet};

/// How fast the device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskModel {
    /// Time from the start of a flush until its records are durable, in nanoseconds, however few they are.
    pub flush_ns: Nanos,
    /// Time for each byte on top, in picoseconds.
    pub byte_ps: u64,
    /// Time to read a block back, in nanoseconds.
    pub read_ns: Nanos,
}

impl Default for DiskModel {
    /// A virtual disk with a write cache: a flush takes about half a millisecond, long writes go at 1 GB/s.
    fn default() -> Self {
        Self {
            flush_ns: 500_000,
            byte_ps: 1_000,
            read_ns: 100_000,
        }
    }
}

/// Where a block is.
#[derive(Debug, Clone)]
struct BlockEntry {
    header: bytes::Bytes,
    certificate: bytes::Bytes,
    batches: Vec<Digest>,
}

/// The journal of one host over all its lives.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Everything that a restart has to replay, oldest first.
    records: Vec<Record>,
    /// Appended in this life and not flushed, oldest first.
    queued: Vec<(RecordNumber, Record)>,
    queued_bytes: u64,
    /// Being flushed.
    group: Vec<(RecordNumber, Record)>,
    flushing: bool,
    blocks: BTreeMap<(u16, Height), BlockEntry>,
    batches: BTreeMap<(u16, Digest), bytes::Bytes>,
    /// Bytes flushed and not let go of.
    bytes: u64,
}

impl Journal {
    /// Appends a record. `true` when the journal is idle and a flush has to begin.
    pub(crate) fn append(&mut self, number: RecordNumber, record: Record) -> bool {
        self.queued_bytes += record_bytes(&record);
        self.queued.push((number, record));
        !self.flushing
    }

    /// Begins to flush everything that is queued; gives back number and bytes of the records, `None` when idle.
    pub(crate) fn begin_flush(&mut self) -> Option<(u64, u64)> {
        if self.flushing || self.queued.is_empty() {
            return None;
        }
        self.flushing = true;
        self.group = std::mem::take(&mut self.queued);
        Some((self.group.len() as u64, std::mem::take(&mut self.queued_bytes)))
    }

    /// The flush is done: gives back the last number that is durable now.
    pub(crate) fn end_flush(&mut self) -> RecordNumber {
        self.flushing = false;
        let mut last = 0;
        for (number, record) in std::mem::take(&mut self.group) {
            last = number;
            self.keep(record);
        }
        last
    }

    fn keep(&mut self, record: Record) {
        self.bytes += record_bytes(&record);
        match &record {
            Record::Batch {
                instance,
                digest,
                bytes,
            } => {
                self.batches.insert((*instance, *digest), bytes.0.clone());
            }
            Record::Block {
                instance,
                height,
                header,
                certificate,
                batches,
                ..
            } => {
                let entry = BlockEntry {
                    header: header.0.clone(),
                    certificate: certificate.0.clone(),
                    batches: batches.clone(),
                };
                self.blocks.insert((*instance, *height), entry);
                self.forget_steps(*instance);
            }
            // Nobody asks for the others before a restart.
            _ => {}
        }
        self.records.push(record);
    }

    /// Steps of consensus are needed until their height is decided. Those of the next height may have been taken before
    /// this block was written, so that only what is older than the block before goes.
    fn forget_steps(&mut self, instance: u16) {
        let is_block = |record: &Record| matches!(record, Record::Block { instance: of, .. } if *of == instance);
        let is_step = |record: &Record| matches!(record, Record::Consensus { instance: of, .. } if *of == instance);
        let Some(last) = self.records.iter().rposition(is_block) else {
            return;
        };
        let before = self.records[..last].iter().rposition(is_block).map_or(0, |at| at + 1);
        let tail = self.records.split_off(last);
        let middle = self.records.split_off(before);
        self.records
            .extend(middle.into_iter().filter(|record| !is_step(record)));
        self.records.extend(tail);
    }

    /// Lets go of the blocks of an instance up to a height, and of batches that neither later blocks nor `waiting` need.
    /// Gives back the first block that is left; none when there is none.
    pub(crate) fn prune(&mut self, instance: usize, through: Height, waiting: &[Digest]) -> Option<Height> {
        let wanted = u16::try_from(instance).ok()?;
        let later = self.blocks.range((wanted, through + 1)..=(wanted, Height::MAX));
        let needed = later.flat_map(|(_, entry)| entry.batches.iter().copied());
        let needed: BTreeSet<Digest> = needed.chain(waiting.iter().copied()).collect();
        let (mut bytes, blocks) = (0, &mut self.blocks);
        self.records.retain(|record| {
            let goes = match record {
                Record::Block { instance, height, .. } => *instance == wanted && *height <= through,
                Record::Batch { instance, digest, .. } => *instance == wanted && !needed.contains(digest),
                _ => false,
            };
            bytes += if goes { record_bytes(record) } else { 0 };
            !goes
        });
        blocks.retain(|(instance, height), _| *instance != wanted || *height > through);
        self.batches
            .retain(|(instance, digest), _| *instance != wanted || needed.contains(digest));
        self.bytes = self.bytes.saturating_sub(bytes);
        let mut left = self.blocks.range((wanted, 0)..=(wanted, Height::MAX));
        left.next().map(|((_, height), _)| *height)
    }

    /// The program ends by itself and flushes everything first.
    pub(crate) fn finish(&mut self) {
        self.end_flush();
        if self.begin_flush().is_some() {
            self.end_flush();
        }
    }

    /// The host lost its power: what was not durable is gone.
    pub(crate) fn crash(&mut self) -> u64 {
        let lost = self.queued.len() + self.group.len();
        self.queued.clear();
        self.group.clear();
        self.queued_bytes = 0;
        self.flushing = false;
        lost as u64
    }

    /// What a new life has to replay.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Bytes on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A block with its batches; `None` when it is not there.
    pub(crate) fn load(&self, instance: usize, height: Height) -> Option<StoredBlock> {
        let instance = u16::try_from(instance).ok()?;
        let entry = self.blocks.get(&(instance, height))?;
        let batch = |digest: &Digest| self.batches.get(&(instance, *digest)).cloned();
        Some(StoredBlock {
            header: entry.header.clone(),
            certificate: entry.certificate.clone(),
            batches: entry.batches.iter().map(batch).collect::<Option<_>>()?,
        })
    }
}

/// About the bytes that a record takes on the disk.
pub(crate) fn record_bytes(record: &Record) -> u64 {
    const FRAME: usize = 48;
    let bytes = match record {
        Record::Consensus { bytes, .. } | Record::Batch { bytes, .. } => bytes.0.len(),
        Record::Block {
            header,
            certificate,
            batches,
            ..
        } => header.0.len() + certificate.0.len() + 32 * batches.len(),
        other => encode(other).len(),
    };
    (bytes + FRAME) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_core::BlockResult;

    fn step(byte: u8) -> Record {
        Record::Consensus {
            instance: 0,
            bytes: vec![byte].into(),
        }
    }

    fn block(height: Height) -> Record {
        Record::Block {
            instance: 0,
            height,
            header: vec![1].into(),
            certificate: vec![2].into(),
            batches: vec![Digest([7; 32])],
            result: BlockResult {
                state_root: Digest::ZERO,
                transactions: 0,
                bytes: 0,
                failed: Vec::new(),
            },
        }
    }

    fn flush(journal: &mut Journal) -> RecordNumber {
        assert!(journal.begin_flush().is_some());
        journal.end_flush()
    }

    #[test]
    fn records_that_come_during_a_flush_share_the_next_one() {
        let mut journal = Journal::default();
        assert!(journal.append(1, step(1)));
        assert_eq!(journal.begin_flush().map(|(records, _)| records), Some(1));
        assert!(!journal.append(2, step(2)) && !journal.append(3, step(3)));
        assert_eq!(journal.begin_flush(), None, "one flush at a time");
        assert_eq!(journal.end_flush(), 1);
        assert_eq!(journal.begin_flush().map(|(records, _)| records), Some(2));
        assert_eq!(journal.end_flush(), 3);
        assert_eq!(journal.begin_flush(), None);
    }

    #[test]
    fn a_crash_loses_what_was_not_flushed_and_nothing_else() {
        let mut journal = Journal::default();
        journal.append(1, step(1));
        flush(&mut journal);
        journal.append(2, step(2));
        journal.begin_flush();
        journal.append(3, step(3));
        assert_eq!(journal.crash(), 2);
        assert_eq!(journal.records(), [step(1)]);
        assert!(journal.append(1, step(4)), "the next life begins with an idle journal");
    }

    #[test]
    fn blocks_are_found_with_their_batches_and_make_steps_superfluous() {
        let mut journal = Journal::default();
        let batch = Record::Batch {
            instance: 0,
            digest: Digest([7; 32]),
            bytes: vec![9].into(),
        };
        let records = [step(1), batch, block(1), step(2), block(2), step(3)];
        for (number, record) in records.into_iter().enumerate() {
            journal.append(number as u64, record);
        }
        flush(&mut journal);
        let found = journal.load(0, 1).unwrap();
        assert_eq!(
            (found.header.as_ref(), found.batches[0].as_ref()),
            (&[1_u8][..], &[9_u8][..])
        );
        assert_eq!((journal.load(0, 3), journal.load(1, 1)), (None, None));
        let steps = journal
            .records()
            .iter()
            .filter(|record| matches!(record, Record::Consensus { .. }));
        assert_eq!(steps.cloned().collect::<Vec<_>>(), [step(2), step(3)]);
    }
}
