//! Releases over the air: which one this node knows, which pieces of its program it holds, and when it switches.
//!
//! The newest release is told to all neighbours, with the pieces that are held. Who lacks the document asks for it and
//! has it judged outside: signatures, clock and files are no matter of the core. Pieces are named by their digests, asked
//! for from several neighbours at once, and checked before they count. From the release's height on nodes switch in
//! batches, see [`turns`].

mod fetch;
mod serve;
mod turns;

use crate::{
    event::{LogLevel, Output, PeerIndex, Protocol, RequestId, Time, TrafficClass},
    neighbourhood::Neighbourhood,
    wire::{Plain, ReleaseBody},
};
use bytes::Bytes;
use fetch::Fetch;
use regatta_api::{
    metrics::Metric,
    view::{ReleaseStage, ReleaseView},
};
use regatta_base::{Digest, Height, InstanceId};
use serve::Service;
use std::collections::BTreeMap;

pub(crate) use turns::{Moment, Turn};

/// Most pieces of a program.
pub const RELEASE_CHUNKS_MAX: usize = 4096;

/// What the core has to know of a release that was found to be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// Digest of what was signed.
    pub id: Digest,
    /// The exact bytes that neighbours judge for themselves.
    pub document: Bytes,
    /// Grows with every release.
    pub number: u64,
    /// Digest of the program.
    pub artifact: Digest,
    /// Digests of its pieces, in order.
    pub chunks: Vec<Digest>,
    /// The instance whose heights count.
    pub instance: InstanceId,
    /// No node switches before this height.
    pub activate_at: Height,
    /// Heights between two batches of nodes.
    pub batch_blocks: u64,
    /// Nothing is to be done with it here: its program runs already, or was tried in vain.
    pub settled: bool,
}

/// What became of a [`ReleaseOrder`], or what a client brought.
#[derive(Debug)]
pub enum ReleaseReport {
    /// A release is good; from now on it is the node's.
    Accepted {
        /// The release.
        facts: Box<ReleaseFacts>,
        /// Which pieces are on the disk.
        held: Vec<bool>,
    },
    /// Answer to [`ReleaseOrder::Judge`]: the document is not good for this node.
    Refused {
        /// Who sent it.
        from: PeerIndex,
        /// Why.
        reason: String,
    },
    /// A piece is on the disk, or could not be written.
    Stored {
        /// Digest of the program.
        artifact: Digest,
        /// Position of the piece.
        chunk: u32,
        /// Whether it is there.
        ok: bool,
    },
    /// All pieces were put together, and the program is the one that was signed, or is not.
    Complete {
        /// Digest of the program.
        artifact: Digest,
        /// Whether it may be switched to.
        ok: bool,
    },
    /// Answer to [`ReleaseOrder::Load`]; `None` when there is no such piece.
    Chunk(RequestId, Option<Bytes>),
}

/// What is to be done about releases, in the order given.
#[derive(Debug)]
pub enum ReleaseOrder {
    /// Judge a document that a neighbour sent.
    Judge {
        /// Who sent it.
        from: PeerIndex,
        /// Its bytes.
        document: Bytes,
    },
    /// Write a piece whose digest was checked.
    Store {
        /// Digest of the program.
        artifact: Digest,
        /// Position of the piece.
        chunk: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Read a piece for a neighbour.
    Load {
        /// Names the answer.
        request: RequestId,
        /// Digest of the program.
        artifact: Digest,
        /// Position of the piece.
        chunk: u32,
    },
    /// End in order and go on as the program of this release.
    Switch {
        /// Number of the release.
        number: u64,
        /// The last height that was executed.
        height: Height,
    },
}

/// The surroundings of one step.
pub(crate) struct Air<'a> {
    pub(crate) now: Time,
    pub(crate) neighbours: &'a Neighbourhood,
    pub(crate) out: &'a mut Vec<Output>,
}

impl Air<'_> {
    fn send(&mut self, peer: PeerIndex, body: ReleaseBody, class: TrafficClass) {
        self.out.push(Output::Send {
            peer,
            frame: Plain::Release(body).encode(),
            protocol: Protocol::Sync,
            class,
            after: 0,
        });
    }

    fn order(&mut self, order: ReleaseOrder) {
        self.out.push(Output::Release(order));
    }

    fn fault(&mut self, peer: PeerIndex, reason: String) {
        self.out.push(Output::PeerFault { peer, reason });
    }

    fn log(&mut self, level: LogLevel, line: String) {
        self.out.push(Output::Log(level, line));
    }

    fn count(&mut self, metric: Metric) {
        self.out.push(Output::Count(metric, 1));
    }
}

/// What a neighbour said of the newest release that it knows.
#[derive(Debug, Clone)]
struct Announced {
    number: u64,
    id: Digest,
    held: Bytes,
}

impl Announced {
    /// Whether it says that it holds a piece.
    fn holds(&self, chunk: usize) -> bool {
        let byte = self.held.get(chunk / 8).copied().unwrap_or_default();
        byte & (1 << (chunk % 8)) != 0
    }
}

/// The release that this node follows.
#[derive(Debug)]
struct Current {
    facts: ReleaseFacts,
    held: Vec<bool>,
    stage: ReleaseStage,
    fetch: Fetch,
    /// Since when its turn has come and neighbours are missed.
    missed_since: Option<Time>,
    /// Pieces that were held when the neighbours were last told.
    told: usize,
    /// When they are told again.
    tell_at: Option<Time>,
}

impl Current {
    fn held_count(&self) -> usize {
        self.held.iter().filter(|held| **held).count()
    }

    fn announcement(&self) -> ReleaseBody {
        let mut bits = vec![0_u8; self.held.len().div_ceil(8)];
        let held = self.held.iter().enumerate().filter(|(_, held)| **held);
        held.for_each(|(chunk, _)| bits[chunk / 8] |= 1 << (chunk % 8));
        ReleaseBody::Announce {
            number: self.facts.number,
            id: self.facts.id,
            held: bits.into(),
        }
    }
}

/// All that a node knows of releases.
#[derive(Debug)]
pub(crate) struct Releases {
    /// Whether the node trusts anybody with its program; otherwise it is deaf to all of this.
    enabled: bool,
    /// Where the node begins to fetch, so that neighbours begin in different places.
    salt: u64,
    current: Option<Current>,
    announced: BTreeMap<PeerIndex, Announced>,
    documents: fetch::Documents,
    service: Service,
}

impl Releases {
    pub(crate) fn new(enabled: bool, salt: u64) -> Self {
        Self {
            enabled,
            salt,
            current: None,
            announced: BTreeMap::new(),
            documents: fetch::Documents::default(),
            service: Service::default(),
        }
    }

    /// What clients are told.
    pub(crate) fn view(&self, turn: Option<Turn>) -> Option<ReleaseView> {
        let current = self.current.as_ref()?;
        let facts = &current.facts;
        Some(ReleaseView {
            number: facts.number,
            id: facts.id,
            artifact: facts.artifact,
            instance: facts.instance.clone(),
            activate_at: facts.activate_at,
            batch_blocks: facts.batch_blocks,
            batch: turn.map(|turn| turn.batch),
            batches: turn.map(|turn| turn.batches),
            chunks: facts.chunks.len() as u64,
            chunks_held: current.held_count() as u64,
            stage: current.stage,
        })
    }

    /// The instance whose heights count, while the node has yet to switch, and the height of the release.
    pub(crate) fn pending(&self) -> Option<(&InstanceId, Height)> {
        let current = self.current.as_ref()?;
        let is_pending = matches!(current.stage, ReleaseStage::Fetching | ReleaseStage::Ready);
        is_pending.then_some((&current.facts.instance, current.facts.activate_at))
    }

    /// Whether the program is here and waits for the node's turn.
    pub(crate) fn is_ready(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.stage == ReleaseStage::Ready)
    }

    /// The instance whose heights count for the newest release.
    pub(crate) fn instance(&self) -> Option<&InstanceId> {
        self.current.as_ref().map(|current| &current.facts.instance)
    }

    /// A link is up: its other end learns what this one knows.
    pub(crate) fn peer_up(&mut self, air: &mut Air<'_>, peer: PeerIndex) {
        if let Some(current) = &self.current {
            air.send(peer, current.announcement(), TrafficClass::Control);
        }
    }

    pub(crate) fn peer_down(&mut self, peer: PeerIndex) {
        self.announced.remove(&peer);
        self.documents.peer_down(peer);
        self.service.peer_down(peer);
        if let Some(current) = &mut self.current {
            current.fetch.peer_down(peer);
        }
    }

    pub(crate) fn frame(&mut self, air: &mut Air<'_>, from: PeerIndex, body: ReleaseBody) {
        if !self.enabled {
            return;
        }
        match body {
            ReleaseBody::Announce { number, id, held } => self.on_announce(air, from, number, id, held.0),
            ReleaseBody::DocumentRequest { id } => self.on_document_request(air, from, id),
            ReleaseBody::Document(document) => self.on_document(air, from, document.0),
            ReleaseBody::ChunkRequest { artifact, chunk } => self.on_chunk_request(air, from, artifact, chunk),
            ReleaseBody::Chunk { artifact, chunk, bytes } => {
                self.on_chunk(air, from, (artifact, chunk), bytes.map(|bytes| bytes.0));
            }
        }
    }

    pub(crate) fn report(&mut self, air: &mut Air<'_>, report: ReleaseReport) {
        match report {
            ReleaseReport::Accepted { facts, held } => self.on_accepted(air, *facts, held),
            ReleaseReport::Refused { from, reason } => self.on_refused(air, from, &reason),
            ReleaseReport::Stored { artifact, chunk, ok } => self.on_stored(air, artifact, chunk, ok),
            ReleaseReport::Complete { artifact, ok } => self.on_complete(air, artifact, ok),
            ReleaseReport::Chunk(request, bytes) => self.on_loaded(air, request, bytes),
        }
    }

    pub(crate) fn tick(&mut self, air: &mut Air<'_>) {
        self.documents.drop_late(air.now);
        self.want_document(air);
        let due = |current: &Current| current.tell_at.is_some_and(|at| at <= air.now);
        if self.current.as_ref().is_some_and(due) {
            self.tell(air);
        }
        self.request_chunks(air);
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let fetch = self.current.as_ref().and_then(|current| {
            let is_fetching = current.stage == ReleaseStage::Fetching;
            current.fetch.next_deadline().filter(|_| is_fetching)
        });
        let tell = self.current.as_ref().and_then(|current| current.tell_at);
        let times = [fetch, tell, self.documents.next_deadline()];
        times.into_iter().flatten().min()
    }

    fn on_accepted(&mut self, air: &mut Air<'_>, facts: ReleaseFacts, held: Vec<bool>) {
        self.documents.answered(&facts.id);
        let is_news = self
            .current
            .as_ref()
            .is_none_or(|current| current.facts.number < facts.number && current.stage != ReleaseStage::Switching);
        if !is_news || facts.chunks.len() > RELEASE_CHUNKS_MAX || held.len() != facts.chunks.len() {
            return;
        }
        air.log(
            LogLevel::Info,
            format!(
                "release {}: program {} in {} pieces, from height {} of `{}` on",
                facts.number,
                facts.artifact.short(),
                facts.chunks.len(),
                facts.activate_at,
                facts.instance
            ),
        );
        let stage = if facts.settled {
            ReleaseStage::Settled
        } else {
            ReleaseStage::Fetching
        };
        self.current = Some(Current {
            fetch: Fetch::new(facts.chunks.len(), self.salt),
            facts,
            held,
            stage,
            missed_since: None,
            told: 0,
            tell_at: None,
        });
        air.count(Metric::ReleasesAccepted);
        self.tell(air);
        self.request_chunks(air);
    }

    /// The release that is under way, if `artifact` is its program.
    fn current_of(&mut self, artifact: Digest) -> Option<&mut Current> {
        let current = self.current.as_mut();
        current.filter(|current| current.facts.artifact == artifact)
    }

    fn on_complete(&mut self, air: &mut Air<'_>, artifact: Digest, ok: bool) {
        let Some(current) = self.current_of(artifact) else {
            return;
        };
        let number = current.facts.number;
        if ok && current.stage == ReleaseStage::Fetching {
            current.stage = ReleaseStage::Ready;
            air.log(LogLevel::Info, format!("release {number}: its program is here"));
        } else if !ok && current.stage != ReleaseStage::Settled {
            current.stage = ReleaseStage::Settled;
            let line = format!("release {number}: its program is not fit to run here, and is not switched to");
            air.log(LogLevel::Warn, line);
        }
        self.tell(air);
    }

    /// Tells all neighbours what this node knows and holds.
    fn tell(&mut self, air: &mut Air<'_>) {
        if let Some(current) = &mut self.current {
            (current.told, current.tell_at) = (current.held_count(), None);
            let peers: Vec<PeerIndex> = air.neighbours.up().collect();
            for peer in peers {
                air.send(peer, current.announcement(), TrafficClass::Control);
            }
        }
    }
}
