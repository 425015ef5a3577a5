//! Emulated links as a function: what becomes of a packet, given the time and a random draw.
//!
//! [`Fabric`] decides, [`Schedule`] keeps what is on its way. Neither has a clock or a socket: whoever holds the devices
//! of a network (the lab's switch) hands packets in with the time and asks what is due.

mod attest;
mod card;
mod chance;
mod fabric;
mod fault;
mod model;
mod schedule;

pub use attest::{Judgement, Observed, Open, Rate, Wanted};
pub use fabric::{Fabric, Fate, Loss};
pub use fault::{Change, Links, Partition};
pub use model::{Direction, Model, Own, Path};
pub use schedule::Schedule;

/// A time or a length of time in nanoseconds.
pub type Nanos = u64;

/// A whole in millionths: the unit of shares.
pub const MILLION: u32 = 1_000_000;
