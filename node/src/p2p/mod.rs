//! Authenticated links to the configured peers, and to nobody else.

mod board;

pub use board::PeerBoard;
