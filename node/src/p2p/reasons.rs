//! Why connections fail, in words, and a log of refusals that nobody can flood.

use super::{admission::Refusal, identity::public_key};
use libp2p::{
    Multiaddr,
    swarm::{ConnectionDenied, DialError, ListenError},
};
use std::{
    error::Error,
    time::{Duration, Instant},
};

/// A refused connection is logged at most this often.
const REFUSAL_LOG_PAUSE: Duration = Duration::from_secs(1);

/// Keeps whoever floods the port from flooding the log.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    last: Option<Instant>,
    unlogged: u64,
}

impl RefusalLog {
    /// Logs a refusal, or counts it for the next line.
    pub(super) fn note(&mut self, address: &Multiaddr, reason: &str) {
        if self.last.is_some_and(|last| last.elapsed() < REFUSAL_LOG_PAUSE) {
            self.unlogged += 1;
            return;
        }
        let unlogged = std::mem::take(&mut self.unlogged);
        tracing::warn!(%address, reason, unlogged, "connection refused");
        self.last = Some(Instant::now());
    }
}

/// Why a dial failed, in words that a user can act on.
pub(super) fn explain_dial(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => errors
            .first()
            .map_or_else(|| error.to_string(), |(_, error)| root(error)),
        DialError::WrongPeerId { obtained, .. } => {
            let key = public_key(obtained).map_or_else(|| obtained.to_string(), |key| key.to_string());
            format!("the node there has another key, {key}; help: correct the peer's key or address")
        }
        DialError::Denied { cause } => denied(cause),
        other => root(other),
    }
}

/// Why a connection from outside failed; `None` when it only was one too many between two peers.
pub(super) fn explain_inbound(error: &ListenError) -> Option<String> {
    match error {
        ListenError::Denied { cause } => match cause.downcast_ref::<Refusal>() {
            Some(Refusal::Duplicate) => None,
            _ => Some(denied(cause)),
        },
        other => Some(root(other)),
    }
}

fn denied(cause: &ConnectionDenied) -> String {
    cause
        .downcast_ref::<Refusal>()
        .map_or_else(|| cause.to_string(), Refusal::to_string)
}

/// The innermost cause: libp2p's outer layers only say that something failed.
pub(super) fn root(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::identity::peer_id;
    use libp2p::{PeerId, core::transport::TransportError};
    use regatta_base::SecretKey;
    use std::io;

    fn transport_error() -> TransportError<io::Error> {
        TransportError::Other(io::Error::other(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "nobody listens",
        )))
    }

    #[test]
    fn a_failed_dial_names_the_innermost_cause() {
        let error = DialError::Transport(vec![(Multiaddr::empty(), transport_error())]);
        assert_eq!(explain_dial(&error), "nobody listens");
        assert!(!explain_dial(&DialError::Transport(Vec::new())).is_empty());
    }

    #[test]
    fn another_key_is_shown_as_the_configuration_writes_it() {
        let key = SecretKey::from_seed([4; 32]).public();
        let address = Multiaddr::empty();
        let wrong = |obtained: PeerId| DialError::WrongPeerId {
            obtained,
            address: address.clone(),
        };
        assert!(explain_dial(&wrong(peer_id(&key).unwrap())).contains(&key.to_string()));
        let other_kind = PeerId::random();
        assert!(explain_dial(&wrong(other_kind)).contains(&other_kind.to_string()));
    }

    #[test]
    fn only_a_duplicate_is_no_refusal() {
        let denied = |refusal| ListenError::Denied {
            cause: ConnectionDenied::new(refusal),
        };
        assert_eq!(explain_inbound(&denied(Refusal::Duplicate)), None);
        let stranger = explain_inbound(&denied(Refusal::Unknown("abc".to_owned()))).unwrap();
        assert!(stranger.contains("abc") && stranger.contains("help: "), "{stranger}");
        assert_eq!(
            explain_inbound(&ListenError::Transport(transport_error())).unwrap(),
            "nobody listens"
        );
    }

    #[test]
    fn a_flood_of_refusals_is_one_line_and_a_count() {
        let mut log = RefusalLog::default();
        for _ in 0..1000 {
            log.note(&Multiaddr::empty(), "a stranger");
        }
        assert_eq!(log.unlogged, 999);
    }
}
