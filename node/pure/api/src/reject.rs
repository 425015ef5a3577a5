//! Why a node refuses a transaction or a request, in words that a client can act on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a transaction was not taken into a mempool. The text form is stable: reports count by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reject {
    /// The bytes are not a transaction.
    Malformed,
    /// Longer than the limit of the protocol.
    TooLarge,
    /// The signature does not verify for this chain and instance.
    BadSignature,
    /// The same bytes are already pending or executed.
    Duplicate,
    /// The sender already used this sequence number, or it lies too far behind.
    StaleSequence,
    /// This sender has too many pending transactions.
    SenderLimit,
    /// The mempool is full.
    MempoolFull,
    /// The node's disk quota is reached.
    DiskFull,
    /// The node is not ready: it is catching up, or no validator is reachable.
    NotReady,
    /// No validator acknowledged the transaction in time; it may or may not be included.
    NoAcknowledgement,
}

impl Reject {
    /// Every reason, in the order of the wire.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::TooLarge,
        Self::BadSignature,
        Self::Duplicate,
        Self::StaleSequence,
        Self::SenderLimit,
        Self::MempoolFull,
        Self::DiskFull,
        Self::NotReady,
        Self::NoAcknowledgement,
    ];

    /// The stable text form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::BadSignature => "bad_signature",
            Self::Duplicate => "duplicate",
            Self::StaleSequence => "stale_sequence",
            Self::SenderLimit => "sender_limit",
            Self::MempoolFull => "mempool_full",
            Self::DiskFull => "disk_full",
            Self::NotReady => "not_ready",
            Self::NoAcknowledgement => "no_acknowledgement",
        }
    }

    /// What the client can do about it.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Malformed => "build the transaction with regatta-client or by the layout in docs/reference",
            Self::TooLarge => "split it: a transaction has at most 262144 bytes",
            Self::BadSignature => "sign for this chain and instance: `regatta-node version` names the chain",
            Self::Duplicate => "nothing to do: query its status by id",
            Self::StaleSequence => "read the account's next sequence number and sign again",
            Self::SenderLimit => "wait until some of this sender's transactions are final",
            Self::MempoolFull => "send slower, or raise mempool.transactions_max or mempool.bytes_max",
            Self::DiskFull => "raise store.disk_bytes_max or free the node's disk",
            Self::NotReady => "wait until /v1/ready answers 200",
            Self::NoAcknowledgement => "query its status by id before sending it again",
        }
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// Stable short code, e.g. `not_found`.
    pub code: String,
    /// What was wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_the_wire_form() {
        for reject in Reject::ALL {
            assert_eq!(serde_json::to_string(&reject).unwrap(), format!("\"{reject}\""));
            assert!(!reject.help().is_empty());
        }
    }
}
