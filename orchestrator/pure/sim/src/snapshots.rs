//! Snapshot files of a host: what it writes, serves and starts from.

use bytes::Bytes;
use rand::CryptoRng;
use regatta_api::NodeConfig;
use regatta_base::{Height, Validator, ValidatorSet};
use regatta_core::{Installer, Manifest, Node, Restored, SnapshotOrder, SnapshotReport};
use std::collections::BTreeMap;

/// One snapshot file.
#[derive(Debug, Default)]
struct File {
    chunks: Vec<Bytes>,
    manifest: Option<Bytes>,
    /// Whether the node was told that it is durable: a crash loses the others.
    durable: bool,
}

impl File {
    fn bytes(&self) -> u64 {
        let chunks = self.chunks.iter().chain(&self.manifest);
        chunks.map(|chunk| chunk.len() as u64).sum()
    }
}

/// What an order comes to.
#[derive(Debug)]
pub(crate) enum Done {
    /// Bytes are written; they are flushed with the end of the file.
    Appended(u64),
    /// The device has this many bytes to flush before the report.
    Flush(u64, SnapshotReport),
    /// The device has to read this many bytes before the report.
    Read(u64, SnapshotReport),
    /// A file is gone, or there is none.
    Nothing,
}

/// Snapshot files by instance and height.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(BTreeMap<(usize, Height), File>);

impl Snapshots {
    /// Carries out an order about files; pruning is the journal's.
    pub(crate) fn perform(&mut self, order: SnapshotOrder) -> Done {
        match order {
            SnapshotOrder::Append {
                instance,
                height,
                chunk,
                bytes,
            } => {
                let length = bytes.len() as u64;
                let file = self.0.entry((instance, height)).or_default();
                file.chunks.truncate(chunk);
                file.chunks.push(bytes);
                Done::Appended(length)
            }
            SnapshotOrder::Finish {
                instance,
                height,
                manifest,
            } => {
                let file = self.0.entry((instance, height)).or_default();
                file.manifest = Some(manifest);
                let ok = true;
                Done::Flush(file.bytes(), SnapshotReport::Written { instance, height, ok })
            }
            SnapshotOrder::Remove { instance, height } => {
                self.0.remove(&(instance, height));
                Done::Nothing
            }
            SnapshotOrder::Load {
                request,
                instance,
                height,
                chunk,
            } => {
                let file = self.0.get(&(instance, height));
                let bytes = file.and_then(|file| file.chunks.get(chunk)).cloned();
                let length = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                Done::Read(length, SnapshotReport::Chunk(request, bytes))
            }
            SnapshotOrder::Prune { .. } => Done::Nothing,
        }
    }

    /// Notes what the node is about to be told.
    pub(crate) fn told(&mut self, report: &SnapshotReport) {
        if let SnapshotReport::Written { instance, height, .. } = report
            && let Some(file) = self.0.get_mut(&(*instance, *height))
        {
            file.durable = true;
        }
    }

    /// What a crash leaves.
    pub(crate) fn crash(&mut self) {
        self.0.retain(|_, file| file.durable);
    }

    /// Bytes on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().map(File::bytes).sum()
    }

    /// Hands the newest snapshot of each instance to a node that starts, and the others for its neighbours.
    pub(crate) fn restore(&self, config: &NodeConfig, node: &mut Node, rng: &mut impl CryptoRng) {
        let mut restored = Vec::new();
        for (&(instance, _), file) in self.0.iter().rev() {
            // What was written here holds: a file that does not load was never finished.
            let Some(found) = load(config, instance, file, rng) else {
                continue;
            };
            if restored.contains(&instance) {
                node.keep_snapshot(instance, found.manifest().clone());
            } else {
                restored.push(instance);
                node.restore(instance, found);
            }
        }
    }
}

fn load(config: &NodeConfig, instance: usize, file: &File, rng: &mut impl CryptoRng) -> Option<Restored> {
    let manifest = Manifest::decode(file.manifest.as_deref()?).ok()?;
    let members = config
        .instances
        .get(instance)?
        .validators
        .iter()
        .map(|validator| Validator {
            key: validator.key,
            weight: validator.weight,
        });
    let genesis = ValidatorSet::new(members.collect()).ok()?;
    let mut installer = Installer::new(config.chain.clone(), genesis, manifest);
    for chunk in &file.chunks {
        installer.absorb(chunk, rng).ok()?;
    }
    installer.finish(rng).ok()
}
