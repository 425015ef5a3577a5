//! Consensus messages and announcements that wait to be sent, in one batch for each neighbour.

use super::{BYTES_OVERHEAD, CONSENSUS_FRAME_BYTES_MAX};
use crate::{
    context::Context,
    event::{PeerIndex, Protocol, Time},
    record::RecordNumber,
    wire::{Body, InstanceTag, Plain},
};
use bytes::Bytes;
use regatta_base::{Digest, HexBytes};
use std::collections::BTreeMap;

/// How long a message that is passed on waits for company, at least and at most, in milliseconds.
const RELAY_DELAY_MS: std::ops::RangeInclusive<Time> = 2..=25;
/// How long an announcement of payload waits for company, at most, in milliseconds.
const ANNOUNCE_DELAY_MS_MAX: Time = 125;
/// So many messages for one neighbour do not wait.
const RELAY_COUNT_MAX: usize = 64;

#[derive(Debug, Default)]
struct Parcel {
    messages: Vec<HexBytes>,
    announcements: Vec<Digest>,
    urgent: bool,
}

/// What waits, by neighbour.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    boxes: BTreeMap<PeerIndex, Parcel>,
    due_at: Option<Time>,
    delay: Time,
    announce_at: Option<Time>,
    announce_delay: Time,
}

impl Outbox {
    /// Messages wait for a twentieth of the time between blocks: over a sparse graph each frame costs far
    /// more than the votes in it, and a few hops of that delay fit between two blocks.
    pub(crate) fn new(block_interval: Time) -> Self {
        let delay = (block_interval / 20).clamp(*RELAY_DELAY_MS.start(), *RELAY_DELAY_MS.end());
        let announce_delay = (block_interval / 4).clamp(*RELAY_DELAY_MS.start(), ANNOUNCE_DELAY_MS_MAX);
        Self {
            delay,
            announce_delay,
            ..Self::default()
        }
    }

    /// Queues an encoded message; an urgent one takes everything before it along at the end of the step.
    pub(crate) fn push(&mut self, peer: PeerIndex, message: HexBytes, urgent: bool) {
        let entry = self.boxes.entry(peer).or_default();
        entry.messages.push(message);
        entry.urgent |= urgent || entry.messages.len() >= RELAY_COUNT_MAX;
    }

    pub(crate) fn announce(&mut self, peer: PeerIndex, digest: Digest) {
        self.boxes.entry(peer).or_default().announcements.push(digest);
    }

    pub(crate) fn forget(&mut self, peer: PeerIndex) {
        self.boxes.remove(&peer);
    }

    pub(crate) fn due_at(&self) -> Option<Time> {
        [self.due_at, self.announce_at].into_iter().flatten().min()
    }

    /// Sends what is urgent or has waited long enough, not before record `after` is durable.
    pub(crate) fn flush(&mut self, ctx: &mut Context<'_>, tag: InstanceTag, after: RecordNumber) {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= ctx.now);
        let (messages_due, announcements_due) = (is_due(self.due_at), is_due(self.announce_at));
        let is_ready = |parcel: &Parcel| {
            parcel.urgent
                || (messages_due && !parcel.messages.is_empty())
                || (announcements_due && !parcel.announcements.is_empty())
        };
        let ready: Vec<PeerIndex> = self
            .boxes
            .iter()
            .filter(|(_, parcel)| is_ready(parcel))
            .map(|(&peer, _)| peer)
            .collect();
        // Most neighbours get the same messages: encode them once.
        let mut last: Option<(Vec<HexBytes>, Vec<Bytes>)> = None;
        for peer in ready {
            let Some(entry) = self.boxes.remove(&peer) else {
                continue;
            };
            if !entry.announcements.is_empty() {
                let frame = Plain::Instance(tag, Body::Announce(entry.announcements)).encode();
                ctx.send(peer, frame, Protocol::Payload, 0);
            }
            if entry.messages.is_empty() {
                continue;
            }
            if last.as_ref().is_none_or(|(messages, _)| *messages != entry.messages) {
                let frames = consensus_frames(tag, &entry.messages);
                last = Some((entry.messages, frames));
            }
            for frame in last.iter().flat_map(|(_, frames)| frames) {
                ctx.send(peer, frame.clone(), Protocol::Consensus, after);
            }
        }
        let has_messages = self.boxes.values().any(|parcel| !parcel.messages.is_empty());
        let has_announcements = self.boxes.values().any(|parcel| !parcel.announcements.is_empty());
        self.due_at = next_due(self.due_at, has_messages, ctx.now, self.delay);
        self.announce_at = next_due(self.announce_at, has_announcements, ctx.now, self.announce_delay);
    }
}

/// When what still waits is due: as set before, or `delay` from now.
fn next_due(set: Option<Time>, waits: bool, now: Time, delay: Time) -> Option<Time> {
    waits.then(|| set.filter(|at| *at > now).unwrap_or(now + delay))
}

/// Packs messages into frames below the limit.
pub(crate) fn consensus_frames(tag: InstanceTag, messages: &[HexBytes]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (i, message) in messages.iter().enumerate() {
        let size = message.0.len() + BYTES_OVERHEAD;
        if bytes + size > CONSENSUS_FRAME_BYTES_MAX && i > start {
            frames.push(Plain::Instance(tag, Body::Consensus(messages[start..i].to_vec())).encode());
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    frames.push(Plain::Instance(tag, Body::Consensus(messages[start..].to_vec())).encode());
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;
    use regatta_base::limits;

    #[test]
    fn many_messages_are_split_below_the_frame_limit_and_none_is_lost() {
        let messages: Vec<HexBytes> = (0..40u8).map(|n| HexBytes::from(vec![n; 100_000])).collect();
        let frames = consensus_frames(1, &messages);
        let mut unpacked = Vec::new();
        for frame in &frames {
            assert!(frame.len() <= limits::FRAME_BYTES_MAX);
            let Ok(Frame::Plain(Plain::Instance(1, Body::Consensus(part)))) = Frame::decode(frame) else {
                panic!("not a consensus frame")
            };
            unpacked.extend(part);
        }
        assert!(frames.len() > 1);
        assert_eq!(unpacked, messages);
    }
}
