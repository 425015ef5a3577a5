//! Authenticated links to the configured peers, and to nobody else.
//!
//! A libp2p swarm (TCP, Noise) proves who is on the other side; each link then is the one stream of its connection, of
//! length-prefixed frames. Of each pair the side with the lower key dials first; the other one dials
//! too when no connection comes.

mod admission;
mod ahead;
mod backoff;
mod board;
mod cut;
mod frame;
mod handler;
mod identity;
mod link;
mod network;
mod outbox;
mod queue;
mod reasons;
mod shape;
mod single;
mod transport;

pub use board::PeerBoard;
pub use cut::Cuts;
pub use identity::BadKey;
pub use link::{FrameShare, NetworkEvent};
pub use network::{Network, NetworkError, Setup};
pub use outbox::Outbox;
pub use shape::Shaper;

#[cfg(test)]
mod tests;
