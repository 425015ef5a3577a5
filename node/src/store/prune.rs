//! Which journal files hold nothing that is still needed, and how they go.
//!
//! A file goes as a whole, the oldest first, when for every instance with a record in it a snapshot makes up
//! for its last block and for what was stated about the next heights, and no batch in it waits for its block.
//! Several instances share one journal: one that has not got that far keeps the file. Proofs of misconduct and
//! what is known of the own memory are kept for good: they are written again at the end before their file goes.

use super::{
    StoreError,
    index::{Index, Location},
    reader::Reader,
    recover::file_path,
    writer::Writer,
};
use regatta_base::{Digest, Height};
use regatta_core::Record;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    sync::{Arc, PoisonError},
};

/// So many heights after the last block of a file statements of consensus in it may be about.
const STATEMENTS_AHEAD: Height = 3;

/// What one file holds.
#[derive(Debug, Default)]
struct FileCover {
    bytes: u64,
    /// The last block of each instance that has a record in the file, at its end.
    last: BTreeMap<u16, Height>,
    /// Records that are kept for good.
    lasting: Vec<Location>,
}

/// What an instance lets go of.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    through: Height,
    /// The oldest file with a batch that a later block has, or that waits for one.
    needed_from: u32,
}

/// What all files hold, and what of it may go.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    files: BTreeMap<u32, FileCover>,
    last: BTreeMap<u16, Height>,
    allowed: BTreeMap<u16, Allowed>,
}

impl Coverage {
    /// Takes a record at `place` into account.
    pub(super) fn note(&mut self, record: &Record, place: Location) {
        let file = self.files.entry(place.file()).or_default();
        let instance = match *record {
            Record::Block { instance, height, .. } | Record::Installed { instance, height } => {
                self.last.insert(instance, height);
                instance
            }
            Record::Consensus { instance, .. } | Record::Batch { instance, .. } => instance,
            Record::Evidence { .. } | Record::Memory { .. } => {
                file.lasting.push(place);
                return;
            }
        };
        let last = self.last.get(&instance).copied().unwrap_or(0);
        file.last.insert(instance, last);
    }

    /// A file is complete, or its present end is known.
    pub(super) fn set_bytes(&mut self, file: u32, bytes: u64) {
        self.files.entry(file).or_default().bytes = bytes;
    }

    fn allow(&mut self, instance: u16, through: Height, needed_from: u32) {
        let allowed = Allowed { through, needed_from };
        self.allowed.insert(instance, allowed);
    }

    /// The oldest file, when nothing needs it; never `current`, which is being written.
    fn removable(&self, current: u32) -> Option<(u32, &FileCover)> {
        let (&number, file) = self.files.first_key_value().filter(|(number, _)| **number < current)?;
        let is_free = |(instance, last): (&u16, &Height)| {
            self.allowed.get(instance).is_some_and(|allowed| {
                last.saturating_add(STATEMENTS_AHEAD) <= allowed.through && number < allowed.needed_from
            })
        };
        file.last.iter().all(is_free).then_some((number, file))
    }
}

/// The oldest file that blocks after `through` and batches that wait need; 0 when one of those is not found.
fn needed_from(index: &Index, instance: u16, through: Height, waiting: &[Digest]) -> u32 {
    let batches = index.find_batches(instance, waiting).into_iter().map(Location::file);
    let blocks = index.oldest_after(instance, through);
    batches.chain(blocks).min().unwrap_or(u32::MAX)
}

impl Writer {
    /// Removes the files that nothing needs, now that `instance` lets go of its blocks up to `through`.
    pub(super) fn prune(&mut self, instance: u16, through: Height, waiting: &[Digest]) -> Result<(), StoreError> {
        let index = Arc::clone(&self.index);
        let needed = {
            let index = index.lock().unwrap_or_else(PoisonError::into_inner);
            needed_from(&index, instance, through, waiting)
        };
        self.coverage.allow(instance, through, needed);
        while let Some((number, file)) = self.coverage.removable(self.position.file) {
            let (bytes, lasting) = (file.bytes, file.lasting.clone());
            self.write_again(&lasting)?;
            let path = file_path(&self.options.dir, number);
            let first = {
                let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
                index.prune(number);
                index.first_blocks()
            };
            // Told before the file goes, since a busy disk may take seconds over that.
            self.state.send_modify(|state| state.first_blocks = first);
            fs::remove_file(&path).map_err(|error| StoreError::io("remove", &path, error))?;
            self.coverage.files.remove(&number);
            self.position.total = self.position.total.saturating_sub(bytes);
        }
        let dir = &self.options.dir;
        let sync = File::open(dir).and_then(|dir| dir.sync_all());
        sync.map_err(|error| StoreError::io("flush", dir, error))?;
        self.report_full();
        Ok(())
    }

    /// Appends the records at these places again.
    fn write_again(&mut self, places: &[Location]) -> Result<(), StoreError> {
        let reader = Reader {
            dir: self.options.dir.as_path().into(),
            index: Arc::clone(&self.index),
        };
        let records: Result<Vec<Record>, StoreError> = places.iter().map(|place| reader.record(*place)).collect();
        self.write_records(records?)
    }
}
