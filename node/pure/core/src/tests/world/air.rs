//! What hosts of the world keep of releases, and how they judge them.

use super::{Pending, World};
use crate::{Event, ReleaseFacts, ReleaseOrder, ReleaseReport};
use bytes::Bytes;
use regatta_base::{Digest, Height};
use std::collections::BTreeMap;

/// Bytes of each piece of a test's program.
pub(in crate::tests) const PIECE_BYTES: usize = 1000;

/// A host's folder of releases.
#[derive(Default)]
pub(in crate::tests) struct Shelf {
    facts: Option<ReleaseFacts>,
    pieces: BTreeMap<u32, Bytes>,
    /// Pieces that were written, in any life.
    pub(in crate::tests) written: u32,
    /// What the host gives to neighbours is not what it has.
    pub(in crate::tests) lies: bool,
    /// Refuses every document.
    pub(in crate::tests) refuses: bool,
    /// Documents that it was given to judge.
    pub(in crate::tests) judged: u32,
    /// When it was told to switch: time and height.
    pub(in crate::tests) switched: Option<(u64, Height)>,
}

/// A program of so many pieces with its release, whose document is its number.
pub(in crate::tests) fn release(number: u64, pieces: u8, activate_at: Height) -> (ReleaseFacts, Vec<Bytes>) {
    let program: Vec<Bytes> = (0..pieces)
        .map(|n| vec![n ^ number as u8; PIECE_BYTES].into())
        .collect();
    let facts = ReleaseFacts {
        id: Digest::of_bytes(&number.to_be_bytes()),
        document: number.to_be_bytes().to_vec().into(),
        number,
        artifact: Digest::of_bytes(&program.concat()),
        chunks: program.iter().map(|piece| Digest::of_bytes(piece)).collect(),
        instance: "main".parse().unwrap(),
        activate_at,
        batch_blocks: 10,
        settled: false,
    };
    (facts, program)
}

impl World {
    pub(in crate::tests) fn shelf(&mut self, index: usize) -> &mut Shelf {
        &mut self.hosts[index].shelf
    }

    /// A client brings a release with its program to a host.
    pub(in crate::tests) fn bring(&mut self, index: usize, (facts, program): &(ReleaseFacts, Vec<Bytes>)) {
        let held = vec![false; facts.chunks.len()];
        self.shelf(index).facts = Some(facts.clone());
        let facts = Box::new(facts.clone());
        self.step(index, Event::Release(ReleaseReport::Accepted { facts, held }));
        for (chunk, piece) in program.iter().enumerate() {
            self.write(index, chunk as u32, piece.clone());
        }
    }

    /// Tells a node that starts what is on its disk.
    pub(super) fn show_release(&mut self, index: usize) {
        let shelf = &mut self.hosts[index].shelf;
        let Some(mut facts) = shelf.facts.clone() else { return };
        facts.settled = shelf.switched.is_some();
        let held: Vec<bool> = (0..facts.chunks.len() as u32)
            .map(|chunk| shelf.pieces.contains_key(&chunk))
            .collect();
        let facts = Box::new(facts);
        self.step(index, Event::Release(ReleaseReport::Accepted { facts, held }));
    }

    fn write(&mut self, index: usize, chunk: u32, bytes: Bytes) {
        let shelf = self.shelf(index);
        shelf.pieces.insert(chunk, bytes);
        shelf.written += 1;
        let Some(facts) = shelf.facts.clone() else { return };
        let artifact = facts.artifact;
        let is_whole = shelf.pieces.len() == facts.chunks.len();
        self.soon(
            index,
            ReleaseReport::Stored {
                artifact,
                chunk,
                ok: true,
            },
        );
        if is_whole {
            self.soon(index, ReleaseReport::Complete { artifact, ok: true });
        }
    }

    fn soon(&mut self, index: usize, report: ReleaseReport) {
        let life = self.hosts[index].life;
        self.later(1, Pending::Event(index, life, Event::Release(report)));
    }

    pub(super) fn perform_release(&mut self, index: usize, order: ReleaseOrder) {
        let now = self.now;
        match order {
            ReleaseOrder::Judge { from, document } => {
                let number = document.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                let facts = self
                    .hosts
                    .iter()
                    .find_map(|host| host.shelf.facts.clone().filter(|facts| facts.number == number));
                let shelf = self.shelf(index);
                shelf.judged += 1;
                let report = match facts.filter(|_| !shelf.refuses) {
                    Some(facts) => {
                        shelf.facts = Some(facts.clone());
                        shelf.pieces.clear();
                        let held = vec![false; facts.chunks.len()];
                        ReleaseReport::Accepted {
                            facts: Box::new(facts),
                            held,
                        }
                    }
                    None => ReleaseReport::Refused {
                        from,
                        reason: "it is refused".to_owned(),
                    },
                };
                self.soon(index, report);
            }
            ReleaseOrder::Store { chunk, bytes, .. } => self.write(index, chunk, bytes),
            ReleaseOrder::Load { request, chunk, .. } => {
                let shelf = self.shelf(index);
                let mut bytes = shelf.pieces.get(&chunk).cloned();
                if shelf.lies {
                    bytes = bytes.map(|_| Bytes::from_static(b"something else"));
                }
                self.soon(index, ReleaseReport::Chunk(request, bytes));
            }
            ReleaseOrder::Switch { height, .. } => self.shelf(index).switched = Some((now, height)),
        }
    }
}
