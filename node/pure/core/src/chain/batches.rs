//! Payload that this node holds, and payload that it looks for.

use crate::event::{PeerIndex, Time};
use regatta_apps::CheckedBatch;
use regatta_base::{Digest, Height, PublicKey, limits};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Most bytes of one author's batches that wait to be ordered.
pub(crate) const AUTHOR_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most batches of one author that wait to be ordered: each block looks at all of them.
pub(crate) const AUTHOR_BATCHES_MAX: usize = 4096;
/// Most batches that are remembered to be forged.
const FORGED_MAX: usize = 256;
/// Most bytes of batches in one block, so that blocks stay short at overload.
pub(crate) const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of ordered batches that are kept for neighbours that ask a little late.
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most batches that are looked for at once because neighbours announced them.
const WANTS_MAX: usize = 4096;
/// Those of them that one neighbour announced first, so that it displaces only its own.
const WANTS_PER_PEER_MAX: usize = 512;
/// Most batches that are looked for besides, because proposals and decisions name them.
const WANTS_NEEDED_MAX: usize = 16 * limits::BATCHES_PER_BLOCK_MAX;
/// How long a neighbour has to answer, in milliseconds.
const WANT_TIMEOUT_MS: Time = 1000;
/// A batch that was sent to a neighbour is not sent again for so long, in milliseconds: small frames
/// overtake it, so the neighbour may ask for what is under way.
const RESEND_MS: Time = 2000;

/// What of one author waits to be ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) batches: usize,
    pub(crate) bytes: usize,
}

impl Share {
    /// Whether the author may have no more.
    pub(crate) fn is_full(self) -> bool {
        self.bytes > AUTHOR_BYTES_MAX || self.batches >= AUTHOR_BATCHES_MAX
    }
}

#[derive(Debug, Clone)]
struct Held {
    batch: Arc<CheckedBatch>,
    /// Whether every signature in it was checked here: what a vote for it requires.
    votable: bool,
    included: bool,
    sent: Vec<(PeerIndex, Time)>,
}

/// A batch that somebody says exists.
#[derive(Debug, Default)]
struct Want {
    sources: VecDeque<PeerIndex>,
    asked_at: Option<Time>,
    attempts: u32,
    /// Who announced it, unless a proposal or a decision names it.
    announced_by: Option<PeerIndex>,
}

impl Want {
    fn add(&mut self, source: PeerIndex) {
        if !self.sources.contains(&source) {
            self.sources.push_back(source);
        }
    }
}

/// Batches by digest.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    held: BTreeMap<Digest, Held>,
    /// Batches that wait to be ordered, in order of arrival.
    waiting: VecDeque<Digest>,
    /// Those of them whose transactions were not checked here, and are not being checked.
    unchecked: BTreeSet<Digest>,
    authors: BTreeMap<PublicKey, Share>,
    /// Batches with a transaction that its sender did not sign, the latest ones.
    forged: VecDeque<Digest>,
    recent: VecDeque<Digest>,
    recent_bytes: usize,
    wants: BTreeMap<Digest, Want>,
    /// How many of them each neighbour announced.
    announced: BTreeMap<PeerIndex, usize>,
}

impl Batches {
    pub(crate) fn get(&self, digest: &Digest) -> Option<&Arc<CheckedBatch>> {
        self.held.get(digest).map(|held| &held.batch)
    }

    pub(crate) fn is_votable(&self, digest: &Digest) -> bool {
        self.held.get(digest).is_some_and(|held| held.votable)
    }

    /// Whether a transaction in the batch is known to be signed by nobody.
    pub(crate) fn is_forged(&self, digest: &Digest) -> bool {
        self.forged.contains(digest)
    }

    /// A batch that waits to be ordered and whose transactions nobody checks yet.
    pub(crate) fn next_unchecked(&self) -> Option<Digest> {
        self.unchecked.first().copied()
    }

    /// The transactions of a batch that is held are being checked from now on.
    pub(crate) fn begin_check(&mut self, digest: &Digest) {
        self.unchecked.remove(digest);
    }

    /// They were checked, and all are signed.
    pub(crate) fn vouch(&mut self, digest: &Digest) {
        self.unchecked.remove(digest);
        if let Some(held) = self.held.get_mut(digest) {
            held.votable = true;
        }
    }

    /// One of them is not: the batch is let go of, and known when it comes again.
    pub(crate) fn condemn(&mut self, digest: &Digest) {
        if self.held.get(digest).is_some_and(|held| held.included) {
            return;
        }
        self.stop_wanting(digest);
        self.remove_waiting(&BTreeSet::from([*digest]));
        self.forged.push_back(*digest);
        if self.forged.len() > FORGED_MAX {
            self.forged.pop_front();
        }
    }

    /// The batch, if it is held and should be sent to `peer` now; it then counts as sent.
    pub(crate) fn begin_send(&mut self, now: Time, digest: &Digest, peer: PeerIndex) -> Option<&Arc<CheckedBatch>> {
        let held = self.held.get_mut(digest)?;
        held.sent.retain(|(to, at)| *to != peer || now < at + RESEND_MS);
        if held.sent.iter().any(|(to, _)| *to == peer) {
            return None;
        }
        held.sent.push((peer, now));
        Some(&held.batch)
    }

    /// Forgets what was sent to a neighbour: it was lost with the link.
    pub(crate) fn peer_down(&mut self, peer: PeerIndex) {
        for held in self.held.values_mut() {
            held.sent.retain(|(to, _)| *to != peer);
        }
    }

    /// How much of `author`'s waits to be ordered.
    pub(crate) fn share_of(&self, author: &PublicKey) -> Share {
        self.authors.get(author).copied().unwrap_or_default()
    }

    pub(crate) fn is_wanted(&self, digest: &Digest) -> bool {
        self.wants.contains_key(digest)
    }

    /// Whether anything waits to be ordered.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Digests of the batches that wait to be ordered.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Digest> + '_ {
        self.waiting.iter().copied()
    }

    /// Lets go of the waiting batches that `is_gone` says it of, and returns them.
    pub(crate) fn take_waiting(&mut self, is_gone: impl Fn(&Digest) -> bool) -> Vec<Arc<CheckedBatch>> {
        let gone: BTreeSet<Digest> = self.waiting.iter().filter(|digest| is_gone(digest)).copied().collect();
        self.remove_waiting(&gone)
    }

    /// Takes a batch in; says whether it is new here (or newly votable).
    pub(crate) fn hold(&mut self, batch: &Arc<CheckedBatch>, votable: bool) -> bool {
        self.stop_wanting(&batch.digest);
        if let Some(held) = self.held.get(&batch.digest) {
            let better = votable && !held.votable;
            if better {
                self.vouch(&batch.digest);
            }
            return better;
        }
        if !votable {
            self.unchecked.insert(batch.digest);
        }
        let share = self.authors.entry(batch.author).or_default();
        (share.batches, share.bytes) = (share.batches + 1, share.bytes + batch.bytes.len());
        self.waiting.push_back(batch.digest);
        let held = Held {
            batch: batch.clone(),
            votable,
            included: false,
            sent: Vec::new(),
        };
        self.held.insert(batch.digest, held);
        true
    }

    /// What a block at `height` should order, oldest first, beside what the block before it orders.
    pub(crate) fn propose(&self, height: Height, before: &[Digest]) -> Vec<Digest> {
        let (mut digests, mut bytes) = (Vec::new(), 0);
        for digest in &self.waiting {
            let Some(held) = self.held.get(digest) else { continue };
            if !held.votable || !held.batch.may_be_ordered_at(height) || before.contains(digest) {
                continue;
            }
            bytes += held.batch.bytes.len();
            if digests.len() == limits::BATCHES_PER_BLOCK_MAX || (bytes > BLOCK_BYTES_MAX && !digests.is_empty()) {
                break;
            }
            digests.push(*digest);
        }
        digests
    }

    /// Notes that a block ordered these batches; the oldest ordered ones are let go.
    pub(crate) fn mark_included(&mut self, digests: &[Digest]) {
        for digest in digests {
            let Some(held) = self.held.get_mut(digest) else {
                continue;
            };
            if std::mem::replace(&mut held.included, true) {
                continue;
            }
            let (author, bytes) = (held.batch.author, held.batch.bytes.len());
            self.unchecked.remove(digest);
            self.recent_bytes += bytes;
            self.recent.push_back(*digest);
            self.release_author(author, bytes);
        }
        self.waiting
            .retain(|digest| self.held.get(digest).is_some_and(|held| !held.included));
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            if let Some(held) = self.held.remove(&oldest) {
                self.recent_bytes -= held.batch.bytes.len();
            }
        }
    }

    fn release_author(&mut self, author: PublicKey, bytes: usize) {
        if let Some(share) = self.authors.get_mut(&author) {
            share.bytes = share.bytes.saturating_sub(bytes);
            share.batches = share.batches.saturating_sub(1);
            if share.batches == 0 {
                self.authors.remove(&author);
            }
        }
    }

    /// Lets go of waiting batches that can no longer be ordered at or after `height`, and returns them.
    pub(crate) fn take_expired(&mut self, height: Height) -> Vec<Arc<CheckedBatch>> {
        let last_chance = |batch: &CheckedBatch| batch.base_height.saturating_add(limits::BATCH_LIFETIME_BLOCKS);
        let held = &self.held;
        let gone: BTreeSet<Digest> = self
            .waiting
            .iter()
            .filter(|digest| held.get(digest).is_none_or(|held| last_chance(&held.batch) < height))
            .copied()
            .collect();
        self.remove_waiting(&gone)
    }

    fn remove_waiting(&mut self, gone: &BTreeSet<Digest>) -> Vec<Arc<CheckedBatch>> {
        if gone.is_empty() {
            return Vec::new();
        }
        self.waiting.retain(|digest| !gone.contains(digest));
        self.unchecked.retain(|digest| !gone.contains(digest));
        let expired: Vec<_> = gone
            .iter()
            .filter_map(|digest| self.held.remove(digest))
            .map(|held| held.batch)
            .collect();
        for batch in &expired {
            self.release_author(batch.author, batch.bytes.len());
        }
        expired
    }

    /// Notes that a batch is missing here that a proposal or a decision names, and that `source` may hold it.
    pub(crate) fn want(&mut self, digest: Digest, source: PeerIndex) {
        debug_assert!(!self.held.contains_key(&digest), "nobody has to send it again");
        if let Some(announcer) = self.wants.get_mut(&digest).and_then(|want| want.announced_by.take()) {
            self.release_announcer(announcer);
        }
        let announced: usize = self.announced.values().sum();
        if self.wants.contains_key(&digest) || self.wants.len() - announced < WANTS_NEEDED_MAX {
            self.wants.entry(digest).or_default().add(source);
        }
    }

    /// Notes that `source` says that it holds a batch that is missing here.
    pub(crate) fn want_announced(&mut self, digest: Digest, source: PeerIndex) {
        if let Some(want) = self.wants.get_mut(&digest) {
            return want.add(source);
        }
        let all: usize = self.announced.values().sum();
        let of_source = self.announced.entry(source).or_default();
        if all >= WANTS_MAX || *of_source >= WANTS_PER_PEER_MAX {
            return;
        }
        *of_source += 1;
        let want = self.wants.entry(digest).or_default();
        want.announced_by = Some(source);
        want.add(source);
    }

    fn release_announcer(&mut self, announcer: PeerIndex) {
        if let Some(count) = self.announced.get_mut(&announcer) {
            *count = count.saturating_sub(1);
        }
    }

    fn stop_wanting(&mut self, digest: &Digest) {
        if let Some(announcer) = self.wants.remove(digest).and_then(|want| want.announced_by) {
            self.release_announcer(announcer);
        }
    }

    /// Stops looking for batches that no block at or after the current height needs.
    pub(crate) fn forget_wants(&mut self, keep: impl Fn(&Digest) -> bool) {
        let in_vain = self
            .wants
            .iter()
            .filter(|(digest, want)| want.attempts >= 20 && !keep(digest));
        let in_vain: Vec<Digest> = in_vain.map(|(digest, _)| *digest).collect();
        in_vain.iter().for_each(|digest| self.stop_wanting(digest));
    }

    /// What to ask whom for now: each missing batch from one neighbour at a time, the next one when the
    /// last did not answer in time.
    pub(crate) fn requests(
        &mut self,
        now: Time,
        is_up: impl Fn(PeerIndex) -> bool,
    ) -> BTreeMap<PeerIndex, Vec<Digest>> {
        let mut requests: BTreeMap<PeerIndex, Vec<Digest>> = BTreeMap::new();
        for (digest, want) in &mut self.wants {
            if want.asked_at.is_some_and(|asked| now < asked + WANT_TIMEOUT_MS) {
                continue;
            }
            want.sources
                .rotate_left(usize::from(want.attempts > 0 && want.sources.len() > 1));
            let Some(&source) = want.sources.iter().find(|&&source| is_up(source)) else {
                continue;
            };
            (want.asked_at, want.attempts) = (Some(now), want.attempts.saturating_add(1));
            requests.entry(source).or_default().push(*digest);
        }
        requests
    }

    /// Whether anything is being looked for.
    pub(crate) fn has_wants(&self) -> bool {
        !self.wants.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn author(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    fn batch(n: u8, by: u8, base_height: Height, bytes: usize) -> Arc<CheckedBatch> {
        let bytes = Bytes::from(vec![n; bytes]);
        Arc::new(CheckedBatch {
            digest: Digest([n; 32]),
            author: author(by),
            base_height,
            bytes,
            items: Vec::new(),
            changes_validators: false,
        })
    }

    #[test]
    fn a_block_takes_the_oldest_votable_batches_up_to_its_size() {
        let mut batches = Batches::default();
        let half = BLOCK_BYTES_MAX / 2;
        assert!(batches.hold(&batch(1, 0, 0, half), true));
        assert!(batches.hold(&batch(2, 0, 0, 10), false));
        assert!(batches.hold(&batch(3, 1, 5, 10), true));
        assert!(batches.hold(&batch(4, 1, 0, half), true));
        assert!(batches.hold(&batch(5, 1, 0, half), true));
        // 2 was not checked here, 3's author is ahead of height 5, 5 no longer fits.
        assert_eq!(batches.propose(5, &[]), [Digest([1; 32]), Digest([4; 32])]);
        assert!(batches.hold(&batch(2, 0, 0, 10), true), "becomes votable");
        assert!(!batches.hold(&batch(2, 0, 0, 10), true), "twice is nothing new");
        assert!(batches.propose(6, &[]).contains(&Digest([2; 32])));
        assert!(
            !batches.propose(6, &[Digest([2; 32])]).contains(&Digest([2; 32])),
            "not twice"
        );
    }

    #[test]
    fn ordering_releases_the_author_and_keeps_only_recent_bytes() {
        let mut batches = Batches::default();
        for n in 1..=8 {
            batches.hold(&batch(n, 3, 0, 1024 * 1024), true);
        }
        assert_eq!(batches.share_of(&author(3)).bytes, 8 * 1024 * 1024);
        let digests: Vec<_> = (1..=8).map(|n| Digest([n; 32])).collect();
        batches.mark_included(&digests);
        batches.mark_included(&digests);
        assert_eq!((batches.share_of(&author(3)).bytes, batches.has_waiting()), (0, false));
        assert!(batches.get(&digests[0]).is_none() && batches.get(&digests[7]).is_some());
        assert!(batches.recent_bytes <= RECENT_BYTES_MAX);
    }

    #[test]
    fn a_silent_source_is_followed_by_the_next_one() {
        let mut batches = Batches::default();
        let digest = Digest([1; 32]);
        batches.want(digest, 4);
        batches.want(digest, 6);
        let ask = |batches: &mut Batches, now| batches.requests(now, |_| true).into_keys().collect::<Vec<_>>();
        assert_eq!(ask(&mut batches, 0), [4]);
        assert!(ask(&mut batches, 10).is_empty());
        assert_eq!(ask(&mut batches, WANT_TIMEOUT_MS), [6]);
        assert!(batches.requests(2 * WANT_TIMEOUT_MS, |peer| peer == 6).contains_key(&6));
        batches.hold(&batch(1, 0, 0, 1), true);
        assert!(!batches.has_wants());
    }

    #[test]
    fn who_announces_what_nobody_has_displaces_only_its_own() {
        let mut batches = Batches::default();
        let name = |n: usize| Digest::of("test", &[&n.to_be_bytes()]);
        (0..100_000).for_each(|n| batches.want_announced(name(n), 7));
        assert_eq!(batches.wants.len(), WANTS_PER_PEER_MAX);
        batches.want_announced(name(0), 8);
        batches.want_announced(name(200_000), 8);
        batches.want(name(200_001), 7);
        batches.want(name(1), 8);
        assert!(batches.is_wanted(&name(200_000)) && batches.is_wanted(&name(200_001)));
        assert_eq!(
            (batches.announced[&7], batches.announced[&8]),
            (WANTS_PER_PEER_MAX - 1, 1),
            "what a proposal names is nobody's announcement"
        );
        for now in (0..20).map(|attempt| attempt * WANT_TIMEOUT_MS) {
            batches.requests(now, |_| true);
        }
        batches.forget_wants(|digest| *digest == name(1));
        assert_eq!((batches.wants.len(), batches.announced[&7]), (1, 0));
        (0..100_000).for_each(|n| batches.want(name(n), 7));
        assert_eq!(batches.wants.len(), WANTS_NEEDED_MAX);
    }

    #[test]
    fn what_is_under_way_is_not_sent_again_until_its_link_breaks_or_time_has_passed() {
        let mut batches = Batches::default();
        let digest = Digest([1; 32]);
        assert!(batches.begin_send(0, &digest, 3).is_none(), "not held");
        batches.hold(&batch(1, 0, 0, 1), true);
        assert!(batches.begin_send(0, &digest, 3).is_some());
        assert!(batches.begin_send(RESEND_MS - 1, &digest, 3).is_none());
        assert!(batches.begin_send(0, &digest, 4).is_some(), "another neighbour");
        batches.peer_down(3);
        assert!(batches.begin_send(1, &digest, 3).is_some());
        assert!(batches.begin_send(1 + RESEND_MS, &digest, 3).is_some());
    }

    #[test]
    fn expired_batches_come_back_to_whoever_can_batch_them_again() {
        let mut batches = Batches::default();
        batches.hold(&batch(1, 2, 0, 7), true);
        assert!(batches.take_expired(limits::BATCH_LIFETIME_BLOCKS).is_empty());
        assert_eq!(batches.take_expired(limits::BATCH_LIFETIME_BLOCKS + 1).len(), 1);
        assert_eq!((batches.share_of(&author(2)).bytes, batches.has_waiting()), (0, false));
    }
}
