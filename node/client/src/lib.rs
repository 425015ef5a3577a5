//! Talk to a running node over its control interface: one cheap, typed client.
//!
//! Bodies travel as MessagePack with field names; subscriptions travel as length-prefixed frames
//! ([`frame`]), which the node writes with the same code. Every request has a deadline, and every
//! error names the address it is about.

mod body;
mod client;
mod error;
pub mod exposition;
pub mod frame;
mod subscription;
#[cfg(test)]
mod tests;

pub use body::{MSGPACK, decode_body, encode_body};
pub use client::{Client, REQUEST_DEADLINE};
pub use error::ClientError;
pub use subscription::EventStream;
