//! Reads of stored blocks, from any thread.

use super::{
    StoreError,
    index::{Index, Location},
    recover::{Entry, file_path},
    segment::read_record,
};
use bytes::Bytes;
use regatta_base::Height;
use regatta_core::{Record, StoredBlock};
use std::{
    fs::File,
    io::{BufReader, Seek as _, SeekFrom},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Reads stored blocks; clones are cheap.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) dir: Arc<Path>,
    pub(super) index: Arc<Mutex<Index>>,
}

impl Reader {
    /// The block of an instance (by its position in the configuration) with its batches, when the journal
    /// holds all of it.
    ///
    /// # Errors
    /// [`StoreError`] when the journal cannot be read there.
    pub fn load(&self, instance: usize, height: Height) -> Result<Option<StoredBlock>, StoreError> {
        let Some(place) = self.find(instance, height) else {
            return Ok(None);
        };
        let read = self.read_block(place);
        // Its file may have gone meanwhile.
        if read.is_err() && self.find(instance, height).is_none() {
            return Ok(None);
        }
        read
    }

    fn find(&self, instance: usize, height: Height) -> Option<Location> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.find_block(instance, height)
    }

    fn read_block(&self, place: Location) -> Result<Option<StoredBlock>, StoreError> {
        let entry = self.read(place)?;
        let Record::Block {
            header, certificate, ..
        } = entry.record
        else {
            return Err(self.corrupt(place, "no block where one was written"));
        };
        let batches: Result<Option<Vec<Bytes>>, StoreError> =
            entry.batches.iter().map(|place| self.batch(*place)).collect();
        Ok(batches?.map(|batches| StoredBlock {
            header: header.0,
            certificate: certificate.0,
            batches,
        }))
    }

    /// Whether the file of a place was removed.
    fn is_gone(&self, place: Location) -> bool {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.is_gone(place)
    }

    fn batch(&self, place: Location) -> Result<Option<Bytes>, StoreError> {
        if place == Location::NOWHERE || self.is_gone(place) {
            return Ok(None);
        }
        match self.read(place)?.record {
            Record::Batch { bytes, .. } => Ok(Some(bytes.0)),
            _ => Err(self.corrupt(place, "no batch where one was written")),
        }
    }

    /// The record at a place.
    pub(super) fn record(&self, place: Location) -> Result<Record, StoreError> {
        self.read(place).map(|entry| entry.record)
    }

    fn read(&self, place: Location) -> Result<Entry, StoreError> {
        let path = file_path(&self.dir, place.file());
        let mut payload = Vec::new();
        let read = |payload: &mut Vec<u8>| {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(place.byte()))?;
            read_record(&mut BufReader::new(file), payload)
        };
        match read(&mut payload).map_err(|error| StoreError::io("read", &path, error))? {
            Some(_) => rmp_serde::from_slice(&payload).map_err(|error| self.corrupt(place, &error.to_string())),
            None => Err(self.corrupt(place, "the record is bad")),
        }
    }

    fn corrupt(&self, place: Location, reason: &str) -> StoreError {
        StoreError::Corrupt {
            path: file_path(&self.dir, place.file()),
            offset: place.byte(),
            reason: reason.to_owned(),
        }
    }
}
