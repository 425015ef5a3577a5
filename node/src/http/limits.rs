//! Everything that clients can make grow or take long, with its limit.

use std::time::Duration;

/// Limits of one control interface; tests choose smaller ones.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Most connections at a time; more are answered with 503 and closed.
    pub(crate) connections_max: usize,
    /// Most subscriptions at a time.
    pub(crate) subscribers_max: usize,
    /// Most bytes of request bodies that are being read or parsed at a time.
    pub(crate) body_bytes_max: usize,
    /// Longest time that a body may take to arrive.
    pub(crate) body_time_max: Duration,
    /// Longest wait for the next request's head: a client that trickles one, or says nothing, is let go.
    pub(crate) head_time_max: Duration,
    /// Longest silence of a subscription: well below what clients and proxies take for death.
    pub(crate) silence_max: Duration,
    /// How long requests may take to end when the node stops.
    pub(crate) stop_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            subscribers_max: 64,
            body_bytes_max: 64 * 1024 * 1024,
            body_time_max: Duration::from_secs(10),
            head_time_max: Duration::from_secs(30),
            silence_max: Duration::from_secs(10),
            stop_time_max: Duration::from_secs(2),
        }
    }
}
