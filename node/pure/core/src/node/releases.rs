//! Releases within a node: what they see of its links and instances.

use super::Node;
use crate::{
    chain::Chain,
    event::{Output, PeerIndex, Time},
    releases::{Air, Moment, ReleaseReport, Releases, Turn},
    wire::ReleaseBody,
};
use regatta_api::view::ReleaseView;

impl Node {
    fn with_releases(&mut self, now: Time, out: &mut Vec<Output>, act: impl FnOnce(&mut Releases, &mut Air<'_>)) {
        let Self {
            releases, neighbours, ..
        } = self;
        act(releases, &mut Air { now, neighbours, out });
    }

    pub(super) fn release_peer_up(&mut self, now: Time, peer: PeerIndex, out: &mut Vec<Output>) {
        self.with_releases(now, out, |releases, air| releases.peer_up(air, peer));
    }

    pub(super) fn release_frame(&mut self, now: Time, peer: PeerIndex, body: ReleaseBody, out: &mut Vec<Output>) {
        self.with_releases(now, out, |releases, air| releases.frame(air, peer, body));
    }

    pub(super) fn release_report(&mut self, now: Time, report: ReleaseReport, out: &mut Vec<Output>) {
        self.with_releases(now, out, |releases, air| releases.report(air, report));
        // The state is written down where the release takes effect, so that whatever comes after can begin there.
        if let Some((instance, height)) = self.releases.pending()
            && let Some(chain) = self.chains.iter_mut().find(|chain| chain.id == *instance)
        {
            chain.want_snapshot(height);
        }
    }

    pub(super) fn release_tick(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.releases.next_deadline().is_some_and(|at| at <= now) {
            self.with_releases(now, out, |releases, air| releases.tick(air));
        }
    }

    /// Switches to a released program when that is due.
    pub(super) fn take_turn(&mut self, now: Time, out: &mut Vec<Output>) {
        let Self {
            releases,
            neighbours,
            chains,
            secret,
            ..
        } = self;
        let Some((instance, height)) = releases.pending().filter(|_| releases.is_ready()) else {
            return;
        };
        let is_due = |chain: &Chain| chain.id == *instance && chain.height() >= height;
        let Some(place) = chains.iter().position(is_due) else {
            return;
        };
        let is_behind = chains
            .iter()
            .any(|chain| chain.is_catching_up() || chain.waits_for_recall());
        let is_writing = chains.iter().any(Chain::is_writing_snapshot);
        let (Some(links), Some(validators)) = (neighbours.view(place), chains[place].next_validators()) else {
            return;
        };
        let moment = Moment {
            height: chains[place].height(),
            turn: Turn::of(validators, &secret.public()),
            links,
            validators,
            is_writing,
            is_behind,
        };
        releases.take_turn(&mut Air { now, neighbours, out }, &moment);
    }

    /// The newest release that this node knows.
    #[must_use]
    pub fn release(&self) -> Option<ReleaseView> {
        let key = self.secret.public();
        let instance = self.releases.instance();
        let chain = instance.and_then(|instance| self.chains.iter().find(|chain| chain.id == *instance));
        let validators = chain.and_then(Chain::next_validators);
        self.releases.view(validators.map(|set| Turn::of(set, &key)))
    }
}
