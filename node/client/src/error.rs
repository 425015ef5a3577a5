//! What can go wrong between a client and a node, with the address in every message.

use regatta_api::ApiError;
use std::{net::SocketAddr, time::Duration};

/// Why a request did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No connection to the address.
    #[error("no connection to {address}: {reason}; help: is the node running, and is this its HTTP port?")]
    Unreachable {
        /// Where the node should be.
        address: SocketAddr,
        /// What the operating system said.
        reason: String,
    },
    /// The connection broke, or what came over it is not HTTP.
    #[error("{path} of {address} failed: {reason}; help: whether the request took effect is unknown, ask again")]
    Transport {
        /// The node.
        address: SocketAddr,
        /// What was asked for.
        path: String,
        /// What happened.
        reason: String,
    },
    /// No complete answer in time.
    #[error("{path} of {address} gave no answer within {after:?}; help: the node may be overloaded, ask again")]
    Deadline {
        /// The node.
        address: SocketAddr,
        /// What was asked for.
        path: String,
        /// The deadline of the request, or the longest silence of a subscription.
        after: Duration,
    },
    /// The node refused the request and said why.
    #[error("{path} of {address} answered {status}: {error}; help: {}", .error.help)]
    Api {
        /// The node.
        address: SocketAddr,
        /// What was asked for.
        path: String,
        /// HTTP status.
        status: u16,
        /// The body of the answer.
        error: ApiError,
    },
    /// The answer is not what the control interface promises.
    #[error("{path} of {address} gave an answer that does not decode: {reason}; help: is the node of another version?")]
    Malformed {
        /// The node.
        address: SocketAddr,
        /// What was asked for.
        path: String,
        /// What does not decode.
        reason: String,
    },
    /// The node ended a subscription.
    #[error("{address} ended the subscription: {error}; help: {}", .error.help)]
    Cut {
        /// The node.
        address: SocketAddr,
        /// Why.
        error: ApiError,
    },
    /// The node did not become ready.
    #[error("{address} was not ready after {after:?}: {last}; help: read the node's log")]
    NotReady {
        /// The node.
        address: SocketAddr,
        /// How long it was asked.
        after: Duration,
        /// What the last attempt said.
        last: String,
    },
}

impl ClientError {
    /// The node that the error is about.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Unreachable { address, .. }
            | Self::Transport { address, .. }
            | Self::Deadline { address, .. }
            | Self::Api { address, .. }
            | Self::Malformed { address, .. }
            | Self::Cut { address, .. }
            | Self::NotReady { address, .. } => *address,
        }
    }

    /// Whether the node answered that it does not have what was asked for.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }

    /// Whether the node certainly did not act on the request: it refused it, or never got it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Api { .. })
    }
}

/// `error` with everything that caused it: the outermost text alone seldom names the reason.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
