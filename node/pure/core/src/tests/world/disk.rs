//! The snapshots of a host, and what its journal lets go of.

use super::{Host, Pending, World};
use crate::{Event, Installer, Manifest, Node, Record, Restored, SnapshotError, SnapshotOrder, SnapshotReport};
use bytes::Bytes;
use rand::{Rng, RngExt};
use regatta_api::NodeConfig;
use regatta_base::{Digest, Height, Validator, ValidatorSet, seed};

use std::collections::BTreeMap;

/// One snapshot file.
#[derive(Default)]
pub(super) struct File {
    pub(super) chunks: Vec<Bytes>,
    manifest: Option<Bytes>,
    /// Whether the node was told that it is durable.
    told: bool,
}

/// Snapshot files by height.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<Height, File>,
    /// The height from which the node went on at its last start.
    pub(super) restored: Option<Height>,
}

impl Disk {
    /// What a crash leaves: finished files that the node was told of, and perhaps the others.
    pub(super) fn crash(&mut self, rng: &mut impl Rng) {
        self.files
            .retain(|_, file| file.told || (file.manifest.is_some() && rng.random_bool(0.5)));
    }

    /// Hands the newest good snapshot to a node that starts, and the others for neighbours.
    pub(super) fn restore(&mut self, config: &NodeConfig, node: &mut Node) {
        self.restored = None;
        for (&height, file) in self.files.iter().rev() {
            match (load(config, file), self.restored) {
                (Ok(restored), None) => {
                    node.restore(0, restored);
                    self.restored = Some(height);
                }
                (Ok(restored), Some(_)) => node.keep_snapshot(0, restored.manifest().clone()),
                (Err(_), _) => {}
            }
        }
    }
}

fn load(config: &NodeConfig, file: &File) -> Result<Restored, SnapshotError> {
    let manifest = Manifest::decode(file.manifest.as_deref().unwrap_or_default())?;
    let validators = config.instances[0].validators.iter();
    let genesis = validators.map(|v| Validator {
        key: v.key,
        weight: v.weight,
    });
    let genesis = ValidatorSet::new(genesis.collect()).unwrap();
    let mut rng = seed::rng(7, "restore");
    let mut installer = Installer::new(config.chain.clone(), genesis, manifest);
    for chunk in &file.chunks {
        installer.absorb(chunk, &mut rng)?;
    }
    installer.finish(&mut rng)
}

impl World {
    /// Takes everything that a stopped host has on its disk.
    pub(in crate::tests) fn wipe(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.written.clear();
        host.disk = Disk::default();
    }

    /// Heights of the finished snapshots of a host.
    pub(in crate::tests) fn snapshots(&self, index: usize) -> Vec<Height> {
        let views = self.node(index).snapshots();
        views.iter().map(|view| view.height).collect()
    }

    /// The height from which a host went on when it started last.
    pub(in crate::tests) fn restored(&self, index: usize) -> Option<Height> {
        self.hosts[index].disk.restored
    }

    /// The heights of the blocks in a host's journal.
    pub(in crate::tests) fn journal_blocks(&self, index: usize) -> Vec<Height> {
        let records = self.hosts[index].written.iter();
        let height = |record: &Record| match record {
            Record::Block { height, .. } => Some(*height),
            _ => None,
        };
        records.filter_map(height).collect()
    }

    /// Flips a bit in every chunk of a host's snapshots from position `from` on.
    pub(in crate::tests) fn damage_snapshots(&mut self, index: usize, from: usize) {
        for file in self.hosts[index].disk.files.values_mut() {
            for chunk in file.chunks.iter_mut().skip(from) {
                let mut bytes = chunk.to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                *chunk = bytes.into();
            }
        }
    }

    /// Flips a bit in the newest snapshot of a host.
    pub(in crate::tests) fn damage_newest(&mut self, index: usize) {
        let newest = self.hosts[index].disk.files.values_mut().next_back();
        let chunk = newest.and_then(|file| file.chunks.last_mut()).expect("a snapshot");
        let mut bytes = chunk.to_vec();
        bytes[1] ^= 1;
        *chunk = bytes.into();
    }

    pub(super) fn perform_snapshot(&mut self, index: usize, order: SnapshotOrder) {
        let (life, files) = (self.hosts[index].life, &mut self.hosts[index].disk.files);
        let report = match order {
            SnapshotOrder::Append {
                height, chunk, bytes, ..
            } => {
                let file = files.entry(height).or_default();
                file.chunks.truncate(chunk);
                assert_eq!(file.chunks.len(), chunk, "chunks come in their order");
                file.chunks.push(bytes);
                return;
            }
            SnapshotOrder::Finish {
                instance,
                height,
                manifest,
            } => {
                let file = files.get_mut(&height).expect("chunks come before the manifest");
                file.manifest = Some(manifest);
                SnapshotReport::Written {
                    instance,
                    height,
                    ok: true,
                }
            }
            SnapshotOrder::Remove { height, .. } => return drop(files.remove(&height)),
            SnapshotOrder::Load {
                request, height, chunk, ..
            } => {
                let bytes = files.get(&height).and_then(|file| file.chunks.get(chunk)).cloned();
                SnapshotReport::Chunk(request, bytes)
            }
            SnapshotOrder::Prune {
                instance,
                through,
                mut waiting,
            } => {
                waiting.extend(later_batches(&self.hosts[index], through));
                prune(&mut self.hosts[index], through, &waiting);
                let Some(&first) = self.journal_blocks(index).first() else {
                    return;
                };
                SnapshotReport::Pruned { instance, first }
            }
        };
        let delay = self.rng.random_range(1..20);
        self.later(delay, Pending::Event(index, life, Event::Snapshot(report)));
    }

    /// Notes what the node is about to be told.
    pub(super) fn note_report(&mut self, index: usize, report: &SnapshotReport) {
        if let SnapshotReport::Written { height, .. } = report
            && let Some(file) = self.hosts[index].disk.files.get_mut(height)
        {
            file.told = true;
        }
    }
}

/// Batches of blocks after `through`.
fn later_batches(host: &Host, through: Height) -> Vec<Digest> {
    let batches = |record: &Record| match record {
        Record::Block { height, batches, .. } if *height > through => batches.clone(),
        _ => Vec::new(),
    };
    host.written.iter().flat_map(batches).collect()
}

/// Removes the oldest durable records as long as none of them is needed.
fn prune(host: &mut Host, through: Height, needed: &[Digest]) {
    let durable = host.sure();
    let is_free = |record: &Record| match record {
        Record::Block { height, .. } => *height <= through,
        Record::Batch { digest, .. } => !needed.contains(digest),
        _ => true,
    };
    let count = host.written[..durable]
        .iter()
        .take_while(|record| is_free(record))
        .count();
    // Statements about heights after the last block that goes stay.
    let last = host.written[..count]
        .iter()
        .rposition(|record| matches!(record, Record::Block { .. }));
    let count = last.map_or(0, |last| last + 1);
    host.written.drain(..count);
    host.base -= count as i64;
}
