//! The literal model as an oracle: what the wire protocol says is written down as the messages that the
//! paper would send, and the paper's definitions judge them.
//!
//! A `Propose` is a 1a, a `Vote1` a fresh 1b, a `Vote2` a 2a, a `Timeout` leaves the ballot; certificates
//! become references. An honest node refers to its own last message and to what its statement rests on,
//! not to everything that it has heard: that is what certificates are for.

mod page;
mod paper;
mod translator;

#[cfg(test)]
mod tests;

pub(super) use translator::Translator;
