//! What is known about each configured peer, for people and for readiness.

use super::{cut::Cuts, shape::Shaper};
use crate::meter::Meter;
use regatta_api::{PeerConfig, metrics::Metric, view::PeerView};
use regatta_core::PeerIndex;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// State of all configured peers, shared between the network and the control interface.
#[derive(Debug)]
pub struct PeerBoard {
    rows: Mutex<Vec<PeerView>>,
    meter: Arc<Meter>,
    cuts: Cuts,
    shaper: Shaper,
}

impl PeerBoard {
    /// A board where no peer is connected yet.
    #[must_use]
    pub fn new(peers: &[PeerConfig], meter: Arc<Meter>) -> Self {
        let rows = peers
            .iter()
            .map(|peer| PeerView {
                name: peer.name.clone(),
                key: peer.key,
                address: peer.address.to_string(),
                connected: false,
                connects: 0,
                last_error: None,
            })
            .collect();
        Self {
            rows: Mutex::new(rows),
            meter,
            cuts: Cuts::default(),
            shaper: Shaper::default(),
        }
    }

    /// Which links tests have cut.
    #[must_use]
    pub fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// What becomes of what is sent along links that tests slow down.
    #[must_use]
    pub fn shaper(&self) -> &Shaper {
        &self.shaper
    }

    /// One row for each configured peer, in the order of the configuration.
    #[must_use]
    pub fn views(&self) -> Vec<PeerView> {
        self.rows().clone()
    }

    /// How many links are up, and how many are configured.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let rows = self.rows();
        (
            rows.iter().filter(|row| row.connected).count() as u64,
            rows.len() as u64,
        )
    }

    pub(crate) fn up(&self, peer: PeerIndex) {
        self.change(peer, |row| {
            row.connected = true;
            row.connects += 1;
        });
    }

    pub(crate) fn down(&self, peer: PeerIndex, reason: &str) {
        self.change(peer, |row| {
            row.connected = false;
            row.last_error = Some(reason.to_owned());
        });
    }

    pub(crate) fn dial_failed(&self, peer: PeerIndex, reason: &str) {
        self.change(peer, |row| row.last_error = Some(reason.to_owned()));
    }

    fn change(&self, peer: PeerIndex, edit: impl FnOnce(&mut PeerView)) {
        let mut rows = self.rows();
        if let Some(row) = rows.get_mut(peer) {
            edit(row);
        }
        let connected = rows.iter().filter(|row| row.connected).count();
        self.meter.set(Metric::PeersConnected, connected as u64);
    }

    fn rows(&self) -> MutexGuard<'_, Vec<PeerView>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::PublicKey;

    #[test]
    fn ups_and_downs_show_in_the_rows_the_counts_and_the_gauge() {
        let peer = |byte: u8| PeerConfig {
            name: format!("n{byte}"),
            key: PublicKey([byte; 32]),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        let meter = Arc::new(Meter::default());
        let board = PeerBoard::new(&[peer(1), peer(2)], Arc::clone(&meter));
        assert_eq!(board.counts(), (0, 2));
        board.dial_failed(0, "refused");
        board.up(1);
        board.down(1, "reset");
        board.up(1);
        board.up(9);
        let views = board.views();
        assert_eq!(
            (views[0].connected, views[0].last_error.as_deref()),
            (false, Some("refused"))
        );
        assert_eq!((views[1].connected, views[1].connects), (true, 2));
        assert_eq!(board.counts(), (1, 2));
        assert_eq!(meter.get(Metric::PeersConnected), 1);
    }
}
